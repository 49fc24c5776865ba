from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import numpy as np
import pytest

from models.space import Space
from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.conftest import MakeApp
from tests.api.world import (
    A_TO_B,
    OTHER_A,
    A,
    B,
    D,
    base64_of,
    by_hand,
    encoded_by_hand,
    feature_set,
    features,
    picture_bytes,
    running,
    unit,
)

NPZ = {"content-type": "application/x-npz"}
ROWS_A = features(5, seed=11)


async def create(client: httpx.AsyncClient, name: str = "people", space: str = "a") -> dict[str, Any]:
    response = await client.post("/galleries", json={"name": name, "space": space})
    assert response.status_code == 201
    view: dict[str, Any] = response.json()
    return view


async def enrol(
    client: httpx.AsyncClient, *samples: dict[str, Any], space: str = "a", name: str = "people"
) -> list[str]:
    body = {"space": space, "templates": samples}
    response = await client.post(f"/galleries/{name}/templates", json=body)
    assert response.status_code == 201, response.text
    ids: list[str] = response.json()["template_ids"]
    return ids


def sample(subject: str, row: int) -> dict[str, Any]:
    return {"subject": subject, "feature": ROWS_A[row].tolist()}


async def scores(client: httpx.AsyncClient, feature: Any, space: str = "a", name: str = "people") -> dict[str, float]:
    body = {"gallery": name, "probe": {"space": space, "feature": np.asarray(feature).tolist()}, "top_k": 100}
    response = await client.post("/identify", json=body)
    return {candidate["subject"]: candidate["score"] for candidate in response.json()["candidates"]}


async def pages(client: httpx.AsyncClient, query: str) -> list[list[dict[str, Any]]]:
    found = []
    cursor: str | None = ""
    while cursor is not None:
        more = f"&cursor={cursor}" if cursor else ""
        response = await client.get(f"/galleries/people/templates?{query}{more}")
        assert response.status_code == 200
        found.append(response.json()["templates"])
        cursor = response.json()["next_cursor"]
    return found


class TestGalleries:
    async def test_a_gallery_is_made_shown_listed_and_dropped(self, client: httpx.AsyncClient) -> None:
        made = await create(client, "people", "b")
        assert made["space"] == {"name": "b", "fingerprint": B.fingerprint, "dimension": 16, "metric": "cosine"}
        assert (made["generation"], made["num_templates"], made["num_subjects"]) == (1, 0, 0)
        await create(client, "2024", A.fingerprint)
        assert (await client.get("/galleries/people")).json() == made
        listed = (await client.get("/galleries")).json()["galleries"]
        assert [(gallery["name"], gallery["space"]["name"]) for gallery in listed] == [("2024", "a"), ("people", "b")]
        dropped = await client.delete("/galleries/people")
        assert (dropped.status_code, dropped.content) == (204, b"")
        assert (await client.get("/galleries/people")).status_code == 404
        assert (await client.delete("/galleries/people")).status_code == 404

    async def test_a_name_can_be_taken_once(self, client: httpx.AsyncClient) -> None:
        await create(client)
        response = await client.post("/galleries", json={"name": "people", "space": "b"})
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:already-exists")

    async def test_a_gallery_needs_a_known_space(self, client: httpx.AsyncClient) -> None:
        response = await client.post("/galleries", json={"name": "people", "space": "nowhere"})
        assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")

    @pytest.mark.parametrize("name", ["", "UPPER", "-first", "a b", "a/b", "x" * 64, "naïve", "a\n", ".."])
    async def test_names_that_could_be_misread_are_refused(self, client: httpx.AsyncClient, name: str) -> None:
        response = await client.post("/galleries", json={"name": name, "space": "a"})
        assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-name")

    async def test_a_missing_gallery_is_not_found_on_every_route(self, client: httpx.AsyncClient) -> None:
        body = {"space": "a", "templates": [sample("ann", 0)]}
        answers = [
            await client.get("/galleries/missing"),
            await client.delete("/galleries/missing"),
            await client.get("/galleries/missing/templates"),
            await client.post("/galleries/missing/templates", json=body),
            await client.delete("/galleries/missing/templates/0"),
            await client.delete("/galleries/missing/subjects/ann"),
        ]
        assert [answer.status_code for answer in answers] == [404] * 6


