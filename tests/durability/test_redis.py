"""Redis is killed, frozen and emptied while a gallery is migrated: nothing that was acknowledged is lost, and the job goes on.

A short version runs with every change; `make crash` does it fifty times (FACEBRIDGE_CRASHES).
"""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.entities import Answer, Job, Once
from service.errors import MigrationInProgressError, NotFoundError, StateAwayError
from service.state.limits import EmbeddedLimits
from service.state.on_redis.connection import connect, connect_patiently, connect_quick
from service.state.on_redis.events import BLOCK_SECONDS, Event, Events
from service.state.on_redis.jobs import RedisJobStore
from service.state.on_redis.journal import Journal
from service.state.on_redis.limits import RedisLimits
from tests.api.world import features
from tests.durability.test_migrations import GATES, bundles
from tests.redis_server import RedisServer, needs_redis
from tests.serving import Served, serving

pytestmark = needs_redis
__all__ = ["bundles"]
CRASHES = int(os.environ.get("FACEBRIDGE_CRASHES", "6"))
ROUNDS = 50 if CRASHES >= 20 else 3
NUM = 4000
RESUMED_SECONDS = 30.0
Disturb = Callable[[RedisServer], None]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path)
    yield made
    made.close()


def killed(server: RedisServer) -> None:
    server.kill()
    time.sleep(random.uniform(0, 2))
    server.start()


def frozen(server: RedisServer) -> None:
    server.freeze()
    time.sleep(random.uniform(0, 4))
    server.thaw()


def emptied(server: RedisServer) -> None:
    server.flush()


DISTURBANCES: tuple[Disturb, ...] = (killed, frozen, emptied)


def again(call: Callable[[], httpx.Response], seconds: float = RESUMED_SECONDS) -> httpx.Response:
    """The answer, as soon as it is not that the state is away."""
    deadline = time.monotonic() + seconds
    while True:
        answer = call()
        if answer.status_code != 503:
            return answer
        assert answer.json()["type"].endswith(("state-away", "not-recorded")), answer.text
        assert answer.headers["retry-after"] == "1"
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


def until(client: httpx.Client, job: str, state: str) -> dict[str, Any]:
    deadline = time.monotonic() + RESUMED_SECONDS
    while True:
        found: dict[str, Any] = again(lambda: client.get(f"/jobs/{job}")).json()
        if found["state"] == state:
            return found
        assert found["state"] in ("queued", "running", "verifying"), found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def enrol(client: httpx.Client, names: list[str], space: str) -> None:
    rows = features(len(names), 8 if space == "a" else 16, seed=len(names[0]))
    templates = [{"subject": name, "feature": row.tolist()} for name, row in zip(names, rows, strict=True)]
    answer = client.post("/galleries/people/templates", json={"space": space, "templates": templates})
    # What is put into a gallery has no need of Redis.
    assert answer.status_code == 201, answer.text


def migrated(client: httpx.Client, target: str, disturb: Callable[[], None]) -> str:
    """A migration that is disturbed somewhere, and cut over; its job."""
    body = {"target": target, "gates": GATES}
    asked = {"headers": {"idempotency-key": f"{target}-{time.monotonic_ns()}"}, "json": body}
    started = again(lambda: client.post("/galleries/people/migrations", **asked))  # type: ignore[arg-type]
    assert started.status_code == 202, started.text
    job: str = started.json()["job_id"]
    time.sleep(random.uniform(0, 0.6))
    disturb()
    until(client, job, "ready")
    done = again(lambda: client.post(f"/jobs/{job}/cutover", json={"force": True}))
    # The answer to the first may have been lost, and it was done.
    assert done.status_code == 200 or again(lambda: client.get(f"/jobs/{job}")).json()["state"] == "cut-over", done.text
    return job


