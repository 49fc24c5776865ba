"""The record: everything that is known about galleries, in one SQLite file. What it acknowledges, it has committed.

A template keeps its original feature and space; what translators made of it is kept beside it, per generation.
Invariants: each gallery has exactly one active generation; `seq` grows with enrolment and is never used twice; every
vector is little-endian float32 with a CRC32 that is checked whenever the vector is read.

Shapes: G templates, D dimension of the generation's space.
"""

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.documents import canonical_json
from models.space import Space, parse_space
from service.entities import FloatArray, NewTemplate, Side, Template
from service.errors import AlreadyExistsError, InsufficientStorageError, StartupError, StorageError
from service.galleries.port import TemplatePage
from service.galleries.rules import gallery_feature, new_template_id, timestamp

SCHEMA_VERSION = 1

_SCHEMA = (
    "CREATE TABLE space (fingerprint TEXT PRIMARY KEY, document TEXT NOT NULL)",
    "CREATE TABLE gallery (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL)",
    # The space's document is here and not by fingerprint: a fingerprint leaves out the name, a gallery keeps its own.
    """CREATE TABLE generation (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        gallery INTEGER NOT NULL REFERENCES gallery (id) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        space TEXT NOT NULL,
        active INTEGER NOT NULL CHECK (active IN (0, 1)),
        UNIQUE (gallery, number))""",
    "CREATE UNIQUE INDEX generation_active ON generation (gallery) WHERE active",
    """CREATE TABLE template (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        template_id TEXT NOT NULL UNIQUE,
        gallery INTEGER NOT NULL REFERENCES gallery (id) ON DELETE CASCADE,
        subject TEXT NOT NULL,
        space TEXT NOT NULL REFERENCES space (fingerprint),
        enrolled_at TEXT NOT NULL,
        crc INTEGER NOT NULL,
        original BLOB NOT NULL)""",
    # Each index ends in the rowid, which is `seq`: one serves pages of a gallery, the other pages of a subject.
    "CREATE INDEX template_gallery ON template (gallery)",
    "CREATE INDEX template_subject ON template (gallery, subject)",
    """CREATE TABLE translated (
        generation INTEGER NOT NULL REFERENCES generation (id) ON DELETE CASCADE,
        template INTEGER NOT NULL REFERENCES template (seq) ON DELETE CASCADE,
        route TEXT NOT NULL,
        crc INTEGER NOT NULL,
        feature BLOB NOT NULL,
        PRIMARY KEY (template, generation))""",
    "CREATE INDEX translated_generation ON translated (generation)",
)


@dataclass(frozen=True, slots=True)
class GalleryEntry:
    """A gallery as recorded, with its active generation."""

    gallery_id: int
    name: str
    created_at: str
    generation_id: int
    generation: int
    space: Space


@dataclass(frozen=True, slots=True)
class GalleryRows:
    """Templates of a gallery in order of enrolment, with their features (G, D) in the gallery's space."""

    seqs: npt.NDArray[np.int64]
    template_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    features_GD: FloatArray
    origins: tuple[Side, ...]
    foreign: Mapping[int, tuple[str, FloatArray]] = field(default_factory=dict)
    """Of those translated, by row: the fingerprint of the space that they came from, and what they were there."""


def foreign_originals(templates: Sequence[NewTemplate]) -> dict[int, tuple[str, FloatArray]]:
    """As in `GalleryRows`."""
    return {
        row: (template.original_space.fingerprint, template.original)
        for row, template in enumerate(templates)
        if template.route
    }


