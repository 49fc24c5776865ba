"""`/galleries` and their templates and subjects."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.access import note, spend_probes
from service.api.bodies import (
    JSON,
    NPY,
    NPZ,
    PARQUET,
    JsonBody,
    read_feature_set,
    read_rows,
    refuse_query,
    require_media_type,
)
from service.api.counting import count_translated
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.attributes import KeepBody, KeptView
from service.api.schemas.galleries import (
    CreateGalleryRequest,
    EnrolQuery,
    EnrolRequest,
    EnrolResponse,
    GalleryList,
    GalleryView,
    RemovedSubject,
    TemplateList,
    TemplateView,
)
from service.api.schemas.probes import GalleryName
from service.entities import ProbeRows
from service.errors import BatchTooLargeError
from service.galleries.rules import check_subjects
from service.usecases.enrol import Enrolled
from service.usecases.samples import Samples, check_own, samples_of

router = APIRouter(prefix="/galleries", tags=["galleries"])

GalleryPath = Annotated[GalleryName, Path(description="the gallery")]
TemplatePath = Annotated[str, Path(max_length=64, description="the template's id")]
SubjectPath = Annotated[str, Path(min_length=1, max_length=128, description="the subject")]

_CURSOR = re.compile(r"[0-9a-f]{1,15}")
"""What fits into the 63 bits of a row number, with room to spare."""

_read_enrolment = JsonBody(EnrolRequest)


@router.post(
    "",
    status_code=201,
    responses=documented(400, 409, 413, 415, 422, 503, 507),
    openapi_extra=accepts(CreateGalleryRequest),
)
async def create_gallery(
    request: Request,
    body: Annotated[CreateGalleryRequest, Depends(JsonBody(CreateGalleryRequest))],
    services: ServicesDep,
) -> GalleryView:
    """Make an empty gallery in one space."""
    async with services.idempotency.once(request) as named:
        once = named.telling(201, GalleryView.of)
        return GalleryView.of(await services.galleries.create(body.name, body.space, index=body.index, once=once))


@router.get("")
async def list_galleries(services: ServicesDep) -> GalleryList:
    """All galleries by name."""
    return GalleryList(galleries=[GalleryView.of(gallery) for gallery in await services.galleries.list_all()])


@router.get("/{gallery}", responses=documented(404, 422))
async def get_gallery(gallery: GalleryPath, services: ServicesDep) -> GalleryView:
    """One gallery: its space, active generation and size."""
    return GalleryView.of(await services.galleries.get(gallery))


@router.delete("/{gallery}", status_code=204, responses=documented(404, 422, 503, 507))
async def drop_gallery(gallery: GalleryPath, request: Request, services: ServicesDep) -> Response:
    """Remove a gallery with all its templates."""
    async with services.idempotency.once(request) as named:
        await services.galleries.drop(gallery, once=named.telling(204, _nothing))
    services.metrics.forget_gallery(services.tenant, gallery)
    return Response(status_code=204)


@router.post(
    "/{gallery}/templates",
    status_code=201,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=accepts(EnrolRequest, NPZ, PARQUET, NPY),
)
async def enrol(
    gallery: GalleryPath, request: Request, services: ServicesDep, query: Annotated[EnrolQuery, Query()]
) -> EnrolResponse:
    """Enrol templates: as JSON, a whole feature set with its subjects (`.npz` or Parquet), or one subject's features as `.npy`.
    All are enrolled or none.

    The answer comes after they are on disk. Features of another space are kept as they are and translated for the
    gallery where a route leads there; where none does the answer is 409. Keys, of a feature set those of its pictures, must
    not be in the gallery yet.
    """
    return await _enrol(services, gallery, request, query, replaces=False)


@router.put(
    "/{gallery}/templates",
    status_code=201,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=accepts(EnrolRequest, NPZ, PARQUET, NPY),
)
async def replace(
    gallery: GalleryPath, request: Request, services: ServicesDep, query: Annotated[EnrolQuery, Query()]
) -> EnrolResponse:
    """Enrol templates as POST does, in place of those that have the same keys. Each gets a new id."""
    return await _enrol(services, gallery, request, query, replaces=True)


@router.get("/{gallery}/templates", responses=documented(400, 404, 422))
async def list_templates(
    gallery: GalleryPath,
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=32, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    subject: Annotated[str | None, Query(max_length=128, description="only this subject's")] = None,
) -> TemplateList:
    """Templates in order of enrolment, without their vectors."""
    page = await services.galleries.templates(gallery, after=after_of(cursor), limit=limit, subject=subject)
    next_cursor = None if page.next_after is None else f"{page.next_after:x}"
    return TemplateList(templates=[TemplateView.of(template) for template in page.templates], next_cursor=next_cursor)


@router.get("/{gallery}/templates/{template_id}", responses=documented(404, 422))
async def get_template(gallery: GalleryPath, template_id: TemplatePath, services: ServicesDep) -> TemplateView:
    """What is known of one template, without its vector."""
    return TemplateView.of(await services.galleries.template(gallery, template_id))


@router.delete("/{gallery}/templates/{template_id}", status_code=204, responses=documented(404, 422, 503, 507))
async def remove_template(
    gallery: GalleryPath, template_id: TemplatePath, request: Request, services: ServicesDep
) -> Response:
    """Remove one template."""
    async with services.idempotency.once(request) as named:
        await services.galleries.remove_template(gallery, template_id, once=named.telling(204, _nothing))
    return Response(status_code=204)


@router.delete("/{gallery}/subjects/{subject:path}", responses=documented(404, 422, 503, 507))
async def remove_subject(
    gallery: GalleryPath, subject: SubjectPath, request: Request, services: ServicesDep
) -> RemovedSubject:
    """Remove all templates of a subject."""
    async with services.idempotency.once(request) as named:
        once = named.telling(200, RemovedSubject.of)
        return RemovedSubject.of(await services.galleries.remove_subject(gallery, subject, once=once))


async def _enrol(
    services: Services, gallery: str, request: Request, query: EnrolQuery, *, replaces: bool
) -> EnrolResponse:
    samples, asked = await _samples(request, query)
    if len(samples.subjects) > services.settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {services.settings.max_batch_rows} templates a request")
    check_subjects(samples.subjects)
    if services.settings.enrol_duplicates != "allow":
        # Whose face they are like is told with a score.
        await spend_probes(request, services.state.limits, len(samples.subjects), services.settings.probes_per_day)
    async with services.idempotency.once(request) as named:
        kept = None
        if asked is not None:
            samples, num_told, digest = await services.attributes.told(samples, asked.bundle, asked.names)
            kept = KeptView(digest=digest, num_told=num_told)

        def answer(enrolled: Enrolled) -> EnrolResponse:
            return EnrolResponse.of(enrolled, kept)

        enrolled = await services.enrol(gallery, samples, replaces=replaces, once=named.telling(201, answer))
    num = len(samples.subjects)
    services.metrics.enrolled_templates.labels(services.tenant, gallery).inc(num)
    note(request, num_templates=num)
    count_translated(services.metrics, enrolled.route, num, enrolled.trusted)
    return answer(enrolled)


async def _samples(request: Request, query: EnrolQuery) -> tuple[Samples, KeepBody | None]:
    """What is to be enrolled, and whether it is told what pictures show."""
    declared = require_media_type(request, JSON, NPZ, PARQUET, NPY)
    if declared == NPY:
        if query.space is None or query.subject is None:
            raise Problem(422, "invalid-request", "with an npy body give space and subject in the query")
        if query.metadata is not None:
            raise Problem(
                422,
                "invalid-request",
                "metadata in the query says which labels of a feature set are kept; npy has none",
            )
        rows = await read_rows(request)
        return Samples([query.subject] * len(rows), ProbeRows(query.space, rows)), None
    refuse_query(query, {"space", "subject"})
    if declared in (NPZ, PARQUET):
        names = None if query.metadata is None else [name for name in query.metadata.split(",") if name]
        return samples_of(await read_feature_set(request), names), None
    refuse_query(query, {"metadata"})
    body = await _read_enrolment(request)
    check_own([template.metadata for template in body.templates])
    samples = Samples(
        [template.subject for template in body.templates],
        [template.probe(body.space, f"/templates/{row}") for row, template in enumerate(body.templates)],
        [template.key for template in body.templates],
        [template.metadata for template in body.templates],
    )
    return samples, body.attributes


def _nothing(_: object) -> None:
    """The answer has no body."""


def after_of(cursor: str | None) -> int:
    """Where a page begins. Raises `Problem`."""
    if cursor is None:
        return 0
    if not _CURSOR.fullmatch(cursor):
        raise Problem(400, "invalid-cursor", "the cursor is not one that this service gave")
    return int(cursor, 16)
