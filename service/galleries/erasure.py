"""Erasing subjects: out of the record, its log, every generation, snapshots, what is saved and what is in memory.

Done with nothing else being written; at the end every file of the data folder is looked through, and only when no piece of a
vector is left anywhere it is called done. What is looked for stays in the record, inverted, until then: asked for again, or at
the next start, an erasure that did not come to its end is taken up with all of it. Copies that were taken out of the folder are
out of reach; where such a snapshot is put back, whoever was erased since it was taken is left out of it.
"""

import hashlib
import hmac
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from service.entities import Erased
from service.errors import DamagedError, ReadOnlyError, StorageError
from service.galleries import operations
from service.galleries.failpoints import reached
from service.galleries.failures import FAILURES, reason_of
from service.galleries.folder import OF_OTHERS, PROJECTIONS, TENANTS, vacuum
from service.galleries.manifests import Manifest
from service.galleries.pages import overwrite_unused
from service.galleries.record import Record
from service.galleries.schema import ERASED, GENERATION_SHIFT, GalleryEntry
from service.galleries.snapshots import Snapshots
from service.galleries.traces import PIECE, Traces, find_traces, held_in, pieces_of

T = TypeVar("T")
log = logging.getLogger("facebridge.galleries")
_INVERTED = bytes(255 - value for value in range(256))


class Forgetting(Protocol):
    """What else knows of templates that are erased."""

    def hide(self, seqs: Sequence[int]) -> None:
        """Let no search see them from here on."""

    def forget(self) -> None:
        """Take out of memory and of what is saved all that was taken out of the gallery. Raises `StorageError`."""

    def quiet(self) -> AbstractContextManager[None]:
        """With nothing being saved."""

    def renew(self, paths: Iterable[Path]) -> bool:
        """Save again what is saved in some files; whether there was any. Raises `StorageError`."""


