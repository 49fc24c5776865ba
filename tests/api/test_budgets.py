"""What keys share with those that made them, and what is written down of keys that a command changes."""

import asyncio
import errno
import re
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.access.audit import read_audit
from service.access.keys import revoke_key, rotate_key
from service.api.schemas.galleries import GalleryView
from service.entities import Gallery
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import TENANTS
from tests.api.keyed import World, keyed, people, probe
from tests.api.test_migrations import LOOSE, until
from tests.api.world import A, feature_set, features


@pytest_asyncio.fixture(loop_scope="session")
async def world(bundles: Path, tmp_path: Path) -> AsyncIterator[World]:
    async with keyed(bundles, tmp_path, probes_per_day=50) as made:
        yield made


async def made(world: World, by: httpx.AsyncClient, name: str, **wanted: Any) -> httpx.AsyncClient:
    """A client with a key that another one makes."""
    answer = await by.post("/keys", json={"name": name, "scopes": ["search", "keys-admin"], **wanted})
    assert answer.status_code == 201, answer.text
    world.look()
    return world.client(answer.json()["key"])


async def test_keys_that_a_key_makes_have_a_share_of_its_probes(world: World) -> None:
    async with world.client(world.key()) as client:
        await people(client)
    async with world.client(world.key("search", "keys-admin", probes_per_day=4)) as maker:
        first = await made(world, maker, "first of it", probes_per_day=2)
        second = await made(world, maker, "second of it")
        third = await made(world, second, "of the second")
        found = [(await first.post("/identify", json=probe())).status_code for _ in range(9)]
        # What its own limit refuses costs nobody else anything.
        assert found == [200, 200, *[429] * 7]
        assert [(await third.post("/identify", json=probe())).status_code for _ in range(2)] == [200, 200]
        for other in (maker, second, third):
            refused = await other.post("/identify", json=probe())
            assert refused.status_code == 429
        assert "with all that came of it, may ask about 4 probes a day" in refused.json()["detail"]


async def test_every_key_in_a_line_bounds_what_came_of_it(world: World) -> None:
    async with world.client(world.key()) as client:
        await people(client)
    async with world.client(world.key("search", "keys-admin", probes_per_day=20)) as root:
        middle = await made(world, root, "middle", probes_per_day=3)
        kids = [await made(world, middle, f"kid {number}", probes_per_day=3) for number in range(3)]
        grandchild = await made(world, kids[2], "of a kid")
        askers = (*kids, grandchild, middle)
        assert [(await one.post("/identify", json=probe())).status_code for one in askers] == [200, 200, 200, 429, 429]
        assert (await root.post("/identify", json=probe())).status_code == 200
        lines = {one["name"]: one["shares"] for one in (await root.get("/keys")).json()["keys"]}
        assert [len(lines[name]) for name in ("middle", "kid 0", "of a kid")] == [1, 2, 3]


async def test_a_key_that_was_ended_makes_none(world: World) -> None:
    """Within the second in which it opens still."""
    key = world.key("keys-admin", "search")
    async with world.client(key) as client:
        revoke_key(world.keys, key.split("_")[1])
        refused = await client.post("/keys", json={"name": "late", "scopes": ["search"]})
        assert (refused.status_code, "revoked" in refused.json()["detail"]) == (422, True)
    assert "late" not in world.keys.read_text()


async def test_the_share_is_bounded_where_the_maker_says_nothing_and_when_it_is_gone(world: World) -> None:
    async with world.client(world.key()) as client:
        await people(client)
    by = world.key("search", "keys-admin")
    async with world.client(by) as maker:
        wide = await made(world, maker, "wide", probes_per_day=10**9)
        two = {name: probe()["probe"] for name in ("a", "b")}
        found = [(await wide.post("/verify", json=two)).status_code for _ in range(51)]
        # The setting says 50, and a key that is bound by it gives away no more.
        assert found == [200] * 50 + [429]
        revoke_key(world.keys, by.split("_")[1])
        world.look()
        assert (await wide.post("/verify", json=two)).status_code == 429


async def test_keys_that_a_key_makes_have_a_share_of_its_requests(world: World) -> None:
    async with world.client(world.key("search", "keys-admin", requests_per_second=0.02)) as maker:
        # Making one is the request that there is.
        other = await made(world, maker, "other")
        refused = await other.get("/spaces")
        assert (refused.status_code, (await maker.get("/spaces")).status_code) == (429, 429)
        assert "with all that came of it, may send 0.02 requests a second" in refused.json()["detail"]


