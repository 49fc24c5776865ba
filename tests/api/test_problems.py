import asyncio
import logging
from typing import Any

import httpx
import pytest

from service import errors
from service.api import problems
from service.api.middleware import SAFE
from service.galleries.oracle import OracleGalleryStore
from service.galleries.port import Enrolment, TemplatePage
from tests.api.conftest import MakeApp
from tests.api.world import features, running


def all_errors(cls: type[errors.FacebridgeError]) -> set[type[errors.FacebridgeError]]:
    return {cls} | {error for child in cls.__subclasses__() for error in all_errors(child)}


def test_every_slug_means_one_kind_of_error() -> None:
    slugs = [slug for _, slug in problems._STATUS.values()]
    assert len(slugs) == len(set(slugs))
    assert all(slug == slug.lower() and slug.replace("-", "").isalpha() for slug in slugs)


def test_every_domain_error_that_can_be_answered_has_a_problem_of_its_own() -> None:
    answered = all_errors(errors.FacebridgeError) - {errors.StartupError}
    assert answered <= problems._STATUS.keys()


@pytest.mark.parametrize(
    ("failure", "status", "slug", "retry_after"),
    [
        (errors.DrainingError("stopping"), 503, "draining", "1"),
        (errors.QueueFullError("full"), 429, "queue-full", "1"),
        (errors.StorageError("no"), 503, "not-recorded", "1"),
        (errors.ReadOnlyError("no"), 503, "read-only", "1"),
        (errors.InsufficientStorageError("full"), 507, "insufficient-storage", None),
        (errors.FacebridgeError("?"), 500, "internal", None),
    ],
)
async def test_what_a_store_says_reaches_the_client(
    make_app: MakeApp, failure: Exception, status: int, slug: str, retry_after: str | None
) -> None:
    class Failing(OracleGalleryStore):
        def enrol(self, *args: Any, **keywords: Any) -> Enrolment:
            raise failure

    async with running(make_app(store=Failing())) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        body = {"space": "a", "templates": [{"subject": "ann", "feature": features(1)[0].tolist()}]}
        response = await client.post("/galleries/people/templates", json=body)
    assert response.json()["type"] == f"urn:facebridge:problem:{slug}"
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry_after)
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_fault_of_the_service_tells_nothing_but_the_id_under_which_it_is_logged(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(OracleGalleryStore):
        def templates(self, *args: Any, **keywords: Any) -> TemplatePage:
            raise RuntimeError("secret")

    async with running(make_app(store=Failing())) as client:
        response = await client.get("/galleries/people/templates", headers={"x-request-id": "find-me"})
    assert (response.status_code, response.json()["type"]) == (500, "urn:facebridge:problem:internal")
    # It is answered outside of what puts them on all others.
    assert {name.decode(): value.decode() for name, value in SAFE}.items() <= dict(response.headers).items()
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "find-me"
    assert "request find-me failed" in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status", "slug"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("GET", "/galleries/a/b/c", 404, "not-found"),
        ("DELETE", "/translate", 405, "method-not-allowed"),
        ("PATCH", "/galleries/a", 405, "method-not-allowed"),
        ("FOO", "/verify", 405, "method-not-allowed"),
    ],
)
async def test_paths_and_methods_that_are_not_there_are_problems_too(
    oracle_client: httpx.AsyncClient, method: str, path: str, status: int, slug: str
) -> None:
    response = await oracle_client.request(method, path)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:facebridge:problem:{slug}")
    assert response.headers["content-type"] == "application/problem+json"
    assert ("allow" in response.headers) == (status == 405)


async def test_faults_are_named_by_json_pointers_into_what_was_sent(oracle_client: httpx.AsyncClient) -> None:
    body = {"a": {"space": 1, "feature": ["x"]}, "b": {"space": "a", "feature": {}}, "fmr": 2, "unknown/key": 1}
    response = await oracle_client.post("/verify", json=body)
    pointers = [error["pointer"] for error in response.json()["errors"]]
    assert pointers == ["/a/feature/0", "/a/space", "/b/feature", "/fmr", ""]
    translate = await oracle_client.post("/translate", json={"source": "a", "target": "b", "features": [[1.0], ["x"]]})
    assert [error["pointer"] for error in translate.json()["errors"]] == ["/features/1/0"]


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_fault_of_the_service(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    app = make_app()
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": b'{"source"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        await asyncio.to_thread(sent.append, message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/translate",
        "raw_path": b"/translate",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
    }
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    assert sent[0]["status"] == 408
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
