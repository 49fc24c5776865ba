"""The data folder of a service: what lies where in it, and that only one process uses it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import StartupError

RECORD = "default.sqlite3"
"""One file a tenant; the only tenant for now is `default`."""
LOCK = "lock"


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel lets go of when the process ends however it ends. Raises `StartupError`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failure:
        raise StartupError(f"{folder}: cannot be used as data folder ({failure.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartupError(f"{folder}: another process uses this data folder; stop it or choose another") from None
    try:
        yield
    finally:
        os.close(descriptor)
