"""The service as a process of its own."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.galleries.failpoints import VARIABLE

WAIT_SECONDS = 20


@dataclass
class Served:
    process: subprocess.Popen[str]
    url: str
    output: str


@contextmanager
def serving(bundles: Path, data: Path, *flags: str, failpoint: str = "") -> Iterator[Served]:
    """`facebridge serve` as an operator starts it, on a free port; it ends itself where it gets to a failpoint."""
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--port",
        "0",
        "--bundles",
        str(bundles),
        "--data",
        str(data),
        *flags,
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FACEBRIDGE_")}
    environment |= {VARIABLE: failpoint} if failpoint else {}
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=root, env=environment
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            if match := re.match(r"serving on (http://\S+)", line):
                yield Served(process, match[1], "".join(lines))
                break
        else:
            raise AssertionError("".join(lines))
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)
        assert process.stdout is not None
        process.stdout.close()
