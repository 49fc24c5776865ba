"""Errors as RFC 9457 problem details: each domain error gets its status and type here, and nowhere else.

A problem never repeats what was sent: at most ten errors, each a JSON pointer and a reason.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from service import errors
from service.api.middleware import REQUEST_ID, SAFE
from service.observability.metrics import Metrics

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:facebridge:problem:"
MAX_ERRORS = 10
RETRY_AFTER_SECONDS = "1"
UNION_TAGS = ("numbers", "base64")
"""Names of the ways to write vectors; pydantic puts them into the place of a fault, where they are no JSON pointer."""

MODE_TAGS = ("in-gallery", "closed-set")
"""Names of what `/identify` is asked, likewise."""

_OPEN = ("metadata", "where")
"""Fields of objects whose names their sender gives."""

_STATUS: dict[type[errors.FacebridgeError], tuple[int, str]] = {
    errors.DimensionMismatchError: (422, "dimension-mismatch"),
    errors.NonFiniteVectorError: (422, "non-finite-vector"),
    errors.ZeroNormVectorError: (422, "zero-norm"),
    errors.InvalidNameError: (422, "invalid-name"),
    errors.ImageRejectedError: (422, "image-rejected"),
    errors.NoRouteError: (422, "no-route"),
    errors.NoOperatingPointError: (422, "no-operating-point"),
    errors.LowConfidenceError: (422, "low-confidence"),
    errors.LowNormError: (422, "low-norm"),
    errors.DuplicateSubjectError: (409, "duplicate-subject"),
    errors.SnapshotCorruptError: (422, "snapshot-corrupt"),
    errors.GenerationChangedError: (412, "generation-changed"),
    errors.MigrationInProgressError: (409, "migration-in-progress"),
    errors.GatesFailedError: (409, "gates-failed"),
    errors.RollbackIncompleteError: (409, "rollback-incomplete"),
    errors.JobStateError: (409, "job-state"),
    errors.RollbackExpiredError: (410, "rollback-expired"),
    errors.InvalidInputError: (422, "invalid-request"),
    errors.NotFoundError: (404, "not-found"),
    errors.AlreadyExistsError: (409, "already-exists"),
    errors.SuspectedSpaceError: (409, "space-suspected"),
    errors.SpaceMismatchError: (409, "space-mismatch"),
    errors.BatchTooLargeError: (413, "batch-too-large"),
    errors.QueueFullError: (429, "queue-full"),
    errors.DrainingError: (503, "draining"),
    errors.OverloadedError: (503, "not-ready"),
    errors.EngineError: (500, "engine-failed"),
    errors.InsufficientStorageError: (507, "insufficient-storage"),
    errors.ReadOnlyError: (503, "read-only"),
    errors.StateAwayError: (503, "state-away"),
    errors.DamagedError: (500, "record-damaged"),
    errors.StorageError: (503, "not-recorded"),
    errors.FacebridgeError: (500, "internal"),
}
_SLUG_BY_STATUS = {404: "not-found", 405: "method-not-allowed"}


class ProblemError(BaseModel):
    """One fault: where (a JSON pointer into the body, or the parameter's name) and why."""

    pointer: str
    reason: str


class ProblemDetails(BaseModel):
    """The body of every answer that is not a success (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemError] = []


class Problem(Exception):  # noqa: N818  (RFC 9457's own word)
    """A refusal that only the web knows: bodies that are too large, of an unknown type, not JSON."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        faults: Sequence[ProblemError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.faults = list(faults)[:MAX_ERRORS]
        self.headers = dict(headers or {})
        if status in (429, 503):
            self.headers["retry-after"] = RETRY_AFTER_SECONDS

    def response(self) -> Response:
        """The answer."""
        details = ProblemDetails(
            type=TYPE_PREFIX + self.slug,
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            errors=self.faults,
        )
        return Response(orjson.dumps(details.model_dump()), self.status, self.headers, MEDIA_TYPE)


def problem_of(failure: errors.FacebridgeError) -> Problem:
    """The problem for a domain error: the nearest class in `_STATUS` decides."""
    status, slug = next(_STATUS[cls] for cls in type(failure).__mro__ if cls in _STATUS)
    rows = [ProblemError(pointer=f"/templates/{row}", reason=reason) for row, reason in failure.rows[:MAX_ERRORS]]
    return Problem(status, slug, str(failure), rows)


def problem_of_validation(failure: ValidationError | RequestValidationError) -> Problem:
    """The problem for a body or parameter that does not fit its schema; names that do not fit have a type of their own."""
    faults = list(failure.errors())
    slug = (
        "invalid-name"
        if faults and all(fault["type"] == "string_pattern_mismatch" for fault in faults)
        else "invalid-request"
    )
    # Of a value that may be of several kinds pydantic tells what it is not of each.
    reasons: dict[str, str] = {}
    for fault in faults:
        reasons.setdefault(_pointer(fault), str(fault["msg"]))
    errors_of_it = [ProblemError(pointer=pointer, reason=reason) for pointer, reason in reasons.items()][:MAX_ERRORS]
    return Problem(422, slug, f"the request has {len(faults)} fault(s)", errors_of_it)


OF_THE_WEB: Mapping[str, tuple[int, str]] = {
    "invalid-cursor": (400, "A cursor is not one that a page gave."),
    "malformed-http": (400, "What came is no HTTP: a line, a header or a length that cannot be."),
    "malformed-json": (400, "The body is no JSON: NaN, a key twice, bytes that are no UTF-8, nested too deep."),
    "unauthenticated": (401, "There is no key, or several, or one that opens nothing."),
    "forbidden": (403, "The key is not for this."),
    "method-not-allowed": (405, "The path is there, and is not asked in this way."),
    "request-timeout": (408, "The body took too long to arrive."),
    "idempotency-key-in-progress": (409, "A request with this Idempotency-Key is under way; ask again."),
    "no-galleries": (409, "This replica keeps no galleries."),
    "keys-unavailable": (503, "The file of keys cannot be read, or not be written."),
    "no-keys": (409, "Nobody needs a key here, so there are none to be seen or changed."),
    "payload-too-large": (413, "The body has more bytes than it may have."),
    "unsupported-media-type": (415, "The body is of a type that this route does not take."),
    "idempotency-key-reused": (422, "This Idempotency-Key was used for a request that asked something else."),
    "rate-limited": (429, "The key has asked too often; `Retry-After` says when to come again."),
}
"""What only the web knows of, with what it means."""


def meanings() -> dict[str, tuple[int, str]]:
    """Every type of a problem: its status, and what it means."""
    of_domain = {
        slug: (status, (failure.__doc__ or "").partition("\n")[0]) for failure, (status, slug) in _STATUS.items()
    }
    return of_domain | dict(OF_THE_WEB)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Answer every error of `app` with a problem, and count it."""
    # From the start: of a series that begins at one Prometheus sees no increase.
    for slug in meanings():
        metrics.problems.labels(slug)

    def answer(request: Request, problem: Problem) -> Response:
        metrics.problems.labels(problem.slug).inc()
        return problem.response()

    async def domain(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, errors.FacebridgeError)
        return answer(request, problem_of(failure))

    async def own(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, Problem)
        return answer(request, failure)

    async def validation(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, RequestValidationError)
        return answer(request, problem_of_validation(failure))

    async def http(request: Request, failure: Exception) -> Response:
        assert isinstance(failure, HTTPException)
        slug = _SLUG_BY_STATUS.get(failure.status_code, "invalid-request")
        return answer(
            request, Problem(failure.status_code, slug, HTTPStatus(failure.status_code).phrase, (), failure.headers)
        )

    async def unexpected(request: Request, failure: Exception) -> Response:
        # Answered outside all middleware, so the id is put on here.
        headers = {name.decode(): value.decode() for name, value in SAFE}
        headers["x-request-id"] = request.scope[REQUEST_ID]
        return answer(
            request, Problem(500, "internal", "the service failed; its log names this request's id", (), headers)
        )

    app.add_exception_handler(errors.FacebridgeError, domain)
    app.add_exception_handler(Problem, own)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unexpected)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems."""
    schema = {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}
    return {status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: schema}} for status in statuses}


def _pointer(fault: Any) -> str:
    place = [str(part) for part in fault["loc"] if part not in ("body", "query", "path", *UNION_TAGS)]
    if place and place[0] in MODE_TAGS:
        place = place[1:]
    if fault["type"] == "extra_forbidden":
        # The last part is the unknown key itself: something that was sent.
        place = place[:-1]
    for name in _OPEN:
        if name in place:
            # What is below has names that were sent.
            place = place[: place.index(name) + 1]
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in place)
