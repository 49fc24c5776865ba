"""Clients: they send calls, again where that does no harm, and make their answers into what they are."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from service.client.call import Call
from service.client.errors import ProblemError, UnreachableError

T = TypeVar("T")

_TIMEOUT_SECONDS = 60.0
_RETRIES = 4
_FIRST_SECONDS, _MOST_SECONDS = 0.2, 10.0
_WORTH_ANOTHER = frozenset({429, 502, 503, 504})
_SAFE = frozenset({"/translate", "/verify", "/identify", "/attributes", "/reconstruct"})
"""Paths whose POST changes nothing."""


@dataclass(slots=True)
class _Tries:
    """How often a call was sent, and how long to wait before it is sent again."""

    call: Call[Any]
    left: int
    done: int = 0

    def after(self, failure: Exception) -> float:
        """Seconds. Raises the failure, or `UnreachableError`, where it is not to be sent again."""
        told = failure
        if isinstance(failure, httpx.HTTPError):
            told = UnreachableError(f"{self.call.method} {self.call.path}: {type(failure).__name__}")
        is_once = self.call.method == "GET" or "idempotency-key" in self.call.headers or self.call.path in _SAFE
        if not self.left or not is_once or not _is_worth_another(failure):
            raise told from None
        seconds: float = _FIRST_SECONDS * 2 ** min(self.done, 10) * random.uniform(0.5, 1.0)
        asked = failure.retry_after if isinstance(failure, ProblemError) else None
        if asked is not None and asked > _MOST_SECONDS:
            # Whoever has asked for a whole day's probes is not to wait for tomorrow in here.
            raise told from None
        self.left, self.done = self.left - 1, self.done + 1
        return min(max(seconds, asked or 0.0), _MOST_SECONDS)


class Client:
    """Sends one call after the other: `client(calls.gallery("people"))`. May be used by several threads."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_seconds: float | None = _TIMEOUT_SECONDS,
        retries: int = _RETRIES,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`key` is sent as `x-api-key`."""
        self._retries, self._sleep = retries, sleep
        self._client = httpx.Client(
            base_url=url, headers=_headers(key), timeout=timeout_seconds, transport=transport, trust_env=False
        )

    def __call__(self, call: Call[T]) -> T:
        """What is answered. Raises `ProblemError`, `UnreachableError`, `StrangerError`."""
        tries = _Tries(call, self._retries)
        while True:
            try:
                return call.answer(self._client.send(call.request(self._client)))
            except (httpx.HTTPError, ProblemError) as failure:
                self._sleep(tries.after(failure))

    def close(self) -> None:
        """Close connections."""
        self._client.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
        self.close()


class AsyncClient:
    """Sends calls side by side: `await client(calls.gallery("people"))`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_seconds: float | None = _TIMEOUT_SECONDS,
        retries: int = _RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` is sent as `x-api-key`."""
        self._retries = retries
        self._client = httpx.AsyncClient(
            base_url=url, headers=_headers(key), timeout=timeout_seconds, transport=transport, trust_env=False
        )

    @property
    def url(self) -> str:
        """Of the service."""
        return str(self._client.base_url)

    async def __call__(self, call: Call[T]) -> T:
        """What is answered. Raises `ProblemError`, `UnreachableError`, `StrangerError`."""
        tries = _Tries(call, self._retries)
        while True:
            try:
                return call.answer(await self._client.send(call.request(self._client)))
            except (httpx.HTTPError, ProblemError) as failure:
                await asyncio.sleep(tries.after(failure))

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close connections."""
        await self.close()


def _headers(key: str | None) -> dict[str, str]:
    return {"x-api-key": key} if key else {}


def _is_worth_another(failure: Exception) -> bool:
    if isinstance(failure, ProblemError):
        return failure.status in _WORTH_ANOTHER or failure.slug == "idempotency-key-in-progress"
    return isinstance(failure, httpx.TransportError)
