"""The OpenAPI document is a promise: it changes only on purpose. After that: `python -m tests.api.test_openapi`."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings

SNAPSHOT = Path(__file__).with_name("openapi.json")


def generated() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Settings(bundles=Path(folder), data=Path(folder) / "data"), store=OracleGalleryStore())
        return app.openapi()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return generated()


def text(document: dict[str, Any]) -> str:
    return json.dumps({**document, "info": {**document["info"], "version": "any"}}, indent=1, sort_keys=True) + "\n"


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_the_document_is_the_one_that_was_promised(document: dict[str, Any]) -> None:
    assert text(document) == SNAPSHOT.read_text(), "on purpose? python -m tests.api.test_openapi"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
        assert isinstance(place, dict)


def test_every_route_says_what_it_does(document: dict[str, Any]) -> None:
    described = [(path, method) for path, method, operation in operations(document) if operation.get("description")]
    assert described == [(path, method) for path, method, _ in operations(document)]
    assert len(described) == 45


def test_every_parameter_and_body_of_a_route_has_its_refusals_documented(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        documented = set(operation["responses"])
        if "requestBody" in operation:
            # What a picture shows is of no space, and in no gallery.
            conflicts = set() if path == "/attributes" else {"409"}
            assert documented >= {"400", "413", "415", "422"} | conflicts, (path, method)
        if operation.get("parameters"):
            assert "422" in documented, (path, method)
        if "{gallery}" in path:
            assert "404" in documented, (path, method)
        if method != "get" and path.startswith("/galleries"):
            assert documented >= {"503", "507"}, (path, method)


def test_every_refusal_is_a_problem(document: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    refusals = {
        (path, method, status): response.get("content")
        for path, method, operation in operations(document)
        for status, response in operation["responses"].items()
        if status >= "400"
    }
    assert {place: content for place, content in refusals.items() if content != problem} == {}
    assert len(refusals) > 40


if __name__ == "__main__":
    SNAPSHOT.write_text(text(generated()))
