"""The client: what it sends again, and what it does not."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.scopes import NEEDS
from service.client import AsyncClient, Client, ProblemError, StrangerError, UnreachableError, calls
from service.client.call import Call
from tests.api.world import A, features, write_world
from tests.serving import serving

ROWS = features(40)
NAMES = [f"s{number // 2}" for number in range(len(ROWS))]
Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler, **more: Any) -> tuple[Client, list[float]]:
    """A client of what a handler answers, and how long it waits between."""
    waits: list[float] = []
    return Client("http://faces", transport=httpx.MockTransport(handler), sleep=waits.append, **more), waits


def answering(*answers: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """One after the other."""
    left, seen = list(answers), list[httpx.Request]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return handle, seen


def problem(status: int, slug: str = "queue-full", **headers: str) -> httpx.Response:
    body = {"type": f"urn:facebridge:problem:{slug}", "title": "", "status": status, "detail": "no", "errors": []}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


SPACE = {"name": "a", "fingerprint": A.fingerprint, "dimension": 8, "metric": "cosine"}
INDEX = {"asked": "auto", "kind": "flat", "recall": 1.0, "num_indexed": 0, "device": "cpu"}
OF_GALLERY = {"name": "people", "space": SPACE, "generation": 1, "num_templates": 0, "num_subjects": 0, "index": INDEX}
GALLERY = httpx.Response(200, json={**OF_GALLERY, "created_at": "", "beside": [], "new": 1})
CREATED = httpx.Response(201, json=GALLERY.json())
FAILURES: list[httpx.Response | Exception] = [
    problem(429),
    problem(503, "state-away", retry_after="1"),
    httpx.Response(502, text="<html>bad gateway"),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("slow"),
    httpx.RemoteProtocolError("closed"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=str)
@pytest.mark.parametrize(
    "call", [calls.gallery("people"), calls.create_gallery("people", space="a")], ids=["GET", "POST"]
)
def test_what_failed_on_the_way_is_sent_again(call: Call[Any], failure: Any) -> None:
    handle, seen = answering(failure, failure, CREATED)
    client, waits = client_of(handle)
    assert client(call).name == "people"
    assert len(seen) == 3
    assert len(waits) == 2
    assert all(0 < seconds <= 10 for seconds in waits)
    # It is the same request, which is carried out once.
    assert len({(one.method, one.url, one.content, one.headers.get("idempotency-key")) for one in seen}) == 1
    assert ("idempotency-key" in seen[0].headers) == (call.method == "POST")


def test_two_writes_are_two() -> None:
    first, second = calls.create_gallery("people", space="a"), calls.create_gallery("people", space="a")
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"]


def test_what_was_refused_is_not_sent_again() -> None:
    errors = [{"pointer": "/probe/feature", "reason": "not finite"}]
    refusal = {"type": "urn:facebridge:problem:non-finite-vector", "detail": "a vector holds NaN", "errors": errors}
    handle, seen = answering(httpx.Response(422, json=refusal, headers={"x-request-id": "abc"}))
    client, waits = client_of(handle)
    with pytest.raises(ProblemError) as refused:
        client(calls.gallery("people"))
    found = refused.value
    assert (found.status, found.slug, found.request_id) == (422, "non-finite-vector", "abc")
    assert found.errors == (("/probe/feature", "not finite"),)
    assert str(found) == "non-finite-vector: a vector holds NaN; /probe/feature: not finite"
    assert (len(seen), waits) == (1, [])


def test_it_gives_up_after_some_tries_and_says_why() -> None:
    handle, seen = answering(*[httpx.ConnectError("refused")] * 5)
    client, _ = client_of(handle, retries=4)
    with pytest.raises(UnreachableError, match="GET /galleries/people: ConnectError"):
        client(calls.gallery("people"))
    assert len(seen) == 5
    handle, seen = answering(*[problem(503)] * 3)
    client, _ = client_of(handle, retries=2)
    with pytest.raises(ProblemError, match="queue-full"):
        client(calls.gallery("people"))


def test_it_waits_as_long_as_it_is_told_to_and_not_until_tomorrow() -> None:
    handle, seen = answering(problem(429, "rate-limited", retry_after="7"), GALLERY)
    client, waits = client_of(handle)
    client(calls.gallery("people"))
    assert waits == [7.0]
    handle, seen = answering(problem(429, "rate-limited", retry_after="50000"))
    client, waits = client_of(handle)
    with pytest.raises(ProblemError) as refused:
        client(calls.gallery("people"))
    assert (refused.value.retry_after, len(seen), waits) == (50000, 1, [])


@pytest.mark.parametrize("after", ["", "soon", "-1", "1e400", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_is_no_number_of_seconds_is_none(after: str) -> None:
    handle, _ = answering(problem(429, retry_after=after), GALLERY)
    client, waits = client_of(handle)
    client(calls.gallery("people"))
    assert waits[0] <= 0.2


def test_a_write_without_a_name_of_its_own_is_sent_once() -> None:
    handle, seen = answering(httpx.ReadTimeout("slow"))
    client, _ = client_of(handle)
    with pytest.raises(UnreachableError):
        client(calls.judge_by_probes("1", b"x"))
    assert len(seen) == 1


SAFE = [
    calls.translate(ROWS[:2], source="a", target="b"),
    calls.verify(ROWS[0], ROWS[1], space_a="a", space_b="a"),
    calls.identify("people", ROWS[0], space="a"),
    calls.identify_many("people", ROWS[:2], space="a"),
    calls.attributes("AAAA"),
    calls.reconstruct(ROWS[0], space="a"),
]


@pytest.mark.parametrize("failure", [problem(503), httpx.ReadTimeout("slow")], ids=["refused", "slow"])
@pytest.mark.parametrize("call", SAFE, ids=lambda call: call.path)
def test_what_changes_nothing_is_sent_again_without_a_name(call: Call[Any], failure: Any) -> None:
    handle, seen = answering(failure, problem(422, "invalid-request"))
    client, waits = client_of(handle)
    with pytest.raises(ProblemError, match="invalid-request"):
        client(call)
    assert (len(seen), len(waits)) == (2, 1)
    assert "idempotency-key" not in seen[0].headers


@pytest.mark.parametrize("failure", [problem(503), httpx.ReadTimeout("slow")], ids=["refused", "slow"])
@pytest.mark.parametrize("place", sorted(NEEDS), ids=" ".join)
def test_nothing_else_is_sent_again_without_a_name(place: tuple[str, str], failure: Any) -> None:
    """Of all that a service can be asked."""
    method, path = place
    handle, seen = answering(failure, GALLERY)
    client, waits = client_of(handle)
    call = Call(method, path, lambda response: response.status_code)
    if method == "GET" or path in {one.path for one in SAFE}:
        assert client(call) == 200
        assert (len(seen), len(waits)) == (2, 1)
    else:
        with pytest.raises((UnreachableError, ProblemError)):
            client(call)
        assert (len(seen), waits) == (1, [])


def test_it_waits_longer_each_time_until_it_waits_long_enough() -> None:
    handle, _ = answering(*[problem(503)] * 8, GALLERY)
    client, waits = client_of(handle, retries=8)
    client(calls.gallery("people"))
    longest = [min(0.2 * 2**number, 10.0) for number in range(8)]
    assert all(most / 2 <= seconds <= most for seconds, most in zip(waits, longest, strict=True))
    # And not all at the same moment.
    assert len({seconds / most for seconds, most in zip(waits, longest, strict=True)}) > 4


def test_a_client_that_is_told_nothing_waits_by_itself() -> None:
    handle, seen = answering(problem(503), GALLERY)
    began = time.monotonic()
    with Client("http://faces", transport=httpx.MockTransport(handle)) as client:
        client(calls.gallery("people"))
    assert time.monotonic() - began >= 0.1
    assert len(seen) == 2


async def test_an_async_client_waits_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    found = httpx.Response(200, json=GALLERY.json())
    handle, _ = answering(problem(503), problem(429, "rate-limited", retry_after="7"), found)
    monkeypatch.setattr("service.client.sending.asyncio.sleep", sleep)
    async with AsyncClient("http://faces", transport=httpx.MockTransport(handle)) as client:
        await client(calls.gallery("people"))
    assert 0.1 <= waits[0] <= 0.2
    assert waits[1:] == [7.0]


@pytest.mark.parametrize(
    "answer", [{"name": "people"}, [], "text", {"galleries": 3}, {"num_removed": "many"}, {"results": [1]}]
)
@pytest.mark.parametrize(
    "call",
    [
        calls.gallery("people"),
        calls.galleries(),
        calls.remove_subject("people", "ann"),
        calls.job("1"),
        calls.identify_many("people", ROWS[:2], space="a"),
    ],
    ids=lambda call: call.path,
)
def test_another_service_is_known_as_one(call: Call[Any], answer: Any) -> None:
    handle, _ = answering(httpx.Response(200, json=answer))
    with pytest.raises(StrangerError):
        client_of(handle)[0](call)


def test_a_translation_that_is_no_array_is_a_strangers() -> None:
    handle, _ = answering(httpx.Response(200, content=b"\x93NUMPY broken"))
    with pytest.raises(StrangerError):
        client_of(handle)[0](calls.translate(ROWS, source="a", target="b"))


def test_the_key_is_sent_as_a_header_alone() -> None:
    handle, seen = answering(GALLERY)
    client_of(handle, key="fb_secret")[0](calls.gallery("people"))
    assert seen[0].headers["x-api-key"] == "fb_secret"
    assert "fb_secret" not in str(seen[0].url)


def test_names_cannot_leave_their_place_in_a_path() -> None:
    handle, seen = answering(GALLERY)
    client_of(handle)[0](calls.gallery("a/keys?x=1#"))
    assert seen[0].url.raw_path == b"/galleries/a%2Fkeys%3Fx%3D1%23"


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "./a"])
def test_nothing_leads_above_its_place(name: str) -> None:
    for make in (calls.gallery, partial(calls.remove_subject, "people"), partial(calls.remove_template, "people")):
        with pytest.raises(ValueError, match="leads elsewhere"):
            make(name)


def test_what_is_under_way_is_asked_again() -> None:
    handle, seen = answering(httpx.ReadTimeout("slow"), problem(409, "idempotency-key-in-progress"), CREATED)
    client, _ = client_of(handle)
    assert client(calls.create_gallery("people", space="a")).name == "people"
    assert len(seen) == 3


def test_of_each_template_there_is_a_key_or_of_none() -> None:
    with pytest.raises(ValueError, match="shorter"):
        calls.enrol("people", NAMES[:3], ROWS[:3], space="a", keys=["1", "2"])


async def test_an_async_client_asks_again_too() -> None:
    handle, seen = answering(problem(503), httpx.ConnectError("refused"), httpx.Response(200, json=GALLERY.json()))
    transport = httpx.MockTransport(handle)
    async with AsyncClient("http://faces", transport=transport) as client:
        assert (await client(calls.gallery("people"))).name == "people"
    assert len(seen) == 3


def test_it_asks_a_service_of_its_own_process(tmp_path: Path) -> None:
    with serving(write_world(tmp_path / "bundles"), tmp_path / "data") as served, Client(served.url) as client:
        client(calls.create_gallery("people", space="a"))
        client(calls.enrol("people", NAMES, ROWS, space="a"))
        assert client(calls.identify("people", ROWS[2], space="a")).candidates[0].subject == NAMES[2]