async def test_probes_that_judge_a_migration_are_counted(world: World) -> None:
    async with world.client(world.key()) as client:
        await people(client)
        body = {"target": "b", "gates": LOOSE}
        job_id = (await client.post("/galleries/people/migrations", json=body)).json()["job_id"]
        await until(client, job_id, "ready")
    probes = feature_set(A, features(6), [f"s{number % 4}" for number in range(6)])
    async with world.client(world.key("migrate", probes_per_day=5)) as client:
        headers = {"content-type": "application/x-npz"}
        refused = await client.post(f"/jobs/{job_id}/probes", content=probes, headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:facebridge:problem:rate-limited")


def of_keys(world: World, tenant: str = "default") -> list[tuple[dict[str, Any], int]]:
    """What the audit log says became of keys, and after how many entries."""
    folder = world.data if tenant == "default" else world.data / TENANTS / tenant
    world.audit(tenant)
    entries = [one for one in read_audit(folder / "audit") if one.get("what") == "keys"]
    return [
        ({name: one[name] for name in ("made", "changed", "ended") if name in one}, one["number"]) for one in entries
    ]


async def test_what_a_command_does_to_keys_is_written_down(world: World) -> None:
    mine, acme = world.key(), world.key("search", tenant="acme")
    key_id, of_acme = mine.split("_")[1], acme.split("_")[1]
    rotate_key(world.keys, key_id, keep_seconds=60)
    world.look()
    async with world.client(acme) as client:
        assert (await client.get("/galleries")).status_code == 200
    revoke_key(world.keys, key_id)
    revoke_key(world.keys, of_acme)
    world.look()
    assert [told for told, _ in of_keys(world)] == [{"made": [key_id]}, {"changed": [key_id]}, {"ended": [key_id]}]
    # A tenant that was opened after its first key was made.
    assert [told for told, _ in of_keys(world, "acme")] == [{"made": [of_acme]}, {"ended": [of_acme]}]
    text = "".join(path.read_text() for path in world.data.rglob("*.jsonl"))
    assert mine.split("_")[2] not in text


async def test_when_there_is_too_much_to_do_others_are_turned_away_and_nothing_is_written_down_of_it(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_begun, goes_on = threading.Event(), threading.Event()
    search = EmbeddedGalleryStore.search

    def slowly(*given: Any, **more: Any) -> Any:
        has_begun.set()
        goes_on.wait(30)
        return search(*given, **more)

    async with keyed(bundles, tmp_path, requests_at_once=1) as world, world.client(world.key()) as client:
        await people(client)
        monkeypatch.setattr(EmbeddedGalleryStore, "search", slowly)
        first = asyncio.create_task(client.post("/identify", json=probe()))
        assert await asyncio.to_thread(has_begun.wait, 30)
        second = await client.post("/identify", json=probe())
        assert (second.status_code, second.headers["retry-after"]) == (429, "1")
        assert second.json()["type"].endswith(":queue-full")
        # Who looks after it is let in meanwhile.
        assert (await client.get("/jobs")).status_code == 200
        goes_on.set()
        assert (await first).status_code == 200
        assert (await client.post("/identify", json=probe())).status_code == 200
        written = [entry["status"] for entry in world.audit() if entry["route"] == "/identify"]
    assert written == [200, 200]


async def test_to_write_down_is_a_stage_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.client(world.key()) as client:
        monkeypatch.setattr("service.access.audit.os.fsync", lambda _: time.sleep(0.4))
        answer = GalleryView.of

        def slowly(gallery: Gallery) -> GalleryView:
            time.sleep(0.2)
            return answer(gallery)

        monkeypatch.setattr(GalleryView, "of", slowly)
        assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
        metrics = (await client.get("/metrics")).text
    found = {
        stage: float(number)
        for stage, number in re.findall(r'stage_seconds_sum{route="/galleries",stage="(\w+)"} (\S+)', metrics)
    }
    assert found["audit"] >= 0.4
    assert 0.2 <= found["encode"] < 0.4


async def test_what_is_not_written_down_takes_no_time_to_be(world: World) -> None:
    async with world.client(world.key()) as client:
        assert (await client.get("/spaces")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert 'route="/spaces"' in metrics
    assert 'route="/spaces",stage=' not in metrics


async def test_the_log_tells_of_all_that_was_asked_before(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.access.audit._LINGER_SECONDS", 60.0)
    async with world.client(world.key()) as client:
        await people(client)
        for _ in range(3):
            assert (await client.post("/identify", json=probe())).status_code == 200
        told = [one.get("route") for one in (await client.get("/audit")).json()["entries"]]
        assert told.count("/identify") == 3


async def test_entries_that_are_lost_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.client(world.key()) as client:
        await people(client)
        monkeypatch.setattr("service.access.audit._write_all", _no_space)
        assert (await client.post("/identify", json=probe())).status_code == 200
        assert (await client.get("/audit")).status_code == 200
        assert 'facebridge_audit_entries_lost{tenant="default"} 1.0' in (await client.get("/metrics")).text


def _no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_log_that_takes_no_more_closes_no_door(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("service.access.audit._MOST_WAITING", 0)
    key = world.key("translate")
    assert "that keys changed is not in the audit log" in caplog.text
    async with world.client(key) as client:
        assert (await client.get("/routes")).status_code == 200
