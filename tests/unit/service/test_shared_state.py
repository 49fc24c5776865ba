"""Jobs of a folder that come to be shared, and that are not any more."""

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from service.app import create_app
from service.entities import Answer, Job, Once
from service.errors import StartupError, StorageError
from service.settings import Settings
from service.shared_state import SharedState, _all
from service.state.embedded import FILE, EmbeddedJobStore
from service.state.on_redis.journal import Journal
from tests.api.test_migrations import LOOSE, until
from tests.api.world import features, running, write_world
from tests.redis_server import RedisServer, needs_redis


def settings(tmp_path: Path, redis: str = "") -> Settings:
    return Settings(bundles=tmp_path / "bundles", data=tmp_path / "data", device="cpu", redis=redis)


@needs_redis
async def test_jobs_that_were_there_before_are_shared(tmp_path: Path, redis_server: RedisServer) -> None:
    redis_server.flush()
    own = EmbeddedJobStore(tmp_path / "data")
    ended = own.change(own.create("staff", {"n": 1}), state="cancelled")
    begun = own.change(own.create("staff", {"n": 2}), state="paused")
    own.close()
    state = SharedState(settings(tmp_path, redis_server.url))
    jobs = state.jobs("default", tmp_path / "data")
    assert jobs.page().jobs == (begun, ended)
    # Nobody goes on alone with what others know of.
    jobs.close()
    await state.close()
    alone = SharedState(settings(tmp_path))
    with pytest.raises(StartupError, match=r"setting redis: .* are not over; give it, or cancel"):
        alone.jobs("default", tmp_path / "data")
    await alone.close()
    state = SharedState(settings(tmp_path, redis_server.url))
    jobs = state.jobs("default", tmp_path / "data")
    jobs.change(begun, state="cancelled")
    jobs.close()
    await state.close()
    # What was is known to whoever goes on without them, and the other way round, as often as that changes.
    alone = SharedState(settings(tmp_path))
    jobs = alone.jobs("default", tmp_path / "data")
    assert [(job.job_id, job.state) for job in jobs.page().jobs] == [
        (begun.job_id, "cancelled"),
        (ended.job_id, "cancelled"),
    ]
    assert jobs.get(ended.job_id) == ended
    later = jobs.create("staff", {"n": 3}, once=Once(b"key", b"asked", lambda job: Answer(202, job.job_id.encode())))
    jobs.close()
    await alone.close()
    for address in (redis_server.url, "", redis_server.url):
        state = SharedState(settings(tmp_path, address))
        jobs = state.jobs("default", tmp_path / "data")
        assert [job.job_id for job in jobs.page().jobs] == [later.job_id, begun.job_id, ended.job_id]
        assert jobs.answered(b"key") == (b"asked", Answer(202, later.job_id.encode()))
        if redis:
            open_still = jobs.get(later.job_id)
            if open_still.state == "queued":
                later = jobs.change(open_still, state="cancelled")
        assert jobs.get(later.job_id) == later
        jobs.close()
        await state.close()


async def test_to_share_jobs_may_be_broken_off(tmp_path: Path) -> None:
    own = EmbeddedJobStore(tmp_path / "data")
    begun = own.create("staff", {})
    own.close()
    # As far as a kill lets it come: they are in the journal, and the file is not put away yet.
    journal = Journal(tmp_path / "data")
    journal.take_over([begun], [])
    journal.close()
    alone = SharedState(settings(tmp_path))
    jobs = alone.jobs("default", tmp_path / "data")
    ended = jobs.change(jobs.get(begun.job_id), state="cancelled")
    jobs.close()
    jobs = alone.jobs("default", tmp_path / "data")
    assert jobs.page().jobs == (ended,)
    jobs.close()
    await alone.close()


