"""Custody: what is done to a whole gallery for its keeper, and not for who asks it: erase, snapshot, put back, check.

Shapes: G templates, D dimension.
"""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from service.entities import Check, Erased, Gallery, Once, Snapshot
from service.errors import DamagedError, MigrationInProgressError, NotFoundError, SnapshotCorruptError, StorageError
from service.galleries import operations
from service.galleries.background import Saver
from service.galleries.blocks import read_block
from service.galleries.erasure import Eraser
from service.galleries.folder import PROJECTIONS
from service.galleries.manifests import Manifest
from service.galleries.opened import OpenGallery
from service.galleries.opening import read_gallery
from service.galleries.projection import Projection
from service.galleries.record import Record
from service.galleries.restore import put_back
from service.galleries.snapshots import Snapshots

log = logging.getLogger("facebridge.galleries")
_AT_ONCE = 4096


class _Forgetting:
    """What an erasure asks of a gallery that is open, if it is."""

    def __init__(
        self,
        db: sqlite3.Connection,
        gallery: OpenGallery | None,
        subjects: Sequence[str],
        saver: Saver,
        left: Iterable[Projection],
    ) -> None:
        """`left` are those that a gallery of its name had before, in which searches may go on."""
        self._db = db
        self._left = left
        self._subjects = frozenset(subjects)
        self._gallery = gallery
        self.quiet = saver.quiet
        self.renew = saver.renew_within_write
        self._save = saver.save_within_write

    def hide(self, seqs: Sequence[int]) -> None:
        """See `Forgetting`."""
        if self._gallery is not None:
            self._gallery.remove(seqs)
            self._gallery.forget_subjects(self._subjects)
            self._gallery.count(operations.counted(self._db, self._gallery.entry))
        for projection in self._left:
            projection.remove_subjects(self._subjects)

    def forget(self) -> None:
        """See `Forgetting`."""
        for one in self._gallery.generations if self._gallery is not None else ():
            # Also of what was removed before: an index may hold it still.
            one.forget_stale_indexes()
            self._save(one)


