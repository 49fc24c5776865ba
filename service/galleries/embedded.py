"""Galleries in this process: the SQLite record, and a FAISS projection of each gallery in memory.

Invariant: a write is committed to the record first and projected next, and one write goes at a time; so what a call has
acknowledged is in both, and a projection never holds what the record does not. Searches go beside writes.

Shapes: B probes, D dimension of the gallery's space.
"""

import fcntl
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.errors import SpaceError
from models.space import Space
from service.entities import FloatArray, Gallery, NewTemplate
from service.errors import AlreadyExistsError, EngineError, InvalidInputError, NotFoundError, StartupError, StorageError
from service.galleries.port import Project, SearchResult, TemplatePage
from service.galleries.projection import Projection, tune_faiss
from service.galleries.record import GalleryEntry, GalleryRows, Record, foreign_originals
from service.galleries.rules import check_probes, check_projected, check_projections, check_templates, gallery_feature

RECORD = "default.sqlite3"
"""One file a tenant; the only tenant for now is `default`."""
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class _Index:
    """Another space in which a gallery is searchable."""

    space: Space
    own: str
    """The fingerprint of the gallery's space."""
    projections: Mapping[str, Project]
    projection: Projection

    def project(self, features_GD: FloatArray, foreign: Mapping[int, tuple[str, FloatArray]]) -> FloatArray:
        """Templates as they are in this space: each from its encoder's own feature, where a projection is there.

        Raises `EngineError`.
        """
        rows_by_space: dict[str, list[int]] = defaultdict(list)
        for row in range(len(features_GD)):
            fingerprint = foreign[row][0] if row in foreign else self.own
            rows_by_space[fingerprint if fingerprint in self.projections else self.own].append(row)
        projected_GD = np.empty((len(features_GD), self.space.dimension), dtype=np.float32)
        for fingerprint, rows in rows_by_space.items():
            is_own = fingerprint == self.own
            native = features_GD[rows] if is_own else np.stack([foreign[row][1] for row in rows])
            projected_GD[rows] = check_projected(self.projections[fingerprint](native), self.space, len(rows))
        return projected_GD


@dataclass(frozen=True, slots=True)
class _OpenGallery:
    entry: GalleryEntry
    projection: Projection
    indexes: Mapping[str, _Index] = field(default_factory=dict)
    """By fingerprint of their space."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why there is no index in a space, by its fingerprint: a template that cannot be projected, until one is removed."""


