"""How requests were answered, for a day, in a table of a small SQLite file."""

import sqlite3
from collections.abc import Iterable

from service.entities import Answer
from service.errors import StorageError

Row = tuple[bytes, bytes, int, bytes, float]
"""As it is kept: what the request called itself, the digest of what it asked, status and body of the answer, and when."""
KEPT_SECONDS = 24 * 3600
SCHEMA = """CREATE TABLE IF NOT EXISTS answered (
    key BLOB PRIMARY KEY, digest BLOB NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL, at REAL NOT NULL
    ) WITHOUT ROWID"""


def keep(db: sqlite3.Connection, key: bytes, asked: bytes, answer: Answer, now: float) -> None:
    """One, by the name that the request had and the digest of what it asked, within the transaction that is open; those of
    yesterday go.
    """
    db.execute("DELETE FROM answered WHERE at < ?", (now - KEPT_SECONDS,))
    db.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?, ?, ?)", (key, asked, answer.status, answer.body, now))


def find(db: sqlite3.Connection, key: bytes, now: float) -> tuple[bytes, Answer] | None:
    """What the request of a name asked, and how it was answered. Raises `StorageError`."""
    try:
        row = db.execute(
            "SELECT digest, status, body FROM answered WHERE key = ? AND at >= ?", (key, now - KEPT_SECONDS)
        ).fetchone()
    except sqlite3.Error as failure:
        raise StorageError(f"what was answered cannot be read ({type(failure).__name__})") from None
    return (row[0], Answer(row[1], row[2])) if row else None


def rows(db: sqlite3.Connection, now: float) -> list[Row]:
    """All that are kept, for another file of the same folder."""
    return db.execute(
        "SELECT key, digest, status, body, at FROM answered WHERE at >= ?", (now - KEPT_SECONDS,)
    ).fetchall()


def take_over(db: sqlite3.Connection, found: Iterable[Row]) -> None:
    """Those of another file that are not here, within the transaction that is open."""
    db.executemany("INSERT OR IGNORE INTO answered VALUES (?, ?, ?, ?, ?)", found)
