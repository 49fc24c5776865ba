"""A hundred cut-overs and rollbacks under thirty-two clients: no error, and no answer that mixes generations."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.linear import LinearMap
from tests.api.world import A_TO_B, A, B, Rows, feature_set, features, unit, write_translator
from tests.serving import WAIT_SECONDS, serving

CLIENTS, SWAPS, NUM = 32, 100, 3000
GATES = {"min_overlap": 0.0, "min_retention": 0.0, "max_negative_flips": 1.0, "num_samples": 40}
_BACK = LinearMap(np.linalg.pinv(A_TO_B.weight_ST).astype(np.float32), np.zeros(8, dtype=np.float32))
SPACES = {1: "a", 2: "b"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    write_translator(folder / "a-to-b", A_TO_B, A, B, quality=0.9)
    write_translator(folder / "b-to-a", _BACK, B, A, quality=0.9)
    return folder


class Clients:
    """Ask and enrol, and look at every answer."""

    def __init__(self, client: httpx.AsyncClient, rows: Rows) -> None:
        self.client, self.rows = client, rows
        self.is_over = False
        self.wrong: list[Any] = []
        self.generations: dict[int, int] = {1: 0, 2: 0}
        self.num_enrolled = 0

    async def ask(self, number: int) -> None:
        row = number
        while not self.is_over:
            row = (row + CLIENTS) % NUM
            probe = {"space": "a", "feature": self.rows[row].tolist()}
            response = await self.client.post("/identify", json={"gallery": "people", "top_k": 1, "probe": probe})
            if response.status_code != 200:
                self.wrong.append(response.text)
                continue
            answer = response.json()
            self.generations[answer["generation"]] += 1
            (best,) = answer["candidates"]
            is_right = best["subject"] == f"s{row}" and best["score"] > 0.999
            if not is_right or answer["route"]["target"]["name"] != SPACES[answer["generation"]]:
                self.wrong.append(answer)

    async def enrol(self, number: int) -> None:
        """One after the other; each is found at once, whichever generation is asked."""
        while not self.is_over:
            self.num_enrolled += 1
            feature = unit(features(1, 8, seed=10_000 + self.num_enrolled))[0].tolist()
            template = {"subject": f"new{number}.{self.num_enrolled}", "feature": feature}
            body = {"space": "a", "templates": [template]}
            response = await self.client.post("/galleries/people/templates", json=body)
            if response.status_code != 201:
                self.wrong.append(response.text)
            probe = {"space": "a", "feature": feature}
            response = await self.client.post("/identify", json={"gallery": "people", "top_k": 1, "probe": probe})
            if response.status_code != 200 or response.json()["candidates"][0]["subject"] != template["subject"]:
                self.wrong.append(response.text)


async def swapped(url: str, rows: Rows) -> Clients:
    limits = httpx.Limits(max_connections=2 * CLIENTS)
    async with httpx.AsyncClient(base_url=url, timeout=WAIT_SECONDS, limits=limits, trust_env=False) as client:
        response = await client.post("/galleries/people/migrations", json={"target": "b", "gates": GATES})
        job = response.json()["job_id"]
        while (await client.get(f"/jobs/{job}")).json()["state"] != "ready":
            await asyncio.sleep(0.05)
        clients = Clients(client, rows)
        tasks = [asyncio.create_task(clients.ask(number)) for number in range(CLIENTS - 2)]
        tasks += [asyncio.create_task(clients.enrol(number)) for number in range(2)]
        for number in range(SWAPS):
            order = "rollback" if number % 2 else "cutover"
            response = await client.post(f"/jobs/{job}/{order}", json={})
            assert response.status_code == 200, response.text
            await asyncio.sleep(0.02)
        clients.is_over = True
        await asyncio.gather(*tasks)
        assert (await client.get("/galleries/people/check")).json()["is_sound"]
        return clients


def test_a_hundred_swaps_under_thirty_two_clients_give_no_wrong_answer(tmp_path: Path, bundles: Path) -> None:
    rows = unit(features(NUM, 8, seed=4))
    with serving(bundles, tmp_path / "data", "--log-level", "error") as served:
        with httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, trust_env=False) as client:
            client.post("/galleries", content=json.dumps({"name": "people", "space": "a"}), headers=_JSON)
            body = feature_set(A, rows, [f"s{row}" for row in range(NUM)])
            headers = {"content-type": "application/x-npz"}
            assert client.post("/galleries/people/templates", content=body, headers=headers).status_code == 201
        clients = asyncio.run(swapped(served.url, rows))
    assert clients.wrong == []
    assert min(clients.generations.values()) > 100
    assert clients.num_enrolled > 20
    sys.stdout.write(f"{SWAPS} swaps, {clients.generations} answers, {clients.num_enrolled} enrolled: none wrong\n")


_JSON = {"content-type": "application/json"}
