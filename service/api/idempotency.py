"""`Idempotency-Key`: a write that comes again, as the answer to the first was lost, is answered and not done again.

The answer is kept in the transaction of the write itself (`Once`), so there is no moment in which one is there without the
other. Kept for a day.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

from service.api.bodies import JSON, body_digest
from service.api.problems import Problem
from service.entities import Answer, Once

Answered = Callable[[bytes], tuple[bytes, Answer] | None]
HEADER = "idempotency-key"
REPLAYED = "idempotency-replayed"
_MAX_KEY = 255


class AlreadyAnswered(Exception):  # noqa: N818  (no error)
    """The request was carried out before."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def response(self) -> Response:
        """The answer that it got, marked."""
        return Response(self.answer.body, self.answer.status, {REPLAYED: "true"}, JSON if self.answer.body else None)


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """A write, and the name that it gives itself, if any."""

    key: bytes | None
    digest: bytes

    def telling(self, status: int, view: Callable[[Any], BaseModel | None]) -> Once | None:
        """For the store: how what is done is answered."""
        if self.key is None:
            return None

        def answer(outcome: Any) -> Answer:
            model = view(outcome)
            return Answer(status, b"" if model is None else model.model_dump_json().encode())

        return Once(self.key, self.digest, answer)


class Idempotency:
    """The requests with a name of their own that are under way here, and those that are done."""

    def __init__(self, of_galleries: Answered, of_jobs: Answered) -> None:
        """They find what was answered before, each in what it keeps."""
        self._of_galleries, self._of_jobs = of_galleries, of_jobs
        self._in_progress: set[bytes] = set()

    @asynccontextmanager
    async def once(self, request: Request) -> AsyncIterator[NamedRequest]:
        """Around what a write does, once its body is read.

        Raises `AlreadyAnswered`; `Problem` for a key that is none, is in use, or was used for something else.
        """
        named = request.headers.getlist(HEADER)
        if not named:
            yield NamedRequest(None, b"")
            return
        key, digest = _key(request, named), _digest(request)
        if key in self._in_progress:
            raise Problem(409, "idempotency-key-in-progress", "a request with this Idempotency-Key is under way")
        self._in_progress.add(key)
        try:
            # Jobs may be kept elsewhere, and a write to a gallery does not wait for that; an exchange is kept with its gallery.
            found = await asyncio.to_thread(self._of_galleries, key)
            if found is None and _is_of_jobs(request):
                found = await asyncio.to_thread(self._of_jobs, key)
            if found is not None:
                if found[0] != digest:
                    raise Problem(
                        422,
                        "idempotency-key-reused",
                        "this Idempotency-Key was used for a request that asked something else",
                    )
                raise AlreadyAnswered(found[1])
            yield NamedRequest(key, digest)
        finally:
            self._in_progress.discard(key)


def install(app: FastAPI) -> None:
    """Answer requests that were carried out before as they were answered."""

    async def replay(request: Request, already: Exception) -> Response:
        assert isinstance(already, AlreadyAnswered)
        return already.response()

    app.add_exception_handler(AlreadyAnswered, replay)


def _key(request: Request, named: list[str]) -> bytes:
    if len(named) != 1 or not 0 < len(named[0]) <= _MAX_KEY or not (named[0].isascii() and named[0].isprintable()):
        raise Problem(
            422, "invalid-request", f"Idempotency-Key must be 1 to {_MAX_KEY} printable ASCII characters, once"
        )
    return hashlib.sha256(f"{request.method} {request.url.path}\n{named[0]}".encode()).digest()


def _is_of_jobs(request: Request) -> bool:
    path: str = request.scope["path"]
    return path.startswith("/jobs/") or path.endswith("/migrations")


def _digest(request: Request) -> bytes:
    asked = f"{request.url.query}\n{request.headers.get('content-type', '')}\n".encode()
    return hashlib.sha256(asked + body_digest(request)).digest()
