"""What is done to open galleries beside requests: they are saved, and indexed."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import faiss

from service.errors import DamagedError, StorageError
from service.galleries.gpu import GpuFailedError
from service.galleries.indexes import IndexPolicy, Stopped
from service.galleries.opened import OpenGallery
from service.galleries.projection import Projection
from service.galleries.record import Record
from service.galleries.saved import INDEX_SUFFIX
from service.galleries.segments import Segment, full_segment

log = logging.getLogger("facebridge.galleries")

SAVE_SECONDS = 300.0
"""How old what is saved of a gallery may become while the gallery changes a little."""
_LOOK_SECONDS = 5.0
_INDEX_SECONDS = 1.0
_CLOSE_SECONDS = 2.0

Galleries = Callable[[], Iterable[OpenGallery]]


class Saver:
    """Saves galleries that have changed: after every full segment, every so often, and at the end."""

    def __init__(self, record: Record, galleries: Galleries) -> None:
        self._record = record
        self._galleries = galleries
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
        for gallery in self._galleries():
            if gallery.saved_version != gallery.projection.version:
                self._try_to_save(gallery)

    def _try_to_save(self, gallery: OpenGallery) -> None:
        try:
            self._save(gallery)
        except Exception as failure:  # noqa: BLE001
            log.error("gallery %s cannot be saved (%s)", gallery.entry.name, type(failure).__name__)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """With nothing of any gallery being saved, read whole or taken away; called by the writing thread."""
        with ExitStack() as stack:
            for gallery in self._galleries():
                stack.enter_context(gallery.folder.lock)
            yield

    def save_within_write(self, gallery: OpenGallery) -> None:
        """Save a gallery now, called by the writing thread. Raises `StorageError` where that cannot be."""
        version = gallery.projection.version
        if gallery.is_behind and not gallery.filled_to:
            # What is saved of it was not taken up: without that it is read from the record.
            with gallery.folder.lock:
                self._take_away(gallery)
            return
        for pair in self._written(gallery):
            gallery.projection.exchange(*pair)
        if gallery.saved_version is None or gallery.saved_version < version:
            raise StorageError(
                "the gallery cannot be saved without what was taken out of it; the erasure is not complete"
            )

    def renew_within_write(self, paths: Iterable[Path]) -> bool:
        """Save again what is saved in some files, as it is now, called by the writing thread: what was removed since is in them
        still. Indexes are built again. Whether there was any. Raises `StorageError`.
        """
        paths, is_any = list(paths), False
        for gallery in self._galleries():
            mine = [path for path in paths if gallery.folder.holds(path)]
            if any(path.suffix == INDEX_SUFFIX for path in mine):
                gallery.projection.forget_indexes()
            if mine:
                is_any = True
                self.save_within_write(gallery)
        return is_any

    def problem_of(self, gallery: OpenGallery) -> str:
        """What is wrong with what is saved of a gallery; nothing where nothing is, or nothing is saved. Raises `OSError`."""
        space = gallery.entry.space
        try:
            gallery.folder.verify(space.fingerprint, space.dimension, lambda: gallery.is_dropped)
        except DamagedError as damage:
            return str(damage)
        return ""

    def remove(self, gallery: OpenGallery) -> None:
        """Take away what is saved of a gallery, and save it no more. Raises `StorageError`."""
        with gallery.folder.lock:
            gallery.is_dropped = True
            gallery.saved_version, gallery.num_saved = None, 0
            self._take_away(gallery)

    @staticmethod
    def _take_away(gallery: OpenGallery) -> None:
        try:
            gallery.folder.remove()
        except OSError as failure:
            raise StorageError(f"what is saved of the gallery cannot be taken away ({failure.strerror})") from None

    def _run(self) -> None:
        waited = 0.0
        while not self._closing.wait(_LOOK_SECONDS):
            waited += _LOOK_SECONDS
            if waited >= SAVE_SECONDS:
                waited = 0.0
                self.save_all()
            else:
                self._save_the_large()

    def _save_the_large(self) -> None:
        """Those with a full segment more than is saved."""
        for gallery in self._galleries():
            num_new = gallery.projection.num_templates - gallery.num_saved
            if num_new >= full_segment(gallery.entry.space.dimension):
                self._try_to_save(gallery)

    def _save(self, gallery: OpenGallery) -> None:
        for pair in self._written(gallery):
            if self._record.writer.failure is None:
                self._record.writer.alone(partial(_exchange, gallery.projection, *pair))

    def _written(self, gallery: OpenGallery) -> list[tuple[Segment, Segment]]:
        """Write a gallery's projection; those of its segments that need not be in memory any more, and what is to be in their
        place. That waits for writes, so it is not done here: a write may wait for this.
        """
        with gallery.folder.lock:
            # Nothing of one that was not taken up yet is worth what was saved of it.
            if gallery.is_dropped or (gallery.is_behind and not gallery.filled_to):
                return []
            projection, space = gallery.projection, gallery.entry.space
            version, num = projection.version, projection.num_templates
            views, indexes = projection.views(), projection.indexes
            # After the views: what is in them was done by then.
            moment = self._record.now()
            try:
                gallery.folder.save(views, indexes, space.fingerprint, space.dimension, moment)
            except OSError as failure:
                name = gallery.entry.name
                log.warning("gallery %s cannot be saved (%s); its next start takes longer", name, failure.strerror)
                return []
            gallery.saved_version, gallery.num_saved = version, num
            # One that is mapped has another file now, where something was taken out of it: the one before must go.
            segments = [
                segment
                for origin, view in views.items()
                for segment in view.segments
                if origin in indexes or segment.file
            ]
            pairs = [(segment, gallery.folder.mapped(segment)) for segment in segments]
            return [(segment, mapped) for segment, mapped in pairs if mapped is not None]


def _exchange(projection: Projection, segment: Segment, mapped: Segment, _: sqlite3.Connection) -> None:
    projection.exchange(segment, mapped)


class Indexer:
    """Builds the indexes that are due."""

    def __init__(self, galleries: Galleries, policy: IndexPolicy) -> None:
        self._galleries = galleries
        self._policy = policy
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gallery-indexer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; an index that is being built is left. FAISS cannot be stopped while it learns lists: the thread ends after that,
        or with the process.
        """
        self._closing.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        # The setting is the thread's own: half of the cores are left to searches.
        faiss.omp_set_num_threads(max(1, faiss.omp_get_max_threads() // 2))
        while not self._closing.wait(_INDEX_SECONDS):
            try:
                self._build_all()
            except Stopped:
                return

    def _build_all(self) -> None:
        """Nothing of a gallery is kept any longer than this."""
        for gallery in self._galleries():
            try:
                gallery.projection.build_indexes(gallery.entry.index_kind, self._policy, self._closing.is_set)
            except Stopped:
                raise
            except GpuFailedError:
                continue
            except Exception as failure:  # noqa: BLE001
                log.error("gallery %s cannot be indexed (%s)", gallery.entry.name, type(failure).__name__)
