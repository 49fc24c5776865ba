"""`Idempotency-Key`: what was done is answered again and not done again."""

import asyncio
import secrets
from typing import Any

import httpx
import pytest

from service.galleries.oracle import OracleGalleryStore
from tests.api.conftest import MakeApp
from tests.api.world import features, npy, running


@pytest.fixture
def named() -> dict[str, str]:
    """A header with a name that no other test gives."""
    return {"idempotency-key": secrets.token_hex(8)}


def enrolment(subject: str = "ann") -> dict[str, Any]:
    return {"space": "a", "templates": [{"subject": subject, "feature": features(1)[0].tolist()}]}


@pytest.fixture
async def people(client: httpx.AsyncClient) -> httpx.AsyncClient:
    assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    return client


async def num_templates(client: httpx.AsyncClient) -> int:
    num: int = (await client.get("/galleries/people")).json()["num_templates"]
    return num


async def test_an_enrolment_that_comes_again_is_answered_as_before_and_not_done_again(
    people: httpx.AsyncClient,
    named: dict[str, str],
) -> None:
    first = await people.post("/galleries/people/templates", json=enrolment(), headers=named)
    again = await people.post("/galleries/people/templates", json=enrolment(), headers=named)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["content-type"] == "application/json"
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    assert await num_templates(people) == 1


async def test_without_a_name_a_request_is_done_as_often_as_it_comes(people: httpx.AsyncClient) -> None:
    for _ in range(2):
        assert (await people.post("/galleries/people/templates", json=enrolment())).status_code == 201
    assert await num_templates(people) == 2


async def test_a_name_that_stands_for_something_else_is_refused(
    people: httpx.AsyncClient, named: dict[str, str]
) -> None:
    await people.post("/galleries/people/templates", json=enrolment(), headers=named)
    other = await people.post("/galleries/people/templates", json=enrolment("bob"), headers=named)
    query = {"space": "a", "subject": "ann"}
    array = await people.post(
        "/galleries/people/templates",
        params=query,
        content=npy(features(1)),
        headers=named | {"content-type": "application/x-npy"},
    )
    for response in (other, array):
        assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:idempotency-key-reused")
    # Another route is another thing to ask, and may have the same name.
    assert (await people.put("/galleries/people/templates", json=enrolment(), headers=named)).status_code == 201
    assert await num_templates(people) == 2


async def test_every_write_may_have_a_name(client: httpx.AsyncClient, named: dict[str, str]) -> None:
    async def twice(method: str, path: str, **keywords: Any) -> httpx.Response:
        first = await client.request(method, path, headers=named, **keywords)
        again = await client.request(method, path, headers=named, **keywords)
        assert (again.status_code, again.content) == (first.status_code, first.content)
        assert again.headers["idempotency-replayed"] == "true"
        return first

    assert (await twice("POST", "/galleries", json={"name": "people", "space": "a"})).status_code == 201
    enrolled = await twice("POST", "/galleries/people/templates", json=enrolment())
    (template_id,) = enrolled.json()["template_ids"]
    assert (await twice("DELETE", f"/galleries/people/templates/{template_id}")).status_code == 204
    await client.post("/galleries/people/templates", json=enrolment("bob"))
    assert (await twice("DELETE", "/galleries/people/subjects/bob")).json() == {"num_removed": 1}
    assert (await twice("DELETE", "/galleries/people")).status_code == 204


async def test_what_was_refused_may_come_again_under_its_name(people: httpx.AsyncClient, named: dict[str, str]) -> None:
    path = "/galleries/people/templates/" + "0" * 32
    for _ in range(2):
        assert (await people.delete(path, headers=named)).status_code == 404
    bad = {"space": "a", "templates": [{"subject": "ann", "feature": [0.0] * 8}]}
    assert (await people.post("/galleries/people/templates", json=bad, headers=named)).status_code == 422
    assert (await people.post("/galleries/people/templates", json=enrolment(), headers=named)).status_code == 201


@pytest.mark.parametrize("name", ["", "x" * 256, "tab\there"])
async def test_a_name_that_is_none_is_refused(people: httpx.AsyncClient, name: str) -> None:
    headers = {"idempotency-key": name}
    response = await people.post("/galleries/people/templates", json=enrolment(), headers=headers)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
    assert await num_templates(people) == 0


async def test_a_request_that_comes_again_while_the_first_is_under_way_is_refused(
    make_app: MakeApp, named: dict[str, str]
) -> None:
    class Slow(OracleGalleryStore):
        def enrol(self, *args: Any, **keywords: Any) -> Any:
            loop.call_soon_threadsafe(started.set)
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result()
            return super().enrol(*args, **keywords)

    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    async with running(make_app(store=Slow())) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        first = asyncio.create_task(client.post("/galleries/people/templates", json=enrolment(), headers=named))
        await started.wait()
        meanwhile = await client.post("/galleries/people/templates", json=enrolment(), headers=named)
        release.set()
        assert (await first).status_code == 201
        assert (meanwhile.status_code, meanwhile.json()["type"]) == (
            409,
            "urn:facebridge:problem:idempotency-key-in-progress",
        )
        again = await client.post("/galleries/people/templates", json=enrolment(), headers=named)
        assert (again.status_code, again.content) == (201, (await first).content)
