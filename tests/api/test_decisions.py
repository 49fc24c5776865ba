"""Match or nobody, at a stated rate: thresholds belong to the way in which probe and template became comparable."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from models.bundle import chain_of
from models.calibration import Calibration, ChainCalibration, ScoreScale
from models.operating_point import OperatingPoint, fmr_for_fpir, fpir_for_fmr
from service.app import create_app
from service.settings import Settings
from tests.api.world import (
    A_TO_B,
    C_TO_A,
    A,
    B,
    C,
    Rows,
    _map,
    by_hand,
    encoder_graph,
    feature_set,
    features,
    npy,
    running,
    write,
)
from training.export.linear_graph import linear_graph

FROM_A = features(1, 8, seed=22)
"""Of eve, who was enrolled by the other encoder."""
EVE = by_hand(FROM_A, A_TO_B)[0]
NATIVE = np.linalg.qr(np.column_stack([EVE, features(16, 5, seed=21)]))[0].T[1:]
"""Nobody is like anybody else, nor like eve."""
SUBJECTS = ["ann", "bob", "cid", "dee", "ann"]
COMPARED = {"native-target": (0.5, 0.9), "translated": (0.4, 0.8), "both-translated": (0.6, 0.95)}


def scale(low: float, high: float) -> ScoreScale:
    return ScoreScale((-1.0, low, high), (1.0, 1e-2, 1e-4), (0.0, 0.1, 0.3), (-2.0, 1.0, 3.0), 800, 319_600)


def points(of: ScoreScale) -> tuple[OperatingPoint, ...]:
    found = [of.point_at(rate) for rate in (1e-2, 1e-4)]
    return tuple(point for point in found if point)


@pytest_asyncio.fixture(loop_scope="session")
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A gallery in b of five native templates, of sketches nothing but native comparisons are measured."""
    scales = {name: scale(*steps) for name, steps in COMPARED.items()}
    scales["native-target/sketch"] = scale(0.2, 0.7)
    stated = {name: points(one) for name, one in scales.items()}
    calibration = Calibration(stated, counted="people", scales=scales)
    write(tmp_path / "bundles" / "a-to-b", linear_graph(A_TO_B, 8), A, B, quality=0.9, calibration=calibration)
    app = create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))
    async with running(app) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        await enrol(client, "b", SUBJECTS, NATIVE)
        yield client


async def enrol(client: httpx.AsyncClient, space: str, subjects: list[str], rows: Rows) -> None:
    templates = [{"subject": s, "feature": row.tolist()} for s, row in zip(subjects, rows, strict=True)]
    response = await client.post("/galleries/people/templates", json={"space": space, "templates": templates})
    assert response.status_code == 201


def at(**wanted: float) -> Rows:
    """A unit vector of b with these scores: of a native template by its number, `n0` to `n4`, or with eve, `eve`."""
    everybody = {f"n{row}": one for row, one in enumerate(NATIVE)} | {"eve": EVE}
    inside: Rows = np.sum([score * everybody[name] for name, score in wanted.items()], axis=0)
    # The rest of its length lies where none of them is.
    outside: Rows = np.linalg.svd(np.stack(list(everybody.values())))[2][-1]
    return inside + np.sqrt(1 - inside @ inside) * outside


async def identify(
    client: httpx.AsyncClient, probe: Rows, space: str = "b", modality: str = "photo", **more: Any
) -> httpx.Response:
    asked = {"space": space, "feature": probe.tolist(), "modality": modality}
    return await client.post("/identify", json={"gallery": "people", "probe": asked} | more)


async def test_somebody_above_the_threshold_is_a_match_and_nobody_else_is_named(client: httpx.AsyncClient) -> None:
    answer = (await identify(client, at(n0=0.7, n1=0.45, n2=0.55), fmr=0.01)).json()
    assert answer["decision"] == "match"
    named = [(c["subject"], c["threshold"], c["score_fmr"], c["log10_likelihood_ratio"]) for c in answer["candidates"]]
    assert named == [("ann", 0.5, 1e-2, 1.0), ("cid", 0.5, 1e-2, 1.0)]
    assert [candidate["rank"] for candidate in answer["candidates"]] == [1, 2]
    assert answer["operating_points"] == [
        {"bundles": [], "modality": "photo", "threshold": 0.5, "fmr": 0.01, "fnmr": 0.1}
    ]
    assert (answer["fmr"], answer["num_templates"]) == (0.01, 5)
    assert answer["fpir"] == pytest.approx(1 - 0.99**5)


