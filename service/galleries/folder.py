"""The data folder of a service: what lies where in it, and that only one process uses it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service.errors import StartupError

RECORD = "default.sqlite3"
"""One file a tenant; the only tenant for now is `default`."""
LOCK = "lock"
PROJECTIONS = "projections"
SNAPSHOTS = "snapshots"
JOBS = "jobs.sqlite3"
"""Not this package's own: nothing of a template is in it, and to read it would let go of SQLite's locks on it (that is POSIX)."""


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


def write_whole(path: Path, *pieces: bytes | memoryview) -> None:
    """Write a file for its owner's eyes, wholly or not at all, and be sure that it is on disk. Raises `OSError`."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


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


def sync_file(path: Path) -> None:
    """Be sure that a file is on disk. Raises `OSError`."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Be sure that names in a folder are on disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
