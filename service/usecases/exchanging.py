"""Exchanging generations for jobs: cut-over and rollback, and what a job says when a process ended in between.

A job and the generations of its gallery are kept apart. A job is claimed first, so that nobody else orders anything; then the
generations are exchanged, in one step; then the job says so. Whatever ends that in between, `settled` makes the job say what has
become of its generation, and of its gallery.
"""

import logging
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from models.space import Space
from service.entities import Gallery, Generation, Job, JobState, Once, Route
from service.errors import (
    FacebridgeError,
    GatesFailedError,
    GenerationChangedError,
    JobStateError,
    MigrationInProgressError,
    NoRouteError,
    NotFoundError,
    RollbackExpiredError,
    RollbackIncompleteError,
    StorageError,
)
from service.galleries.failpoints import reached
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.state.port import OPEN, JobStore
from service.usecases.filling import Filler
from service.usecases.migration_plan import Asked

log = logging.getLogger("facebridge.jobs")

CLAIM = "exchange"
"""In what a job found: who keeps orders away from it."""
BUSY = "its generation is being judged by probes, or exchanged just now"
BY_HAND = "by_hand"
"""In what a job found: whether it was rolled back once, and is not cut over by itself any more."""
_THEN = "before_cut_over"
"""In what a job found: the number of the template that came last before it was cut over, and how many were not found then."""
_TRIES = 20
_CHANGED_SHARE = 0.1
"""Of templates that came or went since a verdict, from which on it is not one on this gallery any more."""


@dataclass
class Claim:
    """A job that is claimed, and in which state it is left, and why, where that for which it is comes to nothing."""

    job: Job
    otherwise: tuple[JobState, str] | None = None


