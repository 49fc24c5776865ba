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


BROKEN = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("reads_body", [True, False])
@pytest.mark.parametrize(
    "packets", [(BROKEN + b"zz\r\n",), (BROKEN, b"zz\r\n"), (BROKEN + b"5\r\nhello\r\n", b"zz\r\n")]
)
async def test_a_request_whose_rest_is_no_http_is_not_answered_twice(
    caplog: pytest.LogCaptureFixture, packets: tuple[bytes, ...], reads_body: bool
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while reads_body and (message := await receive())["type"] != "http.disconnect" and message["more_body"]:
            pass
        await Response(status_code=204)(scope, receive, send)

    metrics = Metrics()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = type("Connection", (_Connection,), {"head_seconds": 30.0, "body_seconds": 30.0, "metrics": metrics})
        server = uvicorn.Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        for packet in packets:
            writer.write(packet)
            await asyncio.sleep(0.1)
        answered = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        server.should_exit = True
        await task
    # Who does not wait for the body may have answered before it was seen to be none.
    assert answered.count(b"HTTP/1.1") == (0 if reads_body or len(packets) == 1 else 1)
    assert b"400" not in answered
    assert [record for record in caplog.records if record.exc_info or record.levelname == "ERROR"] == []
    assert b'type="malformed-http"} 1' not in metrics.exposition()
