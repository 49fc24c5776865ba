"""Erasures with receipts, snapshots, putting back, checks, over HTTP."""

import base64
import json
import re
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from models.documents import canonical_json
from service.errors import EngineError, InsufficientStorageError, InvalidInputError
from service.usecases.receipts import Signer, check_receipt, check_receipts
from tests.api.world import B, features, npy


def sample(subject: str, row: int, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "feature": features(9, 8)[row].tolist()} | more


@pytest.fixture
async def people(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """ann twice, bob and eve, in a gallery in the space a."""
    await client.post("/galleries", json={"name": "people", "space": "a"})
    templates = [sample("ann", 0), sample("bob", 1), sample("ann", 2), sample("eve", 3)]
    assert (await client.post("/galleries/people/templates", json={"space": "a", "templates": templates})).is_success
    yield client
    for snapshot in (await client.get("/galleries/people/snapshots")).json().get("snapshots", []):
        await client.delete(f"/galleries/people/snapshots/{snapshot['snapshot_id']}")


async def subjects(client: httpx.AsyncClient) -> list[str]:
    listed = (await client.get("/galleries/people/templates")).json()["templates"]
    return [template["subject"] for template in listed]


async def test_an_erasure_is_answered_with_receipts_that_hold_by_themselves(people: httpx.AsyncClient) -> None:
    response = await people.post("/galleries/people/erasures", json={"subjects": ["ann", "nobody"]})
    assert response.status_code == 200
    of_ann, of_nobody = response.json()["receipts"]
    assert (of_ann["num_templates"], of_nobody["num_templates"]) == (2, 0)
    assert await subjects(people) == ["bob", "eve"]
    text = json.dumps(of_ann)
    assert "ann" not in text.replace("gallery", "")
    assert check_receipt(text.encode(), "ann")["gallery"] == "people"
    assert check_receipt(text.encode(), "ann", of_nobody["public_key"]) == check_receipt(text.encode())
    with pytest.raises(InvalidInputError, match="another key"):
        check_receipt(text.encode(), "ann", "00" * 32)
    with pytest.raises(InvalidInputError, match="somebody else"):
        check_receipt(text.encode(), "bob")
    for name in of_ann:
        other = of_ann | {name: of_nobody[name] if of_nobody[name] != of_ann[name] else "x"}
        with pytest.raises(InvalidInputError, match=r"not as it was signed|no receipt"):
            check_receipt(json.dumps(other).encode())


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{}", "1", '{"signature": "", "public_key": "00"}', json.dumps({"signature": [1]}), ""]
)
def test_what_is_no_receipt_is_called_so(text: str) -> None:
    with pytest.raises(InvalidInputError, match="no receipt"):
        check_receipt(text.encode())


async def test_an_answer_with_several_receipts_is_checked_as_it_came(people: httpx.AsyncClient) -> None:
    answer = await people.post("/galleries/people/erasures", json={"subjects": ["ann", "bob"]})
    assert [one["num_templates"] for one in check_receipts(answer.content)] == [2, 1]
    assert [one["gallery"] for one in check_receipts(answer.content, "bob")] == ["people"]
    (one,) = check_receipts(json.dumps(answer.json()["receipts"][1]).encode(), "bob")
    assert one["kind"] == "erasure"
    with pytest.raises(InvalidInputError, match="none of the receipts is of that subject"):
        check_receipts(answer.content, "eve")
    changed = answer.json()
    changed["receipts"][0]["num_files"] += 1
    with pytest.raises(InvalidInputError, match="not as it was signed"):
        check_receipts(json.dumps(changed).encode(), "bob")
    signer = Signer(Ed25519PrivateKey.generate())
    facts: dict[str, Any] = {"kind": "erasure", "gallery": "g", "erased_at": "", "num_files": 1}
    facts["public_key"] = signer.key.public_key().public_bytes_raw().hex()
    forged = facts | {"signature": base64.b64encode(signer.key.sign(canonical_json(facts))).decode()}
    with pytest.raises(InvalidInputError, match="it is no receipt"):
        check_receipts(json.dumps({"receipts": [forged]}).encode(), "bob")
    with pytest.raises(InvalidInputError, match="there is no receipt in it"):
        check_receipts(b'{"receipts": []}')
    for text in (b"[]", b"{}", b'{"receipts": 3}', b'{"receipts": [3]}', b"\xff"):
        with pytest.raises(InvalidInputError, match="it is no receipt"):
            check_receipts(text)


