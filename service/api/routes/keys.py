"""`/keys`: the keys of the sender's tenant."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Path, Request

from service.access.keys import find_by_id, make_key, read_keys, revoke_key, rotate_key
from service.api.access import caller_of, note
from service.api.bodies import JsonBody
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.keys import KeyList, KeyView, MadeKeyView, MakeKeyRequest, RotateKeyRequest
from service.errors import StartupError

log = logging.getLogger("facebridge.access")
NumberT = TypeVar("NumberT", int, float)

router = APIRouter(prefix="/keys", tags=["keys"])

KeyPath = Annotated[str, Path(max_length=64, description="the key's id")]


@router.get("", responses=documented(409, 503))
async def list_keys(request: Request, services: ServicesDep) -> KeyList:
    """Keys of one's own tenant, without their secrets."""
    with _of_a_file():
        keys = await asyncio.to_thread(read_keys, _file(services))
    tenant = caller_of(request).tenant
    return KeyList(keys=[KeyView.of(key) for key in keys if key.tenant == tenant])


@router.post(
    "", status_code=201, responses=documented(400, 403, 409, 413, 415, 422, 503), openapi_extra=accepts(MakeKeyRequest)
)
async def make(
    request: Request,
    body: Annotated[MakeKeyRequest, Depends(JsonBody(MakeKeyRequest))],
    services: ServicesDep,
) -> MadeKeyView:
    """Make a key, whose secret is told in this answer alone. It may do no more than one's own: no other scopes, and not for
    longer; how often it asks, and about how many probes, counts for one's own too.
    """
    caller, path = caller_of(request), _file(services)
    if not set(body.scopes) <= caller.scopes:
        raise Problem(403, "forbidden", "a key can be given no scope that one's own lacks")
    with _of_a_file():
        own = await asyncio.to_thread(find_by_id, path, caller.key_id, caller.tenant)
        made = await asyncio.to_thread(
            make_key,
            path,
            body.name,
            body.scopes,
            tenant=caller.tenant,
            days=body.days,
            requests_per_second=_least(body.requests_per_second, own.requests_per_second),
            probes_per_day=_least(body.probes_per_day, own.probes_per_day),
            maker=own,
        )
    _hear_of_it(services)
    note(request, made_key=made.key.key_id, scopes=list(made.key.scopes))
    return MadeKeyView.made(made)


@router.post(
    "/{key_id}/rotate",
    responses=documented(400, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra=accepts(RotateKeyRequest, is_required=False),
)
async def rotate(
    key_id: KeyPath,
    request: Request,
    body: Annotated[RotateKeyRequest, Depends(JsonBody(RotateKeyRequest, is_optional=True))],
    services: ServicesDep,
) -> MadeKeyView:
    """Give one's own key another secret; that before opens for a while, so that nobody who has it is shut out meanwhile.

    Somebody else's key would be theirs no more: make them another one, and end the first.
    """
    caller, path = caller_of(request), _file(services)
    with _of_a_file():
        await asyncio.to_thread(find_by_id, path, key_id, caller.tenant)
        if key_id != caller.key_id:
            raise Problem(403, "forbidden", "only one's own key can be rotated here; make another, and end this one")
        made = await asyncio.to_thread(rotate_key, path, key_id, keep_seconds=body.keep_seconds, tenant=caller.tenant)
    _hear_of_it(services)
    return MadeKeyView.made(made)


@router.delete("/{key_id}", responses=documented(404, 409, 422, 503))
async def revoke(key_id: KeyPath, request: Request, services: ServicesDep) -> KeyView:
    """End a key: it opens nothing within seconds, and for ever."""
    path, tenant = _file(services), caller_of(request).tenant
    with _of_a_file():
        revoked = await asyncio.to_thread(revoke_key, path, key_id, tenant=tenant)
    _hear_of_it(services)
    return KeyView.of(revoked)


@contextmanager
def _of_a_file() -> Iterator[None]:
    """Raises `Problem` where the file of keys cannot be read or written, and says why in the log."""
    try:
        yield
    except (OSError, StartupError) as failure:
        log.error("the file of keys: %s", failure)
        raise Problem(503, "keys-unavailable", "the file of keys cannot be read or written; the log says why") from None


def _hear_of_it(services: Services) -> None:
    """So that what was answered holds here at once; other replicas look at the file within a second."""
    if services.ring is not None:
        services.ring.look()


def _file(services: Services) -> FilePath:
    """Raises `Problem` where there are none."""
    if services.ring is None or not services.ring.is_needed:
        raise Problem(409, "no-keys", "nobody needs a key here; make the first one with: facebridge keys create")
    return services.ring.path


def _least(asked: NumberT | None, own: NumberT | None) -> NumberT | None:
    """What nobody bounds the setting does."""
    given = [one for one in (asked, own) if one is not None]
    return min(given) if given else None
