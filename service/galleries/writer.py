"""The one thread that writes to the record.

Invariants: what a call has answered is committed and synced; operations that came while a commit was under way share the
next one; each is done wholly or not at all, whatever becomes of those beside it; after a sync that failed nothing is
written any more, as nobody knows then what is on disk.
"""

import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from service.errors import InsufficientStorageError, ReadOnlyError, StorageError
from service.galleries.checkpoints import Checkpoints, Connect
from service.galleries.failpoints import reached
from service.galleries.failures import FAILURES, reason_of

log = logging.getLogger("facebridge.galleries")

MAX_GROUP = 1024
"""Operations that share a commit at most."""
CHECKPOINT_BYTES = 32 << 20
"""Size of the write-ahead log from which on it is moved into the file, beside writes."""
LARGEST_LOG_BYTES = 512 << 20
"""From which on writes wait for that."""
_EMPTY_SECONDS = 30.0
_RETRY_SECONDS = 0.01
_TRIES = 5
_NO_MEMORY = "there is no memory for this; nothing of it was kept"
_FULL_BYTES = 1 << 20
"""A file system with less than this left is full, whatever word it has for it."""

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Operation:
    work: Callable[[sqlite3.Connection, list[Any]], list[Any]]
    then: Callable[[list[Any]], list[Any]]
    inputs: list[Any]
    done: "list[Future[Any]]"
    """One for each input."""
    kind: Hashable = None
    """Of those that may be done together."""
    is_alone: bool = False
    """Runs outside of transactions, with no other beside it."""
    results: list[Any] = field(default_factory=list)
    refusal: Exception | None = None

    def split(self) -> "list[_Operation]":
        """One for each input."""
        return [
            _Operation(self.work, self.then, [one], [done]) for one, done in zip(self.inputs, self.done, strict=True)
        ]

    def refuse(self, failure: Exception) -> None:
        """Tell all who wait."""
        for done in self.done:
            done.set_exception(failure)


