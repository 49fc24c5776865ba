"""What stands in a migration's way half-way, and what is said of it."""

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.calibration import Calibration
from service.app import create_app
from service.errors import EngineError, InsufficientStorageError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.generations import Generations
from service.jobs import runner
from service.settings import Settings
from service.state.embedded import EmbeddedJobStore
from tests.api.world import (
    A_TO_B,
    A_TO_B_POINTS,
    A,
    B,
    FakeEngines,
    by_hand,
    feature_set,
    features,
    running,
    unit,
    write,
    write_translator,
    write_world,
)
from training.export.linear_graph import linear_graph

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


async def ready(client: httpx.AsyncClient) -> str:
    """A gallery of forty people, and a job of it that is ready."""
    await filled(client)
    job = await start(client)
    await until(client, job, "ready")
    return job


async def until(client: httpx.AsyncClient, job: str, state: str, words: str = "") -> dict[str, Any]:
    for _ in range(500):
        found: dict[str, Any] = (await client.get(f"/jobs/{job}")).json()
        if found["state"] == state and words in found["reason"]:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


async def paused_half_way(opened: Open) -> str:
    """A job that has begun, and was told to pause while the first 256 of 400 were translated."""
    engines = FakeEngines(change=lambda engine: engine.may_go_on.clear())
    async with opened(engines) as client:
        engine = engines.by_name["a-to-b"]
        await filled(client, 400)
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
        # There was no translator for it when it came, and there is now.
        assert (ready["progress"]["done"], ready["progress"]["failed"]) == (401, 0)
        assert ready["is_passed"] is True
        await client.post(f"/jobs/{job}/cutover", json={})
        probe = {"space": "a", "feature": unit(features(1, 8, seed=5))[0].tolist()}
        found = (await client.post("/identify", json={"gallery": "people", "top_k": 1, "probe": probe})).json()
        assert (found["candidates"][0]["subject"], found["generation"]) == ("new", 2)


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
        await until(client, job, "failed", "the gallery that it was for is gone")
        await filled(client)
        await until(client, await start(client), "ready")


async def test_going_back_says_who_would_not_be_found(opened: Open, folder: Path) -> None:
    for name in ("b-to-c", "c-to-a"):
        shutil.rmtree(folder / name)
    async with opened() as client:
        job = await ready(client)
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
        # Who was not found before this cut-over either is not lost by going back.
        assert (await client.post(f"/jobs/{job}/rollback", json={})).json()["state"] == "rolled-back"


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
        job = await ready(client)
    async with opened() as client:
        await enrol(client, ["late"], unit(features(1, 8, seed=5)))
        response = await client.post(f"/jobs/{job}/cutover", json={})
        assert response.json()["state"] == "cut-over"
        probe = {"space": "a", "feature": unit(features(1, 8, seed=5))[0].tolist()}
        found = (await client.post("/identify", json={"gallery": "people", "top_k": 1, "probe": probe})).json()
        assert (found["candidates"][0]["subject"], found["generation"]) == ("late", 2)
    async with opened() as client:
        assert (await client.post(f"/jobs/{job}/rollback", json={})).json()["state"] == "rolled-back"


