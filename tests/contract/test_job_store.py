"""What every job store must do: one suite over all adapters, then what the embedded one does with its file."""

import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.entities import Answer, Job, JobState, Once
from service.errors import JobStateError, MigrationInProgressError, NotFoundError, StartupError
from service.state.embedded import FILE, EmbeddedJobStore
from service.state.on_redis.connection import connect
from service.state.on_redis.jobs import RedisJobStore
from service.state.on_redis.journal import FILE as JOURNAL
from service.state.on_redis.journal import Journal
from service.state.port import OPEN, JobPage, JobStore
from tests.redis_server import RedisServer, needs_redis

ENDED: tuple[JobState, ...] = ("cut-over", "rolled-back", "failed", "cancelled")
WAIT_SECONDS = 10


class Clock:
    """The time as a store is told it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("service.state.embedded.time", made)
    return made


@pytest.fixture(params=["embedded", pytest.param("redis", marks=needs_redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    opened: JobStore
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        opened = RedisJobStore(connect(server.url), secrets.token_hex(4), Journal(tmp_path), clock=clock.time)
    else:
        opened = EmbeddedJobStore(tmp_path)
    yield opened
    opened.close()


def ids(jobs: Iterable[Job]) -> list[str]:
    return [job.job_id for job in jobs]


def once(name: bytes, digest: bytes = b"digest") -> Once:
    """A request that is answered with the id and the state of a job."""
    return Once(name, digest, lambda job: Answer(202, f"{job.job_id} {job.state}".encode()))


def together(*calls: Callable[[], Job | None]) -> list[Job | None]:
    """What calls gave that began at one moment, each on a thread of its own; None of one that was refused."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], Job | None]) -> Job | None:
        barrier.wait(WAIT_SECONDS)
        try:
            return call()
        except (JobStateError, MigrationInProgressError):
            return None

    with ThreadPoolExecutor(len(calls)) as executor:
        return list(executor.map(run, calls))


class TestJobs:
    def test_a_new_job_is_queued_and_found_by_its_id(self, store: JobStore) -> None:
        asked = {"target": "b", "route": None, "gates": {"min_overlap": 0.25}, "name": "Zoë"}
        job = store.create("staff", asked)
        assert (job.gallery, job.state, job.asked, job.found, job.reason) == ("staff", "queued", asked, {}, "")
        assert job.created_at == job.updated_at
        assert store.get(job.job_id) == job

    def test_a_job_that_nobody_made_is_not_found(self, store: JobStore) -> None:
        job = store.create("staff", {})
        with pytest.raises(NotFoundError):
            store.get("nothing")
        with pytest.raises(NotFoundError):
            store.change(replace(job, job_id="nothing"), state="running")
        assert store.renew("nothing", "me", 60) is False
        store.release("nothing", "me")
        assert store.get(job.job_id) == job

    def test_pages_are_the_newest_first_and_of_one_gallery_if_asked(self, store: JobStore) -> None:
        made: list[Job] = []
        for gallery in ("staff", "visitors") * 5:
            job = store.create(gallery, {})
            made.insert(0, store.change(job, state="cancelled"))
        of_staff = [job for job in made if job.gallery == "staff"]
        assert store.page().jobs == tuple(made)
        cases: list[tuple[str | None, list[Job], list[int]]] = [(None, made, [4, 4, 2]), ("staff", of_staff, [4, 1])]
        for asked, expected, sizes in cases:
            pages = [store.page(gallery=asked, limit=4)]
            while (after := pages[-1].next_after) is not None:
                pages.append(store.page(gallery=asked, after=after, limit=4))
            assert [job for page in pages for job in page.jobs] == expected
            assert [len(page.jobs) for page in pages] == sizes
        assert store.page(gallery="staff", limit=5).next_after is None
        assert store.page(gallery="nobody") == JobPage((), None)

    def test_jobs_in_some_states_come_the_oldest_first(self, store: JobStore) -> None:
        states: list[JobState] = ["ready", "failed", "running", "ready", "cancelled"]
        jobs = [store.change(store.create(f"g{n}", {}), state=state) for n, state in enumerate(states)]
        assert store.in_states(["ready", "running"]) == [jobs[0], jobs[2], jobs[3]]
        assert store.in_states({"failed"}) == [jobs[1]]
        assert store.in_states([]) == store.in_states(["paused"]) == []


