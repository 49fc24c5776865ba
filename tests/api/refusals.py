"""What every refusal must be, and the canaries that must never come back."""

import re
from typing import Any

import httpx

from tests.api.world import features

CANARY = "Canary7Qx"
CANARY_NUMBER = "0.7182818284"


JSON, NPY, NPZ = "application/json", "application/x-npy", "application/x-npz"
ROW = features(1)[0].tolist()
TYPE = re.compile(r"urn:facebridge:problem:[a-z]+(-[a-z]+)*")

VALID: dict[str, Any] = {
    "/translate": {"source": "a", "target": "b", "features": [ROW, ROW]},
    "/verify": {"a": {"space": "a", "feature": ROW}, "b": {"space": "a", "feature": ROW}, "fmr": 0.01},
    "/identify": {
        "gallery": "people",
        "probe": {"space": "a", "feature": ROW},
        "top_k": 3,
        "where": {"site": ["north"]},
    },
    "/galleries": {"name": "people", "space": "a"},
    "/galleries/people/templates": {
        "space": "a",
        "templates": [{"subject": "ann", "feature": ROW, "key": "k", "metadata": {"site": "north", "year": 2020}}],
    },
    "/galleries/people/erasures": {"subjects": ["ann", "bob"]},
    "/galleries/people/restore": {"snapshot": "20260101T000000Z-00000000"},
}


def assert_clean(response: httpx.Response, what: Any = "") -> str:
    """The response is a well-formed refusal that repeats nothing; its slug."""
    note = (what, response.status_code, response.text[:300])
    assert 400 <= response.status_code < 500, note
    assert response.headers["content-type"] == "application/problem+json", note
    body = response.json()
    assert body.keys() == {"type", "title", "status", "detail", "errors"}, note
    assert TYPE.fullmatch(body["type"]), note
    assert body["status"] == response.status_code, note
    assert len(body["errors"]) <= 10, note
    told = response.text + str(response.headers)
    assert CANARY.lower() not in told.lower(), note
    assert CANARY_NUMBER not in told, note
    slug: str = body["type"].rpartition(":")[2]
    return slug


async def post(
    client: httpx.AsyncClient, url: str, body: bytes | str, content_type: str | None = JSON
) -> httpx.Response:
    headers = {} if content_type is None else {"content-type": content_type}
    return await client.post(url, content=body, headers=headers)
