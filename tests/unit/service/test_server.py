"""Connections that are silent after what was left of a refused body."""

import asyncio
import socket

import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.server import _Connection

SILENT_SECONDS = 1


async def refuses(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(status_code=415)(scope, receive, send)


async def test_they_are_closed_as_all_others() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        http = type("Connection", (_Connection,), {"head_seconds": 30.0, "body_seconds": 30.0})
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