def test_what_was_signed_and_is_no_receipt_of_an_erasure_is_called_so(tmp_path: Path) -> None:
    signer = Signer.of_folder(tmp_path)
    for facts in ({"kind": "greeting", "gallery": "g", "erased_at": "", "num_files": 1}, {"kind": "erasure"}):
        with pytest.raises(InvalidInputError, match="no receipt"):
            check_receipt(json.dumps(signer.sign(facts, "ann")).encode())
    sound = signer.sign({"kind": "erasure", "gallery": "g", "erased_at": "", "num_files": 1}, "ann")
    with pytest.raises(InvalidInputError, match="64 hexadecimal digits"):
        check_receipt(json.dumps(sound).encode(), public_key="xyz")


async def test_a_gallery_is_put_back_whatever_becomes_of_searches_from_other_spaces(
    people: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = (await people.post("/galleries/people/snapshots")).json()
    galleries = people._transport.app.state.services.galleries  # type: ignore[attr-defined]

    def failing(*_: object) -> None:
        raise EngineError("a projection gave no vectors")

    step = SimpleNamespace(target=None)
    monkeypatch.setattr(galleries._inference.catalog, "common_steps", lambda _: [step], raising=False)
    monkeypatch.setattr(type(galleries), "_ensure_index", failing)
    response = await people.post("/galleries/people/restore", json={"snapshot": taken["snapshot_id"]})
    assert (response.status_code, response.json()["num_templates"]) == (200, taken["num_templates"])


async def test_the_receipt_of_an_erasure_that_comes_again_is_the_same(people: httpx.AsyncClient) -> None:
    headers = {"idempotency-key": secrets.token_hex(8)}
    first = await people.post("/galleries/people/erasures", json={"subjects": ["ann"]}, headers=headers)
    again = await people.post("/galleries/people/erasures", json={"subjects": ["ann"]}, headers=headers)
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.json()["receipts"][0]["num_templates"] == 2


@pytest.mark.parametrize(
    "body", [{}, {"subjects": []}, {"subjects": ["a"] * 1001}, {"subjects": [1]}, {"subjects": ["x\n"]}]
)
async def test_an_erasure_of_nobody_is_refused(people: httpx.AsyncClient, body: dict[str, Any]) -> None:
    assert (await people.post("/galleries/people/erasures", json=body)).status_code == 422
    assert len(await subjects(people)) == 4


async def test_a_gallery_goes_back_to_a_snapshot(people: httpx.AsyncClient) -> None:
    before = (await people.get("/galleries/people/templates")).json()
    taken = await people.post("/galleries/people/snapshots")
    assert taken.status_code == 201
    snapshot = taken.json()
    assert (snapshot["gallery"], snapshot["num_templates"], snapshot["num_subjects"]) == ("people", 4, 3)
    assert (await people.get("/galleries/people/snapshots")).json() == {"snapshots": [snapshot]}
    path = f"/galleries/people/snapshots/{snapshot['snapshot_id']}"
    assert (await people.get(path)).json() == snapshot
    await people.delete("/galleries/people/subjects/ann")
    restored = await people.post("/galleries/people/restore", json={"snapshot": snapshot["snapshot_id"]})
    assert (restored.status_code, restored.json()["num_templates"]) == (200, 4)
    assert (await people.get("/galleries/people/templates")).json() == before
    assert (await people.delete(path)).status_code == 204
    for method, where in (("GET", path), ("DELETE", path)):
        assert (await people.request(method, where)).status_code == 404
    gone = await people.post("/galleries/people/restore", json={"snapshot": snapshot["snapshot_id"]})
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:facebridge:problem:not-found")


async def test_a_snapshot_of_another_space_is_refused(people: httpx.AsyncClient) -> None:
    snapshot = (await people.post("/galleries/people/snapshots")).json()["snapshot_id"]
    await people.delete("/galleries/people")
    await people.post("/galleries", json={"name": "people", "space": "d"})
    response = await people.post("/galleries/people/restore", json={"snapshot": snapshot})
    assert (response.status_code, response.json()["type"]) == (412, "urn:facebridge:problem:generation-changed")


async def test_a_sound_gallery_is_said_to_be_sound(people: httpx.AsyncClient) -> None:
    report = (await people.get("/galleries/people/check")).json()
    assert report["is_sound"] is True
    assert len(report["checks"]) >= 1


async def test_a_search_may_be_among_some_templates(people: httpx.AsyncClient) -> None:
    templates = [
        sample("joe", 4, metadata={"site": "north", "year": 2020}),
        sample("kim", 5, metadata={"site": "south", "year": 2024}, key="kim/1.jpg"),
    ]
    await people.post("/galleries/people/templates", json={"space": "a", "templates": templates})
    probe = {"space": "a", "feature": features(9, 8)[4].tolist()}

    async def among(where: Any) -> list[str]:
        response = await people.post("/identify", json={"gallery": "people", "probe": probe, "where": where})
        assert response.status_code == 200
        assert response.json()["num_templates"] == len(response.json()["candidates"])
        return [candidate["subject"] for candidate in response.json()["candidates"]]

    assert await among({"site": "south"}) == ["kim"]
    assert set(await among({"site": ["south", "north"]})) == {"joe", "kim"}
    assert await among({"year": {"at_most": 2021}}) == ["joe"]
    assert await among({"site": "south", "year": 2020}) == []
    query = {"gallery": "people", "space": "a", "where": json.dumps({"year": {"at_least": 2021}})}
    rows = npy(features(9, 8)[4:6].astype(np.float32))
    response = await people.post("/identify", params=query, content=rows, headers={"content-type": "application/x-npy"})
    assert [[c["subject"] for c in one["candidates"]] for one in response.json()["results"]] == [["kim"], ["kim"]]


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ({}, 422),
        ({"a b": 1}, 422),
        ({"a": []}, 422),
        ({"a": None}, 422),
        ({"a": {}}, 422),
        ({"a": {"at_least": "x"}}, 422),
        ({"a": {"more": 1}}, 422),
        ({"a": 2**63}, 422),
        ({"a": [-(2**70)]}, 422),
        ([], 422),
    ],
)
async def test_conditions_that_cannot_be_meant_are_refused(people: httpx.AsyncClient, where: Any, status: int) -> None:
    probe = {"space": "a", "feature": features(1)[0].tolist()}
    response = await people.post("/identify", json={"gallery": "people", "probe": probe, "where": where})
    assert response.status_code == status
    query = {"gallery": "people", "space": "a", "where": json.dumps(where)}
    headers = {"content-type": "application/x-npy"}
    array = await people.post("/identify", params=query, content=npy(features(1)), headers=headers)
    assert array.status_code == status
    broken = await people.post("/identify", params=query | {"where": "{"}, content=npy(features(1)), headers=headers)
    assert (broken.status_code, broken.json()["type"]) == (400, "urn:facebridge:problem:malformed-json")


