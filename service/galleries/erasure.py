"""Erasing subjects: out of the record, its log, every generation, snapshots, what is saved and what is in memory.

Done with nothing else being written; at the end every file of the data folder is looked through, and only when no piece of a
vector is left anywhere it is called done. Copies that were taken out of the folder are out of reach; where such a snapshot is
put back, whoever was erased since it was taken is left out of it.
"""

import hashlib
import hmac
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from service.entities import Erased
from service.errors import StorageError
from service.galleries import operations
from service.galleries.failpoints import reached
from service.galleries.record import Record
from service.galleries.schema import ERASED, GENERATION_SHIFT, GalleryEntry
from service.galleries.snapshots import Manifest, Snapshots
from service.galleries.traces import Traces, find_traces, pieces_of


def erased_digest(key: bytes, gallery: str, subject: str) -> bytes:
    """What stands for somebody who was erased: it tells nothing to who has not the record's key, and does not know the name."""
    return hmac.digest(key, f"{gallery}\n{subject}".encode(), hashlib.sha256)


class Eraser:
    """Erases from one record and the folder around it."""

    def __init__(self, record: Record, snapshots: Snapshots, folder: Path) -> None:
        self._record = record
        self._snapshots = snapshots
        self._folder = folder

    def end_what_was_left(self, db: sqlite3.Connection, galleries: Iterable[GalleryEntry]) -> None:
        """End erasures that a kill left half-way, at a start: what is in the file is written anew, snapshots are gone through."""
        if not db.execute("SELECT 1 FROM erasing").fetchone():
            return
        query = "SELECT digest FROM erased WHERE op >= (SELECT MIN(op) FROM erasing)"
        erased = frozenset(digest for (digest,) in db.execute(query))
        for entry in galleries:
            self._snapshots.erase(entry.name, partial(self._is_erased, erased, entry.name))
        db.execute("VACUUM")
        self._record.writer.empty_log()
        db.execute("DELETE FROM erasing")

    def _is_erased(self, erased: frozenset[bytes], gallery: str, subject: str) -> bool:
        return self.digest(gallery, subject) in erased

    def _delete(
        self, db: sqlite3.Connection, entry: GalleryEntry, seqs: Sequence[int], subjects: Sequence[str]
    ) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            operations.erase(db, entry, seqs, [self.digest(entry.name, subject) for subject in subjects])
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def __call__(
        self,
        db: sqlite3.Connection,
        entry: GalleryEntry,
        subjects: Sequence[str],
        forget: Callable[[Sequence[int]], None],
    ) -> list[Erased]:
        """Erase subjects; called with nothing else being written. `forget` takes templates out of memory and what is saved.

        Raises `StorageError` where something is left: then it is not done, and the next start ends it.
        """
        found = {subject: operations.seqs_of_subject(db, entry, subject) for subject in subjects}
        seqs = [seq for of_subject in found.values() for seq in of_subject]
        vectors = _vectors(db, entry, seqs)
        self._delete(db, entry, seqs, subjects)
        reached("erase-after-commit")
        forget(seqs)
        num_snapshots, in_snapshots = self._snapshots.erase(entry.name, frozenset(subjects).__contains__)
        vectors += in_snapshots
        reached("erase-before-log")
        self._record.writer.empty_log()
        traces = self._proved(db, pieces_of(vectors))
        db.execute("DELETE FROM erasing")
        reached("erase-after")
        num_generations = db.execute(
            "SELECT COUNT(*) FROM generation WHERE gallery = ?", (entry.gallery_id,)
        ).fetchone()[0]
        return [
            Erased(subject, len(found[subject]), num_generations, num_snapshots, traces.num_files, traces.num_bytes)
            for subject in subjects
        ]

    def erased_since(self, db: sqlite3.Connection, manifest: Manifest) -> Callable[[str], bool]:
        """Who was erased from a gallery after a snapshot of it was taken: by operations, or in another record by the clock."""
        column, since = (
            ("op", manifest.op + 1) if manifest.record == self._record.identity else ("at", manifest.taken_at_ms)
        )
        erased = frozenset(
            digest for (digest,) in db.execute(f"SELECT digest FROM erased WHERE {column} >= ?", (since,))
        )
        return partial(self._is_erased, erased, manifest.gallery)

    def digest(self, gallery: str, subject: str) -> bytes:
        """See `erased_digest`."""
        return erased_digest(self._record.secret(ERASED), gallery, subject)

    def _proved(self, db: sqlite3.Connection, pieces: frozenset[bytes]) -> Traces:
        """That nothing is left of vectors, but for what somebody else's are equal to. Raises `StorageError`."""
        traces = self._traces(pieces)
        if not traces.found_in:
            return traces
        pieces -= self._of_others(db, traces.pieces)
        traces = self._traces(pieces)
        if traces.found_in:
            # A page that was moved or merged may have kept what had been in it.
            db.execute("VACUUM")
            self._record.writer.empty_log()
            traces = self._traces(pieces)
        if traces.found_in:
            names = ", ".join(sorted(path.name for path in traces.found_in))
            raise StorageError(
                f"pieces of erased vectors are still in {names}; the erasure is not complete: start the service again"
            )
        return traces

    def _of_others(self, db: sqlite3.Connection, pieces: frozenset[bytes]) -> frozenset[bytes]:
        """Which pieces are of vectors that are recorded, here or in a snapshot: the same feature under another name."""
        held = {piece for vector in _all_vectors(db) for piece in pieces if piece in vector}
        return frozenset(held | {piece for vector in self._snapshots.vectors() for piece in pieces if piece in vector})

    def _traces(self, pieces: frozenset[bytes]) -> Traces:
        return find_traces(pieces, sorted(path for path in self._folder.rglob("*") if path.is_file()))


def _vectors(db: sqlite3.Connection, entry: GalleryEntry, seqs: Sequence[int]) -> list[bytes]:
    """All that is recorded of templates, as they were sent and in every generation."""
    generations = [one for (one,) in db.execute("SELECT id FROM generation WHERE gallery = ?", (entry.gallery_id,))]
    vectors = []
    for seq in seqs:
        vectors += [blob for (blob,) in db.execute("SELECT original FROM template WHERE seq = ?", (seq,))]
        for generation in generations:
            query = "SELECT feature FROM translated WHERE id = ?"
            vectors += [blob for (blob,) in db.execute(query, ((generation << GENERATION_SHIFT) + seq,))]
    return vectors


def _all_vectors(db: sqlite3.Connection) -> Iterator[bytes]:
    for query in ("SELECT original FROM template", "SELECT feature FROM translated"):
        yield from (vector for (vector,) in db.execute(query))
