"""`/healthz` and `/metrics`."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.deps import ServicesDep
from service.api.problems import documented
from service.api.scraping import read

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
    # One after the other: each writes anew what the other is reading.
    async with services.metrics.reading:
        await read(services.metrics, list(request.app.state.tenants.all))
        text = services.metrics.exposition()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
