"""A generation that is behind catches up: blocks are recorded and made searchable in order, each in a turn of its own of the
writing thread, so that nothing is recorded between what it looked at and what it made of it.

Shapes: G templates of a block, D dimension of the generation's space.
"""

import logging
import sqlite3
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from service.entities import FloatArray, Translation
from service.errors import DamagedError, EngineError, GenerationChangedError, InvalidInputError
from service.galleries import generation_rows
from service.galleries.blocks import Block, Completed, completed, read_block
from service.galleries.failpoints import reached
from service.galleries.opened import CommonIndex, OpenGallery
from service.galleries.opening import from_saved
from service.galleries.port import Chunk, Filled
from service.galleries.record import Record
from service.galleries.recorded import GalleryRows
from service.galleries.rules import REST
from service.galleries.segments import SeqArray

log = logging.getLogger("facebridge.galleries")

NOTHING = Chunk((), 0, 0, 0, None)


T = TypeVar("T")
R = TypeVar("R")


class Exclusively(Protocol):
    """Does work in a transaction that it shares with nothing, and when that is on disk something with what it gave."""

    def __call__(self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], R], /) -> R:
        """What the second gives."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A block on its way, with its features in the other spaces in which the generation is searchable."""

    block: Block
    done: Completed
    projected: Mapping[str, tuple[CommonIndex, FloatArray]]

    @classmethod
    def of(cls, gallery: OpenGallery, block: Block, made: Sequence[Translation | None]) -> "_Ready":
        """Raises `EngineError`."""
        done = completed(block, made, gallery.entry, with_originals=bool(gallery.indexes))
        return cls(block, done, _projected(gallery, done.rows))

    @property
    def spaces(self) -> Set[str]:
        """Those other spaces, by fingerprint."""
        return self.projected.keys()

    def put(self, gallery: OpenGallery, alive: SeqArray) -> int:
        """Make what is alive searchable; how many those are."""
        is_alive = np.isin(self.done.rows.seqs, alive, assume_unique=True)
        rows = _only(self.done.rows, is_alive)
        if len(rows):
            gallery.projection.put(rows, ())
            for index, features_GD in self.projected.values():
                index.projection.put(replace(rows, features_GD=features_GD[is_alive]), ())
        return len(rows)


