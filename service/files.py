"""Files that are there wholly or not at all, for their owner's eyes."""

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, *pieces: bytes | memoryview, like: os.stat_result | None = None) -> None:
    """Write a file for its owner's eyes, wholly or not at all, and be sure that it is on disk; with the owner and the mode of
    another, where they are given. Raises `OSError`.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            if like is not None:
                os.fchmod(descriptor, like.st_mode & 0o777)
                if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, like.st_uid, like.st_gid)
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
