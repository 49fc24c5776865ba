"""A service in a process of its own, and clients that wait for each answer before they ask again."""

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BUNDLES = Path(__file__).parents[1] / "deploy" / "demo" / "bundles"
CLIENTS = 32
SECONDS = 4.0


@dataclass(frozen=True)
class Request:
    """What is asked again and again; `bodies` by turns, or each of them once; `num_each` templates in each."""

    what: str
    method: str
    path: str
    bodies: Sequence[bytes | None] = (None,)
    num_each: int = 1
    media_type: str = "application/json"
    clients: int = CLIENTS
    is_once: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = SECONDS
    """For which it is asked again."""


@dataclass(frozen=True)
class Served:
    """A service that runs."""

    port: int
    process_id: int

    @property
    def cpu_seconds(self) -> float:
        """Which it has needed so far."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(data: Path, *flags: str, module: str = "service") -> Iterator[Served]:
    """The service of the demo's bundles, on a folder of data."""
    command = [
        sys.executable,
        "-m",
        module,
        "serve",
        "--port",
        "0",
        "--bundles",
        str(BUNDLES),
        "--data",
        str(data),
        *flags,
    ]
    # Lines of the log go where an operator would have them.
    with (
        (data / "service.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            port = next(int(found[1]) for line in process.stdout if (found := re.search(r"http://[^:]+:(\d+)", line)))
            yield Served(port, process.pid)
        finally:
            process.terminate()
            process.communicate()


def ask(port: int, request: Request) -> list[float]:
    """What each answer took, in seconds, and at the end how long all of it took. Raises `RuntimeError` for a refusal."""
    waited: list[list[float]] = [[] for _ in range(request.clients)]
    failures: list[BaseException] = []
    started = time.perf_counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        mine, turn = waited[number], number
        headers = {"content-type": request.media_type, **request.headers}
        while turn < len(request.bodies) if request.is_once else time.perf_counter() < started + request.seconds:
            began = time.perf_counter()
            connection.request(request.method, request.path, request.bodies[turn % len(request.bodies)], headers)
            response = connection.getresponse()
            response.read()
            mine.append(time.perf_counter() - began)
            turn += 1
            if response.status >= 300:
                raise RuntimeError(f"{request.what or request.path} was answered {response.status}")
        connection.close()

    def tried(number: int) -> None:
        try:
            client(number)
        except (OSError, http.client.HTTPException, RuntimeError) as failure:
            failures.append(failure)

    clients = [threading.Thread(target=tried, args=(number,)) for number in range(request.clients)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    seconds = time.perf_counter() - started
    if failures:
        raise failures[0]
    return [*(one for mine in waited for one in mine), seconds]