class TestEnrol:
    async def test_what_is_enrolled_is_found_with_its_cosine(self, client: httpx.AsyncClient) -> None:
        await create(client)
        ids = await enrol(client, sample("ann", 0), {"subject": "bob", "feature": base64_of(ROWS_A[1])})
        assert len(set(ids)) == 2
        found = await scores(client, ROWS_A[0])
        assert found["ann"] == pytest.approx(1.0, abs=1e-6)
        assert found["bob"] == pytest.approx(float(unit(ROWS_A[0]) @ unit(ROWS_A[1])), abs=1e-6)
        shown = (await client.get("/galleries/people")).json()
        assert (shown["num_templates"], shown["num_subjects"]) == (2, 2)

    async def test_features_of_another_space_are_translated_and_their_origin_is_kept(
        self, client: httpx.AsyncClient
    ) -> None:
        await create(client, space="b")
        response = await client.post(
            "/galleries/people/templates", json={"space": "a", "templates": [sample("ann", 0)]}
        )
        assert response.json()["route"]["bundles"] == ["a-to-b"]
        probe = features(1, 16)[0]
        expected = float(by_hand(ROWS_A[0], A_TO_B) @ unit(probe))
        assert (await scores(client, probe, "b"))["ann"] == pytest.approx(expected, abs=1e-6)
        ((template,),) = await pages(client, "limit=10")
        assert (template["space"], template["route"]) == (A.fingerprint, ["a-to-b"])

    async def test_pictures_are_encoded(self, client: httpx.AsyncClient) -> None:
        await create(client)
        red, blue = picture_bytes((220, 10, 10)), picture_bytes((10, 10, 220))
        await enrol(client, {"subject": "red", "image": base64_of(red)}, {"subject": "blue", "image": base64_of(blue)})
        found = await scores(client, ROWS_A[0])
        for subject, picture in (("red", red), ("blue", blue)):
            expected = float(encoded_by_hand(picture) @ unit(ROWS_A[0]))
            assert found[subject] == pytest.approx(expected, abs=1e-5)

    async def test_features_and_pictures_may_come_together(self, client: httpx.AsyncClient) -> None:
        await create(client)
        picture = picture_bytes((220, 10, 10))
        await enrol(client, sample("ann", 0), {"subject": "red", "image": base64_of(picture)}, sample("bob", 1))
        found = await scores(client, encoded_by_hand(picture))
        assert found["red"] == pytest.approx(1.0, abs=1e-5)
        assert found["bob"] == pytest.approx(float(encoded_by_hand(picture) @ unit(ROWS_A[1])), abs=1e-5)

    async def test_a_feature_set_is_enrolled_whole(self, client: httpx.AsyncClient) -> None:
        await create(client, space="b")
        body = feature_set(A, ROWS_A, ["ann", "bob", "ann", "cid", "dee/é"])
        response = await client.post("/galleries/people/templates", content=body, headers=NPZ)
        assert response.status_code == 201
        assert len(response.json()["template_ids"]) == 5
        probe = features(1, 16)[0]
        expected = by_hand(ROWS_A, A_TO_B) @ unit(probe)
        found = await scores(client, probe, "b")
        assert found["ann"] == pytest.approx(max(expected[0], expected[2]), abs=1e-6)
        assert found["dee/é"] == pytest.approx(expected[4], abs=1e-6)

    async def test_a_feature_set_without_subjects_is_refused(self, client: httpx.AsyncClient) -> None:
        await create(client)
        body = feature_set(A, ROWS_A, [""] * 5)
        response = await client.post("/galleries/people/templates", content=body, headers=NPZ)
        assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")

    @pytest.mark.parametrize("key", ["p0#view-1", "p0#blend-p1"])
    async def test_views_and_blends_are_nobodys_templates(self, client: httpx.AsyncClient, key: str) -> None:
        await create(client)
        body = feature_set(A, ROWS_A[:3], ["ann", "ann", "bob"], image=np.array(["p0", key, "p1"]))
        response = await client.post("/galleries/people/templates", content=body, headers=NPZ)
        assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
        assert "row 1" in response.json()["detail"]
        assert (await client.get("/galleries/people")).json()["num_templates"] == 0

    @pytest.mark.parametrize(
        "subject", ["new\nline", "nul\0inside", "x" * 129, "\x7f", ".", "..", "a/../b", "../..", "a/."]
    )
    async def test_subjects_follow_one_rule_in_json_and_in_feature_sets(
        self, client: httpx.AsyncClient, subject: str
    ) -> None:
        await create(client)
        url = "/galleries/people/templates"
        body = feature_set(A, ROWS_A[:2], ["ann", subject])
        answers = [
            await client.post(url, content=body, headers=NPZ),
            await client.post(url, json={"space": "a", "templates": [sample("ann", 0), sample(subject, 1)]}),
        ]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert {answer.json()["type"] for answer in answers} == {"urn:facebridge:problem:invalid-name"}
        assert (await client.get("/galleries/people")).json()["num_templates"] == 0

    async def test_one_bad_sample_keeps_all_out(self, client: httpx.AsyncClient) -> None:
        await create(client)
        bad: tuple[dict[str, Any], ...] = (
            {"subject": "z", "feature": [0.0] * 8},
            {"subject": "z", "feature": [1.0] * 7},
            {"subject": "z", "image": base64_of(b"no picture")},
        )
        for wrong in bad:
            body = {"space": "a", "templates": [sample("ann", 0), wrong]}
            assert (await client.post("/galleries/people/templates", json=body)).status_code == 422
        assert (await client.get("/galleries/people")).json()["num_templates"] == 0

    async def test_too_many_templates_are_refused(self, make_app: MakeApp) -> None:
        async with running(make_app(max_batch_rows=4)) as client:
            await create(client)
            body = {"space": "a", "templates": [sample("ann", row) for row in range(5)]}
            response = await client.post("/galleries/people/templates", json=body)
            assert (response.status_code, response.json()["type"]) == (413, "urn:facebridge:problem:batch-too-large")

    @pytest.mark.parametrize("space", ["d", D.fingerprint, "nowhere", OTHER_A.fingerprint])
    async def test_features_of_a_space_without_route_are_refused(self, client: httpx.AsyncClient, space: str) -> None:
        await create(client)
        body = {"space": space, "templates": [sample("ann", 0)]}
        response = await client.post("/galleries/people/templates", json=body)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")

    @pytest.mark.parametrize("space", [D, OTHER_A, Space("new", 8, "external:new")])
    async def test_a_feature_set_of_a_space_without_route_is_refused(
        self, client: httpx.AsyncClient, space: Space
    ) -> None:
        await create(client)
        body = feature_set(space, ROWS_A, ["ann"] * 5)
        response = await client.post("/galleries/people/templates", content=body, headers=NPZ)
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")
        assert (await client.get("/galleries/people")).json()["num_templates"] == 0

    async def test_pictures_of_a_space_without_route_are_refused(self, client: httpx.AsyncClient) -> None:
        await create(client)
        body = {"space": "d", "templates": [{"subject": "z", "image": base64_of(picture_bytes((1, 2, 3)))}]}
        assert (await client.post("/galleries/people/templates", json=body)).status_code == 409

    async def test_a_gallery_whose_space_only_has_the_name_in_common_takes_nothing(self, make_app: MakeApp) -> None:
        store = OracleGalleryStore()
        store.create("people", OTHER_A)
        async with running(make_app(store=store)) as client:
            for space in ("a", A.fingerprint):
                body = {"space": space, "templates": [sample("ann", 0)]}
                response = await client.post("/galleries/people/templates", json=body)
                assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")
            assert (await client.get("/galleries/people")).json()["num_templates"] == 0

    async def test_what_was_acknowledged_is_there_after_a_restart(self, bundles: Path, tmp_path: Path) -> None:
        settings = Settings(bundles=bundles, data=tmp_path / "data", device="cpu")
        async with running(create_app(settings)) as client:
            await create(client)
            ids = await enrol(client, sample("ann", 0), sample("bob", 1))
        async with running(create_app(settings)) as client:
            (templates,) = await pages(client, "limit=10")
            assert [template["template_id"] for template in templates] == ids
            assert (await scores(client, ROWS_A[0]))["ann"] == pytest.approx(1.0, abs=1e-6)

    @pytest.mark.parametrize(
        "path", ["", "templates/", "subjects/", "templates/%2e%2e", "subjects/%2e%2e", "subjects/..%2f"]
    )
    async def test_no_path_below_a_gallery_drops_it(self, client: httpx.AsyncClient, path: str) -> None:
        await create(client)
        response = await client.delete(f"/galleries/people/{path}", follow_redirects=True)
        assert response.status_code in (404, 422)
        assert (await client.get("/galleries/people")).status_code == 200


