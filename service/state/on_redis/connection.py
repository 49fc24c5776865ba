"""Connections to Redis, which is waited for no longer than somebody waits for an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis import asyncio as async_redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.errors import StartupError, StateAwayError

PREFIX = "facebridge"
_SECONDS = 2.0
_QUICK_SECONDS = 0.25
_SECONDS_THERE = 60


def connect(url: str) -> "redis.Redis":
    """For calls that block; nothing is connected yet. Raises `StartupError` where it is no address."""
    try:
        return redis.Redis.from_url(url, **_options(_SECONDS))
    except (ValueError, RedisError) as failure:
        raise _no_address(failure) from None


def connect_quick(url: str) -> "async_redis.Redis":
    """For where requests come in. Raises `StartupError` where it is no address."""
    try:
        return async_redis.Redis.from_url(url, **_options(_QUICK_SECONDS))
    except (ValueError, RedisError) as failure:
        raise _no_address(failure) from None


def connect_patiently(url: str, seconds: float) -> "redis.Redis":
    """For whoever waits for so long for news. Raises `StartupError` where it is no address."""
    try:
        return redis.Redis.from_url(url, **_options(_SECONDS) | {"socket_timeout": seconds + _SECONDS})
    except (ValueError, RedisError) as failure:
        raise _no_address(failure) from None


@contextmanager
def reaching() -> Iterator[None]:
    """Raises `StateAwayError` where Redis cannot be reached, or cannot do what it was asked."""
    try:
        yield
    except (RedisError, OSError) as failure:
        raise StateAwayError(
            f"what replicas share cannot be reached ({type(failure).__name__}); try again shortly"
        ) from None


def is_there(url: str) -> bool:
    """Whether it takes what is written within a moment: one whose memory is full, or that follows another, answers, and does
    not.
    """
    client = redis.Redis.from_url(url, **_options(_QUICK_SECONDS))
    try:
        return bool(client.set(f"{PREFIX}:is-there", 1, ex=_SECONDS_THERE))
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def _options(seconds: float) -> dict[str, Any]:
    # One try: who asked tries again, and knows whether it may.
    retry = Retry(NoBackoff(), 0)
    return {"socket_timeout": seconds, "socket_connect_timeout": seconds, "retry": retry}


def _no_address(failure: Exception) -> StartupError:
    return StartupError(f"setting redis: is no address, such as redis://redis:6379/0 ({failure})")
