"""The web server: what its process may take, how long it waits for a client, and how it stops."""

import asyncio
import ctypes
import logging
import os
import random
import resource
import socket
from contextlib import suppress
from types import FrameType

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.config import LOGGING_CONFIG
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.api.middleware import SAFE
from service.api.problems import Problem
from service.observability.metrics import Metrics
from service.observability.traffic import Traffic
from service.settings import Settings

log = logging.getLogger("facebridge.requests")

SHUTDOWN_SECONDS = 20
"""For requests in progress; ten more are left of the thirty that orchestrators give."""
_KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep a connection for which they have no use (httpx 5, nginx 60): else one of them sends a
request at the moment at which it is closed here, and nobody answers.
"""
_MALLOC_OPTIONS = {-8: 2, -3: 1 << 20, -1: 4 << 20}
"""M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: two heaps, pieces of a mebibyte and more apart, at most four unused."""


def bound_memory() -> None:
    """Have the C library give back what is not used any more, where it is glibc's and nobody has told it otherwise.

    It would give threads heaps of their own, eight for each core, which all stay as large as they once were, and put ever larger
    pieces into them.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for option, value in _MALLOC_OPTIONS.items():
            library.mallopt(option, value)


def allow_connections() -> None:
    """Have as many files and connections open as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Server(uvicorn.Server):
    """Which refuses connections as soon as it is told to stop, and whose clients hear of it before theirs are closed: so hardly
    anybody has to guess what became of a request.
    """

    def __init__(self, app: FastAPI, settings: Settings, traffic: Traffic, metrics: Metrics) -> None:
        of_all = {"head_seconds": settings.head_seconds, "body_seconds": settings.body_seconds, "metrics": metrics}
        config = uvicorn.Config(
            app,
            http=type("Connection", (_Connection,), of_all),
            log_level=settings.log_level,
            access_log=False,
            # Without its own it logs as everybody does.
            log_config=None if settings.log_format == "json" else LOGGING_CONFIG,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            server_header=False,
        )
        super().__init__(config)
        self._traffic = traffic
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The signal that says so."""
        self._traffic.is_stopping = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop_listening)
        super().handle_exit(sig, frame)

    def _stop_listening(self) -> None:
        for server in self.servers:
            server.close()


class _Connection(H11Protocol):
    """HTTP over a connection that is closed where the head of a request, what is left of a body that nobody reads any more, or
    the reading of an answer takes too long: whoever sends or takes a byte now and then would keep it, and an answer, for ever.

    h11 and not httptools: it bounds the bytes of a head, and does not stop reading HTTP where somebody asks for another protocol.
    """

    head_seconds: float
    body_seconds: float
    metrics: Metrics
    _giving_up: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        is_answered = self.cycle is None or self.cycle.response_complete
        is_between = self.conn.their_state is h11.IDLE
        if not is_answered or self.transport.is_closing():
            # A body that is read has a time of its own.
            self._stop_waiting()
        elif is_between and not self.conn.trailing_data[0]:
            self._stop_waiting()
            if self.cycle is not None and self.timeout_keep_alive_task is None:
                # What was left of a body has come after its answer, and the time that began with that was ended.
                handler = self.timeout_keep_alive_handler
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)
        elif self._giving_up is None:
            self._wait(self.head_seconds if is_between else self.body_seconds)

    def send_400_response(self, msg: str) -> None:
        """Of what is no HTTP, in the words of all other refusals. Where a request is worked on already of which the rest is none,
        only the connection ends, as it does where a client goes: nobody could tell what became of it.
        """
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if (cycle is not None and cycle.disconnected) or self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        request_id = b"%016x" % random.getrandbits(64)
        log.warning("what came as %s is no HTTP", request_id.decode())
        problem = Problem(400, "malformed-http", "this is no HTTP request that can be read")
        self.metrics.problems.labels(problem.slug).inc()
        answer = problem.response()
        more = [(b"x-request-id", request_id), (b"connection", b"close"), *SAFE]
        response = h11.Response(status_code=400, headers=[*answer.raw_headers, *more], reason=b"Bad Request")
        for event in (response, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(self.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _wait(self, seconds: float) -> None:
        self._giving_up = self.loop.call_later(seconds, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