class TestChanges:
    def test_what_is_not_said_stays_and_what_is_found_is_put_to_what_was(self, store: JobStore) -> None:
        job = store.create("staff", {"target": "b"})
        job = store.change(job, state="running", reason="because", found={"generation": 2, "verdict": None})
        job = store.change(job, found={"verdict": {"is_passed": True}, "more": [1]})
        assert (job.state, job.reason, job.asked) == ("running", "because", {"target": "b"})
        assert job.found == {"generation": 2, "verdict": {"is_passed": True}, "more": [1]}
        job = store.change(job, reason="")
        assert (job.state, job.reason) == ("running", "")
        assert store.get(job.job_id) == job

    def test_who_read_it_before_it_changed_is_refused_and_changes_nothing(self, store: JobStore) -> None:
        read = store.create("staff", {})
        changed = store.change(read, state="running")
        assert changed.version > read.version
        with pytest.raises(JobStateError, match="running"):
            store.change(read, state="cancelled", found={"lost": 1}, once=once(b"lost"))
        assert store.get(read.job_id) == changed
        assert store.answered(b"lost") is None
        assert store.change(changed, state="cancelled").state == "cancelled"

    def test_of_two_who_change_a_job_at_once_exactly_one_does(self, store: JobStore) -> None:
        job = store.create("staff", {})
        for number in range(25):
            read = job
            found = together(
                partial(store.change, read, found={"who": "one", "number": number}),
                partial(store.change, read, found={"who": "other", "number": number}),
            )
            (job,) = (one for one in found if one is not None)
            assert store.get(job.job_id) == job

    def test_a_lease_is_no_change(self, store: JobStore) -> None:
        job = store.create("staff", {})
        assert store.lease("me", ["queued"], 60) == job
        assert store.change(job, state="running").state == "running"


class TestAnswers:
    def test_an_answer_is_kept_with_what_was_done(self, store: JobStore) -> None:
        assert store.answered(b"create") is None
        job = store.create("staff", {}, once=once(b"create", b"first"))
        assert store.answered(b"create") == (b"first", Answer(202, f"{job.job_id} queued".encode()))
        store.change(job, state="paused", once=once(b"pause", b"second"))
        assert store.answered(b"pause") == (b"second", Answer(202, f"{job.job_id} paused".encode()))
        assert store.answered(b"create") == (b"first", Answer(202, f"{job.job_id} queued".encode()))

    def test_the_answer_is_made_of_what_then_makes_of_the_changed_job(self, store: JobStore) -> None:
        told = Once(b"key", b"digest", lambda reason: Answer(200, reason.encode()))
        store.change(store.create("staff", {}), reason="why", once=told, then=lambda job: f"{job.reason}!")
        assert store.answered(b"key") == (b"digest", Answer(200, b"why!"))

    def test_where_no_answer_can_be_made_nothing_is_done(self, store: JobStore) -> None:
        def refuse(outcome: object) -> Answer:
            raise ArithmeticError

        told = Once(b"key", b"digest", refuse)
        with pytest.raises(ArithmeticError):
            store.create("staff", {}, once=told)
        assert store.page().jobs == ()
        job = store.create("staff", {})
        with pytest.raises(ArithmeticError):
            store.change(job, state="cancelled", once=told)
        with pytest.raises(ArithmeticError):
            store.change(job, state="cancelled", once=once(b"key"), then=refuse)
        assert store.get(job.job_id) == job
        assert store.answered(b"key") is None


class TestOneOpenJob:
    @pytest.mark.parametrize("state", OPEN)
    def test_a_gallery_has_one_that_is_open(self, store: JobStore, state: JobState) -> None:
        job = store.create("staff", {})
        job = store.change(job, state=state)
        with pytest.raises(MigrationInProgressError, match="staff"):
            store.create("staff", {}, once=once(b"second"))
        assert (store.page().jobs, store.answered(b"second")) == ((job,), None)
        assert store.create("visitors", {}).state == "queued"

    @pytest.mark.parametrize("state", ENDED)
    def test_after_one_has_ended_another_may_begin_and_then_it_is_not_reopened(
        self, store: JobStore, state: JobState
    ) -> None:
        ended = store.change(store.create("staff", {}), state=state)
        other = store.create("staff", {})
        with pytest.raises(MigrationInProgressError):
            store.change(ended, state="ready", found={"lost": 1})
        assert store.get(ended.job_id) == ended
        ended = store.change(ended, state="rolled-back", found={"kept": 1})
        store.change(other, state="cancelled")
        assert store.change(ended, state="ready").state == "ready"
        with pytest.raises(MigrationInProgressError):
            store.create("staff", {})

    def test_of_two_who_begin_at_once_one_does(self, store: JobStore) -> None:
        for number in range(10):
            found = together(*[partial(store.create, f"g{number}", {})] * 3)
            assert len([one for one in found if one is not None]) == 1


