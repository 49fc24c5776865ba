"""The thread that works on jobs, one at a time, and clears away generations that nobody is going to want any more.

Invariant: whatever goes wrong is said in the job; nothing that goes wrong ends the thread.
"""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from service.entities import Job, JobState
from service.errors import (
    FacebridgeError,
    InsufficientStorageError,
    JobStateError,
    MigrationInProgressError,
    NotFoundError,
    RollbackExpiredError,
    StateAwayError,
    StorageError,
)
from service.galleries.port import Filled, GalleryStore
from service.jobs.migration import MigrationWork
from service.state.port import OPEN, JobStore
from service.usecases.exchanging import BY_HAND, CLAIM
from service.usecases.migrate import Migrations
from service.usecases.migration_plan import Asked
from service.usecases.rates import Rate

log = logging.getLogger("facebridge.jobs")

_WORKED_ON: tuple[JobState, ...] = ("queued", "running", "verifying")
_JUDGED: tuple[JobState, ...] = ("ready",)
_LEASE_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_CLEAR_SECONDS = 10.0
_AGAIN_SECONDS = 60.0
"""Between tries to read what could not be read."""
_FULL_SECONDS = 2.0
"""Between tries while the disk is full."""


class JobRunner:
    """Works on the jobs of one service."""

    def __init__(
        self,
        jobs: JobStore,
        store: GalleryStore,
        migrations: Migrations,
        work: MigrationWork,
        wake: threading.Event,
        *,
        on_translated: Callable[[str, int], None] = lambda gallery, num: None,
    ) -> None:
        """`wake` is set where there may be something to do; `on_translated` hears of templates of a gallery that were."""
        self._jobs = jobs
        self._store = store
        self._migrations = migrations
        self._work = work
        self._wake = wake
        self._on_translated = on_translated
        self._owner = secrets.token_hex(8)
        self._closing = threading.Event()
        self._held: set[str] = set()
        """Jobs that could not be let go of yet."""
        self._unread: dict[tuple[str, str, int], float] = {}
        """When generations, by gallery and when that was made, could not be read."""
        self._tried: dict[tuple[str, str], float] = {}
        """When jobs were to be cut over by themselves, by the moment of their verdict."""
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the chunk that is under way; at the next start it goes on."""
        self._closing.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def _let_go(self) -> None:
        """Of jobs that are not worked on any more, so that they can be gone on with. Raises `StorageError`."""
        for job_id in list(self._held):
            self._jobs.release(job_id, self._owner)
            self._held.discard(job_id)

    def _run(self) -> None:
        cleared, told = 0.0, ""
        while not self._closing.is_set():
            try:
                if time.monotonic() - cleared >= _CLEAR_SECONDS:
                    cleared = time.monotonic()
                    self._clear_away()
                self._let_go()
                self._cut_over_what_may_be()
                job = self._jobs.lease(self._owner, _WORKED_ON, _LEASE_SECONDS)
                if job is not None:
                    self._do(job)
                    continue
                self._read_what_is_kept()
                told = ""
            except Exception as failure:  # noqa: BLE001
                what = str(failure) if isinstance(failure, FacebridgeError) else type(failure).__name__
                if what != told:
                    log.error("jobs: %s", what)
                told = what
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()

    def _do(self, job: Job) -> None:
        rate = self._migrations.rates[job.job_id] = Rate()
        renewed = time.monotonic()

        def go_on() -> bool:
            nonlocal renewed
            if time.monotonic() - renewed > _LEASE_SECONDS / 3:
                renewed = time.monotonic()
                if not self._jobs.renew(job.job_id, self._owner, _LEASE_SECONDS):
                    return False
            return not self._closing.is_set() and self._jobs.get(job.job_id).state in _WORKED_ON

        def on_filled(filled: Filled) -> None:
            rate.add(filled.num + filled.num_missing)
            self._on_translated(job.gallery, filled.num_translated)

        try:
            self._work(job, on_filled, go_on)
        except JobStateError:
            # An order came in between.
            pass
        except StateAwayError as failure:
            # What was done is kept; it is gone on with as soon as it is known again what is to be done.
            log.warning("job %s: %s", job.job_id, failure)
        except MigrationInProgressError as failure:
            # What a job that was given up has left is cleared away.
            self._say(job.job_id, None, f"{failure}; it goes on when that is over")
            self._clear_away()
            self._closing.wait(_LOOK_SECONDS)
        except InsufficientStorageError as failure:
            self._say(job.job_id, None, f"{failure}; it goes on when there is room")
            self._closing.wait(_FULL_SECONDS)
        except (NotFoundError, RollbackExpiredError) as failure:
            self._end(job.job_id, failure)
        except FacebridgeError as failure:
            self._say(job.job_id, "paused", str(failure))
        except Exception as failure:
            log.exception("job %s failed", job.job_id)
            self._end(job.job_id, FacebridgeError(f"it failed ({type(failure).__name__}); the log says where"))
        finally:
            del self._migrations.rates[job.job_id]
            self._held.add(job.job_id)
            with suppress(StorageError):
                self._let_go()

    def _say(self, job_id: str, state: JobState | None, reason: str) -> None:
        """Unless it was given an order meanwhile, or cannot be written."""
        log.warning("job %s: %s", job_id, reason)
        with suppress(JobStateError, StorageError, NotFoundError):
            job = self._jobs.get(job_id)
            if job.state in _WORKED_ON and (state, reason) != (None, job.reason):
                self._jobs.change(job, state=state, reason=reason)

    def _end(self, job_id: str, failure: FacebridgeError) -> None:
        """It has come to nothing, and nothing is left of it."""
        with suppress(StorageError, NotFoundError):
            # Where its gallery is gone, it says that.
            self._migrations.exchanges.settled(self._jobs.get(job_id))
        self._say(job_id, "failed", str(failure))
        with suppress(StorageError, NotFoundError):
            self._migrations.forget_generation(self._jobs.get(job_id))

    def _cut_over_what_may_be(self) -> None:
        """Jobs that are to be as soon as they have passed; what keeps one from it is said in it."""
        for job in self._jobs.in_states(_JUDGED):
            verdict, moment = job.found["verdict"], time.monotonic()
            place = (job.job_id, verdict["judged_at"])
            is_auto = Asked.of_json(job.asked).cutover == "auto" and not job.found.get(BY_HAND)
            is_tried = moment - self._tried.get(place, -_CLEAR_SECONDS) < _CLEAR_SECONDS
            if not is_auto or not verdict["is_passed"] or is_tried:
                continue
            self._tried[place] = moment
            try:
                self._migrations.exchanges.cut_over(job.job_id, force=False, once=None)
            except FacebridgeError as failure:
                with suppress(FacebridgeError):
                    now = self._jobs.get(job.job_id)
                    if now.state == "ready" and now.reason != str(failure) and not now.found.get(CLAIM):
                        self._jobs.change(now, reason=str(failure))

    def _read_what_is_kept(self) -> None:
        """Generations that may be exchanged are read after a start before anybody orders that: it takes one step then."""
        for gallery in self._store.list_galleries():
            for one in gallery.beside:
                if self._closing.is_set() or self._wake.is_set():
                    return
                place, now = (gallery.name, gallery.created_at, one.number), time.monotonic()
                may_be_exchanged = one.state == "kept" or self._state_of(one.job) in _JUDGED
                is_tried = now - self._unread.get(place, -_AGAIN_SECONDS) < _AGAIN_SECONDS
                if one.is_complete or is_tried or not may_be_exchanged:
                    continue
                try:
                    self._work.read_again(gallery, one, lambda: not (self._closing.is_set() or self._wake.is_set()))
                except FacebridgeError as failure:
                    # Whoever orders an exchange is told what is in its way.
                    log.info("gallery %s, generation %d: %s", gallery.name, one.number, failure)
                    self._unread[place] = now

    def _clear_away(self) -> None:
        """Generations whose job has come to nothing, and those that were kept as long as they were to be."""
        now = datetime.now(UTC)
        for gallery in self._store.list_galleries():
            for one in gallery.beside:
                is_over = one.kept_until is not None and datetime.fromisoformat(one.kept_until) < now
                if (is_over or one.state == "building") and not self._is_open(one.job):
                    with suppress(NotFoundError):
                        self._store.generations.drop(gallery.name, one.number)

    def _is_open(self, job_id: str | None) -> bool:
        return self._state_of(job_id) in OPEN

    def _state_of(self, job_id: str | None) -> JobState | None:
        with suppress(NotFoundError):
            return self._jobs.get(job_id).state if job_id is not None else None
        return None