async def test_features_of_one_subject_come_as_an_array(people: httpx.AsyncClient) -> None:
    headers = {"content-type": "application/x-npy"}
    query = {"space": "a", "subject": "zoe"}
    response = await people.post(
        "/galleries/people/templates", params=query, content=npy(features(5, 8, seed=3)), headers=headers
    )
    assert (response.status_code, len(response.json()["template_ids"])) == (201, 5)
    assert (await subjects(people)).count("zoe") == 5
    for missing in ({"space": "a"}, {"subject": "zoe"}):
        refused = await people.post(
            "/galleries/people/templates", params=missing, content=npy(features(1)), headers=headers
        )
        assert refused.status_code == 422
    body = {"space": "a", "templates": [sample("ann", 0)]}
    assert (await people.post("/galleries/people/templates", params=query, json=body)).status_code == 422


async def test_a_put_replaces_templates_of_the_same_keys(people: httpx.AsyncClient) -> None:
    body = {"space": "a", "templates": [sample("kim", 5, key="1.jpg"), sample("kim", 6, key="2.jpg")]}
    assert (await people.post("/galleries/people/templates", json=body)).status_code == 201
    taken = await people.post("/galleries/people/templates", json=body)
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:facebridge:problem:already-exists")
    assert [error["pointer"] for error in taken.json()["errors"]] == ["/templates/0", "/templates/1"]
    body["templates"] = [sample("joe", 7, key="2.jpg"), sample("joe", 8, key="3.jpg")]
    replaced = await people.put("/galleries/people/templates", json=body)
    assert (replaced.status_code, replaced.json()["num_replaced"]) == (201, 1)
    assert sorted(await subjects(people)) == ["ann", "ann", "bob", "eve", "joe", "joe", "kim"]


