"""Stages of a request are told to whoever watches it, wherever they are."""

import asyncio
import time

import pytest

from service.observability.stages import Took, stage, tell, unwatch, watch, watched


async def work() -> None:
    with stage("decode"):
        await asyncio.sleep(0.01)

    def search() -> None:
        with stage("search"):
            time.sleep(0.02)

    await asyncio.gather(asyncio.to_thread(search), asyncio.create_task(asyncio.to_thread(search)))


async def served() -> Took:
    took = Took()
    token = watch(took)
    await work()
    await asyncio.sleep(0.01)
    took.begin_answer()
    unwatch(token)
    return took


async def test_each_request_has_its_own_stages() -> None:
    one, other = await asyncio.gather(served(), served())
    for took in (one, other):
        assert [name for name, _, _ in took.spans] == ["decode", "search", "search", "encode"]
        seconds = took.seconds
        assert seconds["search"] >= 0.04
        assert seconds["decode"] >= 0.01
        assert 0.01 <= seconds["encode"] < 1
    assert watched() is None


async def test_where_nobody_watches_nothing_is_kept() -> None:
    await work()
    tell("queue", 0.0, 1.0)
    assert watched() is None


async def test_a_stage_that_fails_is_told_too() -> None:
    took = Took()
    token = watch(took)
    with pytest.raises(ValueError, match="no"), stage("search"):
        raise ValueError("no")
    unwatch(token)
    assert [name for name, _, _ in took.spans] == ["search"]


def test_an_answer_before_any_stage_is_no_stage() -> None:
    took = Took()
    took.begin_answer()
    assert took.seconds == {}
