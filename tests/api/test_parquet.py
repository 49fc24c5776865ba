"""Feature sets as Parquet: enrolled and identified as `.npz` is, and harmless where they are none."""

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.feature_set import FeatureSet
from models.parquet import write_parquet
from service.api.parquet import ENVIRONMENT, MAX_PROCESSES
from tests.api.world import A, features, unit

HEADERS = {"content-type": "application/vnd.apache.parquet"}


def parquet(num: int = 3, **more: Any) -> bytes:
    columns = {
        "feature": unit(features(num)).astype(np.float32),
        "image": np.array([f"p{row}" for row in range(num)]),
        "subject": np.array([f"s{row}" for row in range(num)]),
        "label_site": np.array(["north"] * num),
        "label_year": np.arange(2020, 2020 + num),
    }
    return write_parquet(FeatureSet.build(A, columns | more))


async def test_a_parquet_feature_set_is_enrolled_with_keys_and_labels(people: httpx.AsyncClient) -> None:
    response = await people.post("/galleries/people/templates", content=parquet(), headers=HEADERS)
    assert (response.status_code, len(response.json()["template_ids"])) == (201, 3)
    templates = (await people.get("/galleries/people/templates")).json()["templates"]
    assert [(one["subject"], one["key"], one["metadata"]) for one in templates] == [
        (f"s{row}", f"p{row}", {"site": "north", "year": 2020 + row}) for row in range(3)
    ]
    again = await people.post("/galleries/people/templates", content=parquet(), headers=HEADERS)
    assert (again.status_code, again.json()["type"]) == (409, "urn:facebridge:problem:already-exists")
    replaced = await people.put("/galleries/people/templates", content=parquet(), headers=HEADERS)
    assert (replaced.status_code, replaced.json()["num_replaced"]) == (201, 3)


async def test_only_those_labels_are_kept_that_are_asked_for(people: httpx.AsyncClient) -> None:
    async def enrolled(metadata: str) -> httpx.Response:
        query = {"metadata": metadata}
        return await people.put("/galleries/people/templates", params=query, content=parquet(1), headers=HEADERS)

    for metadata, kept in (("year", {"year": 2020}), ("", {}), ("year,site", {"year": 2020, "site": "north"})):
        (template_id,) = (await enrolled(metadata)).json()["template_ids"]
        assert (await people.get(f"/galleries/people/templates/{template_id}")).json()["metadata"] == kept
    refused = await enrolled("site,secret-name")
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
    assert "number 2 of metadata" in refused.text
    assert "secret-name" not in refused.text
    body = {"space": "a", "templates": [{"subject": "s", "feature": [1.0] + [0.0] * 7}]}
    assert (await people.put("/galleries/people/templates?metadata=site", json=body)).status_code == 422


async def test_no_more_files_are_read_at_once_than_are_meant_to_be(
    people: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = most = 0
    started = asyncio.create_subprocess_exec

    async def counted(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        nonlocal running, most
        running += 1
        most = max(most, running)
        process = await started(*command, **options)
        communicate = process.communicate

        async def communicated(data: Any) -> Any:
            nonlocal running
            told = await communicate(data)
            running -= 1
            return told

        process.communicate = communicated  # type: ignore[method-assign, assignment]
        return process

    monkeypatch.setattr("service.api.parquet.asyncio.create_subprocess_exec", counted)
    probes = {"gallery": "people"}
    answers = await asyncio.gather(
        *(people.post("/identify", params=probes, content=parquet(), headers=HEADERS) for _ in range(5))
    )
    assert [answer.status_code for answer in answers] == [200] * 5
    assert (running, most) == (0, MAX_PROCESSES)


async def test_probes_may_come_as_parquet(people: httpx.AsyncClient) -> None:
    await people.post("/galleries/people/templates", content=parquet(), headers=HEADERS)
    response = await people.post("/identify", params={"gallery": "people"}, content=parquet(), headers=HEADERS)
    assert [one["candidates"][0]["subject"] for one in response.json()["results"]] == ["s0", "s1", "s2"]
    assert [one["image"] for one in response.json()["results"]] == ["p0", "p1", "p2"]


def other_table(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


BAD = {
    "empty": b"",
    "text": b"not parquet at all",
    "magic": b"PAR1" + bytes(100) + b"PAR1",
    "cut": parquet()[:-20],
    "no-space": other_table(feature=[[1.0]], image=["a"], subject=["b"]),
    "bomb": other_table(feature=pa.array(np.zeros(30_000_000))),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
async def test_what_is_no_feature_set_is_refused_and_nothing_is_kept(people: httpx.AsyncClient, body: bytes) -> None:
    response = await people.post("/galleries/people/templates", content=body, headers=HEADERS)
    assert (response.status_code, response.json()["type"]) == (422, "urn:facebridge:problem:invalid-request")
    assert (await people.get("/galleries/people")).json()["num_templates"] == 0


async def test_a_turned_bit_is_seen_or_the_file_is_what_it_was(people: httpx.AsyncClient) -> None:
    sound = parquet(40)
    for place in range(len(sound) // 9, len(sound), len(sound) // 9):
        body = sound[:place] + bytes([sound[place] ^ 16]) + sound[place + 1 :]
        response = await people.post("/identify", params={"gallery": "people"}, content=body, headers=HEADERS)
        assert response.status_code in (200, 422)


def test_reading_a_small_file_reserves_little_of_the_memory_that_it_may_have() -> None:
    """pyarrow's own pool reserves a gigabyte, and every thread a hundred megabytes: sound files would be refused for that."""
    program = (
        "import re, sys; from models.parquet import read_parquet;"
        " read_parquet(sys.stdin.buffer.read());"
        r" print(re.search(r'VmPeak:\s+(\d+) kB', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=parquet(40),
        capture_output=True,
        check=True,
        env=os.environ | ENVIRONMENT,
        cwd=Path(__file__).parents[2],
    )
    assert int(done.stdout) < 500 << 10
