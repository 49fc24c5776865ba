"""Opening galleries at a start: from what was saved where that will do, else from the record; and saving them again.

Shapes: G templates.
"""

import logging
import threading
from collections.abc import Callable, Iterable
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

SAVE_SECONDS = 300.0
"""How old what is saved of a gallery may become while the gallery changes."""


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
    gallery.saved_version = 0 if is_saved and not projection.version else None
    return gallery


def _from_saved(record: Record, entry: GalleryEntry, folder: ProjectionFolder) -> Projection | None:
    """What was saved, less what is gone since. Raises `DamagedError` saying why it will not do, `OSError`."""
    saved = folder.load(entry.space.fingerprint, entry.space.dimension)
    if saved is None:
        return None
    if not record.has_been(saved.moment):
        raise DamagedError("it is of another history than the record")
    projection = Projection(entry.space.dimension, record.ids)
    projection.adopt(saved.parts)
    recorded_G, saved_G = record.seqs(entry), projection.seqs()
    known_G = recorded_G[recorded_G <= projection.last_seq]
    if len(np.setdiff1d(known_G, saved_G, assume_unique=True)):
        raise DamagedError("templates are missing in it")
    gone_G = np.setdiff1d(saved_G, known_G, assume_unique=True)
    if len(gone_G):
        projection.remove(gone_G.tolist())
    return projection


class Saver:
    """Saves galleries that have changed, on a thread of its own, every so often and at the end."""

    def __init__(self, record: Record, galleries: Callable[[], Iterable[OpenGallery]]) -> None:
        self._record = record
        self._galleries = galleries
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery-saver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Save what has changed, and end."""
        self._closing.set()
        self._thread.join()
        self.save_all()

    def save_all(self) -> None:
        """Save every gallery that has changed since it was saved. What cannot be saved is said in the log."""
        with self._lock:
            for gallery in list(self._galleries()):
                if gallery.saved_version != gallery.projection.version:
                    self._save(gallery)

    def remove(self, gallery: OpenGallery) -> None:
        """Take away what is saved of a gallery."""
        with self._lock:
            gallery.is_dropped = True
            gallery.folder.remove()

    def _run(self) -> None:
        while not self._closing.wait(SAVE_SECONDS):
            self.save_all()

    def _save(self, gallery: OpenGallery) -> None:
        if gallery.is_dropped:
            return
        version, views = gallery.projection.version, gallery.projection.views()
        # After the views: what is in them was done by then.
        moment = self._record.now()
        space = gallery.entry.space
        try:
            gallery.folder.save(views, space.fingerprint, space.dimension, moment)
        except OSError as failure:
            log.warning(
                "gallery %s cannot be saved (%s); its next start takes longer", gallery.entry.name, failure.strerror
            )
            return
        gallery.saved_version = version