class Record:
    """One open SQLite file. Calls from several threads take turns. Raises `sqlite3.Error` where I/O fails."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it where there is none. Raises `StartupError` where a newer version wrote it."""
        self._path = path
        self._lock = threading.Lock()
        # For nobody else's eyes; SQLite gives its other files the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._prepare_schema()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file; waits for a call in progress."""
        with self._lock:
            self._db.close()

    def galleries(self) -> list[GalleryEntry]:
        """All galleries. Raises `SpaceError` where the document of a space is damaged."""
        rows = self._read(
            "SELECT gallery.id, name, created_at, generation.id, number, space"
            " FROM gallery JOIN generation ON generation.gallery = gallery.id AND active"
        )
        return [
            GalleryEntry(
                gallery_id, name, created_at, generation_id, number, parse_space(space, what=f"gallery {name}")
            )
            for gallery_id, name, created_at, generation_id, number, space in rows
        ]

    def create(self, name: str, space: Space) -> GalleryEntry:
        """Record an empty gallery, generation 1. Raises `AlreadyExistsError`."""
        created_at = timestamp()
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM gallery WHERE name = ?", (name,)).fetchone():
                raise AlreadyExistsError(f"gallery {name} exists already")
            gallery_id = _insert(db, "INSERT INTO gallery (name, created_at) VALUES (?, ?)", (name, created_at))
            generation_id = _insert(
                db,
                "INSERT INTO generation (gallery, number, space, active) VALUES (?, 1, ?, 1)",
                (gallery_id, _document(space)),
            )
        return GalleryEntry(gallery_id, name, created_at, generation_id, 1, space)

    def drop(self, entry: GalleryEntry) -> None:
        """Delete a gallery with all that belongs to it."""
        with self._transaction() as db:
            db.execute("DELETE FROM gallery WHERE id = ?", (entry.gallery_id,))

    def enrol(self, entry: GalleryEntry, templates: Sequence[NewTemplate]) -> GalleryRows:
        """Record all of `templates` (at least one, already checked) or none; returns after COMMIT."""
        fingerprint_by_space = {space: space.fingerprint for space in {t.original_space for t in templates}}
        template_ids = tuple(new_template_id() for _ in templates)
        of_all = (entry.gallery_id, timestamp())
        seqs = []
        with self._transaction() as db:
            for space, fingerprint in fingerprint_by_space.items():
                db.execute("INSERT OR IGNORE INTO space VALUES (?, ?)", (fingerprint, _document(space)))
            for template_id, template in zip(template_ids, templates, strict=True):
                original = _blob(template.original)
                fingerprint = fingerprint_by_space[template.original_space]
                seq = _insert(
                    db,
                    "INSERT INTO template (gallery, enrolled_at, template_id, subject, space, crc, original)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*of_all, template_id, template.subject, fingerprint, zlib.crc32(original), original),
                )
                if template.route:
                    _insert_translated(db, entry.generation_id, seq, template)
                seqs.append(seq)
        features_GD = np.stack([gallery_feature(template) for template in templates]).astype(np.float32)
        return GalleryRows(
            np.array(seqs, dtype=np.int64),
            template_ids,
            tuple(t.subject for t in templates),
            features_GD,
            tuple(Side(fingerprint_by_space[t.original_space], t.route) for t in templates),
            foreign_originals(templates),
        )

    def remove_template(self, entry: GalleryEntry, template_id: str) -> list[int]:
        """Delete a template; its `seq`, or nothing where there is none."""
        return self._delete("gallery = ? AND template_id = ?", (entry.gallery_id, template_id))

    def remove_subject(self, entry: GalleryEntry, subject: str) -> list[int]:
        """Delete all templates of a subject; their `seq`."""
        return self._delete("gallery = ? AND subject = ?", (entry.gallery_id, subject))

    def templates(self, entry: GalleryEntry, *, after: int, limit: int, subject: str | None) -> TemplatePage:
        """A page of templates, as the port has it."""
        of_subject, values = ("", ()) if subject is None else (" AND subject = ?", (subject,))
        rows = self._read(
            "SELECT seq, template_id, subject, space, COALESCE(route, '[]'), enrolled_at"
            " FROM template LEFT JOIN translated ON translated.template = seq AND generation = ?"
            f" WHERE gallery = ? AND seq > ?{of_subject} ORDER BY seq LIMIT ?",
            (entry.generation_id, entry.gallery_id, after, *values, limit + 1),
        )
        page = tuple(
            Template(template_id, of, space, tuple(json.loads(route)), enrolled_at)
            for _, template_id, of, space, route, enrolled_at in rows[:limit]
        )
        return TemplatePage(page, rows[limit - 1][0] if len(rows) > limit else None)

    def blocks(self, entry: GalleryEntry, block_size: int = 4096) -> Iterator[GalleryRows]:
        """All templates of the active generation in blocks. Raises `StartupError` naming the first damaged one."""
        after = 0
        while True:
            rows = self._read(
                "SELECT seq, template_id, subject, template.space,"
                " COALESCE(translated.crc, template.crc), feature IS NULL, COALESCE(feature, original), template.crc, original,"
                " COALESCE(route, '[]')"
                " FROM template LEFT JOIN translated ON translated.template = seq AND generation = ?"
                " WHERE gallery = ? AND seq > ? ORDER BY seq LIMIT ?",
                (entry.generation_id, entry.gallery_id, after, block_size),
            )
            if not rows:
                return
            self._check(entry, rows)
            seqs, template_ids, subjects, spaces, _, _, features, _, _, routes = zip(*rows, strict=True)
            features_GD = np.frombuffer(b"".join(features), dtype="<f4").reshape(len(rows), -1).astype(np.float32)
            foreign = {
                place: (space, np.frombuffer(original, dtype="<f4").astype(np.float32))
                for place, (_, _, _, space, _, is_native, _, _, original, _) in enumerate(rows)
                if not is_native
            }
            origins = tuple(Side(space, tuple(json.loads(route))) for space, route in zip(spaces, routes, strict=True))
            yield GalleryRows(np.array(seqs, dtype=np.int64), template_ids, subjects, features_GD, origins, foreign)
            after = seqs[-1]

    def _check(self, entry: GalleryEntry, rows: list[Any]) -> None:
        fingerprint, num_bytes = entry.space.fingerprint, 4 * entry.space.dimension
        for _, template_id, _, space, crc, is_native, feature, crc_of_original, original, _ in rows:
            if not isinstance(feature, bytes) or zlib.crc32(feature) != crc or len(feature) != num_bytes:
                reason = "its stored feature does not match its CRC32"
            elif is_native and space != fingerprint:
                reason = "its feature in the gallery's space is missing"
            elif not is_native and (not isinstance(original, bytes) or zlib.crc32(original) != crc_of_original):
                reason = "its original feature does not match its CRC32"
            else:
                continue
            raise StartupError(
                f"{self._path}: template {template_id} of gallery {entry.name} is damaged ({reason}); "
                "restore the file from a backup"
            )

    def _prepare_schema(self) -> None:
        with self._transaction() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > SCHEMA_VERSION:
                raise StartupError(
                    f"{self._path}: was written by a newer Facebridge (schema {version}, this one knows "
                    f"{SCHEMA_VERSION}); start that version"
                )
            if version == 0:
                for statement in (*_SCHEMA, f"PRAGMA user_version={SCHEMA_VERSION}"):
                    db.execute(statement)

    def _delete(self, condition: str, values: tuple[object, ...]) -> list[int]:
        with self._transaction() as db:
            return [seq for (seq,) in db.execute(f"DELETE FROM template WHERE {condition} RETURNING seq", values)]

    def _read(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        with self._lock:
            try:
                return self._db.execute(query, values).fetchall()
            except sqlite3.Error as failure:
                raise StorageError(f"the record cannot be read ({_reason(failure)})") from None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as failure:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(failure, sqlite3.Error):
                    raise _storage_error(failure) from None
                raise


def _storage_error(failure: sqlite3.Error) -> StorageError:
    reason = _reason(failure)
    if reason == "SQLITE_FULL":
        return InsufficientStorageError("the disk is full; nothing of this was kept")
    return StorageError(f"the record cannot be written ({reason}); nothing of this was kept")


def _reason(failure: sqlite3.Error) -> str:
    """SQLite's code only: its own words may quote what is stored."""
    return getattr(failure, "sqlite_errorname", type(failure).__name__)


def _insert(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> int:
    seq = db.execute(statement, values).lastrowid
    assert seq is not None
    return seq


def _insert_translated(db: sqlite3.Connection, generation_id: int, seq: int, template: NewTemplate) -> None:
    feature = _blob(template.feature)
    db.execute(
        "INSERT INTO translated (generation, template, route, crc, feature) VALUES (?, ?, ?, ?, ?)",
        (generation_id, seq, json.dumps(template.route), zlib.crc32(feature), feature),
    )


def _blob(feature_D: FloatArray) -> bytes:
    return feature_D.astype("<f4").tobytes()


def _document(space: Space) -> str:
    return canonical_json(space.to_json()).decode()
