"""Snapshots: all that is recorded of one gallery at one moment, in a folder of its own that may be copied anywhere.

    snapshots/<gallery>/<id>/<digest>.sqlite3   its rows, with all generations
    snapshots/<gallery>/<id>/manifest.json      what it is of, how much is in it, and the SHA-256 of the other and of itself

Invariants: under its name a snapshot is whole and synced; nothing is read from one whose digests are wrong; the manifest alone
says which rows are its own, so one that is rewritten is at every moment what it was or what it becomes.
"""

import errno
import hashlib
import re
import secrets
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from service.entities import Snapshot
from service.errors import InsufficientStorageError, NotFoundError, SnapshotCorruptError, StorageError
from service.files import sync_file, sync_folder
from service.galleries.failpoints import reached
from service.galleries.failures import reason_of
from service.galleries.folder import vacuum
from service.galleries.manifests import MANIFEST, Manifest, cannot_be_read, read_manifest, write_manifest
from service.galleries.record import Record
from service.galleries.schema import GENERATION_SHIFT, PAGE_BYTES, SCHEMA, SCHEMA_VERSION, GalleryEntry, row_crc

_ROWS = "rows.draft"
_TABLES = ("space", "route", "provenance", "generation", "subject", "template", "translated")
_SEQ_BITS = (1 << GENERATION_SHIFT) - 1
_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")


