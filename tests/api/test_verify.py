from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.app import create_app
from service.settings import Settings
from tests.api.world import (
    A_TO_B,
    C_TO_A,
    OTHER_A,
    A,
    B,
    C,
    D,
    base64_of,
    by_hand,
    encoded_by_hand,
    features,
    picture_bytes,
    running,
    unit,
    write_translator,
    write_world,
)

ROW_A, OTHER_ROW_A, ROW_B, ROW_C = features(1)[0], features(1, seed=1)[0], features(1, 16)[0], features(1, seed=2)[0]


def sample(space: str, row: Any) -> dict[str, Any]:
    return {"space": space, "feature": np.asarray(row).tolist()}


async def test_in_one_space_the_score_is_the_cosine(client: httpx.AsyncClient) -> None:
    response = await client.post("/verify", json={"a": sample("a", ROW_A), "b": sample("a", OTHER_ROW_A)})
    assert response.status_code == 200
    assert response.json()["score"] == pytest.approx(float(unit(ROW_A) @ unit(OTHER_ROW_A)), abs=1e-6)
    assert response.json()["decision"] is None
    assert response.json()["threshold"] is None
    assert response.json()["route"]["bundles"] == []


async def test_across_spaces_the_weaker_one_is_translated_whichever_comes_first(client: httpx.AsyncClient) -> None:
    expected = float(by_hand(ROW_A, A_TO_B) @ unit(ROW_B))
    for a, b in ((sample("a", ROW_A), sample("b", ROW_B)), (sample("b", ROW_B), sample("a", ROW_A))):
        response = await client.post("/verify", json={"a": a, "b": b})
        assert response.json()["score"] == pytest.approx(expected, abs=1e-6)
        route = response.json()["route"]
        assert (route["source"]["name"], route["target"]["name"], route["bundles"]) == ("a", "b", ["a-to-b"])


async def test_the_shorter_of_two_routes_is_taken(client: httpx.AsyncClient) -> None:
    response = await client.post("/verify", json={"a": sample("a", ROW_A), "b": sample("c", ROW_C)})
    assert response.json()["route"]["bundles"] == ["c-to-a"]
    assert response.json()["score"] == pytest.approx(float(by_hand(ROW_C, C_TO_A) @ unit(ROW_A)), abs=1e-6)


async def test_a_rate_gives_threshold_and_decision_of_the_translated_comparison(client: httpx.AsyncClient) -> None:
    towards = by_hand(ROW_A, A_TO_B)
    for feature, decision in ((towards, "match"), (-towards, "non-match")):
        response = await client.post("/verify", json={"a": sample("a", ROW_A), "b": sample("b", feature), "fmr": 0.001})
        figures = {key: response.json()[key] for key in ("decision", "threshold", "fmr", "fnmr")}
        assert figures == {"decision": decision, "threshold": 0.75, "fmr": 0.001, "fnmr": 0.2}


async def test_a_score_between_two_thresholds_is_decided_by_the_asked_rate(client: httpx.AsyncClient) -> None:
    towards = by_hand(ROW_A, A_TO_B)
    across = unit(features(1, 16, seed=9)[0] - (features(1, 16, seed=9)[0] @ towards) * towards)
    half = 0.5 * towards + np.sqrt(0.75) * across
    decisions = []
    for fmr in (0.01, 0.001):
        response = await client.post("/verify", json={"a": sample("a", ROW_A), "b": sample("b", half), "fmr": fmr})
        assert response.json()["score"] == pytest.approx(0.5, abs=1e-6)
        decisions.append(response.json()["decision"])
    assert decisions == ["match", "non-match"]


async def test_native_comparisons_have_thresholds_of_their_own(client: httpx.AsyncClient) -> None:
    for space, row, threshold in (("a", ROW_A, 0.125), ("b", ROW_B, 0.5)):
        response = await client.post("/verify", json={"a": sample(space, row), "b": sample(space, row), "fmr": 0.01})
        assert (response.json()["threshold"], response.json()["decision"]) == (threshold, "match")


