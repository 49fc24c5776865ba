import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.linear import LinearMap
from models.npy import read_npy
from models.space import Space
from service.app import create_app
from service.settings import Settings
from tests.api.conftest import MakeApp
from tests.api.world import (
    A_TO_B,
    B_TO_C,
    A,
    B,
    C,
    FakeEngine,
    FakeEngines,
    base64_of,
    by_hand,
    features,
    npy,
    running,
    write_translator,
)

NPY = {"content-type": "application/x-npy"}


def problem(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["type"].removeprefix("urn:facebridge:problem:")


def view(space: Space) -> dict[str, object]:
    return {
        "name": space.name,
        "fingerprint": space.fingerprint,
        "dimension": space.dimension,
        "metric": "cosine",
    }


async def test_features_as_numbers_come_out_as_the_map_says(client: httpx.AsyncClient) -> None:
    rows = features(3)
    response = await client.post("/translate", json={"source": "a", "target": "b", "features": rows.tolist()})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json()["route"] == {
        "source": view(A),
        "target": view(B),
        "bundles": ["a-to-b"],
        "common_space": None,
    }
    np.testing.assert_allclose(response.json()["features"], by_hand(rows, A_TO_B), atol=1e-6)


async def test_base64_holds_all_rows_one_after_another(client: httpx.AsyncClient) -> None:
    rows = features(5, seed=1)
    response = await client.post("/translate", json={"source": "a", "target": "b", "features": base64_of(rows)})
    np.testing.assert_allclose(response.json()["features"], by_hand(rows, A_TO_B), atol=1e-6)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2"])
async def test_an_npy_array_of_any_float_comes_back_as_one_of_float32(client: httpx.AsyncClient, dtype: str) -> None:
    rows = features(4, seed=2).astype(dtype)
    response = await client.post("/translate?source=a&target=b", content=npy(rows), headers=NPY)
    assert response.headers["content-type"] == "application/x-npy"
    assert response.headers["x-facebridge-route"] == "a-to-b"
    translated = read_npy(response.content)
    assert translated.dtype == np.float32
    np.testing.assert_allclose(translated, by_hand(rows, A_TO_B), atol=1e-6)


async def test_an_array_in_fortran_order_is_read_by_rows(oracle_client: httpx.AsyncClient) -> None:
    rows = features(4, seed=2)
    body = npy(np.asfortranarray(rows))
    response = await oracle_client.post("/translate?source=a&target=b", content=body, headers=NPY)
    np.testing.assert_allclose(read_npy(response.content), by_hand(rows, A_TO_B), atol=1e-6)


async def test_a_route_of_two_hops_is_both_maps_in_turn(client: httpx.AsyncClient) -> None:
    rows = features(3, seed=3)
    response = await client.post("/translate", json={"source": "a", "target": "c", "features": rows.tolist()})
    assert response.json()["route"] == {
        "source": view(A),
        "target": view(C),
        "bundles": ["a-to-b", "b-to-c"],
        "common_space": None,
    }
    np.testing.assert_allclose(response.json()["features"], by_hand(rows, A_TO_B, B_TO_C), atol=2e-6)
    binary = await client.post("/translate?source=a&target=c", content=npy(rows), headers=NPY)
    assert binary.headers["x-facebridge-route"] == "a-to-b,b-to-c"


async def test_into_the_same_space_features_are_only_normalised(client: httpx.AsyncClient) -> None:
    row = [3.0, 4.0, 0, 0, 0, 0, 0, 0]
    response = await client.post("/translate", json={"source": "a", "target": "a", "features": [row]})
    np.testing.assert_allclose(response.json()["features"], [[0.6, 0.8, 0, 0, 0, 0, 0, 0]], atol=1e-7)
    assert response.json()["route"]["bundles"] == []


async def test_spaces_may_be_given_by_fingerprint(client: httpx.AsyncClient) -> None:
    rows = features(1)
    body = {"source": A.fingerprint, "target": B.fingerprint, "features": rows.tolist()}
    response = await client.post("/translate", json=body)
    np.testing.assert_allclose(response.json()["features"], by_hand(rows, A_TO_B), atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e30])
async def test_the_length_of_a_feature_does_not_matter(client: httpx.AsyncClient, scale: float) -> None:
    rows = features(2)
    body = {"source": "a", "target": "b", "features": (scale * rows).tolist()}
    response = await client.post("/translate", json=body)
    np.testing.assert_allclose(response.json()["features"], by_hand(rows, A_TO_B), atol=1e-6)


