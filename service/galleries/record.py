"""The record: everything that is known about galleries, in one SQLite file. What it acknowledges, it has committed.

A template keeps its original feature and space; what translators made of it is kept beside it, per generation.
Every vector is little-endian float32 with a CRC32C that is checked whenever the vector is read. Reads see what is committed
and go beside writes, on connections of their own.

Shapes: G templates, D dimension of the generation's space.
"""

import json
import os
import queue
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space import parse_space
from service.entities import FloatArray, Gallery, IndexState, Side, Template
from service.errors import DamagedError, StorageError
from service.galleries.failures import reason_of
from service.galleries.folder import sync_folder
from service.galleries.ids import TemplateIds
from service.galleries.port import Answer, TemplatePage
from service.galleries.reads import Reads
from service.galleries.rows import parsed_metadata
from service.galleries.schema import (
    GENERATION_SHIFT,
    IDENTITY,
    PAGE_BYTES,
    TEMPLATE_IDS,
    GalleryEntry,
    Moment,
    prepare,
    row_crc,
)
from service.galleries.segments import Columns, SeqArray
from service.galleries.writer import CHECKPOINT_BYTES, Writer

_READERS = 4
_SEQS = 65_536
_WRITER_CACHE_KIB = 32_768
_GALLERY = (
    "SELECT gallery.id, name, created_at, generation.id, number, space, index_kind, num_templates, num_subjects"
    " FROM gallery JOIN generation ON generation.gallery = gallery.id AND active"
)
_TEMPLATE = (
    "SELECT seq, subject.name, space.fingerprint, bundles, enrolled_at, confidence, norm, key, metadata,"
    " provenance.document"
    " FROM template JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
    " JOIN provenance ON provenance.id = provenance"
    " LEFT JOIN translated ON translated.id = seq + ? LEFT JOIN route ON route.id = translated.route"
)


@dataclass(frozen=True, slots=True)
class GalleryRows:
    """Templates of a gallery in order of enrolment, with their features (G, D) in the gallery's space."""

    seqs: SeqArray
    subject_ids: npt.NDArray[np.int64]
    subjects: Sequence[str]
    features_GD: FloatArray
    origins: Sequence[Side]
    """The ways in which they came."""
    origin_G: npt.NDArray[np.intp]
    """Which of these each came."""
    foreign: Mapping[int, tuple[str, FloatArray]] = field(default_factory=dict)
    """Of those translated, where it was asked for, by row: the fingerprint of the space that they came from, and what they
    were there."""

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def columns(self) -> Columns:
        """All of them, as segments take them."""
        return Columns(self.seqs, self.subject_ids, self.subjects, self.features_GD)

    def columns_of(self, origin: int) -> Columns:
        """Those that came this way."""
        rows = np.flatnonzero(self.origin_G == origin)
        subjects = [self.subjects[row] for row in rows.tolist()]
        return Columns(self.seqs[rows], self.subject_ids[rows], subjects, self.features_GD[rows])

    def only(self, row: int) -> "GalleryRows":
        """One of them."""
        one = slice(row, row + 1)
        return GalleryRows(
            self.seqs[one],
            self.subject_ids[one],
            self.subjects[one],
            self.features_GD[one],
            self.origins,
            self.origin_G[one],
            {0: self.foreign[row]} if row in self.foreign else {},
        )


@dataclass(frozen=True, slots=True)
class RecordedGallery:
    """A gallery and how much is in it."""

    entry: GalleryEntry
    num_templates: int
    num_subjects: int

    def described(self, index: IndexState) -> Gallery:
        """As it is told, with how it is searched."""
        entry = self.entry
        return Gallery(
            entry.name, entry.space, entry.generation, self.num_templates, self.num_subjects, entry.created_at, index
        )


