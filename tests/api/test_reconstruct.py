"""Painting a face is refused unless the operator turned it on, at start and at every request."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from models.bundle import read_bundle
from models.errors import BundleError
from models.features import unit_features
from service.errors import EngineError
from service.inference.loading import OnnxEngines, load_bundles
from tests.api.world import (
    A_TO_B,
    A,
    B,
    base64_of,
    features,
    generator_graph,
    picture_bytes,
    running,
    write,
    write_world,
)
from training.export.linear_graph import linear_graph

MakeApp = Callable[..., FastAPI]


@pytest.fixture
def with_generator(tmp_path: Path) -> Path:
    folder = write_world(tmp_path / "bundles")
    write(folder / "paints", generator_graph(8), A, B, kind="generator", method="r3an")
    return folder


def painted(answer: httpx.Response) -> Any:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    return np.asarray(Image.open(io.BytesIO(answer.content)), dtype=np.float64)


async def test_a_generator_is_refused_and_says_what_would_serve_it(make_app: MakeApp, with_generator: Path) -> None:
    async with running(make_app(bundles=with_generator)) as client:
        listed = (await client.get("/bundles")).json()
        assert listed["rejected"] == [
            {"folder": "paints", "reason": "it paints the faces that features are of; --allow-reconstruction serves it"}
        ]
        assert "paints" not in [bundle["name"] for bundle in listed["bundles"]]
        answer = await client.post("/reconstruct", json={"space": "a", "feature": features(1)[0].tolist()})
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:facebridge:problem:no-route"


async def test_told_otherwise_it_paints(make_app: MakeApp, with_generator: Path) -> None:
    async with running(make_app(bundles=with_generator, allow_reconstruction=True)) as client:
        listed = (await client.get("/bundles")).json()
        assert ("paints", "generator") in [(bundle["name"], bundle["kind"]) for bundle in listed["bundles"]]
        row = features(1)[0]
        for sent in (row.tolist(), base64_of(row)):
            picture = painted(await client.post("/reconstruct", json={"space": A.fingerprint, "feature": sent}))
            expected = (300 * row[:3] / np.linalg.norm(row)).clip(0, 255).round()
            np.testing.assert_allclose(picture, np.broadcast_to(expected, (4, 4, 3)), atol=1)


async def test_a_picture_is_encoded_first(make_app: MakeApp, with_generator: Path) -> None:
    async with running(make_app(bundles=with_generator, allow_reconstruction=True)) as client:
        sent = {"space": "a", "image": base64_of(picture_bytes((10, 200, 30)))}
        assert painted(await client.post("/reconstruct", json=sent)).shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"space": "a", "feature": [0.0] * 8}, 422),
        ({"space": "a", "feature": [1.0] * 7}, 422),
        ({"space": "b", "feature": [1.0] * 16}, 422),
        ({"space": "nowhere", "feature": [1.0] * 8}, 409),
        ({"space": "a"}, 422),
    ],
)
async def test_what_cannot_be_painted_is_refused(
    make_app: MakeApp, with_generator: Path, sent: dict[str, Any], status: int
) -> None:
    async with running(make_app(bundles=with_generator, allow_reconstruction=True)) as client:
        assert (await client.post("/reconstruct", json=sent)).status_code == status


async def test_of_two_generators_of_a_space_the_first_by_name_paints(make_app: MakeApp, with_generator: Path) -> None:
    write(with_generator / "z", generator_graph(8, side=6), A, B, name="also", kind="generator", method="r3an")
    async with running(make_app(bundles=with_generator, allow_reconstruction=True)) as client:
        sent = {"space": "a", "feature": features(1)[0].tolist()}
        assert painted(await client.post("/reconstruct", json=sent)).shape == (6, 6, 3)


async def test_a_generator_alone_knows_its_space(make_app: MakeApp, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    folder.mkdir()
    write(folder / "paints", generator_graph(8), A, B, kind="generator", method="r3an")
    async with running(make_app(bundles=folder, allow_reconstruction=True)) as client:
        painted(await client.post("/reconstruct", json={"space": "a", "feature": [1.0] * 8}))


def test_a_generator_that_gives_no_pictures_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="must give colour pictures"):
        write(tmp_path / "paints", linear_graph(A_TO_B, 8), A, B, kind="generator")


def test_numbers_that_are_no_picture_are_the_models_failure(with_generator: Path) -> None:
    loaded = load_bundles(with_generator, OnnxEngines("cpu", 1000), allow_reconstruction=True)
    engine = loaded.generators[0].engine
    assert read_bundle(with_generator / "paints").manifest == loaded.generators[0].bundle.manifest
    rows = unit_features(features(2).astype(np.float32))
    assert engine.finish(engine.run(engine.prepare(rows))).shape == (2, 3, 4, 4)
    with pytest.raises(EngineError, match="paints"):
        engine.finish(np.full((1, 3, 4, 4), np.nan, dtype=np.float32))
