"""Traces, as a collector gets them."""

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.errors import StartupError
from service.observability.stages import Took
from service.observability.tracing import OtlpTracer

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ATTRIBUTES: dict[str, Any] = {"http.route": "/identify", "http.response.status_code": 200}


def took() -> Took:
    found = Took("abc")
    found.add("decode", found.began + 0.001, found.began + 0.002)
    found.add("search", found.began + 0.002, found.began + 0.005)
    return found


def test_a_request_is_a_span_with_its_stages_below() -> None:
    exporter = InMemorySpanExporter()
    tracer = OtlpTracer("", "0", exporter=exporter)
    request = took()
    tracer.record("POST /identify", {"traceparent": PARENT}, request, ATTRIBUTES)
    tracer.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"POST /identify", "decode", "search"}
    whole = spans["POST /identify"]
    assert whole.parent is not None
    assert f"{whole.parent.trace_id:032x}-{whole.parent.span_id:016x}" == PARENT[3:-3]
    assert dict(whole.attributes or {}) == ATTRIBUTES
    assert not whole.status.is_ok or whole.status.is_unset
    for name, seconds in (("decode", 0.001), ("search", 0.003)):
        part = spans[name]
        assert part.parent is not None
        assert part.parent.span_id == whole.context.span_id
        assert (part.end_time - part.start_time) / 1e9 == pytest.approx(seconds, abs=1e-5)  # type: ignore[operator]
        assert whole.start_time <= part.start_time <= part.end_time <= whole.end_time + 10_000_000  # type: ignore[operator]
    assert whole.start_time / 1e9 == pytest.approx(time.time(), abs=30)  # type: ignore[operator]


def test_a_failure_of_the_service_is_one() -> None:
    exporter = InMemorySpanExporter()
    tracer = OtlpTracer("", "0", exporter=exporter)
    for status in (404, 500):
        tracer.record(str(status), {}, Took(), ATTRIBUTES | {"http.response.status_code": status})
    tracer.close()
    failed = {span.name: span.status.is_ok for span in exporter.get_finished_spans() if not span.status.is_unset}
    assert failed == {"500": False}


def test_a_collector_gets_them() -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            is_packed = self.headers.get("content-encoding") == "gzip"
            got.append((self.path, gzip.decompress(body) if is_packed else body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        tracer = OtlpTracer(f"http://127.0.0.1:{server.server_port}/", "1.2.3")
        tracer.record("POST /identify", {}, took(), ATTRIBUTES)
        tracer.close()
        server.shutdown()
        thread.join()
    ((path, body),) = got
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    told = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (told["service.name"], told["service.version"]) == ("facebridge", "1.2.3")
    assert {span.name for span in resource.scope_spans[0].spans} == {"POST /identify", "decode", "search"}


def test_without_opentelemetry_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("service.observability.tracing.importlib.import_module", missing)
    with pytest.raises(StartupError, match=r"pip install 'facebridge\[otel\]'"):
        OtlpTracer("http://collector:4318", "0")
