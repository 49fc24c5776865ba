"""Every metric, with its unit in its name. One registry an app, so that tests can have many apps.

What is counted is counted where it happens; what is read when somebody looks (`service/api/scraping.py`) stands in `_Read`.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from service.entities import Route
from service.observability.histogram import LabelledHistogram
from service.observability.stages import Stage

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *_LATENCY_BUCKETS)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_OF_GALLERY = ("tenant", "gallery")
_OUTCOMES = ("complete", "failed")
_DECISIONS = ("match", "non-match", "nobody", "flagged")


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry, self.reading = CollectorRegistry(), asyncio.Lock()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self.request_seconds = LabelledHistogram(
            "facebridge_request_seconds",
            "Time from the first byte of a request's head to the last byte of its answer.",
            ("method", "route", "status"),
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.stage_seconds = LabelledHistogram(
            "facebridge_stage_seconds",
            "Time that a stage of a request took: decode, queue, inference, search, record, encode, audit.",
            ("stage", "route"),
            buckets=_STAGE_BUCKETS,
            registry=self.registry,
        )
        self.requests_in_progress = Gauge(
            "facebridge_requests_in_progress", "Requests that are not answered yet.", registry=self.registry
        )
        self.batch_rows = Histogram(
            "facebridge_batch_rows",
            "Rows that a model ran at once.",
            ("bundle",),
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self.problems = self._counter("problems", "Refusals and failures, by type.", "type")
        self.translated_vectors = self._counter(
            "translated_vectors", "Vectors translated, by route.", "source", "target"
        )
        self.judged_vectors = self._counter(
            "judged_vectors",
            "Translated vectors whose confidence is known, by route; of npy bodies it is where somebody asks for it.",
            "source",
            "target",
        )
        self.low_confidence_vectors = self._counter(
            "low_confidence_vectors",
            "Vectors below --min-confidence, of those whose confidence is known, by route; refused requests do not count.",
            "source",
            "target",
        )
        self.space_alarms = self._counter("space_alarms", "Times that a space became suspected.", "tenant", "space")
        self.decisions = self._counter(
            "decisions", "Probes by what was decided of them: match, non-match, nobody, flagged.", "tenant", "decision"
        )
        self.probes = self._counter("probes", "Probes that galleries were searched by.", *_OF_GALLERY)
        self.erasures = self._counter(
            "erasures", "Erasures by what came of them: complete, failed.", "tenant", "outcome"
        )
        self.enrolled_templates = self._counter("enrolled_templates", "Templates enrolled.", *_OF_GALLERY)
        self.migrated_templates = self._counter(
            "migrated_templates", "Templates translated for another generation of their gallery.", *_OF_GALLERY
        )
        self.read = _Read(self)

    def count_translated(self, route: Route, num_rows: int, *, num_judged: int, num_low: int) -> None:
        """Count what was translated along a route, of how many of that the confidence is known, and how many are below the
        least.
        """
        if not route.steps:
            return
        labels = (route.source.name, route.target.name)
        self.translated_vectors.labels(*labels).inc(num_rows)
        self.judged_vectors.labels(*labels).inc(num_judged)
        self.low_confidence_vectors.labels(*labels).inc(num_low)

    def count_decisions(self, tenant: str, decisions: Iterable[str | None], num_flagged: int) -> None:
        """Count what was decided of probes, None where no rate was asked for, and how many of them can be trusted less."""
        for decision in decisions:
            if decision is not None:
                self.decisions.labels(tenant, decision).inc()
        if num_flagged:
            self.decisions.labels(tenant, "flagged").inc(num_flagged)

    def begin_tenant(self, tenant: str) -> None:
        """From nothing: of a series that begins at one Prometheus sees no increase."""
        for decision in _DECISIONS:
            self.decisions.labels(tenant, decision)
        for outcome in _OUTCOMES:
            self.erasures.labels(tenant, outcome)

    def observe_stages(self, route: str, seconds: Mapping[Stage, float]) -> None:
        """Of one request."""
        for stage, took in seconds.items():
            self.stage_seconds.observe((stage, route), took)

    def observe_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One that is over."""
        self.request_seconds.observe((method, route, str(status)), seconds)

    def forget_gallery(self, tenant: str, gallery: str) -> None:
        """It is dropped."""
        for counter in (self.probes, self.enrolled_templates, self.migrated_templates):
            with suppress(KeyError):
                counter.remove(tenant, gallery)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """One of the registry's."""
        return Gauge(f"facebridge_{name}", text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"facebridge_{name}", text, labels, registry=self.registry)


