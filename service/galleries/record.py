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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from service.entities import Answer, Side, Template
from service.errors import DamagedError, StorageError
from service.files import sync_folder
from service.galleries.failures import reason_of
from service.galleries.ids import TemplateIds
from service.galleries.port import TemplatePage
from service.galleries.reads import Reads
from service.galleries.recorded import GENERATIONS, GalleryRows, RecordedGallery, parsed_generation
from service.galleries.rows import parsed_metadata
from service.galleries.rules import time_of
from service.galleries.schema import (
    GENERATION_SHIFT,
    IDENTITY,
    PAGE_BYTES,
    RETIRED,
    TEMPLATE_IDS,
    GalleryEntry,
    Moment,
    prepare,
    row_crc,
)
from service.galleries.segments import SeqArray
from service.galleries.writer import CHECKPOINT_BYTES, Writer

_READERS = 4
_SEQS = 65_536
_WRITER_CACHE_KIB = 32_768
TEMPLATE = (
    "SELECT seq, subject.name, space.fingerprint, bundles, enrolled_at, confidence, norm, key, metadata,"
    " provenance.document, COALESCE(length(feature), 1)"
    " FROM template JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
    " JOIN provenance ON provenance.id = provenance"
    " LEFT JOIN translated ON translated.id = seq + ? LEFT JOIN route ON route.id = translated.route"
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
        runs = self.read(
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
        return Moment(self._run, self.read("SELECT next_op - 1 FROM counter")[0][0])

    def has_been(self, moment: Moment) -> bool:
        """Whether this record was once what it was at that moment, and went on from there."""
        ends = self.read(
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
        value: bytes = self.read("SELECT value FROM secret WHERE name = ?", (name,))[0][0]
        return value

    def galleries(self) -> list[RecordedGallery]:
        """All galleries that are not being dropped, each with each of its generations that is not, the active one first.

        Raises `SpaceError` where the document of a space is damaged.
        """
        return [parsed_generation(row) for row in self.read(f"{GENERATIONS} ORDER BY gallery.id, active DESC, number")]

    def generations(self, db: sqlite3.Connection, gallery_id: int) -> list[RecordedGallery]:
        """Those of one gallery, as the transaction of `db` sees them, the active one first."""
        rows = db.execute(f"{GENERATIONS} AND gallery.id = ? ORDER BY active DESC, number", (gallery_id,))
        return [parsed_generation(row) for row in rows.fetchall()]

    def half_dropped_generations(self) -> list[int]:
        """The numbers of generations that are being dropped."""
        return [one for (one,) in self.read("SELECT id FROM generation WHERE kept_until = 0")]

    def half_dropped(self) -> list[int]:
        """The numbers of galleries that are being dropped."""
        return [gallery_id for (gallery_id,) in self.read("SELECT id FROM gallery WHERE name IS NULL")]

    def templates(self, entry: GalleryEntry, *, after: int, limit: int, subject: str | None) -> TemplatePage:
        """A page of templates, as the port has it."""
        condition, values = "template.gallery = ?", [entry.gallery_id]
        if subject is not None:
            found = self.read("SELECT id FROM subject WHERE gallery = ? AND name = ?", (entry.gallery_id, subject))
            condition, values = "template.subject = ?", [found[0][0] if found else 0]
        rows = self.read(
            f"{TEMPLATE} WHERE {condition} AND seq > ? ORDER BY seq LIMIT ?",
            (entry.base, *values, after, limit + 1),
        )
        page = tuple(self.template_of(row) for row in rows[:limit])
        return TemplatePage(page, rows[limit - 1][0] if len(rows) > limit else None)

    def template(self, entry: GalleryEntry, template_id: str) -> Template | None:
        """One template, or None where there is none of this id."""
        values = (entry.base, self.ids.seq(template_id), entry.gallery_id)
        rows = self.read(f"{TEMPLATE} WHERE seq = ? AND template.gallery = ?", values)
        return self.template_of(rows[0]) if rows else None

    def count_with(self, entry: GalleryEntry, field: str) -> int:
        """How many templates of a gallery have a field of metadata."""
        query = "SELECT count(*) FROM attribute WHERE gallery = ? AND name = ?"
        return int(self.read(query, (entry.gallery_id, field))[0][0])

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """What was answered to the request that calls itself so, and the digest of what it asked."""
        rows = self.read("SELECT digest, status, body FROM answered WHERE key = ?", (key,))
        return (rows[0][0], Answer(rows[0][1], rows[0][2])) if rows else None

    def num_missing(self, entry: GalleryEntry, after: int = 0) -> int:
        """Templates that came after one and are not in a generation, but for those that native ones have retired."""
        query = (
            "SELECT COUNT(*) FROM translated WHERE id > ? AND id < ? AND length(feature) = 0 AND confidence IS NOT ?"
        )
        values = (entry.base + after, entry.base + (1 << GENERATION_SHIFT), RETIRED)
        num: int = self.read(query, values)[0][0]
        return num

    def num_translated(self, entry: GalleryEntry) -> int:
        """Templates that were translated into a generation."""
        query = f"SELECT COUNT(*) FROM translated WHERE id >> {GENERATION_SHIFT} = ? AND length(feature) > 0"
        num: int = self.read(query, (entry.generation_id,))[0][0]
        return num

    def absent(self, entry: GalleryEntry) -> SeqArray:
        """The numbers of templates that are not in a generation, ascending."""
        query = "SELECT id FROM translated WHERE id >= ? AND id < ? AND length(feature) = 0 ORDER BY id"
        rows = self.read(query, (entry.base, entry.base + (1 << GENERATION_SHIFT)))
        return np.fromiter((number for (number,) in rows), dtype=np.int64, count=len(rows)) - entry.base

    def check_absent(self, entry: GalleryEntry, db: sqlite3.Connection) -> None:
        """That those are absent of whom it is recorded. Raises `DamagedError`."""
        rows = db.execute(
            "SELECT seq, name, translated.crc FROM translated JOIN template ON seq = translated.id - ?1"
            " JOIN subject ON subject.id = subject WHERE translated.id >= ?1 AND translated.id < ?2 AND length(feature) = 0",
            (entry.base, entry.base + (1 << GENERATION_SHIFT)),
        )
        for seq, name, crc in rows:
            if row_crc(seq, name.encode(), b"") != crc:
                raise self.damaged(entry, seq, "its stored feature does not match its CRC32C")

    def seqs(self, entry: GalleryEntry) -> SeqArray:
        """The numbers of all templates that are in a generation, ascending."""
        query = "SELECT seq FROM template WHERE gallery = ? AND seq > ? ORDER BY seq LIMIT ?"
        blocks, after = [np.empty(0, dtype=np.int64)], 0
        while rows := self.read(query, (entry.gallery_id, after, _SEQS)):
            blocks.append(np.fromiter((seq for (seq,) in rows), dtype=np.int64, count=len(rows)))
            after = rows[-1][0]
        return np.setdiff1d(np.concatenate(blocks), self.absent(entry), assume_unique=True)

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
        """Templates of a complete generation from number `after` on, in blocks; as the transaction of `db` sees them, if given.

        Raises `DamagedError` naming the first damaged one.
        """
        query = (
            "SELECT seq, subject, name, fingerprint, bundles, COALESCE(translated.crc, template.crc),"
            " feature IS NULL, COALESCE(feature, original)"
            + (", template.crc, CASE WHEN feature IS NULL THEN NULL ELSE original END" if with_originals else "")
            + " FROM template JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
            " LEFT JOIN translated ON translated.id = seq + ? LEFT JOIN route ON route.id = translated.route"
            " WHERE template.gallery = ? AND seq > ? AND (feature IS NULL OR length(feature) > 0) ORDER BY seq LIMIT ?"
        )
        while True:
            values = (entry.base, entry.gallery_id, after, block_size)
            rows = self.read(query, values) if db is None else db.execute(query, values).fetchall()
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
                raise self.damaged(entry, seq, "its stored feature does not match its CRC32C")
            if natives[row] and spaces[row] != fingerprint:
                raise self.damaged(entry, seq, "its feature in the gallery's space is missing")
        foreign = {}
        if with_originals:
            for row, (crc, original) in enumerate(zip(columns[8], columns[9], strict=True)):
                if natives[row]:
                    continue
                if not isinstance(original, bytes) or row_crc(seqs[row], subjects[row].encode(), original) != crc:
                    raise self.damaged(entry, seqs[row], "its original feature does not match its CRC32C")
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

    def damaged(self, entry: GalleryEntry, seq: int, reason: str) -> DamagedError:
        """What is told of a template that is not what was written."""
        return DamagedError(
            f"{self.path}: template {self.ids.of([seq])[0]} of gallery {entry.name} is damaged ({reason}); "
            "restore the file from a backup"
        )

    def template_of(self, row: tuple[Any, ...]) -> Template:
        """A row of `TEMPLATE`."""
        seq, subject, space, bundles, enrolled_at, confidence, norm, key, metadata, provenance, size = row
        return Template(
            self.ids.of([seq])[0],
            subject,
            space,
            tuple(json.loads(bundles or "[]")),
            time_of(enrolled_at),
            confidence if size else None,
            norm,
            key,
            parsed_metadata(metadata),
            json.loads(provenance),
            bool(size),
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

    def read(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        """All that a query finds. Raises `StorageError`."""
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
