"""Connections that are silent after what was left of a refused body."""

import asyncio
import json
import re
import socket

import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.observability.metrics import Metrics
from service.server import _Connection

SILENT_SECONDS = 1


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=415)(scope, receive, send)


async def test_they_are_closed_as_all_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = type("Connection", (_Connection,), {"head_seconds": 30.0, "body_seconds": 30.0, "metrics": Metrics()})
        config = uvicorn.Config(
            refuses, http=http, timeout_keep_alive=SILENT_SECONDS, lifespan="off", log_level="error"
        )
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 415")
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.read(), 10 * SILENT_SECONDS) == b""
        writer.close()
        server.should_exit = True
        await task


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: abc\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_is_refused_as_all_else_is(sent: bytes) -> None:
    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    metrics = Metrics()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = type("Connection", (_Connection,), {"head_seconds": 30.0, "body_seconds": 30.0, "metrics": metrics})
        server = uvicorn.Server(uvicorn.Config(reads, http=http, lifespan="off", log_level="error"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(sent)
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        writer.close()
        server.should_exit = True
        await task
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert first == "HTTP/1.1 400 Bad Request"
    assert json.loads(body)["type"] == "urn:facebridge:problem:malformed-http"
    assert int(headers["content-length"]) == len(body)
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert re.fullmatch(r"[0-9a-f]{16}", headers["x-request-id"])
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert b'facebridge_problems_total{type="malformed-http"} 1.0' in metrics.exposition()