class _Galleries:
    """Of what tenants have, as it is when somebody looks; written anew each time, as a gallery may be gone."""

    def __init__(self, gauge: Callable[..., Gauge]) -> None:
        self.gallery_templates = gauge("gallery_templates", "Templates in a gallery.", *_OF_GALLERY)
        self.gallery_subjects = gauge("gallery_subjects", "Subjects in a gallery.", *_OF_GALLERY)
        self.gallery_generation = gauge("gallery_generation", "The active generation of a gallery.", *_OF_GALLERY)
        self.gallery_generations_beside = gauge(
            "gallery_generations_beside",
            "Generations beside the active one: being built, or kept.",
            *_OF_GALLERY,
            "state",
        )
        self.gallery_backlog_templates = gauge(
            "gallery_backlog_templates", "Translated templates of the active generation.", *_OF_GALLERY
        )
        self.index_recall = gauge(
            "index_recall",
            "Share of the ten nearest templates that a gallery's index finds, measured on templates of it; 1 where it is exact.",
            *_OF_GALLERY,
        )
        self.index_templates = gauge(
            "index_templates", "Templates in a gallery's index; the others are searched beside it.", *_OF_GALLERY
        )
        self.jobs = gauge("jobs", "Migrations that are not over, by state.", "tenant", "state")
        self.migration_running = gauge(
            "migration_running",
            "1 where templates of a gallery are being translated, 0 where its migration waits.",
            *_OF_GALLERY,
        )
        self.migration_templates = gauge(
            "migration_templates",
            "Templates of a migration that is not over: done, failed, total.",
            *_OF_GALLERY,
            "what",
        )
        self.migration_seconds_left = gauge(
            "migration_seconds_left", "How long a migration takes still, as fast as it goes now.", *_OF_GALLERY
        )

    def clear(self) -> None:
        """Forget all of it."""
        for one in vars(self).values():
            one.clear()


class _Read:
    """What is read when somebody looks."""

    def __init__(self, metrics: Metrics) -> None:
        gauge = metrics.gauge
        self.info = gauge("info", "1, with the version and the device that is asked for.", "version", "device")
        self.bundles = gauge("bundles", "Bundles by state.", "state")
        self.queued_rows = gauge("queued_rows", "Rows that wait for a model.", "bundle")
        self.space_suspected = gauge(
            "space_suspected",
            "1 where what arrives under the name of a space does not look like its features, else 0.",
            "tenant",
            "space",
        )
        self.space_stream_score = gauge(
            "space_stream_score",
            "How far the last faces of a space are off together, over what hardly any stream of it is.",
            "tenant",
            "space",
        )
        self.space_outlier_share = gauge(
            "space_outlier_share",
            "Share of the last 200 features of a space that are like hardly any of it.",
            "tenant",
            "space",
        )
        self.shared_state_reachable = gauge(
            "shared_state_reachable", "1 where what replicas share can be written to, or nothing is shared, else 0."
        )
        self.writable = gauge("writable", "1 where a tenant's galleries can be written to, else 0.", "tenant")
        self.audit_entries = gauge("audit_entries", "Number of the last entry of an audit log.", "tenant")
        self.audit_entries_lost = gauge(
            "audit_entries_lost", "Entries of an audit log that could not be written since the start.", "tenant"
        )
        self.live_keys = gauge("live_keys", "API keys that open something.", "tenant")
        self.memory_limit_bytes = gauge(
            "memory_limit_bytes", "Memory that the process may have: its control group's, or the machine's."
        )
        self.disk_size_bytes = gauge("disk_size_bytes", "Size of the disk that the data folder is on.")
        self.disk_free_bytes = gauge("disk_free_bytes", "What is free of it.")
        self.gpu_memory_bytes = gauge("gpu_memory_bytes", "Memory of a GPU, of all processes.", "gpu", "state")
        self.galleries = _Galleries(gauge)
