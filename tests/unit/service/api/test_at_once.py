"""How many requests are worked on at once, seen by an application behind it."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.at_once import AtOnce
from service.errors import QueueFullError


class Works:
    """Reads what comes, then works until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.num_at_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.num_at_work += 1
        await self.go.wait()
        self.num_at_work -= 1
        if scope["path"].endswith("/fails"):
            raise ValueError(scope["path"])


@pytest.fixture
def works() -> Works:
    return Works()


@pytest.fixture
def at_once(works: Works) -> AtOnce:
    return AtOnce(works, most=2)


def begun(at_once: AtOnce, path: str = "/identify", parts: tuple[bytes, ...] = (b"",)) -> asyncio.Task[None]:
    """A request of whose body these parts come, and the last of them is its end; None where it does not come."""
    messages: Iterator[Message] = iter(
        {"type": "http.request", "body": part, "more_body": part != parts[-1]} for part in parts
    )

    async def receive() -> Message:
        await asyncio.sleep(0)
        for message in messages:
            return message
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    return asyncio.ensure_future(at_once({"type": "http", "path": path}, receive, send))


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_more_than_are_let_in_are_refused_and_others_after_an_answer_are_not(
    at_once: AtOnce, works: Works
) -> None:
    first = [begun(at_once), begun(at_once, "/galleries/people/templates", (b"{", b"}"))]
    await settle()
    with pytest.raises(QueueFullError):
        await begun(at_once, "/translate")
    assert works.num_at_work == 2
    works.go.set()
    await asyncio.gather(*first)
    await asyncio.gather(begun(at_once), begun(at_once))


async def test_what_fails_is_over_too(at_once: AtOnce, works: Works) -> None:
    works.go.set()
    for _ in range(5):
        with pytest.raises(ValueError, match="fails"):
            await begun(at_once, "/verify/fails")


async def test_what_was_refused_was_never_counted(at_once: AtOnce, works: Works) -> None:
    first = [begun(at_once), begun(at_once)]
    await settle()
    for _ in range(5):
        with pytest.raises(QueueFullError):
            await begun(at_once)
    works.go.set()
    await asyncio.gather(*first)
    works.go.clear()
    others = [begun(at_once), begun(at_once)]
    await settle()
    with pytest.raises(QueueFullError):
        await begun(at_once)
    works.go.set()
    await asyncio.gather(*others)


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/1/cutover",
        "/healthz/ready",
        "/metrics",
        "/keys",
        "/galleries",
        "/galleries/translate/restore",
        "/galleries/people/erasures",
        "/galleries/people/migrations",
        "/galleries/people/snapshots",
    ],
)
async def test_who_looks_after_the_service_is_let_in(at_once: AtOnce, works: Works, path: str) -> None:
    tasks = [begun(at_once), begun(at_once), begun(at_once, path)]
    await settle()
    assert works.num_at_work == 3
    works.go.set()
    await asyncio.gather(*tasks)


async def test_an_answer_that_is_not_read_keeps_nobody_out() -> None:
    is_read = asyncio.Event()

    async def answers(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"long"})

    at_once = AtOnce(answers, most=1)
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message["type"])
        await is_read.wait()

    tasks = []
    for _ in range(4):
        tasks.append(asyncio.ensure_future(at_once({"type": "http", "path": "/identify"}, receive, send)))
        await settle()
    assert sent == ["http.response.start"] * 4
    is_read.set()
    await asyncio.gather(*tasks)
    # And each was counted out once: there is one place, and not more.
    works = Works()
    at_once._app = works
    first = begun(at_once)
    await settle()
    with pytest.raises(QueueFullError):
        await begun(at_once)
    works.go.set()
    await first


async def test_a_body_that_does_not_come_keeps_nobody_out(works: Works) -> None:
    never = asyncio.Event()
    at_once = AtOnce(works, most=1)

    async def receive() -> Message:
        await never.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        raise AssertionError(message)

    slow = [asyncio.ensure_future(at_once({"type": "http", "path": "/identify"}, receive, send)) for _ in range(3)]
    task = begun(at_once)
    await settle()
    assert works.num_at_work == 1
    works.go.set()
    never.set()
    await asyncio.gather(task, *slow)
