"""What pictures show: told of one, kept with templates that are enrolled from pictures, and by which a search leaves some out."""

import io
import json
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.attributes import ATTRIBUTES, Attribute, AttributeTable, Cut, attributes_json
from models.bundle import read_bundle
from models.documents import sha256_hex
from models.errors import BundleError
from models.space import InputPreparation, Space
from service.app import create_app
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.port import GalleryStore
from service.inference.loading import OnnxEngines, load_bundles
from service.settings import Settings
from service.usecases.attributes import split_told
from tests.api.refusals import assert_clean
from tests.api.test_migrations import LOOSE, until
from tests.api.world import A, base64_of, feature_set, features, npy, picture_bytes, running, write, write_world

CLASSES, OWN = ("dark", "light"), ("red", "green", "never")
WEIGHT_3C = np.array([[-1, 1, 8, 0, 0], [-1, 1, 0, 8, 0], [-1, 1, 0, 0, 0]], dtype=np.float32) / 64
BIAS_C = np.array([6, -6, -16, -16, -20], dtype=np.float32)
# Of `red`: a picture that shows it has a probability of 0.2 or more, one that does not of 0.4 at most.
RED = Attribute("red", (Cut(0.05, 0.2, 0.25), Cut(0.1, 0.3, 0.125)), (Cut(0.05, 0.4, 0.5),), 40, 60)
GREEN = Attribute("green", (Cut(0.05, 0.9, 0.0),), (Cut(0.05, 0.1, 0.0),), 40, 60)
TABLE = AttributeTable("shade", tuple(Attribute(name) for name in CLASSES), (RED, GREEN, Attribute("never")))


def graph(is_sound: bool = True) -> bytes:
    """Mean colour to the softmax of two numbers, and the sigmoids of three: `picture` (N, 3, 112, 112) to (N, 5)."""
    made = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["picture"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["colour"], axis=1),
            helper.make_node("Gemm", ["colour", "weight", "bias"], ["logits"]),
            helper.make_node("Split", ["logits", "parts"], ["of_classes", "of_attributes"], axis=1),
            helper.make_node("Softmax" if is_sound else "Identity", ["of_classes"], ["classes"]),
            helper.make_node("Sigmoid", ["of_attributes"], ["attributes"]),
            helper.make_node("Concat", ["classes", "attributes"], ["probability"], axis=1),
        ],
        "shown-by-colour",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 5])],
        [
            numpy_helper.from_array(WEIGHT_3C, "weight"),
            numpy_helper.from_array(BIAS_C, "bias"),
            numpy_helper.from_array(np.array([2, 3]), "parts"),
        ],
    )
    data: bytes = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    return data


def write_attributes(
    folder: Path, table: AttributeTable = TABLE, *, is_sound: bool = True, num: int = 5, modality: str | None = None
) -> Path:
    space = Space(folder.name, num, f"sha256:{sha256_hex(folder.name.encode())}", InputPreparation())
    more = {ATTRIBUTES: attributes_json(table)}
    write(folder, graph(is_sound), None, space, kind="attributes", more=more, modality=modality)
    return folder


def by_hand(picture: bytes) -> dict[str, float]:
    with Image.open(io.BytesIO(picture)) as image:
        colour = np.asarray(image.convert("RGB"), dtype=np.float64).mean(axis=(0, 1))
    logits = colour @ WEIGHT_3C.astype(np.float64) + BIAS_C
    shares = np.exp(logits[:2]) / np.exp(logits[:2]).sum()
    return dict(zip((*CLASSES, *OWN), [*shares, *(1 / (1 + np.exp(-logits[2:])))], strict=True))


_numbers = count()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def asked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    folder = write_world(tmp_path_factory.mktemp("bundles"))
    write_attributes(folder / "shown")
    data = tmp_path_factory.mktemp("data")
    settings = Settings(bundles=folder, data=data, device="cpu", max_top_k=50)
    store: GalleryStore = EmbeddedGalleryStore(data)
    async with running(create_app(settings, store=store)) as client:
        yield client


