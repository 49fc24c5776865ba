"""`/keys`: the keys of the sender's tenant."""

import asyncio
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from service.access.keys import find_by_id, make_key, read_keys, revoke_key, rotate_key
from service.api.access import caller_of, note
from service.api.bodies import JsonBody
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.keys import KeyList, KeyView, MadeKeyView, MakeKeyRequest, RotateKeyRequest

router = APIRouter(prefix="/keys", tags=["keys"])

KeyPath = Annotated[str, Path(max_length=64, description="the key's id")]


@router.get("", responses=documented(409))
async def list_keys(request: Request, services: ServicesDep) -> KeyList:
    """Keys of one's own tenant, without their secrets."""
    keys = await asyncio.to_thread(read_keys, _file(services))
    tenant = caller_of(request).tenant
    return KeyList(keys=[KeyView.of(key) for key in keys if key.tenant == tenant])


@router.post(
    "", status_code=201, responses=documented(400, 403, 409, 413, 415, 422), openapi_extra=accepts(MakeKeyRequest)
)
async def make(
    request: Request,
    body: Annotated[MakeKeyRequest, Depends(JsonBody(MakeKeyRequest))],
    services: ServicesDep,
) -> MadeKeyView:
    """Make a key, whose secret is told in this answer alone. It may do no more than one's own."""
    caller = caller_of(request)
    if not set(body.scopes) <= caller.scopes:
        raise Problem(403, "forbidden", "a key can be given no scope that one's own lacks")
    made = await asyncio.to_thread(
        make_key,
        _file(services),
        body.name,
        body.scopes,
        tenant=caller.tenant,
        days=body.days,
        requests_per_second=body.requests_per_second,
        probes_per_day=body.probes_per_day,
    )
    note(request, made_key=made.key.key_id, scopes=list(made.key.scopes))
    return MadeKeyView.made(made)


@router.post(
    "/{key_id}/rotate",
    responses=documented(400, 403, 404, 409, 413, 415, 422),
    openapi_extra=accepts(RotateKeyRequest, is_required=False),
)
async def rotate(
    key_id: KeyPath,
    request: Request,
    body: Annotated[RotateKeyRequest, Depends(JsonBody(RotateKeyRequest, is_optional=True))],
    services: ServicesDep,
) -> MadeKeyView:
    """Give a key another secret; that before opens for a while, so that nobody who has it is shut out meanwhile."""
    caller, path = caller_of(request), _file(services)
    key = await asyncio.to_thread(find_by_id, path, key_id, caller.tenant)
    if not set(key.scopes) <= caller.scopes:
        raise Problem(403, "forbidden", "the key may do what one's own may not")
    made = await asyncio.to_thread(rotate_key, path, key_id, keep_seconds=body.keep_seconds, tenant=caller.tenant)
    return MadeKeyView.made(made)


@router.delete("/{key_id}", responses=documented(404, 409, 422))
async def revoke(key_id: KeyPath, request: Request, services: ServicesDep) -> KeyView:
    """End a key: it opens nothing within seconds, and for ever."""
    return KeyView.of(await asyncio.to_thread(revoke_key, _file(services), key_id, tenant=caller_of(request).tenant))


def _file(services: Services) -> FilePath:
    """Raises `Problem` where there are none."""
    if services.ring is None or not services.ring.is_needed:
        raise Problem(409, "no-keys", "nobody needs a key here; make the first one with: facebridge keys create")
    return services.ring.path
