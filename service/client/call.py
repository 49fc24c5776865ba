"""A request as a value, and what its answer is to be made into."""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from service.client.errors import ProblemError, StrangerError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_MOST_SECONDS = 1e9
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """What is asked. It may be sent several times: a write has a name by which the service does it once."""

    method: str
    path: str
    read: Callable[[httpx.Response], T_co]
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    content: bytes | None = None
    media_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def request(self, client: "httpx.Client | httpx.AsyncClient") -> httpx.Request:
        """For a client of httpx."""
        headers = dict(self.headers) | ({"content-type": self.media_type} if self.media_type else {})
        query = {name: value for name, value in self.query.items() if value is not None}
        return client.build_request(
            self.method, self.path, params=query, json=self.json, content=self.content, headers=headers
        )

    def answer(self, response: httpx.Response) -> T_co:
        """What the answer says. Raises `ProblemError`, `StrangerError`."""
        if not response.is_success:
            raise problem_of(response)
        return self.read(response)


def path_of(*parts: str) -> str:
    """Raises `ValueError` for what cannot stand in a path: on the way `..` would become what is above it."""
    if any(part in ("", ".", "..") or {".", ".."} & set(part.split("/")) for part in parts):
        raise ValueError("it is empty, or leads elsewhere")
    return "".join("/" + quote(part, safe="") for part in parts)


def once() -> dict[str, str]:
    """The headers of a write that is done once, however often it is sent."""
    return {"idempotency-key": secrets.token_hex(16)}


def reader(adapter: TypeAdapter[T]) -> Callable[[httpx.Response], T]:
    """Reads JSON as a type; what is not known of it is left out, so that a newer service is understood."""

    def read(response: httpx.Response) -> T:
        try:
            return adapter.validate_json(response.content)
        except ValidationError:
            raise stranger() from None

    return read


def inside(name: str, adapter: TypeAdapter[T]) -> Callable[[httpx.Response], T]:
    """Reads one field of a JSON object as a type."""
    outer = reader(TypeAdapter(dict[str, Any]))

    def read(response: httpx.Response) -> T:
        try:
            return adapter.validate_python(outer(response)[name])
        except (KeyError, ValueError):
            raise stranger() from None

    return read


def document(response: httpx.Response) -> dict[str, Any]:
    """The answer is JSON, and is taken as it is."""
    return _read_document(response)


def content(response: httpx.Response) -> bytes:
    """The answer is taken as it is."""
    return response.content


def text(response: httpx.Response) -> str:
    """The answer is text."""
    return response.text


def nothing(_: httpx.Response) -> None:
    """The answer has no body."""


def stranger() -> StrangerError:
    """What is raised where an answer cannot be read."""
    return StrangerError("the answer is none of Facebridge's, or of another version of it")


_read_document = reader(TypeAdapter(dict[str, Any]))


def problem_of(response: httpx.Response) -> ProblemError:
    """What a refusal says, as far as it says something."""
    after = response.headers.get("retry-after", "")
    more: dict[str, Any] = {
        "retry_after": min(float(after), _MOST_SECONDS) if _DIGITS.fullmatch(after) else None,
        "request_id": response.headers.get("x-request-id", ""),
    }
    try:
        problem = response.json()
        slug = problem["type"].rpartition(":")[2]
        errors = [(fault["pointer"], fault["reason"]) for fault in problem["errors"]]
        return ProblemError(response.status_code, slug, problem["detail"], errors, **more)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ProblemError(response.status_code, "unknown", f"answered with {response.status_code}", **more)