async def test_what_is_wrong_with_single_templates_is_told_by_pointer(people: httpx.AsyncClient) -> None:
    templates = [
        sample("kim", 5),
        sample("kim", 6),
        sample("kim", 7, key="k"),
        sample("a", 7, key="k"),
    ]
    response = await people.post("/galleries/people/templates", json={"space": "a", "templates": templates})
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["/templates/3"]
    del templates[3]
    templates[1]["metadata"] = {"x": 2**60}
    response = await people.post("/galleries/people/templates", json={"space": "a", "templates": templates})
    assert [error["pointer"] for error in response.json()["errors"]] == ["/templates/1/metadata"]
    assert len(await subjects(people)) == 4


async def test_a_refusal_names_no_field_that_was_sent(people: httpx.AsyncClient) -> None:
    secret = "Canary7Qx is ill"
    probe = {"space": "a", "feature": features(1)[0].tolist()}
    bad: list[tuple[str, Any]] = [
        ("/galleries/people/templates", {"space": "a", "templates": [sample("ann", 0, metadata={secret: 1})]}),
        ("/galleries/people/templates", {"space": "a", "templates": [sample("ann", 0, metadata={"Canary7Qx": [1]})]}),
        ("/identify", {"gallery": "people", "probe": probe, "where": {secret: 1}}),
        ("/identify", {"gallery": "people", "probe": probe, "where": {"Canary7Qx": {"at_least": "x"}}}),
    ]
    for url, body in bad:
        response = await people.post(url, json=body)
        assert response.status_code == 422
        assert "Canary7Qx" not in response.text
        assert {error["pointer"].rpartition("/")[2] for error in response.json()["errors"]} <= {"metadata", "where"}


async def test_templates_that_were_translated_go_back_to_a_snapshot_too(people: httpx.AsyncClient) -> None:
    await people.post("/galleries", json={"name": "other", "space": "b"})
    body = {"space": "a", "templates": [sample("ann", 0)]}
    assert (await people.post("/galleries/other/templates", json=body)).json()["route"]["target"]["name"] == B.name
    snapshot = (await people.post("/galleries/other/snapshots")).json()["snapshot_id"]
    before = (await people.get("/galleries/other/templates")).json()
    await people.delete("/galleries/other/subjects/ann")
    assert (await people.post("/galleries/other/restore", json={"snapshot": snapshot})).status_code == 200
    assert (await people.get("/galleries/other/templates")).json() == before
    await people.delete(f"/galleries/other/snapshots/{snapshot}")


async def test_erasures_are_counted_by_what_came_of_them(
    people: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counted(text: str) -> dict[str, float]:
        found = re.findall(r'facebridge_erasures_total{outcome="(\w+)",tenant="default"} (\S+)', text)
        return {outcome: float(number) for outcome, number in found}

    before = counted((await people.get("/metrics")).text)
    assert (await people.post("/galleries/people/erasures", json={"subjects": ["ann"]})).status_code == 200
    assert (await people.post("/galleries/others/erasures", json={"subjects": ["ann"]})).status_code == 404
    monkeypatch.setattr("service.usecases.custody.Custody.erase", _disk_is_full)
    assert (await people.post("/galleries/people/erasures", json={"subjects": ["ann"]})).status_code == 507
    after = counted((await people.get("/metrics")).text)
    assert {outcome: after[outcome] - before[outcome] for outcome in after} == {"complete": 1, "failed": 1}


async def _disk_is_full(*_: Any, **__: Any) -> None:
    raise InsufficientStorageError("the disk is full")