class CatchingUp:
    """Of the generations of one record."""

    def __init__(self, record: Record, exclusively: "Exclusively") -> None:
        """`exclusively` does work in a transaction of its own, and what that gives when it is on disk."""
        self._record = record
        self._exclusively = exclusively

    def chunk(self, name: str, gallery: OpenGallery, after: int | None, limit: int) -> Chunk:
        """As the port's, of a generation."""
        if not gallery.is_behind:
            return NOTHING
        if after is None:
            self._take_up(name, gallery)
            after = gallery.filled_to
        block = read_block(self._record, gallery.entry, after, limit)
        if block is None:
            return Chunk((), 0, after, after, (gallery, Block.empty()))
        return Chunk(block.originals, len(block), after, block.last_seq, (gallery, block))

    def fill(self, gallery: OpenGallery, chunk: Chunk, made: Sequence[Translation | None]) -> Filled:
        """As the port's, of a generation."""
        if not gallery.is_behind or chunk.rows is None:
            return Filled(0, 0, is_complete=not gallery.is_behind, filled_to=gallery.filled_to)
        of_gallery: OpenGallery = chunk.rows[0]
        block: Block = chunk.rows[1]
        ready = _Ready.of(gallery, block, made)

        def work(db: sqlite3.Connection) -> Callable[[], Filled]:
            if of_gallery is not gallery or gallery.is_dropped:
                raise GenerationChangedError("the generation is not there any more, or was put back")
            if not gallery.is_behind or gallery.filled_to != chunk.after:
                raise GenerationChangedError("this is not the next chunk of the generation")
            if ready.spaces != gallery.indexes.keys():
                raise GenerationChangedError("the generation is searchable in other spaces since this chunk was begun")
            return self._recorded(db, gallery, ready, chunk.next_after)

        def then(what_follows: Callable[[], Filled]) -> Filled:
            return what_follows()

        return self._exclusively(work, then)

    def _recorded(
        self, db: sqlite3.Connection, gallery: OpenGallery, ready: _Ready, filled_to: int
    ) -> Callable[[], Filled]:
        """Record a block, and with it what came since; what is to be done when that is on disk."""
        there = _There.of(db, gallery, ready.block)
        ready.done.record(db, there.searchable)
        parts = [(ready, there)]
        rest = read_block(self._record, gallery.entry, filled_to, REST, db)
        if rest is not None and not rest.originals:
            parts.append((_Ready.of(gallery, rest, ()), _There.of(db, gallery, rest)))
            filled_to = rest.last_seq
        is_last = not generation_rows.is_there_more(db, gallery.entry, filled_to)
        reached("fill-before-commit")

        def then() -> Filled:
            num = sum(one.put(gallery, those.searchable) for one, those in parts)
            num_living = sum(those.num for _, those in parts)
            gallery.filled_to = filled_to
            gallery.num_looked_at += num_living
            gallery.is_behind = not is_last
            reached("fill-after-commit")
            num_translated = int(np.isin(ready.block.to_translate, there.searchable, assume_unique=True).sum())
            return Filled(num, num_living - num, is_last, num_translated, filled_to)

        return then

    def _take_up(self, name: str, gallery: OpenGallery) -> None:
        """Begin with what was saved of a generation, if anything was."""
        if gallery.filled_to:
            return
        with gallery.folder.lock:
            try:
                projection = from_saved(self._record, gallery.entry, gallery.folder)
            except (DamagedError, OSError) as failure:
                reason = failure.strerror if isinstance(failure, OSError) else failure
                log.warning("what was saved of a generation of gallery %s is not used (%s)", name, reason)
                return
        if projection is None or not projection.last_seq:
            return

        def adopt(db: sqlite3.Connection) -> None:
            if gallery.filled_to or not gallery.is_behind:
                return
            living = generation_rows.living_until(db, gallery.entry, projection.last_seq)
            absent = generation_rows.absent_between(db, gallery.entry, 0, projection.last_seq)
            gone = np.setdiff1d(projection.seqs(), np.setdiff1d(living, absent), assume_unique=True)
            projection.remove(gone.tolist())
            gallery.projection, gallery.filled_to = projection, projection.last_seq
            # They know nothing of what was saved; they are made again when it has caught up.
            gallery.indexes = {}
            gallery.num_looked_at = len(living)
            gallery.num_saved, gallery.saved_version = projection.num_templates, projection.version

        self._record.writer.alone(adopt)


@dataclass(frozen=True, slots=True)
class _There:
    """Which templates of a block are in the gallery still."""

    num: int
    searchable: SeqArray
    """But for those that are known not to be in the generation."""

    @classmethod
    def of(cls, db: sqlite3.Connection, gallery: OpenGallery, block: Block) -> "_There":
        """As the transaction of `db` sees it."""
        if not len(block):
            return cls(0, block.seqs)
        living = generation_rows.living(db, gallery.entry, block.seqs)
        absent = generation_rows.absent_between(db, gallery.entry, int(block.seqs[0]), block.last_seq)
        return cls(len(living), np.setdiff1d(living, absent, assume_unique=True))


def _projected(gallery: OpenGallery, rows: GalleryRows) -> dict[str, tuple[CommonIndex, FloatArray]]:
    """Rows in the other spaces in which a generation is searchable; one in which they have no direction is done without."""
    found = {}
    for fingerprint, index in gallery.indexes.items():
        try:
            found[fingerprint] = (index, index.features(rows))
        except (InvalidInputError, EngineError) as failure:
            log.warning("gallery %s: %s", gallery.entry.name, failure)
            gallery.indexes = {other: kept for other, kept in gallery.indexes.items() if other != fingerprint}
    return found


def _only(rows: GalleryRows, is_kept: npt.NDArray[np.bool_]) -> GalleryRows:
    if is_kept.all():
        return rows
    kept = np.flatnonzero(is_kept)
    return replace(
        rows,
        seqs=rows.seqs[kept],
        subject_ids=rows.subject_ids[kept],
        subjects=[rows.subjects[row] for row in kept.tolist()],
        features_GD=rows.features_GD[kept],
        origin_G=rows.origin_G[kept],
        foreign={},
    )