class Writer:
    """Runs operations on its own thread, in the order in which they came."""

    def __init__(self, path: Path, connect: Connect, connect_for_checkpoints: Connect) -> None:
        """Both open the record at `path`; its log is not moved into the file but by this."""
        self._path = path
        self._log_path = path.with_name(path.name + "-wal")
        self._db = connect()
        self.agreement = threading.Lock()
        """Whoever has it finds that what is searched is what is recorded."""
        self._operations: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._failure: StorageError | None = None
        self._is_closed = False
        self._checkpoints = Checkpoints(connect_for_checkpoints, self._stop_writing)
        self._thread = threading.Thread(target=self._run, name="gallery-writer", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> StorageError | None:
        """Why nothing is written any more, or None."""
        return self._failure

    def submit(self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], R]) -> "Future[R]":
        """Do `work` in a transaction that it may share with others, and when that is on disk `then`.

        `work` may run again where a transaction fails. The future has what `then` gives, what `work` raised, or
        `StorageError`.
        """
        done: Future[R] = Future()
        self._put(_Operation(lambda db, _: [work(db)], lambda results: [then(results[0])], [None], [done]))
        return done

    def submit_one_of_many(
        self,
        kind: Hashable,
        one: S,
        work: Callable[[sqlite3.Connection, list[S]], list[T]],
        then: Callable[[list[T]], list[R]],
    ) -> "Future[R]":
        """As `submit`, for what is cheaper when done for several at once: `work` and `then` get those of one `kind` that wait,
        and give as many. Where `work` refuses several it gets each by itself.
        """
        done: Future[R] = Future()
        self._put(_Operation(work, then, [one], [done], kind))
        return done

    def call(self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], R]) -> R:
        """As `submit`, and wait."""
        return self.submit(work, then).result()

    def commit(self, then: Callable[[], object]) -> None:
        """Commit what is open on the writing thread, and let `then` make it searchable; called by work that is alone.

        Raises `sqlite3.Error`; what `then` raises, after which nothing is written any more.
        """
        with self.agreement:
            try:
                self._db.execute("COMMIT")
            except MemoryError as failure:
                # Nobody knows whether it is.
                raise self.error_of(failure) from None
            try:
                then()
            except BaseException as failure:
                self._stop_unsearchable(failure)
                raise

    def alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` outside of any transaction, between others' operations, and wait."""
        done: Future[T] = Future()
        self._put(_Operation(lambda db, _: [work(db)], list, [None], [done], is_alone=True))
        return done.result()

    def empty_log(self) -> None:
        """Move the log into the file and cut it to nothing; called by work that is alone.

        Raises `StorageError` where a reader keeps it from that, `sqlite3.Error`.
        """
        deadline = time.monotonic() + _EMPTY_SECONDS
        with self._checkpoints.paused():
            while True:
                (is_busy, _, _) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not is_busy:
                    return
                if time.monotonic() > deadline:
                    raise StorageError("a reader keeps the log of the record from being emptied")
                time.sleep(_RETRY_SECONDS)

    def overwrite(self, descriptor: int, work: Callable[[int], object]) -> None:
        """Empty the log, have `work` overwrite bytes of the file, which is all that there is then, and be sure that they are on
        disk; no page of it is kept in memory. Called by work that is alone.

        Raises `StorageError` where others write, `ReadOnlyError` where a sync fails, `sqlite3.Error`, what `work` raises.
        """
        for _ in range(_TRIES):
            self.empty_log()
            with self._checkpoints.paused():
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    # Another program may have written in between, and could move that into the file beside this.
                    if self._log_path.stat().st_size == 0:
                        work(descriptor)
                        self._sync(descriptor)
                        return
                finally:
                    self._db.execute("ROLLBACK")
                    # Written again, a page would be as it was.
                    self._db.execute("PRAGMA shrink_memory")
        raise StorageError("another program writes to the record")

    def _sync(self, descriptor: int) -> None:
        try:
            os.fdatasync(descriptor)
        except OSError as failure:
            raise self._stop_writing(f"the record could not be synced ({failure.strerror})") from None

    def close(self) -> None:
        """Finish what was submitted, move the log into the file, and end."""
        self._operations.put(None)
        self._thread.join()
        self._is_closed = True
        self._refuse_what_came_late()
        self._checkpoints.close()
        try:
            if self._failure is None:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as failure:
            log.error("the log could not be moved into the record (%s); it stays beside it", reason_of(failure))
        finally:
            self._db.close()

    def _put(self, operation: _Operation) -> None:
        self._operations.put(operation)
        if self._is_closed:
            self._refuse_what_came_late()

    def _refuse_what_came_late(self) -> None:
        """Nobody is going to do it, and somebody waits."""
        with suppress(queue.Empty):
            while True:
                operation = self._operations.get_nowait()
                if operation is not None:
                    operation.refuse(ReadOnlyError("the galleries are closed"))

    def _run(self) -> None:
        while self._run_some():
            pass

    def _run_some(self) -> bool:
        """What waits, or what comes next; whether there may be more. What it was about is not kept any longer than this."""
        group = [self._operations.get()]
        while len(group) < MAX_GROUP and group[-1] is not None:
            try:
                group.append(self._operations.get_nowait())
            except queue.Empty:
                break
        try:
            self._do(group)
            self._keep_log_small()
        except BaseException as failure:  # noqa: BLE001
            # Nobody may wait for ever, whatever it is.
            error = self._stop_writing(f"the writing thread failed ({type(failure).__name__})")
            self._roll_back()
            for done in (one for operation in group if operation is not None for one in operation.done):
                if not done.done():
                    done.set_exception(error)
        return group[-1] is not None

    def _do(self, group: "list[_Operation | None]") -> None:
        together: list[_Operation] = []
        for operation in group:
            if operation is None or operation.is_alone:
                self._commit(together)
                together = []
            if operation is not None and operation.is_alone:
                self._run_alone(operation)
            elif operation is not None:
                together.append(operation)
        self._commit(together)

    def _commit(self, group: list[_Operation]) -> None:
        if not group:
            return
        if self._failure is not None:
            _refuse(group, self._failure)
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            worked = [part for operation in _merged(group) for part in self._work(operation)]
            reached("writer-before-commit")
            with self.agreement:
                self._db.execute("COMMIT")
                reached("writer-after-commit")
                for operation in worked:
                    self._finish(operation)
        except FAILURES as failure:
            self._roll_back()
            error = self.error_of(failure)
            if isinstance(error, ReadOnlyError) or len(group) == 1:
                _refuse(group, error)
                return
            log.warning("several writes failed together (%s); each is tried by itself", reason_of(failure))
            for operation in group:
                self._commit([operation])

    def _work(self, operation: _Operation) -> list[_Operation]:
        """Run it in the open transaction, where it leaves nothing if it refuses; what it came to. Raises `FAILURES`."""
        self._db.execute("SAVEPOINT operation")
        try:
            operation.results = operation.work(self._db, operation.inputs)
        except sqlite3.Error:
            raise
        except Exception as failure:
            if not self._db.in_transaction:
                # It was SQLite that got no memory, and took back what others had done too.
                raise
            self._db.execute("ROLLBACK TO operation")
            operation.refusal = StorageError(_NO_MEMORY) if isinstance(failure, MemoryError) else failure
        self._db.execute("RELEASE operation")
        if operation.refusal is not None and len(operation.inputs) > 1:
            return [part for one in operation.split() for part in self._work(one)]
        return [operation]

    def _finish(self, operation: _Operation) -> None:
        if operation.refusal is not None:
            operation.refuse(operation.refusal)
            return
        try:
            outcomes = operation.then(operation.results)
        except Exception as failure:  # noqa: BLE001
            self._stop_unsearchable(failure)
            operation.refuse(failure)
            return
        reached("writer-after-searchable")
        for done, outcome in zip(operation.done, outcomes, strict=True):
            done.set_result(outcome)

    def _stop_unsearchable(self, failure: BaseException) -> None:
        """It is on disk and not in memory: nothing may be built on that."""
        self._stop_writing(f"what was recorded could not be made searchable ({type(failure).__name__})")

    def _run_alone(self, operation: _Operation) -> None:
        if self._failure is not None:
            _refuse([operation], self._failure)
            return
        try:
            (result,) = operation.work(self._db, operation.inputs)
        except sqlite3.Error as failure:
            self._roll_back()
            operation.refuse(self.error_of(failure))
        except MemoryError:
            self._roll_back()
            operation.refuse(self._failure or StorageError(_NO_MEMORY))
        except Exception as failure:  # noqa: BLE001
            self._roll_back()
            operation.refuse(failure)
        else:
            operation.done[0].set_result(result)

    def _keep_log_small(self) -> None:
        try:
            size = self._log_path.stat().st_size
        except OSError:
            return
        if size > CHECKPOINT_BYTES:
            self._checkpoints.wake()
        if size > LARGEST_LOG_BYTES and self._failure is None:
            try:
                with self._checkpoints.paused():
                    self._db.execute("PRAGMA wal_checkpoint(RESTART)")
            except FAILURES as failure:
                self.error_of(failure)

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except FAILURES as failure:
            self._stop_writing(f"a transaction could not be taken back ({reason_of(failure)})")

    def error_of(self, failure: Exception) -> StorageError:
        """What is told of a failed write; after anything but a full disk or a lock the writer stops."""
        reason = reason_of(failure)
        if self._failure is not None:
            return self._failure
        if reason == "SQLITE_FULL" or (reason.startswith("SQLITE_IOERR") and "FSYNC" not in reason and self._is_full()):
            return InsufficientStorageError("the disk is full; nothing of this was kept")
        if reason.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG")):
            return StorageError(f"the record cannot be written ({reason}); nothing of this was kept")
        return self._stop_writing(f"a write to the record failed ({reason})")

    def _is_full(self) -> bool:
        try:
            left = os.statvfs(self._path)
        except OSError:
            return False
        return left.f_bavail * left.f_frsize < _FULL_BYTES

    def _stop_writing(self, reason: str) -> StorageError:
        if self._failure is None:
            self._failure = ReadOnlyError(f"{reason}; nothing is written until the service has been started again")
            log.error("%s", self._failure)
        return self._failure


def _refuse(group: list[_Operation], error: StorageError) -> None:
    for operation in group:
        operation.refuse(error)


def _merged(group: list[_Operation]) -> list[_Operation]:
    """Those that follow each other and may be done together, as one. What is in `group` stays as it is."""
    merged: list[_Operation] = []
    for kind, run in groupby(group, key=lambda operation: operation.kind):
        alike = list(run)
        runs = [alike] if kind is not None else [[one] for one in alike]
        for together in runs:
            inputs = [one for operation in together for one in operation.inputs]
            done = [one for operation in together for one in operation.done]
            merged.append(_Operation(together[0].work, together[0].then, inputs, done))
    return merged