async def test_what_may_be_exchanged_is_read_after_a_start_before_anybody_orders_that(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    async with opened() as client:
        job = await ready(client)
    (folder / "a-to-b").rename(tmp_path / "put-away")
    async with opened() as client:
        # All of it was recorded: it takes no translator.
        await until_read(client)
        await enrol(client, ["late"], unit(features(1, 8, seed=5)))
    (tmp_path / "put-away").rename(folder / "a-to-b")
    async with opened() as client:
        await until_read(client)
        assert (await cut_over(client, job))[0] == 200
        assert await identified(client, unit(features(1, 8, seed=5))[0]) == ("late", 2)
    async with opened() as client:
        # Also the one to go back to.
        await until_read(client)
        assert (await client.post(f"/jobs/{job}/rollback", json={})).json()["state"] == "rolled-back"


async def until_read(client: httpx.AsyncClient) -> None:
    for _ in range(500):
        (beside,) = (await client.get("/galleries/people")).json()["beside"]
        if beside["is_complete"]:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(beside)


class Held:
    """A method that says when it is called, and waits until it may go on."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self.about_to, self.may = threading.Event(), threading.Event()
        self._method = method

    def __get__(self, owner: Any, _: type) -> Callable[..., Any]:
        def held(*arguments: Any, **more: Any) -> Any:
            self.about_to.set()
            assert self.may.wait(10)
            return self._method(owner, *arguments, **more)

        return held


async def identified(client: httpx.AsyncClient, row: Any) -> tuple[str, int]:
    """Whom a probe of a finds, and in which generation."""
    body = {"gallery": "people", "top_k": 1, "probe": {"space": "a", "feature": row.tolist()}}
    found = (await client.post("/identify", json=body)).json()
    return found["candidates"][0]["subject"], found["generation"]


async def cut_over(client: httpx.AsyncClient, job: str, **body: Any) -> tuple[int, dict[str, Any]]:
    response = await client.post(f"/jobs/{job}/cutover", json=body)
    return response.status_code, response.json()


async def test_who_came_while_the_translator_was_away_is_translated_before_a_cut_over(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    late = unit(features(1, 8, seed=5))
    async with opened() as client:
        job = await ready(client)
    (folder / "a-to-b").rename(tmp_path / "put-away")
    async with opened() as client:
        await enrol(client, ["late"], late)
        assert (await client.get(f"/jobs/{job}")).json()["progress"]["failed"] == 1
        status, problem = await cut_over(client, job)
        assert (status, problem["type"]) == (409, "urn:facebridge:problem:gates-failed")
        assert "1 of 41 templates would not be found; load a translator" in problem["detail"]
        # Nothing has become of it, and it can still be given up.
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "ready"
        assert (await identified(client, late[0]))[1] == 1
    (tmp_path / "put-away").rename(folder / "a-to-b")
    async with opened() as client:
        assert (await cut_over(client, job))[0] == 200
        assert await identified(client, late[0]) == ("late", 2)


async def test_a_translator_that_was_put_in_the_place_of_another_is_no_one_to_cut_over_with(
    opened: Open, folder: Path
) -> None:
    async with opened() as client:
        job = await ready(client)
    shutil.rmtree(folder / "a-to-b")
    write_translator(folder / "a-to-b", A_TO_B, A, B, quality=0.8)
    async with opened() as client:
        status, problem = await cut_over(client, job)
        assert (status, problem["type"]) == (409, "urn:facebridge:problem:job-state")
        assert "translator a-to-b is another one than when this began" in problem["detail"]
        assert (await cut_over(client, job, force=True))[0] == 200


async def test_a_verdict_on_a_gallery_that_was_another_one_is_none_on_this(opened: Open) -> None:
    async with opened() as client:
        job = await ready(client)
        judged_at = (await client.get(f"/jobs/{job}/verdict")).json()["judged_at"]
        await enrol(client, [f"new{row}" for row in range(4)], unit(features(4, 8, seed=5)))
        assert (await cut_over(client, job))[0] == 200
        await client.post(f"/jobs/{job}/rollback", json={})
        await enrol(client, ["newest"], unit(features(1, 8, seed=6)))
        status, problem = await cut_over(client, job)
        assert (status, problem["type"]) == (409, "urn:facebridge:problem:job-state")
        assert "(of 40 templates 0 went, and 5 came)" in problem["detail"]
        await until(client, job, "ready")
        verdict = (await client.get(f"/jobs/{job}/verdict")).json()
        assert (verdict["num_templates"], verdict["judged_at"] > judged_at) == (45, True)
        assert (await cut_over(client, job))[0] == 200


async def test_a_verdict_on_people_who_have_left_is_none_on_those_who_came(opened: Open) -> None:
    async with opened() as client:
        job = await ready(client)
        for row in range(5):
            assert (await client.delete(f"/galleries/people/subjects/s{row}")).status_code in (200, 204)
        await enrol(client, [f"new{row}" for row in range(5)], unit(features(5, 8, seed=5)))
        status, problem = await cut_over(client, job)
        assert (status, problem["type"]) == (409, "urn:facebridge:problem:job-state")
        assert "(of 40 templates 5 went, and 5 came)" in problem["detail"]
        await until(client, job, "ready")
        assert (await cut_over(client, job))[0] == 200


async def test_a_verdict_is_none_on_those_whom_a_snapshot_has_brought_back(opened: Open) -> None:
    """They have the numbers that they had."""
    async with opened() as client:
        await filled(client, 80)
        snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
        for row in range(40):
            await client.delete(f"/galleries/people/subjects/s{row}")
        job = await start(client)
        await until(client, job, "ready")
        await cut_over(client, job)
        await client.post(f"/jobs/{job}/rollback", json={})
        response = await client.post("/galleries/people/restore", json={"snapshot": snapshot})
        assert (response.status_code, response.json()["num_templates"]) == (200, 80)
        status, problem = await cut_over(client, job)
        assert (status, "the gallery was put back since it was judged" in problem["detail"]) == (409, True)
        assert (await until(client, job, "ready"))["is_passed"] is True
        assert (await client.get(f"/jobs/{job}/verdict")).json()["num_templates"] == 80


async def test_a_verdict_is_none_where_a_snapshot_has_brought_back_others(opened: Open) -> None:
    """As many as went, whose numbers are lower than those of whoever was judged."""
    async with opened() as client:
        await filled(client)
        snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
        for row in range(40):
            await client.delete(f"/galleries/people/subjects/s{row}")
        await enrol(client, [f"y{row}" for row in range(40)], unit(features(40, 8, seed=5)))
        job = await start(client)
        await until(client, job, "ready")
        await cut_over(client, job)
        await client.post(f"/jobs/{job}/rollback", json={})
        assert (await client.post("/galleries/people/restore", json={"snapshot": snapshot})).status_code == 200
    async with opened() as client:
        status, problem = await cut_over(client, job)
        assert (status, "the gallery was put back since it was judged" in problem["detail"]) == (409, True)
        await until(client, job, "ready")
        assert (await cut_over(client, job))[0] == 200


async def test_a_verdict_that_failed_is_given_again_where_the_reason_is_gone(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        await enrol(client, ["of-b"], by_hand(features(1, 8, seed=9), A_TO_B), "b")
        job = await start(client, target="d", untranslatable="leave-out", gates={"max_missing": 0.0} | LOOSE)
        await until(client, job, "ready")
        assert (await cut_over(client, job))[1]["type"].endswith("gates-failed")
        # Nobody is missing any more, as nobody is there.
        for row in range(40):
            await client.delete(f"/galleries/people/subjects/s{row}")
        await client.delete("/galleries/people/subjects/of-b")
        status, problem = await cut_over(client, job)
        assert (status, "it is judged again" in problem["detail"]) == (409, True)
        ready = await until(client, job, "ready")
        assert [gate["state"] for gate in ready["gates"] if gate["name"] == "missing templates"] == ["passed"]


@pytest.mark.parametrize(("space", "ratio"), [("a", 0.5), ("c", None)])
async def test_what_is_predicted_of_native_probes_is_of_the_encoder_that_most_templates_are_of(
    opened: Open, folder: Path, space: str, ratio: float | None
) -> None:
    """How native probes compare was measured with what one translator makes, and not with what comes through two."""
    shutil.rmtree(folder / "a-to-b")
    both = (replace(A_TO_B_POINTS[0], fnmr=0.1),)
    calibration = Calibration({"translated": A_TO_B_POINTS, "both-translated": both})
    write(folder / "a-to-b", linear_graph(A_TO_B, 8), A, B, quality=0.9, calibration=calibration)
    async with opened() as client:
        await client.post("/galleries", json={"name": "people", "space": "a"})
        await enrol(client, [f"s{row // 2}" for row in range(80)], unit(features(80, 8)), space)
        job = await start(client)
        await until(client, job, "ready")
        assert (await client.get(f"/jobs/{job}/verdict")).json()["rank1"]["native_ratio"] == ratio


async def test_a_job_waits_for_the_generation_in_whose_place_it_was_to_come(opened: Open) -> None:
    async with opened() as client:
        first = await ready(client)
        await cut_over(client, first)
        await client.post(f"/jobs/{first}/rollback", json={})
        other = await start(client, target="c")
        await until(client, other, "ready")
        await cut_over(client, other)
        await enrol(client, [f"new{row}" for row in range(20)], unit(features(20, 8, seed=5)))
        status, problem = await cut_over(client, first)
        assert (status, problem["type"]) == (412, "urn:facebridge:problem:generation-changed")
        # And it is in nobody's way.
        assert (await client.get(f"/jobs/{first}")).json()["state"] == "rolled-back"
        assert (await client.post(f"/jobs/{other}/rollback", json={})).json()["state"] == "rolled-back"


async def test_a_job_that_cannot_be_judged_again_beside_another_says_so(opened: Open) -> None:
    async with opened() as client:
        first = await ready(client)
        await cut_over(client, first)
        await client.post(f"/jobs/{first}/rollback", json={})
        await enrol(client, [f"new{row}" for row in range(20)], unit(features(20, 8, seed=5)))
        other = await start(client, target="c")
        await until(client, other, "ready")
        status, problem = await cut_over(client, first)
        assert (status, problem["type"]) == (409, "urn:facebridge:problem:migration-in-progress")
        assert (await client.get(f"/jobs/{first}")).json()["state"] == "rolled-back"
        await client.post(f"/jobs/{other}/cancel")
        assert "it is judged again" in (await cut_over(client, first))[1]["detail"]
        await until(client, first, "ready")


async def test_a_rollback_that_is_refused_leaves_a_job_as_it_was(opened: Open, folder: Path) -> None:
    for name in ("b-to-c", "c-to-a"):
        shutil.rmtree(folder / name)
    async with opened() as client:
        await filled(client)
        job = await start(client, cutover="auto")
        await until(client, job, "cut-over")
        await enrol(client, ["of-b"], by_hand(features(1, 8, seed=9), A_TO_B), "b")
        assert (await client.post(f"/jobs/{job}/rollback", json={})).status_code == 409
        found = (await client.get(f"/jobs/{job}")).json()
        assert (found["state"], found["cutover"]) == ("cut-over", "auto")


async def test_a_job_is_cut_over_by_itself_while_another_is_worked_on(opened: Open) -> None:
    engines = FakeEngines()
    async with opened(engines) as client:
        await filled(client)
        await client.post("/galleries", json={"name": "others", "space": "a"})
        held = engines.by_name["b-to-c"]
        held.may_go_on.clear()
        body = {"space": "b", "templates": [{"subject": "x", "feature": row.tolist()} for row in unit(features(9, 16))]}
        await client.post("/galleries", json={"name": "of-b", "space": "b"})
        assert (await client.post("/galleries/of-b/templates", json=body)).status_code == 201
        job = await start(client, cutover="auto")
        other = (await client.post("/galleries/of-b/migrations", json={"target": "c"})).json()["job_id"]
        await until(client, job, "cut-over")
        assert (await client.get(f"/jobs/{other}")).json()["state"] in ("queued", "running")
        held.may_go_on.set()
        await until(client, other, "ready")


async def test_a_job_that_was_rolled_back_is_not_cut_over_by_itself_any_more(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        job = await start(client, cutover="auto")
        assert (await until(client, job, "cut-over"))["cutover"] == "auto"
        await client.post(f"/jobs/{job}/rollback", json={})
        await enrol(client, [f"new{row}" for row in range(20)], unit(features(20, 8, seed=5)))
        assert (await cut_over(client, job))[0] == 409
        assert (await until(client, job, "ready"))["cutover"] == "manual"
        await asyncio.sleep(1.5)
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "ready"
        assert (await cut_over(client, job))[0] == 200


async def test_going_back_does_not_lose_whom_a_snapshot_brought_back(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    async with opened() as client:
        await filled(client)
        await enrol(client, ["of-c"], unit(features(1, 8, seed=9)), "c")
        job = await start(client, target="b")
        await until(client, job, "ready")
        await cut_over(client, job)
        snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
        await client.delete("/galleries/people/subjects/of-c")
        response = await client.post("/galleries/people/restore", json={"snapshot": snapshot})
        assert response.status_code == 200, response.text
    (folder / "c-to-a").rename(tmp_path / "put-away")
    async with opened() as client:
        response = await client.post(f"/jobs/{job}/rollback", json={})
        assert (response.status_code, response.json()["type"]) == (409, "urn:facebridge:problem:rollback-incomplete")
    (tmp_path / "put-away").rename(folder / "c-to-a")
    async with opened() as client:
        assert (await client.post(f"/jobs/{job}/rollback", json={})).json()["state"] == "rolled-back"


async def test_a_job_is_judged_by_probes_beside_the_generation_of_which_it_was_made(opened: Open) -> None:
    async with opened() as client:
        first = await ready(client)
        await cut_over(client, first)
        assert (await client.post(f"/jobs/{first}/rollback", json={})).json()["state"] == "rolled-back"
        other = await start(client, target="c")
        await until(client, other, "ready")
        await cut_over(client, other)
        probes = feature_set(A, unit(features(40, 8)), [f"s{row}" for row in range(40)])
        headers = {"content-type": "application/x-npz"}
        response = await client.post(f"/jobs/{first}/probes", content=probes, headers=headers)
        assert (response.status_code, response.json()["type"]) == (412, "urn:facebridge:problem:generation-changed")


async def test_a_gallery_that_is_put_back_as_it_was_before_is_not_cut_over(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
        job = await start(client)
        await until(client, job, "ready")
        await cut_over(client, job)
        await client.delete("/galleries/people")
        response = await client.post("/galleries/people/restore", json={"snapshot": snapshot})
        assert response.status_code == 200, response.text
        found = (await client.get(f"/jobs/{job}")).json()
        assert (found["state"], found["reason"]) == ("rolled-back", "the gallery was put back as it was before")
        status, problem = await cut_over(client, job)
        assert (status, problem["type"]) == (410, "urn:facebridge:problem:rollback-expired")


async def test_an_order_that_comes_while_generations_are_exchanged_is_refused(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(Generations.activate)
    async with opened() as client:
        job = await ready(client)
        monkeypatch.setattr(Generations, "activate", held)
        cutting = asyncio.create_task(cut_over(client, job))
        await asyncio.to_thread(held.about_to.wait, 10)
        for order in ("cancel", "cutover"):
            response = await client.post(f"/jobs/{job}/{order}", json={} if order == "cutover" else None)
            assert (response.status_code, "exchanged just now" in response.json()["detail"]) == (409, True)
        held.may.set()
        assert (await cutting)[0] == 200
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "cut-over"
        assert (await client.get("/galleries/people")).json()["generation"] == 2


async def test_whatever_changes_a_job_while_it_is_exchanged_it_says_what_its_gallery_is_in(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cut-over that would have it judged again, probes, and the runner, all at once."""
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.02)
    probes = feature_set(A, unit(features(30, 8)), [f"s{row}" for row in range(30)])
    async with opened() as client:
        await filled(client)
        job = await start(client)
        for number in range(8):
            await until(client, job, "ready" if number == 0 else "rolled-back")
            await enrol(client, [f"n{number}-{row}" for row in range(20)], unit(features(20, 8, seed=number)))
            answers = await asyncio.gather(
                *(cut_over(client, job, force=is_forced) for is_forced in (True, False, True)),
                *(
                    client.post(f"/jobs/{job}/probes", content=probes, headers={"content-type": "application/x-npz"})
                    for _ in range(2)
                ),
            )
            codes = [answer[0] if isinstance(answer, tuple) else answer.status_code for answer in answers]
            assert set(codes) <= {200, 409}
            now = (await client.get(f"/jobs/{job}")).json()
            if now["state"] != "cut-over":
                # All were refused while it was judged: it is ready then, or as it was.
                while (await client.get(f"/jobs/{job}")).json()["state"] not in ("ready", "rolled-back"):
                    await asyncio.sleep(0.02)
                assert (await cut_over(client, job, force=True))[0] == 200
            assert (await client.get("/galleries/people")).json()["generation"] == 2
            response = await client.post(f"/jobs/{job}/rollback")
            assert (response.status_code, response.json()["state"]) == (200, "rolled-back")


