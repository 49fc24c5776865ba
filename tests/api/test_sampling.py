"""Probes of a weak modality: sketches by a sampler, caricatures by a translator of their own, photos by neither."""

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Sampling
from models.calibration import Calibration
from models.operating_point import OperatingPoint
from models.samples import draw_noise
from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.world import (
    A_TO_B,
    B_TO_C,
    A,
    B,
    Rows,
    by_hand,
    feature_set,
    features,
    npy,
    running,
    unit,
    write,
    write_world,
)
from training.export.linear_graph import linear_graph

NPY = {"content-type": "application/x-npy"}
SIGMA, NUM_NOISE, NUM_SAMPLES = 0.25, 3, 5
POINTS = (OperatingPoint(fmr=0.01, threshold=0.75, fnmr=0.3, num_genuine=100, num_impostors=10_000),)
_random = np.random.default_rng(21)
WEAK_TO_STRONG = _random.normal(size=(8, 16)).astype(np.float32)
NOISE_TO_STRONG = (0.6 * _random.normal(size=(NUM_NOISE, 16))).astype(np.float32)
SUBJECTS = ["ann", "bob", "cid", "ann", "dee", "bob"]
GALLERY_B = features(6, 16, seed=7)
SKETCH = features(1, seed=8)[0]


def sampler_graph() -> bytes:
    """`weak_feature` W + `noise` V: what it makes is not yet of length one."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width])
        for name, width in (("weak_feature", 8), ("noise", NUM_NOISE), ("strong_feature", 16))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["weak_feature", "w"], ["of_weak"]),
            helper.make_node("MatMul", ["noise", "v"], ["of_noise"]),
            helper.make_node("Add", ["of_weak", "of_noise"], ["strong_feature"]),
        ],
        "sampler",
        values[:2],
        values[2:],
        [numpy_helper.from_array(WEAK_TO_STRONG, "w"), numpy_helper.from_array(NOISE_TO_STRONG, "v")],
    )
    data: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8
    ).SerializeToString()
    return data


def samples_by_hand(weak: Rows, num: int, seed: int) -> Rows:
    """What the sampler must draw of one probe, (num, 16)."""
    noise = draw_noise(num, NUM_NOISE, seed).astype(np.float64)
    return unit(unit(weak) @ WEAK_TO_STRONG.astype(np.float64) + noise @ NOISE_TO_STRONG.astype(np.float64))


def density_by_hand(samples: Rows, template: Rows) -> float:
    """Eq. 2 and 3, one kernel after the other, on the scale of cosines."""
    total = 0.0
    for sample in samples:
        squared_distance = float(((sample - unit(template)) ** 2).sum())
        total += math.exp(-squared_distance / (2 * SIGMA**2))
    return 1 + SIGMA**2 * math.log(total / len(samples))


def ranked_by_hand(samples: Rows) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    for subject, template in zip(SUBJECTS, GALLERY_B, strict=True):
        best[subject] = max(best.get(subject, -math.inf), density_by_hand(samples, template))
    return sorted(best.items(), key=lambda item: -item[1])


def assert_ranked(candidates: list[dict[str, Any]], expected: list[tuple[str, float]]) -> None:
    assert [one["subject"] for one in candidates] == [subject for subject, _ in expected]
    np.testing.assert_allclose([one["score"] for one in candidates], [score for _, score in expected], atol=1e-5)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_world(tmp_path_factory.mktemp("bundles"))
    write(
        folder / "sketches",
        sampler_graph(),
        A,
        B,
        kind="sampler",
        method="wsgan",
        modality="sketch",
        sampling=Sampling(NUM_NOISE, NUM_SAMPLES, SIGMA),
        calibration=Calibration({"translated/sketch": POINTS}, counted="people"),
    )
    write(folder / "caricatures", linear_graph(A_TO_B, 8), A, B, modality="caricature", method="contrastive-head")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["embedded", "oracle"])
async def asked(
    request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """A service with the gallery `people` in space b."""
    settings = Settings(bundles=bundles, data=tmp_path_factory.mktemp("data"), device="cpu", max_samples=16)
    store = OracleGalleryStore() if request.param == "oracle" else None
    async with running(create_app(settings, store=store)) as client:
        assert (await client.post("/galleries", json={"name": "people", "space": "b"})).status_code == 201
        rows = [{"subject": s, "feature": row.tolist()} for s, row in zip(SUBJECTS, GALLERY_B, strict=True)]
        enrolled = await client.post("/galleries/people/templates", json={"space": "b", "templates": rows})
        assert enrolled.status_code == 201
        yield client


async def identify(client: httpx.AsyncClient, modality: str = "sketch", **more: Any) -> httpx.Response:
    probe = {"space": "a", "feature": SKETCH.tolist(), "modality": modality}
    return await client.post("/identify", json={"gallery": "people", "probe": probe, **more})


async def test_a_sketch_is_identified_by_the_density_of_its_samples(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, samples=7, seed=3, top_k=4)).json()
    assert answer["sampling"] == {"samples": 7, "seed": 3, "sigma": SIGMA}
    assert answer["route"]["bundles"] == ["sketches"]
    assert_ranked(answer["candidates"], ranked_by_hand(samples_by_hand(SKETCH, 7, 3)))


async def test_as_many_samples_are_drawn_as_the_sampler_says_with_seed_0(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, top_k=4)).json()
    assert answer["sampling"] == {"samples": NUM_SAMPLES, "seed": 0, "sigma": SIGMA}
    assert_ranked(answer["candidates"], ranked_by_hand(samples_by_hand(SKETCH, NUM_SAMPLES, 0)))


async def test_the_same_seed_gives_the_same_answer_and_another_another(asked: httpx.AsyncClient) -> None:
    first, again, other = [(await identify(asked, seed=seed)).json()["candidates"] for seed in (9, 9, 10)]
    assert first == again
    assert [one["score"] for one in first] != [one["score"] for one in other]


async def test_one_sample_is_compared_by_its_cosine(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, samples=1, top_k=1)).json()
    (sample,) = samples_by_hand(SKETCH, 1, 0)
    np.testing.assert_allclose(answer["candidates"][0]["score"], (unit(GALLERY_B) @ sample).max(), atol=1e-6)


async def test_what_a_probe_is_answered_does_not_depend_on_others_beside_it(asked: httpx.AsyncClient) -> None:
    rows = np.stack([features(1, seed=30)[0], SKETCH, features(1, seed=31)[0]])
    query: dict[str, str | int] = {
        "gallery": "people",
        "space": "a",
        "modality": "sketch",
        "top_k": 4,
        "samples": 6,
        "seed": 2,
    }
    batch = await asked.post("/identify", params=query, content=npy(rows), headers=NPY)
    alone = (await identify(asked, samples=6, seed=2, top_k=4)).json()
    assert batch.status_code == 200
    together = batch.json()["results"][1]["candidates"]
    assert [one["subject"] for one in together] == [one["subject"] for one in alone["candidates"]]
    np.testing.assert_allclose(
        [one["score"] for one in together], [one["score"] for one in alone["candidates"]], atol=1e-6
    )


async def test_a_photo_goes_the_way_of_photos(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, "photo", top_k=1)).json()
    assert answer["route"]["bundles"] == ["a-to-b"]
    assert answer["sampling"] is None
    expected = (unit(GALLERY_B) @ by_hand(SKETCH, A_TO_B)).max()
    np.testing.assert_allclose(answer["candidates"][0]["score"], expected, atol=1e-6)


async def test_a_modality_with_a_translator_of_its_own_goes_by_that(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, "caricature")).json()
    assert answer["route"]["bundles"] == ["caricatures"]
    assert answer["sampling"] is None


async def test_a_decision_is_by_the_thresholds_of_the_sampler(asked: httpx.AsyncClient) -> None:
    answer = (await identify(asked, fmr=0.01)).json()
    (used,) = answer["operating_points"]
    assert (used["modality"], used["threshold"]) == ("sketch", 0.75)
    expected = [name for name, score in ranked_by_hand(samples_by_hand(SKETCH, NUM_SAMPLES, 0)) if score >= 0.75]
    assert [one["subject"] for one in answer["candidates"]] == expected


async def test_no_decision_is_made_with_as_many_samples_as_nobody_measured(asked: httpx.AsyncClient) -> None:
    response = await identify(asked, fmr=0.01, samples=NUM_SAMPLES + 1)
    assert response.status_code == 422
    assert response.json()["type"].endswith("no-operating-point")
    assert "6 samples" in response.json()["detail"]


@pytest.mark.parametrize(
    ("modality", "more", "status", "says"),
    [
        ("sketch", {"samples": 17}, 422, "at most 16"),
        ("sketch", {"samples": 0}, 422, "/samples"),
        ("sketch", {"seed": -1}, 422, "/seed"),
        ("sketch", {"seed": 2**63}, 422, "/seed"),
        ("photo", {"samples": 2}, 422, "no effect"),
        ("caricature", {"seed": 1}, 422, "no effect"),
    ],
)
async def test_what_cannot_be_sampled_is_refused(
    asked: httpx.AsyncClient, modality: str, more: dict[str, int], status: int, says: str
) -> None:
    response = await identify(asked, modality, **more)
    assert response.status_code == status
    assert says in response.text


async def test_probes_times_samples_are_bounded(bundles: Path, tmp_path: Path) -> None:
    settings = Settings(bundles=bundles, data=tmp_path, device="cpu", max_batch_rows=20)
    async with running(create_app(settings, store=OracleGalleryStore())) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        query: dict[str, str | int] = {"gallery": "people", "space": "a", "modality": "sketch", "samples": 6}
        four = await client.post("/identify", params=query, content=npy(features(4)), headers=NPY)
        three = await client.post("/identify", params=query, content=npy(features(3)), headers=NPY)
    assert (four.status_code, three.status_code) == (413, 200)


async def test_probes_of_which_some_are_sampled_are_asked_about_apart(asked: httpx.AsyncClient) -> None:
    body = feature_set(A, features(2), ["", ""], modality=np.array(["photo", "sketch"]))
    headers = {"content-type": "application/x-npz"}
    response = await asked.post("/identify", params={"gallery": "people"}, content=body, headers=headers)
    assert response.status_code == 422
    assert "each modality by itself" in response.json()["detail"]


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_sketch_and_a_photo_are_verified_by_density(asked: httpx.AsyncClient, is_first: bool) -> None:
    sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
    photo = {"space": "b", "feature": GALLERY_B[2].tolist()}
    one, other = (sketch, photo) if is_first else (photo, sketch)
    response = await asked.post("/verify", json={"a": one, "b": other, "samples": 4, "seed": 5})
    answer = response.json()
    assert answer["sampling"] == {"samples": 4, "seed": 5, "sigma": SIGMA}
    np.testing.assert_allclose(answer["score"], density_by_hand(samples_by_hand(SKETCH, 4, 5), GALLERY_B[2]), atol=1e-6)


async def test_verification_decides_by_the_sampler(asked: httpx.AsyncClient) -> None:
    sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
    photo = {"space": "b", "feature": GALLERY_B[2].tolist()}
    measured = (await asked.post("/verify", json={"a": sketch, "b": photo, "fmr": 0.01})).json()
    assert measured["threshold"] == 0.75
    unknown = await asked.post("/verify", json={"a": sketch, "b": photo, "fmr": 0.01, "samples": 2})
    assert unknown.json()["type"].endswith("no-operating-point")


async def test_two_sketches_are_not_sampled(asked: httpx.AsyncClient) -> None:
    sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
    answer = (await asked.post("/verify", json={"a": sketch, "b": sketch})).json()
    assert answer["sampling"] is None
    refused = await asked.post("/verify", json={"a": sketch, "b": sketch, "samples": 2})
    assert refused.status_code == 422


async def test_bundles_and_routes_say_for_which_modality_they_are(asked: httpx.AsyncClient) -> None:
    listed = {one["name"]: one for one in (await asked.get("/bundles")).json()["bundles"]}
    assert (listed["sketches"]["kind"], listed["sketches"]["modality"]) == ("sampler", "sketch")
    assert listed["sketches"]["sampling"] == {"samples": NUM_SAMPLES, "sigma": SIGMA}
    assert (listed["a-to-b"]["modality"], listed["a-to-b"]["sampling"]) == (None, None)
    routes = (await asked.get("/routes", params={"source": "a", "target": "b"})).json()
    assert {(one["modality"], *one["bundles"]) for one in routes} == {
        (None, "a-to-b"),
        ("caricature", "caricatures"),
        ("sketch", "sketches"),
    }
    assert {one["modality"]: one["false_match_rates"] for one in routes}["sketch"] == [0.01]


async def test_translation_does_not_go_by_bundles_of_one_modality(asked: httpx.AsyncClient) -> None:
    body = {"source": "a", "target": "b", "features": [SKETCH.tolist()]}
    answer = (await asked.post("/translate", json=body)).json()
    assert answer["route"]["bundles"] == ["a-to-b"]


def write_sampler(folder: Path, name: str, *, points: bool = True, **measured: Any) -> None:
    write(
        folder / name,
        sampler_graph(),
        A,
        B,
        kind="sampler",
        modality="sketch",
        sampling=Sampling(NUM_NOISE, NUM_SAMPLES, SIGMA),
        calibration=Calibration({"translated/sketch": POINTS} if points else {}, counted="people"),
        metrics=measured,
    )


async def chosen(folder: Path, data: Path, **more: Any) -> httpx.Response:
    """What is answered to the sketch over these bundles."""
    settings = Settings(bundles=folder, data=data, device="cpu")
    async with running(create_app(settings, store=OracleGalleryStore())) as client:
        await client.post("/galleries", json={"name": "people", "space": "b"})
        rows = [{"subject": s, "feature": row.tolist()} for s, row in zip(SUBJECTS, GALLERY_B, strict=True)]
        await client.post("/galleries/people/templates", json={"space": "b", "templates": rows})
        return await identify(client, **more)


def figures(rank5: float) -> dict[str, Any]:
    return {"num_probes": 100, "figures": {"rank5": rank5}}


async def test_of_two_samplers_that_which_found_more_people_is_asked(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_sampler(folder, "one", test=figures(0.6))
    write_sampler(folder, "other", test=figures(0.7))
    # What was measured on validation people was chosen by them.
    write_sampler(folder, "validated", validation=figures(0.9))
    assert (await chosen(folder, tmp_path / "data")).json()["route"]["bundles"] == ["other"]


async def test_where_a_rate_is_asked_for_a_sampler_that_states_it_goes_before(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_sampler(folder, "better", points=False, test=figures(0.9))
    write_sampler(folder, "stating", test=figures(0.5))
    assert (await chosen(folder, tmp_path / "data", fmr=0.01)).json()["route"]["bundles"] == ["stating"]
    assert (await chosen(folder, tmp_path / "data")).json()["route"]["bundles"] == ["better"]


async def test_a_sampler_that_states_nothing_takes_no_decision_away(tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    calibration = Calibration({"translated": POINTS, "translated/sketch": POINTS}, counted="people")
    write(folder / "a-to-b", linear_graph(A_TO_B, 8), A, B, quality=0.9, calibration=calibration)
    write_sampler(folder, "silent", points=False)
    answer = (await chosen(folder, tmp_path / "data", fmr=0.01)).json()
    assert (answer["route"]["bundles"], answer["sampling"]) == (["a-to-b"], None)
    assert (await chosen(folder, tmp_path / "data")).json()["route"]["bundles"] == ["silent"]
    refused = await chosen(folder, tmp_path / "data", fmr=0.01, samples=4)
    assert refused.status_code == 422
    assert "for samples of silent no threshold was measured at the rate 0.01" in refused.json()["detail"]
    assert (await chosen(folder, tmp_path / "data", samples=4)).status_code == 200
    async with running(create_app(Settings(bundles=folder, data=tmp_path / "more", device="cpu"))) as client:
        sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
        photo = {"space": "b", "feature": GALLERY_B[2].tolist()}
        for pair in ({"a": sketch, "b": photo}, {"a": photo, "b": sketch}):
            verified = (await client.post("/verify", json=pair | {"fmr": 0.01})).json()
            assert (verified["route"]["bundles"], verified["sampling"]) == (["a-to-b"], None)
            assert verified["decision"] is not None
            plain = (await client.post("/verify", json=pair)).json()
            assert plain["route"]["bundles"] == ["silent"]
            refused = await client.post("/verify", json=pair | {"fmr": 0.01, "seed": 3})
            assert "for samples of silent no threshold" in refused.json()["detail"]


async def test_nor_does_it_of_verify_where_photos_go_the_other_way(tmp_path: Path) -> None:
    folder = tmp_path / "bundles"
    calibration = Calibration({"translated": POINTS, "translated/sketch": POINTS}, counted="people")
    write(folder / "b-to-a", linear_graph(B_TO_C, 16), B, A, quality=0.9, calibration=calibration)
    write_sampler(folder, "silent", points=False)
    sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
    photo = {"space": "b", "feature": GALLERY_B[2].tolist()}
    async with running(create_app(Settings(bundles=folder, data=tmp_path / "data", device="cpu"))) as client:
        for pair in ({"a": sketch, "b": photo}, {"a": photo, "b": sketch}):
            verified = (await client.post("/verify", json=pair | {"fmr": 0.01})).json()
            assert verified["route"]["bundles"] == ["b-to-a"]
            assert verified["decision"] is not None


@pytest.mark.parametrize("odd", ["text", 3, [1], {"figures": [1]}, {"figures": {"rank5": "high"}}, {"rows": 3}])
async def test_metrics_of_any_shape_do_not_stop_the_service(tmp_path: Path, odd: Any) -> None:
    folder = write_world(tmp_path / "bundles")
    write_sampler(folder, "odd", test=odd)
    write(folder / "odd-translator", linear_graph(A_TO_B, 8), A, B, metrics={"test": odd, "against": odd})
    assert (await chosen(folder, tmp_path / "data")).status_code == 200


async def test_a_sketch_has_one_score_whether_identified_or_verified(asked: httpx.AsyncClient) -> None:
    found = (await identify(asked, top_k=4, samples=6, seed=1)).json()["candidates"]
    sketch = {"space": "a", "feature": SKETCH.tolist(), "modality": "sketch"}
    photo = {"space": "b", "feature": GALLERY_B[2].tolist()}
    verified = (await asked.post("/verify", json={"a": sketch, "b": photo, "samples": 6, "seed": 1})).json()
    assert verified["score"] == next(one["score"] for one in found if one["subject"] == "cid")
