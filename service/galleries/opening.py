"""Opening galleries at a start: from what was saved where that will do, else from the record.

Shapes: G templates.
"""

import logging
import sqlite3
from pathlib import Path

import numpy as np

from service.errors import DamagedError
from service.galleries.opened import OpenGallery
from service.galleries.operations import Counts
from service.galleries.projection import Projection
from service.galleries.record import Record, RecordedGallery
from service.galleries.saved import ProjectionFolder
from service.galleries.schema import GalleryEntry

log = logging.getLogger("facebridge.galleries")


def projection_folder(folder: Path, entry: GalleryEntry) -> ProjectionFolder:
    """Where the projection of a gallery's active generation is kept."""
    return ProjectionFolder(folder / f"{entry.gallery_id}-{entry.generation_id}")


def open_gallery(record: Record, recorded: RecordedGallery, folder: Path) -> OpenGallery:
    """A recorded gallery, searchable. Raises `DamagedError` where a template is damaged, `StorageError`."""
    entry, kept = recorded.entry, projection_folder(folder, recorded.entry)
    projection = None
    try:
        projection = _from_saved(record, entry, kept)
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


def read_gallery(record: Record, recorded: RecordedGallery, folder: Path, db: sqlite3.Connection) -> OpenGallery:
    """A gallery as the transaction of `db` sees it, searchable. Raises `DamagedError`, `sqlite3.Error`."""
    entry = recorded.entry
    projection = Projection(entry.space.dimension, record.ids)
    for rows in record.blocks(entry, db=db):
        projection.add(rows)
    counts = Counts(recorded.num_templates, recorded.num_subjects)
    return OpenGallery(entry, projection, counts, projection_folder(folder, entry))


def _from_saved(record: Record, entry: GalleryEntry, folder: ProjectionFolder) -> Projection | None:
    """What was saved, less what is gone since. Raises `DamagedError` saying why it will not do, `OSError`."""
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
