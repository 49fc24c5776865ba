"""OpenTelemetry traces of requests and their stages, where an endpoint takes them.

A span is made when its request is answered, from what was measured anyway: nothing is slower while it runs.
"""

import importlib
import time
from collections.abc import Mapping
from typing import Any, Protocol

from service.errors import StartupError
from service.observability.stages import Took

_NANOSECONDS = 1e9
_SERVER_ERROR = 500


class Tracer(Protocol):
    """Takes requests that are answered."""

    def record(self, name: str, headers: Mapping[str, str], took: Took, attributes: Mapping[str, Any]) -> None:
        """One request, which began when `took` did; `headers` may name the span that it is part of."""

    def close(self) -> None:
        """Send what is not sent yet."""


class OtlpTracer:
    """Sends spans to a collector by OTLP over HTTP. Source: OpenTelemetry's semantic conventions for HTTP spans."""

    def __init__(self, endpoint: str, version: str, *, exporter: Any = None) -> None:
        """Tests give an exporter of their own. Raises `StartupError` where OpenTelemetry is not installed."""
        try:
            # By name: only who sends traces needs them.
            sdk = importlib.import_module("opentelemetry.sdk.trace")
            export = importlib.import_module("opentelemetry.sdk.trace.export")
            resources = importlib.import_module("opentelemetry.sdk.resources")
            self._trace = importlib.import_module("opentelemetry.trace")
            self._propagate = importlib.import_module("opentelemetry.propagate")
            if exporter is None:
                otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
                exporter = otlp.OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        except ModuleNotFoundError:
            raise StartupError(
                "setting otlp_endpoint: OpenTelemetry is not installed: pip install 'facebridge[otel]'"
            ) from None
        resource = resources.Resource.create({"service.name": "facebridge", "service.version": version})
        self._provider = sdk.TracerProvider(resource=resource)
        self._provider.add_span_processor(export.BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("facebridge")

    def record(self, name: str, headers: Mapping[str, str], took: Took, attributes: Mapping[str, Any]) -> None:
        """See the protocol."""
        # Spans say when they were by the clock on the wall.
        offset = time.time() - time.perf_counter()

        def at(moment: float) -> int:
            return round((moment + offset) * _NANOSECONDS)

        span = self._tracer.start_span(
            name,
            context=self._propagate.extract(headers),
            kind=self._trace.SpanKind.SERVER,
            attributes=dict(attributes),
            start_time=at(took.began),
        )
        if attributes.get("http.response.status_code", 0) >= _SERVER_ERROR:
            span.set_status(self._trace.StatusCode.ERROR)
        of_request = self._trace.set_span_in_context(span)
        for stage, began, ended in took.spans:
            self._tracer.start_span(stage, context=of_request, start_time=at(began)).end(end_time=at(ended))
        span.end()

    def close(self) -> None:
        """See the protocol."""
        self._provider.shutdown()