class EmbeddedGalleryStore:
    """`GalleryStore` on a data folder that it has to itself."""

    def __init__(self, folder: Path) -> None:
        """Open the galleries in `folder`, which is made where it is missing.

        Raises `StartupError`, in one line, where another process uses the folder, the file is damaged, or is newer.
        """
        tune_faiss()
        self._write_lock = threading.Lock()
        with ExitStack() as opened:
            opened.enter_context(_sole_use(folder))
            path = folder / RECORD
            try:
                self._record = opened.enter_context(closing(Record(path)))
                galleries = [_project(self._record, entry) for entry in self._record.galleries()]
            except (sqlite3.Error, OSError, SpaceError, StorageError) as failure:
                # Its class or code only: SQLite's own words may quote what is stored.
                reason = getattr(failure, "sqlite_errorname", type(failure).__name__)
                raise StartupError(f"{path}: cannot be read ({reason}); restore it from a backup") from None
            # Replaced by every change and never changed in place, so that readers need no lock.
            self._galleries = {gallery.entry.name: gallery for gallery in galleries}
            self._opened = opened.pop_all()

    def create(self, name: str, space: Space) -> Gallery:
        """See the port."""
        with self._write_lock:
            if name in self._galleries:
                raise AlreadyExistsError(f"gallery {name} exists already")
            gallery = _OpenGallery(self._record.create(name, space), Projection(space.dimension))
            self._replace(gallery)
        return _described(gallery)

    def get(self, name: str) -> Gallery:
        """See the port."""
        return _described(self._gallery(name))

    def list_galleries(self) -> list[Gallery]:
        """See the port."""
        return [_described(gallery) for _, gallery in sorted(self._galleries.items())]

    def drop(self, name: str) -> None:
        """See the port."""
        with self._write_lock:
            self._record.drop(self._gallery(name).entry)
            self._galleries = {other: gallery for other, gallery in self._galleries.items() if other != name}

    def enrol(self, name: str, templates: Sequence[NewTemplate]) -> list[str]:
        """See the port."""
        with self._write_lock:
            gallery = self._gallery(name)
            check_templates(templates, gallery.entry.space)
            if not templates:
                return []
            # Before anything is recorded: a feature that cannot be projected is refused.
            features_GD = np.stack([gallery_feature(template) for template in templates])
            projected = [
                (index, index.project(features_GD, foreign_originals(templates))) for index in gallery.indexes.values()
            ]
            rows = self._record.enrol(gallery.entry, templates)
            gallery.projection.add(rows)
            for index, in_index_GD in projected:
                index.projection.add(replace(rows, features_GD=in_index_GD))
        return list(rows.template_ids)

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """See the port."""
        return self._record.templates(self._gallery(name).entry, after=after, limit=limit, subject=subject)

    def remove_template(self, name: str, template_id: str) -> None:
        """See the port."""
        if not self._remove(name, lambda entry: self._record.remove_template(entry, template_id)):
            raise NotFoundError(f"gallery {name} has no such template")

    def remove_subject(self, name: str, subject: str) -> int:
        """See the port."""
        num_removed = self._remove(name, lambda entry: self._record.remove_subject(entry, subject))
        if not num_removed:
            raise NotFoundError(f"gallery {name} has no such subject")
        return num_removed

    def ensure_index(self, name: str, space: Space, projections: Mapping[str, Project]) -> None:
        """See the port. Writes wait while the templates that are there are projected; searches do not."""
        fingerprint = space.fingerprint
        gallery = self._gallery(name)
        check_projections(projections, gallery.entry.space)
        if fingerprint in gallery.indexes:
            return
        with self._write_lock:
            gallery = self._gallery(name)
            check_projections(projections, gallery.entry.space)
            if fingerprint in gallery.indexes:
                return
            if fingerprint in gallery.failed:
                raise EngineError(gallery.failed[fingerprint])
            index = _Index(space, gallery.entry.space.fingerprint, projections, Projection(space.dimension))
            for rows in self._record.blocks(gallery.entry):
                try:
                    projected_GD = index.project(rows.features_GD, rows.foreign)
                except InvalidInputError:
                    template_id = _first_without_direction(index, rows)
                    reason = (
                        f"gallery {name} cannot be searched in the space {space.name}: "
                        f"template {template_id} has no direction there; remove it"
                    )
                    self._replace(replace(gallery, failed={**gallery.failed, fingerprint: reason}))
                    raise EngineError(reason) from None
                index.projection.add(replace(rows, features_GD=projected_GD))
            self._replace(replace(gallery, indexes={**gallery.indexes, fingerprint: index}))

    def search(
        self, name: str, probes_BD: FloatArray, space: Space, top_k: int, *, by_origin: bool = False
    ) -> SearchResult:
        """See the port."""
        gallery = self._gallery(name)
        index = gallery.indexes.get(space.fingerprint)
        check_probes(probes_BD, space, index.space if index else gallery.entry.space)
        projection = index.projection if index else gallery.projection
        num_templates, _ = projection.counts()
        found = projection.search(probes_BD, top_k, by_origin=by_origin)
        return SearchResult(gallery.entry.generation, num_templates, found)

    def close(self) -> None:
        """See the port."""
        with self._write_lock:
            self._opened.close()

    def _gallery(self, name: str) -> _OpenGallery:
        try:
            return self._galleries[name]
        except KeyError:
            raise NotFoundError("there is no gallery of this name") from None

    def _replace(self, gallery: _OpenGallery) -> None:
        self._galleries = {**self._galleries, gallery.entry.name: gallery}

    def _remove(self, name: str, from_record: Callable[[GalleryEntry], list[int]]) -> int:
        with self._write_lock:
            gallery = self._gallery(name)
            seqs = from_record(gallery.entry)
            if seqs:
                for projection in (gallery.projection, *(index.projection for index in gallery.indexes.values())):
                    projection.remove(seqs)
                if gallery.failed:
                    self._replace(replace(gallery, failed={}))
        return len(seqs)


def _first_without_direction(index: _Index, rows: GalleryRows) -> str:
    """The template of a block for which a projection finds no direction, by its id."""
    for row, template_id in enumerate(rows.template_ids):
        foreign = {0: rows.foreign[row]} if row in rows.foreign else {}
        try:
            index.project(rows.features_GD[row : row + 1], foreign)
        except InvalidInputError:
            return template_id
    raise EngineError("a projection finds no direction for templates together, and one for each alone")


def _project(record: Record, entry: GalleryEntry) -> _OpenGallery:
    projection = Projection(entry.space.dimension)
    for rows in record.blocks(entry):
        projection.add(rows)
    return _OpenGallery(entry, projection)


def _described(gallery: _OpenGallery) -> Gallery:
    entry = gallery.entry
    num_templates, num_subjects = gallery.projection.counts()
    return Gallery(entry.name, entry.space, entry.generation, num_templates, num_subjects, entry.created_at)


@contextmanager
def _sole_use(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which the kernel lets go of when the process ends however it ends."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as failure:
        raise StartupError(f"{folder}: cannot be used as data folder ({failure.strerror})") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StartupError(f"{folder}: another process uses this data folder; stop it or choose another") from None
    try:
        yield
    finally:
        os.close(descriptor)
