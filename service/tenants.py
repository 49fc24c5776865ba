"""Tenants: everybody has the same models, and galleries, jobs, receipts and an audit log of their own, in a folder of their own.

Nothing that one of them asks can reach what is another's: its services do not know the other's folder.
"""

import asyncio
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from models.space import Space
from service.access.audit import FOLDER as AUDIT
from service.access.audit import AuditLog
from service.access.keys import DEFAULT_TENANT, TENANT_PATTERN
from service.access.ring import KeyChange, KeyRing
from service.api.deps import Services
from service.api.idempotency import Idempotency
from service.api.parquet import ParquetReader
from service.errors import DrainingError, FacebridgeError, OverloadedError, StorageError
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import TENANTS
from service.galleries.indexes import IndexPolicy
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.inference.watch import Seen
from service.jobs.migration import MigrationWork
from service.jobs.runner import JobRunner
from service.observability.metrics import Metrics
from service.observability.traffic import Traffic
from service.settings import Settings
from service.shared_state import SharedState
from service.state.on_redis.events import Event
from service.state.port import JobStore
from service.usecases.attributes import Attributes
from service.usecases.closed_set import ClosedSet
from service.usecases.custody import Custody
from service.usecases.enrol import Enrol
from service.usecases.galleries import KeepGalleries
from service.usecases.gates import GatePolicy, Gates
from service.usecases.identify import Identify
from service.usecases.migrate import Migrations
from service.usecases.pace import Pace
from service.usecases.probes import Probes
from service.usecases.receipts import Signer
from service.usecases.reconstruct import Reconstruct
from service.usecases.sampling import SampleLimits
from service.usecases.translate import Translate
from service.usecases.trust import TrustPolicy
from service.usecases.verdicts import Verdicts
from service.usecases.verify import Verify

log, log_of_spaces = logging.getLogger("facebridge.tenants"), logging.getLogger("facebridge.spaces")
_EXCHANGED = ("cut-over", "rolled-back")


