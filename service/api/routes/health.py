"""`/healthz` and `/metrics`."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from service.api.deps import ServicesDep
from service.api.problems import documented
from service.api.scraping import can_be_written, read

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """The service answers: how many bundles it serves, how many it had to leave out, and whether all that it keeps can be
    written to.
    """

    num_bundles: int
    num_rejected: int
    is_writable: bool


@router.get("/healthz/live")
async def live() -> Health:
    """Whether the process answers at all."""
    return Health()


@router.get("/healthz/ready", responses=documented(503))
async def ready(request: Request, services: ServicesDep) -> Readiness:
    """Whether requests can be served: bundles are loaded, and galleries are open. Where a disk failed they can still be read, and
    `is_writable` is false: nobody else could answer from them.
    """
    is_writable = all(can_be_written(one) for one in request.app.state.tenants.all)
    loaded = services.inference.loaded
    return Readiness(num_bundles=len(loaded.served), num_rejected=len(loaded.rejected), is_writable=is_writable)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, services: ServicesDep) -> Response:
    """Metrics for Prometheus, of all tenants."""
    # One after the other: each writes anew what the other is reading.
    async with services.metrics.reading:
        await read(services.metrics, list(request.app.state.tenants.all))
        text = services.metrics.exposition()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
