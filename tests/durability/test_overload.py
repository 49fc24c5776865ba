"""A service that is asked four times as much as it can do, over five hundred connections that are slow beside, does what it can
and refuses the rest at once.
"""

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from deploy.demo.people import BUNDLES, EDGE
from models.bundle import read_bundle
from tests.serving import Served, serving

SIDE = 1500
"""Pixels of a picture: to decode one takes most of what a request costs, and both cores can."""
AT_ONCE = 64
CLIENTS = 16
SLOW = 500
SECONDS = 5.0
OVER = 4.0
LATE_SECONDS = 30.0


@dataclass
class Heard:
    """When each answer came, and after how long, by status."""

    came: dict[int, list[float]] = field(default_factory=dict)
    took: dict[int, list[float]] = field(default_factory=dict)
    without_retry: int = 0

    def note(self, status: int, sent: float, head: bytes) -> None:
        now = time.perf_counter()
        self.came.setdefault(status, []).append(now)
        self.took.setdefault(status, []).append(now - sent)
        self.without_retry += status == 429 and b"retry-after: " not in head.lower()

    def rate(self, status: int, since: float, until: float) -> float:
        return sum(since <= at < until for at in self.came.get(status, [])) / (until - since)


class Connection:
    """HTTP over one connection, as cheap as can be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, url: str) -> "Connection":
        address = urlsplit(url)
        return cls(*await asyncio.open_connection(address.hostname, address.port))

    async def ask(self, request: bytes, heard: Heard) -> None:
        sent = time.perf_counter()
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        heard.note(int(head.split(b" ", 2)[1]), sent, head)


def picture_request() -> bytes:
    """Two photos, whether they are of one person."""
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (200, 150, 120)).save(stream, "JPEG")
    space = read_bundle(BUNDLES / EDGE).manifest.target.name
    landmarks = [[SIDE * x, SIDE * y] for x, y in ((0.4, 0.4), (0.6, 0.4), (0.5, 0.5), (0.42, 0.6), (0.58, 0.6))]
    face = {"space": space, "image": base64.b64encode(stream.getvalue()).decode(), "landmarks": landmarks}
    body = json.dumps({"a": face, "b": face}).encode()
    head = f"POST /verify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def one_after_the_other(url: str, request: bytes, seconds: float) -> float:
    """How many are answered a second where nobody asks again before the answer."""
    heard = Heard()
    until = time.perf_counter() + seconds

    async def client() -> None:
        connection = await Connection.to(url)
        while time.perf_counter() < until:
            await connection.ask(request, heard)
        connection.writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    assert set(heard.came) == {200}
    # The first tenth is to warm up.
    return heard.rate(200, until - 0.9 * seconds, until)


async def whether_answered_or_not(url: str, request: bytes, per_second: float) -> Heard:
    """Asks so many a second, whatever comes of those before."""
    heard, tasks = Heard(), set()
    free: list[Connection] = []
    began = time.perf_counter()

    async def one() -> None:
        connection = free.pop() if free else await Connection.to(url)
        await connection.ask(request, heard)
        free.append(connection)

    for number in range(int(per_second * (SECONDS + 1))):
        await asyncio.sleep(began + number / per_second - time.perf_counter())
        task = asyncio.create_task(one())
        tasks.add(task)
    done, late = await asyncio.wait(tasks, timeout=LATE_SECONDS)
    assert not late
    for task in done:
        task.result()
    for connection in free:
        connection.writer.close()
    heard.came = {status: [at - began for at in times] for status, times in heard.came.items()}
    return heard


@asynccontextmanager
async def slow_clients(url: str) -> AsyncIterator[list[Connection]]:
    """Half of which do not come to the end of the head, the others not to that of the body."""
    head = b"POST /translate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    connections = [await Connection.to(url) for _ in range(SLOW)]

    async def trickle(connection: Connection, number: int) -> None:
        connection.writer.write(head + (b"content-length: 100000\r\n\r\n{" if number % 2 else b"x-slow: "))
        while True:
            await asyncio.sleep(1.0 + number / SLOW)
            connection.writer.write(b" ")

    tasks = [asyncio.create_task(trickle(connection, number)) for number, connection in enumerate(connections)]
    try:
        yield connections
    finally:
        for task in tasks:
            task.cancel()
        for connection in connections:
            connection.writer.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    flags = ("--requests-at-once", str(AT_ONCE), "--log-level", "warning", "--device", "cpu")
    with serving(BUNDLES, tmp_path, *flags) as served:
        yield served


@pytest.mark.alone
async def test_four_times_too_much_and_five_hundred_slow_connections_cost_a_fifth_at_most(served: Served) -> None:
    request = picture_request()
    capacity = await one_after_the_other(served.url, request, SECONDS)
    async with slow_clients(served.url) as slow:
        await asyncio.sleep(1)
        heard = await whether_answered_or_not(served.url, request, OVER * capacity)
        assert not any(connection.reader.at_eof() for connection in slow)
    goodput = heard.rate(200, 1.0, 1.0 + SECONDS)
    refused = np.percentile(heard.took[429], [50, 95]) * 1000
    sys.stdout.write(
        f"{capacity:.0f} a second; of {OVER:g} times as many {goodput / capacity:.2f} of these, "
        f"refused in {refused[0]:.0f} ms (median), {refused[1]:.0f} (of 95 %), answered in "
        f"{1000 * np.median(heard.took[200]):.0f}\n"
    )
    assert set(heard.came) == {200, 429}
    assert heard.without_retry == 0
    assert goodput >= 0.8 * capacity
    assert refused[0] < 50
