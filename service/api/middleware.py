"""What happens around every request: an id, a line in the log, a measurement."""

import logging
import random
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.ring import Caller
from service.observability.logs import FACTS
from service.observability.metrics import Metrics
from service.observability.stages import Took, unwatch, watch
from service.observability.tracing import Tracer
from service.observability.traffic import Traffic

log = logging.getLogger("facebridge.requests")

REQUEST_ID = "facebridge.request_id"
"""The key of a request's id in its ASGI scope."""
CALLER = "facebridge.caller"
"""And of whoever sends it."""

_NO_FRAMES = "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SAFE = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", f"default-src 'none'; {_NO_FRAMES}".encode()),
)
"""Headers of every answer that does not say otherwise: nothing of it is kept, guessed at, told on, framed, or loads anything."""
PAGE_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; {_NO_FRAMES}"
"""Of a page that has all it needs within itself."""
_DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' https://cdn.jsdelivr.net; worker-src blob:; connect-src 'self'; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; font-src https://fonts.gstatic.com; "
    f"img-src data: blob: https://fastapi.tiangolo.com https://cdn.redoc.ly; {_NO_FRAMES}"
).encode()
"""Of the pages that FastAPI makes, which load what shows them."""
_DOCS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc"})
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Observe:
    """Gives each request an id (the caller's `x-request-id` where it is well-formed), times, logs and traces it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traffic: Traffic, tracer: Tracer | None = None) -> None:
        self._app = app
        self._metrics = metrics
        self._traffic = traffic
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id: bytes = given if _ID.fullmatch(given) else b"%016x" % random.getrandbits(64)
        scope[REQUEST_ID] = request_id.decode()
        took = Took(scope[REQUEST_ID])
        status = 500
        is_counted = self._traffic.begin(scope["path"])
        token = watch(took)
        self._metrics.requests_in_progress.inc()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                took.begin_answer()
                status = message["status"]
                headers = message.get("headers", [])
                if scope["path"] in _DOCS:
                    headers = [*headers, (b"content-security-policy", _DOCS_POLICY)]
                known = {name for name, _ in headers}
                safe = [pair for pair in SAFE if pair[0] not in known]
                if self._traffic.is_stopping:
                    # Over a connection that is closed meanwhile nobody knows what became of a request.
                    safe.append((b"connection", b"close"))
                message["headers"] = [*headers, (b"x-request-id", request_id), *safe]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id.decode())
            raise
        finally:
            if is_counted:
                self._traffic.end()
            self._metrics.requests_in_progress.dec()
            self._tell(scope, took, status)
            unwatch(token)

    def _tell(self, scope: Scope, took: Took, status: int) -> None:
        """Of one that is over: by its route, and never by what was asked for."""
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path", "unknown")
        seconds = time.perf_counter() - took.began
        self._metrics.observe_request(method, route, status, seconds)
        self._metrics.observe_stages(route, took.seconds)
        caller: Caller | None = scope.get(CALLER)
        if log.isEnabledFor(logging.INFO):
            facts = {
                "method": method,
                "route": route,
                "status": status,
                "milliseconds": round(seconds * 1000, 3),
                "stages": {stage: round(1000 * took, 3) for stage, took in took.seconds.items()},
                **({"tenant": caller.tenant, "key_id": caller.key_id} if caller else {}),
            }
            text = "%s %s %s %d %.1f ms"
            log.info(text, took.request_id, method, route, status, seconds * 1000, extra={FACTS: facts})
        if self._tracer is not None:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            attributes = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
            attributes |= {"facebridge.request_id": took.request_id}
            self._tracer.record(f"{method} {route}", headers, took, attributes)
