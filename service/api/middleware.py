"""What happens around every request: an id, a line in the log, a measurement."""

import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.observability.metrics import Metrics
from service.observability.traffic import Traffic

log = logging.getLogger("facebridge.requests")

REQUEST_ID = "facebridge.request_id"
"""The key of a request's id in its ASGI scope."""

_SAFE = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of every answer that does not say otherwise: nothing of it is kept, guessed at, told on or framed."""
_METHODS = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS".split())
_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class Observe:
    """Gives each request an id (the caller's `x-request-id` where it is well-formed), times and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traffic: Traffic) -> None:
        self._app = app
        self._metrics = metrics
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id: bytes = given if _ID.fullmatch(given) else secrets.token_hex(8).encode()
        scope[REQUEST_ID] = request_id.decode()
        method = scope["method"] if scope["method"] in _METHODS else "other"
        started = time.perf_counter()
        status = 500
        is_counted = self._traffic.begin(scope["path"])

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message.get("headers", [])
                given = {name for name, _ in headers}
                safe = [pair for pair in _SAFE if pair[0] not in given]
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
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.request_seconds.labels(method, route, status).observe(seconds)
            log.info("%s %s %s %d %.1f ms", request_id.decode(), method, route, status, seconds * 1000)
