"""The application: everything is built here, from settings, and nothing at import."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from importlib import metadata
from pathlib import Path

from fastapi import Depends, FastAPI

from models.runtime import conflicting_packages
from service.access.keys import FILE as KEYS
from service.access.ring import KeyRing
from service.api import access, idempotency, openapi, problems
from service.api.at_once import AtOnce
from service.api.middleware import Observe
from service.api.parquet import ParquetReader
from service.api.routes import attributes, custody, galleries, health, identify, reconstruct, spaces, translate, verify
from service.api.routes import audit as audit_routes
from service.api.routes import jobs as job_routes
from service.api.routes import keys as key_routes
from service.errors import StartupError
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.inference.loading import EngineFactory, LoadedBundles, OnnxEngines, load_bundles
from service.observability.metrics import Metrics
from service.observability.tracing import OtlpTracer, Tracer
from service.observability.traffic import Traffic
from service.settings import Settings
from service.shared_state import SharedState
from service.state.port import JobStore
from service.tenants import Shared, Tenants

_THREADS = 128
log = logging.getLogger("facebridge.spaces")

_ROUTERS = tuple(
    module.router
    for module in (
        translate,
        verify,
        identify,
        attributes,
        galleries,
        custody,
        job_routes,
        reconstruct,
        spaces,
        key_routes,
        audit_routes,
        health,
    )
)


def create_app(
    settings: Settings,
    *,
    engines: EngineFactory | None = None,
    store: GalleryStore | None = None,
    jobs: JobStore | None = None,
    does_jobs: bool = True,
    needs_keys: bool = True,
) -> FastAPI:
    """Load bundles, open galleries, and return the app. Tests give engines and stores of their own; without `does_jobs` jobs
    stay as they are, but for orders; without `needs_keys` whoever reaches it may do everything, whatever keys there are.

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
    ring = KeyRing(keys_of(settings)) if needs_keys else None
    state = SharedState(settings)
    tracer = OtlpTracer(settings.otlp_endpoint, metadata.version("facebridge")) if settings.otlp_endpoint else None
    metrics = Metrics()
    shared = Shared(settings, _inference(settings, loaded, metrics), metrics, Traffic(), ParquetReader(), ring, state)
    tenants = Tenants(shared, store=store, jobs=jobs, does_jobs=does_jobs and settings.galleries == "on")
    _check_norms(tenants)
    app = FastAPI(
        title="Facebridge",
        version=metadata.version("facebridge"),
        description="Translates face features between encoders and serves galleries that outlive the encoder that made them.",
        lifespan=_lifespan(tenants, state, tracer),
        dependencies=[Depends(access.check_scope)],
        # A redirect would carry a DELETE of something missing to what is above it.
        redirect_slashes=False,
    )
    app.state.services, app.state.tenants = tenants.default, tenants
    app.add_middleware(AtOnce, most=settings.requests_at_once)
    access.install(app, ring, state.limits, metrics, requests_per_second=settings.requests_per_second)
    app.add_middleware(Observe, metrics=metrics, traffic=shared.traffic, tracer=tracer)
    problems.install(app, metrics)
    idempotency.install(app)
    openapi.install(app)
    for router in _ROUTERS:
        app.include_router(router)
    return app


def keys_of(settings: Settings) -> Path:
    """The file of keys."""
    return settings.keys or settings.data / KEYS


def _inference(settings: Settings, loaded: LoadedBundles, metrics: Metrics) -> Inference:
    return Inference(
        loaded,
        batch_rows=settings.batch_rows,
        queue_rows=settings.queue_rows,
        queue_pictures=settings.queue_pictures,
        on_batch=lambda bundle, num_rows: metrics.batch_rows.labels(bundle).observe(num_rows),
    )


def _check_norms(tenants: Tenants) -> None:
    """Say where a setting is of a space that nobody has."""
    unknown: set[str] | None = None
    for services in tenants.all:
        found = set(services.galleries.unknown_spaces(services.settings.enrol_min_norm))
        unknown = found if unknown is None else unknown & found
    for reference in sorted(unknown or ()):
        log.warning(
            "setting enrol_min_norm: no bundle and no gallery is of the space %s; it holds for nothing", reference
        )


def _lifespan(
    tenants: Tenants, state: SharedState, tracer: Tracer | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Waiting for the disk takes a thread and nothing else; searches must not wait for writes that wait.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="request"))
        inference = tenants.default.inference
        inference.start()
        tenants.start()
        state.start(tenants.hear)
        try:
            yield
        finally:
            await asyncio.to_thread(tenants.stop)
            await inference.stop()
            tenants.close()
            await state.close()
            if tracer is not None:
                await asyncio.to_thread(tracer.close)

    return lifespan
