"""The application: everything is built here, from settings, and nothing at import."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib import metadata

from fastapi import FastAPI

from models.runtime import conflicting_packages
from models.space import Space
from service.api import idempotency, openapi, problems
from service.api.deps import Services
from service.api.idempotency import Idempotency
from service.api.middleware import Observe
from service.api.parquet import ParquetReader
from service.api.routes import attributes, custody, galleries, health, identify, reconstruct, spaces, translate, verify
from service.api.routes import jobs as job_routes
from service.errors import StartupError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.indexes import IndexPolicy
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.inference.loading import EngineFactory, LoadedBundles, OnnxEngines, load_bundles
from service.inference.watch import Seen
from service.jobs.migration import MigrationWork
from service.jobs.runner import JobRunner
from service.observability.metrics import Metrics
from service.observability.traffic import Traffic
from service.settings import Settings
from service.state.embedded import EmbeddedJobStore
from service.state.port import JobStore
from service.usecases.attributes import Attributes
from service.usecases.closed_set import ClosedSet
from service.usecases.custody import Custody
from service.usecases.enrol import Enrol
from service.usecases.galleries import KeepGalleries
from service.usecases.gates import GatePolicy, Gates
from service.usecases.identify import Identify
from service.usecases.migrate import Migrations
from service.usecases.pace import Pace
from service.usecases.probes import Probes
from service.usecases.receipts import Signer
from service.usecases.reconstruct import Reconstruct
from service.usecases.sampling import SampleLimits
from service.usecases.translate import Translate
from service.usecases.trust import TrustPolicy
from service.usecases.verdicts import Verdicts
from service.usecases.verify import Verify

_THREADS = 128
log = logging.getLogger("facebridge.spaces")

_ROUTERS = tuple(
    module.router
    for module in (translate, verify, identify, attributes, galleries, custody, job_routes, reconstruct, spaces, health)
)


def create_app(
    settings: Settings,
    *,
    engines: EngineFactory | None = None,
    store: GalleryStore | None = None,
    jobs: JobStore | None = None,
    does_jobs: bool = True,
) -> FastAPI:
    """Load bundles, open galleries, and return the app. Tests give engines and stores of their own; without `does_jobs` jobs
    stay as they are, but for orders.

    Raises `StartupError` with one line for the operator.
    """
    if conflict := conflicting_packages():
        raise StartupError(
            f"{' and '.join(conflict)} are both installed and overwrite each other; uninstall all but one"
        )
    loaded = load_bundles(
        settings.bundles,
        engines or OnnxEngines(settings.device, settings.max_pixels),
        allow_reconstruction=settings.allow_reconstruction,
        max_samples=settings.max_samples,
    )
    may_use_gpu = settings.device != "cpu"
    policy = IndexPolicy(settings.gallery_index, settings.index_recall, settings.index_memory_bytes, may_use_gpu)
    kept: GalleryStore = EmbeddedGalleryStore(settings.data, policy) if store is None else store
    known: JobStore = EmbeddedJobStore(settings.data) if jobs is None else jobs
    services, runner = _services(settings, loaded, kept, known)
    services.galleries.index_all()
    _check_norms(services)
    app = FastAPI(
        title="Facebridge",
        version=metadata.version("facebridge"),
        description="Translates face features between encoders and serves galleries that outlive the encoder that made them.",
        lifespan=_lifespan(services, kept, known, runner, does_jobs=does_jobs),
        # A redirect would carry a DELETE of something missing to what is above it.
        redirect_slashes=False,
    )
    app.state.services = services
    app.add_middleware(Observe, metrics=services.metrics, traffic=services.traffic)
    problems.install(app)
    idempotency.install(app)
    openapi.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


def _services(
    settings: Settings, loaded: LoadedBundles, store: GalleryStore, jobs: JobStore
) -> tuple[Services, JobRunner]:
    metrics = Metrics()
    metrics.bundles.labels("loaded").set(len(loaded.served))
    metrics.bundles.labels("rejected").set(len(loaded.rejected))
    inference = Inference(
        loaded,
        batch_rows=settings.batch_rows,
        queue_rows=settings.queue_rows,
        queue_pictures=settings.queue_pictures,
        on_batch=lambda bundle, num_rows: metrics.batch_rows.labels(bundle).observe(num_rows),
        on_suspicion=partial(_tell_suspicion, metrics),
    )
    trust = TrustPolicy(settings.low_confidence, settings.min_confidence)
    gates = GatePolicy(
        settings.enrol_min_confidence, settings.enrol_min_norm, settings.enrol_duplicates, settings.duplicate_fmr
    )
    probes = Probes(
        inference,
        trust,
        refuses_suspected=settings.wrong_space == "refuse",
        limits=SampleLimits(settings.max_samples, settings.max_batch_rows),
    )
    keep = KeepGalleries(inference, store)
    signer, wake = Signer.of_folder(settings.data), threading.Event()
    traffic = Traffic()
    pace = Pace(lambda: traffic.is_busy, settings.migration_share)
    migrations = Migrations(inference, store, jobs, Verdicts(inference, store, signer, pace), wake.set)
    runner = JobRunner(
        jobs,
        store,
        migrations,
        MigrationWork(inference, store, jobs, migrations, pace),
        wake,
        on_translated=lambda gallery, num: metrics.migrated_templates.labels(gallery).inc(num),
    )
    services = Services(
        settings=settings,
        metrics=metrics,
        traffic=traffic,
        inference=inference,
        translate=Translate(inference, probes),
        verify=Verify(inference, probes),
        identify=Identify(inference, probes, store),
        closed_set=ClosedSet(inference),
        attributes=Attributes(inference, store),
        enrol=Enrol(probes, store, Gates(inference, store, gates)),
        galleries=keep,
        custody=Custody(store, keep, signer),
        migrations=migrations,
        idempotency=Idempotency(store.answered, jobs.answered),
        reconstruct=Reconstruct(inference, probes),
        parquet=ParquetReader(),
    )
    return services, runner


def _check_norms(services: Services) -> None:
    for reference in services.galleries.unknown_spaces(services.settings.enrol_min_norm):
        log.warning(
            "setting enrol_min_norm: no bundle and no gallery is of the space %s; it holds for nothing", reference
        )


def _tell_suspicion(metrics: Metrics, space: Space, seen: Seen) -> None:
    if seen.state == "suspected":
        metrics.space_alarms.labels(space.name).inc()
        log.warning("what arrives as features of the space %s does not look like it: %s", space.name, seen.reason)
    else:
        log.info("what arrives as features of the space %s looks like it again", space.name)


def _lifespan(
    services: Services, store: GalleryStore, jobs: JobStore, runner: JobRunner, *, does_jobs: bool
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Waiting for the disk takes a thread and nothing else; searches must not wait for writes that wait.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="request"))
        services.inference.start()
        if does_jobs:
            runner.start()
        try:
            yield
        finally:
            await asyncio.to_thread(runner.close)
            await services.inference.stop()
            store.close()
            jobs.close()

    return lifespan
