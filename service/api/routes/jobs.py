"""Migrations of galleries, and the jobs that they are."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import HTMLResponse

from service.api.access import spend_probes
from service.api.bodies import JSON, NPZ, PARQUET, JsonBody, read_feature_set, require_media_type
from service.api.deps import Services, ServicesDep
from service.api.middleware import PAGE_POLICY
from service.api.openapi import accepts
from service.api.problems import documented
from service.api.routes.galleries import GalleryPath, after_of
from service.api.schemas.jobs import (
    BacklogView,
    CutoverRequest,
    JobList,
    JobView,
    MigrationRequest,
    RollbackRequest,
    Verdict,
)
from service.api.verdict_page import verdict_page
from service.entities import Job, Once
from service.errors import NotFoundError

router = APIRouter(tags=["migrations"])

JobPath = Annotated[str, Path(max_length=64, description="the job's id")]
_ORDERED = documented(404, 409, 422, 503, 507)


@router.post(
    "/galleries/{gallery}/migrations",
    status_code=202,
    responses=documented(400, 404, 409, 413, 415, 422, 503, 507)
    | {202: {"headers": {"location": {"description": "the job", "schema": {"type": "string"}}}}},
    openapi_extra=accepts(MigrationRequest),
)
async def migrate(
    gallery: GalleryPath,
    request: Request,
    response: Response,
    body: Annotated[MigrationRequest, Depends(JsonBody(MigrationRequest))],
    services: ServicesDep,
) -> JobView:
    """Migrate a gallery to another encoder's space: without pictures, while it goes on answering and enrolling.

    A new generation is made beside the active one, from the features that were enrolled; it is judged, and becomes the active one
    when it is told to, in one step. Templates of several spaces go each by its own route.
    """
    async with services.idempotency.once(request) as named:
        once = named.telling(202, JobView.of)
        job = await services.migrations.start(gallery, body.asked, once=once)
    response.headers["location"] = f"/jobs/{job.job_id}"
    return await _view(services, job)


@router.get("/galleries/{gallery}/backlog", responses=documented(400, 404, 422))
async def backlog(
    gallery: GalleryPath,
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=32, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> BacklogView:
    """The templates that are not native yet, those of least confidence first: the ones most worth enrolling again. A native
    template takes the place of its subject's translated ones.
    """
    found = await services.migrations.backlog(gallery, after=after_of(cursor), limit=limit)
    return BacklogView.of(found)


@router.get("/jobs", responses=documented(400, 422))
async def list_jobs(
    services: ServicesDep,
    gallery: Annotated[str | None, Query(max_length=63, description="only of this gallery")] = None,
    cursor: Annotated[str | None, Query(max_length=32, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> JobList:
    """Jobs, the newest first."""
    page = await services.migrations.page(gallery=gallery, after=after_of(cursor), limit=limit)
    next_cursor = None if page.next_after is None else f"{page.next_after:x}"
    return JobList(jobs=[await _view(services, job) for job in page.jobs], next_cursor=next_cursor)


@router.get("/jobs/{job_id}", responses=documented(404, 422))
async def get_job(job_id: JobPath, services: ServicesDep) -> JobView:
    """A job, and how far it has come."""
    return await _view(services, await services.migrations.get(job_id))


@router.post("/jobs/{job_id}/pause", responses=_ORDERED)
async def pause(job_id: JobPath, request: Request, services: ServicesDep) -> JobView:
    """Stop after the chunk that is under way. What is enrolled meanwhile still reaches the new generation."""
    return await _ordered(services, request, lambda once: services.migrations.pause(job_id, once=once))


@router.post("/jobs/{job_id}/resume", responses=_ORDERED)
async def resume(job_id: JobPath, request: Request, services: ServicesDep) -> JobView:
    """Go on with a paused job."""
    return await _ordered(services, request, lambda once: services.migrations.resume(job_id, once=once))


@router.post("/jobs/{job_id}/cancel", responses=_ORDERED)
async def cancel(job_id: JobPath, request: Request, services: ServicesDep) -> JobView:
    """Give a job up that is not cut over; its generation goes."""
    return await _ordered(services, request, lambda once: services.migrations.cancel(job_id, once=once))


@router.post(
    "/jobs/{job_id}/cutover",
    responses=documented(400, 404, 409, 410, 412, 413, 415, 422, 503, 507),
    openapi_extra=accepts(CutoverRequest, is_required=False),
)
async def cutover(
    job_id: JobPath,
    request: Request,
    body: Annotated[CutoverRequest, Depends(JsonBody(CutoverRequest, is_optional=True))],
    services: ServicesDep,
) -> JobView:
    """Make the new generation the active one, in one step: every answer is of the one before or of the new one, and names it.

    Refused where a gate failed, unless it is forced. Of a job that was rolled back, go forward again.
    """
    return await _ordered(
        services, request, lambda once: services.migrations.cutover(job_id, force=body.force, once=once)
    )


@router.post(
    "/jobs/{job_id}/rollback",
    responses=documented(400, 404, 409, 410, 412, 413, 415, 422, 503, 507),
    openapi_extra=accepts(RollbackRequest, is_required=False),
)
async def rollback(
    job_id: JobPath,
    request: Request,
    body: Annotated[RollbackRequest, Depends(JsonBody(RollbackRequest, is_optional=True))],
    services: ServicesDep,
) -> JobView:
    """Make the generation before the active one again, in one step, with all that was enrolled, removed and erased since; as long
    as it is kept.
    """
    return await _ordered(
        services,
        request,
        lambda once: services.migrations.rollback(job_id, accept_missing=body.accept_missing, once=once),
    )


@router.get("/jobs/{job_id}/verdict", responses=documented(404, 422), response_model=Verdict)
async def verdict(job_id: JobPath, services: ServicesDep) -> Response:
    """What was measured of the new generation, signed."""
    return _signed(await _verdict(services, job_id))


@router.get("/jobs/{job_id}/verdict.html", responses=documented(404, 422), response_class=HTMLResponse)
async def verdict_as_page(job_id: JobPath, services: ServicesDep) -> Response:
    """The same as a page with plots."""
    page = await asyncio.to_thread(verdict_page, await _verdict(services, job_id))
    return HTMLResponse(page, headers={"content-security-policy": PAGE_POLICY})


@router.post(
    "/jobs/{job_id}/probes",
    response_model=Verdict,
    responses=documented(400, 404, 408, 409, 410, 412, 413, 415, 422, 429, 503, 507),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in (NPZ, PARQUET)},
        }
    },
)
async def judge_by_probes(job_id: JobPath, request: Request, services: ServicesDep) -> Response:
    """Judge a job that is ready again, by labelled probes too: a feature set with subjects, of the gallery and of others who are
    not in it. The probes are not kept.
    """
    require_media_type(request, NPZ, PARQUET)
    probes = await read_feature_set(request)
    # How many of them are found is told.
    await spend_probes(request, services.state.limits, len(probes), services.settings.probes_per_day)
    return _signed(await services.migrations.judge_by_probes(job_id, probes))


def _signed(document: dict[str, Any]) -> Response:
    """As it is: what a model leaves out would make the signature wrong."""
    return Response(orjson.dumps(document), media_type=JSON)


async def _verdict(services: Services, job_id: str) -> dict[str, Any]:
    job = await services.migrations.get(job_id)
    if "verdict" not in job.found:
        raise NotFoundError("the job is not judged yet")
    found: dict[str, Any] = job.found["verdict"]
    return found


async def _ordered(services: Services, request: Request, order: Callable[[Once | None], Awaitable[Job]]) -> JobView:
    async with services.idempotency.once(request) as named:
        job = await order(named.telling(200, JobView.of))
    return await _view(services, job)


async def _view(services: Services, job: Job) -> JobView:
    return JobView.of(job, await services.migrations.progress(job))