@pytest.mark.parametrize(
    ("a", "b", "fmr", "measured"),
    [
        (sample("a", ROW_A), sample("b", ROW_B), 0.5, "0.01, 0.001"),
        (sample("c", ROW_C), sample("a", ROW_A), 0.01, "none"),
        (sample("c", ROW_C), sample("c", ROW_C), 0.01, "none"),
    ],
)
async def test_a_rate_that_was_not_measured_is_refused_with_those_that_were(
    client: httpx.AsyncClient, a: dict[str, Any], b: dict[str, Any], fmr: float, measured: str
) -> None:
    response = await client.post("/verify", json={"a": a, "b": b, "fmr": fmr})
    assert response.status_code == 422
    assert response.json()["type"].endswith(":no-operating-point")
    assert response.json()["detail"].endswith(f"measured: {measured}")


async def test_a_picture_is_compared_with_a_feature_of_another_space(client: httpx.AsyncClient) -> None:
    picture = picture_bytes((200, 30, 90))
    body = {"a": {"space": "a", "image": base64_of(picture)}, "b": {"space": "b", "feature": base64_of(ROW_B)}}
    response = await client.post("/verify", json=body)
    expected = float(by_hand(encoded_by_hand(picture), A_TO_B) @ unit(ROW_B))
    assert response.json()["score"] == pytest.approx(expected, abs=1e-5)


async def test_a_picture_of_another_size_needs_landmarks_only_where_it_is_not_square(client: httpx.AsyncClient) -> None:
    large = base64_of(picture_bytes((200, 30, 90), size=224))
    landmarks = [[76.6, 103.4], [147.1, 103.0], [112.1, 143.5], [83.1, 184.7], [141.5, 184.4]]
    for picture in ({"image": large}, {"image": large, "landmarks": landmarks}):
        body = {"a": {"space": "a"} | picture, "b": {"space": "a", "image": base64_of(picture_bytes((200, 30, 90)))}}
        response = await client.post("/verify", json=body)
        assert response.json()["score"] == pytest.approx(1.0, abs=1e-3)


async def test_pictures_of_a_space_without_encoder_are_refused(client: httpx.AsyncClient) -> None:
    body = {"a": {"space": "b", "image": base64_of(picture_bytes((1, 2, 3)))}, "b": sample("b", ROW_B)}
    response = await client.post("/verify", json=body)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:image-rejected")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("a", "d"),
        ("d", "a"),
        ("b", "d"),
        ("c", "d"),
        (A.fingerprint, D.fingerprint),
        ("a", "nowhere"),
        ("nowhere", "a"),
        ("nowhere", "nowhere"),
        ("a", OTHER_A.fingerprint),
        ("a", "0" * 16),
    ],
)
async def test_features_of_spaces_that_nothing_joins_are_never_compared(
    client: httpx.AsyncClient, a: str, b: str
) -> None:
    rows = {"b": ROW_B, B.fingerprint: ROW_B}
    body = {"a": sample(a, rows.get(a, ROW_A)), "b": sample(b, rows.get(b, ROW_A))}
    response = await client.post("/verify", json=body)
    assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")


async def test_a_name_that_two_spaces_carry_is_refused_and_the_fingerprints_are_not(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_translator(folder / "other-a", C_TO_A, OTHER_A, C)
    async with running(create_app(Settings(bundles=folder, data=tmp_path / "data"))) as client:
        response = await client.post("/verify", json={"a": sample("a", ROW_A), "b": sample("a", ROW_A)})
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:space-mismatch")
        assert OTHER_A.fingerprint in response.json()["detail"]
        translate = {"source": "a", "target": "b", "features": [ROW_A.tolist()]}
        assert (await client.post("/translate", json=translate)).status_code == 409
        mine = sample(A.fingerprint, ROW_A)
        assert (await client.post("/verify", json={"a": mine, "b": mine})).json()["score"] == pytest.approx(1.0)