def test_a_migration_goes_on_whatever_becomes_of_redis(tmp_path: Path, bundles: Path, server: RedisServer) -> None:
    random.seed(7)
    num, jobs = 0, []
    flags = ("--redis", server.url, "--log-level", "info")
    with serving(bundles, tmp_path / "data", *flags) as served, _client(served) as client:
        assert client.post("/galleries", json={"name": "people", "space": "a"}).status_code == 201
        enrol(client, [f"first {number}" for number in range(NUM)], "a")
        num += NUM
        for turn in range(ROUNDS):
            disturb, target = DISTURBANCES[turn % 3], "ba"[turn % 2]
            jobs.append(migrated(client, target, partial(disturb, server)))
            enrol(client, [f"turn {turn} {number}" for number in range(20)], target)
            num += 20
        gallery = client.get("/galleries/people").json()
        assert (gallery["num_templates"], gallery["generation"]) == (num, ROUNDS + 1)
        assert all(one["is_sound"] for one in client.get("/galleries/people/check").json()["checks"])
        known = again(lambda: client.get("/jobs?limit=1000")).json()["jobs"]
        assert {one["job_id"]: one["state"] for one in known} == dict.fromkeys(jobs, "cut-over")
    sys.stdout.write(f"{ROUNDS} times killed, frozen or emptied in a migration: {num} templates, none lost\n")


def _client(served: Served) -> httpx.Client:
    return httpx.Client(base_url=served.url, timeout=60, trust_env=False)


def once(name: bytes) -> Once:
    return Once(name, b"digest", lambda job: Answer(202, job.job_id.encode()))


def test_what_was_acknowledged_is_put_back(tmp_path: Path, server: RedisServer) -> None:
    store = RedisJobStore(connect(server.url), "acme", Journal(tmp_path / "one"))
    ended = store.change(store.create("staff", {"n": 1}, once=once(b"first")), state="failed", found={"why": "x"})
    open_one = store.change(store.create("staff", {"n": 2}), state="running")
    leased = store.lease("me", ["running"], 60)
    assert leased == open_one
    for disturb in (emptied, killed):
        disturb(server)
        assert store.page().jobs == (open_one, ended)
        assert store.answered(b"first") == (b"digest", Answer(202, ended.job_id.encode()))
        with pytest.raises(MigrationInProgressError):
            store.create("staff", {})
        # Whoever had it finds out, and it can be had.
        assert store.renew(open_one.job_id, "me", 60) is False
        assert store.lease("you", ["running"], 60) == open_one
        store.release(open_one.job_id, "you")
    store.close()


def test_what_redis_forgot_since_it_was_saved_is_put_back(tmp_path: Path, server: RedisServer) -> None:
    """It comes back with an older state, which is no empty one."""
    store = RedisJobStore(connect(server.url), "acme", Journal(tmp_path / "one"))
    first = store.change(store.create("staff", {}), state="running")
    server.save()
    ended = store.change(first, state="cancelled")
    later = store.create("staff", {"n": 2})
    server.kill()
    server.start()
    assert store.get(first.job_id) == ended
    assert store.get(later.job_id) == later
    assert store.in_states(["running"]) == []
    assert store.lease("me", ["queued", "running"], 60) == later
    store.close()


def test_whoever_works_on_a_job_that_redis_did_not_forget_goes_on(tmp_path: Path, server: RedisServer) -> None:
    store = RedisJobStore(connect(server.url), "acme", Journal(tmp_path / "one"))
    job = store.change(store.create("staff", {}), state="running")
    assert store.lease("me", ["running"], 60) == job
    server.save()
    lost = store.create("visitors", {})
    server.kill()
    server.start()
    assert store.get(lost.job_id) == lost
    assert store.renew(job.job_id, "me", 60) is True
    store.close()


def test_of_two_who_put_back_the_newer_counts(tmp_path: Path, server: RedisServer) -> None:
    one, other = (RedisJobStore(connect(server.url), "acme", Journal(tmp_path / name)) for name in ("one", "other"))
    job = one.create("staff", {})
    changed = other.change(job, state="cancelled")
    following = one.create("staff", {"n": 2})
    server.flush()
    for store in (one, other, one):
        # Of two that seem to be open the older is over, whoever is there to say so.
        assert [found.state for found in store.page().jobs if found.job_id == job.job_id] == ["cancelled"]
    assert one.get(job.job_id) == other.get(job.job_id) == changed
    assert one.get(following.job_id) == following
    with pytest.raises(NotFoundError):
        RedisJobStore(connect(server.url), "other", Journal(tmp_path / "third")).get(job.job_id)
    one.close()
    other.close()