class Eraser:
    """Erases from one record and the folder around it."""

    def __init__(self, record: Record, snapshots: Snapshots, folder: Path) -> None:
        self._record = record
        self._snapshots = snapshots
        self._folder = folder

    def end_what_was_left(self, db: sqlite3.Connection) -> None:
        """End erasures that did not come to their end, at a start, before galleries are opened; what cannot be ended is said in
        the log and stays to be ended.
        """
        if not _unfinished(db):
            return
        # Made again from the record.
        shutil.rmtree(self._folder / PROJECTIONS, ignore_errors=True)
        for name in {name for _, name, _ in _unfinished(db)}:
            try:
                self._snapshots.erase(name, self._in_question(db, name))
                self._empty(db)
                self._prove(db, name)
            except (StorageError, OSError, sqlite3.Error) as failure:
                # Its code only: SQLite's own words may quote what is stored.
                reason = reason_of(failure) if isinstance(failure, sqlite3.Error) else failure
                log.error("an erasure from gallery %s is not complete: %s", name, reason)

    def __call__(
        self,
        db: sqlite3.Connection,
        name: str,
        entry: GalleryEntry | None,
        subjects: Sequence[str],
        forgetting: Forgetting,
    ) -> list[Erased]:
        """Erase subjects of a gallery, which has no entry where only snapshots are left of it; called with nothing else being
        written.

        Raises `StorageError` where something is left: then it is not done, and is taken up when it is asked for again, or at the
        next start.
        """
        # What is being dropped is nobody's any more, and would pass for somebody else's.
        for gallery_id in self._record.half_dropped():
            while not _in_one(db, partial(operations.drop_some, db, gallery_id)):
                pass
        found = {subject: operations.seqs_of_subject(db, entry, subject) if entry else [] for subject in subjects}
        seqs = [seq for of_subject in found.values() for seq in of_subject]
        in_snapshots = self._snapshots.vectors_of(name, frozenset(subjects).__contains__)
        pieces = pieces_of([*(_vectors(db, entry, seqs) if entry else []), *in_snapshots])
        digests = [self.digest(name, subject) for subject in subjects]
        joined = b"".join(sorted(pieces)).translate(_INVERTED)
        erase = partial(operations.erase, db, name, entry, seqs, digests=digests, pieces=joined)
        _in_one(db, erase, lambda: self._record.writer.commit(lambda: forgetting.hide(seqs)))
        reached("erase-after-commit")
        try:
            num_snapshots, traces = self._take_away(db, name, forgetting)
        except (*FAILURES, OSError) as failure:
            # What the writer tells of a failure is that nothing was done.
            error = self._record.writer.error_of(failure) if isinstance(failure, sqlite3.Error) else None
            if isinstance(error, ReadOnlyError):
                raise error from None
            reason = failure.strerror if isinstance(failure, OSError) else reason_of(failure)
            raise StorageError(
                f"nobody finds them any more, but the erasure is not complete ({reason}); ask for it again"
            ) from None
        reached("erase-after")
        query = "SELECT COUNT(*) FROM generation WHERE gallery = ?"
        (num_generations,) = db.execute(query, (entry.gallery_id if entry else None,)).fetchone()
        return [
            Erased(subject, len(found[subject]), num_generations, num_snapshots, traces.num_files, traces.num_bytes)
            for subject in subjects
        ]

    def _take_away(self, db: sqlite3.Connection, name: str, forgetting: Forgetting) -> tuple[int, Traces]:
        """What is left of those who are out of the gallery; out of how many snapshots they were taken, and what was looked
        through. Raises `StorageError`, `sqlite3.Error`, `OSError`.
        """
        forgetting.forget()
        num_snapshots = self._snapshots.erase(name, self._in_question(db, name))
        reached("erase-before-log")
        self._empty(db)
        with forgetting.quiet():
            return num_snapshots, self._prove(db, name, forgetting.renew)

    def _empty(self, db: sqlite3.Connection) -> None:
        """Leave in the record what is recorded, and nothing that was: neither in its log nor in its pages.

        Raises `StorageError`, `sqlite3.Error`, `OSError`.
        """
        writer = self._record.writer
        try:
            writer.overwrite(self._record.descriptor, overwrite_unused)
        except DamagedError:
            # SQLite knows better, and takes longer.
            vacuum(db, self._folder)
            writer.empty_log()

    def erased_since(self, db: sqlite3.Connection, manifest: Manifest) -> Callable[[str], bool]:
        """Who was erased from a gallery after a snapshot of it was taken: by operations, or in another history by the clock."""
        is_ours = manifest.record == self._record.identity and self._record.has_been(manifest.moment)
        column, since = ("op", manifest.op + 1) if is_ours else ("at", manifest.taken_at_ms)
        erased = frozenset(
            digest for (digest,) in db.execute(f"SELECT digest FROM erased WHERE {column} >= ?", (since,))
        )
        return partial(self._is_erased, erased, manifest.gallery)

    def digest(self, gallery: str, subject: str) -> bytes:
        """What stands for somebody who was erased: it tells nothing to who has not the record's key, or does not know whom."""
        return hmac.digest(self._record.secret(ERASED), f"{gallery}\n{subject}".encode(), hashlib.sha256)

    def _is_erased(self, erased: frozenset[bytes], gallery: str, subject: str) -> bool:
        return self.digest(gallery, subject) in erased

    def _in_question(self, db: sqlite3.Connection, gallery: str) -> Callable[[Manifest, str], bool]:
        """Whom unfinished erasures from a gallery are of, in snapshots from before them."""
        ops = [op for op, name, _ in _unfinished(db) if name == gallery]
        erased = {
            op: frozenset(digest for (digest,) in db.execute("SELECT digest FROM erased WHERE op = ?", (op,)))
            for op in ops
        }

        def is_in_question(manifest: Manifest, subject: str) -> bool:
            is_ours = manifest.record == self._record.identity and self._record.has_been(manifest.moment)
            digest = self.digest(gallery, subject)
            return any(digest in of_op for op, of_op in erased.items() if not is_ours or manifest.op < op)

        return is_in_question

    def _prove(
        self, db: sqlite3.Connection, gallery: str, renew: Callable[[Iterable[Path]], bool] | None = None
    ) -> Traces:
        """That nothing is left of what erasures from a gallery are of, but for what somebody else's is equal to.

        Raises `StorageError`.
        """
        mine = [(op, pieces) for op, name, pieces in _unfinished(db) if name == gallery]
        pieces = frozenset(piece for _, of_op in mine for piece in of_op)
        traces = self._traces(pieces)
        if traces.found_in:
            pieces -= self._of_others(db, traces.pieces)
            traces = self._traces(pieces)
        # The same feature was somebody else's, who was removed and is in what was saved before that.
        if traces.found_in and renew is not None and renew(traces.found_in):
            traces = self._traces(pieces)
        if traces.found_in:
            # A page that was moved or merged may have kept what had been in it.
            vacuum(db, self._folder)
            self._record.writer.empty_log()
            traces = self._traces(pieces)
        if traces.found_in:
            names = ", ".join(sorted(path.name for path in traces.found_in))
            raise StorageError(
                f"pieces of erased vectors are still in {names}; the erasure is not complete, ask for it again"
            )
        db.executemany("DELETE FROM erasing WHERE op = ?", [(op,) for op, _ in mine])
        return traces

    def _of_others(self, db: sqlite3.Connection, pieces: frozenset[bytes]) -> frozenset[bytes]:
        """Which pieces are of vectors that are recorded, here or in a snapshot: the same feature under another name."""
        return held_in(pieces, _all_vectors(db)) | held_in(pieces, self._snapshots.vectors())

    def _traces(self, pieces: frozenset[bytes]) -> Traces:
        # Not the index of the log, which holds numbers of pages: to open and close that would let go of SQLite's locks on it.
        index = self._record.path.with_name(f"{self._record.path.name}-shm")
        paths = sorted(
            path
            for path in self._folder.rglob("*")
            if path.is_file() and path != index and not self._is_of_others(path)
        )
        return find_traces(pieces, paths, {self._record.path: self._record.descriptor})

    def _is_of_others(self, path: Path) -> bool:
        place = path.relative_to(self._folder).parts
        return place[0] == TENANTS or (len(place) == 1 and place[0].startswith(OF_OTHERS))


def _in_one(db: sqlite3.Connection, work: Callable[[], T], commit: Callable[[], None] | None = None) -> T:
    """In a transaction, which is committed by `commit`, if given."""
    db.execute("BEGIN IMMEDIATE")
    try:
        done = work()
        if commit is None:
            db.execute("COMMIT")
        else:
            commit()
        return done
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _unfinished(db: sqlite3.Connection) -> list[tuple[int, str, frozenset[bytes]]]:
    """Erasures that have not come to their end: their operations, from which gallery, and what is looked for."""
    rows = db.execute("SELECT op, gallery, pieces FROM erasing ORDER BY op").fetchall()
    return [(op, gallery, _split(pieces.translate(_INVERTED))) for op, gallery, pieces in rows]


def _split(joined: bytes) -> frozenset[bytes]:
    return frozenset(joined[start : start + PIECE] for start in range(0, len(joined), PIECE))


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
