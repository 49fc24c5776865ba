"""Generations of open galleries: one that is built beside the active one, takes its place, is kept for a while, and goes.

A generation that is behind searches less than is recorded: it is filled in order of enrolment, block by block, and what is
enrolled meanwhile comes when it is its turn. What translators made is recorded in the transaction that makes the block
searchable, so whatever ends the process, no block is translated twice but the one that was under way. With the block after which
there is no other the generation has caught up, and from then on every enrolment reaches it at once.

Shapes: G templates of a block, D dimension of the generation's space.
"""

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from models.space import Space
from service.entities import FloatArray, Gallery, Generation, Once, Side, Translation
from service.errors import (
    EngineError,
    GenerationChangedError,
    InvalidInputError,
    JobStateError,
    RollbackExpiredError,
    SpaceMismatchError,
)
from service.galleries import generation_reads, generation_rows, operations
from service.galleries.background import Saver
from service.galleries.catching_up import CatchingUp
from service.galleries.failpoints import reached
from service.galleries.indexes import IndexPolicy
from service.galleries.opened import CommonIndex, OpenGallery, first_without_direction
from service.galleries.opening import behind
from service.galleries.port import Backlog, Chunk, Filled, Project, Sample
from service.galleries.projection import Projection
from service.galleries.record import Record
from service.galleries.rules import check_projections, milliseconds

log = logging.getLogger("facebridge.galleries")

T = TypeVar("T")
R = TypeVar("R")


