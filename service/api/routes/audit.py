"""`/audit`: who did what in the sender's tenant."""

import asyncio
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query

from service.access.audit import read_audit
from service.api.deps import ServicesDep
from service.api.problems import documented
from service.api.schemas.audit import AuditPage
from service.errors import NotFoundError

router = APIRouter(tags=["audit"])


@router.get("/audit", responses=documented(404, 422, 500, 503))
async def audit(
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=1 << 62, description="only entries after that of this number")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> AuditPage:
    """Entries of the audit log. Whoever keeps the digest of one can tell later, by `facebridge audit verify --digest`, that
    nothing before it was changed.
    """
    if services.audit is None:
        raise NotFoundError("nothing is written down here; see the setting audit")
    folder = services.audit.folder
    await asyncio.wrap_future(services.audit.flush())
    entries = await asyncio.to_thread(lambda: list(islice(read_audit(folder, after), limit + 1)))
    is_last = len(entries) <= limit
    return AuditPage(entries=entries[:limit], next_after=None if is_last else entries[limit - 1]["number"])
