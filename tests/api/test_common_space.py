"""Verify and identify across encoders that have nothing but a common space, over both gallery stores."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from models.calibration import Calibration
from models.linear import LinearMap
from models.operating_point import OperatingPoint, fpir_for_fmr
from models.space import Space
from service.app import create_app
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.world import _map, by_hand, features, npz, running, unit, write
from training.export.linear_graph import linear_graph

CAMERA, CLOUD = Space("camera", 8, "external:camera"), Space("cloud", 16, "external:cloud")
COMMON = Space("common", 6, "sha256:" + "c" * 64)
TO_COMMON = {"camera": _map(11, 8, 6), "cloud": _map(12, 16, 6)}
POINTS = (OperatingPoint(fmr=0.01, threshold=0.25, fnmr=0.05, num_genuine=100, num_impostors=10_000),)


@pytest_asyncio.fixture(loop_scope="session", params=["embedded", "oracle"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    for space in (CAMERA, CLOUD):
        graph = linear_graph(TO_COMMON[space.name], space.dimension)
        calibration = Calibration({"translated": POINTS})
        folder = tmp_path / "bundles" / f"common-{space.name}"
        write(folder, graph, space, COMMON, quality=0.8, calibration=calibration, method="cca")
    store = OracleGalleryStore() if request.param == "oracle" else None
    settings = Settings(bundles=tmp_path / "bundles", data=tmp_path / "data", device="cpu")
    async with running(create_app(settings, store=store)) as opened:
        yield opened


async def enrolled(client: httpx.AsyncClient, subjects: list[str], rows: Any) -> None:
    templates = [{"subject": s, "feature": row.tolist()} for s, row in zip(subjects, rows, strict=True)]
    body = {"space": "cloud", "templates": templates}
    response = await client.post("/galleries/people/templates", json=body)
    assert response.status_code == 201, response.text


def expected_ranking(probe: Any, rows: Any) -> list[tuple[int, float]]:
    scores = by_hand(rows, TO_COMMON["cloud"]) @ by_hand(probe, TO_COMMON["camera"])
    return [(int(row), float(scores[row])) for row in np.argsort(-scores)]


async def test_a_gallery_keeps_native_features_and_is_searched_in_the_common_space(client: httpx.AsyncClient) -> None:
    assert (await client.post("/galleries", json={"name": "people", "space": "cloud"})).status_code == 201
    rows, probe = features(20, 16, seed=1), features(1, 8, seed=2)[0]
    await enrolled(client, [f"s{i:02d}" for i in range(20)], rows)
    body = {"gallery": "people", "probe": {"space": "camera", "feature": probe.tolist()}, "top_k": 5}
    answer = (await client.post("/identify", json=body)).json()
    ranking = expected_ranking(probe, rows)[:5]
    assert [c["subject"] for c in answer["candidates"]] == [f"s{row:02d}" for row, _ in ranking]
    assert [c["score"] for c in answer["candidates"]] == pytest.approx([score for _, score in ranking], abs=1e-6)
    assert answer["route"]["bundles"] == ["common-camera", "common-cloud"]
    assert answer["route"]["common_space"]["name"] == "common"
    assert (answer["route"]["source"]["name"], answer["route"]["target"]["name"]) == ("camera", "cloud")


async def test_native_probes_of_the_same_gallery_are_compared_natively(client: httpx.AsyncClient) -> None:
    await client.post("/galleries", json={"name": "people", "space": "cloud"})
    rows = features(10, 16, seed=1)
    await enrolled(client, [f"s{i}" for i in range(10)], rows)
    body = {"gallery": "people", "probe": {"space": "cloud", "feature": rows[3].tolist()}, "top_k": 1}
    answer = (await client.post("/identify", json=body)).json()
    assert answer["candidates"][0] == answer["candidates"][0] | {"subject": "s3", "score": pytest.approx(1.0, abs=1e-6)}
    assert answer["route"]["common_space"] is None
    assert answer["route"]["bundles"] == []


async def test_many_probes_at_once_give_the_same_candidates(client: httpx.AsyncClient) -> None:
    await client.post("/galleries", json={"name": "people", "space": "cloud"})
    rows, probes = features(30, 16, seed=1), features(5, 8, seed=3)
    await enrolled(client, [f"s{i:02d}" for i in range(30)], rows)
    columns = {"feature": probes.astype(np.float32), "image": np.array(list("abcde")), "subject": np.array([""] * 5)}
    response = await client.post(
        "/identify?gallery=people&top_k=1", content=npz(CAMERA, columns), headers={"content-type": "application/x-npz"}
    )
    first = [result["candidates"][0]["subject"] for result in response.json()["results"]]
    assert first == [f"s{expected_ranking(probe, rows)[0][0]:02d}" for probe in probes]


async def test_what_is_enrolled_and_removed_later_is_seen_in_the_common_space(client: httpx.AsyncClient) -> None:
    await client.post("/galleries", json={"name": "people", "space": "cloud"})
    rows, probe = features(4, 16, seed=5), features(1, 8, seed=6)[0]
    body = {"gallery": "people", "probe": {"space": "camera", "feature": probe.tolist()}, "top_k": 9}
    seen = []
    for i, row in enumerate(rows):
        await enrolled(client, [f"s{i}"], row[None])
        answer = (await client.post("/identify", json=body)).json()
        seen.append([c["subject"] for c in answer["candidates"]])
    assert seen[-1] == [f"s{row}" for row, _ in expected_ranking(probe, rows)]
    assert [len(subjects) for subjects in seen] == [1, 2, 3, 4]
    await client.delete(f"/galleries/people/subjects/{seen[-1][0]}")
    answer = (await client.post("/identify", json=body)).json()
    assert [c["subject"] for c in answer["candidates"]] == seen[-1][1:]


async def test_two_features_are_verified_in_the_common_space(client: httpx.AsyncClient) -> None:
    a, b = features(1, 8, seed=7)[0], features(1, 16, seed=8)[0]
    expected = float(by_hand(a, TO_COMMON["camera"]) @ by_hand(b, TO_COMMON["cloud"]))
    sides = [{"space": "camera", "feature": a.tolist()}, {"space": "cloud", "feature": b.tolist()}]
    for one, other in (sides, sides[::-1]):
        answer = (await client.post("/verify", json={"a": one, "b": other, "fmr": 0.01})).json()
        assert answer["score"] == pytest.approx(expected, abs=1e-6)
        assert answer["threshold"] == 0.25
        assert answer["decision"] == ("match" if expected >= 0.25 else "non-match")
        assert answer["route"]["common_space"]["fingerprint"] == COMMON.fingerprint
        assert set(answer["route"]["bundles"]) == {"common-camera", "common-cloud"}


async def test_nothing_is_translated_into_a_space_that_no_translator_leads_to(client: httpx.AsyncClient) -> None:
    body = {"source": "camera", "target": "cloud", "features": features(1, 8).tolist()}
    assert (await client.post("/translate", json=body)).status_code == 422
    await client.post("/galleries", json={"name": "people", "space": "cloud"})
    samples = {"space": "camera", "templates": [{"subject": "ann", "feature": features(1, 8)[0].tolist()}]}
    assert (await client.post("/galleries/people/templates", json=samples)).status_code == 409


async def test_features_can_be_projected_and_kept_in_the_common_space(client: httpx.AsyncClient) -> None:
    rows = features(3, 8, seed=9)
    body = {"source": "camera", "target": "common", "features": rows.tolist()}
    answer = (await client.post("/translate", json=body)).json()
    np.testing.assert_allclose(answer["features"], by_hand(rows, TO_COMMON["camera"]), atol=1e-6)
    assert (await client.post("/galleries", json={"name": "people", "space": "common"})).status_code == 201
    await enrolled(client, ["ann"], features(1, 16, seed=1))
    probe = {"space": "camera", "feature": rows[0].tolist()}
    found = (await client.post("/identify", json={"gallery": "people", "probe": probe, "top_k": 1})).json()
    assert found["candidates"][0]["score"] == pytest.approx(
        float(by_hand(features(1, 16, seed=1)[0], TO_COMMON["cloud"]) @ by_hand(rows[0], TO_COMMON["camera"])), abs=1e-6
    )


async def test_a_probe_that_was_kept_in_the_common_space_finds_people_of_a_native_gallery(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/galleries", json={"name": "people", "space": "cloud"})
    rows, probe = features(20, 16, seed=1), features(1, 8, seed=2)[0]
    await enrolled(client, [f"s{i:02d}" for i in range(20)], rows)
    kept = {"space": "common", "feature": by_hand(probe, TO_COMMON["camera"]).tolist()}
    answer = (await client.post("/identify", json={"gallery": "people", "probe": kept, "top_k": 3})).json()
    assert [c["subject"] for c in answer["candidates"]] == [
        f"s{row:02d}" for row, _ in expected_ranking(probe, rows)[:3]
    ]
    assert answer["route"]["bundles"] == ["common-cloud"]
    assert answer["route"]["common_space"]["name"] == "common"


async def test_no_threshold_is_claimed_for_what_was_kept_in_the_common_space(client: httpx.AsyncClient) -> None:
    """It may be of the same encoder as the other, whose impostors score higher."""
    a, b = features(2, 8, seed=7)
    kept = {"space": "common", "feature": by_hand(a, TO_COMMON["camera"]).tolist()}
    body = {"a": kept, "b": {"space": "camera", "feature": b.tolist()}}
    assert (await client.post("/verify", json=body)).json()["score"] == pytest.approx(
        float(by_hand(a, TO_COMMON["camera"]) @ by_hand(b, TO_COMMON["camera"])), abs=1e-6
    )
    refused = await client.post("/verify", json=body | {"fmr": 0.01})
    assert refused.status_code == 422
    assert "measured: none" in refused.json()["detail"]


async def test_a_stored_template_without_direction_in_the_common_space_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Enrolled before the projections were there. The probe is sound, and is told so."""
    rows = features(3, 16, seed=1)
    rows[1] = np.eye(16)[0]
    # A projection that finds nothing in the second of them.
    weight_ST = TO_COMMON["cloud"].weight_ST.copy()
    weight_ST[0] = 0
    blind = LinearMap(weight_ST, np.zeros(6, dtype=np.float32))
    settings = Settings(bundles=tmp_path / "bundles", data=tmp_path / "data", device="cpu")
    write(tmp_path / "bundles" / "same-cloud", linear_graph(_map(3, 16, 16), 16), CLOUD, Space("x", 16, "external:x"))
    async with running(create_app(settings)) as opened:
        await opened.post("/galleries", json={"name": "people", "space": "cloud"})
        await enrolled(opened, ["ann", "bob", "eve"], rows)
        (bob,) = (await opened.get("/galleries/people/templates?subject=bob")).json()["templates"]
    for space, linear in ((CAMERA, TO_COMMON["camera"]), (CLOUD, blind)):
        folder = tmp_path / "bundles" / f"common-{space.name}"
        write(folder, linear_graph(linear, space.dimension), space, COMMON, method="cca")
    probe = {"gallery": "people", "probe": {"space": "camera", "feature": features(1, 8)[0].tolist()}, "top_k": 1}
    caplog.set_level("WARNING", logger="facebridge")
    async with running(create_app(settings)) as opened:
        for _ in range(2):
            answer = await opened.post("/identify", json=probe)
            assert answer.status_code == 500
            assert f"template {bob['template_id']} has no direction there; remove it" in answer.json()["detail"]
        assert f"template {bob['template_id']}" in caplog.text
        native = {"space": "cloud", "feature": rows[0].tolist()}
        assert (await opened.post("/identify", json=probe | {"probe": native})).status_code == 200
        await opened.delete("/galleries/people/subjects/bob")
        assert (await opened.post("/identify", json=probe)).status_code == 200


