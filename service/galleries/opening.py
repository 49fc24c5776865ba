"""Opening galleries at a start: from what was saved where that will do, else from the record.

Shapes: G templates.
"""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from service.errors import DamagedError
from service.galleries.opened import OpenGallery
from service.galleries.operations import Counts
from service.galleries.projection import Projection
from service.galleries.record import Record
from service.galleries.recorded import RecordedGallery
from service.galleries.saved import ProjectionFolder
from service.galleries.schema import GalleryEntry

log = logging.getLogger("facebridge.galleries")


def projection_folder(folder: Path, entry: GalleryEntry) -> ProjectionFolder:
    """Where the projection of a generation is kept."""
    return ProjectionFolder(folder / f"{entry.gallery_id}-{entry.generation_id}")


def open_gallery(record: Record, recorded: RecordedGallery, folder: Path) -> OpenGallery:
    """A recorded gallery, searchable. Raises `DamagedError` where a template is damaged, `StorageError`."""
    entry, kept = recorded.entry, projection_folder(folder, recorded.entry)
    projection = None
    try:
        projection = from_saved(record, entry, kept)
    except (DamagedError, OSError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else failure
        log.warning(
            "what was saved of gallery %s is not used (%s); it is made again from the record", entry.name, reason
        )
    is_saved = projection is not None
    if projection is None:
        projection = Projection(entry.space.dimension, record.ids)
    for rows in record.blocks(entry, after=projection.last_seq):
        projection.add(rows)
    gallery = OpenGallery(entry, projection, Counts(recorded.num_templates, recorded.num_subjects), kept)
    if is_saved:
        gallery.num_saved = projection.num_templates
        gallery.saved_version = 0
    return gallery


def open_galleries(record: Record, folder: Path) -> list[OpenGallery]:
    """All recorded galleries, searchable in their active generations; of the others nothing is searched yet.

    Raises as `open_gallery` does.
    """
    opened: list[OpenGallery] = []
    for recorded in record.galleries():
        if recorded.entry.is_active:
            opened.append(open_gallery(record, recorded, folder))
        else:
            other = behind(record, recorded.entry, opened[-1].counts, folder)
            other.num_recorded = record.num_translated(recorded.entry)
            opened[-1].beside = (*opened[-1].beside, other)
    return opened


def behind(record: Record, entry: GalleryEntry, counts: Counts, folder: Path) -> OpenGallery:
    """A generation of which nothing is searched yet."""
    projection = Projection(entry.space.dimension, record.ids)
    return OpenGallery(entry, projection, counts, projection_folder(folder, entry), is_behind=True)


def read_gallery(
    record: Record, generations: Sequence[RecordedGallery], folder: Path, db: sqlite3.Connection
) -> OpenGallery:
    """A gallery as the transaction of `db` sees it, searchable in its active generation; of the others nothing is searched yet.

    Raises `DamagedError`, `sqlite3.Error`.
    """
    recorded, *others = generations
    entry = recorded.entry
    projection = Projection(entry.space.dimension, record.ids)
    for rows in record.blocks(entry, db=db):
        projection.add(rows)
    counts = Counts(recorded.num_templates, recorded.num_subjects)
    beside = tuple(behind(record, other.entry, counts, folder) for other in others)
    return OpenGallery(entry, projection, counts, projection_folder(folder, entry), beside=beside)


def from_saved(record: Record, entry: GalleryEntry, folder: ProjectionFolder) -> Projection | None:
    """What was saved of a generation, less what is gone since. Raises `DamagedError` saying why it will not do, `OSError`."""
    saved = folder.load(entry.space.fingerprint, entry.space.dimension)
    if saved is None:
        return None
    if not record.has_been(saved.moment):
        raise DamagedError("it is of another history than the record")
    projection = Projection(entry.space.dimension, record.ids)
    projection.adopt(saved.parts, saved.indexes)
    recorded_G, saved_G = record.seqs(entry), projection.seqs()
    known_G = recorded_G[recorded_G <= projection.last_seq]
    if len(np.setdiff1d(known_G, saved_G, assume_unique=True)):
        raise DamagedError("templates are missing in it")
    gone_G = np.setdiff1d(saved_G, known_G, assume_unique=True)
    if len(gone_G):
        projection.remove(gone_G.tolist())
    return projection
