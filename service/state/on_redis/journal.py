"""What this process acknowledged of jobs, on its own disk: where Redis is emptied, it gets them back from here."""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from models.documents import canonical_json
from service.entities import Answer, Job
from service.errors import StartupError, StorageError
from service.state import answers
from service.state.own_file import OwnFile

FILE = "journal.sqlite3"
_VERSION = 1
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, document TEXT NOT NULL)""",
    answers.SCHEMA,
    "CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL)",
)
_FIELDS = ("job_id", "gallery", "state", "asked", "found", "reason", "created_at", "updated_at", "version")


class Journal(OwnFile):
    """One small SQLite file in a data folder that its process has to itself."""

    def __init__(self, folder: Path) -> None:
        """Raises `StartupError` in one line."""
        path = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=TRUNCATE", "synchronous=FULL"):
                self._db.execute(f"PRAGMA {pragma}")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                self._db.close()
                raise StartupError(f"{path}: was written by a newer Facebridge; start that version")
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={_VERSION}")
            found = self._db.execute("SELECT name FROM identity").fetchone()
            self.identity: str = found[0] if found else secrets.token_hex(8)
            """Of the folder, wherever it is moved: jobs of other folders are none of its business."""
            if not found:
                self._db.execute("INSERT INTO identity VALUES (?)", (self.identity,))
        except (sqlite3.Error, OSError) as failure:
            raise StartupError(f"{path}: cannot be used ({type(failure).__name__}); restore it from a backup") from None

    def keep(self, job: Job, key: bytes, digest: bytes, answer: Answer | None) -> None:
        """A job as it is now, where what is kept is older, and how the request was answered that made it so. Raises
        `StorageError`.
        """
        with self._writing():
            self._put(job)
            if answer is not None:
                answers.keep(self._db, key, digest, answer, time.time())

    def jobs(self) -> list[Job]:
        """All that are kept, the oldest first. Raises `StorageError`."""
        try:
            with self._lock, closing(self._db.execute("SELECT document FROM job ORDER BY seq")) as rows:
                return [Job(**json.loads(document)) for (document,) in rows]
        except (sqlite3.Error, ValueError, TypeError) as failure:
            raise StorageError(f"the journal of jobs cannot be read ({type(failure).__name__})") from None

    def take_over(self, jobs: Iterable[Job], answered: Iterable[answers.Row]) -> None:
        """Jobs, the oldest first, and answers of another file of this folder, where they are new here. Raises `StorageError`."""
        with self._writing():
            for job in jobs:
                self._put(job)
            answers.take_over(self._db, answered)

    def _put(self, job: Job) -> None:
        document = canonical_json({name: getattr(job, name) for name in _FIELDS}).decode()
        self._db.execute(
            "INSERT INTO job (job_id, version, document) VALUES (?, ?, ?) ON CONFLICT (job_id) DO UPDATE"
            " SET version = excluded.version, document = excluded.document WHERE excluded.version > version",
            (job.job_id, job.version, document),
        )

    def _failed(self, failure: sqlite3.Error) -> StorageError:
        return StorageError(f"the journal of jobs cannot be written ({type(failure).__name__})")
