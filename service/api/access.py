"""Who sends a request, whether they may, how often, and that it is written down.

A request is admitted before its body is read, and refused in the same way whatever it asks for.
"""

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.space import NAME_PATTERN
from service.access.audit import AuditLog
from service.access.ring import ANYBODY, Budget, Caller, KeyRing
from service.api.at_once import TURNED_AWAY
from service.api.middleware import CALLER, REQUEST_ID
from service.api.problems import Problem, problem_of
from service.api.scopes import CHANGING, NEEDS, NOT_AUDITED, OPEN, Needed
from service.errors import FacebridgeError, StorageError
from service.observability.metrics import Metrics
from service.observability.stages import answer_begins, stage
from service.settings import Settings
from service.state.port import Limits

FACTS = "facebridge.facts"
"""The key of what the audit log is to say besides in a request's ASGI scope."""
_OF_GALLERIES = ("/galleries", "/jobs")
_PARAMETERS = {
    "gallery": "gallery",
    "job_id": "job_id",
    "snapshot_id": "snapshot_id",
    "template_id": "template_id",
    "key_id": "of_key",
}
"""Of paths, and as what they are written down; names of subjects are not."""
_GALLERY, _ID = re.compile(NAME_PATTERN), re.compile(r"[0-9a-fTZ-]{8,40}")
"""What galleries are called, and what the service itself makes: other text may be anything, a name or a secret."""


class Admit:
    """Lets requests in that have a key, where one is needed, and have not come too often."""

    def __init__(
        self, app: ASGIApp, ring: KeyRing | None, limits: Limits, metrics: Metrics, requests_per_second: float
    ) -> None:
        """Without `ring` whoever reaches the app may do everything. `requests_per_second` of a key that says nothing itself, 0
        for any number.
        """
        self._app = app
        self._ring = ring
        self._limits = limits
        self._metrics = metrics
        self._requests_per_second = requests_per_second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            caller = self._caller(scope["headers"])
            await self._check_rate(caller)
            # Where it is the first of its tenant, that is opened.
            services = await scope["app"].state.tenants.of(caller.tenant)
        except Problem as problem:
            await self._refuse(problem, scope, receive, send)
            return
        except FacebridgeError as failure:
            await self._refuse(problem_of(failure), scope, receive, send)
            return
        scope[CALLER], scope[FACTS] = caller, {}
        audit = services.audit if services.audit and self._is_audited else None
        if audit is None:
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, self._audited(audit, scope, receive, send))
        except Exception:
            # What failed half-way may have changed something.
            if (needed := _needed(scope)) not in NOT_AUDITED:
                await _write_down(audit, scope, needed, 500)
            raise

    @property
    def _is_audited(self) -> bool:
        return self._ring is not None and self._ring.is_needed

    def _caller(self, headers: list[tuple[bytes, bytes]]) -> Caller:
        """Raises `Problem` 401."""
        if self._ring is None or not self._ring.is_needed:
            return ANYBODY
        given = [_of_header(name, value) for name, value in headers if name in (b"x-api-key", b"authorization")]
        if not given:
            raise _unauthenticated("send a key, as x-api-key or as Authorization: Bearer")
        if len(given) > 1:
            raise _unauthenticated("send one key, once")
        caller = self._ring.caller(given[0]) if given[0] is not None else None
        if caller is None:
            raise _unauthenticated("this key opens nothing")
        return caller

    async def _check_rate(self, caller: Caller) -> None:
        """Raises `Problem` 429."""
        for budget in caller.budgets:
            per_second = budget.requests_per_second or self._requests_per_second
            seconds = await self._limits.take_request(budget.key_id, per_second) if per_second else 0.0
            if seconds > 0:
                raise _limited(f"{_whose(budget, caller)} may send {per_second:g} requests a second", seconds)

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        self._metrics.problems.labels(problem.slug).inc()
        await problem.response()(scope, receive, send)

    def _audited(self, audit: AuditLog, scope: Scope, receive: Receive, send: Send) -> Send:
        """Sends the answer when it is written down what was done."""
        is_lost = False

        async def send_when_written(message: Message) -> None:
            nonlocal is_lost
            needed = _needed(scope)
            if message["type"] == "http.response.start" and needed not in NOT_AUDITED and TURNED_AWAY not in scope:
                answer_begins()
                try:
                    with stage("audit"):
                        await _write_down(audit, scope, needed, message["status"])
                except StorageError as failure:
                    is_lost = True
                    await self._refuse(problem_of(failure), scope, receive, send)
            if not is_lost:
                await send(message)

        return send_when_written


