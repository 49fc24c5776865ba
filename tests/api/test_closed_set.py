"""`/identify` with `mode: closed-set`: whom, of those that a classifier knows, a picture is of; no gallery is asked."""

import io
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from fastapi import FastAPI
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.bundle import read_bundle
from models.documents import sha256_hex
from models.errors import BundleError
from models.labels import LABELS, labels_json
from models.space import InputPreparation, Space
from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.inference.loading import OnnxEngines, load_bundles
from service.settings import Settings
from tests.api.refusals import assert_clean
from tests.api.world import base64_of, picture_bytes, running, write, write_world

PEOPLE = ("ann", "Ärne O'Neill", "cid", "dee")
WEIGHT_3C = (np.random.default_rng(31).normal(size=(3, len(PEOPLE))) / 60).astype(np.float32)


def known(name: str, num: int = len(PEOPLE)) -> Space:
    return Space(name, num, f"sha256:{sha256_hex(name.encode())}", InputPreparation())


def graph(last: str = "Softmax") -> bytes:
    """Mean colour, a product, and what makes probabilities of it: `picture` (N, 3, 112, 112) to `probability` (N, C)."""
    made = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["colour"], axis=1),
            helper.make_node("MatMul", ["colour", "weight"], ["logits"]),
            helper.make_node(last, ["logits"], ["probability"]),
        ],
        "whose-colour",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", len(PEOPLE)])],
        [numpy_helper.from_array(WEIGHT_3C, "weight")],
    )
    data: bytes = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    return data


def write_classifier(
    folder: Path, *, modality: str | None = "caricature", last: str = "Softmax", labels: tuple[str, ...] = PEOPLE
) -> Path:
    more = {LABELS: labels_json(labels)}
    write(folder, graph(last), None, known(folder.name), kind="classifier", modality=modality, more=more)
    return folder


def by_hand(picture: bytes) -> list[tuple[str, float]]:
    with Image.open(io.BytesIO(picture)) as image:
        colour = np.asarray(image.convert("RGB"), dtype=np.float64).mean(axis=(0, 1))
    logits = colour @ WEIGHT_3C.astype(np.float64)
    share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    return sorted(zip(PEOPLE, share.tolist(), strict=True), key=lambda one: -one[1])


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    folder = write_world(tmp_path_factory.mktemp("bundles"))
    write_classifier(folder / "drawn")
    write_classifier(folder / "seen", modality="photo")
    write_classifier(folder / "seen-too", modality="photo")
    write_classifier(folder / "wild", modality="sketch", last="Identity")
    settings = Settings(bundles=folder, data=tmp_path_factory.mktemp("data"), device="cpu", max_top_k=50)
    async with running(create_app(settings, store=OracleGalleryStore())) as client:
        yield client


def body(picture: bytes, **more: Any) -> dict[str, Any]:
    probe = {"image": base64_of(picture), "modality": "caricature"} | more.pop("probe", {})
    return {"mode": "closed-set", "probe": probe} | more


@pytest.mark.parametrize("colour", [(250, 10, 30), (10, 240, 200), (90, 90, 90)])
async def test_people_are_ranked_by_their_probabilities(asked: httpx.AsyncClient, colour: tuple[int, int, int]) -> None:
    picture = picture_bytes(colour)
    answer = await asked.post("/identify", json=body(picture))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    expected = by_hand(picture)
    assert [one["subject"] for one in found["candidates"]] == [subject for subject, _ in expected]
    np.testing.assert_allclose(
        [one["probability"] for one in found["candidates"]], [share for _, share in expected], atol=1e-5
    )
    assert [one["rank"] for one in found["candidates"]] == [1, 2, 3, 4]
    assert (found["mode"], found["bundle"], found["num_people"]) == ("closed-set", "drawn", 4)


async def test_as_many_are_told_as_are_asked_for(asked: httpx.AsyncClient) -> None:
    picture = picture_bytes((250, 10, 30))
    found = (await asked.post("/identify", json=body(picture, top_k=1))).json()
    assert [one["subject"] for one in found["candidates"]] == [by_hand(picture)[0][0]]


async def test_of_several_for_a_modality_one_is_named(asked: httpx.AsyncClient) -> None:
    photo = {"modality": "photo"}
    several = await asked.post("/identify", json=body(picture_bytes((9, 9, 9)), probe=photo))
    assert_clean(several)
    assert "seen, seen-too" in several.json()["detail"]
    for name in ("seen", "seen-too"):
        answer = await asked.post("/identify", json=body(picture_bytes((9, 9, 9)), probe=photo, bundle=name))
        assert (answer.status_code, answer.json()["bundle"]) == (200, name)