@pytest.mark.parametrize("rate", [{"fmr": 0.01}, {"fpir": 0.05}])
async def test_a_stranger_is_nobody(client: httpx.AsyncClient, rate: dict[str, Any]) -> None:
    answer = (await identify(client, at(n0=0.3, n1=0.49), **rate)).json()
    assert (answer["decision"], answer["candidates"]) == ("nobody", [])
    assert len(answer["operating_points"]) == 1


async def test_without_a_rate_everybody_is_ranked_and_told_what_the_score_means(client: httpx.AsyncClient) -> None:
    answer = (await identify(client, at(n0=0.95, n1=0.3))).json()
    assert (answer["decision"], answer["fmr"], answer["fpir"], answer["operating_points"]) == (None, None, None, [])
    assert {c["subject"] for c in answer["candidates"]} == {"ann", "bob", "cid", "dee"}
    ann, bob = answer["candidates"][:2]
    assert (ann["threshold"], ann["score_fmr"], ann["log10_likelihood_ratio"]) == (None, 1e-4, 3.0)
    assert (bob["threshold"], bob["score_fmr"], bob["log10_likelihood_ratio"]) == (None, 1.0, -2.0)


async def test_an_fpir_takes_a_threshold_by_the_size_of_the_gallery(client: httpx.AsyncClient) -> None:
    answer = (await identify(client, at(n0=0.85), fpir=0.04)).json()
    # Among five templates 0.04 is a false-match rate of 0.0081, for which only the higher threshold is strict enough.
    assert answer["fmr"] == pytest.approx(1 - 0.96 ** (1 / 5))
    assert (answer["fpir"], answer["decision"]) == (0.04, "nobody")
    assert (answer["operating_points"][0]["threshold"], answer["operating_points"][0]["fmr"]) == (0.9, 1e-4)
    assert (await identify(client, at(n0=0.85), fpir=0.06)).json()["decision"] == "match"


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ({"fmr": 1e-5}, "2,450 people"),
        ({"fpir": 1e-5}, "an FPIR of 1e-05 takes among 5 templates"),
        ({"fmr": 1e-300}, "measured: 0.01, 0.0001"),
    ],
)
async def test_a_rate_that_nobody_measured_is_refused_with_what_it_takes(
    client: httpx.AsyncClient, rate: dict[str, Any], words: str
) -> None:
    response = await identify(client, at(n0=0.95), **rate)
    assert response.status_code == 422
    assert response.json()["type"].endswith("no-operating-point")
    assert words in response.json()["detail"]


async def test_two_rates_at_once_are_refused(client: httpx.AsyncClient) -> None:
    response = await identify(client, at(n0=0.95), fmr=0.01, fpir=0.01)
    assert (response.status_code, response.json()["errors"][0]["reason"][-23:]) == (422, "give either fmr or fpir")
    query: dict[str, str | float] = {"gallery": "people", "space": "b", "fmr": 0.01, "fpir": 0.01}
    batch = await client.post(
        "/identify", params=query, content=npy(at(n0=0.9)[None]), headers={"content-type": "application/x-npy"}
    )
    assert batch.status_code == 422


async def test_in_a_mixed_gallery_each_template_has_the_threshold_of_its_own_way_there(
    client: httpx.AsyncClient,
) -> None:
    """Translated templates score lower than native ones: ranked by score alone, eve would not be among the first."""
    await enrol(client, "a", ["eve"], FROM_A)
    probe = at(n0=0.48, n1=0.49, n2=0.47, eve=0.45)
    first = (await identify(client, probe, top_k=1)).json()
    assert first["candidates"][0]["subject"] == "bob"
    answer = (await identify(client, probe, top_k=1, fmr=0.01)).json()
    assert [(c["subject"], c["threshold"]) for c in answer["candidates"]] == [("eve", 0.4)]
    used = {tuple(one["bundles"]): one["threshold"] for one in answer["operating_points"]}
    assert used == {(): 0.5, ("a-to-b",): 0.4}


async def test_a_subject_with_templates_of_two_origins_is_named_once_by_the_clearest(
    client: httpx.AsyncClient,
) -> None:
    await enrol(client, "a", ["ann"], FROM_A)
    answer = (await identify(client, at(n0=0.55, eve=0.6, n1=0.58), fmr=0.01)).json()
    assert [(c["subject"], c["threshold"]) for c in answer["candidates"]] == [("ann", 0.4), ("bob", 0.5)]


