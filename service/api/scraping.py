"""What metrics say of how things are when somebody looks: queues, spaces, galleries and migrations of all tenants."""

import asyncio
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata

from service.access.keys import read_keys
from service.api.deps import Services
from service.entities import Job
from service.errors import FacebridgeError, NotFoundError, StartupError, StorageError
from service.galleries.indexes import memory_limit
from service.observability.gpu import gpu_memory
from service.observability.metrics import Metrics
from service.state.port import OPEN


async def read(metrics: Metrics, all_services: list[Services]) -> None:
    """Bring what is read up to date."""
    shared = all_services[0]
    _read_shared(metrics, shared)
    is_reachable = await asyncio.to_thread(shared.state.is_reachable)
    metrics.read.shared_state_reachable.set(is_reachable)
    metrics.read.galleries.clear()
    for services in all_services:
        await _read_tenant(metrics, services)
        # What cannot be known now is not told, nor waited for; all else is.
        with suppress(FacebridgeError):
            if is_reachable:
                await _read_jobs(metrics, services)
    await asyncio.to_thread(_read_keys, metrics, shared)


def can_be_written(services: Services) -> bool:
    """Whether a tenant's galleries can be: not after a disk failed."""
    try:
        services.galleries.check_writable()
    except StorageError:
        return False
    return True


def _read_shared(metrics: Metrics, services: Services) -> None:
    found, inference = metrics.read, services.inference
    found.memory_limit_bytes.set(memory_limit())
    with suppress(OSError):
        disk = shutil.disk_usage(services.settings.data)
        found.disk_size_bytes.set(disk.total)
        found.disk_free_bytes.set(disk.free)
    found.info.labels(metadata.version("facebridge"), services.settings.device).set(1)
    found.bundles.labels("loaded").set(len(inference.loaded.served))
    found.bundles.labels("rejected").set(len(inference.loaded.rejected))
    for bundle, num in inference.queued_rows.items():
        found.queued_rows.labels(bundle).set(num)
    if services.settings.device != "cpu":
        for gpu in gpu_memory():
            found.gpu_memory_bytes.labels(str(gpu.number), "total").set(gpu.total)
            found.gpu_memory_bytes.labels(str(gpu.number), "used").set(gpu.used)


async def _read_tenant(metrics: Metrics, services: Services) -> None:
    found, has, tenant = metrics.read, metrics.read.galleries, services.tenant
    if services.settings.galleries == "on":
        found.writable.labels(tenant).set(can_be_written(services))
    if services.audit is not None:
        found.audit_entries.labels(tenant).set(services.audit.head[0])
        found.audit_entries_lost.labels(tenant).set(services.audit.num_lost)
    for fingerprint, seen in services.watch.spaces.items():
        space = services.inference.catalog.find_space(fingerprint)
        if space is not None:
            found.space_suspected.labels(tenant, space.name).set(seen.state == "suspected")
            # From nothing, before there is an alarm.
            metrics.space_alarms.labels(tenant, space.name)
            found.space_outlier_share.labels(tenant, space.name).set(seen.outlier_share)
            if seen.stream_score is not None:
                found.space_stream_score.labels(tenant, space.name).set(seen.stream_score)
    for gallery in await services.galleries.list_all():
        labels = (tenant, gallery.name)
        has.gallery_templates.labels(*labels).set(gallery.num_templates)
        has.gallery_subjects.labels(*labels).set(gallery.num_subjects)
        has.gallery_generation.labels(*labels).set(gallery.generation)
        has.index_recall.labels(*labels).set(gallery.index.recall)
        has.index_templates.labels(*labels).set(gallery.index.num_indexed)
        for state in ("building", "kept"):
            num = sum(one.state == state for one in gallery.beside)
            has.gallery_generations_beside.labels(*labels, state).set(num)
        with suppress(NotFoundError):
            backlog = await services.migrations.backlog(gallery.name, after=0, limit=1)
            has.gallery_backlog_templates.labels(*labels).set(backlog.num_translated)


async def _read_jobs(metrics: Metrics, services: Services) -> None:
    has, jobs = metrics.read.galleries, await services.migrations.open_jobs()
    for state in OPEN:
        has.jobs.labels(services.tenant, state).set(sum(job.state == state for job in jobs))
    for job in jobs:
        has.migration_running.labels(services.tenant, job.gallery).set(job.state == "running")
        await _read_job(metrics, services, job)


async def _read_job(metrics: Metrics, services: Services, job: Job) -> None:
    progress = await services.migrations.progress(job)
    labels, numbers = (services.tenant, job.gallery), progress.numbers
    for what, num in (("done", numbers.done), ("failed", numbers.failed), ("total", numbers.total)):
        metrics.read.galleries.migration_templates.labels(*labels, what).set(num)
    if numbers.seconds_left is not None:
        metrics.read.galleries.migration_seconds_left.labels(*labels).set(numbers.seconds_left)


def _read_keys(metrics: Metrics, services: Services) -> None:
    if services.ring is None or not services.ring.is_needed:
        return
    with suppress(StartupError, OSError):
        now, num = datetime.now(UTC), dict[str, int]()
        for key in read_keys(services.ring.path):
            num[key.tenant] = num.get(key.tenant, 0) + key.is_live(now)
        for tenant, of_tenant in num.items():
            metrics.read.live_keys.labels(tenant).set(of_tenant)