class TestTemplates:
    async def test_pages_follow_one_another_in_order_of_enrolment(self, client: httpx.AsyncClient) -> None:
        await create(client)
        ids = await enrol(client, *(sample(f"s{row % 2}", row) for row in range(5)))
        found = await pages(client, "limit=2")
        assert [[template["template_id"] for template in page] for page in found] == [ids[:2], ids[2:4], ids[4:]]
        assert [len(page) for page in await pages(client, "limit=5")] == [5]
        of_one = await pages(client, "limit=1&subject=s1")
        assert [[template["template_id"] for template in page] for page in of_one] == [[ids[1]], [ids[3]]]

    async def test_a_template_is_shown_without_its_vector(self, client: httpx.AsyncClient) -> None:
        await create(client)
        (template_id,) = await enrol(client, sample("ann", 0))
        ((template,),) = await pages(client, "limit=1")
        enrolled_at = template.pop("enrolled_at")
        assert enrolled_at.endswith("+00:00")
        assert template == {
            "template_id": template_id,
            "subject": "ann",
            "space": A.fingerprint,
            "route": [],
            "confidence": None,
            "norm": pytest.approx(np.linalg.norm(sample("ann", 0)["feature"])),
            "key": None,
            "metadata": {},
            "attributes": {},
            "provenance": {"sent_as": "feature"},
            "is_searchable": True,
        }
        assert (await client.get(f"/galleries/people/templates/{template_id}")).json() == template | {
            "enrolled_at": enrolled_at
        }

    @pytest.mark.parametrize("cursor", ["", "x", "-1", "0x1", "1_0", " 1", "f" * 16, "f" * 32, "١", "1.0", "F"])
    async def test_a_cursor_that_was_not_given_out_is_refused(self, client: httpx.AsyncClient, cursor: str) -> None:
        await create(client)
        response = await client.get(f"/galleries/people/templates?cursor={quote(cursor)}")
        assert (response.status_code, response.json()["type"]) == (400, "urn:facebridge:problem:invalid-cursor")

    @pytest.mark.parametrize("limit", ["0", "-1", "1001", "many", "1e1", str(10**40)])
    async def test_the_size_of_a_page_has_bounds(self, client: httpx.AsyncClient, limit: str) -> None:
        await create(client)
        assert (await client.get(f"/galleries/people/templates?limit={limit}")).status_code == 422

    async def test_a_removed_template_is_not_found_again(self, client: httpx.AsyncClient) -> None:
        await create(client)
        first, second = await enrol(client, sample("ann", 0), sample("ann", 1))
        response = await client.delete(f"/galleries/people/templates/{first}")
        assert (response.status_code, response.content) == (204, b"")
        found = await scores(client, ROWS_A[0])
        assert found["ann"] == pytest.approx(float(unit(ROWS_A[0]) @ unit(ROWS_A[1])), abs=1e-6)
        assert (await client.delete(f"/galleries/people/templates/{first}")).status_code == 404
        (left,) = await pages(client, "limit=10")
        assert [template["template_id"] for template in left] == [second]

    @pytest.mark.parametrize("subject", ["ann", "Zoë Ó", "a/b", "/", "a//b/", "50%", "?#&+", "日本", "a\\b", "..x"])
    async def test_every_subject_that_can_be_enrolled_can_be_removed(
        self, client: httpx.AsyncClient, subject: str
    ) -> None:
        await create(client)
        await enrol(client, sample(subject, 0), sample("other", 1), sample(subject, 2))
        response = await client.delete(f"/galleries/people/subjects/{quote(subject, safe='')}")
        assert (response.status_code, response.json()) == (200, {"num_removed": 2})
        assert set(await scores(client, ROWS_A[0])) == {"other"}
        response = await client.delete(f"/galleries/people/subjects/{quote(subject, safe='')}")
        assert (response.status_code, response.json()["type"]) == (404, "urn:facebridge:problem:not-found")