class Custody:
    """Over the galleries of one record."""

    def __init__(
        self,
        record: Record,
        snapshots: Snapshots,
        eraser: Eraser,
        saver: Saver,
        *,
        opened: Callable[[str], OpenGallery],
        publish: Callable[[OpenGallery], None],
        left: Callable[[str], Iterable[Projection]],
    ) -> None:
        """`opened` gives a gallery by name, or raises `NotFoundError`; `publish` lets it be asked, as it is from then on; `left`
        are projections of galleries of a name that may not be asked any more, in which searches may go on.
        """
        self._record = record
        self._projections = record.path.parent / PROJECTIONS
        self._saver = saver
        self._opened = opened
        self._publish = publish
        self._left = left
        self._snapshots = snapshots
        self._files = threading.Lock()
        """An erasure goes through all of them, so none is written meanwhile; and a long reader would keep it waiting."""
        self._eraser = eraser

    def erase(self, name: str, subjects: Sequence[str], once: Once | None) -> list[Erased]:
        """See the port."""

        def work(db: sqlite3.Connection) -> list[Erased]:
            gallery = self._opened_or_none(name)
            if gallery is None and not self._snapshots.ids_of(name):
                raise NotFoundError("there is no gallery of this name, and no snapshot of one")

            entry = gallery.entry if gallery else None
            return self._eraser(
                db, name, entry, subjects, _Forgetting(db, gallery, subjects, self._saver, self._left(name))
            )

        with self._files:
            erased = self._record.writer.alone(work)
        self._remember(once, erased)
        return erased

    def take_snapshot(self, name: str, once: Once | None) -> Snapshot:
        """See the port."""
        with self._files:
            snapshot = self._snapshots.take(self._record, self._opened(name).entry)
        self._remember(once, snapshot)
        return snapshot

    def snapshots(self, name: str) -> list[Snapshot]:
        """See the port."""
        found = self._snapshots.all_of(name)
        if not found:
            self._opened(name)
        return found

    def verify_snapshot(self, name: str, snapshot_id: str) -> Snapshot:
        """See the port."""
        with self._files:
            return self._snapshots.verify(name, snapshot_id)

    def remove_snapshot(self, name: str, snapshot_id: str, once: Once | None) -> None:
        """See the port."""
        with self._files:
            self._snapshots.remove(name, snapshot_id)
        self._remember(once, None)

    def restore(self, name: str, snapshot_id: str, once: Once | None) -> Gallery:
        """See the port."""

        def work(db: sqlite3.Connection) -> Gallery:
            restored: list[OpenGallery] = []

            def then(gallery_id: int) -> None:
                recorded = self._record.generations(db, gallery_id)
                # Before it is committed: what cannot be searched is not put back.
                restored.append(read_gallery(self._record, recorded, self._projections, db))
                operations.remember(db, once, restored[0].described())

            before = self._opened_or_none(name)
            of_before = before.generations if before is not None else ()
            if any(one.entry.kept_until_ms is None for one in of_before[1:]):
                raise MigrationInProgressError(
                    f"gallery {name} is being migrated; cancel that, or end it, before a snapshot is put back"
                )
            with self._snapshots.open(name, snapshot_id) as snapshot:
                try:
                    for one in of_before:
                        # The same numbers may be of subjects with other numbers then.
                        self._saver.remove(one)
                    self._put_back(db, snapshot, name, then, partial(self._commit_and_publish, restored))
                except BaseException:
                    if before is not None and self._opened_or_none(name) is before:
                        for one in of_before:
                            one.is_dropped = False
                    raise
            return restored[0].described()

        self.verify_snapshot(name, snapshot_id)
        with self._files:
            return self._record.writer.alone(work)

    def _commit_and_publish(self, restored: Sequence[OpenGallery]) -> None:
        self._record.writer.commit(lambda: self._publish(restored[0]))

    def check(self, name: str) -> list[Check]:
        """See the port."""
        gallery, checks = self._check_record(name)
        return [
            *checks,
            self._check_saved(gallery),
            *(
                check
                for snapshot_id in self._snapshots.ids_of(name)
                for check in self._check_snapshot(name, snapshot_id)
            ),
        ]

    def _opened_or_none(self, name: str) -> OpenGallery | None:
        with suppress(NotFoundError):
            return self._opened(name)
        return None

    def _put_back(
        self,
        db: sqlite3.Connection,
        snapshot: tuple[Manifest, Path],
        name: str,
        then: Callable[[int], None],
        commit: Callable[[], None],
    ) -> None:
        manifest, path = snapshot
        is_ours = manifest.record == self._record.identity and self._record.has_been(manifest.moment)
        is_erased = self._eraser.erased_since(db, manifest)
        put_back(db, manifest, path, name, is_erased, is_same_history=is_ours, then=then, commit=commit)

    def _remember(self, once: Once | None, outcome: object) -> None:
        """Of what is done already, and would not be undone by saying that this failed."""
        if once is not None:
            try:
                self._record.writer.call(lambda db: operations.remember(db, once, outcome), bool)
            except StorageError as failure:
                log.warning("an answer cannot be kept, and should its request come again it is done again: %s", failure)

    def _check_record(self, name: str) -> tuple[OpenGallery, list[Check]]:
        """With nothing being written: every vector against its CRC32C and what is searched; counts against rows."""

        def work(db: sqlite3.Connection) -> tuple[OpenGallery, list[Check]]:
            gallery = self._opened(name)
            entry = gallery.entry
            structure = [text for (text,) in db.execute("PRAGMA quick_check(1)")]
            checks = [
                Check("structure of the record", structure == ["ok"], "sound" if structure == ["ok"] else "damaged")
            ]
            num, num_other, surplus = 0, 0, 0
            try:
                for one in gallery.generations:
                    num_here, num_other_here = self._looked_through(db, one)
                    num, num_other = num + num_here, num_other + num_other_here
                    surplus += 0 if one.is_behind else one.projection.num_templates - num_here + num_other_here
            except DamagedError as damage:
                return gallery, [*checks, Check("vectors of the record", is_sound=False, detail=str(damage))]
            checks.append(Check("vectors of the record", is_sound=True, detail=f"{num} match their CRC32C"))
            is_equal = not num_other and not surplus
            detail = (
                f"{num} are searched as they are recorded"
                if is_equal
                else f"{num_other} differ, {surplus} are too many"
            )
            checks.append(Check("searched vectors", is_equal, detail))
            counted = operations.counted(db, entry)
            recorded = operations.counts_of(db, entry)
            detail = f"{recorded.num_templates} templates, {recorded.num_subjects} subjects"
            return gallery, [*checks, Check("counts", counted == recorded == gallery.counts, detail)]

        return self._record.writer.alone(work)

    def _looked_through(self, db: sqlite3.Connection, gallery: OpenGallery) -> tuple[int, int]:
        """How many vectors a generation has, and how many of them are not searched as they are recorded.

        Raises `DamagedError`.
        """
        num, num_other, after = 0, 0, 0
        if gallery.is_behind:
            while block := read_block(self._record, gallery.entry, after, _AT_ONCE, db):
                after, num = block.last_seq, num + sum(1 for feature in block.features if feature)
            return num, 0
        for rows in self._record.blocks(gallery.entry, with_originals=True, db=db):
            num += len(rows)
            num_other += len(rows) - gallery.projection.num_equal(rows.seqs, rows.features_GD)
        self._record.check_absent(gallery.entry, db)
        return num, num_other

    def _check_saved(self, gallery: OpenGallery) -> Check:
        try:
            problem = self._saver.problem_of(gallery)
        except OSError as failure:
            problem = failure.strerror or "cannot be read"
        return Check("saved projection", not problem, problem or "every byte is what was written")

    def _check_snapshot(self, name: str, snapshot_id: str) -> list[Check]:
        """Nothing of one that was removed meanwhile."""
        what = f"snapshot {snapshot_id}"
        try:
            num = self.verify_snapshot(name, snapshot_id).num_templates
        except NotFoundError:
            return []
        except (SnapshotCorruptError, StorageError) as failure:
            return [Check(what, is_sound=False, detail=str(failure))]
        return [Check(what, is_sound=True, detail=f"{num} templates match their CRC32C")]
