"""How far translations can be trusted, and whether features are of the space they claim."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from models.calibration import Calibration
from models.confidence import ConfidenceModel, Estimate, NormEstimate, NormScale
from models.operating_point import OperatingPoint
from models.space import Space
from service.access.keys import SCOPES, make_key
from service.app import create_app
from service.settings import Settings
from tests.api.world import (
    A_TO_B,
    B_TO_C,
    COLOURS_TO_A,
    A,
    B,
    C,
    Rows,
    _map,
    base64_of,
    encoder_graph,
    feature_set,
    npy,
    picture_bytes,
    running,
    write,
)
from tests.by_hand import confidence_model
from training.export.linear_graph import linear_graph

GOOD, FAIR, POOR, ODD = range(4)
ROWS = np.zeros((4, 8))
ROWS[GOOD, :2] = 0.6, 0.8
ROWS[FAIR, :2] = 0.1, 1.0
ROWS[POOR, :2] = -0.6, 0.8
ROWS[ODD, 0], ROWS[ODD, 6:] = 0.2, (0.7, 0.7)
TOLD = [pytest.approx(value) for value in (0.9, 0.5, 0.01, 0.0)]
NPY = {"content-type": "application/x-npy"}
Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


SHORT, LONG = 8.0, 16.0
TOLD_OF_SHORT, TOLD_OF_LONG = pytest.approx(0.25), pytest.approx(0.75)


def by_norm_too(model: ConfidenceModel) -> ConfidenceModel:
    """The same; of features whose norm is known it is 0.25 below 12 and 0.75 above."""
    weight = np.zeros(len(model.plain.weight_F) + 1, dtype=np.float32)
    weight[-1] = 1.0
    steps, confidence = np.array([-9, 0], dtype=np.float32), np.array([0.25, 0.75], dtype=np.float32)
    estimate = Estimate(weight, np.zeros(1, dtype=np.float32), steps, confidence)
    return replace(model, with_norm=NormEstimate(NormScale(float(np.log(12)), 1.0, 2.0, 3.0), estimate))


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """A service with settings, whose translator from a to b tells, and that from b to c does not."""

    def make(
        *, stream_limit: float = 1e6, calibration: Calibration | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        stats = by_norm_too(confidence_model(8, 16, stream_limit=stream_limit)).to_bytes()
        bundles = tmp_path / "bundles"
        write(
            bundles / "a-to-b",
            linear_graph(A_TO_B, 8),
            A,
            B,
            quality=0.9,
            calibration=calibration,
            more={"stats.npz": stats},
        )
        write(bundles / "b-to-c", linear_graph(B_TO_C, 16), B, C)
        return running(create_app(Settings(bundles=bundles, data=tmp_path / "data", **settings)))

    return make


@pytest_asyncio.fixture(loop_scope="session")
async def client(serve: Serve) -> AsyncIterator[httpx.AsyncClient]:
    async with serve() as opened:
        yield opened


def asked(rows: Rows = ROWS, target: str = "b", **more: Any) -> dict[str, Any]:
    return {"source": "a", "target": target, "features": rows.tolist()} | more


async def test_every_translation_is_told_how_far_it_can_be_trusted(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/translate", json=asked())).json()
    assert answer["confidence"] == TOLD
    assert answer["flagged"] == [POOR, ODD]


async def test_the_norm_of_a_feature_that_is_sent_as_its_encoder_put_it_out_is_looked_at(
    client: httpx.AsyncClient,
) -> None:
    rows = ROWS[[GOOD, GOOD, GOOD, ODD]] / np.linalg.norm(ROWS[[GOOD, GOOD, GOOD, ODD]], axis=1)[:, None]
    rows = rows * np.array([[SHORT], [LONG], [1.0], [LONG]])
    expected = [TOLD_OF_SHORT, TOLD_OF_LONG, *(TOLD[row] for row in (GOOD, ODD))]
    answer = (await client.post("/translate", json=asked(rows))).json()
    assert answer["confidence"] == expected
    encoded = {"source": "a", "target": "b", "features": base64_of(rows)}
    assert (await client.post("/translate", json=encoded)).json()["confidence"] == expected
    query: dict[str, str | float] = {"source": "a", "target": "b", "min_confidence": 0.5}
    binary = await client.post("/translate", params=query, content=npy(rows), headers=NPY)
    assert binary.headers["x-facebridge-flagged"] == "0,3"
    # Forty and more are judged on a thread.
    many = (await client.post("/translate", json=asked(np.tile(rows, (12, 1))))).json()
    assert many["confidence"] == expected * 12
    other = {"space": "b", "feature": [1.0] * 16}
    for row, told in zip(rows, expected, strict=True):
        probe = {"space": "a", "feature": row.tolist()}
        for a, b in ((probe, other), (other, probe)):
            assert (await client.post("/verify", json={"a": a, "b": b})).json()["confidence"] == told


async def test_a_norm_is_of_what_was_sent_and_of_no_translation(tmp_path: Path) -> None:
    """Where two translators tell, the second sees features of length one."""
    bundles = tmp_path / "bundles"
    for name, graph, source, target in (("a-to-b", A_TO_B, A, B), ("b-to-c", B_TO_C, B, C)):
        model = by_norm_too(confidence_model(source.dimension, target.dimension))
        # The first tells 0.95 by itself, the second what it sees.
        if source == A:
            ones = np.full(3, 0.95, dtype=np.float32)
            model = replace(model, plain=replace(model.plain, confidence_K=ones), with_norm=None)
        write(
            bundles / name, linear_graph(graph, source.dimension), source, target, more={"stats.npz": model.to_bytes()}
        )
    async with running(create_app(Settings(bundles=bundles, data=tmp_path / "data"))) as client:
        told = [
            (await client.post("/translate", json=asked(ROWS[[GOOD]] * length, "c"))).json()["confidence"]
            for length in (1.0, SHORT, LONG)
        ]
        assert told[0] == told[1] == told[2]


async def test_norms_of_features_beside_pictures_are_looked_at(serve: Serve, tmp_path: Path) -> None:
    write(tmp_path / "bundles" / "encode-a", encoder_graph(COLOURS_TO_A), None, A)
    async with serve(min_confidence=0.5) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        templates = [
            {"subject": "ann", "image": base64_of(picture_bytes((9, 200, 40)))},
            *({"subject": "bob", "feature": (ROWS[GOOD] * norm).tolist()} for norm in (SHORT, LONG)),
        ]
        body = {"space": "a", "templates": templates}
        mixed = (await client.post("/galleries/people/templates", json=body)).json()["flagged"]
        assert 1 in mixed
        assert 2 not in mixed


async def test_the_norms_of_a_feature_set_are_looked_at(serve: Serve) -> None:
    async with serve(min_confidence=0.5) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        npz = {"content-type": "application/x-npz"}
        norms = np.array([SHORT, LONG, np.nan, LONG])
        data = feature_set(A, ROWS[[GOOD, GOOD, GOOD, ODD]], ["ann", "bob", "cid", "dee"], norm=norms)
        enrolled = await client.post("/galleries/people/templates", content=data, headers=npz)
        assert enrolled.json()["flagged"] == [0, 3]
        found = await client.post("/identify", params={"gallery": "people"}, content=data, headers=npz)
        told = [one["confidence"] for one in found.json()["results"]]
        assert told == [TOLD_OF_SHORT, TOLD_OF_LONG, TOLD[GOOD], TOLD[ODD]]
        # What the features themselves show goes before, and a norm of one says nothing.
        raw = ROWS[[GOOD, GOOD]] / np.linalg.norm(ROWS[GOOD]) * np.array([[LONG], [1.0]])
        data = feature_set(A, raw, ["ann", "bob"], norm=np.array([SHORT, 1.0]))
        found = await client.post("/identify", params={"gallery": "people"}, content=data, headers=npz)
        assert [one["confidence"] for one in found.json()["results"]] == [TOLD_OF_LONG, TOLD[GOOD]]


async def test_nothing_is_told_where_nothing_is_translated_or_a_translator_does_not_tell(
    client: httpx.AsyncClient,
) -> None:
    for target in ("a", "c"):
        answer = (await client.post("/translate", json=asked(target=target))).json()
        assert (answer["confidence"], answer["flagged"]) == (None, [])


@pytest.mark.parametrize(
    ("trust", "flagged"),
    [
        ({"min_confidence": 0.6}, [FAIR, POOR, ODD]),
        ({"min_confidence": 0.0}, [POOR, ODD]),
        ({"min_confidence": 0.6, "on_low": "pass"}, [POOR, ODD]),
        ({"on_low": "flag"}, [POOR, ODD]),
    ],
)
async def test_a_request_may_ask_for_more_and_not_for_less(
    client: httpx.AsyncClient, trust: dict[str, Any], flagged: list[int]
) -> None:
    assert (await client.post("/translate", json=asked(trust=trust))).json()["flagged"] == flagged


async def test_a_flag_that_is_asked_for_is_no_refusal_where_only_less_is_refused(serve: Serve) -> None:
    async with serve(low_confidence="refuse", min_confidence=0.05) as client:
        answer = await client.post("/translate", json=asked(ROWS[:2], trust={"min_confidence": 0.6}))
        assert (answer.status_code, answer.json()["flagged"]) == (200, [FAIR])
        assert (await client.post("/translate", json=asked(ROWS[:3]))).status_code == 422


async def test_what_confidence_means_is_told_with_the_bundle(client: httpx.AsyncClient) -> None:
    told = {one["name"]: one["confidence"] for one in (await client.get("/bundles")).json()["bundles"]}
    assert told == {"a-to-b": {"meaning": "tar", "fmr": 0.001, "uses_norms": True}, "b-to-c": None}


@pytest.mark.parametrize("name", ["fmr", "fpir", "modality", "min_confidence", "on_low"])
async def test_what_a_json_body_must_hold_is_not_taken_from_its_query(client: httpx.AsyncClient, name: str) -> None:
    value = {"modality": "sketch", "on_low": "refuse"}.get(name, "0.5")
    body = {"gallery": "people", "probe": {"space": "a", "feature": ROWS[GOOD].tolist()}}
    response = await client.post("/identify", params={name: value}, json=body)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
    assert name in response.json()["detail"]


async def test_a_parameter_that_there_is_not_is_refused(client: httpx.AsyncClient) -> None:
    query = {"gallery": "people", "space": "a", "frm": "0.01"}
    assert (await client.post("/identify", params=query, content=npy(ROWS), headers=NPY)).status_code == 422


async def test_a_refusal_names_the_rows_and_none_of_the_numbers(client: httpx.AsyncClient) -> None:
    response = await client.post("/translate", json=asked(trust={"on_low": "refuse", "min_confidence": 0.3}))
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:low-confidence")
    assert response.json()["detail"] == "2 of 4 translations cannot be trusted to 0.3: rows 2, 3"
    many = await client.post("/translate", json=asked(np.tile(ROWS[[ODD]], (12, 1)), trust={"on_low": "refuse"}))
    assert many.json()["detail"].endswith("rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...")
    fine = await client.post("/translate", json=asked(ROWS[:2], trust={"on_low": "refuse", "min_confidence": 0.3}))
    assert fine.status_code == 200


@pytest.mark.parametrize("trust", [{"on_low": "warn"}, {"min_confidence": 2}, {"min_confidence": "x"}, {"more": 1}, []])
async def test_what_cannot_be_meant_is_refused(client: httpx.AsyncClient, trust: Any) -> None:
    response = await client.post("/translate", json=asked(trust=trust))
    assert response.json()["type"].endswith("invalid-request")
    assert all(fault["pointer"].startswith("/trust") for fault in response.json()["errors"])


async def test_binary_answers_tell_in_a_header_where_they_are_asked(client: httpx.AsyncClient) -> None:
    query: dict[str, str | float] = {"source": "a", "target": "b"}
    plain = await client.post("/translate", params=query, content=npy(ROWS), headers=NPY)
    assert "x-facebridge-flagged" not in plain.headers
    told = await client.post("/translate", params=query | {"min_confidence": 0.6}, content=npy(ROWS), headers=NPY)
    assert told.headers["x-facebridge-flagged"] == "1,2,3"
    assert told.content == plain.content
    many = npy(np.tile(ROWS[[ODD]], (300, 1)))
    long = await client.post("/translate", params=query | {"on_low": "flag"}, content=many, headers=NPY)
    assert long.headers["x-facebridge-flagged"].endswith(",98,99, ... of 300")
    refused = await client.post("/translate", params=query | {"on_low": "refuse"}, content=npy(ROWS), headers=NPY)
    assert refused.json()["type"].endswith("low-confidence")
    assert (
        await client.post("/translate", params=query | {"on_low": "x"}, content=npy(ROWS), headers=NPY)
    ).status_code == 422


async def test_verify_and_identify_tell_it_of_the_probe(client: httpx.AsyncClient) -> None:
    probe, other = ({"space": "a", "feature": ROWS[POOR].tolist()}, {"space": "b", "feature": [1.0] * 16})
    for a, b in ((probe, other), (other, probe)):
        verified = (await client.post("/verify", json={"a": a, "b": b})).json()
        assert (verified["confidence"], verified["flagged"]) == (TOLD[POOR], True)
    native = (await client.post("/verify", json={"a": other, "b": other})).json()
    assert (native["confidence"], native["flagged"]) == (None, False)
    await client.post("/galleries", json={"name": "people", "space": "b"})
    await client.post(
        "/galleries/people/templates", json={"space": "b", "templates": [{"subject": "ann", "feature": [1.0] * 16}]}
    )
    body = {"gallery": "people", "probe": probe}
    found = (await client.post("/identify", json=body)).json()
    assert (found["confidence"], found["flagged"], len(found["candidates"])) == (TOLD[POOR], True, 1)
    refused = await client.post("/identify", json=body | {"trust": {"on_low": "refuse"}})
    assert refused.json()["type"].endswith("low-confidence")
    query: dict[str, str | float] = {"gallery": "people", "space": "a", "min_confidence": 0.6}
    batch = (await client.post("/identify", params=query, content=npy(ROWS), headers=NPY)).json()["results"]
    assert [one["confidence"] for one in batch] == TOLD
    assert [one["flagged"] for one in batch] == [False, True, True, True]


async def test_a_setting_holds_for_every_request_and_for_enrolments(serve: Serve) -> None:
    async with serve(low_confidence="refuse", min_confidence=0.3) as client:
        assert (await client.post("/translate", json=asked(trust={"on_low": "pass"}))).status_code == 422
        query = {"source": "a", "target": "b"}
        assert (await client.post("/translate", params=query, content=npy(ROWS), headers=NPY)).status_code == 422
        await client.post("/galleries", json={"name": "people", "space": "b"})
        data = feature_set(A, ROWS, ["ann", "bob", "cid", "dee"])
        npz = {"content-type": "application/x-npz"}
        refused = await client.post("/galleries/people/templates", content=data, headers=npz)
        assert refused.json()["type"].endswith("low-confidence")
        assert (await client.get("/galleries/people")).json()["num_templates"] == 0


async def test_enrolments_are_flagged(client: httpx.AsyncClient) -> None:
    await client.post("/galleries", json={"name": "people", "space": "b"})
    templates = [{"subject": "ann", "feature": base64_of(row)} for row in ROWS]
    body = {"space": "a", "templates": templates}
    assert (await client.post("/galleries/people/templates", json=body)).json()["flagged"] == [POOR, ODD]
    metrics = (await client.get("/metrics")).text
    assert 'facebridge_low_confidence_vectors_total{source="a",target="b"} 2.0' in metrics
    assert 'facebridge_judged_vectors_total{source="a",target="b"} 4.0' in metrics


async def test_of_what_nobody_looked_at_nothing_is_said_to_be_trusted(client: httpx.AsyncClient) -> None:
    query = {"source": "a", "target": "b"}
    assert (await client.post("/translate", params=query, content=npy(ROWS), headers=NPY)).status_code == 200
    metrics = (await client.get("/metrics")).text
    assert 'facebridge_translated_vectors_total{source="a",target="b"} 4.0' in metrics
    assert 'facebridge_judged_vectors_total{source="a",target="b"} 0.0' in metrics


def odd(num: int) -> Rows:
    return np.tile(ROWS[[ODD]], (num, 1))


async def arriving(client: httpx.AsyncClient, name: str) -> Any:
    return next(one["arriving"] for one in (await client.get("/spaces")).json() if one["name"] == name)


async def test_features_of_another_space_raise_an_alarm(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await arriving(client, "a"))["state"] == "unknown"
    assert await arriving(client, "c") is None
    with caplog.at_level(logging.INFO, "facebridge.spaces"):
        answer = await client.post("/translate", json=asked(odd(6)))
    assert answer.status_code == 200
    seen = await arriving(client, "a")
    assert (seen["state"], seen["num_seen"], seen["outlier_share"]) == ("suspected", 6, 1.0)
    assert "100% of the last 6 features" in seen["reason"]
    told = [record.levelname for record in caplog.records if record.name == "facebridge.spaces"]
    assert told == ["WARNING"]
    assert "features of the space a does not look like it" in caplog.text
    metrics = (await client.get("/metrics")).text
    assert 'facebridge_space_suspected{space="a",tenant="default"} 1.0' in metrics
    assert 'facebridge_space_alarms_total{space="a",tenant="default"} 1.0' in metrics
    assert 'facebridge_space_outlier_share{space="a",tenant="default"} 1.0' in metrics
    with caplog.at_level(logging.INFO, "facebridge.spaces"):
        await client.post("/translate", json=asked(np.tile(ROWS[[GOOD]], (200, 1))))
    assert (await arriving(client, "a"))["state"] == "usual"
    assert 'facebridge_space_suspected{space="a",tenant="default"} 0.0' in (await client.get("/metrics")).text
    assert "looks like it again" in caplog.text


async def test_what_one_tenant_sends_is_not_suspicious_in_another(serve: Serve, tmp_path: Path) -> None:
    keys = {
        tenant: make_key(tmp_path / "data" / "keys.json", "all", SCOPES, tenant=tenant) for tenant in ("acme", "other")
    }
    async with serve(wrong_space="refuse") as client:
        for tenant, statuses in (("acme", [200, 409]), ("other", [200, 200])):
            client.headers["x-api-key"] = keys[tenant].text
            rows = [odd(4), odd(1)] if tenant == "acme" else [odd(1), odd(1)]
            assert [(await client.post("/translate", json=asked(one))).status_code for one in rows] == statuses
        seen = await arriving(client, "a")
        assert (seen["state"], seen["num_seen"]) == ("unknown", 2)
        metrics = (await client.get("/metrics")).text
        client.headers["x-api-key"] = keys["acme"].text
        assert (await arriving(client, "a"))["state"] == "suspected"
    assert 'facebridge_space_suspected{space="a",tenant="acme"} 1.0' in metrics
    assert 'facebridge_space_suspected{space="a",tenant="other"} 0.0' in metrics
    assert 'facebridge_space_alarms_total{space="a",tenant="acme"} 1.0' in metrics
    # From nothing: of a series that begins at one nobody sees an increase.
    assert 'facebridge_space_alarms_total{space="a",tenant="other"} 0.0' in metrics


@pytest.mark.parametrize("verb", ["translate", "verify", "identify", "enrol"])
async def test_under_the_strict_setting_a_suspected_space_is_refused_everywhere(serve: Serve, verb: str) -> None:
    async with serve(wrong_space="refuse") as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        assert (await client.post("/translate", json=asked(odd(4)))).status_code == 200
        assert (await client.post("/translate", json=asked(odd(1)))).status_code == 409
        one = {"space": "a", "feature": ROWS[GOOD].tolist()}
        bodies: dict[str, tuple[str, dict[str, Any]]] = {
            "translate": ("/translate", asked(ROWS[:1])),
            "verify": ("/verify", {"a": one, "b": one}),
            "identify": ("/identify", {"gallery": "people", "probe": one}),
            "enrol": (
                "/galleries/people/templates",
                {"space": "a", "templates": [{"subject": "ann", "feature": ROWS[GOOD].tolist()}]},
            ),
        }
        path, body = bodies[verb]
        response = await client.post(path, json=body)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-suspected")
        assert "the space a does not look like it" in response.json()["detail"]
        # Other spaces go on, and enough of the right features end it.
        assert (await client.post("/verify", json={"a": one | {"space": "b", "feature": [1.0] * 16}, "b": {
            "space": "b", "feature": [1.0] * 16}})).status_code == 200  # fmt: skip
        for _ in range(4):
            await client.post("/translate", json=asked(np.tile(ROWS[[GOOD]], (50, 1))))
        assert (await client.post(path, json=body)).status_code in (200, 201)


async def test_the_stream_is_told_too(serve: Serve) -> None:
    async with serve(stream_limit=0.5) as client:
        rows = np.abs(np.random.default_rng(0).normal(size=(80, 8)))
        await client.post("/translate", json=asked(rows))
        seen = await arriving(client, "a")
        assert seen["num_faces"] >= 20
        assert (
            f'facebridge_space_stream_score{{space="a",tenant="default"}} {seen["stream_score"]}'
            in (await client.get("/metrics")).text
        )


@pytest.mark.parametrize("tells", [True, False])
async def test_in_a_common_space_both_are_projected_and_the_lesser_confidence_is_told(
    tmp_path: Path, tells: bool
) -> None:
    common = Space("common", 6, "sha256:" + "c" * 64)
    for name, space in (("common-a", A), ("common-b", B)):
        model = replace(confidence_model(space.dimension, 6), target=None)
        more = {"stats.npz": model.to_bytes()} if tells or space == A else {}
        graph = linear_graph(_map(5, space.dimension, 6), space.dimension)
        write(tmp_path / "bundles" / name, graph, space, common, method="cca", more=more)
    good, poor = np.zeros(16), np.zeros(16)
    good[:2], poor[:2] = (0.8, 0.6), (-0.8, 0.6)
    probe = {"space": "a", "feature": ROWS[FAIR].tolist()}
    async with running(create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))) as client:
        for row, least in ((good, FAIR), (poor, POOR)):
            other = {"space": "b", "feature": row.tolist()}
            for a, b in ((probe, other), (other, probe)):
                verified = (await client.post("/verify", json={"a": a, "b": b})).json()
                assert verified["confidence"] == (TOLD[least] if tells else None)
                assert verified["flagged"] == (tells and least == POOR)
        strict = {"a": probe, "b": other, "trust": {"on_low": "refuse", "min_confidence": 0.3}}
        assert (await client.post("/verify", json=strict)).status_code == (422 if tells else 200)
        # Of the common space, where features of both encoders lie, nothing says what is usual.
        arriving = {one["name"]: one["arriving"] for one in (await client.get("/spaces")).json()}
        assert arriving["a"] is not None
        assert arriving["common"] is None


async def test_in_a_common_space_the_norms_of_both_sides_are_looked_at(tmp_path: Path) -> None:
    common = Space("common", 6, "sha256:" + "c" * 64)
    for name, space in (("common-a", A), ("common-b", B)):
        model = by_norm_too(replace(confidence_model(space.dimension, 6), target=None))
        graph = linear_graph(_map(5, space.dimension, 6), space.dimension)
        more = {"stats.npz": model.to_bytes()}
        write(tmp_path / "bundles" / name, graph, space, common, method="cca", more=more)
    of_a, of_b = (np.eye(dimension)[0] for dimension in (8, 16))
    async with running(create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))) as client:
        for norm_a, norm_b, told in ((LONG, LONG, 0.75), (LONG, SHORT, 0.25), (SHORT, LONG, 0.25), (1.0, LONG, 0.75)):
            sides = (
                {"space": "a", "feature": (of_a * norm_a).tolist()},
                {"space": "b", "feature": (of_b * norm_b).tolist()},
            )
            for a, b in (sides, sides[::-1]):
                answer = (await client.post("/verify", json={"a": a, "b": b})).json()
                assert answer["confidence"] == pytest.approx(told)


async def test_of_drawings_nothing_is_told_and_they_are_not_watched(serve: Serve) -> None:
    """What was measured is of photos. A modality that nobody measured is no way around what an operator set."""
    sketches = Calibration({"translated/sketch": (OperatingPoint(0.01, 0.2, 0.1, 100, 10_000),)})
    async with serve(low_confidence="refuse", wrong_space="refuse", calibration=sketches) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        templates = [{"subject": "ann", "feature": [1.0] * 16}]
        await client.post("/galleries/people/templates", json={"space": "b", "templates": templates})
        drawing = {"space": "a", "feature": ROWS[ODD].tolist(), "modality": "sketch"}
        other = {"space": "b", "feature": [1.0] * 16}
        for _ in range(10):
            found = await client.post("/identify", json={"gallery": "people", "probe": drawing})
            assert found.status_code == 200
            assert (found.json()["confidence"], found.json()["flagged"]) == (None, False)
            verified = (await client.post("/verify", json={"a": drawing, "b": other})).json()
            assert (verified["confidence"], verified["flagged"]) == (None, False)
        query = {"gallery": "people", "space": "a", "modality": "sketch"}
        batch = (await client.post("/identify", params=query, content=npy(ROWS), headers=NPY)).json()["results"]
        assert [one["confidence"] for one in batch] == [None] * 4
        assert (await arriving(client, "a"))["num_seen"] == 0
        for modality in ("photo", "x"):
            photo = {"space": "a", "feature": ROWS[ODD].tolist(), "modality": modality}
            assert (await client.post("/identify", json={"gallery": "people", "probe": photo})).status_code == 422
            refused = await client.post("/verify", json={"a": photo, "b": other})
            assert (refused.status_code, modality) == (422, modality)
        assert (await arriving(client, "a"))["num_seen"] == 4


@pytest.mark.parametrize("policy", ["pass", "flag"])
async def test_what_is_low_is_counted_whatever_becomes_of_it(serve: Serve, policy: str) -> None:
    async with serve(low_confidence=policy, min_confidence=0.3) as client:
        assert (await client.post("/translate", json=asked())).status_code == 200
        assert (await client.post("/translate", json=asked(target="c"))).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'facebridge_low_confidence_vectors_total{source="a",target="b"} 2.0' in metrics
    # Of the way on to c nothing tells.
    assert 'facebridge_translated_vectors_total{source="a",target="c"} 4.0' in metrics
    assert 'facebridge_judged_vectors_total{source="a",target="c"} 0.0' in metrics
