from pathlib import Path

import httpx
import pytest

from service.app import create_app
from service.settings import Settings
from tests.api.world import A_TO_B, A, B, C, D, running, write_translator, write_world


async def test_every_space_of_a_bundle_is_listed_with_its_encoder(oracle_client: httpx.AsyncClient) -> None:
    listed = (await oracle_client.get("/spaces")).json()
    assert listed == [
        {
            "name": space.name,
            "fingerprint": space.fingerprint,
            "dimension": space.dimension,
            "metric": "cosine",
            "encoder": encoder,
            "arriving": None,
        }
        for space, encoder in ((A, "encode-a"), (B, None), (C, None), (D, "encode-d"))
    ]


async def test_every_route_is_listed_with_the_product_of_its_qualities(oracle_client: httpx.AsyncClient) -> None:
    listed = (await oracle_client.get("/routes")).json()
    found = {
        (route["source"]["name"], route["target"]["name"]): (route["bundles"], round(route["quality"], 6))
        for route in listed
    }
    assert found == {
        ("a", "b"): (["a-to-b"], 0.9),
        ("a", "c"): (["a-to-b", "b-to-c"], 0.72),
        ("b", "a"): (["b-to-c", "c-to-a"], 0.56),
        ("b", "c"): (["b-to-c"], 0.8),
        ("c", "a"): (["c-to-a"], 0.7),
        ("c", "b"): (["c-to-a", "a-to-b"], 0.63),
    }
    rates = {route["bundles"][0]: route["false_match_rates"] for route in listed if len(route["bundles"]) == 1}
    assert rates == {"a-to-b": [0.01, 0.001], "b-to-c": [], "c-to-a": []}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("source=a", {("a", "b"), ("a", "c")}),
        ("target=a", {("b", "a"), ("c", "a")}),
        (f"source={A.fingerprint}&target=c", {("a", "c")}),
        ("source=a&target=a", {("a", "a")}),
        ("source=d", set()),
        ("source=nowhere", set()),
    ],
)
async def test_routes_can_be_asked_for_by_their_ends(
    oracle_client: httpx.AsyncClient, query: str, expected: set[tuple[str, str]]
) -> None:
    listed = (await oracle_client.get(f"/routes?{query}")).json()
    assert {(route["source"]["name"], route["target"]["name"]) for route in listed} == expected


@pytest.mark.parametrize("query", ["source=a&target=d", "source=d&target=a", "source=a&target=nowhere"])
async def test_a_route_that_is_not_there_is_refused(oracle_client: httpx.AsyncClient, query: str) -> None:
    response = await oracle_client.get(f"/routes?{query}")
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:no-route")


async def test_bundles_are_listed_with_device_and_digest(oracle_client: httpx.AsyncClient, bundles: Path) -> None:
    answer = (await oracle_client.get("/bundles")).json()
    assert answer["rejected"] == []
    assert [bundle["name"] for bundle in answer["bundles"]] == ["encode-a", "encode-d", "a-to-b", "b-to-c", "c-to-a"]
    a_to_b = answer["bundles"][2]
    assert (a_to_b["kind"], a_to_b["method"], a_to_b["device"]) == ("translator", "procrustes", "cpu")
    assert (a_to_b["source"]["name"], a_to_b["target"]["name"], a_to_b["licence"]) == ("a", "b", "MIT")
    assert a_to_b["digest"] in (bundles / "a-to-b" / "bundle.json").read_text()
    assert answer["bundles"][0]["source"] is None


async def test_a_rejected_bundle_is_listed_with_the_reason_and_the_rest_is_served(tmp_path: Path) -> None:
    folder = write_world(tmp_path / "bundles")
    write_translator(folder / "spoilt", A_TO_B, A, B)
    model = bytearray((folder / "spoilt" / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "spoilt" / "model.onnx").write_bytes(model)
    async with running(create_app(Settings(bundles=folder, data=tmp_path / "data"))) as client:
        answer = (await client.get("/bundles")).json()
        assert [(entry["folder"], "SHA-256" in entry["reason"]) for entry in answer["rejected"]] == [("spoilt", True)]
        assert len(answer["bundles"]) == 5
        ready = (await client.get("/healthz/ready")).json()
        assert ready == {"status": "ok", "num_bundles": 5, "num_rejected": 1, "is_writable": True}
