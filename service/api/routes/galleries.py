"""`/galleries` and their templates and subjects."""

import re
from contextlib import suppress
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from service.api.bodies import JSON, NPZ, JsonBody, read_feature_set, require_media_type
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.galleries import (
    CreateGalleryRequest,
    EnrolRequest,
    EnrolResponse,
    GalleryList,
    GalleryView,
    RemovedSubject,
    TemplateList,
    TemplateView,
)
from service.api.schemas.probes import SUBJECT_PATTERN, GalleryName
from service.api.schemas.spaces import RouteView
from service.entities import Probe
from service.errors import BatchTooLargeError, InvalidInputError, InvalidNameError

router = APIRouter(prefix="/galleries", tags=["galleries"])

GalleryPath = Annotated[GalleryName, Path(description="the gallery")]
SubjectPath = Annotated[str, Path(min_length=1, max_length=128, description="the subject")]

_CURSOR = re.compile(r"[0-9a-f]{1,15}")
"""What fits into the 63 bits of a row number, with room to spare."""
_SUBJECT = re.compile(SUBJECT_PATTERN)
_DOTS = frozenset({".", ".."})

_read_enrolment = JsonBody(EnrolRequest)


@router.post(
    "",
    status_code=201,
    responses=documented(400, 409, 413, 415, 422, 503, 507),
    openapi_extra=accepts(CreateGalleryRequest),
)
async def create_gallery(
    body: Annotated[CreateGalleryRequest, Depends(JsonBody(CreateGalleryRequest))], services: ServicesDep
) -> GalleryView:
    """Make an empty gallery in one space."""
    return GalleryView.of(await services.galleries.create(body.name, body.space))


@router.get("")
async def list_galleries(services: ServicesDep) -> GalleryList:
    """All galleries by name."""
    return GalleryList(galleries=[GalleryView.of(gallery) for gallery in await services.galleries.list_all()])


@router.get("/{gallery}", responses=documented(404, 422))
async def get_gallery(gallery: GalleryPath, services: ServicesDep) -> GalleryView:
    """One gallery: its space, active generation and size."""
    return GalleryView.of(await services.galleries.get(gallery))


@router.delete("/{gallery}", status_code=204, responses=documented(404, 422, 503, 507))
async def drop_gallery(gallery: GalleryPath, services: ServicesDep) -> Response:
    """Remove a gallery with all its templates."""
    await services.galleries.drop(gallery)
    with suppress(KeyError):
        services.metrics.enrolled_templates.remove(gallery)
    return Response(status_code=204)


@router.post(
    "/{gallery}/templates",
    status_code=201,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503, 507),
    openapi_extra=accepts(EnrolRequest, NPZ),
)
async def enrol(gallery: GalleryPath, request: Request, services: ServicesDep) -> EnrolResponse:
    """Enrol templates: as JSON, or a whole `.npz` feature set with its subjects. All are enrolled or none.

    The answer comes after they are on disk. Features of another space are kept as they are and translated for the
    gallery where a route leads there; where none does the answer is 409.
    """
    if require_media_type(request, JSON, NPZ) == NPZ:
        subjects, samples = await _from_feature_set(request)
    else:
        body = await _read_enrolment(request)
        subjects = [template.subject for template in body.templates]
        samples = [template.probe(body.space, f"/templates/{row}") for row, template in enumerate(body.templates)]
    return await _enrol(services, gallery, subjects, samples)


@router.get("/{gallery}/templates", responses=documented(400, 404, 422))
async def list_templates(
    gallery: GalleryPath,
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=32, description="`next_cursor` of the page before")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    subject: Annotated[str | None, Query(max_length=128, description="only this subject's")] = None,
) -> TemplateList:
    """Templates in order of enrolment, without their vectors."""
    page = await services.galleries.templates(gallery, after=_after(cursor), limit=limit, subject=subject)
    next_cursor = None if page.next_after is None else f"{page.next_after:x}"
    return TemplateList(templates=[TemplateView.of(template) for template in page.templates], next_cursor=next_cursor)


@router.delete("/{gallery}/templates/{template_id}", status_code=204, responses=documented(404, 422, 503, 507))
async def remove_template(
    gallery: GalleryPath, template_id: Annotated[str, Path(max_length=64)], services: ServicesDep
) -> Response:
    """Remove one template."""
    await services.galleries.remove_template(gallery, template_id)
    return Response(status_code=204)


@router.delete("/{gallery}/subjects/{subject:path}", responses=documented(404, 422, 503, 507))
async def remove_subject(gallery: GalleryPath, subject: SubjectPath, services: ServicesDep) -> RemovedSubject:
    """Remove all templates of a subject."""
    return RemovedSubject(num_removed=await services.galleries.remove_subject(gallery, subject))


async def _from_feature_set(request: Request) -> tuple[list[str], list[Probe]]:
    feature_set = await read_feature_set(request)
    if not feature_set.has_subjects:
        raise InvalidInputError("the feature set does not say who its pictures are of; fill its column subject")
    if feature_set.is_translated:
        raise InvalidInputError("the feature set was made by a translator; send the features that the encoder made")
    derived = np.flatnonzero(feature_set.picture != feature_set.image)
    if len(derived):
        raise InvalidInputError(
            f"row {derived[0]} is a view or a blend of pictures, made to learn from; send the pictures themselves, as "
            "`facebridge-train select` writes them (a picture that is only called like one must be renamed)"
        )
    subjects = feature_set.subject.tolist()
    fingerprint = feature_set.space.fingerprint
    rows = zip(feature_set.feature, feature_set.norms.tolist(), strict=True)
    return subjects, [Probe(fingerprint, feature=row, norm=norm) for row, norm in rows]


async def _enrol(services: Services, gallery: str, subjects: list[str], samples: list[Probe]) -> EnrolResponse:
    if len(samples) > services.settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {services.settings.max_batch_rows} templates a request")
    _check_subjects(subjects)
    enrolled = await services.enrol(gallery, subjects, samples)
    services.metrics.enrolled_templates.labels(gallery).inc(len(samples))
    services.metrics.count_translated(enrolled.route, len(samples), len(enrolled.trusted.flagged))
    return EnrolResponse(
        template_ids=list(enrolled.template_ids),
        generation=enrolled.generation,
        route=RouteView.of(enrolled.route),
        flagged=list(enrolled.trusted.flagged),
    )


def _check_subjects(subjects: list[str]) -> None:
    """A subject is a part of paths too: clients resolve `..`, and would remove what is above it."""
    for row, subject in enumerate(subjects):
        if not _SUBJECT.fullmatch(subject) or not _DOTS.isdisjoint(subject.split("/")):
            raise InvalidNameError(
                f"the subject of sample {row} must be 1 to 128 printable characters, and neither . nor .. between slashes"
            )


def _after(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not _CURSOR.fullmatch(cursor):
        raise Problem(400, "invalid-cursor", "the cursor is not one that this service gave")
    return int(cursor, 16)