class Snapshots:
    """The snapshots of all galleries of one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for draft in self._drafts():
            shutil.rmtree(draft, ignore_errors=True)
        for gallery in folder.glob("*"):
            for path in self._paths(gallery.name):
                _tidy(path)

    def take(self, record: Record, entry: GalleryEntry) -> Snapshot:
        """Write what is recorded now; writes and searches go on meanwhile. Raises `StorageError`."""
        now = datetime.now(UTC)
        snapshot_id = f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
        parent = self._folder / entry.name
        draft = _draft_of(parent / snapshot_id)
        try:
            draft.mkdir(mode=0o700, parents=True)
            generation, op, num_templates, num_subjects = _copy(record, entry, draft / _ROWS)
            manifest = Manifest(
                SCHEMA_VERSION,
                record.identity,
                entry.name,
                entry.created_at,
                generation,
                now.isoformat(timespec="milliseconds"),
                record.now().run,
                op,
                num_templates,
                num_subjects,
                _sha256(draft / _ROWS),
            )
            (draft / _ROWS).rename(draft / manifest.rows)
            write_manifest(draft, manifest)
            reached("snapshot-before-name")
            draft.rename(parent / snapshot_id)
            for folder in (parent, self._folder, self._folder.parent):
                sync_folder(folder)
        except NotFoundError:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        except (OSError, sqlite3.Error) as failure:
            for path in (draft, parent / snapshot_id):
                shutil.rmtree(path, ignore_errors=True)
            reason = reason_of(failure) if isinstance(failure, sqlite3.Error) else failure.strerror
            is_full = reason == "SQLITE_FULL" or getattr(failure, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
            kind = InsufficientStorageError if is_full else StorageError
            raise kind(f"the snapshot cannot be written ({reason}); nothing of it was kept") from None
        return _described(snapshot_id, manifest)

    def all_of(self, gallery: str) -> list[Snapshot]:
        """Those of a gallery, the oldest first; also of one that was dropped. What cannot be read is left out."""
        found = []
        for path in self._paths(gallery):
            try:
                found.append(_described(path.name, read_manifest(path)))
            except (SnapshotCorruptError, StorageError):
                continue
        return found

    def ids_of(self, gallery: str) -> list[str]:
        """Of all, damaged ones too."""
        return [path.name for path in self._paths(gallery)]

    def verify(self, gallery: str, snapshot_id: str) -> Snapshot:
        """Read all of a snapshot. Raises `NotFoundError`, `SnapshotCorruptError`."""
        with self.open(gallery, snapshot_id) as (manifest, path):
            try:
                with closing(_reading(path)) as db:
                    _verify(db, manifest)
            except sqlite3.Error:
                raise SnapshotCorruptError("the snapshot cannot be read") from None
        return _described(snapshot_id, manifest)

    def remove(self, gallery: str, snapshot_id: str) -> None:
        """At once: killed meanwhile, what is left of it is no snapshot, and goes with the next start or erasure.

        Raises `NotFoundError`, `StorageError` where the disk does not let it go.
        """
        path = self._folder / gallery / snapshot_id
        draft = _draft_of(path)
        if not _ID.fullmatch(snapshot_id) or not draft.is_dir():
            path = self._path(gallery, snapshot_id)
        try:
            if path.is_dir():
                path.rename(draft)
            sync_folder(path.parent)
            reached("snapshot-in-removal")
            shutil.rmtree(draft)
        except OSError as failure:
            raise StorageError(f"the snapshot cannot be taken off the disk ({failure.strerror})") from None

    @contextmanager
    def open(self, gallery: str, snapshot_id: str) -> Iterator[tuple[Manifest, Path]]:
        """A snapshot whose bytes are those that were written, and the file of its rows.

        Raises `NotFoundError`, `SnapshotCorruptError`; and what is raised by who has it open, as it is.
        """
        path = self._path(gallery, snapshot_id)
        manifest = read_manifest(path)
        try:
            digest = _sha256(path / manifest.rows)
        except OSError as failure:
            raise cannot_be_read(failure) from None
        if digest != manifest.sha256:
            raise SnapshotCorruptError("the rows of the snapshot are not what was written")
        yield manifest, path / manifest.rows

    def erase(self, gallery: str, is_erased: Callable[[Manifest, str], bool]) -> int:
        """Take subjects out of every snapshot of a gallery; out of how many there was somebody taken.

        Raises `StorageError` where a snapshot cannot be read or written.
        """
        num = 0
        try:
            for draft in self._drafts():
                shutil.rmtree(draft)
        except OSError:
            raise StorageError(
                "what is left of a snapshot cannot be taken off the disk; the erasure is not complete"
            ) from None
        for path in self._paths(gallery):
            try:
                num += _erase(path, is_erased)
            except (SnapshotCorruptError, OSError, sqlite3.Error):
                raise StorageError(
                    f"snapshot {path.name} cannot be rewritten; the erasure is not complete: remove the snapshot and ask again"
                ) from None
        return num

    def vectors_of(self, gallery: str, is_meant: Callable[[str], bool]) -> list[bytes]:
        """What subjects have in snapshots that are not damaged. Raises `StorageError` where one cannot be read now."""
        vectors = []
        for path in self._paths(gallery):
            with _unless_damaged():
                manifest = read_manifest(path)
                with closing(_reading(path / manifest.rows)) as db:
                    named = db.execute("SELECT id, name FROM subject").fetchall()
                    vectors += _vectors_of(db, [number for number, name in named if is_meant(name)])
        return vectors

    def vectors(self) -> Iterator[bytes]:
        """Of all snapshots that are not damaged, of all galleries. Raises `StorageError` where one cannot be read now."""
        for path in [path for folder in self._folder.glob("*") for path in self._paths(folder.name)]:
            with (
                _unless_damaged(),
                closing(_reading(path / read_manifest(path).rows)) as db,
            ):
                for query in ("SELECT original FROM template", "SELECT feature FROM translated"):
                    yield from (vector for (vector,) in db.execute(query))

    def _drafts(self) -> Iterator[Path]:
        """What was begun and has no name yet, or was removed and is not gone."""
        return self._folder.glob("*/.*.draft")

    def _paths(self, gallery: str) -> list[Path]:
        parent = self._folder / gallery
        return sorted(path for path in parent.iterdir() if _ID.fullmatch(path.name)) if parent.is_dir() else []

    def _path(self, gallery: str, snapshot_id: str) -> Path:
        path = self._folder / gallery / snapshot_id
        if not _ID.fullmatch(snapshot_id) or not path.is_dir():
            raise NotFoundError(f"gallery {gallery} has no such snapshot")
        return path


@contextmanager
def _unless_damaged() -> Iterator[None]:
    """Go on after a snapshot that is damaged. Raises `StorageError` where it may be sound."""
    try:
        yield
    except SnapshotCorruptError:
        pass
    except sqlite3.Error as failure:
        if not reason_of(failure).startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR")):
            raise StorageError(f"a snapshot cannot be read now ({reason_of(failure)})") from None


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.draft")


def _copy(record: Record, entry: GalleryEntry, path: Path) -> tuple[int, int, int, int]:
    """All rows of a gallery, as one transaction sees them; the active generation, the last operation, and the numbers of
    templates and subjects.
    """
    path.touch(mode=0o600)
    with closing(record.connect()) as db:
        db.execute("ATTACH ? AS copy", (str(path),))
        for pragma in (f"page_size={PAGE_BYTES}", "journal_mode=OFF", "synchronous=OFF"):
            db.execute(f"PRAGMA copy.{pragma}")
        db.execute("BEGIN")
        for statement in SCHEMA:
            if statement.startswith(tuple(f"CREATE TABLE {table} " for table in _TABLES)):
                db.execute(statement.replace("CREATE TABLE ", "CREATE TABLE copy.", 1))
        of_gallery = (entry.gallery_id,)
        if not db.execute("SELECT 1 FROM main.gallery WHERE id = ? AND name = ?", (*of_gallery, entry.name)).fetchone():
            raise NotFoundError("there is no gallery of this name")
        for table in ("space", "route", "provenance"):
            db.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table}")
        for table in ("generation", "subject", "template"):
            db.execute(f"INSERT INTO copy.{table} SELECT * FROM main.{table} WHERE gallery = ? ORDER BY 1", of_gallery)
        for (generation,) in db.execute("SELECT id FROM copy.generation").fetchall():
            bounds = (generation << GENERATION_SHIFT, (generation + 1) << GENERATION_SHIFT)
            db.execute("INSERT INTO copy.translated SELECT * FROM main.translated WHERE id >= ? AND id < ?", bounds)
        generation, op, num_templates, num_subjects = db.execute(
            "SELECT (SELECT number FROM copy.generation WHERE active), next_op - 1,"
            " (SELECT COUNT(*) FROM copy.template), (SELECT COUNT(*) FROM copy.subject) FROM main.counter"
        ).fetchone()
        db.execute("COMMIT")
        db.execute("DETACH copy")
    sync_file(path)
    return generation, op, num_templates, num_subjects


def _reading(path: Path) -> sqlite3.Connection:
    """To the rows of a snapshot as they are; nothing is made where there are none. Raises `SnapshotCorruptError`."""
    if not path.is_file():
        raise SnapshotCorruptError("the rows of the snapshot are not there")
    return sqlite3.connect(f"file://{quote(str(path.absolute()))}?mode=ro", uri=True)


def _verify(db: sqlite3.Connection, manifest: Manifest) -> None:
    """Read all rows. Raises `SnapshotCorruptError`, `sqlite3.Error`."""
    num_templates = 0
    for seq, name, crc, original in db.execute(
        "SELECT seq, name, crc, original FROM template JOIN subject ON subject.id = subject"
    ):
        num_templates += 1
        if row_crc(seq, name.encode(), original) != crc:
            raise SnapshotCorruptError("a template of the snapshot does not match its CRC32C")
    for seq, name, crc, feature in db.execute(
        "SELECT seq, name, translated.crc, feature FROM translated"
        f" JOIN template ON seq = translated.id & {_SEQ_BITS} JOIN subject ON subject.id = subject"
    ):
        if row_crc(seq, name.encode(), feature) != crc:
            raise SnapshotCorruptError("a translation of the snapshot does not match its CRC32C")
    if num_templates != manifest.num_templates:
        raise SnapshotCorruptError("the snapshot has not as many templates as it says")


def _erase(path: Path, is_erased: Callable[[Manifest, str], bool]) -> bool:
    """Rewrite a snapshot without some subjects; whether there was one."""
    # What an erasure that failed may have left.
    _tidy(path)
    manifest = read_manifest(path)
    if _sha256(path / manifest.rows) != manifest.sha256:
        raise SnapshotCorruptError("the rows of the snapshot are not what was written")
    with closing(_reading(path / manifest.rows)) as db:
        subjects = [number for number, name in db.execute("SELECT id, name FROM subject") if is_erased(manifest, name)]
    if not subjects:
        return False
    draft = path / _ROWS
    shutil.copyfile(path / manifest.rows, draft)
    with closing(sqlite3.connect(draft, isolation_level=None)) as db:
        db.execute("PRAGMA secure_delete=ON")
        db.execute("PRAGMA journal_mode=OFF")
        _mean(db, subjects)
        db.execute(f"DELETE FROM translated WHERE id & {_SEQ_BITS} IN (SELECT seq FROM temp.meant_template)")
        db.execute("DELETE FROM template WHERE seq IN (SELECT seq FROM temp.meant_template)")
        db.execute("DELETE FROM subject WHERE id IN (SELECT id FROM temp.meant)")
        vacuum(db, path)
        (num_templates,) = db.execute("SELECT COUNT(*) FROM template").fetchone()
    draft.chmod(0o600)
    sync_file(draft)
    sizes = {"num_templates": num_templates, "num_subjects": manifest.num_subjects - len(subjects)}
    changed = replace(manifest, **sizes, sha256=_sha256(draft))
    draft.replace(path / changed.rows)
    reached("erase-in-snapshot")
    write_manifest(path, changed)
    _tidy(path)
    return True


def _vectors_of(db: sqlite3.Connection, subjects: Sequence[int]) -> list[bytes]:
    if not subjects:
        return []
    _mean(db, subjects)
    originals = "SELECT original FROM template WHERE seq IN (SELECT seq FROM temp.meant_template)"
    translated = f"SELECT feature FROM translated WHERE id & {_SEQ_BITS} IN (SELECT seq FROM temp.meant_template)"
    return [vector for query in (originals, translated) for (vector,) in db.execute(query)]


def _mean(db: sqlite3.Connection, subjects: Sequence[int]) -> None:
    """Tables of this connection's own, of numbers alone: some subjects, and their templates."""
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute("CREATE TEMP TABLE meant (id INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO temp.meant VALUES (?)", [(subject,) for subject in subjects])
    db.execute("CREATE TEMP TABLE meant_template (seq INTEGER PRIMARY KEY)")
    db.execute("INSERT INTO temp.meant_template SELECT seq FROM template WHERE subject IN (SELECT id FROM temp.meant)")


def _tidy(path: Path) -> None:
    """Take away what is not the snapshot's own: what a kill left of rows before or after they were rewritten."""
    try:
        kept = {MANIFEST, read_manifest(path).rows}
    except (SnapshotCorruptError, StorageError):
        return
    for file in path.iterdir():
        if file.name not in kept:
            file.unlink()


def _described(snapshot_id: str, manifest: Manifest) -> Snapshot:
    return Snapshot(
        snapshot_id,
        manifest.gallery,
        manifest.generation,
        manifest.taken_at,
        manifest.num_templates,
        manifest.num_subjects,
        manifest.sha256,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