async def test_more_rows_than_a_model_runs_at_once_come_back_in_order(make_app: MakeApp) -> None:
    rows = features(50, seed=5)
    async with running(make_app(batch_rows=8)) as client:
        response = await client.post("/translate?source=a&target=b", content=npy(rows), headers=NPY)
    np.testing.assert_allclose(read_npy(response.content), by_hand(rows, A_TO_B), atol=1e-6)


@pytest.mark.parametrize(("source", "target"), [("a", "d"), ("d", "a"), ("a", "nowhere"), ("nowhere", "a")])
async def test_where_no_route_leads_nothing_is_translated(client: httpx.AsyncClient, source: str, target: str) -> None:
    body = {"source": source, "target": target, "features": features(1).tolist()}
    assert problem(await client.post("/translate", json=body)) == (422, "no-route")
    url = f"/translate?source={source}&target={target}"
    assert problem(await client.post(url, content=npy(features(1)), headers=NPY)) == (422, "no-route")


async def test_vectors_of_another_length_are_refused_with_the_row(client: httpx.AsyncClient) -> None:
    body = {"source": "a", "target": "b", "features": [[1.0] * 8, [1.0] * 7]}
    response = await client.post("/translate", json=body)
    assert problem(response) == (422, "dimension-mismatch")
    assert response.json()["detail"] == "vector 1 has 7 numbers; its space has 8"


async def test_zero_vectors_and_infinite_ones_are_refused_with_the_row(client: httpx.AsyncClient) -> None:
    zero, infinite = np.ones((2, 8), dtype=np.float32), np.ones((3, 8), dtype=np.float32)
    zero[1], infinite[2, 3] = 0, np.inf
    for rows, slug, row in ((zero, "zero-norm", "vector 1 "), (infinite, "non-finite-vector", "vector 2 ")):
        response = await client.post("/translate?source=a&target=b", content=npy(rows), headers=NPY)
        assert problem(response) == (422, slug)
        assert response.json()["detail"].startswith(row)


async def test_too_many_rows_are_refused(make_app: MakeApp) -> None:
    async with running(make_app(max_batch_rows=3)) as client:
        for num_rows, status in ((3, 200), (4, 413)):
            body = {"source": "a", "target": "b", "features": features(num_rows).tolist()}
            assert (await client.post("/translate", json=body)).status_code == status
        response = await client.post("/translate?source=a&target=b", content=npy(features(4)), headers=NPY)
        assert problem(response) == (413, "batch-too-large")


async def test_an_overloaded_model_refuses_with_retry_after_and_answers_the_others(make_app: MakeApp) -> None:
    engines = FakeEngines(change=lambda engine: engine.may_go_on.clear())
    async with running(make_app(engines=engines, batch_rows=1, queue_rows=1)) as client:
        body = {"source": "a", "target": "b", "features": [[1.0] * 8]}
        waiting = {asyncio.ensure_future(client.post("/translate", json=body)) for _ in range(3)}
        refused, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in refused:
            assert problem(task.result()) == (429, "queue-full")
            assert task.result().headers["retry-after"] == "1"
        engines.by_name["a-to-b"].may_go_on.set()
        answered = await asyncio.gather(*waiting)
        assert 200 in {response.status_code for response in answered} <= {200, 429}


async def test_a_failing_model_is_the_services_fault_and_the_next_request_is_served(make_app: MakeApp) -> None:
    engines = FakeEngines()
    async with running(make_app(engines=engines)) as client:
        engine: FakeEngine = engines.by_name["a-to-b"]
        body = {"source": "a", "target": "b", "features": [[1.0] * 8]}
        engine.fail_with = RuntimeError("0.123456 was in the input")
        response = await client.post("/translate", json=body)
        assert problem(response) == (500, "engine-failed")
        assert "0.123456" not in response.text
        engine.fail_with = None
        assert (await client.post("/translate", json=body)).status_code == 200


async def test_a_vector_that_a_map_takes_to_zero_is_the_callers_fault_and_no_other_callers(tmp_path: Path) -> None:
    keeps_the_first_half = LinearMap(np.eye(8, 4, dtype=np.float32), np.zeros(4, dtype=np.float32))
    write_translator(tmp_path / "bundles" / "half", keeps_the_first_half, A, Space("half", 4, "external:half"))
    async with running(create_app(Settings(bundles=tmp_path / "bundles", data=tmp_path / "data"))) as client:
        bodies = [{"source": "a", "target": "half", "features": [np.eye(8)[axis].tolist()]} for axis in (0, 7)]
        kept, lost = await asyncio.gather(*(client.post("/translate", json=body) for body in bodies))
        assert kept.json()["features"] == [[1, 0, 0, 0]]
        assert problem(lost) == (422, "zero-norm")
