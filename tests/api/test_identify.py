from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio

from models.space import Space
from service.galleries.oracle import OracleGalleryStore
from tests.api.conftest import MakeApp
from tests.api.world import (
    A_TO_B,
    OTHER_A,
    A,
    B,
    D,
    Rows,
    base64_of,
    by_hand,
    encoded_by_hand,
    feature_set,
    features,
    npy,
    npz,
    picture_bytes,
    running,
    unit,
)

NPY = {"content-type": "application/x-npy"}
NPZ = {"content-type": "application/x-npz"}

GALLERY_B = features(6, 16, seed=7)
SUBJECTS = ["ann", "bob", "cid", "ann", "dee", "bob"]
PROBES_A = features(3, seed=8)


def ranked_by_hand(probe: Rows, gallery: Rows, subjects: list[str]) -> list[tuple[str, float]]:
    best: dict[str, float] = {}
    for subject, score in zip(subjects, unit(gallery) @ unit(probe), strict=True):
        best[subject] = max(best.get(subject, -2.0), float(score))
    return sorted(best.items(), key=lambda item: -item[1])


def assert_ranked(candidates: list[dict[str, Any]], expected: list[tuple[str, float]]) -> None:
    assert [candidate["rank"] for candidate in candidates] == list(range(1, len(expected) + 1))
    assert [candidate["subject"] for candidate in candidates] == [subject for subject, _ in expected]
    np.testing.assert_allclose(
        [candidate["score"] for candidate in candidates], [score for _, score in expected], atol=1e-6
    )


@pytest_asyncio.fixture(loop_scope="session")
async def gallery(client: httpx.AsyncClient) -> list[str]:
    """The gallery `people` in space b; the ids of its templates."""
    assert (await client.post("/galleries", json={"name": "people", "space": "b"})).status_code == 201
    rows = [{"subject": s, "feature": row.tolist()} for s, row in zip(SUBJECTS, GALLERY_B, strict=True)]
    response = await client.post("/galleries/people/templates", json={"space": "b", "templates": rows})
    ids: list[str] = response.json()["template_ids"]
    return ids


async def test_subjects_are_ranked_by_their_best_template(client: httpx.AsyncClient, gallery: list[str]) -> None:
    probe = GALLERY_B[5] + 0.1 * GALLERY_B[0]
    body = {"gallery": "people", "probe": {"space": "b", "feature": probe.tolist()}}
    response = await client.post("/identify", json=body)
    assert response.status_code == 200
    assert (response.json()["gallery"], response.json()["generation"]) == ("people", 1)
    assert_ranked(response.json()["candidates"], ranked_by_hand(probe, GALLERY_B, SUBJECTS))
    assert response.json()["candidates"][0]["template_id"] == gallery[5]


@pytest.mark.parametrize("top_k", [1, 2, 4, 1000])
async def test_at_most_top_k_candidates_come(client: httpx.AsyncClient, gallery: list[str], top_k: int) -> None:
    body = {"gallery": "people", "probe": {"space": "b", "feature": base64_of(GALLERY_B[0])}, "top_k": top_k}
    response = await client.post("/identify", json=body)
    assert_ranked(response.json()["candidates"], ranked_by_hand(GALLERY_B[0], GALLERY_B, SUBJECTS)[:top_k])


async def test_an_empty_gallery_knows_nobody(client: httpx.AsyncClient) -> None:
    await client.post("/galleries", json={"name": "empty", "space": "a"})
    body = {"gallery": "empty", "probe": {"space": "a", "feature": [1.0] * 8}}
    assert (await client.post("/identify", json=body)).json()["candidates"] == []


async def test_a_probe_of_another_space_is_translated_and_the_route_named(
    client: httpx.AsyncClient, gallery: list[str]
) -> None:
    body = {"gallery": "people", "probe": {"space": "a", "feature": PROBES_A[0].tolist()}}
    response = await client.post("/identify", json=body)
    expected = ranked_by_hand(by_hand(PROBES_A[0], A_TO_B), GALLERY_B, SUBJECTS)
    assert_ranked(response.json()["candidates"], expected)
    assert response.json()["route"]["bundles"] == ["a-to-b"]