async def test_where_both_are_translated_the_threshold_is_that_of_both(client: httpx.AsyncClient) -> None:
    await enrol(client, "a", ["eve"], FROM_A)
    answer = (await identify(client, FROM_A[0], space="a", fmr=0.01)).json()
    assert answer["route"]["bundles"] == ["a-to-b"]
    assert answer["candidates"][0]["subject"] == "eve"
    assert answer["candidates"][0]["threshold"] == 0.6
    used = {tuple(one["bundles"]): one["threshold"] for one in answer["operating_points"]}
    assert used == {(): 0.4, ("a-to-b",): 0.6}


async def test_a_modality_has_thresholds_of_its_own(client: httpx.AsyncClient) -> None:
    answer = (await identify(client, at(n0=0.3), fmr=0.01, modality="sketch")).json()
    assert (answer["decision"], answer["operating_points"][0]["threshold"]) == ("match", 0.2)
    assert answer["operating_points"][0]["modality"] == "sketch"
    unmeasured = await identify(client, at(n0=0.3), fmr=0.01, modality="caricature")
    assert unmeasured.json()["type"].endswith("no-operating-point")
    two = {"space": "b", "feature": NATIVE[0].tolist(), "modality": "sketch"}
    scored = (await client.post("/verify", json={"a": two, "b": two})).json()
    assert (scored["score"], scored["score_fmr"]) == (pytest.approx(1.0), None)
    one = (await client.post("/verify", json={"a": two, "b": two | {"modality": "photo"}, "fmr": 0.01})).json()
    assert (one["threshold"], one["score_fmr"]) == (0.2, 1e-4)


async def test_of_many_probes_each_is_decided_by_itself(client: httpx.AsyncClient) -> None:
    rows = np.stack([at(n0=0.95), at(n0=0.1), at(n3=0.7)])
    headers = {"content-type": "application/x-npy"}
    query: dict[str, str | float] = {"gallery": "people", "space": "b", "fpir": 0.06}
    answer = (await client.post("/identify", params=query, content=npy(rows), headers=headers)).json()
    assert [one["decision"] for one in answer["results"]] == ["match", "nobody", "match"]
    assert [[c["subject"] for c in one["candidates"]] for one in answer["results"]] == [["ann"], [], ["dee"]]
    assert answer["fpir"] == 0.06
    drawn = feature_set(B, np.stack([at(n0=0.3)] * 2), ["", ""], modality=np.array(["photo", "sketch"]))
    of_set = await client.post(
        "/identify",
        params={"gallery": "people", "fmr": "0.01"},
        content=drawn,
        headers={"content-type": "application/x-npz"},
    )
    assert [one["decision"] for one in of_set.json()["results"]] == ["nobody", "match"]


async def test_an_empty_gallery_knows_nobody_at_any_rate(client: httpx.AsyncClient) -> None:
    for subject in set(SUBJECTS):
        await client.delete(f"/galleries/people/subjects/{subject}")
    answer = (await identify(client, at(n0=0.95), fpir=1e-9)).json()
    assert (answer["decision"], answer["num_templates"], answer["operating_points"]) == ("nobody", 0, [])


async def test_verify_keeps_any_rate_down_to_the_lowest_that_was_measured(client: httpx.AsyncClient) -> None:
    body = {"a": {"space": "a", "feature": FROM_A[0].tolist()}, "b": {"space": "b", "feature": at(eve=0.85).tolist()}}
    answer = (await client.post("/verify", json=body | {"fmr": 0.005})).json()
    assert (answer["decision"], answer["threshold"], answer["fmr"], answer["fnmr"]) == ("match", 0.8, 1e-4, 0.3)
    assert (answer["score_fmr"], answer["log10_likelihood_ratio"]) == (1e-4, 3.0)


def test_fpir_and_fmr_lead_to_each_other() -> None:
    for num in (1, 10, 100_000):
        for fpir in (0.3, 0.01, 1e-9):
            assert fpir_for_fmr(fmr_for_fpir(fpir, num), num) == pytest.approx(fpir)
    assert fpir_for_fmr(0.5, 0) == 0.0
    assert fpir_for_fmr(1.0, 3) == 1.0
    assert 0 < fmr_for_fpir(0.01, 0) < 1


FROM_C = features(1, 8, seed=31)
"""Of fay, who was enrolled by a third encoder, two translators away."""


