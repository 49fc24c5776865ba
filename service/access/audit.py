"""Who did what: a log to which is only added, each entry with the digest of the one before. Neither vectors nor names of subjects
are in it, so that nothing of somebody who is erased is left here; receipts say who that was.

Whoever changes, leaves out or moves an entry breaks the chain from there on, which `check_audit` finds; and whoever writes all of
it anew, where somebody kept the digest of an entry.
"""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.errors import DamagedError, StartupError, StorageError
from service.files import sync_folder

FOLDER = "audit"
START = "0" * 64
"""What the first entry says is before it."""
_LARGEST_BYTES = 4 << 20
_MOST_WAITING = 65_536
_AT_ONCE = 1024
_LINGER_SECONDS = 0.2
"""For which entries that nobody waits for wait for others."""
log = logging.getLogger("facebridge.audit")


@dataclass(frozen=True, slots=True)
class Checked:
    """An unbroken chain."""

    num_entries: int
    first: int
    """The number of its first entry; those before it were put away."""
    last: int
    head: str
    """The digest of the last entry: whoever kept it knows that nothing before it has changed since."""


class AuditLog:
    """The log of one folder, in files of some size."""

    def __init__(self, folder: Path) -> None:
        """Open it at its end. Raises `StartupError` where that is not as it was written."""
        self.folder, self.num_lost = folder, 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._number, self._head = _end_of(folder)
        except (OSError, DamagedError) as failure:
            raise StartupError(f"{folder}: {getattr(failure, 'strerror', None) or failure}") from None
        self._waiting: list[tuple[dict[str, Any] | None, Future[None] | None]] = []
        self._changed, self._is_urgent, self._is_over = threading.Condition(), False, False
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    @property
    def head(self) -> tuple[int, str]:
        """The number and the digest of the last entry that is written."""
        return self._number, self._head

    def add(self, facts: Mapping[str, Any]) -> None:
        """Write it soon, with others. What is read only need not wait for the disk. Raises `StorageError`."""
        self._put(dict(facts), None)

    def record(self, facts: Mapping[str, Any]) -> "Future[None]":
        """Done when it is on disk; raises `StorageError` where it cannot be."""
        done: Future[None] = Future()
        try:
            self._put(dict(facts), done)
        except StorageError as failure:
            done.set_exception(failure)
        return done

    def flush(self) -> "Future[None]":
        """Done when what was added before is on disk, or cannot be."""
        done: Future[None] = Future()
        self._put(None, done)
        return done

    def close(self) -> None:
        """When everything is written."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        self._thread.join()

    def _put(self, facts: dict[str, Any] | None, done: "Future[None] | None") -> None:
        try:
            _canonical(facts or {})
        except TypeError:
            raise StorageError("the audit log cannot be written: an entry is no JSON") from None
        with self._changed:
            if self._is_over:
                raise StorageError("the audit log is closed")
            if len(self._waiting) >= _MOST_WAITING:
                raise StorageError("the audit log is not written fast enough")
            self._waiting.append((facts, done))
            self._is_urgent = self._is_urgent or done is not None
            # Whoever waits for more is left alone: to be woken costs more than to write.
            if self._is_urgent or len(self._waiting) in (1, _AT_ONCE):
                self._changed.notify()

    def _taken(self) -> list[tuple[dict[str, Any] | None, "Future[None] | None"]]:
        """What is to be written together; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_over)
            self._changed.wait_for(
                lambda: self._is_urgent or self._is_over or len(self._waiting) >= _AT_ONCE, _LINGER_SECONDS
            )
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            self._is_urgent = any(done is not None for _, done in self._waiting)
            return batch

    def _run(self) -> None:
        while batch := self._taken():
            # Whoever does not wait any more is written down all the same.
            waiting = [one for one in batch if one[1] is not None and one[1].set_running_or_notify_cancel()]
            entries = [facts for facts, _ in batch if facts is not None]
            is_written = self._is_written(entries)
            self.num_lost += 0 if is_written else len(entries)
            for facts, done in waiting:
                assert done is not None
                if is_written or facts is None:
                    done.set_result(None)
                else:
                    done.set_exception(StorageError("the audit log cannot be written; what was asked may be done"))

    def _is_written(self, entries: list[dict[str, Any]]) -> bool:
        try:
            if entries:
                self._write(entries)
        except Exception as failure:  # noqa: BLE001  (a worker's boundary: every waiter hears of it)
            log.error(
                "the audit log cannot be written: %s", getattr(failure, "strerror", None) or type(failure).__name__
            )
            return False
        return True

    def _write(self, entries: list[dict[str, Any]]) -> None:
        """All of them or none, and on disk."""
        number, head, lines = self._number, self._head, []
        for facts in entries:
            number += 1
            line, head = _line({**facts, "number": number, "before": head})
            lines.append(line)
        path = self._path_for(self._number + 1)
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            if is_new:
                # Before anything is in it: what is told after this is found.
                sync_folder(self.folder)
            size = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, b"".join(lines))
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise
        finally:
            os.close(descriptor)
        self._number, self._head = number, head

    def _path_for(self, number: int) -> Path:
        """The last file, or another one where that is full."""
        paths = _paths(self.folder)
        if paths and paths[-1].stat().st_size < _LARGEST_BYTES:
            return paths[-1]
        return self.folder / f"{number:012d}.jsonl"


