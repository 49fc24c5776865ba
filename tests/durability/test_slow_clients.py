"""Clients that send or read slowly, over real connections: each has its time, and nobody has one for ever."""

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from deploy.demo.people import BUNDLES, EDGE
from models.bundle import read_bundle
from models.npy import write_npy
from tests.serving import Served, serving

HEAD_SECONDS, BODY_SECONDS = 0.6, 2.0
LATE_SECONDS = 30.0
ASKED = b"GET /healthz/live HTTP/1.1\r\nhost: x\r\n\r\n"
ROWS = 4096


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    flags = ("--head-seconds", str(HEAD_SECONDS), "--body-seconds", str(BODY_SECONDS), "--device", "cpu")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
    try:
        with serving(BUNDLES, tmp_path_factory.mktemp("data"), *flags, "--requests-at-once", "2") as served:
            yield served
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def connection(served: Served) -> Iterator[socket.socket]:
    with opened(served) as connection:
        yield connection


def opened(served: Served, *, buffer: int = 0) -> socket.socket:
    address = urlsplit(served.url)
    connection = socket.socket()
    connection.settimeout(LATE_SECONDS)
    if buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    assert address.hostname is not None
    assert address.port is not None
    connection.connect((address.hostname, address.port))
    return connection


def answer(connection: socket.socket) -> tuple[int, bytes]:
    """The status and the body of the next."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        part = connection.recv(4096)
        assert part, heard
        heard += part
    head, _, body = heard.partition(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < int(length.partition(b":")[2]):
        body += connection.recv(65536)
    return int(head.split(b" ", 2)[1]), body


def seconds_until_closed(connection: socket.socket, *, sends: bytes, patience: float) -> float | None:
    """For how long it is open where a byte is sent now and then; None where it is for longer than was waited."""
    began = time.monotonic()
    connection.settimeout(0.05)
    while time.monotonic() < began + patience:
        try:
            connection.sendall(sends)
            if not connection.recv(4096):
                return time.monotonic() - began
        except TimeoutError:
            continue
        except OSError:
            return time.monotonic() - began
    return None


@pytest.mark.parametrize(
    ("sent", "goes_on"),
    [(b"", b""), (b"POST /translate HTTP/1.1\r\nx-slow: ", b" ")],
    ids=["nothing", "part of a head"],
)
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "another"])
def test_a_head_that_does_not_come_is_not_waited_for(
    connection: socket.socket, *, sent: bytes, goes_on: bytes, is_first: bool
) -> None:
    if not is_first:
        connection.sendall(ASKED)
        assert answer(connection)[0] == 200
        # Whoever has asked before may be silent for longer than a head may take.
        assert seconds_until_closed(connection, sends=b"", patience=2 * HEAD_SECONDS) is None
    connection.sendall(sent)
    closed = seconds_until_closed(connection, sends=goes_on, patience=6 * HEAD_SECONDS)
    if sent or is_first:
        assert closed is not None
        assert 0.5 * HEAD_SECONDS < closed < 5 * HEAD_SECONDS
    else:
        assert closed is None


def test_a_body_has_a_longer_time_of_its_own(connection: socket.socket) -> None:
    head, body = translation(1)
    connection.sendall(head)
    step = len(body) // 4
    for start in range(0, len(body), step):
        time.sleep(HEAD_SECONDS / 2)
        connection.sendall(body[start : start + step])
    assert answer(connection)[0] == 200


def test_a_body_that_does_not_come_is_told_so(connection: socket.socket) -> None:
    connection.sendall(translation(1)[0])
    assert answer(connection)[0] == 408


def test_what_comes_after_a_refusal_has_its_time_and_leaves_the_connection_to_others(connection: socket.socket) -> None:
    connection.sendall(b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\n")
    assert answer(connection)[0] == 415
    for byte in b"hello":
        time.sleep(HEAD_SECONDS / 3)
        connection.sendall(bytes([byte]))
    assert seconds_until_closed(connection, sends=b"", patience=2 * HEAD_SECONDS) is None
    connection.settimeout(LATE_SECONDS)
    connection.sendall(ASKED)
    assert answer(connection)[0] == 200


def test_what_does_not_come_after_a_refusal_is_not_waited_for(connection: socket.socket) -> None:
    head = b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\ncontent-length: 999999\r\n\r\n"
    connection.sendall(head)
    assert answer(connection)[0] == 415
    closed = seconds_until_closed(connection, sends=b"x", patience=4 * BODY_SECONDS)
    assert closed is not None
    assert 0.5 * BODY_SECONDS < closed < 3 * BODY_SECONDS


def test_who_does_not_read_keeps_neither_a_place_nor_an_answer(served: Served) -> None:
    head, body = translation(ROWS)
    wanted = 3 * len(translated(served))
    with opened(served, buffer=4096) as one, opened(served, buffer=4096) as other:
        for connection in (one, other):
            connection.settimeout(0.2)
            with suppress(TimeoutError):
                for _ in range(3):
                    connection.sendall(head + body)
        time.sleep(2 * BODY_SECONDS)
        # The service has two places.
        with opened(served) as third:
            third.sendall(b"".join(translation(1)))
            assert answer(third)[0] == 200
        for connection in (one, other):
            connection.settimeout(LATE_SECONDS)
            num_bytes = 0
            with suppress(ConnectionResetError):
                while part := connection.recv(1 << 20):
                    num_bytes += len(part)
            assert num_bytes < wanted / 2


def test_a_head_without_end_is_refused(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.sendall(b"GET /healthz/live HTTP/1.1\r\nhost: x\r\nx-long: ")
        for _ in range(64):
            connection.sendall(b"x" * 16_384)
    connection.settimeout(LATE_SECONDS)
    with suppress(ConnectionResetError):
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("upgrade", [b"h2c", b"websocket"])
def test_whoever_asks_for_another_protocol_is_answered_in_this_one(connection: socket.socket, upgrade: bytes) -> None:
    head, body = translation(2)
    extra = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: " + upgrade + b"\r\n\r\n"
    connection.sendall(head[:-2] + extra)
    # A body that looks like a request is none.
    connection.sendall(body)
    assert answer(connection)[0] == 200
    connection.sendall(ASKED)
    assert answer(connection) == (200, b'{"status":"ok"}')


def test_as_many_files_are_open_as_the_system_allows(served: Served) -> None:
    limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
    assert soft == hard


def translation(num_rows: int) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    own = read_bundle(BUNDLES / EDGE).manifest.target
    rows = np.random.default_rng(0).standard_normal((num_rows, own.dimension)).astype(np.float32)
    body = write_npy(rows)
    head = (
        f"POST /translate?source={own.name}&target=cloud HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-npy\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode(), body


def translated(served: Served) -> bytes:
    """What is answered."""
    with opened(served) as connection:
        connection.sendall(b"".join(translation(ROWS)))
        status, body = answer(connection)
    assert status == 200
    return body
