"""What small SQLite files that a process has to itself have alike: transactions, and how requests were answered."""

import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

from service.entities import Answer
from service.errors import StorageError
from service.state import answers


class OwnFile(ABC):
    """Whoever opens it sets both."""

    _db: sqlite3.Connection
    _lock: threading.Lock

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """How a request was answered. Raises `StorageError`."""
        with self._lock:
            return answers.find(self._db, key, time.time())

    def kept_answers(self) -> list[answers.Row]:
        """All that are kept."""
        with self._lock:
            return answers.rows(self._db, time.time())

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    @abstractmethod
    def _failed(self, failure: sqlite3.Error) -> StorageError:
        """What a write that failed is told as."""

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """In one transaction, wholly or not at all. Raises `StorageError`."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error as failure:
                self._roll_back()
                raise self._failed(failure) from None
            except BaseException:
                self._roll_back()
                raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