async def test_the_common_space_is_listed(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/routes?source=camera&target=cloud")).json()
    assert [(r["common_space"]["name"], r["bundles"], r["false_match_rates"]) for r in listed] == [
        ("common", ["common-camera", "common-cloud"], [0.01])
    ]
    assert {space["name"] for space in (await client.get("/spaces")).json()} == {"camera", "cloud", "common"}


async def test_galleries_are_indexed_again_when_the_service_starts(tmp_path: Path) -> None:
    bundles, data = tmp_path / "bundles", tmp_path / "data"
    graph = {space.name: linear_graph(TO_COMMON[space.name], space.dimension) for space in (CAMERA, CLOUD)}
    write(bundles / "common-cloud", graph["cloud"], CLOUD, COMMON, method="cca")
    settings = Settings(bundles=bundles, data=data, device="cpu")
    rows, probe = features(6, 16, seed=1), unit(features(1, 8, seed=2)[0])
    async with running(create_app(settings)) as first:
        await first.post("/galleries", json={"name": "people", "space": "cloud"})
        await enrolled(first, [f"s{i}" for i in range(6)], rows)
    write(bundles / "common-camera", graph["camera"], CAMERA, COMMON, method="cca")
    async with running(create_app(settings)) as again:
        body = {"gallery": "people", "probe": {"space": "camera", "feature": probe.tolist()}, "top_k": 6}
        answer = (await again.post("/identify", json=body)).json()
    assert [c["subject"] for c in answer["candidates"]] == [f"s{row}" for row, _ in expected_ranking(probe, rows)]


@pytest.mark.parametrize("becomes", ["put back", "of another space"])
async def test_a_gallery_that_changes_while_it_is_asked_is_asked_as_it_is_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    for space in (CAMERA, CLOUD):
        graph = linear_graph(TO_COMMON[space.name], space.dimension)
        write(tmp_path / "bundles" / f"common-{space.name}", graph, space, COMMON, method="cca")
    store = EmbeddedGalleryStore(tmp_path / "data")
    ensure, times = store.ensure_index, []

    def ensured(*args: Any) -> None:
        ensure(*args)
        times.append(1)
        if len(times) == 1 and becomes == "put back":
            store.restore("people", store.snapshots("people")[0].snapshot_id)
        elif len(times) == 1:
            store.drop("people")
            store.create("people", Space("far", 8, "external:far"))

    settings = Settings(bundles=tmp_path / "bundles", data=tmp_path / "data", device="cpu")
    async with running(create_app(settings, store=store)) as opened:
        await opened.post("/galleries", json={"name": "people", "space": "cloud"})
        await enrolled(opened, ["ann", "bob"], features(2, 16, seed=1))
        assert (await opened.post("/galleries/people/snapshots")).status_code == 201
        monkeypatch.setattr(store, "ensure_index", ensured)
        body = {"gallery": "people", "probe": {"space": "camera", "feature": features(1, 8, seed=2)[0].tolist()}}
        answer = await opened.post("/identify", json=body)
    if becomes == "put back":
        assert answer.status_code == 200
        assert len(times) == 2
        assert {one["subject"] for one in answer.json()["candidates"]} == {"ann", "bob"}
    else:
        assert answer.status_code == 409


async def test_a_rate_that_the_common_space_cannot_keep_goes_by_a_translator_that_can(tmp_path: Path) -> None:
    """Though the common space misses fewer at the rate that both have measured."""
    for space in (CAMERA, CLOUD):
        graph = linear_graph(TO_COMMON[space.name], space.dimension)
        folder = tmp_path / "bundles" / f"common-{space.name}"
        write(folder, graph, space, COMMON, calibration=Calibration({"translated": POINTS}), method="cca")
    lower = (replace(POINTS[0], fnmr=0.1), replace(POINTS[0], fmr=0.001, threshold=0.5, fnmr=0.2))
    direct = linear_graph(_map(13, 8, 16), 8)
    write(tmp_path / "bundles" / "direct", direct, CAMERA, CLOUD, calibration=Calibration({"translated": lower}))
    settings = Settings(bundles=tmp_path / "bundles", data=tmp_path / "data", device="cpu")
    async with running(create_app(settings)) as client:
        await client.post("/galleries", json={"name": "people", "space": "cloud"})
        await enrolled(client, [f"s{i}" for i in range(10)], features(10, 16, seed=1))
        body = {"gallery": "people", "probe": {"space": "camera", "feature": features(1, 8, seed=2)[0].tolist()}}
        for rate, bundles in (({}, 2), ({"fmr": 0.01}, 2), ({"fmr": 0.001}, 1), ({"fpir": fpir_for_fmr(0.001, 10)}, 1)):
            answer = (await client.post("/identify", json=body | rate)).json()
            assert len(answer["route"]["bundles"]) == bundles, (rate, answer)