async def check_scope(request: Request) -> None:
    """Whether the key of a request is for its route. Raises `Problem` 403."""
    if request.scope["path"] in OPEN:
        return
    route = request.scope["route"].path
    if (request.method, route) not in NEEDS:
        raise _forbidden("this is open to nobody")
    needed = NEEDS[request.method, route]
    if needed is not None and needed not in caller_of(request).scopes:
        raise _forbidden(f"this key lacks the scope {needed}")
    settings: Settings = request.app.state.services.settings
    if settings.galleries == "off" and route.startswith(_OF_GALLERIES):
        raise Problem(409, "no-galleries", "this replica keeps no galleries; ask the service that does")


def caller_of(request: Request) -> Caller:
    """Who sends it."""
    caller: Caller = request.scope[CALLER]
    return caller


def note(request: Request, **facts: Any) -> None:
    """For the audit log: names and numbers of what the service knows; never of a person, and nothing of a vector."""
    request.scope[FACTS].update(facts)


async def spend_probes(request: Request, limits: Limits, num: int, per_day: int) -> None:
    """Count probes of whoever sends a request; `per_day` of a key that says nothing itself, 0 for any number. Raises `Problem`
    429.

    Source: scores of enough probes tell what a template is, however they are rounded.
    """
    note(request, num_probes=num)
    caller = caller_of(request)
    for budget in caller.budgets:
        allowed = budget.probes_per_day if budget.probes_per_day is not None else per_day or None
        seconds = await limits.spend_probes(budget.key_id, num, allowed) if allowed is not None else 0.0
        if seconds > 0:
            raise _limited(f"{_whose(budget, caller)} may ask about {allowed} probes a day", seconds)


def _needed(scope: Scope) -> Needed:
    """What the route of a request asks of a key."""
    route = getattr(scope.get("route"), "path", None)
    return NEEDS.get((scope["method"], route)) if route else None


async def _write_down(audit: AuditLog, scope: Scope, needed: Needed, status: int) -> None:
    """Raises `StorageError`."""
    caller: Caller = scope[CALLER]
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "request_id": scope[REQUEST_ID],
        "key_id": caller.key_id,
        "method": scope["method"],
        "route": scope["route"].path,
        "status": status,
        **_named(scope.get("path_params", {})),
        **_checked(scope[FACTS]),
    }
    if scope["method"] == "GET" or needed not in CHANGING:
        audit.add(entry)
    else:
        await asyncio.shield(asyncio.wrap_future(audit.record(entry)))


def _named(parameters: Mapping[str, Any]) -> dict[str, str]:
    found = {told: str(parameters[name]) for name, told in _PARAMETERS.items() if name in parameters}
    return {told: text for told, text in found.items() if (_GALLERY if told == "gallery" else _ID).fullmatch(text)}


def _checked(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if name != "gallery" or _GALLERY.fullmatch(fact)}


def _of_header(name: bytes, value: bytes) -> str | None:
    """The key that a header holds; None where it is of another scheme."""
    text = value.decode("latin-1").strip()
    if name == b"x-api-key":
        return text
    scheme, _, rest = text.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, (), {"www-authenticate": "Bearer"})


def _forbidden(detail: str) -> Problem:
    return Problem(403, "forbidden", detail)


def _whose(budget: Budget, caller: Caller) -> str:
    return "this key" if budget.key_id == caller.key_id else "a key that made this one, with all that came of it,"


def _limited(detail: str, seconds: float) -> Problem:
    problem = Problem(429, "rate-limited", detail)
    problem.headers["retry-after"] = str(math.ceil(seconds))
    return problem


def install(
    app: FastAPI, ring: KeyRing | None, limits: Limits, metrics: Metrics, *, requests_per_second: float
) -> None:
    """Have `app` admit whom it may."""
    app.add_middleware(Admit, ring=ring, limits=limits, metrics=metrics, requests_per_second=requests_per_second)