class Record:
    """One open SQLite file. Reads may be made by several threads; writes go through `writer`."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it where there is none.

        Raises `StartupError` where a newer version wrote it, and `sqlite3.Error` where it cannot be read.
        """
        self.path = path
        # For nobody else's eyes; SQLite gives its other files the same mode.
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        """To read the file by, until the end: closing any other would let go of all locks of SQLite on it (that is POSIX)."""
        db = self.connect()
        try:
            prepare(db, path)
        except BaseException:
            db.close()
            os.close(self.descriptor)
            raise
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        # It stays open: the last to close a record moves the log into the file, and keeps failures of that to itself.
        self._readers.put(db)
        self._num_readers = 1
        self._lock = threading.Lock()
        # Who has such a reader may wait for a write, which may wait for another reader.
        self._moments = threading.Semaphore(_READERS - 1)
        self.writer = Writer(path, partial(self.connect, _WRITER_CACHE_KIB), self.connect)
        self._run = secrets.token_hex(16)
        self.writer.call(self._begin_run, bool)
        # The names of its files are new; SQLite does not mind where they cannot be synced.
        sync_folder(path.parent)
        runs = self._read(
            "SELECT first_seq, token FROM run WHERE id IN (SELECT MAX(id) FROM run GROUP BY first_seq) ORDER BY id"
        )
        self.ids = TemplateIds(self.secret(TEMPLATE_IDS), runs)
        self.identity = self.secret(IDENTITY).hex()
        """What no other record is called."""

    def _begin_run(self, db: sqlite3.Connection) -> None:
        db.execute(
            "INSERT INTO run (token, first_op, first_seq) SELECT ?, next_op, next_seq FROM counter", (self._run,)
        )

    def now(self) -> Moment:
        """This moment of the record's history."""
        return Moment(self._run, self._read("SELECT next_op - 1 FROM counter")[0][0])

    def has_been(self, moment: Moment) -> bool:
        """Whether this record was once what it was at that moment, and went on from there."""
        ends = self._read(
            "SELECT COALESCE((SELECT MIN(first_op) FROM run WHERE id > this.id), (SELECT next_op FROM counter))"
            " FROM run this WHERE token = ? AND first_op <= ?",
            (moment.run, moment.op + 1),
        )
        return bool(ends) and moment.op < ends[0][0]

    def close(self) -> None:
        """Close the file; waits for writes in progress. Nothing may be read meanwhile."""
        while not self._readers.empty():
            self._readers.get().close()
        self.writer.close()
        os.close(self.descriptor)

    def secret(self, name: str) -> bytes:
        """A key of the record's own."""
        value: bytes = self._read("SELECT value FROM secret WHERE name = ?", (name,))[0][0]
        return value

    def galleries(self) -> list[RecordedGallery]:
        """All galleries that are not being dropped. Raises `SpaceError` where the document of a space is damaged."""
        return [_recorded(row) for row in self._read(f"{_GALLERY} WHERE name IS NOT NULL")]

    def gallery(self, db: sqlite3.Connection, gallery_id: int) -> RecordedGallery:
        """One of them, as the transaction of `db` sees it."""
        return _recorded(db.execute(f"{_GALLERY} WHERE gallery.id = ?", (gallery_id,)).fetchone())

    def half_dropped(self) -> list[int]:
        """The numbers of galleries that are being dropped."""
        return [gallery_id for (gallery_id,) in self._read("SELECT id FROM gallery WHERE name IS NULL")]

    def templates(self, entry: GalleryEntry, *, after: int, limit: int, subject: str | None) -> TemplatePage:
        """A page of templates, as the port has it."""
        condition, values = "template.gallery = ?", [entry.gallery_id]
        if subject is not None:
            found = self._read("SELECT id FROM subject WHERE gallery = ? AND name = ?", (entry.gallery_id, subject))
            condition, values = "template.subject = ?", [found[0][0] if found else 0]
        rows = self._read(
            f"{_TEMPLATE} WHERE {condition} AND seq > ? ORDER BY seq LIMIT ?",
            (_base(entry), *values, after, limit + 1),
        )
        page = tuple(self._template(row) for row in rows[:limit])
        return TemplatePage(page, rows[limit - 1][0] if len(rows) > limit else None)

    def template(self, entry: GalleryEntry, template_id: str) -> Template | None:
        """One template, or None where there is none of this id."""
        values = (_base(entry), self.ids.seq(template_id), entry.gallery_id)
        rows = self._read(f"{_TEMPLATE} WHERE seq = ? AND template.gallery = ?", values)
        return self._template(rows[0]) if rows else None

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """What was answered to the request that calls itself so, and the digest of what it asked."""
        rows = self._read("SELECT digest, status, body FROM answered WHERE key = ?", (key,))
        return (rows[0][0], Answer(rows[0][1], rows[0][2])) if rows else None

    def seqs(self, entry: GalleryEntry) -> SeqArray:
        """The numbers of all templates of a gallery, ascending."""
        query = "SELECT seq FROM template WHERE gallery = ? AND seq > ? ORDER BY seq LIMIT ?"
        blocks, after = [np.empty(0, dtype=np.int64)], 0
        while rows := self._read(query, (entry.gallery_id, after, _SEQS)):
            blocks.append(np.fromiter((seq for (seq,) in rows), dtype=np.int64, count=len(rows)))
            after = rows[-1][0]
        return np.concatenate(blocks)

    @contextmanager
    def at_one_moment(self) -> Iterator["Reads"]:
        """Reads that all see the record as it was when they begin."""
        with self._moments, self._reader() as db:
            try:
                yield Reads(db, self.writer.agreement)
            except sqlite3.Error as failure:
                raise StorageError(f"the record cannot be read ({reason_of(failure)})") from None
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    def blocks(
        self,
        entry: GalleryEntry,
        *,
        after: int = 0,
        with_originals: bool = False,
        db: sqlite3.Connection | None = None,
        block_size: int = 4096,
    ) -> Iterator[GalleryRows]:
        """Templates of the active generation from number `after` on, in blocks; as the transaction of `db` sees them, if given.

        Raises `DamagedError` naming the first damaged one.
        """
        query = (
            "SELECT seq, subject, name, fingerprint, bundles, COALESCE(translated.crc, template.crc),"
            " feature IS NULL, COALESCE(feature, original)"
            + (", template.crc, CASE WHEN feature IS NULL THEN NULL ELSE original END" if with_originals else "")
            + " FROM template JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
            " LEFT JOIN translated ON translated.id = seq + ? LEFT JOIN route ON route.id = translated.route"
            " WHERE template.gallery = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        while True:
            values = (_base(entry), entry.gallery_id, after, block_size)
            rows = self._read(query, values) if db is None else db.execute(query, values).fetchall()
            if not rows:
                return
            yield self._block(entry, rows, with_originals=with_originals)
            after = rows[-1][0]

    def _block(self, entry: GalleryEntry, rows: list[Any], *, with_originals: bool) -> GalleryRows:
        columns = list(zip(*rows, strict=True))
        seqs, subject_ids, subjects, spaces, routes, crcs, natives, features = columns[:8]
        num_bytes, fingerprint = 4 * entry.space.dimension, entry.space.fingerprint
        for row, (seq, name, crc, feature) in enumerate(zip(seqs, subjects, crcs, features, strict=True)):
            if (
                not isinstance(feature, bytes)
                or len(feature) != num_bytes
                or row_crc(seq, name.encode(), feature) != crc
            ):
                raise self._damaged(entry, seq, "its stored feature does not match its CRC32C")
            if natives[row] and spaces[row] != fingerprint:
                raise self._damaged(entry, seq, "its feature in the gallery's space is missing")
        foreign = {}
        if with_originals:
            for row, (crc, original) in enumerate(zip(columns[8], columns[9], strict=True)):
                if natives[row]:
                    continue
                if not isinstance(original, bytes) or row_crc(seqs[row], subjects[row].encode(), original) != crc:
                    raise self._damaged(entry, seqs[row], "its original feature does not match its CRC32C")
                foreign[row] = (spaces[row], np.frombuffer(original, dtype="<f4").astype(np.float32))
        ways: dict[tuple[str, str | None], int] = {}
        origin_G = np.array(
            [ways.setdefault(way, len(ways)) for way in zip(spaces, routes, strict=True)], dtype=np.intp
        )
        return GalleryRows(
            np.array(seqs, dtype=np.int64),
            np.array(subject_ids, dtype=np.int64),
            subjects,
            np.frombuffer(b"".join(features), dtype="<f4").reshape(len(rows), -1),
            [Side(space, tuple(json.loads(route or "[]"))) for space, route in ways],
            origin_G,
            foreign,
        )

    def _damaged(self, entry: GalleryEntry, seq: int, reason: str) -> DamagedError:
        return DamagedError(
            f"{self.path}: template {self.ids.of([seq])[0]} of gallery {entry.name} is damaged ({reason}); "
            "restore the file from a backup"
        )

    def _template(self, row: tuple[Any, ...]) -> Template:
        seq, subject, space, bundles, enrolled_at, confidence, norm, key, metadata, provenance = row
        return Template(
            self.ids.of([seq])[0],
            subject,
            space,
            tuple(json.loads(bundles or "[]")),
            datetime.fromtimestamp(enrolled_at / 1000, UTC).isoformat(timespec="milliseconds"),
            confidence,
            norm,
            key,
            parsed_metadata(metadata),
            json.loads(provenance),
        )

    def connect(self, cache_kib: int = 2048) -> sqlite3.Connection:
        """A connection of one's own."""
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        pragmas = (
            f"page_size={PAGE_BYTES}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "secure_delete=ON",
            # Nothing but the writer's own thread moves the log into the file, as SQLite would keep its failures to itself.
            "wal_autocheckpoint=0",
            f"journal_size_limit={CHECKPOINT_BYTES}",
            # Else what an operation may have to take back goes through a file of its own.
            "temp_store=MEMORY",
            f"cache_size=-{cache_kib}",
        )
        try:
            for pragma in pragmas:
                db.execute(f"PRAGMA {pragma}")
        except BaseException:
            db.close()
            raise
        return db

    def _read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        with self._reader() as db:
            try:
                return db.execute(query, values).fetchall()
            except sqlite3.Error as failure:
                raise StorageError(f"the record cannot be read ({reason_of(failure)})") from None

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = None
            if self._readers.empty() and self._num_readers < _READERS:
                try:
                    db = self.connect()
                except sqlite3.Error as failure:
                    raise StorageError(f"the record cannot be read ({reason_of(failure)})") from None
                self._num_readers += 1
        db = db or self._readers.get()
        try:
            yield db
        finally:
            self._readers.put(db)


def _recorded(row: tuple[Any, ...]) -> RecordedGallery:
    gallery_id, name, created_at, generation_id, number, space, index_kind, num_templates, num_subjects = row
    parsed = parse_space(space, what=f"gallery {name}")
    entry = GalleryEntry(gallery_id, name, created_at, generation_id, number, parsed, index_kind)
    return RecordedGallery(entry, num_templates, num_subjects)


def _base(entry: GalleryEntry) -> int:
    """What is added to `seq` to find what a template is in the active generation."""
    return entry.generation_id << GENERATION_SHIFT
