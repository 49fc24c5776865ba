"""Every metric, with its unit in its name. One registry an app, so that tests can have many apps."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.entities import Route

_LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """What is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.request_seconds = Histogram(
            "facebridge_request_seconds",
            "Time from the first byte of a request's head to the last byte of its answer.",
            ("method", "route", "status"),
            buckets=_LATENCY_BUCKETS,
            registry=self.registry,
        )
        self.batch_rows = Histogram(
            "facebridge_batch_rows",
            "Rows that a model ran at once.",
            ("bundle",),
            buckets=_BATCH_BUCKETS,
            registry=self.registry,
        )
        self.queued_rows = Gauge("facebridge_queued_rows", "Rows that wait for a model.", registry=self.registry)
        self.translated_vectors = Counter(
            "facebridge_translated_vectors",
            "Vectors translated, by route.",
            ("source", "target"),
            registry=self.registry,
        )
        self.low_confidence_vectors = Counter(
            "facebridge_low_confidence_vectors",
            "Translated vectors below the least confidence, by route; of npy bodies only where the request or a setting asks.",
            ("source", "target"),
            registry=self.registry,
        )
        self.space_suspected = Gauge(
            "facebridge_space_suspected",
            "1 where what arrives under the name of a space does not look like its features, else 0.",
            ("space",),
            registry=self.registry,
        )
        self.space_stream_score = Gauge(
            "facebridge_space_stream_score",
            "How far the last faces of a space are off together, over what hardly any stream of it is.",
            ("space",),
            registry=self.registry,
        )
        self.space_outlier_share = Gauge(
            "facebridge_space_outlier_share",
            "Share of the last 200 features of a space that are like hardly any of it.",
            ("space",),
            registry=self.registry,
        )
        self.space_alarms = Counter(
            "facebridge_space_alarms", "Times that a space became suspected.", ("space",), registry=self.registry
        )
        self._count_galleries()

    def _count_galleries(self) -> None:
        self.migrated_templates = Counter(
            "facebridge_migrated_templates",
            "Templates translated for another generation of their gallery.",
            ("tenant", "gallery"),
            registry=self.registry,
        )
        self.enrolled_templates = Counter(
            "facebridge_enrolled_templates", "Templates enrolled.", ("tenant", "gallery"), registry=self.registry
        )
        self.gallery_templates = Gauge(
            "facebridge_gallery_templates", "Templates in a gallery.", ("tenant", "gallery"), registry=self.registry
        )
        self.problems = Counter(
            "facebridge_problems", "Refusals and failures, by type.", ("type",), registry=self.registry
        )
        self.bundles = Gauge("facebridge_bundles", "Bundles by state.", ("state",), registry=self.registry)

    def count_translated(self, route: Route, num_rows: int, num_low: int) -> None:
        """Count what was translated along a route, and how many of that are below the least confidence."""
        if route.steps:
            self.translated_vectors.labels(route.source.name, route.target.name).inc(num_rows)
            self.low_confidence_vectors.labels(route.source.name, route.target.name).inc(num_low)

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)