@pytest.mark.parametrize(
    ("more", "status", "says"),
    [
        ({"bundle": "nobody"}, 404, "no classifier of this name"),
        ({"bundle": "a-to-b"}, 404, "no classifier of this name"),
        ({"bundle": "seen"}, 422, "modality photo"),
        ({"probe": {"modality": "x-ray"}}, 404, "no classifier of pictures of this modality"),
        ({"top_k": 0}, 422, "greater than or equal to 1"),
        ({"top_k": 51}, 422, "at most 50"),
        ({"gallery": "people"}, 422, "Extra inputs"),
        ({"fmr": 0.01}, 422, "Extra inputs"),
        ({"probe": {"space": "a"}}, 422, "Extra inputs"),
        ({"probe": {"image": "%%%"}}, 422, "must be base64"),
        ({"probe": {"image": base64_of(b"no picture")}}, 422, "image-rejected"),
        ({"probe": {"feature": [1.0]}}, 422, "Extra inputs"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    asked: httpx.AsyncClient, more: dict[str, Any], status: int, says: str
) -> None:
    answer = await asked.post("/identify", json=body(picture_bytes((9, 9, 9)), **more))
    assert_clean(answer)
    assert answer.status_code == status, answer.text
    assert says in answer.text


async def test_a_fault_is_named_by_its_place_in_the_body(asked: httpx.AsyncClient) -> None:
    answer = await asked.post("/identify", json={"mode": "closed-set", "probe": {"modality": "caricature"}})
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/probe/image"]
    answer = await asked.post("/identify", json={"mode": "both", "gallery": "people", "probe": {}})
    assert [one["reason"] for one in answer.json()["errors"]] == ["mode should be 'gallery' or 'closed-set'"]
    odd = body(picture_bytes((9, 9, 9)), probe={"closed-set": 1})
    assert [one["pointer"] for one in (await asked.post("/identify", json=odd)).json()["errors"]] == ["/probe"]
    answer = await asked.post("/identify", json={"probe": {"space": "a", "feature": [1.0] * 8}})
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/gallery"]


async def test_what_is_no_probability_is_a_failure(asked: httpx.AsyncClient) -> None:
    answer = await asked.post("/identify", json=body(picture_bytes((9, 9, 9)), probe={"modality": "sketch"}))
    assert (answer.status_code, answer.json()["type"]) == (500, "urn:facebridge:problem:engine-failed")


async def test_classifiers_are_listed_and_are_of_no_space(asked: httpx.AsyncClient) -> None:
    listed = {one["name"]: one for one in (await asked.get("/bundles")).json()["bundles"]}
    assert (listed["drawn"]["kind"], listed["drawn"]["modality"], listed["drawn"]["num_people"]) == (
        "classifier",
        "caricature",
        4,
    )
    assert listed["a-to-b"]["num_people"] is None
    assert not {"drawn", "seen"} & {one["name"] for one in (await asked.get("/spaces")).json()}


async def test_a_gallery_is_asked_as_before_when_it_is_said(asked: httpx.AsyncClient) -> None:
    await asked.post("/galleries", json={"name": "people", "space": "a"})
    said = {"mode": "gallery", "gallery": "people", "probe": {"space": "a", "feature": [1.0] * 8}}
    assert (await asked.post("/identify", json=said)).status_code == 200


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (PEOPLE[:3], "names 3 people, the model knows 4"),
        (("ann", "ann", "cid", "dee"), "names somebody twice"),
        (("ann", "bob\n", "cid", "dee"), "cannot be printed"),
        (("ann", "", "cid", "dee"), "at least 1 character"),
    ],
)
def test_labels_that_do_not_fit_are_no_bundle(tmp_path: Path, labels: tuple[str, ...], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        write_classifier(tmp_path / "drawn", labels=labels)


def test_a_classifier_says_whom_it_knows_and_of_which_pictures(tmp_path: Path) -> None:
    assert read_bundle(write_classifier(tmp_path / "drawn")).labels == PEOPLE
    with pytest.raises(BundleError, match=LABELS):
        write(tmp_path / "nobody", graph(), None, known("nobody"), kind="classifier", modality="photo")
    with pytest.raises(BundleError, match="of which modality"):
        write_classifier(tmp_path / "anything", modality=None)
    with pytest.raises(BundleError, match=LABELS):
        write(tmp_path / "encodes", graph(), None, known("encodes"), more={LABELS: labels_json(PEOPLE)})


def test_labels_that_were_changed_are_refused(tmp_path: Path) -> None:
    folder = write_classifier(tmp_path / "bundles" / "drawn")
    path = folder / LABELS
    path.write_bytes(path.read_bytes().replace(b"ann", b"bob"))
    rejected = load_bundles(tmp_path / "bundles", OnnxEngines("cpu", 1_000_000)).rejected
    assert [LABELS in one.reason for one in rejected] == [True]


def test_an_app_with_a_classifier_alone_starts(tmp_path: Path, make_app: Callable[..., FastAPI]) -> None:
    write_classifier(tmp_path / "bundles" / "drawn")
    assert make_app(bundles=tmp_path / "bundles").title == "Facebridge"