@dataclass(frozen=True, slots=True)
class Shared:
    """What all tenants have together."""

    settings: Settings
    inference: Inference
    metrics: Metrics
    traffic: Traffic
    parquet: ParquetReader
    ring: KeyRing | None
    state: SharedState


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept of a tenant."""

    folder: Path
    store: GalleryStore
    jobs: JobStore
    audit: AuditLog | None

    def close(self) -> None:
        """Release files."""
        self.store.close()
        self.jobs.close()
        if self.audit is not None:
            self.audit.close()


@dataclass(frozen=True, slots=True)
class _Open:
    """A tenant whose folder is open here."""

    services: Services
    runner: JobRunner
    kept: _Kept


class Tenants:
    """The services of each tenant, opened when they are asked for first, and at the start where there is a folder of theirs."""

    def __init__(
        self, shared: Shared, *, store: GalleryStore | None = None, jobs: JobStore | None = None, does_jobs: bool = True
    ) -> None:
        """`store` and `jobs` are the default tenant's; without `does_jobs` jobs stay as they are, but for orders.

        Raises `StartupError` where one of them cannot be opened.
        """
        self._shared, self._does_jobs = shared, does_jobs
        self._lock, self._is_running, self._is_over = threading.Lock(), False, False
        self._noting, self._to_note = threading.Lock(), dict[str, list[KeyChange]]()
        """Of tenants that are not open yet: what their audit logs are to say of their keys."""
        self._open = {DEFAULT_TENANT: self._opened(DEFAULT_TENANT, store, jobs)}
        for name in _names(shared.settings.data):
            self._open[name] = self._opened(name)
        if shared.ring is not None:
            shared.ring.on_change = self.note_keys

    @property
    def all(self) -> Iterator[Services]:
        """Of those that are open."""
        return iter([one.services for one in list(self._open.values())])

    @property
    def default(self) -> Services:
        """Of whoever needs no key."""
        return self._open[DEFAULT_TENANT].services

    async def of(self, name: str) -> Services:
        """Of one, which is opened where it is new. Raises `OverloadedError` where it cannot be."""
        found = self._open.get(name)
        return found.services if found else await asyncio.to_thread(self._opened_now, name)

    def hear(self, event: Event) -> None:
        """A job has changed, here or at a replica: there may be work, or a gallery is in another generation."""
        found = self._open.get(event.tenant)
        if event.state in _EXCHANGED:
            log.info("tenant %s: gallery %s is %s (job %s)", event.tenant, event.gallery, event.state, event.job_id)
        if found is not None:
            found.runner.wake()

    def note_keys(self, change: KeyChange) -> None:
        """The tenant's audit log says what became of its keys, whoever changed them and where; of one that is not open yet, as
        soon as it is.
        """
        text = "keys of the tenant %s: %d made, %d changed, %d ended"
        log.info(text, change.tenant, len(change.made), len(change.changed), len(change.ended))
        if self._shared.settings.audit == "off":
            return
        with self._noting:
            found = self._open.get(change.tenant)
            if found is None:
                self._to_note.setdefault(change.tenant, []).append(change)
                return
        _note_keys(found.kept.audit, change)

    def start(self) -> None:
        """Begin to work on jobs."""
        with self._lock:
            self._is_running = self._does_jobs
            for one in self._open.values() if self._does_jobs else ():
                one.runner.start()

    def stop(self) -> None:
        """End the work on jobs, after the chunks that are under way."""
        with self._lock:
            self._is_running, self._is_over = False, True
            for one in self._open.values():
                one.runner.close()

    def close(self) -> None:
        """Release files; nothing may be asked afterwards."""
        for one in self._open.values():
            one.kept.close()

    def _opened_now(self, name: str) -> Services:
        with self._lock:
            if self._is_over:
                raise DrainingError("the service is stopping")
            if name not in self._open:
                try:
                    opened = self._opened(name)
                except FacebridgeError as failure:
                    log.error("tenant %s cannot be opened: %s", name, failure)
                    raise OverloadedError("the galleries of this tenant cannot be opened; the log says why") from None
                if self._is_running:
                    opened.runner.start()
                with self._noting:
                    self._open[name] = opened
                    changes = self._to_note.pop(name, [])
                for change in changes:
                    _note_keys(opened.kept.audit, change)
            return self._open[name].services

    def _opened(self, name: str, store: GalleryStore | None = None, jobs: JobStore | None = None) -> _Open:
        settings = self._shared.settings
        folder = settings.data if name == DEFAULT_TENANT else settings.data / TENANTS / name
        policy = IndexPolicy(
            settings.gallery_index, settings.index_recall, settings.index_memory_bytes, settings.device != "cpu"
        )
        # What was opened before something fails is let go of, so that it can be opened when that is mended.
        with ExitStack() as opened:
            galleries = EmbeddedGalleryStore(folder, policy) if store is None else store
            opened.callback(galleries.close)
            known = self._shared.state.jobs(name, folder) if jobs is None else jobs
            opened.callback(known.close)
            audit = AuditLog(folder / AUDIT) if settings.audit == "on" else None
            if audit is not None:
                opened.callback(audit.close)
            kept = _Kept(folder, galleries, known, audit)
            services, runner = _services(self._shared, name, kept)
            services.galleries.index_all()
            opened.pop_all()
        self._shared.metrics.begin_tenant(name)
        return _Open(services, runner, kept)


def _names(data: Path) -> list[str]:
    """Of tenants who have a folder."""
    folder = data / TENANTS
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(path.name for path in found if path.is_dir() and re.fullmatch(TENANT_PATTERN, path.name))


def _services(shared: Shared, tenant: str, kept: _Kept) -> tuple[Services, JobRunner]:
    settings, inference, metrics = shared.settings, shared.inference, shared.metrics
    store, jobs = kept.store, kept.jobs
    gates = GatePolicy(
        settings.enrol_min_confidence, settings.enrol_min_norm, settings.enrol_duplicates, settings.duplicate_fmr
    )
    watch = inference.new_watch(partial(_tell_suspicion, metrics, tenant))
    probes = Probes(
        inference,
        TrustPolicy(settings.low_confidence, settings.min_confidence),
        watch=watch,
        refuses_suspected=settings.wrong_space == "refuse",
        limits=SampleLimits(settings.max_samples, settings.max_batch_rows),
    )
    keep = KeepGalleries(inference, store)
    signer, wake = Signer.of_folder(kept.folder), threading.Event()
    pace = Pace(lambda: shared.traffic.is_busy, settings.migration_share)
    migrations = Migrations(inference, store, jobs, Verdicts(inference, store, signer, pace), wake.set)
    runner = JobRunner(
        jobs,
        store,
        migrations,
        MigrationWork(inference, store, jobs, migrations, pace),
        wake,
        on_translated=partial(_count_migrated, metrics, tenant),
    )
    services = Services(
        settings=settings,
        metrics=metrics,
        traffic=shared.traffic,
        inference=inference,
        watch=watch,
        translate=Translate(inference, probes),
        verify=Verify(inference, probes),
        identify=Identify(inference, probes, store),
        closed_set=ClosedSet(inference),
        attributes=Attributes(inference, store),
        enrol=Enrol(probes, store, Gates(inference, store, gates)),
        galleries=keep,
        custody=Custody(store, keep, signer),
        migrations=migrations,
        idempotency=Idempotency(store.answered, jobs.answered),
        reconstruct=Reconstruct(inference, probes),
        parquet=shared.parquet,
        tenant=tenant,
        state=shared.state,
        audit=kept.audit,
        ring=shared.ring,
    )
    return services, runner


def _note_keys(audit: AuditLog | None, change: KeyChange) -> None:
    if audit is None:
        return
    told = {name: ids for name, ids in asdict(change).items() if ids and name not in ("at", "tenant")}
    try:
        audit.add({"at": change.at.isoformat(timespec="milliseconds"), "what": "keys", **told})
    except StorageError as failure:
        log.error("tenant %s: that keys changed is not in the audit log: %s", change.tenant, failure)


def _tell_suspicion(metrics: Metrics, tenant: str, space: Space, seen: Seen) -> None:
    if seen.state == "suspected":
        metrics.space_alarms.labels(tenant, space.name).inc()
        text = "tenant %s: what arrives as features of the space %s does not look like it: %s"
        log_of_spaces.warning(text, tenant, space.name, seen.reason)
    else:
        log_of_spaces.info(
            "tenant %s: what arrives as features of the space %s looks like it again", tenant, space.name
        )


def _count_migrated(metrics: Metrics, tenant: str, gallery: str, num: int) -> None:
    metrics.migrated_templates.labels(tenant, gallery).inc(num)
