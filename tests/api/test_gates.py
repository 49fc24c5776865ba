"""What an operator does not want enrolled is refused with its rows, or flagged."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest

from service.entities import ProbeRows
from service.errors import DuplicateSubjectError, StartupError
from service.settings import load_settings
from service.usecases.samples import Samples
from tests.api.conftest import MakeApp
from tests.api.world import features, running

EAST = [1.0] + [0.0] * 7
"""A direction in the space a, where strangers reach 0.125 in one of a hundred comparisons."""
NEAR_EAST = [1.0, 0.5] + [0.0] * 6
NORTH = [0.0] * 7 + [1.0]


@asynccontextmanager
async def gated(make_app: MakeApp, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with running(make_app(**settings)) as client:
        for name, space in (("people", "a"), ("others", "b"), ("last", "c")):
            assert (await client.post("/galleries", json={"name": name, "space": space})).is_success
        yield client


async def enrol(client: httpx.AsyncClient, *templates: tuple[str, Any], gallery: str = "people") -> httpx.Response:
    body = [{"subject": subject, "feature": feature} for subject, feature in templates]
    return await client.post(f"/galleries/{gallery}/templates", json={"space": "a", "templates": body})


async def num_templates(client: httpx.AsyncClient, gallery: str = "people") -> int:
    num: int = (await client.get(f"/galleries/{gallery}")).json()["num_templates"]
    return num


def told(response: httpx.Response) -> tuple[int, str, list[str]]:
    problem = response.json()
    pointers = [error["pointer"] for error in problem["errors"]]
    return response.status_code, problem["type"].removeprefix("urn:facebridge:problem:"), pointers


async def test_a_face_that_is_enrolled_under_another_name_is_refused(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:
        (first,) = (await enrol(client, ("ann", EAST))).json()["template_ids"]
        refused = await enrol(client, ("eve", NORTH), ("bob", NEAR_EAST))
        assert told(refused) == (409, "duplicate-subject", ["/templates/1"])
        assert f"template {first}" in refused.json()["errors"][0]["reason"]
        assert "ann" not in refused.text
        assert await num_templates(client) == 1
        assert (await enrol(client, ("ann", NEAR_EAST), ("eve", NORTH))).status_code == 201


async def test_one_face_under_two_names_in_a_request_is_refused(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:
        refused = await enrol(client, ("ann", EAST), ("ann", NEAR_EAST), ("eve", NORTH), ("bob", NEAR_EAST))
        assert told(refused) == (409, "duplicate-subject", ["/templates/3"])
        assert "template 0 of the request" in refused.json()["errors"][0]["reason"]
        assert await num_templates(client) == 0


async def test_duplicates_are_let_in_and_told_where_that_is_set(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="flag", duplicate_fmr=0.01) as client:
        (first,) = (await enrol(client, ("ann", EAST))).json()["template_ids"]
        response = await enrol(client, ("eve", NORTH), ("bob", NEAR_EAST), ("joe", NORTH))
        assert response.status_code == 201
        in_gallery, in_request = response.json()["duplicates"]
        assert in_gallery == {
            "row": 1,
            "score": pytest.approx(1 / np.sqrt(1.25)),
            "template_id": first,
            "other_row": None,
        }
        assert (in_request["row"], in_request["other_row"], in_request["template_id"]) == (2, 0, None)
        assert await num_templates(client) == 4


async def test_of_one_face_that_comes_under_two_names_at_once_one_is_refused(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:
        names = [f"name-{number}" for number in range(12)]
        answers = await asyncio.gather(*(enrol(client, (name, EAST)) for name in names))
        assert sorted(answer.status_code for answer in answers) == [201] + [409] * 11
        assert await num_templates(client) == 1


async def test_a_request_that_is_given_up_keeps_its_turn_until_it_has_ended(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:
        services = client._transport.app.state.services  # type: ignore[attr-defined]
        store, begun = services.enrol._galleries, threading.Event()
        enrolled = store.enrol

        def slow(*given: Any, **named: Any) -> Any:
            begun.set()
            time.sleep(0.2)
            return enrolled(*given, **named)

        monkeypatch.setattr(store, "enrol", slow)
        samples = [Samples([name], ProbeRows("a", np.array([EAST], dtype=np.float32))) for name in ("ann", "bob")]
        first = asyncio.create_task(services.enrol("people", samples[0]))
        await asyncio.to_thread(begun.wait)
        second = asyncio.create_task(services.enrol("people", samples[1]))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(DuplicateSubjectError):
            await second
        assert await num_templates(client) == 1


async def test_a_name_that_was_wrong_is_corrected_by_its_key(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:

        async def put(subject: str, key: str, feature: list[float]) -> httpx.Response:
            template = {"subject": subject, "key": key, "feature": feature}
            return await client.put("/galleries/people/templates", json={"space": "a", "templates": [template]})

        assert (await put("ann", "1.jpg", EAST)).status_code == 201
        assert (await put("anne", "1.jpg", EAST)).json()["num_replaced"] == 1
        assert (await put("anne", "2.jpg", NEAR_EAST)).status_code == 201
        # Another picture of her is still there under the name that she had.
        assert told(await put("bob", "1.jpg", EAST)) == (409, "duplicate-subject", ["/templates/0"])
        assert await num_templates(client) == 2


async def test_nothing_is_looked_for_unless_it_is_set(make_app: MakeApp) -> None:
    async with gated(make_app) as client:
        response = await enrol(client, ("ann", EAST), ("bob", EAST))
        assert (response.status_code, response.json()["duplicates"]) == (201, [])


async def test_translated_templates_are_told_apart_by_thresholds_of_their_own(make_app: MakeApp) -> None:
    async with gated(make_app, enrol_duplicates="refuse", duplicate_fmr=0.01) as client:
        refused = await enrol(client, ("ann", EAST), gallery="others")
        # How alike two translated templates are was not measured.
        assert told(refused) == (422, "no-operating-point", [])
    async with gated(make_app, enrol_duplicates="flag", duplicate_fmr=0.01) as client:
        assert (await enrol(client, ("ann", EAST), ("bob", EAST), gallery="others")).json()["duplicates"] == []


async def test_short_features_are_refused_where_their_norm_is_known(make_app: MakeApp) -> None:
    rows = features(3) / np.linalg.norm(features(3), axis=1, keepdims=True)
    async with gated(make_app, enrol_min_norm="a=5,b=100") as client:
        refused = await enrol(client, ("ann", (rows[0] * 6).tolist()), ("bob", (rows[1] * 4).tolist()))
        assert told(refused) == (422, "low-norm", ["/templates/1"])
        assert await num_templates(client) == 0
        # Of length one: how long it was is not known.
        assert (await enrol(client, ("ann", (rows[0] * 6).tolist()), ("eve", rows[2].tolist()))).status_code == 201


async def test_translations_of_little_confidence_are_not_enrolled(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gated(make_app, enrol_min_confidence=0.5) as client:
        inference = client._transport.app.state.services.inference  # type: ignore[attr-defined]

        async def judged(rows: Any, steps: Any, norm: Any = None) -> Any:
            return np.eye(16, dtype=np.float32)[: len(rows)], np.array([0.9, 0.2, np.nan, 0.5], dtype=np.float32)[
                : len(rows)
            ]

        monkeypatch.setattr(inference, "translate_judged", judged)
        names = [("ann", EAST), ("bob", EAST), ("eve", EAST), ("joe", NORTH)]
        assert told(await enrol(client, *names, gallery="others")) == (422, "low-confidence", ["/templates/1"])
        assert (await enrol(client, *names[:1], gallery="others")).status_code == 201
        listed = (await client.get("/galleries/others/templates")).json()["templates"]
        assert [template["confidence"] for template in listed] == [pytest.approx(0.9)]


def test_a_norm_for_a_space_that_nobody_knows_is_said_in_the_log(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    make_app(enrol_min_norm="a=5,elsewhere=7")
    (line,) = [record.getMessage() for record in caplog.records if "enrol_min_norm" in record.getMessage()]
    assert "the space elsewhere" in line


@pytest.mark.parametrize("value", ["a", "a=", "a=x", "a=1;b=2"])
def test_norms_that_cannot_be_read_are_refused_in_one_line(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEBRIDGE_ENROL_MIN_NORM", value)
    with pytest.raises(StartupError, match=r"setting enrol_min_norm: .*give it as space=12.5,other=8"):
        load_settings({})
    monkeypatch.setenv("FACEBRIDGE_ENROL_MIN_NORM", " a=1.5, b=2 ")
    assert load_settings({}).enrol_min_norm == {"a": 1.5, "b": 2.0}
    assert load_settings({"enrol_min_norm": "c=3"}).enrol_min_norm == {"c": 3.0}
