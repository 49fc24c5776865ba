"""What a migration does, step by step, on the runner's thread: begin a generation, fill it, wait for its index, judge it."""

import time
from collections.abc import Callable

from service.entities import Gallery, Generation, Job
from service.errors import GenerationChangedError, NoRouteError, NotFoundError, RollbackExpiredError
from service.galleries.port import Filled, GalleryStore
from service.inference.catalog import pin
from service.inference.inference import Inference
from service.state.port import JobStore
from service.usecases.filling import Filler
from service.usecases.migrate import Migrations
from service.usecases.migration_plan import Asked
from service.usecases.pace import Pace

_INDEX_SECONDS = 0.1


class MigrationWork:
    """Over the jobs and galleries of one service."""

    def __init__(
        self, inference: Inference, store: GalleryStore, jobs: JobStore, migrations: Migrations, pace: Pace
    ) -> None:
        self._inference = inference
        self._store = store
        self._jobs = jobs
        self._migrations = migrations
        self._fill = Filler(inference, store.generations, pace)

    def __call__(self, job: Job, on_filled: Callable[[Filled], None], go_on: Callable[[], bool]) -> None:
        """Work until the job is ready, or `go_on` says that it is not to go on.

        Raises `JobStateError` where it was given an order meanwhile, and what is in its way.
        """
        asked = Asked.of_json(job.asked)
        if asked.mode == "probe":
            self._end_at_once(job)
            return
        generation, job = self._begun(job, asked)
        if job.state == "queued":
            job = self._jobs.change(job, state="running", reason="")
        route_of = self._migrations.exchanges.route_into(generation)
        if not generation.is_complete and not self._fill(
            job.gallery, generation.number, route_of, on_filled=on_filled, go_on=go_on
        ):
            return
        self._migrations.exchanges.index(job.gallery, generation.number, generation.space)
        if job.state != "verifying":
            job = self._jobs.change(job, state="verifying", reason="")
        while not self._store.generations.is_indexed(job.gallery, generation.number):
            if not go_on():
                return
            time.sleep(_INDEX_SECONDS)
        self._jobs.change(job, state="ready", reason="", found={"verdict": self._migrations.verdicts(job, go_on=go_on)})

    def read_again(self, gallery: Gallery, generation: Generation, go_on: Callable[[], bool]) -> None:
        """After a start, have a complete generation searchable again; in common spaces where it is not one that is only kept.
        Raises as `Filler` does.
        """
        if generation.state != "kept":
            self._prepare_indexes(gallery.name, generation)
        self._fill(gallery.name, generation.number, self._migrations.exchanges.route_into(generation), go_on=go_on)

    def _prepare_indexes(self, gallery: str, generation: Generation) -> None:
        """Before it is filled, so that no write waits for them."""
        for step in self._inference.catalog.common_steps(generation.space):
            projections = self._inference.projections(step.target)
            self._store.ensure_index(gallery, step.target, projections, generation=generation.number)

    def _begun(self, job: Job, asked: Asked) -> tuple[Generation, Job]:
        """With its generation, which is begun where it is not yet; it is searchable in common spaces as it is filled."""
        gallery = self._migrations.exchanges.gallery_of(job)
        if gallery is None:
            raise NotFoundError("the gallery that it was for is gone")
        before = job.found.get("generation_before", gallery.generation)
        if gallery.generation != before:
            raise GenerationChangedError(
                f"the gallery is in generation {gallery.generation}, and this was meant to take the place of {before}; cancel it"
            )
        target = self._inference.catalog.find_space(job.asked["plan"]["target_fingerprint"])
        if target is None:
            raise NoRouteError("the target space is not known any more; load a bundle of it, and resume")
        routes = {
            fingerprint: tuple(pin(one["name"], one["digest"]) for one in route["bundles"])
            for fingerprint, route in job.asked["plan"]["routes"].items()
        }
        if "generation" in job.found and not any(one.job == job.job_id for one in gallery.beside):
            raise RollbackExpiredError("the generation that it was building is gone")
        generation = self._store.generations.begin(
            job.gallery, target, job=job.job_id, routes=routes, retires=asked.retires
        )
        if not generation.is_complete:
            # A translator that was away when they came may be back.
            self._migrations.exchanges.look_again(job.gallery, generation)
        if not generation.is_complete:
            self._prepare_indexes(job.gallery, generation)
        if "generation" not in job.found:
            numbers = {"generation": generation.number, "generation_before": gallery.generation}
            job = self._jobs.change(job, found=numbers)
        return generation, job

    def _end_at_once(self, job: Job) -> None:
        """Nothing of the gallery changes: probes of the target are translated back from now on, as they can be."""
        self._jobs.change(job, state="cut-over", reason="", found={"verdict": self._migrations.verdicts.of_routes(job)})
