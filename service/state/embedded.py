"""Jobs in this process: one small SQLite file beside the galleries. Nothing biometric is in it.

The data folder is one process's own (`service/galleries/folder.py`), so leases that were had before a start are nobody's.
"""

import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.documents import canonical_json
from service.entities import Job, JobState, Once
from service.errors import (
    InsufficientStorageError,
    JobStateError,
    MigrationInProgressError,
    NotFoundError,
    StartupError,
    StorageError,
)
from service.state import answers
from service.state.own_file import OwnFile
from service.state.port import OPEN, JobPage

FILE = "jobs.sqlite3"
_VERSION = 1
_SCHEMA = (
    # `seq` orders them. `lease_until` counts seconds since 1970.
    """CREATE TABLE job (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, gallery TEXT NOT NULL, state TEXT NOT NULL,
        asked TEXT NOT NULL, found TEXT NOT NULL, reason TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
        version INTEGER NOT NULL, owner TEXT, lease_until REAL NOT NULL DEFAULT 0)""",
    "CREATE INDEX job_state ON job (state)",
    f"CREATE UNIQUE INDEX job_open ON job (gallery) WHERE state IN ({', '.join(repr(one) for one in OPEN)})",
    "CREATE INDEX job_gallery ON job (gallery)",
    answers.SCHEMA,
)
_JOB = "SELECT job_id, gallery, state, asked, found, reason, created_at, updated_at, version FROM job"


