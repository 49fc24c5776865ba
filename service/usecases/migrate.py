"""Migrate a gallery: what is asked of it, and the orders that are given while it goes on. `service/jobs` does the work.

Generations are exchanged by `exchanging`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from models.feature_set import FeatureSet
from service.entities import Gallery, Job, JobState, Once, Route
from service.errors import (
    InvalidInputError,
    JobStateError,
    NotFoundError,
)
from service.galleries.failpoints import reached
from service.galleries.port import Backlog, GalleryStore
from service.inference.inference import Inference
from service.state.port import OPEN, JobPage, JobStore
from service.usecases.exchanging import BUSY, CLAIM, Exchanges
from service.usecases.migration_plan import Asked, Plan, plan
from service.usecases.rates import Rate
from service.usecases.verdicts import Verdicts

log = logging.getLogger("facebridge.jobs")

_TRIES = 20


@dataclass(frozen=True, slots=True)
class Numbers:
    """Of templates."""

    done: int
    total: int
    failed: int
    rate: float | None
    """A second."""
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come, and until when the other generation is kept."""

    numbers: Numbers
    kept_until: str | None


class Migrations:
    """The verbs. Those that block are called on worker threads."""

    def __init__(
        self,
        inference: Inference,
        store: GalleryStore,
        jobs: JobStore,
        verdicts: Verdicts,
        wake: Callable[[], None],
    ) -> None:
        """`wake` tells who does the work that there is some."""
        self._inference = inference
        self._store = store
        self._jobs = jobs
        self._wake = wake
        self.verdicts = verdicts
        self.rates: dict[str, Rate] = {}
        """Of jobs that are worked on here, by id."""
        self.exchanges = Exchanges(inference, store, jobs)

    async def start(self, gallery: str, asked: Asked, *, once: Once | None = None) -> Job:
        """Queue a migration.

        Raises `NotFoundError`, `MigrationInProgressError`, and what `plan` raises.
        """
        job = await asyncio.to_thread(self._start, gallery, asked, once)
        self._wake()
        return job

    async def get(self, job_id: str) -> Job:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(lambda: self.exchanges.settled(self._jobs.get(job_id)))

    async def page(self, *, gallery: str | None, after: int, limit: int) -> JobPage:
        """Jobs, the newest first."""

        def settled_page() -> JobPage:
            page = self._jobs.page(gallery=gallery, after=after, limit=limit)
            return JobPage(tuple(map(self.exchanges.settled, page.jobs)), page.next_after)

        return await asyncio.to_thread(settled_page)

    async def open_jobs(self) -> list[Job]:
        """Those that are not over, the oldest first."""
        return await asyncio.to_thread(self._jobs.in_states, OPEN)

    async def progress(self, job: Job) -> Progress:
        """How far a job has come."""
        return await asyncio.to_thread(self._progress, job)

    async def backlog(self, gallery: str, *, after: int, limit: int) -> Backlog:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(self._store.generations.backlog, gallery, after=after, limit=limit)

    async def judge_by_probes(self, job_id: str, probes: FeatureSet) -> dict[str, Any]:
        """The verdict on a job that is ready, anew and by labelled probes too.

        Raises `NotFoundError`, `JobStateError`, `InvalidInputError` where the probes have no subjects.
        """
        return await asyncio.to_thread(self._judge_by_probes, job_id, probes)

    async def pause(self, job_id: str, *, once: Once | None = None) -> Job:
        """Stop after the chunk that is under way. Raises `NotFoundError`, `JobStateError`."""
        return await self._order(job_id, ("queued", "running", "verifying"), "paused", "it was told to", once)

    async def resume(self, job_id: str, *, once: Once | None = None) -> Job:
        """Go on. Raises `NotFoundError`, `JobStateError`."""
        return await self._order(job_id, ("paused",), "queued", "", once)

    async def cancel(self, job_id: str, *, once: Once | None = None) -> Job:
        """Give it up; what it made goes. Raises `NotFoundError`, `JobStateError`."""
        job = await self._order(job_id, OPEN, "cancelled", "it was told to", once)
        reached("cancel-before-drop")
        await asyncio.to_thread(self.forget_generation, job)
        return job

    async def cutover(self, job_id: str, *, force: bool = False, once: Once | None = None) -> Job:
        """Make its generation the active one, in one step; with `force` whatever its gates say.

        Raises `NotFoundError`; `JobStateError` where it is not ready, `GatesFailedError`; `GenerationChangedError` where the
        gallery is in another generation than it was begun in; `RollbackExpiredError` where its generation is gone.
        """
        return await asyncio.to_thread(self.exchanges.cut_over, job_id, force=force, once=once)

    async def rollback(self, job_id: str, *, accept_missing: bool = False, once: Once | None = None) -> Job:
        """Make the generation before the active one again, in one step; with `accept_missing` also where templates that came
        since are not in it.

        Raises `NotFoundError`; `JobStateError` where it is not cut over, `RollbackIncompleteError`; `GenerationChangedError`;
        `RollbackExpiredError`.
        """
        return await asyncio.to_thread(self.exchanges.roll_back, job_id, accept_missing=accept_missing, once=once)

    def forget_generation(self, job: Job) -> None:
        """Take away what a job made that has come to nothing. Raises `StorageError`."""
        gallery = self.exchanges.gallery_of(job)
        for one in gallery.beside if gallery else ():
            if one.job == job.job_id:
                with suppress(NotFoundError):
                    self._store.generations.drop(job.gallery, one.number)

    def _judge_by_probes(self, job_id: str, probes: FeatureSet) -> dict[str, Any]:
        if not probes.has_subjects:
            raise InvalidInputError("labelled probes say whom they are of; fill the column subject")
        job = self.exchanges.settled(self._jobs.get(job_id))
        if job.state not in ("ready", "rolled-back") or "generation" not in job.found:
            raise JobStateError(f"the job is {job.state}; probes are for one that is ready")
        with self.exchanges.claimed(job, None) as claim:
            self.exchanges.check_expected(job, self._store.get(job.gallery), job.found["generation_before"])
            self.exchanges.catch_up(job.gallery, job.found["generation"])
            verdict = self.verdicts(job, probes)
            self._jobs.change(claim.job, found={"verdict": verdict})
        self._wake()
        return verdict

    def _progress(self, job: Job) -> Progress:
        gallery = self.exchanges.gallery_of(job)
        if gallery is None:
            return Progress(Numbers(0, 0, 0, None, None), None)
        total, rate = gallery.num_templates, self.rates.get(job.job_id)
        mine = next((one for one in gallery.beside if one.job == job.job_id), None)
        before = job.found.get("generation_before")
        other = mine or gallery.generation_beside(before)
        is_whole = job.state in ("verifying", "ready", "cut-over", "rolled-back")
        done = total if is_whole else mine.num_done if mine else 0
        per_second = rate.per_second if rate else None
        seconds_left = (total - done) / per_second if per_second and not is_whole else None
        number = job.found.get("generation")
        failed = 0
        if number is not None and (mine is not None or number == gallery.generation):
            failed = self._store.generations.num_missing(job.gallery, number)
        kept_until = other.kept_until if other and job.state in ("cut-over", "rolled-back") else None
        return Progress(Numbers(done, total, failed, per_second, seconds_left), kept_until)

    def _start(self, name: str, asked: Asked, once: Once | None) -> Job:
        gallery = self._store.get(name)
        self.exchanges.settle_all()
        origins = self._store.generations.origins(name)
        made = plan(self._inference.catalog, gallery, origins, asked)
        document = asked.to_json() | {"plan": self._described(gallery, made)}
        return self._jobs.create(name, document, once=once)

    def _described(self, gallery: Gallery, made: Plan) -> dict[str, Any]:
        catalog = self._inference.catalog

        def told(route: Route | None) -> dict[str, Any] | None:
            if route is None:
                return None
            bundles = [{"name": name, "digest": catalog.digest_of(name)} for name in route.bundles]
            ends = {"source": route.source.name, "target": route.target.name}
            return ends | {"bundles": bundles, "quality": round(catalog.quality(route), 6)}

        return {
            "generation_before": gallery.generation,
            "gallery_made_at": gallery.created_at,
            "source": made.source.to_json(),
            "target": made.target.to_json(),
            "target_fingerprint": made.target.fingerprint,
            "routes": {fingerprint: told(route) for fingerprint, route in made.routes.items()},
            "left_out": dict(made.left_out),
            "probes": told(made.back),
        }

    async def _order(
        self, job_id: str, states: tuple[JobState, ...], state: JobState, reason: str, once: Once | None
    ) -> Job:
        def order() -> Job:
            # Whoever works on it changes it too; the order holds for what it is then.
            for _ in range(_TRIES):
                job = self.exchanges.settled(self._jobs.get(job_id))
                if job.state not in states:
                    raise JobStateError(f"the job is {job.state}, in which this cannot be done")
                if job.found.get(CLAIM):
                    raise JobStateError(BUSY)
                with suppress(JobStateError):
                    return self._jobs.change(job, state=state, reason=reason, once=once)
            raise JobStateError("the job changes all the time; try again")

        job = await asyncio.to_thread(order)
        self._wake()
        return job
