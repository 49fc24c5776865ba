"""What stands in a migration's way half-way, and what is said of it."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.app import create_app
from service.errors import EngineError, InsufficientStorageError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.generations import Generations
from service.jobs import runner
from service.settings import Settings
from tests.api.world import A_TO_B, A, B, FakeEngines, by_hand, features, running, unit, write_translator, write_world

LOOSE = {"min_overlap": 0.0, "min_retention": 0.0, "max_negative_flips": 1.0, "num_samples": 30}
Open = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of bundles, which may be changed."""
    return write_world(tmp_path / "bundles")


@pytest.fixture
def opened(tmp_path: Path, folder: Path) -> Open:
    """Opens a service on the same data again and again."""

    @asynccontextmanager
    async def open_it(engines: Any = None) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings(bundles=folder, data=tmp_path / "data", device="cpu")
        async with running(create_app(settings, engines=engines)) as client:
            yield client

    return open_it


async def enrol(client: httpx.AsyncClient, subjects: list[str], rows: Any, space: str = "a") -> None:
    templates = [{"subject": name, "feature": row.tolist()} for name, row in zip(subjects, rows, strict=True)]
    response = await client.post("/galleries/people/templates", json={"space": space, "templates": templates})
    assert response.status_code == 201, response.text


async def filled(client: httpx.AsyncClient, num: int = 40) -> None:
    assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    await enrol(client, [f"s{row}" for row in range(num)], unit(features(num, 8)))


async def start(client: httpx.AsyncClient, **more: Any) -> str:
    response = await client.post("/galleries/people/migrations", json={"target": "b", "gates": LOOSE} | more)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


async def until(client: httpx.AsyncClient, job: str, state: str, words: str = "") -> dict[str, Any]:
    for _ in range(500):
        found: dict[str, Any] = (await client.get(f"/jobs/{job}")).json()
        if found["state"] == state and words in found["reason"]:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def paused_half_way(opened: Open) -> str:
    """A job that has begun, and was told to pause while its first chunk was translated."""
    engines = FakeEngines(change=lambda engine: engine.may_go_on.clear())
    async with opened(engines) as client:
        engine = engines.by_name["a-to-b"]
        await filled(client)
        job = await start(client)
        await asyncio.to_thread(engine.started.wait, 10)
        assert (await client.post(f"/jobs/{job}/pause")).json()["state"] == "paused"
        engine.may_go_on.set()
    return job