class Exchanges:
    """Over the jobs and galleries of one service; calls block."""

    def __init__(self, inference: Inference, store: GalleryStore, jobs: JobStore) -> None:
        self._inference = inference
        self._store = store
        self._jobs = jobs
        self._filler = Filler(inference, store.generations)
        self._live: set[str] = set()
        """Claims of this process that are made good still; any other is what something left behind."""

    def gallery_of(self, job: Job) -> Gallery | None:
        """The gallery that a job is for; None where it is gone, whatever has its name now."""
        try:
            gallery = self._store.get(job.gallery)
        except NotFoundError:
            return None
        return gallery if gallery.created_at == job.asked["plan"]["gallery_made_at"] else None

    def settled(self, job: Job) -> Job:
        """A job that says what has become of its generation; told, where it cannot be written. Raises `NotFoundError` for the
        job.
        """
        for _ in range(_TRIES):
            claim = job.found.get(CLAIM)
            if claim in self._live:
                return job
            found = self._state_by_gallery(job)
            if found is None and claim is None:
                return job
            state, reason = found or (None, None)
            try:
                return self._jobs.change(job, state=state, reason=reason, found={CLAIM: None})
            except JobStateError:
                job = self._jobs.get(job.job_id)
            except StorageError as failure:
                log.warning("job %s: %s", job.job_id, failure)
                told = job.reason if reason is None else reason
                return replace(job, state=state or job.state, reason=told, found={**job.found, CLAIM: None})
        return job

    def settle_all(self) -> None:
        """Have every job say what has become of its generation, as can be."""
        for job in self._jobs.in_states((*OPEN, "cut-over", "rolled-back", "cancelled")):
            try:
                self.settled(job)
            except FacebridgeError as failure:
                log.warning("job %s: %s", job.job_id, failure)

    @contextmanager
    def claimed(self, job: Job, state: JobState | None, **found: Any) -> Iterator[Claim]:
        """Keep orders away from a job; at the end it is in a state, unless that comes to nothing. What is `found` before that, it
        keeps. Raises `JobStateError` where it is claimed already, or has changed.
        """
        if job.found.get(CLAIM):
            raise JobStateError(BUSY)
        token = secrets.token_hex(8)
        self._live.add(token)
        try:
            claim = Claim(self._jobs.change(job, found={CLAIM: token, **found}))
            try:
                yield claim
            except BaseException:
                if not self._release(job.job_id, token, claim.otherwise):
                    raise MigrationInProgressError(
                        f"gallery {job.gallery} is being migrated by another job, and this one has to be judged again"
                    ) from None
                raise
            self._release(job.job_id, token, None if state is None else (state, ""))
        finally:
            self._live.discard(token)

    def cut_over(self, job_id: str, *, force: bool, once: Once | None) -> Job:
        """Make a job's generation the active one.

        Raises `NotFoundError`; `JobStateError` where it is not ready, or not for what it was judged, `GatesFailedError`;
        `GenerationChangedError`; `RollbackExpiredError` where its generation is gone.
        """
        job = self.settled(self._jobs.get(job_id))
        if job.state not in ("ready", "rolled-back") or "generation" not in job.found:
            raise JobStateError(f"the job is {job.state}; only one that is ready, or rolled back, is cut over")
        with self.claimed(job, "cut-over", **self._before_cut_over(job)) as claim:
            gallery, number = self._store.get(job.gallery), job.found["generation"]
            if gallery.job == job.job_id:
                raise JobStateError("the job is cut-over already")
            self.check_expected(job, gallery, job.found["generation_before"])
            if not any(one.job == job.job_id for one in gallery.beside):
                raise RollbackExpiredError("what this job built is not there any more")
            if not force:
                # Whom no translator was there for may be found by now.
                self.catch_up(job.gallery, number, is_lenient=True)
                if (changed := self._changed(job, gallery)) is not None:
                    claim.otherwise = ("verifying", "the gallery has changed since it was judged")
                    raise JobStateError(changed)
                _check_gates(job)
                self._check_translators(job)
            self._exchange(job, "cut-over", number, once, is_lenient=force)
        return self.settled(self._jobs.get(job_id))

    def roll_back(self, job_id: str, *, accept_missing: bool, once: Once | None) -> Job:
        """Make the generation before the active one again.

        Raises `NotFoundError`; `JobStateError` where it is not cut over, `RollbackIncompleteError`; `GenerationChangedError`;
        `RollbackExpiredError`.
        """
        job = self.settled(self._jobs.get(job_id))
        if job.state != "cut-over" or "generation" not in job.found:
            raise JobStateError(f"the job is {job.state}, and nothing of it is to be rolled back")
        with self.claimed(job, "rolled-back", **{BY_HAND: True}):
            before, gallery = job.found["generation_before"], self._store.get(job.gallery)
            if gallery.job != job.job_id:
                raise GenerationChangedError(f"gallery {job.gallery} is in another generation than the one of this job")
            kept = gallery.generation_beside(before)
            if kept is None or (kept.kept_until and datetime.fromisoformat(kept.kept_until) < datetime.now(UTC)):
                raise RollbackExpiredError("the generation before was kept for a while only, and is gone")
            self._exchange(job, "rolled-back", before, once, is_lenient=accept_missing)
        return self.settled(self._jobs.get(job_id))

    def catch_up(self, name: str, number: int, *, is_lenient: bool = False) -> None:
        """After a start, a generation is searchable again when it has been read; and what could not be translated when it came
        may be by now. Raises `RollbackExpiredError`; `NoRouteError` where a translator is needed that is not loaded, unless it
        `is_lenient`.
        """
        found = self._beside(name, number)
        self.look_again(name, found)
        if not self._beside(name, number).is_complete:
            self._filler(name, number, self.route_into(found, is_lenient=is_lenient))
        self.index(name, number, found.space)

    def look_again(self, name: str, generation: Generation) -> None:
        """Have what could not be translated when it came translated, where a route leads now from where it is of."""
        generations, route_of = self._store.generations, self.route_into(generation, is_lenient=True)
        if generations.num_missing(name, generation.number):
            spaces = [space for space, _ in generations.origins(name) if route_of(space) is not None]
            generations.look_again(name, generation.number, spaces)

    def _beside(self, name: str, number: int) -> Generation:
        found = self._store.get(name).generation_beside(number)
        if found is None:
            raise RollbackExpiredError(f"gallery {name} has no generation {number} beside the active one any more")
        return found

    def route_into(self, generation: Generation, *, is_lenient: bool = False) -> Callable[[Space], Route | None]:
        """By which route templates of a space come into a generation: the one that it was begun with, else the best there is.

        What it gives raises `NoRouteError` where a translator of its own is not there any more, or is another one, unless it
        `is_lenient`.
        """

        def route(space: Space) -> Route | None:
            pins = generation.routes.get(space.fingerprint)
            try:
                if pins is not None:
                    return self._inference.catalog.pinned(space, pins)
                return self._inference.catalog.route(space, generation.space)
            except NoRouteError:
                if pins is not None and not is_lenient:
                    raise
                return None

        return route

    def index(self, name: str, number: int, space: Space) -> None:
        """Make a generation that has caught up searchable in the common spaces of its own, as can be."""
        for step in self._inference.catalog.common_steps(space):
            try:
                projections = self._inference.projections(step.target)
                self._store.ensure_index(name, step.target, projections, generation=number)
            except FacebridgeError as failure:
                log.warning("%s", failure)

    def _check_translators(self, job: Job) -> None:
        """Raises `JobStateError` where a translator is not the one with which a job was begun."""
        for route in job.asked["plan"]["routes"].values():
            for one in route["bundles"]:
                with suppress(NoRouteError):
                    if self._inference.catalog.digest_of(one["name"]) != one["digest"]:
                        raise JobStateError(
                            f"translator {one['name']} is another one than when this began; put the former back, or cancel this"
                        )

    def _changed(self, job: Job, gallery: Gallery) -> str | None:
        """How a gallery differs from the one that was judged, where that is too much."""
        verdict, generations = job.found["verdict"], self._store.generations
        if gallery.restored_at != verdict.get("restored_at") or "last_number" not in verdict:
            return "the gallery was put back since it was judged; it is judged again"
        then = verdict["num_templates"]
        came = generations.num_after(job.gallery, verdict["last_number"])
        gone = then + came - gallery.num_templates
        if max(came, gone) <= max(1.0, _CHANGED_SHARE * then):
            if (
                verdict["is_passed"]
                or generations.num_missing(job.gallery, job.found["generation"]) >= verdict["num_missing"]
            ):
                return None
            return "fewer templates are missing than when it was judged; it is judged again"
        what = f"of {then} templates {gone} went, and {came} came"
        return f"the gallery has changed since it was judged ({what}); it is judged again"

    def _before_cut_over(self, job: Job) -> dict[str, Any]:
        """What a rollback is going to be held against."""
        generations, before = self._store.generations, job.found["generation_before"]
        with suppress(RollbackExpiredError):
            numbers = {
                "last_number": generations.last_number(job.gallery),
                "num_missing": generations.num_missing(job.gallery, before),
            }
            return {_THEN: numbers}
        return {}

    def check_expected(self, job: Job, gallery: Gallery, expected: int) -> None:
        """Raises `GenerationChangedError` where the active generation is another one."""
        if gallery.generation != expected:
            raise GenerationChangedError(
                f"gallery {job.gallery} is in generation {gallery.generation}, and was meant to be in {expected}"
            )

    def _check_missing(self, job: Job, state: JobState, gallery: Gallery, generation: int) -> None:
        generations, then = self._store.generations, job.found.get(_THEN)
        num_missing = generations.num_missing(job.gallery, generation)
        if state == "rolled-back" and then is not None:
            # Who was not found before the cut-over either is nobody that a rollback loses.
            since = generations.num_missing(job.gallery, generation, after=then["last_number"])
            num_missing = max(since, num_missing - then["num_missing"])
        if state == "rolled-back" and num_missing:
            space = next(one.space.name for one in gallery.beside if one.number == generation)
            raise RollbackIncompleteError(
                f"{num_missing} templates that came since would not be found, as no route leads from their spaces to {space}; "
                "they stay recorded: accept that, or load a translator"
            )
        num = gallery.num_templates
        if state == "cut-over" and num_missing > Asked.of_json(job.asked).gates.max_missing * num:
            raise GatesFailedError(
                f"{num_missing} of {num} templates would not be found; load a translator, or force it"
            )

    def _exchange(self, job: Job, state: JobState, generation: int, once: Once | None, *, is_lenient: bool) -> None:
        """Of a job that is claimed. With `is_lenient` whoever would not be found then."""
        expected = job.found["generation_before"] if state == "cut-over" else job.found["generation"]
        self.check_expected(job, self._store.get(job.gallery), expected)
        told = once and once.through(lambda _: replace(job, state=state, reason=""))
        # Whom a rollback would not find is counted, whatever keeps them from it.
        self.catch_up(job.gallery, generation, is_lenient=is_lenient or state == "rolled-back")
        if not is_lenient:
            self._check_missing(job, state, self._store.get(job.gallery), generation)
        self._store.generations.activate(
            job.gallery,
            generation,
            expected=expected,
            job=job.job_id,
            keep_seconds=Asked.of_json(job.asked).keep_seconds,
            once=told,
        )
        reached("cutover-before-job")

    def _release(self, job_id: str, token: str, then: tuple[JobState, str] | None) -> bool:
        """Let orders come again; what cannot be written now, `settled` finds out. Whether it may be in the state that it is left
        in, beside other jobs.
        """
        is_alone = True
        for _ in range(_TRIES):
            state, reason = then or (None, None)
            try:
                now = self._jobs.get(job_id)
                if now.found.get(CLAIM) == token:
                    self._jobs.change(now, state=state, reason=reason, found={CLAIM: None})
            except MigrationInProgressError:
                # It cannot be opened again beside another one.
                then, is_alone = None, False
            except JobStateError:
                continue
            except FacebridgeError as failure:
                log.warning("job %s: %s", job_id, failure)
                return is_alone
            else:
                return is_alone
        return is_alone

    def _state_by_gallery(self, job: Job) -> tuple[JobState, str] | None:
        """The state that a job must have and why, where that is not the one that it says."""
        gallery = self.gallery_of(job)
        if gallery is None:
            return ("failed", "the gallery that it was for is gone") if job.state in OPEN else None
        if "generation" not in job.found:
            return None
        if gallery.job == job.job_id and job.state != "cut-over":
            return "cut-over", ""
        is_kept = any(one.job == job.job_id for one in gallery.beside)
        if gallery.generation == job.found["generation_before"] and job.state == "cut-over":
            return "rolled-back", "" if is_kept else "the gallery was put back as it was before"
        if job.state == "ready" and not is_kept:
            return "failed", "the generation that it built is gone"
        return None


def _check_gates(job: Job) -> None:
    verdict = job.found["verdict"]
    if verdict["is_passed"]:
        return
    gates = verdict["gates"]
    failed = [gate["name"] for gate in gates if gate["state"] == "failed"]
    lacking = [gate["name"] for gate in gates if gate["is_required"] and gate["state"] == "not-measured"]
    if failed:
        raise GatesFailedError(f"it has not passed: {', '.join(failed)}; see its verdict, or force it")
    if lacking:
        raise GatesFailedError(
            f"it has not passed, as there was nothing to measure: {', '.join(lacking)}; send labelled probes to the job's "
            "probes, or force it"
        )
    raise GatesFailedError(
        "nothing tells how well it would find people: nobody is enrolled often enough, or there are too few; ask for the gate "
        "fnir and send labelled probes to the job's probes, or force it"
    )