class EmbeddedJobStore(OwnFile):
    """`JobStore` in a data folder that its process has to itself."""

    def __init__(self, folder: Path) -> None:
        """Open the jobs in `folder`. Raises `StartupError` in one line."""
        path = folder / FILE
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            with ExitStack() as opened:
                connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._db = opened.enter_context(closing(connection))
                # One connection has it: its log needs no shared memory then.
                for pragma in ("locking_mode=EXCLUSIVE", "journal_mode=TRUNCATE", "synchronous=FULL"):
                    self._db.execute(f"PRAGMA {pragma}")
                self._prepare(path)
                opened.pop_all()
        except (sqlite3.Error, OSError) as failure:
            raise StartupError(f"{path}: cannot be used ({_reason(failure)}); restore it from a backup") from None

    def create(self, gallery: str, asked: Mapping[str, Any], *, once: Once | None = None) -> Job:
        """See the port."""
        now, job_id = _now(), secrets.token_hex(8)
        with self._writing():
            self._check_none_open(gallery)
            self._db.execute(
                "INSERT INTO job (job_id, gallery, state, asked, found, reason, created_at, updated_at, version)"
                " VALUES (?, ?, 'queued', ?, '{}', '', ?, ?, 1)",
                (job_id, gallery, canonical_json(asked).decode(), now, now),
            )
            job = self._read(f"{_JOB} WHERE job_id = ?", (job_id,))[0]
            self._remember(once, job)
        return job

    def get(self, job_id: str) -> Job:
        """See the port."""
        with self._lock:
            return self._get(job_id)

    def page(self, *, gallery: str | None = None, after: int = 0, limit: int = 100) -> JobPage:
        """See the port."""
        with self._lock:
            query = "SELECT seq FROM job WHERE (?1 IS NULL OR gallery = ?1) AND (?2 = 0 OR seq < ?2) ORDER BY seq DESC LIMIT ?3"
            seqs = [seq for (seq,) in self._rows(query, (gallery, after, limit + 1))]
            wanted = json.dumps(seqs[:limit])
            jobs = self._read(f"{_JOB} WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq DESC", (wanted,))
        return JobPage(tuple(jobs), seqs[limit - 1] if len(seqs) > limit else None)

    def in_states(self, states: Collection[JobState]) -> list[Job]:
        """See the port."""
        with self._lock:
            return self._read(f"{_JOB} WHERE state IN (SELECT value FROM json_each(?)) ORDER BY seq", (_list(states),))

    def change(
        self,
        job: Job,
        *,
        state: JobState | None = None,
        reason: str | None = None,
        found: Mapping[str, Any] | None = None,
        once: Once | None = None,
        then: Callable[[Job], Any] | None = None,
    ) -> Job:
        """See the port."""
        with self._writing():
            now = self._get(job.job_id)
            if now.version != job.version:
                raise JobStateError(f"the job has changed meanwhile, and is {now.state}")
            if state in OPEN and now.state not in OPEN:
                self._check_none_open(now.gallery)
            self._db.execute(
                "UPDATE job SET state = ?, reason = ?, found = ?, updated_at = ?, version = version + 1 WHERE job_id = ?",
                (
                    state or now.state,
                    now.reason if reason is None else reason,
                    canonical_json({**now.found, **(found or {})}).decode(),
                    _now(),
                    job.job_id,
                ),
            )
            changed = self._get(job.job_id)
            self._remember(once, then(changed) if then else changed)
        return changed

    def lease(self, owner: str, states: Collection[JobState], seconds: float) -> Job | None:
        """See the port."""
        with self._writing():
            found = self._read(
                f"{_JOB} WHERE state IN (SELECT value FROM json_each(?)) AND lease_until < ? ORDER BY seq LIMIT 1",
                (_list(states), time.time()),
            )
            if not found:
                return None
            values = (owner, time.time() + seconds, found[0].job_id)
            self._db.execute("UPDATE job SET owner = ?, lease_until = ? WHERE job_id = ?", values)
            return found[0]

    def renew(self, job_id: str, owner: str, seconds: float) -> bool:
        """See the port."""
        with self._writing():
            values = (time.time() + seconds, job_id, owner)
            return (
                self._db.execute("UPDATE job SET lease_until = ? WHERE job_id = ? AND owner = ?", values).rowcount > 0
            )

    def release(self, job_id: str, owner: str) -> None:
        """See the port."""
        with self._writing():
            self._db.execute(
                "UPDATE job SET owner = NULL, lease_until = 0 WHERE job_id = ? AND owner = ?", (job_id, owner)
            )

    def take_over(self, jobs: Iterable[Job], answered: Iterable[answers.Row]) -> None:
        """Jobs, the oldest first, and answers of another file of this folder, where they are new here. Raises `StorageError`."""
        with self._writing():
            self._db.executemany(
                "INSERT OR IGNORE INTO job (job_id, gallery, state, asked, found, reason, created_at, updated_at, version)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        job.job_id,
                        job.gallery,
                        job.state,
                        canonical_json(job.asked).decode(),
                        canonical_json(job.found).decode(),
                        job.reason,
                        job.created_at,
                        job.updated_at,
                        job.version,
                    )
                    for job in jobs
                ),
            )
            answers.take_over(self._db, answered)

    def _prepare(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StartupError(f"{path}: was written by a newer Facebridge; start that version")
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA if version == 0 else ():
            self._db.execute(statement)
        self._db.execute("UPDATE job SET owner = NULL, lease_until = 0 WHERE owner IS NOT NULL")
        self._db.execute(f"PRAGMA user_version={_VERSION}")
        self._db.execute("COMMIT")

    def _failed(self, failure: sqlite3.Error) -> StorageError:
        reason = _reason(failure)
        if reason == "SQLITE_FULL":
            return InsufficientStorageError("the disk is full; nothing of this was kept")
        return StorageError(f"the jobs cannot be written ({reason}); nothing of this was kept")

    def _check_none_open(self, gallery: str) -> None:
        states = ", ".join(repr(one) for one in OPEN)
        if self._rows(f"SELECT 1 FROM job WHERE gallery = ? AND state IN ({states})", (gallery,)):
            raise MigrationInProgressError(f"gallery {gallery} is being migrated already; see its jobs")

    def _get(self, job_id: str) -> Job:
        found = self._read(f"{_JOB} WHERE job_id = ?", (job_id,))
        if not found:
            raise NotFoundError("there is no such job")
        return found[0]

    def _read(self, query: str, values: Sequence[object]) -> list[Job]:
        return [
            Job(job_id, gallery, state, json.loads(asked), json.loads(found), reason, created_at, updated_at, version)
            for job_id, gallery, state, asked, found, reason, created_at, updated_at, version in self._rows(
                query, values
            )
        ]

    def _rows(self, query: str, values: Sequence[object]) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.Error as failure:
            raise StorageError(f"the jobs cannot be read ({_reason(failure)})") from None

    def _remember(self, once: Once | None, outcome: object) -> None:
        if once is not None:
            answer = once.answer(outcome)
            answers.keep(self._db, once.key, once.digest, answer, time.time())


def _list(states: Collection[str]) -> str:
    return json.dumps(sorted(states))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _reason(failure: Exception) -> str:
    """SQLite's code, or what the system says."""
    return getattr(failure, "sqlite_errorname", None) or getattr(failure, "strerror", None) or type(failure).__name__