async def test_a_translator_that_is_gone_half_way_pauses_the_job_until_it_is_back(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    job = await paused_half_way(opened)
    (folder / "a-to-b").rename(tmp_path / "put-away")
    async with opened() as client:
        await client.post(f"/jobs/{job}/resume")
        await until(client, job, "paused", "not loaded")
        # What is enrolled meanwhile is in no way of it.
        await enrol(client, ["new"], unit(features(1, 8, seed=5)))
    (tmp_path / "put-away").rename(folder / "a-to-b")
    async with opened() as client:
        await client.post(f"/jobs/{job}/resume")
        ready = await until(client, job, "ready")
        # There was no route for it when it came.
        assert (ready["progress"]["done"], ready["progress"]["failed"]) == (41, 1)
        assert ready["is_passed"] is False


async def test_a_translator_that_is_another_one_half_way_pauses_the_job(opened: Open, folder: Path) -> None:
    job = await paused_half_way(opened)
    shutil.rmtree(folder / "a-to-b")
    write_translator(folder / "a-to-b", A_TO_B, A, B, quality=0.8)
    async with opened() as client:
        await client.post(f"/jobs/{job}/resume")
        await until(client, job, "paused", "translator a-to-b is another one than when this began")
        assert (await client.post(f"/jobs/{job}/cancel")).json()["state"] == "cancelled"
        assert (await client.get("/galleries/people")).json()["beside"] == []


async def test_a_model_that_fails_half_way_pauses_the_job(opened: Open) -> None:
    engines = FakeEngines()
    async with opened(engines) as client:
        await filled(client)
        engines.by_name["a-to-b"].fail_with = EngineError("bundle a-to-b: the model failed")
        job = await start(client)
        await until(client, job, "paused", "the model failed")
        engines.by_name["a-to-b"].fail_with = None
        await client.post(f"/jobs/{job}/resume")
        await until(client, job, "ready")


async def test_a_full_disk_half_way_is_waited_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_FULL_SECONDS", 0.05)
    fill, is_full = Generations.fill, True

    def full(*arguments: Any) -> Any:
        if is_full:
            raise InsufficientStorageError("the disk is full; nothing of this was kept")
        return fill(*arguments)

    monkeypatch.setattr(Generations, "fill", full)
    async with opened() as client:
        await filled(client)
        job = await start(client)
        found = await until(client, job, "running", "the disk is full")
        assert found["reason"].endswith("it goes on when there is room")
        is_full = False
        assert (await until(client, job, "ready"))["reason"] == ""


async def test_a_gallery_that_is_dropped_half_way_fails_its_job(opened: Open) -> None:
    engines = FakeEngines(change=lambda engine: engine.may_go_on.clear())
    async with opened(engines) as client:
        engine = engines.by_name["a-to-b"]
        await filled(client)
        job = await start(client)
        await asyncio.to_thread(engine.started.wait, 10)
        assert (await client.delete("/galleries/people")).status_code == 204
        engine.may_go_on.set()
        await until(client, job, "failed", "there is no gallery of this name")
        await filled(client)
        await until(client, await start(client), "ready")


async def test_going_back_says_who_would_not_be_found(opened: Open, folder: Path) -> None:
    for name in ("b-to-c", "c-to-a"):
        shutil.rmtree(folder / name)
    async with opened() as client:
        await filled(client)
        job = await start(client)
        await until(client, job, "ready")
        await client.post(f"/jobs/{job}/cutover", json={})
        await enrol(client, ["of-b"], by_hand(features(1, 8, seed=9), A_TO_B), "b")
        response = await client.post(f"/jobs/{job}/rollback", json={})
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:rollback-incomplete")
        assert "1 templates that came since" in response.json()["detail"]
        response = await client.post(f"/jobs/{job}/rollback", json={"accept_missing": True})
        assert response.json()["state"] == "rolled-back"
        gallery = (await client.get("/galleries/people")).json()
        assert (gallery["num_templates"], gallery["space"]["name"]) == (41, "a")
        (template,) = (await client.get("/galleries/people/templates?subject=of-b")).json()["templates"]
        assert template["is_searchable"] is False
        assert (await client.post(f"/jobs/{job}/cutover", json={})).json()["state"] == "cut-over"


async def test_templates_that_cannot_be_translated_are_refused_or_left_out(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        await enrol(client, ["of-b"], by_hand(features(1, 8, seed=9), A_TO_B), "b")
    # From d nothing leads anywhere; a gallery in d with templates of a would need a way.
    async with opened() as client:
        response = await client.post(
            "/galleries/people/migrations", json={"target": "d", "untranslatable": "leave-out"}
        )
        assert response.status_code == 202
        job = response.json()
        assert job["left_out"] == {"a": 40, "b": 1}
        ready = await until(client, job["job_id"], "ready")
        assert (ready["progress"]["failed"], ready["is_passed"]) == (41, False)


async def test_a_job_that_was_ready_before_a_start_is_cut_over_after_it(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        job = await start(client)
        await until(client, job, "ready")
    async with opened() as client:
        assert (await client.get("/galleries/people")).json()["beside"][0]["is_complete"] is False
        await enrol(client, ["late"], unit(features(1, 8, seed=5)))
        response = await client.post(f"/jobs/{job}/cutover", json={})
        assert response.json()["state"] == "cut-over"
        probe = {"space": "a", "feature": unit(features(1, 8, seed=5))[0].tolist()}
        found = (await client.post("/identify", json={"gallery": "people", "top_k": 1, "probe": probe})).json()
        assert (found["candidates"][0]["subject"], found["generation"]) == ("late", 2)
    async with opened() as client:
        assert (await client.post(f"/jobs/{job}/rollback", json={})).json()["state"] == "rolled-back"


async def test_a_generation_that_was_kept_long_enough_goes(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "_CLEAR_SECONDS", 0.05)
    async with opened() as client:
        await filled(client)
        job = await start(client, keep_seconds=0.2)
        await until(client, job, "ready")
        await client.post(f"/jobs/{job}/cutover", json={})
        for _ in range(200):
            if not (await client.get("/galleries/people")).json()["beside"]:
                break
            await asyncio.sleep(0.05)
        response = await client.post(f"/jobs/{job}/rollback", json={})
        assert (response.status_code, response.json()["type"]) == (410, "urn:facebridge:problem:rollback-expired")
    store = EmbeddedGalleryStore(tmp_path / "data")
    assert store.get("people").beside == ()
    store.close()
