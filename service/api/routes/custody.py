"""What a gallery's keeper does to all of it: erasures, snapshots, putting back, checks."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from service.api.bodies import JsonBody
from service.api.deps import ServicesDep
from service.api.openapi import accepts
from service.api.problems import documented
from service.api.routes.galleries import GalleryPath
from service.api.schemas.custody import (
    CheckReport,
    EraseRequest,
    Receipt,
    Receipts,
    RestoreRequest,
    SnapshotList,
    SnapshotView,
)
from service.api.schemas.galleries import GalleryView
from service.errors import StorageError
from service.galleries.rules import check_subjects

router = APIRouter(prefix="/galleries", tags=["custody"])

SnapshotPath = Annotated[str, Path(max_length=64, description="the snapshot's id")]


@router.post(
    "/{gallery}/erasures",
    responses=documented(400, 404, 409, 413, 415, 422, 503, 507),
    openapi_extra=accepts(EraseRequest),
)
async def erase(
    gallery: GalleryPath,
    request: Request,
    body: Annotated[EraseRequest, Depends(JsonBody(EraseRequest))],
    services: ServicesDep,
) -> Receipts:
    """Take subjects out of everything that is kept: the gallery, all generations, snapshots, indexes, logs; and answer, when no
    byte of their vectors is found on disk any more, with a signed receipt for each.

    Nothing else is written meanwhile, so send many at once. Who is not enrolled is erased from snapshots all the same.
    """
    check_subjects(body.subjects)
    async with services.idempotency.once(request) as named:
        once = named.telling(200, lambda receipts: Receipts(receipts=receipts))
        erasures = services.metrics.erasures
        try:
            receipts = await services.custody.erase(gallery, body.subjects, once=once)
        except StorageError:
            erasures.labels(services.tenant, "failed").inc()
            raise
        erasures.labels(services.tenant, "complete").inc()
        return Receipts(receipts=[Receipt(**receipt) for receipt in receipts])


@router.post("/{gallery}/snapshots", status_code=201, responses=documented(404, 409, 422, 503, 507))
async def take_snapshot(gallery: GalleryPath, request: Request, services: ServicesDep) -> SnapshotView:
    """Keep a copy of all that is recorded of the gallery now, in the data folder. Writes and searches go on meanwhile."""
    async with services.idempotency.once(request) as named:
        once = named.telling(201, SnapshotView.of)
        return SnapshotView.of(await services.custody.take_snapshot(gallery, once=once))


@router.get("/{gallery}/snapshots", responses=documented(404, 422))
async def list_snapshots(gallery: GalleryPath, services: ServicesDep) -> SnapshotList:
    """Snapshots of the gallery, the oldest first; also of one that was dropped."""
    found = await services.custody.snapshots(gallery)
    return SnapshotList(snapshots=[SnapshotView.of(snapshot) for snapshot in found])


@router.get("/{gallery}/snapshots/{snapshot_id}", responses=documented(404, 422))
async def verify_snapshot(gallery: GalleryPath, snapshot_id: SnapshotPath, services: ServicesDep) -> SnapshotView:
    """Read a snapshot through and tell of it: every byte and every vector is what was written, or the answer is 422
    `snapshot-corrupt`.
    """
    return SnapshotView.of(await services.custody.verify_snapshot(gallery, snapshot_id))


@router.delete("/{gallery}/snapshots/{snapshot_id}", status_code=204, responses=documented(404, 409, 422, 503, 507))
async def remove_snapshot(
    gallery: GalleryPath, snapshot_id: SnapshotPath, request: Request, services: ServicesDep
) -> Response:
    """Remove a snapshot."""
    async with services.idempotency.once(request) as named:
        await services.custody.remove_snapshot(gallery, snapshot_id, once=named.telling(204, lambda _: None))
    return Response(status_code=204)


@router.post(
    "/{gallery}/restore",
    responses=documented(400, 404, 409, 412, 413, 415, 422, 503, 507),
    openapi_extra=accepts(RestoreRequest),
)
async def restore(
    gallery: GalleryPath,
    request: Request,
    body: Annotated[RestoreRequest, Depends(JsonBody(RestoreRequest))],
    services: ServicesDep,
) -> GalleryView:
    """Make the gallery, also one that was dropped, what it was when the snapshot was taken: in one step, wholly or not at all.
    Who was erased since stays away.
    """
    async with services.idempotency.once(request) as named:
        once = named.telling(200, GalleryView.of)
        return GalleryView.of(await services.custody.restore(gallery, body.snapshot, once=once))


@router.get("/{gallery}/check", responses=documented(404, 422, 503))
async def check(gallery: GalleryPath, services: ServicesDep) -> CheckReport:
    """Whether all that is kept of the gallery is as it was written and agrees: record, what is searched, what is saved,
    snapshots. Every vector is read, and nothing is written meanwhile.
    """
    return CheckReport.of(await services.custody.check(gallery))
