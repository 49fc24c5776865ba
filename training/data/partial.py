"""The folder beside a result in which its unfinished work is kept until it is done."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from training.errors import TrainingError


def partial_of(out: Path) -> Path:
    """Where the unfinished work for `out` is kept: `NAME.partial`."""
    return out.with_name(out.name + ".partial")


def check_partial(out: Path, known: Iterable[str]) -> Path:
    """That folder, which need not be there yet.

    Raises `TrainingError` where it holds anything but what such work leaves, whose names match `known`: it is deleted in
    the end, and somebody else's files must not be.
    """
    partial, patterns = partial_of(out), tuple(known)
    try:
        if partial.is_symlink() or (partial.exists() and not partial.is_dir()):
            raise TrainingError(f"{partial}: is where unfinished work is kept, and is no folder; move it away")
        strange = [path for path in partial.glob("*") if not any(fnmatchcase(path.name, name) for name in patterns)]
        if strange:
            raise TrainingError(
                f"{partial}: is where unfinished work is kept, and holds something else ({strange[0].name!a}); move it away"
            )
    except OSError as failure:
        raise TrainingError(f"{partial}: cannot be read ({failure.strerror})") from None
    return partial


@contextmanager
def sole_partial(out: Path, known: Iterable[str]) -> Iterator[Path]:
    """That folder, made and held, so that a second command with the same `out` does not write into it too.

    Left empty it is removed. Raises `TrainingError` as `check_partial` does, and where another command holds it.
    """
    partial = check_partial(out, known)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(partial, os.O_RDONLY)
    except OSError as failure:
        raise TrainingError(f"{partial}: cannot be written ({failure.strerror})") from None
    try:
        # Held by the process: the kernel lets go of it however the process ends.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise TrainingError(
            f"{partial}: another command is at work on {out}; wait for it or choose another name"
        ) from None
    try:
        yield partial
    finally:
        with suppress(OSError):
            partial.rmdir()
        os.close(descriptor)


def check_room(place: Path, needed: int) -> None:
    """Raises `TrainingError` where the disk of `place` has not `needed` bytes left."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TrainingError(f"{place}: about {needed >> 20} MB are needed, and {free >> 20} MB are free")
