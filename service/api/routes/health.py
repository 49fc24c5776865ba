"""`/healthz` and `/metrics`."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.deps import ServicesDep
from service.api.problems import documented

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """The service can do its work: how many bundles it serves, and how many it had to leave out."""

    num_bundles: int
    num_rejected: int


@router.get("/healthz/live")
async def live() -> Health:
    """Whether the process answers at all."""
    return Health()


@router.get("/healthz/ready", responses=documented(503))
async def ready(request: Request, services: ServicesDep) -> Readiness:
    """Whether requests can be served: bundles are loaded, galleries are open and can be written to."""
    for one in request.app.state.tenants.all:
        one.galleries.check_writable()
    loaded = services.inference.loaded
    return Readiness(num_bundles=len(loaded.served), num_rejected=len(loaded.rejected))


@router.get("/metrics")
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Metrics for Prometheus, of all tenants."""
    services.metrics.queued_rows.set(services.inference.num_queued_rows)
    for fingerprint, seen in services.inference.watch.spaces.items():
        space = services.inference.catalog.find_space(fingerprint)
        if space is not None:
            services.metrics.space_suspected.labels(space.name).set(seen.state == "suspected")
            services.metrics.space_outlier_share.labels(space.name).set(seen.outlier_share)
            if seen.stream_score is not None:
                services.metrics.space_stream_score.labels(space.name).set(seen.stream_score)
    galleries = [
        (one.tenant, found) for one in request.app.state.tenants.all for found in await one.galleries.list_all()
    ]
    services.metrics.gallery_templates.clear()
    for tenant, gallery in galleries:
        services.metrics.gallery_templates.labels(tenant, gallery.name).set(gallery.num_templates)
    return Response(services.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")