def test_who_has_it_older_changes_nothing(tmp_path: Path, server: RedisServer) -> None:
    one, other = (RedisJobStore(connect(server.url), "acme", Journal(tmp_path / name)) for name in ("one", "other"))
    jobs = [one.create(gallery, {}) for gallery in ("staff", "visitors")]
    changed = [other.change(job, state="running", found={"n": 1}) for job in jobs]
    same = other.create("others", {})
    one.change(same, state="running")
    server.flush()
    # Whoever comes first works on one of them, and is not disturbed by who comes later.
    assert other.page().jobs[0] == same
    assert other.lease("me", ["running"], 60) == changed[0]
    assert [one.get(job.job_id) for job in jobs] == changed
    assert (one.get(same.job_id).state, one.get(same.job_id).version) == ("running", same.version + 1)
    assert other.renew(changed[0].job_id, "me", 60) is True
    assert [job.job_id for job in one.in_states(["running"])] == [job.job_id for job in (*changed, same)]
    assert one.in_states(["queued"]) == []
    one.close()
    other.close()


def test_there_is_one_epoch_for_all_until_it_is_lost(tmp_path: Path, server: RedisServer) -> None:
    client = connect(server.url)

    def epochs() -> list[Any]:
        return [client.get(key) for key in client.scan_iter(match="*:epoch")]

    one, other = (RedisJobStore(connect(server.url), "acme", Journal(tmp_path / name)) for name in ("one", "other"))
    job = one.create("staff", {})
    begun = epochs()
    assert len(begun) == 1
    assert other.get(job.job_id) == one.get(job.job_id) == job
    assert epochs() == begun
    server.flush()
    assert one.get(job.job_id) == other.get(job.job_id) == one.get(job.job_id) == job
    assert len(epochs()) == 1
    assert epochs() != begun
    for closing in (one, other, client):
        closing.close()


def test_while_redis_is_away_it_is_said_soon(tmp_path: Path, server: RedisServer) -> None:
    store = RedisJobStore(connect(server.url), "acme", Journal(tmp_path))
    job = store.create("staff", {}, once=once(b"first"))
    for leave, come in ((server.freeze, server.thaw), (server.kill, server.start)):
        leave()
        began = time.monotonic()
        for call in (lambda: store.get(job.job_id), lambda: store.change(job, state="paused"), store.page):
            with pytest.raises(StateAwayError, match="try again"):
                call()
        assert time.monotonic() - began < 8
        assert store.answered(b"first") is not None
        assert store.answered(b"other") is None
        come()
    store.close()


async def test_rates_and_probes_are_counted_without_redis_too(tmp_path: Path, server: RedisServer) -> None:
    limits = RedisLimits(connect_quick(server.url), EmbeddedLimits(tmp_path))
    assert await limits.spend_probes("one", 6, 10) == 0
    server.flush()
    # What this process let through is not forgotten with it.
    assert await limits.spend_probes("one", 6, 10) > 0
    server.freeze()
    began = time.monotonic()
    found = [await limits.take_request("two", 5.0) for _ in range(50)]
    assert time.monotonic() - began < 1.5
    assert sum(seconds == 0 for seconds in found) in range(5, 12)
    assert await limits.spend_probes("one", 4, 10) == 0
    assert await limits.spend_probes("one", 1, 10) > 0
    server.thaw()
    await limits.close()


async def test_two_processes_count_together(tmp_path: Path, server: RedisServer) -> None:
    both = [RedisLimits(connect_quick(server.url), EmbeddedLimits(tmp_path / name)) for name in ("one", "other")]
    assert [await one.spend_probes("key", 5, 10) for one in both] == [0, 0]
    assert [await one.spend_probes("key", 1, 10) > 0 for one in both] == [True, True]
    found = [await both[turn % 2].take_request("key", 8.0) for turn in range(12)]
    assert [seconds == 0 for seconds in found] == [True] * 8 + [False] * 4
    for one in both:
        await one.close()


def test_every_replica_hears_of_a_cut_over(server: RedisServer) -> None:
    heard: list[list[Event]] = [[], []]
    both = [Events(connect(server.url), connect_patiently(server.url, BLOCK_SECONDS)) for _ in range(2)]
    for events, found in zip(both, heard, strict=True):
        events.start(found.append)
    time.sleep(0.5)
    job = Job("1", "people", "cut-over", {}, {}, "", "", "", 1)
    both[0].tell("acme", job)
    server.kill()
    both[0].tell("acme", job)
    server.start()
    deadline = time.monotonic() + 20
    while not all(len(found) > 1 for found in heard) and time.monotonic() < deadline:
        both[1].tell("other", job)
        time.sleep(0.2)
    for found in heard:
        assert found[0] == Event("acme", "1", "people", "cut-over")
        assert found[1] == Event("other", "1", "people", "cut-over")
    for events in both:
        events.close()
