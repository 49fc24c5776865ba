"""The data folder of a service: what lies where in it, and that only one process uses it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import StartupError

RECORD = "default.sqlite3"
TENANTS = "tenants"
"""Below it the data folders of tenants other than the default one, each for itself."""
LOCK = "lock"
PROJECTIONS = "projections"
SNAPSHOTS = "snapshots"
OF_OTHERS = ("jobs.sqlite3", "limits.sqlite3", "journal.sqlite3")
"""Not this package's own: nothing of a template is in them, and to read them would let go of SQLite's locks (that is POSIX)."""


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel lets go of when the process ends however it ends. Raises `StartupError`."""
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise StartupError(f"{str(folder)!a}: the path of a data folder must be UTF-8, as SQLite names files") from None
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


def vacuum(db: sqlite3.Connection, folder: Path) -> None:
    """Write a database anew; what SQLite needs besides lies in `folder`, and neither in memory nor where others' files lie.

    Raises `sqlite3.Error`.
    """
    # SQLite looks at its variable of the environment once in a process, when it is too late to name this folder.
    directory = str(folder).replace("'", "''")
    db.execute("PRAGMA temp_store=FILE")
    try:
        db.execute(f"PRAGMA temp_store_directory='{directory}'")
        db.execute("VACUUM")
    finally:
        db.execute("PRAGMA temp_store_directory=''")
        db.execute("PRAGMA temp_store=MEMORY")