class TestLeases:
    def test_the_oldest_comes_first_and_nobody_gets_it_twice(self, store: JobStore) -> None:
        jobs = [store.create(f"g{number}", {}) for number in range(3)]
        assert store.lease("me", ["queued"], 60) == jobs[0]
        assert store.lease("me", ["queued"], 60) == jobs[1]
        assert store.lease("you", ["queued"], 60) == jobs[2]
        assert store.lease("you", ["queued"], 60) is None
        store.release(jobs[1].job_id, "me")
        assert store.lease("you", ["queued"], 60) == jobs[1]

    def test_only_jobs_in_the_states_that_are_asked_for(self, store: JobStore) -> None:
        paused = store.change(store.create("a", {}), state="paused")
        ready = store.change(store.create("b", {}), state="ready")
        assert store.lease("me", ["queued", "running"], 60) is None
        assert store.lease("me", [], 60) is None
        assert store.lease("me", ["running", "ready"], 60) == ready
        assert store.lease("me", {"paused"}, 60) == paused

    def test_when_its_time_is_over_another_may_have_it(self, store: JobStore, clock: Clock) -> None:
        job = store.create("staff", {})
        assert store.lease("me", ["queued"], 60) == job
        clock.now += 59
        assert store.lease("you", ["queued"], 60) is None
        clock.now += 2
        assert store.lease("you", ["queued"], 60) == job
        assert store.renew(job.job_id, "me", 60) is False
        store.release(job.job_id, "me")
        assert store.lease("me", ["queued"], 60) is None

    def test_who_renews_has_it_so_much_longer_from_then_on(self, store: JobStore, clock: Clock) -> None:
        job = store.create("staff", {})
        store.lease("me", ["queued"], 60)
        clock.now += 50
        assert store.renew(job.job_id, "me", 60) is True
        assert store.renew(job.job_id, "you", 600) is False
        clock.now += 59
        assert store.lease("you", ["queued"], 60) is None
        clock.now += 2
        assert store.lease("you", ["queued"], 60) == job

    def test_what_was_released_is_not_ones_own_any_more(self, store: JobStore) -> None:
        job = store.create("staff", {})
        store.lease("me", ["queued"], 60)
        store.release(job.job_id, "you")
        assert store.lease("you", ["queued"], 60) is None
        store.release(job.job_id, "me")
        assert store.renew(job.job_id, "me", 60) is False
        assert store.lease("you", ["queued"], 60) == job

    def test_threads_that_lease_at_once_get_different_jobs(self, store: JobStore) -> None:
        jobs = [store.create(f"g{number}", {}) for number in range(20)]
        leased: list[str] = []
        for _ in range(4):
            found = together(*[partial(store.lease, f"worker {number}", ["queued"], 60) for number in range(6)])
            leased += [job.job_id for job in found if job is not None]
        assert sorted(leased) == sorted(ids(jobs))
        assert set(leased[:6]) == set(ids(jobs[:6]))