async def test_a_picture_is_encoded_translated_and_looked_up(client: httpx.AsyncClient, gallery: list[str]) -> None:
    picture = picture_bytes((250, 120, 10), format_="PNG")
    body = {"gallery": "people", "probe": {"space": "a", "image": base64_of(picture)}}
    response = await client.post("/identify", json=body)
    expected = ranked_by_hand(by_hand(encoded_by_hand(picture), A_TO_B), GALLERY_B, SUBJECTS)
    assert_ranked(response.json()["candidates"], expected)


async def test_an_npy_array_is_answered_row_by_row(client: httpx.AsyncClient, gallery: list[str]) -> None:
    response = await client.post(
        "/identify?gallery=people&space=a&top_k=2", content=npy(PROBES_A.astype(np.float32)), headers=NPY
    )
    results = response.json()["results"]
    assert [result["image"] for result in results] == [None] * 3
    for probe, result in zip(by_hand(PROBES_A, A_TO_B), results, strict=True):
        assert_ranked(result["candidates"], ranked_by_hand(probe, GALLERY_B, SUBJECTS)[:2])


async def test_a_feature_set_names_its_space_and_its_pictures(client: httpx.AsyncClient, gallery: list[str]) -> None:
    for space, rows, translated in ((A, PROBES_A, by_hand(PROBES_A, A_TO_B)), (B, GALLERY_B, GALLERY_B)):
        body = feature_set(space, rows, [""] * len(rows))
        response = await client.post("/identify?gallery=people", content=body, headers=NPZ)
        results = response.json()["results"]
        assert [result["image"] for result in results] == [f"p{row}" for row in range(len(rows))]
        for probe, result in zip(translated, results, strict=True):
            assert_ranked(result["candidates"], ranked_by_hand(probe, GALLERY_B, SUBJECTS))


async def test_a_missing_gallery_is_not_found_in_every_form(client: httpx.AsyncClient) -> None:
    body = {"gallery": "missing", "probe": {"space": "a", "feature": [1.0] * 8}}
    answers = [
        await client.post("/identify", json=body),
        await client.post("/identify?gallery=missing&space=a", content=npy(PROBES_A), headers=NPY),
        await client.post("/identify?gallery=missing", content=feature_set(A, PROBES_A, [""] * 3), headers=NPZ),
    ]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert {answer.json()["type"] for answer in answers} == {"urn:facebridge:problem:not-found"}


@pytest.mark.parametrize("query", ["", "?gallery=people", "?space=a"])
async def test_an_npy_needs_gallery_and_space_in_the_query(client: httpx.AsyncClient, query: str) -> None:
    response = await client.post(f"/identify{query}", content=npy(PROBES_A), headers=NPY)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")


