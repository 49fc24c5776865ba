"""Moving what was written from the log into the file, beside writes."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.galleries.failpoints import reached
from service.galleries.failures import FAILURES, reason_of

log = logging.getLogger("facebridge.galleries")

_IDLE_SECONDS = 5.0

Connect = Callable[[], sqlite3.Connection]


class Checkpoints:
    """Moves the log into the file, on a thread and a connection of its own, so that writes need not wait.

    SQLite's own way of doing that, as a part of some commit, keeps its failures to itself.
    """

    def __init__(self, connect: Connect, on_failure: Callable[[str], object]) -> None:
        self._db = connect()
        self._on_failure = on_failure
        self._wanted = threading.Event()
        self._closing = False
        # Two at once are in each other's way, and the second is told so and does nothing.
        self._one_at_a_time = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="gallery-checkpoints", daemon=True)
        self._thread.start()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """With none under way here."""
        with self._one_at_a_time:
            yield

    def wake(self) -> None:
        """Start as soon as it can."""
        self._wanted.set()

    def close(self) -> None:
        """Wait for one in progress, and end."""
        self._closing = True
        self._wanted.set()
        self._thread.join()
        self._db.close()

    def _run(self) -> None:
        while True:
            self._wanted.wait(_IDLE_SECONDS)
            self._wanted.clear()
            if self._closing:
                return
            try:
                reached("checkpoint-before")
                with self._one_at_a_time:
                    self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
                reached("checkpoint-after")
            except FAILURES as failure:
                reason = reason_of(failure)
                if reason.startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "MemoryError")):
                    log.warning("the log cannot be moved into the record now (%s)", reason)
                else:
                    self._on_failure(f"the log could not be moved into the record ({reason})")
