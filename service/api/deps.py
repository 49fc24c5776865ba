"""What routes ask for, by type: use cases and settings of the app that serves the request."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.access.audit import AuditLog
from service.access.ring import ANYBODY, Caller, KeyRing
from service.api.idempotency import Idempotency
from service.api.middleware import CALLER
from service.api.parquet import ParquetReader
from service.inference.inference import Inference
from service.inference.watch import Watch
from service.observability.metrics import Metrics
from service.observability.traffic import Traffic
from service.settings import Settings
from service.shared_state import SharedState
from service.usecases.attributes import Attributes
from service.usecases.closed_set import ClosedSet
from service.usecases.custody import Custody
from service.usecases.enrol import Enrol
from service.usecases.galleries import KeepGalleries
from service.usecases.identify import Identify
from service.usecases.migrate import Migrations
from service.usecases.reconstruct import Reconstruct
from service.usecases.translate import Translate
from service.usecases.verify import Verify


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a tenant is served by; `service/tenants.py` builds it."""

    settings: Settings
    metrics: Metrics
    traffic: Traffic
    inference: Inference
    watch: Watch
    """Over what this tenant sends."""
    translate: Translate
    verify: Verify
    identify: Identify
    closed_set: ClosedSet
    attributes: Attributes
    enrol: Enrol
    galleries: KeepGalleries
    custody: Custody
    migrations: Migrations
    idempotency: Idempotency
    reconstruct: Reconstruct
    parquet: ParquetReader
    tenant: str
    state: SharedState
    audit: AuditLog | None
    ring: KeyRing | None
    """None where nobody needs a key."""


async def services_of(request: Request) -> Services:
    """The services of whoever sends `request`. A coroutine, as FastAPI would call anything else on a thread."""
    caller: Caller = request.scope.get(CALLER, ANYBODY)
    services: Services = await request.app.state.tenants.of(caller.tenant)
    return services


ServicesDep = Annotated[Services, Depends(services_of)]