class TestEmbedded:
    def test_everything_is_there_after_it_is_opened_again(self, tmp_path: Path) -> None:
        store = EmbeddedJobStore(tmp_path / "data")
        first = store.change(store.create("staff", {"target": "b"}, once=once(b"key")), state="failed", found={"n": 1})
        second = store.create("staff", {"target": "c"})
        answer = store.answered(b"key")
        store.close()
        store = EmbeddedJobStore(tmp_path / "data")
        assert store.page().jobs == (second, first)
        assert store.answered(b"key") == answer == (b"digest", Answer(202, f"{first.job_id} queued".encode()))
        with pytest.raises(MigrationInProgressError):
            store.create("staff", {})
        assert store.create("visitors", {}).job_id not in ids([first, second])
        store.close()

    def test_what_was_leased_before_a_start_is_nobodys(self, tmp_path: Path) -> None:
        store = EmbeddedJobStore(tmp_path)
        job = store.create("staff", {})
        assert store.lease("me", ["queued"], 3600) == job
        store.close()
        store = EmbeddedJobStore(tmp_path)
        assert store.renew(job.job_id, "me", 3600) is False
        assert store.lease("you", ["queued"], 3600) == job
        store.close()

    def test_answers_are_forgotten_after_a_day(self, tmp_path: Path, clock: Clock) -> None:
        store = EmbeddedJobStore(tmp_path)
        store.create("a", {}, once=once(b"first"))
        clock.now += 24 * 3600 - 1
        store.create("b", {}, once=once(b"second"))
        assert store.answered(b"first") is not None
        clock.now += 2
        store.create("c", {}, once=once(b"third"))
        assert [store.answered(key) is None for key in (b"first", b"second", b"third")] == [True, False, False]
        store.close()

    def test_a_file_of_a_newer_version_is_refused_in_one_line_and_left_as_it_is(self, tmp_path: Path) -> None:
        path = tmp_path / FILE
        EmbeddedJobStore(tmp_path).close()
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=2")
        db.close()
        before = path.read_bytes()
        with pytest.raises(StartupError, match="newer Facebridge") as failure:
            EmbeddedJobStore(tmp_path)
        assert str(path) in str(failure.value)
        assert "\n" not in str(failure.value)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("damage", ["other", "no-tables", "overwritten"])
    def test_a_damaged_file_is_refused_in_one_line(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / FILE
        if damage == "other":
            path.write_bytes(b"This is no database, however long one looks at it. " * 200)
        elif damage == "no-tables":
            db = sqlite3.connect(path)
            db.execute("PRAGMA user_version=1")
            db.close()
        else:
            store = EmbeddedJobStore(tmp_path)
            store.create("staff", {})
            store.close()
            size = path.stat().st_size
            path.write_bytes(path.read_bytes()[:100] + b"\xff" * (size - 100))
        with pytest.raises(StartupError, match="restore it from a backup") as failure:
            EmbeddedJobStore(tmp_path)
        assert str(failure.value).startswith(f"{path}: ")
        assert "\n" not in str(failure.value)

    def test_a_folder_that_cannot_be_used_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file")
        with pytest.raises(StartupError):
            EmbeddedJobStore(tmp_path / "data")

    def test_the_file_is_for_nobody_elses_eyes(self, tmp_path: Path) -> None:
        EmbeddedJobStore(tmp_path).close()
        assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


class TestOnRedis:
    @needs_redis
    def test_answers_are_forgotten_after_a_day_and_jobs_are_not(
        self, tmp_path: Path, redis_server: RedisServer
    ) -> None:
        place = secrets.token_hex(4)
        client = connect(redis_server.url)
        store = RedisJobStore(connect(redis_server.url), place, Journal(tmp_path))
        job = store.create("staff", {}, once=once(b"create"))
        store.change(job, state="paused", once=once(b"pause"))
        left: dict[bytes, Any] = {key: client.ttl(key) for key in client.scan_iter(match=f"*{place}*")}
        answers = {key: seconds for key, seconds in left.items() if b":answered:" in key}
        assert len(answers) == 2
        assert all(24 * 3600 - 60 < seconds <= 24 * 3600 for seconds in answers.values())
        # -1: for ever.
        assert {seconds for key, seconds in left.items() if key not in answers} == {-1}
        store.close()
        client.close()

    def test_a_journal_of_a_newer_version_is_refused_in_one_line_and_left_as_it_is(self, tmp_path: Path) -> None:
        Journal(tmp_path).close()
        path = tmp_path / JOURNAL
        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version=2")
        db.close()
        before = path.read_bytes()
        with pytest.raises(
            StartupError, match=r"journal\.sqlite3: was written by a newer Facebridge; start that version$"
        ):
            Journal(tmp_path)
        assert path.read_bytes() == before

    def test_a_journal_keeps_the_newest_in_whatever_order_it_is_told(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path)
        older = Job("1", "staff", "queued", {}, {}, "", "", "", 1)
        newer = replace(older, state="running", version=2)
        for job in (newer, older):
            journal.keep(job, b"", b"", None)
        assert journal.jobs() == [newer]
        journal.keep(replace(newer, state="ready", version=3), b"", b"", None)
        journal.close()
        journal = Journal(tmp_path)
        assert [(job.state, job.version) for job in journal.jobs()] == [("ready", 3)]
        journal.close()