def read_audit(folder: Path, after: int = 0) -> Iterator[dict[str, Any]]:
    """Entries after that of a number, checked against each other. Raises `DamagedError` where the chain is broken."""
    paths = _paths(folder)
    # A file is named by its first entry.
    starts = [int(path.stem) for path in paths]
    first = max((place for place, start in enumerate(starts) if start <= after + 1), default=0)
    head: str | None = None
    number: int | None = None
    for path in paths[first:]:
        with path.open("rb") as lines:
            for line in lines:
                entry, digest = _entry(line, path)
                is_next = number is None or entry["number"] == number + 1
                if not is_next or (head is not None and entry["before"] != head):
                    raise DamagedError(f"{path.name}: what follows entry {number} is not what followed it")
                if number is None and entry["number"] != starts[first]:
                    raise DamagedError(f"{path.name}: does not begin with the entry that it is named by")
                number, head = entry["number"], digest
                if entry["number"] > after:
                    yield entry | {"digest": digest}


def check_audit(folder: Path, kept: str | None = None) -> Checked:
    """Read all of it. Raises `DamagedError` where the chain is broken, where there is none, and where no entry has the
    digest that was `kept`.
    """
    num, first, last, head, is_there = 0, 0, 0, START, kept is None
    for entry in read_audit(folder):
        is_there = is_there or entry["digest"] == kept
        if not num:
            first = entry["number"]
            if first == 1 and entry["before"] != START:
                raise DamagedError("the first entry is not the first")
        num, last, head = num + 1, entry["number"], entry["digest"]
    if not num:
        raise DamagedError(f"{folder}: there is no audit log")
    if not is_there:
        raise DamagedError("no entry has that digest: it was written anew since, or its end is gone")
    return Checked(num, first, last, head)


def _line(entry: Mapping[str, Any]) -> tuple[bytes, str]:
    digest = hashlib.sha256(_canonical(entry)).hexdigest()
    return _canonical({**entry, "digest": digest}) + b"\n", digest


def _canonical(entry: Mapping[str, Any]) -> bytes:
    """What `canonical_json` makes of what stands in entries, ten times as fast."""
    return orjson.dumps(entry, option=orjson.OPT_SORT_KEYS)


def _entry(line: bytes, path: Path) -> tuple[dict[str, Any], str]:
    """Raises `DamagedError` where it is not as it was written."""
    try:
        entry: dict[str, Any] = json.loads(line)
        digest = entry.pop("digest")
        if _line(entry)[0] != line or not isinstance(entry["number"], int) or not isinstance(entry["before"], str):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedError(f"{path.name}: holds an entry that is not as it was written") from None
    return entry, digest


def _end_of(folder: Path) -> tuple[int, str]:
    """The last entry; what a kill left half written after it goes. Raises `DamagedError`, `OSError`."""
    for path in reversed(_paths(folder)):
        with path.open("rb+") as file:
            data = file.read()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                file.truncate(whole)
                os.fsync(file.fileno())
        if whole:
            start = data.rfind(b"\n", 0, whole - 1) + 1
            entry, digest = _entry(data[start:whole], path)
            return entry["number"], digest
        path.unlink()
    return 0, START


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.jsonl") if path.stem.isdigit())


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