@pytest.mark.parametrize("fails", ["the exchange", "nothing"])
async def test_a_job_that_could_not_be_written_says_what_its_gallery_is_in(
    opened: Open, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    change, is_full = EmbeddedJobStore.change, False

    def changed(self: EmbeddedJobStore, job: Any, **more: Any) -> Any:
        if is_full:
            raise InsufficientStorageError("the disk is full; nothing of this was kept")
        return change(self, job, **more)

    activate = Generations.activate

    def activated(*arguments: Any, **more: Any) -> Any:
        nonlocal is_full
        is_full = True
        if fails == "the exchange":
            raise InsufficientStorageError("the disk is full; nothing of this was kept")
        return activate(*arguments, **more)

    async with opened() as client:
        job = await ready(client)
        with monkeypatch.context() as patched:
            patched.setattr(EmbeddedJobStore, "change", changed)
            patched.setattr(Generations, "activate", activated)
            status, answer = await cut_over(client, job)
            said = (await client.get(f"/jobs/{job}")).json()["state"]
        if fails == "nothing":
            assert (status, answer["state"], said) == (200, "cut-over", "cut-over")
            assert (await client.post(f"/jobs/{job}/rollback")).json()["state"] == "rolled-back"
        else:
            assert (status, said) == (507, "ready")
        # No claim is left, and orders are carried out again.
        assert (await cut_over(client, job))[1]["state"] == "cut-over"


async def test_a_gallery_that_is_made_anew_while_it_is_cut_over_stays_as_it_is(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(Generations.activate)
    async with opened() as client:
        job = await ready(client)
        with monkeypatch.context() as patched:
            patched.setattr(Generations, "activate", held)
            cutting = asyncio.create_task(cut_over(client, job))
            await asyncio.to_thread(held.about_to.wait, 10)
            await client.delete("/galleries/people")
            await filled(client)
            held.may.set()
            assert (await cutting)[0] == 410
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "failed"
        assert (await client.get("/galleries/people")).json()["generation"] == 1
        await until(client, await start(client), "ready")


async def test_force_leaves_out_whom_a_translator_that_is_gone_would_have_translated(
    opened: Open, folder: Path, tmp_path: Path
) -> None:
    async with opened() as client:
        job = await ready(client)
    (folder / "a-to-b").rename(tmp_path / "put-away")
    async with opened() as client:
        await enrol(client, ["late"], unit(features(1, 8, seed=5)))
        assert (await cut_over(client, job))[0] == 409
        assert (await cut_over(client, job, force=True))[0] == 200
        assert (await client.get(f"/jobs/{job}")).json()["progress"]["failed"] == 1


async def test_a_job_that_follows_one_that_was_given_up_waits_for_what_that_has_left(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(Generations.begin)
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.05)
    monkeypatch.setattr(Generations, "begin", held)
    async with opened() as client:
        await filled(client)
        job = await start(client)
        await asyncio.to_thread(held.about_to.wait, 10)
        assert (await client.post(f"/jobs/{job}/cancel")).json()["state"] == "cancelled"
        other = await start(client)
        held.may.set()
        await until(client, other, "ready")
        assert len((await client.get("/galleries/people")).json()["beside"]) == 1


async def test_a_job_whose_generation_is_gone_is_in_nobodys_way(opened: Open) -> None:
    async with opened() as client:
        await filled(client)
        snapshot = (await client.post("/galleries/people/snapshots")).json()["snapshot_id"]
        job = await start(client)
        await until(client, job, "ready")
        await client.delete("/galleries/people")
        await client.post("/galleries/people/restore", json={"snapshot": snapshot})
        found = (await client.get(f"/jobs/{job}")).json()
        assert (found["state"], found["reason"]) == ("failed", "the generation that it built is gone")
        await until(client, await start(client), "ready")


async def test_an_exchange_that_failed_leaves_the_job_as_it_was(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **more: Any) -> Any:
        raise InsufficientStorageError("the disk is full; nothing of this was kept")

    async with opened() as client:
        job = await ready(client)
        with monkeypatch.context() as patched:
            patched.setattr(Generations, "activate", full)
            assert (await cut_over(client, job))[0] == 507
        assert (await client.get(f"/jobs/{job}")).json()["state"] == "ready"
        assert (await cut_over(client, job))[0] == 200


async def test_what_keeps_a_job_from_being_cut_over_by_itself_is_said_in_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full, activate = True, Generations.activate

    def full(*arguments: Any, **more: Any) -> Any:
        if is_full:
            raise InsufficientStorageError("the disk is full; nothing of this was kept")
        return activate(*arguments, **more)

    monkeypatch.setattr(Generations, "activate", full)
    monkeypatch.setattr(runner, "_LOOK_SECONDS", 0.05)
    async with opened() as client:
        await filled(client)
        job = await start(client, cutover="auto")
        await until(client, job, "ready", "the disk is full")
        is_full = False
        assert (await until(client, job, "cut-over"))["reason"] == ""


async def test_a_job_is_stopped_while_it_is_judged(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    search, searching, num = EmbeddedGalleryStore.search, threading.Event(), 0

    def slow(*arguments: Any, **more: Any) -> Any:
        nonlocal num
        num += 1
        searching.set()
        time.sleep(0.05)
        return search(*arguments, **more)

    async with opened() as client:
        await filled(client)
        monkeypatch.setattr(EmbeddedGalleryStore, "search", slow)
        job = await start(client)
        await asyncio.to_thread(searching.wait, 10)
        assert (await client.post(f"/jobs/{job}/cancel")).json()["state"] == "cancelled"
        assert (await client.get("/galleries/people")).json()["beside"] == []
        await until(client, await start(client), "ready")
        # Thirty in either generation, for the second; of the first one, a few.
        assert 60 < num < 80


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
