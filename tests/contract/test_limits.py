"""Every keeper of limits does the same."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.state.limits import DAY_SECONDS, WRITE_PROBES, EmbeddedLimits
from service.state.on_redis.connection import connect, connect_quick
from service.state.on_redis.limits import RedisLimits
from service.state.port import Limits
from tests.clock import Clock
from tests.redis_server import RedisServer, needs_redis


@pytest.fixture(params=["embedded", pytest.param("redis", marks=needs_redis)])
async def limits(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Limits]:
    made: Limits = EmbeddedLimits(tmp_path)
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        made = RedisLimits(connect_quick(server.url), EmbeddedLimits(tmp_path / "own"))
    yield made
    await made.close()


async def test_a_key_may_send_so_many_at_once_and_then_waits(limits: Limits) -> None:
    assert [await limits.take_request("one", 5.0) for _ in range(5)] == [0.0] * 5
    seconds = await limits.take_request("one", 5.0)
    assert 0 < seconds <= 0.2
    # What was refused is not counted, and others are not kept waiting.
    assert await limits.take_request("one", 5.0) <= seconds
    assert await limits.take_request("other", 5.0) == 0


async def test_after_so_long_a_key_may_go_on(limits: Limits) -> None:
    for _ in range(40):
        await limits.take_request("one", 40.0)
    seconds = await limits.take_request("one", 40.0)
    assert seconds > 0
    time.sleep(seconds + 0.005)
    assert await limits.take_request("one", 40.0) == 0


async def test_a_slow_rate_is_one_request_and_then_none(limits: Limits) -> None:
    assert await limits.take_request("one", 0.1) == 0
    assert 9 < await limits.take_request("one", 0.1) <= 10


async def test_probes_of_a_day_are_counted_whole_or_not_at_all(limits: Limits) -> None:
    assert await limits.spend_probes("one", 7, 10) == 0
    assert 0 < await limits.spend_probes("one", 4, 10) <= DAY_SECONDS
    assert await limits.spend_probes("one", 3, 10) == 0
    assert await limits.spend_probes("one", 1, 10) > 0
    assert await limits.spend_probes("other", 10, 10) == 0
    assert await limits.spend_probes("none", 1, 0) > 0


async def test_what_was_spent_is_known_after_a_start(tmp_path: Path) -> None:
    first = EmbeddedLimits(tmp_path)
    for num in (1, 7):
        await first.spend_probes("one", num, 10)
    await first.close()
    second = EmbeddedLimits(tmp_path)
    assert await second.spend_probes("one", 3, 10) > 0
    assert await second.spend_probes("one", 2, 10) == 0
    await second.close()


async def test_a_kill_forgets_few(tmp_path: Path) -> None:
    clock = Clock(time.time() // DAY_SECONDS * DAY_SECONDS + 100)
    killed = EmbeddedLimits(tmp_path, clock)
    # Seconds later, who, how many, and how many of all that is written then.
    spent = [
        (0.0, "one", 2),
        (0.5, "one", 2),
        (1.0, "one", 2),
        (0.5, "one", 2),
        (0.1, "many", WRITE_PROBES),
        (0.1, "one", 2),
        (-50.0, "back", 1),
        (0.1, "back", 1),
    ]
    for seconds, who, num in spent:
        clock.now += seconds
        assert await killed.spend_probes(who, num, 10_000) == 0
    # As a kill leaves it: what is written is written, and nothing is closed.
    killed._db.close()
    after = EmbeddedLimits(tmp_path, clock)
    for who, known in (("one", 10), ("many", WRITE_PROBES), ("back", 1)):
        assert await after.spend_probes(who, 1001 - known, 1000) > 0
        assert await after.spend_probes(who, 1000 - known, 1000) == 0
    await after.close()


async def test_another_day_begins_at_nothing(tmp_path: Path) -> None:
    now = time.time()
    limits = EmbeddedLimits(tmp_path, lambda: now)
    await limits.spend_probes("one", 10, 10)
    seconds = await limits.spend_probes("one", 1, 10)
    now += seconds + 1
    assert await limits.spend_probes("one", 10, 10) == 0
    await limits.close()


@needs_redis
async def test_another_day_begins_at_nothing_on_redis_too(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose days are of two seconds."""
    redis_server.flush()
    monkeypatch.setattr("service.state.on_redis.limits.DAY_SECONDS", 2)
    clock = Clock(time.time())
    limits = RedisLimits(connect_quick(redis_server.url), EmbeddedLimits(tmp_path, clock))
    assert await limits.spend_probes("one", 10, 10) == 0
    time.sleep(2.0)
    clock.now += DAY_SECONDS
    assert await limits.spend_probes("one", 10, 10) == 0
    await limits.close()


@needs_redis
async def test_what_is_counted_on_redis_is_forgotten_when_it_is_over(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.flush()
    limits = RedisLimits(connect_quick(redis_server.url), EmbeddedLimits(tmp_path))
    await limits.spend_probes("one", 1, 10)
    # Of a day that is nearly over too.
    await limits.spend_probes("one", 1, 10)
    await limits.take_request("one", 5.0)
    client = connect(redis_server.url)
    left: dict[bytes, Any] = {key: client.ttl(key) for key in client.scan_iter()}
    client.close()
    await limits.close()
    (spent,) = (seconds for key, seconds in left.items() if b":spent:" in key)
    (rate,) = (seconds for key, seconds in left.items() if b":rate:" in key)
    assert DAY_SECONDS <= spent <= DAY_SECONDS + 3600
    assert 0 <= rate <= 2
    assert len(left) == 2
