"""Galleries in this process: the SQLite record, and a projection of each gallery in memory.

Invariant: a write is committed to the record first and projected next, both on the record's one writing thread; so what a call
has acknowledged is in both, and a projection never holds what the record does not. Searches and reads go beside writes.

Shapes: B rows of probes, D dimension of the gallery's space.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from weakref import WeakSet

import numpy as np

from models.feature_set import FeatureSet
from models.space import Space
from service.entities import (
    Answer,
    Check,
    Density,
    Erased,
    FloatArray,
    Gallery,
    IndexKind,
    NewTemplates,
    Once,
    Snapshot,
    Template,
)
from service.errors import DamagedError, InvalidInputError, NotFoundError, StartupError, StorageError
from service.galleries import operations
from service.galleries.background import Indexer, Saver
from service.galleries.custody import Custody
from service.galleries.enrolling import Enroller
from service.galleries.erasure import Eraser
from service.galleries.export import exported
from service.galleries.failures import reason_of
from service.galleries.folder import PROJECTIONS, RECORD, SNAPSHOTS, sole_use
from service.galleries.generations import Generations
from service.galleries.indexes import IndexPolicy
from service.galleries.opened import OpenGallery
from service.galleries.opening import open_galleries, projection_folder
from service.galleries.operations import Counts, Removed
from service.galleries.port import Enrolment, Project, SearchResult, TemplatePage, Where
from service.galleries.projection import Projection
from service.galleries.record import Record
from service.galleries.recorded import RecordedGallery
from service.galleries.rules import ONE_FEATURE, check_probes
from service.galleries.scan import tune_faiss
from service.galleries.schema import GalleryEntry
from service.galleries.snapshots import Snapshots


class EmbeddedGalleryStore:
    """`GalleryStore` on a data folder that it has to itself."""

    def __init__(self, folder: Path, policy: IndexPolicy | None = None, *, is_made: bool = True) -> None:
        """Open the galleries in `folder`, which is made where it is missing, if it may be; they are indexed by `policy`.

        Raises `StartupError`, in one line, where another process uses the folder, the file is damaged, or is newer.
        """
        tune_faiss()
        if not is_made and not (folder / RECORD).is_file():
            raise StartupError(f"{folder}: holds no galleries")
        self._projections = folder / PROJECTIONS
        self._policy = policy or IndexPolicy()
        with ExitStack() as opened:
            opened.enter_context(sole_use(folder))
            path = folder / RECORD
            try:
                self._record = opened.enter_context(closing(Record(path)))
                for gallery_id in self._record.half_dropped():
                    self._drop_rest(gallery_id)
                snapshots = Snapshots(folder / SNAPSHOTS)
                eraser = Eraser(self._record, snapshots, folder)
                self._record.writer.alone(eraser.end_what_was_left)
                _forget_others(self._projections, self._record.galleries())
                galleries = open_galleries(self._record, self._projections)
            except StartupError:
                raise
            except DamagedError as damage:
                raise StartupError(str(damage)) from None
            except (sqlite3.Error, OSError, InvalidInputError, ValueError, StorageError) as failure:
                # Its class or code only: SQLite's own words may quote what is stored.
                reason = reason_of(failure) if isinstance(failure, sqlite3.Error) else type(failure).__name__
                raise StartupError(f"{path}: cannot be read ({reason}); restore it from a backup") from None
            # Replaced by every change and never changed in place, so that readers need no lock.
            self._galleries = {gallery.entry.name: gallery for gallery in galleries}
            self._left: dict[str, WeakSet[Projection]] = {}
            """Of galleries that were dropped or put back, by name: searches may go on in them."""
            self._enrol = Enroller(self._record, self._gallery)
            self._saver = opened.enter_context(closing(Saver(self._record, self._open_galleries)))
            self._custody = Custody(
                self._record,
                snapshots,
                eraser,
                self._saver,
                opened=self._gallery,
                publish=self._publish,
                left=lambda name: self._left.get(name, ()),
            )
            self.generations = Generations(
                self._record,
                self._projections,
                self._saver,
                self._policy,
                opened=self._gallery,
                exchange=self._exchange,
                leave=self._leave,
            )
            opened.enter_context(closing(Indexer(self._open_galleries, self._policy)))
            self._opened = opened.pop_all()
        for generation_id in self._record.half_dropped_generations():
            self.generations.drop_rest(generation_id)

    def create(self, name: str, space: Space, *, index: IndexKind | None = None, once: Once | None = None) -> Gallery:
        """See the port."""

        def opened(entry: GalleryEntry) -> OpenGallery:
            gallery = self._empty(entry)
            self._publish(gallery)
            return gallery

        told = once and once.through(lambda entry: self._empty(entry).described())
        kind = index or self._policy.kind
        return self._record.writer.call(
            lambda db: operations.create(db, name, space, kind, told), lambda entry: opened(entry).described()
        )

    def get(self, name: str) -> Gallery:
        """See the port."""
        return self._gallery(name).described()

    def list_galleries(self) -> list[Gallery]:
        """See the port."""
        return [gallery.described() for _, gallery in sorted(self._galleries.items())]

    def drop(self, name: str, *, once: Once | None = None) -> None:
        """See the port. What it held is gone when this returns; killed before, it goes at the next start."""

        taken_away: list[OpenGallery] = []

        def forget(db: sqlite3.Connection) -> OpenGallery:
            gallery = self._gallery(name)
            operations.forget_name(db, gallery.entry.gallery_id, once)
            # Here, so that an erasure that comes next finds nothing of it, and no search waits for a save to end.
            for one in gallery.generations:
                taken_away.append(one)
                self._saver.remove(one)
            return gallery

        def forgotten(gallery: OpenGallery) -> OpenGallery:
            self._galleries = {other: kept for other, kept in self._galleries.items() if kept is not gallery}
            for one in gallery.generations:
                self._leave(one)
            return gallery

        try:
            gallery = self._record.writer.call(forget, forgotten)
        except BaseException:
            now = self._galleries.get(name)
            for kept in taken_away:
                kept.is_dropped = now is None or not now.holds(kept)
            raise
        try:
            self._drop_rest(gallery.entry.gallery_id)
        except StorageError as failure:
            raise type(failure)(
                "the gallery is dropped, and what it held cannot be taken out of the record now; that goes on at the next start"
            ) from None

    def enrol(
        self, name: str, templates: NewTemplates, *, replaces: bool = False, once: Once | None = None
    ) -> Enrolment:
        """See the port."""
        return self._enrol(name, templates, replaces=replaces, once=once)

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """See the port."""
        return self._record.templates(self._gallery(name).entry, after=after, limit=limit, subject=subject)

    def template(self, name: str, template_id: str) -> Template:
        """See the port."""
        found = self._record.template(self._gallery(name).entry, template_id)
        if found is None:
            raise NotFoundError(f"gallery {name} has no such template")
        return found

    def count_with(self, name: str, fields: Sequence[str]) -> dict[str, int]:
        """See the port."""
        return {field: self._record.count_with(self._gallery(name).entry, field) for field in fields}

    def remove_template(self, name: str, template_id: str, *, once: Once | None = None) -> None:
        """See the port."""
        seq = self._record.ids.seq(template_id)
        told = once and once.through(lambda removed: None)
        self._remove(name, lambda db, entry: operations.seqs_of_template(db, entry, seq), "template", told)

    def remove_subject(self, name: str, subject: str, *, once: Once | None = None) -> int:
        """See the port."""
        told = once and once.through(lambda removed: len(removed.seqs))
        return self._remove(name, lambda db, entry: operations.seqs_of_subject(db, entry, subject), "subject", told)

    def ensure_index(
        self, name: str, space: Space, projections: Mapping[str, Project], *, generation: int | None = None
    ) -> None:
        """See the port."""
        self.generations.ensure_index(name, space, projections, generation)

    def search(
        self,
        name: str,
        probes_BD: FloatArray,
        space: Space,
        top_k: int,
        *,
        by_origin: bool = False,
        where: Where | None = None,
        without: Sequence[str] = (),
        generation: int | None = None,
        without_ids: Sequence[str] = (),
        between: Callable[[], None] | None = None,
        density: Density | None = None,
    ) -> SearchResult:
        """See the port. Where the gallery is put back or dropped meanwhile, it is asked as it is then."""
        while True:
            gallery = self.generations.of(name, generation)
            found = self._search(
                gallery,
                probes_BD,
                space,
                top_k,
                by_origin=by_origin,
                where=where,
                without=without,
                without_ids=without_ids,
                between=between,
                density=density or ONE_FEATURE,
            )
            # Where another generation took its place, what was found is of one all the same.
            now = self._galleries.get(name)
            if now is not None and now.holds(gallery):
                return found

    def _search(
        self,
        gallery: OpenGallery,
        probes_BD: FloatArray,
        space: Space,
        top_k: int,
        *,
        by_origin: bool,
        where: Where | None,
        without: Sequence[str],
        without_ids: Sequence[str],
        between: Callable[[], None] | None,
        density: Density,
    ) -> SearchResult:
        among = None
        left_out = self._record.ids.seqs(without_ids) if without_ids else None
        with ExitStack() as stack:
            with ExitStack() as asked:
                reads = asked.enter_context(self._record.at_one_moment()) if where or without else None
                # What is searched and what is recorded are of one moment then.
                with reads.begun() if reads else nullcontext():
                    index = gallery.indexes.get(space.fingerprint)
                    check_probes(probes_BD, space, index.space if index else gallery.entry.space, density)
                    projection = index.projection if index else gallery.projection
                    reader = stack.enter_context(projection.reading())
                if reads is not None:
                    among = reads.matching(gallery.entry, where) if where else None
                    if without:
                        of_keys = reads.seqs_of_keys(gallery.entry, without)
                        left_out = of_keys if left_out is None else np.union1d(of_keys, left_out)
            found = reader.search(
                probes_BD,
                top_k,
                crowd=gallery.crowd,
                by_origin=by_origin,
                among=among,
                without=left_out,
                between=between,
                density=density,
            )
        num = reader.num_templates if among is None else len(among)
        return SearchResult(gallery.entry.generation, num, found)

    def erase(self, name: str, subjects: Sequence[str], *, once: Once | None = None) -> list[Erased]:
        """See the port."""
        return self._custody.erase(name, subjects, once)

    def take_snapshot(self, name: str, *, once: Once | None = None) -> Snapshot:
        """See the port."""
        return self._custody.take_snapshot(name, once)

    def snapshots(self, name: str) -> list[Snapshot]:
        """See the port."""
        return self._custody.snapshots(name)

    def verify_snapshot(self, name: str, snapshot_id: str) -> Snapshot:
        """See the port."""
        return self._custody.verify_snapshot(name, snapshot_id)

    def remove_snapshot(self, name: str, snapshot_id: str, *, once: Once | None = None) -> None:
        """See the port."""
        self._custody.remove_snapshot(name, snapshot_id, once)

    def restore(self, name: str, snapshot_id: str, *, once: Once | None = None) -> Gallery:
        """See the port."""
        return self._custody.restore(name, snapshot_id, once)

    def check(self, name: str) -> list[Check]:
        """See the port."""
        return self._custody.check(name)

    def export(self, name: str) -> Iterator[FeatureSet]:
        """The original features of a gallery, as many feature sets as there are spaces that they came from.

        Raises `NotFoundError`, `DamagedError`.
        """
        return exported(self._record, self._gallery(name).entry)

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """See the port."""
        return self._record.answered(key)

    def check_writable(self) -> None:
        """See the port."""
        if self._record.writer.failure is not None:
            raise self._record.writer.failure

    def close(self) -> None:
        """See the port."""
        self._opened.close()

    def _publish(self, gallery: OpenGallery) -> None:
        before = self._galleries.get(gallery.entry.name)
        self._exchange(gallery)
        for one in before.generations if before is not None else ():
            self._leave(one)

    def _exchange(self, gallery: OpenGallery) -> None:
        self._galleries = {**self._galleries, gallery.entry.name: gallery}

    def _leave(self, gallery: OpenGallery) -> None:
        self._left = {name: projections for name, projections in self._left.items() if len(projections)}
        self._left.setdefault(gallery.entry.name, WeakSet()).update(gallery.projections())

    def _open_galleries(self) -> list[OpenGallery]:
        return [one for gallery in self._galleries.values() for one in gallery.generations]

    def _empty(self, entry: GalleryEntry) -> OpenGallery:
        projection = Projection(entry.space.dimension, self._record.ids)
        return OpenGallery(entry, projection, Counts(0, 0), projection_folder(self._projections, entry))

    def _gallery(self, name: str) -> OpenGallery:
        try:
            return self._galleries[name]
        except KeyError:
            raise NotFoundError("there is no gallery of this name") from None

    def _remove(
        self,
        name: str,
        find: Callable[[sqlite3.Connection, GalleryEntry], list[int]],
        what: str,
        once: Once | None,
    ) -> int:
        def work(db: sqlite3.Connection) -> tuple[OpenGallery, Removed]:
            gallery = self._gallery(name)
            seqs = find(db, gallery.entry)
            if not seqs:
                raise NotFoundError(f"gallery {name} has no such {what}")
            return gallery, operations.remove(db, gallery.entry, seqs, once)

        def then(done: tuple[OpenGallery, Removed]) -> int:
            gallery, removed = done
            gallery.remove(removed.seqs)
            gallery.count(removed.counts)
            return len(removed.seqs)

        return self._record.writer.call(work, then)

    def _drop_rest(self, gallery_id: int) -> None:
        """Take out what a gallery that is being dropped holds, piece by piece, so that other writes go on between."""
        writer, is_done = self._record.writer, False
        while not is_done:
            is_done = writer.call(lambda db: operations.drop_some(db, gallery_id), bool)


def _forget_others(folder: Path, recorded: Sequence[RecordedGallery]) -> None:
    """Take away what is saved of galleries and generations that there are no more."""
    kept = {f"{one.entry.gallery_id}-{one.entry.generation_id}" for one in recorded}
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
