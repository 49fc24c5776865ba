"""The folder beside a result in which its unfinished work is kept until it is done."""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path

from training.errors import TrainingError

_ATTEMPTS = 10
"""To lock a folder that others delete at the same moment."""


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

    Whoever leaves without an error is done, and the folder is deleted; after an error it stays for the next time, unless
    it is empty. Raises `TrainingError` as `check_partial` does, and where another command holds it.
    """
    partial = check_partial(out, known)
    descriptor = _hold(partial)
    if descriptor is None:
        raise TrainingError(f"{partial}: another command is at work on {out}; wait for it or choose another name")
    try:
        yield partial
        shutil.rmtree(partial, ignore_errors=True)
    finally:
        # As long as it is held nobody else makes a new one in its place, so that this is one's own.
        with suppress(OSError):
            partial.rmdir()
        os.close(descriptor)


def _hold(partial: Path) -> int | None:
    """Lock the folder, made where it is not there; None where another process has it. Raises `TrainingError`."""
    for attempt in range(_ATTEMPTS):
        try:
            partial.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(partial, os.O_RDONLY)
        except OSError as failure:
            if isinstance(failure, FileNotFoundError) and attempt < _ATTEMPTS - 1:
                continue
            raise TrainingError(f"{partial}: cannot be written ({failure.strerror})") from None
        try:
            # The kernel lets go of it however the process ends.
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return None
        # Between opening and locking it may have been another's, who is done and has deleted it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), partial.stat()):
                return descriptor
        os.close(descriptor)
    return None


def empty(folder: Path) -> None:
    """Delete what is in the folder, and leave the folder itself: it may be held."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_writable(out: Path) -> None:
    """Raises `TrainingError` where nothing can be written at `out`; call it before long work."""
    place = next(folder for folder in out.absolute().parents if folder.exists())
    if not place.is_dir():
        raise TrainingError(f"{out}: cannot be written ({place} is no folder)")
    if not os.access(place, os.W_OK | os.X_OK) or (out.exists() and not os.access(out, os.W_OK)):
        raise TrainingError(f"{out}: cannot be written (Permission denied)")


def check_room(place: Path, needed: int) -> None:
    """Raises `TrainingError` where the disk of `place` has not `needed` bytes left."""
    free = shutil.disk_usage(place).free
    if free < needed:
        raise TrainingError(f"{place}: about {needed >> 20} MB are needed, and {free >> 20} MB are free")