@needs_redis
async def test_what_ended_and_could_not_be_kept_is_known_after_a_start(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    state = SharedState(settings(tmp_path, redis_server.url))
    jobs = state.jobs("default", tmp_path / "data")
    begun = jobs.create("staff", {})
    with monkeypatch.context() as failing:
        failing.setattr("service.state.on_redis.journal.Journal.keep", _no_space)
        with pytest.raises(StorageError):
            jobs.change(begun, state="cancelled")
    jobs.close()
    # Redis knows that it is over, and the journal does not: whoever comes with both brings them together.
    jobs = state.jobs("default", tmp_path / "data")
    assert jobs.get(begun.job_id).state == "cancelled"
    jobs.close()
    await state.close()
    alone = SharedState(settings(tmp_path))
    jobs = alone.jobs("default", tmp_path / "data")
    assert jobs.get(begun.job_id).state == "cancelled"
    jobs.close()
    await alone.close()


def _no_space(*_: Any) -> None:
    raise StorageError("the disk is full")


async def test_a_start_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    journal = Journal(data)
    journal.take_over([Job("1", "staff", "paused", {}, {}, "", "", "", 1)], [])
    journal.close()
    alone = SharedState(settings(tmp_path))
    with pytest.raises(StartupError, match="are not over"):
        alone.jobs("default", data)
    assert not (data / FILE).exists()
    await alone.close()


async def test_a_damaged_journal_is_told_in_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    journal = Journal(data)
    journal.take_over([Job("1", "staff", "cancelled", {}, {}, "", "", "", 1)], [])
    journal._db.execute("UPDATE job SET document = '{'")
    journal.close()
    alone = SharedState(settings(tmp_path))
    with pytest.raises(StartupError, match=r"journal.*restore it from a backup") as refused:
        alone.jobs("default", data)
    assert "\n" not in str(refused.value)
    await alone.close()


def test_many_jobs_are_taken_over_together(tmp_path: Path) -> None:
    now = time.time()
    own = EmbeddedJobStore(tmp_path / "own")
    many = [Job(f"{number:03d}", "staff", "cancelled", {}, {}, "", "", "", 1) for number in range(250)]
    yesterday = (b"old", b"asked", 202, b"long ago", now - 25 * 3600)
    own.take_over(many, [(b"new", b"asked", 202, b"now", now - 60), yesterday])
    (tmp_path / "both").mkdir()
    own.close()
    (tmp_path / "own" / FILE).replace(tmp_path / "both" / FILE)
    statements = list[str]()
    journal = Journal(tmp_path / "both")
    journal.keep(replace(many[7], version=2, reason="newer"), b"new", b"asked", Answer(202, b"newer"))
    journal._db.set_trace_callback(statements.append)
    with closing(EmbeddedJobStore(tmp_path / "both")) as before:
        journal.take_over(_all(before), before.kept_answers())
    assert statements.count("COMMIT") == 1
    journal._db.set_trace_callback(None)
    assert {job.job_id for job in journal.jobs()} == {job.job_id for job in many}
    assert journal.jobs()[0].reason == "newer"
    assert journal.answered(b"new") == (b"asked", Answer(202, b"newer"))
    assert journal.answered(b"old") is None
    journal.close()


@needs_redis
async def test_services_with_other_galleries_leave_each_others_jobs_alone(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    write_world(tmp_path / "bundles")
    both = [
        Settings(bundles=tmp_path / "bundles", data=tmp_path / name, device="cpu", redis=redis_server.url)
        for name in ("one", "other")
    ]
    async with running(create_app(both[0])) as one, running(create_app(both[1])) as other:
        await one.post("/galleries", json={"name": "people", "space": "a"})
        rows = features(60)
        templates = [{"subject": f"s{number // 2}", "feature": row.tolist()} for number, row in enumerate(rows)]
        await one.post("/galleries/people/templates", json={"space": "a", "templates": templates})
        started = await one.post("/galleries/people/migrations", json={"target": "b", "gates": LOOSE})
        assert (await other.get("/jobs")).json()["jobs"] == []
        assert (await other.get(f"/jobs/{started.json()['job_id']}")).status_code == 404
        await until(one, started.json()["job_id"], "ready")


@pytest.mark.parametrize("address", ["redis", "http://redis:6379", "redis://redis:port"])
def test_what_is_no_address_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(StartupError, match="setting redis: is no address") as refused:
        SharedState(settings(tmp_path, address))
    assert "\n" not in str(refused.value)


async def test_a_service_whose_redis_is_not_there_does_everything_else(tmp_path: Path) -> None:
    write_world(tmp_path / "bundles")
    async with running(create_app(settings(tmp_path, "redis://127.0.0.1:1/0"))) as client:
        assert (await client.get("/healthz/ready")).status_code == 200
        assert (await client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
        jobs = await client.get("/jobs")
        assert (jobs.status_code, jobs.json()["type"]) == (503, "urn:facebridge:problem:state-away")
        scraped = (await client.get("/metrics")).text
        assert "facebridge_shared_state_reachable 0.0" in scraped
        # A name of its own is no reason to refuse what needs no Redis.
        named = {"idempotency-key": "one"}
        again = await client.post("/galleries", json={"name": "other", "space": "a"}, headers=named)
        assert again.status_code == 201


@needs_redis
@pytest.mark.parametrize("command", ["CONFIG SET maxmemory 1", "REPLICAOF 127.0.0.1 1"])
async def test_a_redis_that_takes_nothing_is_none(tmp_path: Path, redis_server: RedisServer, command: str) -> None:
    write_world(tmp_path / "bundles")
    undo = {"CONFIG SET maxmemory 1": "CONFIG SET maxmemory 0", "REPLICAOF 127.0.0.1 1": "REPLICAOF NO ONE"}[command]
    with redis.Redis.from_url(redis_server.url) as client:
        async with running(create_app(settings(tmp_path, redis_server.url))) as service:
            assert "facebridge_shared_state_reachable 1.0" in (await service.get("/metrics")).text
            client.execute_command(*command.split())
            try:
                assert client.ping()
                assert "facebridge_shared_state_reachable 0.0" in (await service.get("/metrics")).text
            finally:
                client.execute_command(*undo.split())