async def post(client: httpx.AsyncClient, path: str, body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    found: dict[str, Any] = answer.json()
    return found


REDS = (30, 116, 124, 136, 250)
"""Probabilities of red of 0.00, 0.18, 0.38, 0.73 and 1.00."""


def shade(red: int) -> bytes:
    return picture_bytes((red, 40, 40))


async def enrolled(client: httpx.AsyncClient, **keep: Any) -> tuple[str, dict[str, Any]]:
    """A gallery of REDS by their numbers, and of `unseen`, who came as a feature."""
    name = f"people-{next(_numbers)}"
    await post(client, "/galleries", {"name": name, "space": "a"})
    templates: list[dict[str, Any]] = [{"subject": str(red), "image": base64_of(shade(red))} for red in REDS]
    templates[0]["metadata"] = {"site": "north"}
    templates.append({"subject": "unseen", "feature": [1.0, *[0.0] * 7]})
    body = {"space": "a", "templates": templates, "attributes": keep or {}}
    return name, await post(client, f"/galleries/{name}/templates", body)


async def found(client: httpx.AsyncClient, gallery: str, probe: bytes | None = None, **more: Any) -> dict[str, Any]:
    sample = {"feature": [1.0, *[0.5] * 7]} if probe is None else {"image": base64_of(probe)}
    body = {"gallery": gallery, "probe": {"space": "a", **sample}, "top_k": 50} | more
    return await post(client, "/identify", body)


def subjects(answer: dict[str, Any]) -> set[str]:
    return {one["subject"] for one in answer["candidates"]}


@pytest.mark.parametrize("colour", [(250, 10, 30), (120, 124, 200), (90, 160, 133)])
async def test_it_is_told_what_a_picture_shows(asked: httpx.AsyncClient, colour: tuple[int, int, int]) -> None:
    picture = picture_bytes(colour)
    told = await post(asked, "/attributes", {"image": base64_of(picture)})
    expected = by_hand(picture)
    assert [one["name"] for one in told["classes"]] == sorted(CLASSES, key=lambda name: -expected[name])
    assert [one["name"] for one in told["attributes"]] == list(OWN)
    for one in (*told["classes"], *told["attributes"]):
        assert one["probability"] == pytest.approx(expected[one["name"]], abs=1e-4)
    assert (told["bundle"], told["label"]) == ("shown", "shade")


async def test_a_probe_may_ask_what_it_shows(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked)
    picture = shade(136)
    answer = await found(asked, gallery, picture, attributes={})
    assert answer["attributes"] == await post(asked, "/attributes", {"image": base64_of(picture)})
    assert (await found(asked, gallery, picture))["attributes"] is None


async def test_what_pictures_show_is_kept_with_their_templates(asked: httpx.AsyncClient) -> None:
    gallery, answer = await enrolled(asked, names=["red", "dark"])
    digest = answer["attributes"]["digest"]
    assert answer["attributes"]["num_told"] == len(REDS)
    listed = (await asked.get(f"/galleries/{gallery}/templates")).json()["templates"]
    for template, red in zip(listed, REDS, strict=False):
        expected = by_hand(shade(red))
        assert template["attributes"] == {
            digest[:8]: {name: pytest.approx(expected[name], abs=1e-4) for name in ("red", "dark")}
        }
    assert [template["metadata"] for template in listed] == [{"site": "north"}, *[{}] * 5]
    assert listed[-1]["attributes"] == {}


async def test_nothing_is_told_or_left_out_unless_it_is_asked(asked: httpx.AsyncClient) -> None:
    name = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": name, "space": "a"})
    body = {"space": "a", "templates": [{"subject": "ann", "image": base64_of(shade(30))}]}
    answer = await post(asked, f"/galleries/{name}/templates", body)
    assert answer["attributes"] is None
    assert (await asked.get(f"/galleries/{name}/templates")).json()["templates"][0]["attributes"] == {}
    assert (await found(asked, name))["filter"] is None


@pytest.mark.parametrize(
    ("wanted", "meant", "errors"),
    [
        ({"has": ["red"], "error": 0.05}, REDS[2:], [0.05]),
        # The largest error that was measured and is not above what is asked.
        ({"has": ["red"], "error": 0.2}, REDS[2:], [0.1]),
        ({"lacks": ["red"], "error": 0.05}, REDS[:3], [0.05]),
        ({"has": ["red"], "lacks": ["green"], "error": 0.05}, REDS[2:], [0.05, 0.05]),
        ({"has": ["green"], "error": 0.5}, (), [0.05]),
    ],
)
async def test_a_search_leaves_out_who_shows_it_not(
    asked: httpx.AsyncClient, wanted: dict[str, Any], meant: tuple[int, ...], errors: list[float]
) -> None:
    gallery, _ = await enrolled(asked)
    answer = await found(asked, gallery, filter=wanted)
    # Of whom nothing was told is never left out.
    assert subjects(answer) == {*map(str, meant), "unseen"}
    assert answer["num_templates"] == len(meant) + 1
    conditions = answer["filter"]["conditions"]
    assert [one["error"] for one in conditions] == errors
    for one in conditions:
        cuts = getattr({"red": RED, "green": GREEN}[one["name"]], "has" if one["has"] else "lacks")
        (cut,) = [cut for cut in cuts if cut.error == one["error"]]
        assert (one["threshold"], one["passed"], one["num_told"]) == (cut.threshold, cut.passed, len(REDS))


@pytest.mark.parametrize(("probe", "has", "meant"), [(250, True, REDS[2:]), (30, False, REDS[:3]), (124, None, REDS)])
async def test_a_search_may_be_among_those_who_are_like_the_probe(
    asked: httpx.AsyncClient, probe: int, has: bool | None, meant: tuple[int, ...]
) -> None:
    gallery, _ = await enrolled(asked)
    answer = await found(asked, gallery, shade(probe), filter={"alike": ["red"], "error": 0.05})
    assert subjects(answer) == {*map(str, meant), "unseen"}
    (condition,) = answer["filter"]["conditions"]
    # Both may be told wrongly, the probe and the template; whatever this probe showed.
    assert (condition["has"], condition["error"]) == (has, 0.1)


async def test_a_filter_and_where_hold_together(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked)
    where = {"site": ["north"]}
    assert subjects(await found(asked, gallery, where=where)) == {"30"}
    assert subjects(await found(asked, gallery, where=where, filter={"lacks": ["red"], "error": 0.05})) == {"30"}
    assert subjects(await found(asked, gallery, where=where, filter={"has": ["red"], "error": 0.05})) == set()


async def test_many_probes_are_filtered_alike(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked)
    query: dict[str, Any] = {
        "gallery": gallery,
        "space": "a",
        "filter": json.dumps({"has": ["red"], "error": 0.05}),
        "top_k": 50,
    }
    rows = npy(np.eye(8, dtype=np.float32)[:2])
    answer = await asked.post("/identify", params=query, content=rows, headers={"content-type": "application/x-npy"})
    assert answer.status_code == 200, answer.text
    assert all(subjects(one) == {"124", "136", "250", "unseen"} for one in answer.json()["results"])
    assert [one["error"] for one in answer.json()["filter"]["conditions"]] == [0.05]
    wrong = await asked.post(
        "/identify",
        params=query | {"filter": json.dumps({"alike": ["red"], "error": 0.05})},
        content=rows,
        headers={"content-type": "application/x-npy"},
    )
    assert "alike looks at the probe's picture" in wrong.json()["detail"]
    assert_clean(wrong)


@pytest.mark.parametrize(
    ("filter_", "status", "says"),
    [
        ({"has": ["red"]}, 422, "/filter/error"),
        ({"error": 0.05}, 422, "give has, lacks or alike"),
        ({"has": [], "error": 0.05}, 422, "/filter/has"),
        ({"has": ["red"], "error": 0}, 422, "/filter/error"),
        ({"has": ["blue"], "error": 0.05}, 422, "it tells: dark, light, red, green, never"),
        ({"has": ["red"], "lacks": ["red"], "error": 0.05}, 422, "names an attribute twice"),
        ({"has": ["red"], "error": 0.04}, 422, "at so small an error; stated are: 0.05, 0.1"),
        ({"has": ["never"], "error": 0.05}, 422, "stated are: none"),
        (
            {"lacks": ["red"], "error": 0.01},
            422,
            "those who lack red no threshold was measured at so small an error; stated are: 0.05",
        ),
        ({"alike": ["red"], "error": 0.05}, 422, "alike looks at the probe's picture"),
        ({"has": ["red"], "error": 0.05, "bundle": "other"}, 404, "no bundle of this name"),
    ],
)
async def test_a_filter_that_cannot_be_is_refused(
    asked: httpx.AsyncClient, filter_: dict[str, Any], status: int, says: str
) -> None:
    gallery, _ = await enrolled(asked)
    body = {"gallery": gallery, "probe": {"space": "a", "feature": [1.0] * 8}, "filter": filter_}
    answer = await asked.post("/identify", json=body)
    assert (answer.status_code, says in answer.text) == (status, True), answer.text
    assert_clean(answer)


async def test_an_answer_that_is_given_again_tells_what_was_kept(asked: httpx.AsyncClient) -> None:
    name = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": name, "space": "a"})
    body = {"space": "a", "attributes": {}, "templates": [{"subject": "ann", "image": base64_of(shade(30))}]}
    key = {"idempotency-key": "a-key"}
    first, again = [await asked.post(f"/galleries/{name}/templates", json=body, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    assert first.json()["attributes"]["num_told"] == 1


async def test_a_picture_is_aligned_by_its_landmarks_before_it_is_looked_at(asked: httpx.AsyncClient) -> None:
    half = np.zeros((224, 224, 3), dtype=np.uint8)
    half[:, 112:] = (250, 40, 40)
    stream = io.BytesIO()
    Image.fromarray(half).save(stream, "PNG")
    # The points of an aligned crop, on the right half of the picture.
    points = [[150.3, 51.7], [185.5, 51.5], [168.0, 71.7], [153.5, 92.4], [182.7, 92.2]]
    body: dict[str, Any] = {"image": base64_of(stream.getvalue()), "landmarks": points}
    (red,) = [one for one in (await post(asked, "/attributes", body))["attributes"] if one["name"] == "red"]
    assert red["probability"] > 0.99
    gallery = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": gallery, "space": "a"})
    await post(
        asked,
        f"/galleries/{gallery}/templates",
        {"space": "a", "attributes": {"names": ["red"]}, "templates": [body | {"subject": "ann"}]},
    )
    listed = (await asked.get(f"/galleries/{gallery}/templates")).json()["templates"]
    assert [list(one["attributes"].values()) for one in listed] == [[{"red": red["probability"]}]]
    probe = {"space": "a", **body}
    asked_of: dict[str, Any] = {"gallery": gallery, "probe": probe, "attributes": {"bundle": "shown"}}
    answer = await post(asked, "/identify", asked_of | {"filter": {"alike": ["red"], "error": 0.05}})
    assert answer["filter"]["conditions"][0]["has"] is True
    assert [one["probability"] for one in answer["attributes"]["attributes"] if one["name"] == "red"] == [
        red["probability"]
    ]


async def test_nobody_else_says_what_bundles_tell(asked: httpx.AsyncClient) -> None:
    name = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": name, "space": "a"})
    field = "told.01234567.red"
    template = {"subject": "ann", "feature": [1.0] * 8, "metadata": {field: 0.5}}
    answer = await asked.post(f"/galleries/{name}/templates", json={"space": "a", "templates": [template]})
    assert "names that begin with told. are for what bundles tell" in answer.text
    assert_clean(answer)
    # What was exported comes back; what no bundle can have told does not.
    for value, status in ((0.25, 201), (7.0, 422)):
        body = feature_set(A, features(1), ["ann"], **{f"label_{field}": np.array([value])})
        sent = await asked.post(
            f"/galleries/{name}/templates", content=body, headers={"content-type": "application/x-npz"}
        )
        assert sent.status_code == status, sent.text
    (kept,) = (await asked.get(f"/galleries/{name}/templates")).json()["templates"]
    assert (kept["metadata"], kept["attributes"]) == ({}, {"01234567": {"red": 0.25}})


def test_what_bundles_told_is_told_from_what_senders_said() -> None:
    own: dict[str, Any] = {
        "told.x": 0.5,
        "told.0123456g.red": 0.5,
        "told.01234567.red": True,
        "told.89abcdef.red": 1.5,
        "site": "north",
    }
    assert split_told({**own, "told.01234567.green": 0.25}) == (own, {"01234567": {"green": 0.25}})


async def test_where_and_a_filter_do_not_name_the_same(asked: httpx.AsyncClient) -> None:
    gallery, answer = await enrolled(asked)
    field = f"told.{answer['attributes']['digest'][:8]}.red"
    assert subjects(await found(asked, gallery, where={field: {"at_least": 0.7}})) == {"136", "250"}
    body = {
        "gallery": gallery,
        "probe": {"space": "a", "feature": [1.0] * 8},
        "where": {field: {"at_least": 0.7}},
        "filter": {"has": ["red"], "error": 0.05},
    }
    refused = await asked.post("/identify", json=body)
    assert "where names what the filter does" in refused.json()["detail"]
    assert_clean(refused)


async def test_more_than_metadata_hold_is_refused_by_what_it_is(
    asked: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": name, "space": "a"})
    template = {"subject": "ann", "image": base64_of(shade(30)), "metadata": {"site": "north", "year": 2020}}
    body: dict[str, Any] = {"space": "a", "attributes": {}, "templates": [template]}
    monkeypatch.setattr("service.usecases.attributes.MAX_FIELDS", 6)
    answer = await asked.post(f"/galleries/{name}/templates", json=body)
    assert "the bundle tells 5 attributes" in answer.json()["detail"]
    assert_clean(answer)
    await post(asked, f"/galleries/{name}/templates", body | {"attributes": {"names": ["red"]}})
    twice = await asked.post(f"/galleries/{name}/templates", json=body | {"attributes": {"names": ["red", "red"]}})
    assert "attributes name one twice" in twice.json()["detail"]


async def test_a_filter_belongs_into_a_json_body(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked)
    body = {"gallery": gallery, "probe": {"space": "a", "feature": [1.0] * 8}}
    answer = await asked.post("/identify", params={"filter": '{"has": ["red"], "error": 0.05}'}, json=body)
    assert "filter belongs into the JSON body" in answer.json()["detail"]
    assert_clean(answer)


async def test_what_is_no_picture_shows_nothing(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked)
    body = {"gallery": gallery, "probe": {"space": "a", "feature": [1.0] * 8}, "attributes": {}}
    answer = await asked.post("/identify", json=body)
    assert "attributes are told of a picture" in answer.json()["detail"]
    assert_clean(answer)
    assert_clean(await asked.post("/attributes", json={"image": base64_of(b"no picture")}))


async def test_a_name_that_the_bundle_does_not_know_is_not_kept(asked: httpx.AsyncClient) -> None:
    name = f"people-{next(_numbers)}"
    await post(asked, "/galleries", {"name": name, "space": "a"})
    body = {
        "space": "a",
        "attributes": {"names": ["blue"]},
        "templates": [{"subject": "ann", "image": base64_of(shade(30))}],
    }
    assert_clean(await asked.post(f"/galleries/{name}/templates", json=body))
    assert (await asked.get(f"/galleries/{name}")).json()["num_templates"] == 0


async def test_bundles_say_what_they_tell(asked: httpx.AsyncClient) -> None:
    listed = {one["name"]: one for one in (await asked.get("/bundles")).json()["bundles"]}
    tells = listed["shown"]["tells"]
    assert (tells["label"], [one["name"] for one in tells["classes"]]) == ("shade", list(CLASSES))
    assert tells["attributes"] == [
        {"name": "red", "has": [0.05, 0.1], "lacks": [0.05]},
        {"name": "green", "has": [0.05], "lacks": [0.05]},
        {"name": "never", "has": [], "lacks": []},
    ]
    assert listed["encode-a"]["tells"] is None


async def test_what_another_bundle_told_is_not_known(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_attributes(folder / "shown")
    settings = Settings(bundles=folder, data=tmp_path / "data", device="cpu", max_top_k=50)
    async with running(create_app(settings)) as client:
        gallery, _ = await enrolled(client)
    write_attributes(folder / "later")
    async with running(create_app(settings)) as client:
        several = await client.post("/attributes", json={"image": base64_of(shade(30))})
        assert "several bundles tell attributes: name one (later, shown)" in several.json()["detail"]
        of_shown = await found(client, gallery, filter={"has": ["red"], "error": 0.05, "bundle": "shown"})
        of_later = await found(client, gallery, filter={"has": ["red"], "error": 0.05, "bundle": "later"})
    assert (len(subjects(of_shown)), len(subjects(of_later))) == (4, 6)
    told = [answer["filter"]["conditions"][0]["num_told"] for answer in (of_shown, of_later)]
    assert told == [len(REDS), 0]


async def test_a_bundle_tells_of_pictures_of_its_modality(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_attributes(folder / "drawn", modality="sketch")
    settings = Settings(bundles=folder, data=tmp_path / "data", device="cpu", max_top_k=50)
    picture = {"image": base64_of(shade(250))}
    async with running(create_app(settings)) as client:
        told = await post(client, "/attributes", {**picture, "modality": "sketch"})
        refused = [
            (await client.post("/attributes", json=picture), 404, "of pictures of this modality"),
            (
                await client.post("/attributes", json={**picture, "bundle": "drawn"}),
                422,
                "of the modality sketch alone",
            ),
        ]
        await post(client, "/galleries", {"name": "people", "space": "a"})
        templates = [{"subject": "x", **picture}]
        body = {"space": "a", "templates": templates, "attributes": {"bundle": "drawn"}}
        refused.append(
            (await client.post("/galleries/people/templates", json=body), 422, "of the modality sketch alone")
        )
        probe = {"space": "a", **picture, "modality": "sketch"}
        found = await post(client, "/identify", {"gallery": "people", "probe": probe, "attributes": {}})
        assert (found["attributes"]["bundle"], told["bundle"]) == ("drawn", "drawn")
        (listed,) = [one for one in (await client.get("/bundles")).json()["bundles"] if one["name"] == "drawn"]
        assert listed["modality"] == "sketch"
    for answer, status, says in refused:
        assert answer.status_code == status
        assert says in answer.json()["detail"]
        assert_clean(answer)


async def test_a_probe_is_compared_by_what_tells_of_its_modality(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_attributes(folder / "photographed", modality="photo")
    settings = Settings(bundles=folder, data=tmp_path / "data", device="cpu", max_top_k=50)
    async with running(create_app(settings)) as client:
        gallery, answer = await enrolled(client)
        assert answer["attributes"]["num_told"] == len(REDS)
        like = {"filter": {"alike": ["red"], "error": 0.05}}
        assert subjects(await found(client, gallery, shade(250), **like)) == {"124", "136", "250", "unseen"}
        probe = {"space": "a", "image": base64_of(shade(250)), "modality": "sketch"}
        drawn = await client.post("/identify", json={"gallery": gallery, "probe": probe, **like})
        assert drawn.status_code == 422
        assert "of the modality photo alone" in drawn.json()["detail"]


async def test_a_search_leaves_out_the_same_people_before_and_after_a_cut_over(asked: httpx.AsyncClient) -> None:
    gallery, _ = await enrolled(asked, names=["red"])
    wanted = {"has": ["red"], "error": 0.05}
    before = await found(asked, gallery, filter=wanted)
    plan = {"target": "b", "gates": LOOSE | {"num_samples": 30}}
    started = await asked.post(f"/galleries/{gallery}/migrations", json=plan)
    assert started.status_code == 202, started.text
    job = started.json()["job_id"]
    await until(asked, job, "ready")
    midway = await found(asked, gallery, filter=wanted)
    await post(asked, f"/jobs/{job}/cutover", {"force": True})
    after = await found(asked, gallery, filter=wanted)
    assert after["generation"] != before["generation"]
    assert subjects(before) == subjects(midway) == subjects(after) == {"124", "136", "250", "unseen"}
    assert after["filter"]["conditions"] == before["filter"]["conditions"]


async def test_no_bundle_tells(tmp_path: Path) -> None:
    settings = Settings(bundles=write_world(tmp_path / "bundles"), data=tmp_path / "data", device="cpu")
    async with running(create_app(settings)) as client:
        answer = await client.post("/attributes", json={"image": base64_of(shade(30))})
    assert answer.status_code == 404
    assert_clean(answer)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: AttributeTable("shade", table.classes, table.attributes[:1]), "names 3 classes and attributes"),
        (lambda table: AttributeTable("shade", table.classes, (RED, RED, GREEN)), "each once"),
        (
            lambda table: AttributeTable("shade", table.classes[:1], (*table.attributes, Attribute("x"))),
            "always the one",
        ),
        (
            lambda table: AttributeTable(
                "shade", table.classes, (*table.attributes[:2], Attribute("x", (Cut(0.1, 0, 0), Cut(0.05, 0, 0))))
            ),
            "must ascend",
        ),
        (lambda table: AttributeTable("shade", table.classes, (RED, GREEN, Attribute("a name"))), "pattern"),
    ],
    ids=["few", "twice", "alone", "descending", "name"],
)
def test_a_table_that_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[AttributeTable], AttributeTable], says: str
) -> None:
    with pytest.raises(BundleError, match=says):
        write_attributes(tmp_path / "shown", change(TABLE))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_without_its_table_is_refused(tmp_path: Path) -> None:
    space = Space("x", 5, "sha256:" + "1" * 64, InputPreparation())
    with pytest.raises(BundleError, match=r"says in attributes\.json which"):
        write(tmp_path / "x", graph(), None, space, kind="attributes")
    write_attributes(tmp_path / "shown")
    (tmp_path / "shown" / ATTRIBUTES).write_bytes(
        attributes_json(AttributeTable("other", TABLE.classes, TABLE.attributes))
    )
    with pytest.raises(BundleError, match="SHA-256"):
        read_bundle(tmp_path / "shown")


async def test_a_model_that_gives_no_probabilities_has_failed(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_attributes(folder / "shown", is_sound=False)
    settings = Settings(bundles=folder, data=tmp_path / "data", device="cpu")
    async with running(create_app(settings)) as client:
        answer = await client.post("/attributes", json={"image": base64_of(shade(250))})
    assert answer.status_code == 500


def test_pictures_must_be_prepared_somehow(tmp_path: Path) -> None:
    more = {ATTRIBUTES: attributes_json(TABLE)}
    write(tmp_path / "bundles" / "blind", graph(), None, Space("x", 5, "external:x"), kind="attributes", more=more)
    (rejected,) = load_bundles(tmp_path / "bundles", OnnxEngines("cpu", 1_000_000)).rejected
    assert rejected.reason == "a bundle that takes pictures must say how they are prepared"