async def test_at_the_end_of_a_route_of_two_its_own_thresholds_decide(tmp_path: Path) -> None:
    first = write(tmp_path / "first" / "c-to-a", linear_graph(C_TO_A, 8), C, A)
    scales = {"translated": scale(0.3, 0.35), "both-translated": scale(0.45, 0.5)}
    chain = ChainCalibration({name: points(one) for name, one in scales.items()}, scales)
    own = {name: scale(*steps) for name, steps in COMPARED.items()}
    calibration = Calibration({name: points(one) for name, one in own.items()}, counted="people", scales=own)
    last = {chain_of([first]): chain}
    for name, after in (("told", last), ("bare", {}), ("other", {"0" * 16: chain})):
        bundles = tmp_path / f"bundles-{name}"
        write(bundles / "c-to-a", linear_graph(C_TO_A, 8), C, A)
        write(bundles / "a-to-b", linear_graph(A_TO_B, 8), A, B, calibration=replace(calibration, after=after))
        app = create_app(Settings(bundles=bundles, data=tmp_path / name))
        async with running(app) as client:
            await client.post("/galleries", json={"name": "people", "space": "b"})
            await enrol(client, "b", SUBJECTS, NATIVE)
            towards = by_hand(FROM_C, C_TO_A, A_TO_B)[0]
            probe = {"space": "c", "feature": FROM_C[0].tolist()}
            native = {"space": "b", "feature": towards.tolist()}
            verified = await client.post("/verify", json={"a": probe, "b": native, "fmr": 0.01})
            found = await identify(client, FROM_C[0], "c", fmr=0.01)
            if name != "told":
                for answer in (verified, found):
                    assert answer.json()["type"].endswith("no-operating-point")
                continue
            assert (verified.json()["decision"], verified.json()["threshold"]) == ("match", 0.3)
            (point,) = found.json()["operating_points"]
            assert (point["bundles"], point["threshold"]) == ([], 0.3)
            await enrol(client, "c", ["fay"], FROM_C)
            found = await identify(client, FROM_C[0], "c", fmr=0.01)
            by_origin = {tuple(point["bundles"]): point["threshold"] for point in found.json()["operating_points"]}
            assert by_origin == {(): 0.3, ("c-to-a", "a-to-b"): 0.45}
            assert [(one["subject"], one["threshold"]) for one in found.json()["candidates"][:1]] == [("fay", 0.45)]


async def test_templates_of_a_bundle_that_is_gone_are_still_found_and_no_rate_is_stated_for_them(
    tmp_path: Path,
) -> None:
    routes = {"c-to-a": (C_TO_A, C, A), "a-to-b": (A_TO_B, A, B)}
    for gone in ("c-to-a", "a-to-b"):
        data = tmp_path / f"data-{gone}"
        for names in (tuple(routes), tuple(name for name in routes if name != gone)):
            bundles = tmp_path / f"{gone}-{len(names)}"
            for name in names:
                linear, source, target = routes[name]
                write(bundles / name, linear_graph(linear, 8), source, target)
            write(bundles / "encode-b", encoder_graph(_map(3, 3, 16)), None, B)
            async with running(create_app(Settings(bundles=bundles, data=data))) as client:
                if len(names) == 2:
                    await client.post("/galleries", json={"name": "people", "space": "b"})
                    await enrol(client, "b", SUBJECTS, NATIVE)
                    await enrol(client, "c", ["fay"], FROM_C)
                towards = by_hand(FROM_C, C_TO_A, A_TO_B)[0]
                found = await identify(client, towards)
                assert found.status_code == 200, found.text
                assert found.json()["candidates"][0]["subject"] == "fay"
                assert found.json()["candidates"][0]["score_fmr"] is None


async def test_of_a_bundle_and_what_was_calibrated_of_it_the_latter_is_used(tmp_path: Path) -> None:
    scales = {"translated": scale(0.3, 0.35)}
    measured = Calibration({"translated": points(scales["translated"])}, counted="people", scales=scales)
    for name, calibration, digests in (("first", None, {}), ("ours", measured, {"calibration source": "0" * 64})):
        write(tmp_path / "bundles" / name, linear_graph(A_TO_B, 8), A, B, quality=0.9, calibration=calibration,
              data_digests=digests)  # fmt: skip
    async with running(create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))) as client:
        a, b = ({"space": "a", "feature": FROM_A[0].tolist()}, {"space": "b", "feature": EVE.tolist()})
        answer = (await client.post("/verify", json={"a": a, "b": b, "fmr": 0.01})).json()
        assert (answer["route"]["bundles"], answer["threshold"]) == (["ours"], 0.3)
