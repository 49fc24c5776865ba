"""Migrate a gallery: what is asked of it, and the orders that are given while it goes on. `service/jobs` does the work.

A job's state and the generations of its gallery are kept apart, and each change is made in one of them first: where a process
ends in between, `settled` makes the job say what has become of its generation.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from models.feature_set import FeatureSet
from models.space import Space
from service.entities import Gallery, Generation, Job, JobState, Once, Route
from service.errors import (
    FacebridgeError,
    GatesFailedError,
    GenerationChangedError,
    InvalidInputError,
    JobStateError,
    NoRouteError,
    NotFoundError,
    RollbackExpiredError,
    RollbackIncompleteError,
)
from service.galleries.failpoints import reached
from service.galleries.port import Backlog, GalleryStore
from service.inference.inference import Inference
from service.state.port import OPEN, JobPage, JobStore
from service.usecases.filling import Filler
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
        self._filler = Filler(inference, store.generations)

    async def start(self, gallery: str, asked: Asked, *, once: Once | None = None) -> Job:
        """Queue a migration.

        Raises `NotFoundError`, `MigrationInProgressError`, and what `plan` raises.
        """
        job = await asyncio.to_thread(self._start, gallery, asked, once)
        self._wake()
        return job

    async def get(self, job_id: str) -> Job:
        """Raises `NotFoundError`."""
        return await asyncio.to_thread(lambda: self.settled(self._jobs.get(job_id)))

    async def page(self, *, gallery: str | None, after: int, limit: int) -> JobPage:
        """Jobs, the newest first."""

        def settled_page() -> JobPage:
            page = self._jobs.page(gallery=gallery, after=after, limit=limit)
            return JobPage(tuple(map(self.settled, page.jobs)), page.next_after)

        return await asyncio.to_thread(settled_page)

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
        return await asyncio.to_thread(self.cut_over, job_id, force, once)

    async def rollback(self, job_id: str, *, accept_missing: bool = False, once: Once | None = None) -> Job:
        """Make the generation before the active one again, in one step; with `accept_missing` also where templates that came
        since are not in it.

        Raises `NotFoundError`; `JobStateError` where it is not cut over, `RollbackIncompleteError`; `GenerationChangedError`;
        `RollbackExpiredError`.
        """
        return await asyncio.to_thread(self._roll_back, job_id, accept_missing, once)

    def settled(self, job: Job) -> Job:
        """A job that says what has become of its generation. Raises `NotFoundError` for the job."""
        for _ in range(_TRIES):
            state = self._state_by_generation(job)
            if state is None:
                return job
            with suppress(JobStateError):
                return self._jobs.change(job, state=state)
            job = self._jobs.get(job.job_id)
        return job

    def settle_all(self) -> None:
        """Have every job say what has become of its generation."""
        for job in self._jobs.in_states(("ready", "cut-over", "rolled-back")):
            self.settled(job)

    def cut_over(self, job_id: str, force: bool, once: Once | None) -> Job:
        """As `cutover`, on the caller's thread."""
        job = self.settled(self._jobs.get(job_id))
        if job.state not in ("ready", "rolled-back"):
            raise JobStateError(f"the job is {job.state}; only one that is ready, or rolled back, is cut over")
        if not job.found["verdict"]["is_passed"] and not force:
            gates = job.found["verdict"]["gates"]
            lacking = [gate["name"] for gate in gates if gate["state"] == "failed" or gate["is_required"]]
            raise GatesFailedError(
                f"it has not passed: {', '.join(lacking) or 'nothing could be measured'}; see its verdict, or force it"
            )
        asked = Asked.of_json(job.asked)
        if asked.mode == "probe":
            return self._jobs.change(job, state="cut-over", once=once)
        number = job.found["generation"]
        if not any(one.job == job.job_id for one in self._store.get(job.gallery).beside):
            raise RollbackExpiredError("what this job built is not there any more")
        return self._exchange(job, "cut-over", number, job.found["generation_before"], once)

    def forget_generation(self, job: Job) -> None:
        """Take away what a job made that has come to nothing. Raises `StorageError`."""
        with suppress(NotFoundError):
            for one in self._store.get(job.gallery).beside:
                if one.job == job.job_id:
                    self._store.generations.drop(job.gallery, one.number)

    def routes_of(self, gallery: Gallery, generation: Generation) -> dict[str, Route]:
        """By which routes templates come into a generation: those that it was begun with, else the best there are.

        Raises `NoRouteError` where a translator of its own is not there any more.
        """
        spaces = {space.fingerprint: space for space, _ in self._store.generations.origins(gallery.name)}
        routes = {}
        for fingerprint, space in spaces.items():
            if fingerprint in generation.routes:
                routes[fingerprint] = self._inference.catalog.along(space, generation.routes[fingerprint])
            elif fingerprint != generation.space.fingerprint:
                with suppress(NoRouteError):
                    routes[fingerprint] = self._inference.catalog.route(space, generation.space)
        return routes

    def _judge_by_probes(self, job_id: str, probes: FeatureSet) -> dict[str, Any]:
        if not probes.has_subjects:
            raise InvalidInputError("labelled probes say whom they are of; fill the column subject")
        job = self.settled(self._jobs.get(job_id))
        if job.state not in ("ready", "rolled-back") or "generation" not in job.found:
            raise JobStateError(f"the job is {job.state}; probes are for one that is ready")
        self._catch_up(job.gallery, job.found["generation"])
        verdict = self.verdicts(job, probes)
        self._jobs.change(job, found={"verdict": verdict})
        return verdict

    def _progress(self, job: Job) -> Progress:
        try:
            gallery = self._store.get(job.gallery)
        except NotFoundError:
            return Progress(Numbers(0, 0, 0, None, None), None)
        total, rate = gallery.num_templates, self.rates.get(job.job_id)
        mine = next((one for one in gallery.beside if one.job == job.job_id), None)
        before = job.found.get("generation_before")
        other = mine if mine else next((one for one in gallery.beside if one.number == before), None)
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
        self.settle_all()
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
                job = self.settled(self._jobs.get(job_id))
                if job.state not in states:
                    raise JobStateError(f"the job is {job.state}, in which this cannot be done")
                with suppress(JobStateError):
                    return self._jobs.change(job, state=state, reason=reason, once=once)
            raise JobStateError("the job changes all the time; try again")

        job = await asyncio.to_thread(order)
        self._wake()
        return job

    def _state_by_generation(self, job: Job) -> JobState | None:
        """The state that a job must have, where that is not the one that it says."""
        if job.state not in ("ready", "cut-over", "rolled-back") or "generation" not in job.found:
            return None
        try:
            gallery = self._store.get(job.gallery)
        except NotFoundError:
            return None
        # Another gallery of that name may have generations of these numbers.
        if gallery.job == job.job_id and job.state != "cut-over":
            return "cut-over"
        is_mine_kept = any(one.job == job.job_id for one in gallery.beside)
        if gallery.generation == job.found["generation_before"] and job.state == "cut-over" and is_mine_kept:
            return "rolled-back"
        return None

    def _roll_back(self, job_id: str, accept_missing: bool, once: Once | None) -> Job:
        job = self.settled(self._jobs.get(job_id))
        if job.state != "cut-over" or "generation" not in job.found:
            raise JobStateError(f"the job is {job.state}, and nothing of it is to be rolled back")
        before, gallery = job.found["generation_before"], self._store.get(job.gallery)
        if gallery.job != job.job_id:
            raise GenerationChangedError(f"gallery {job.gallery} is in another generation than the one of this job")
        kept = next((one for one in gallery.beside if one.number == before), None)
        if kept is None or (kept.kept_until and datetime.fromisoformat(kept.kept_until) < datetime.now(UTC)):
            raise RollbackExpiredError("the generation before was kept for a while only, and is gone")
        num_missing = self._store.generations.num_missing(job.gallery, before)
        if num_missing and not accept_missing:
            raise RollbackIncompleteError(
                f"{num_missing} templates that came since would not be found, as no route leads from their spaces to "
                f"{kept.space.name}; they stay recorded: accept that, or load a translator"
            )
        return self._exchange(job, "rolled-back", before, job.found["generation"], once)

    def _exchange(self, job: Job, state: JobState, generation: int, expected: int, once: Once | None) -> Job:
        self._catch_up(job.gallery, generation)
        told = once and once.through(lambda gallery: replace(job, state=state, reason=""))
        keep_seconds = Asked.of_json(job.asked).keep_seconds
        self._store.generations.activate(
            job.gallery, generation, expected=expected, keep_seconds=keep_seconds, once=told
        )
        reached("cutover-before-job")
        with suppress(JobStateError):
            return self._jobs.change(job, state=state, reason="")
        return self.settled(self._jobs.get(job.job_id))

    def _catch_up(self, name: str, number: int) -> None:
        """After a start, a generation is searchable again when it has been read."""
        gallery = self._store.get(name)
        found = next((one for one in gallery.beside if one.number == number), None)
        if found is None:
            if gallery.generation == number:
                raise GenerationChangedError(f"gallery {name} is in generation {number} already")
            raise RollbackExpiredError(f"gallery {name} has no generation {number} any more")
        if not found.is_complete:
            self._filler(name, number, self.routes_of(gallery, found))
        self.index(name, number, found.space)

    def index(self, name: str, number: int, space: Space) -> None:
        """Make a generation that has caught up searchable in the common spaces of its own, as can be."""
        for step in self._inference.catalog.common_steps(space):
            try:
                projections = self._inference.projections(step.target)
                self._store.ensure_index(name, step.target, projections, generation=number)
            except FacebridgeError as failure:
                log.warning("%s", failure)