@pytest.mark.parametrize("top_k", [0, -1, 1001, 10**30])
async def test_top_k_has_bounds(client: httpx.AsyncClient, gallery: list[str], top_k: int) -> None:
    url = f"/identify?gallery=people&space=a&top_k={top_k}"
    assert (await client.post(url, content=npy(PROBES_A), headers=NPY)).status_code == 422
    body = f'{{"gallery": "people", "probe": {{"space": "b", "feature": {GALLERY_B[0].tolist()}}}, "top_k": {top_k}}}'
    response = await client.post("/identify", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422


async def test_too_many_probes_are_refused(make_app: MakeApp) -> None:
    async with running(make_app(max_batch_rows=2)) as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        url = "/identify?gallery=people&space=a"
        assert (await client.post(url, content=npy(PROBES_A[:2]), headers=NPY)).status_code == 200
        response = await client.post(url, content=npy(PROBES_A), headers=NPY)
        assert (response.status_code, response.json()["type"]) == (413, "urn:facebridge:problem:batch-too-large")


class TestFeaturesOfAnotherSpaceAreNeverCompared:
    @pytest.mark.parametrize("space", ["d", D.fingerprint, "nowhere", OTHER_A.fingerprint, "f" * 16])
    async def test_json_of_a_space_without_route_is_refused(
        self, client: httpx.AsyncClient, gallery: list[str], space: str
    ) -> None:
        body = {"gallery": "people", "probe": {"space": space, "feature": [1.0] * 8}}
        response = await client.post("/identify", json=body)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")

    async def test_a_picture_of_a_space_without_route_is_refused(
        self, client: httpx.AsyncClient, gallery: list[str]
    ) -> None:
        body = {"gallery": "people", "probe": {"space": "d", "image": base64_of(picture_bytes((9, 9, 9)))}}
        assert (await client.post("/identify", json=body)).status_code == 409

    @pytest.mark.parametrize("space", ["d", D.fingerprint, "nowhere", OTHER_A.fingerprint])
    async def test_npy_of_a_space_without_route_is_refused(
        self, client: httpx.AsyncClient, gallery: list[str], space: str
    ) -> None:
        response = await client.post(f"/identify?gallery=people&space={space}", content=npy(PROBES_A), headers=NPY)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")

    @pytest.mark.parametrize("space", [D, OTHER_A, Space("b", 8, "external:another b"), Space("new", 8, "external:n")])
    async def test_a_feature_set_of_another_space_is_refused_also_under_a_known_name(
        self, client: httpx.AsyncClient, gallery: list[str], space: Space
    ) -> None:
        body = feature_set(space, PROBES_A, [""] * 3)
        response = await client.post("/identify?gallery=people", content=body, headers=NPZ)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")

    async def test_a_gallery_whose_space_only_has_the_name_in_common_is_not_searched(self, make_app: MakeApp) -> None:
        store = OracleGalleryStore()
        store.create("old", OTHER_A)
        async with running(make_app(store=store)) as client:
            for space, row in (("a", [1.0] * 8), (A.fingerprint, [1.0] * 8), ("b", [1.0] * 16), ("d", [1.0] * 8)):
                body = {"gallery": "old", "probe": {"space": space, "feature": row}}
                response = await client.post("/identify", json=body)
                assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")
            own = {"gallery": "old", "probe": {"space": OTHER_A.fingerprint, "feature": [1.0] * 8}}
            assert (await client.post("/identify", json=own)).status_code == 200

    async def test_a_gallery_in_a_space_that_no_bundle_knows_still_answers_its_own(self, make_app: MakeApp) -> None:
        store = OracleGalleryStore()
        store.create("old", Space("retired", 8, "external:retired"))
        async with running(make_app(store=store)) as client:
            own = {"gallery": "old", "probe": {"space": "retired", "feature": [1.0] * 8}}
            assert (await client.post("/identify", json=own)).status_code == 200
            other = {"gallery": "old", "probe": {"space": "a", "feature": [1.0] * 8}}
            assert (await client.post("/identify", json=other)).status_code == 409

    async def test_a_gallery_that_knows_its_space_by_an_older_name_answers_to_both(self, make_app: MakeApp) -> None:
        store = OracleGalleryStore()
        store.create("old", Space("a-before-its-renaming", 8, A.encoder, A.preparation))
        async with running(make_app(store=store)) as client:
            for space in ("a", "a-before-its-renaming", A.fingerprint):
                body = {"gallery": "old", "probe": {"space": space, "feature": [1.0] * 8}}
                assert (await client.post("/identify", json=body)).status_code == 200


async def test_a_feature_set_that_names_no_space_is_refused(client: httpx.AsyncClient, gallery: list[str]) -> None:
    columns = {"feature": PROBES_A, "image": np.array(["x", "y", "z"]), "subject": np.array(["", "", ""])}
    response = await client.post("/identify?gallery=people", content=npz('{"name": "a"}', columns), headers=NPZ)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