class Generations:
    """Of the galleries of one record."""

    def __init__(
        self,
        record: Record,
        projections: Path,
        saver: Saver,
        policy: IndexPolicy,
        *,
        opened: Callable[[str], OpenGallery],
        exchange: Callable[[OpenGallery], None],
        leave: Callable[[OpenGallery], None],
    ) -> None:
        """`opened` gives the active generation of a gallery by name, or raises `NotFoundError`; `exchange` lets another be asked
        in its place; `leave` hears of one that is not asked any more, in which searches may go on.
        """
        self._record = record
        self._projections = projections
        self._saver = saver
        self._policy = policy
        self._opened = opened
        self._exchange = exchange
        self._leave = leave
        self._catching_up = CatchingUp(record, self._exclusively)

    def begin(
        self, name: str, space: Space, *, job: str, routes: Mapping[str, Sequence[str]], retires: bool = True
    ) -> Generation:
        """See the port."""

        def work(db: sqlite3.Connection) -> tuple[OpenGallery, OpenGallery]:
            active = self._opened(name)
            for other in active.generations:
                if other.entry.job == job:
                    return active, other
            if active.entry.space.fingerprint == space.fingerprint:
                raise SpaceMismatchError(f"gallery {name} is in the space {active.entry.space.name} already")
            kind = active.entry.index_kind
            begun = generation_rows.begin(
                db, active.entry, space, job=job, routes=routes, retires=retires, index_kind=kind
            )
            return active, behind(self._record, begun, active.counts, self._projections)

        def then(found: tuple[OpenGallery, OpenGallery]) -> OpenGallery:
            active, other = found
            if not active.holds(other):
                active.beside = _in_order(*active.beside, other)
            reached("begin-after-commit")
            return other

        return self._exclusively(work, then).as_beside()

    def origins(self, name: str) -> list[tuple[Space, int]]:
        """See the port."""
        gallery = self._opened(name)
        num_by_space = Counter[str]()
        for side, num in gallery.projection.origins().items():
            num_by_space[side.space] += num
        return generation_reads.origins(self._record, gallery.entry, num_by_space)

    def chunk(self, name: str, generation: int, *, after: int | None = None, limit: int = 4096) -> Chunk:
        """See the port."""
        return self._catching_up.chunk(name, self.of(name, generation), after, limit)

    def fill(self, name: str, generation: int, chunk: Chunk, made: Sequence[Translation | None]) -> Filled:
        """See the port."""
        return self._catching_up.fill(self.of(name, generation), chunk, made)

    def activate(
        self,
        name: str,
        generation: int,
        *,
        expected: int,
        keep_seconds: float,
        job: str | None = None,
        once: Once | None = None,
    ) -> Gallery:
        """See the port."""
        kept_until = milliseconds() + round(1000 * keep_seconds)

        def work(db: sqlite3.Connection) -> tuple[OpenGallery, OpenGallery, dict[int, list[int]]]:
            old = self._opened(name)
            if old.entry.generation != expected:
                raise GenerationChangedError(
                    f"gallery {name} is in generation {old.entry.generation}, and was meant to be in {expected}"
                )
            new = self.of(name, generation)
            if new is old:
                raise GenerationChangedError(f"generation {generation} is the active one already")
            if job is not None and job not in (old.entry.job, new.entry.job):
                raise GenerationChangedError(f"generation {generation} is of another job")
            if new.is_behind:
                raise JobStateError(f"generation {generation} has not caught up with the gallery yet")
            native = Side(new.entry.space.fingerprint)
            with_natives = new.projection.subjects_with(native).tolist()
            retired = generation_rows.activate(db, old.entry, new.entry, kept_until, with_natives)
            gone = {new.entry.generation: retired}
            for one in _built_beside(old, new) if retired else ():
                gone[one.entry.generation] = operations.retire_too(db, new.entry, one.entry, retired)
            operations.remember(db, once, _as_active(new, old, kept_until).described())
            reached("activate-before-commit")
            return old, new, gone

        def then(done: tuple[OpenGallery, OpenGallery, dict[int, list[int]]]) -> Gallery:
            old, new, gone = done
            for one in (new, *old.beside):
                for projection in one.projections() if gone.get(one.entry.generation) else ():
                    projection.remove(gone[one.entry.generation])
            others = [one for one in old.beside if one is not new]
            new.entry, new.beside = generation_rows.now_active(new.entry), _in_order(old, *others)
            old.entry = generation_rows.now_kept(old.entry, kept_until)
            # Nobody asks it in other spaces, and what has no direction there may be enrolled all the same.
            old.indexes = {}
            self._exchange(new)
            old.beside = ()
            reached("activate-after-commit")
            return new.described()

        return self._exclusively(work, then)

    def drop(self, name: str, generation: int) -> None:
        """See the port."""

        def work(db: sqlite3.Connection) -> tuple[OpenGallery, OpenGallery | None]:
            active = self._opened(name)
            gone = next((one for one in active.beside if one.entry.generation == generation), None)
            if gone is not None:
                generation_rows.forget(db, gone.entry)
                self._saver.remove(gone)
            return active, gone

        def then(done: tuple[OpenGallery, OpenGallery | None]) -> OpenGallery | None:
            active, gone = done
            if gone is not None:
                active.beside = tuple(one for one in active.beside if one is not gone)
                self._leave(gone)
            return gone

        try:
            self._exclusively(work, then)
        except BaseException:
            for one in self._opened(name).beside:
                one.is_dropped = False
            raise
        # Also what another call could not take out.
        for generation_id in self._record.half_dropped_generations():
            self.drop_rest(generation_id)

    def ensure_index(self, name: str, space: Space, projections: Mapping[str, Project], generation: int | None) -> None:
        """As the store's. Writes wait while the templates that are there are projected; searches do not."""
        fingerprint = space.fingerprint
        gallery = self.of(name, generation)
        check_projections(projections, gallery.entry.space)
        if fingerprint in gallery.indexes:
            return

        def build(db: sqlite3.Connection) -> None:
            now = self.of(name, generation)
            check_projections(projections, now.entry.space)
            if fingerprint in now.indexes:
                return
            if fingerprint in now.failed:
                raise EngineError(now.failed[fingerprint])
            index = CommonIndex(
                space, now.entry.space.fingerprint, projections, Projection(space.dimension, self._record.ids)
            )
            # One that is behind is filled with what it has in this space too.
            known = () if now.is_behind else self._record.blocks(now.entry, with_originals=True, db=db)
            if now.is_behind and now.filled_to:
                return
            for rows in known:
                try:
                    index.add(rows)
                except InvalidInputError:
                    template_id = first_without_direction(index, rows, self._record.ids)
                    now.failed[fingerprint] = (
                        f"gallery {name} cannot be searched in the space {space.name}: "
                        f"template {template_id} has no direction there; remove it"
                    )
                    raise EngineError(now.failed[fingerprint]) from None
            now.indexes = {**now.indexes, fingerprint: index}

        self._record.writer.alone(build)

    def is_indexed(self, name: str, generation: int) -> bool:
        """See the port."""
        gallery = self.of(name, generation)
        return not gallery.projection.is_index_due(gallery.entry.index_kind, self._policy)

    def look_again(self, name: str, generation: int, spaces: Sequence[Space]) -> int:
        """See the port."""

        def work(db: sqlite3.Connection) -> tuple[OpenGallery, int]:
            gallery = self.of(name, generation)
            if gallery.entry.is_active:
                return gallery, 0
            return gallery, generation_rows.forget_unroutable(db, gallery.entry, spaces)

        def then(done: tuple[OpenGallery, int]) -> int:
            gallery, num = done
            if num:
                # They come in order again, among those that were there.
                fresh = behind(self._record, gallery.entry, gallery.counts, self._projections)
                active = self._opened(name)
                fresh.folder, gallery.is_dropped = gallery.folder, True
                active.beside = _in_order(*(fresh if one is gallery else one for one in active.beside))
                self._leave(gallery)
            return num

        return self._exclusively(work, then)

    def num_missing(self, name: str, generation: int, *, after: int = 0) -> int:
        """See the port."""
        return self._record.num_missing(self.of(name, generation).entry, after)

    def last_number(self, name: str) -> int:
        """See the port."""
        return generation_reads.last_number(self._record, self._opened(name).entry)

    def num_after(self, name: str, number: int) -> int:
        """See the port."""
        return generation_reads.num_after(self._record, self._opened(name).entry, number)

    def confidences(self, name: str, generation: int) -> FloatArray:
        """See the port."""
        return generation_reads.confidences(self._record, self.of(name, generation).entry)

    def sample(self, name: str, num: int, seed: int) -> Sample:
        """See the port."""
        return generation_reads.sample(self._record, self._opened(name).entry, num, seed)

    def features(self, name: str, generation: int, template_ids: Sequence[str]) -> FloatArray:
        """See the port."""
        return generation_reads.features(self._record, self.of(name, generation).entry, template_ids)

    def backlog(self, name: str, *, after: int = 0, limit: int = 100) -> Backlog:
        """See the port."""
        gallery = self._opened(name)
        native = gallery.projection.origins().get(Side(gallery.entry.space.fingerprint), 0)
        return generation_reads.backlog(self._record, gallery.entry, native, after=after, limit=limit)

    def drop_rest(self, generation_id: int) -> None:
        """Take out what a generation that is being dropped holds, piece by piece, so that other writes go on between."""
        is_done = False
        while not is_done:
            is_done = self._record.writer.call(lambda db: generation_rows.drop_some(db, generation_id), bool)
            reached("drop-generation")

    def of(self, name: str, generation: int | None) -> OpenGallery:
        """A generation of a gallery, the active one if none is named. Raises `NotFoundError`, `RollbackExpiredError`."""
        active = self._opened(name)
        if generation is None:
            return active
        for one in active.generations:
            if one.entry.generation == generation:
                return one
        raise RollbackExpiredError(f"gallery {name} has no generation {generation} any more")

    def _exclusively(self, work: Callable[[sqlite3.Connection], T], then: Callable[[T], R]) -> R:
        """Do `work` in a transaction that it shares with nothing, and when that is on disk `then`: whatever is recorded before or
        after meets the generations that there are then.
        """

        def run(db: sqlite3.Connection) -> R:
            outcome: list[R] = []
            db.execute("BEGIN IMMEDIATE")
            try:
                done = work(db)
                self._record.writer.commit(lambda: outcome.append(then(done)))
                return outcome[0]
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

        return self._record.writer.alone(run)


def _in_order(*generations: OpenGallery) -> tuple[OpenGallery, ...]:
    return tuple(sorted(generations, key=lambda one: one.entry.generation))


def _built_beside(old: OpenGallery, new: OpenGallery) -> list[OpenGallery]:
    """What else is being built, and is to be without whom native templates retire."""
    return [one for one in old.beside if one is not new and one.entry.kept_until_ms is None and one.entry.retires]


def _as_active(new: OpenGallery, old: OpenGallery, kept_until: int) -> OpenGallery:
    """What a generation is going to be, for who is told of it before it is."""
    kept = replace(old, entry=generation_rows.now_kept(old.entry, kept_until), beside=())
    others = [one for one in old.beside if one is not new]
    return replace(new, entry=generation_rows.now_active(new.entry), beside=_in_order(kept, *others))
