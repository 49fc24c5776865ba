"""Putting a snapshot back: the gallery becomes what it was, in one transaction that writes only what is different.

Templates that are in both stay as they are; in a record that was once what it was when the snapshot was taken, those that come
back have the numbers, and so the ids, that they had. Whoever was erased since stays away.
"""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from service.entities import Metadata
from service.errors import GenerationChangedError, SnapshotCorruptError, StorageError
from service.galleries import operations
from service.galleries.failpoints import reached
from service.galleries.failures import reason_of
from service.galleries.generation_rows import leave_out_what_is_missing
from service.galleries.manifests import Manifest
from service.galleries.rows import insert_fields
from service.galleries.rules import milliseconds
from service.galleries.schema import GENERATION_SHIFT, row_crc

_SEQ_BITS = (1 << GENERATION_SHIFT) - 1
_UNFIT = ("SQLITE_ERROR", "SQLITE_CONSTRAINT", "SQLITE_MISMATCH")
"""What SQLite says of rows or tables that are not those of a gallery."""
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
"""And of a file, of which it does not say which."""


def put_back(
    db: sqlite3.Connection,
    manifest: Manifest,
    path: Path,
    gallery: str,
    is_erased: Callable[[str], bool],
    *,
    is_same_history: bool,
    then: Callable[[int], None],
    commit: Callable[[], None],
) -> None:
    """Make `gallery`, which is made where there is none, what the snapshot has; with nothing else being written. `then` is called
    with its number before that is committed by `commit`.

    Raises `GenerationChangedError` where the gallery is in another generation, `SnapshotCorruptError`, `StorageError` where the
    snapshot cannot be opened, `sqlite3.Error` for what is not the snapshot's fault.
    """
    db.create_function("row_crc", 3, lambda seq, name, vector: row_crc(seq, name.encode(), vector), deterministic=True)
    try:
        db.execute("ATTACH ? AS copy", (str(path),))
    except sqlite3.Error as failure:
        if reason_of(failure).startswith(_DAMAGED):
            raise SnapshotCorruptError("the rows of the snapshot cannot be read") from None
        raise StorageError(f"the snapshot cannot be opened ({reason_of(failure)})") from None
    try:
        db.execute("BEGIN IMMEDIATE")
        then(_put_back(db, manifest, gallery, is_erased, is_same_history=is_same_history))
        reached("restore-before-commit")
        commit()
        reached("restore-after-commit")
    except BaseException as failure:
        if db.in_transaction:
            db.execute("ROLLBACK")
        if isinstance(failure, sqlite3.Error) and _is_of_snapshot(db, failure):
            raise SnapshotCorruptError("the rows of the snapshot are not those of a gallery") from None
        raise
    finally:
        for table in ("kept", "owner"):
            db.execute(f"DROP TABLE IF EXISTS temp.{table}")
        db.execute("DETACH copy")


def _is_of_snapshot(db: sqlite3.Connection, failure: sqlite3.Error) -> bool:
    """Whether the snapshot is to blame, which is attached as `copy`, and not the record or the disk."""
    if reason_of(failure).startswith(_UNFIT):
        return True
    if not reason_of(failure).startswith(_DAMAGED):
        return False
    try:
        (found,) = db.execute("PRAGMA copy.quick_check(1)").fetchone()
    except sqlite3.Error as other:
        return reason_of(other).startswith(_DAMAGED)
    return bool(found != "ok")


def _put_back(
    db: sqlite3.Connection, manifest: Manifest, gallery: str, is_erased: Callable[[str], bool], *, is_same_history: bool
) -> int:
    gallery_id, generation_id, old_generation_id = _generation(db, manifest, gallery)
    _count_kept(db, is_erased)
    is_in_place = (
        is_same_history
        and not db.execute(
            "SELECT 1 FROM temp.kept JOIN main.template ON main.template.seq = old WHERE gallery <> ? LIMIT 1",
            (gallery_id,),
        ).fetchone()
    )
    if is_in_place:
        gone = "SELECT seq FROM main.template WHERE gallery = ? AND seq NOT IN (SELECT old FROM temp.kept)"
    else:
        gone = "SELECT seq FROM main.template WHERE gallery = ?"
        db.execute("UPDATE temp.kept SET new = (SELECT next_seq FROM counter) + rowid - 1")
    seqs = [seq for (seq,) in db.execute(gone, (gallery_id,)).fetchall()]
    if seqs:
        operations.take_out(db, gallery_id, seqs)
    _add_routes(db)
    if is_in_place:
        _put_back_retired(db, generation_id, old_generation_id)
    db.execute("DELETE FROM temp.kept WHERE new IN (SELECT seq FROM main.template)")
    _add_subjects(db, gallery_id)
    _add_templates(db, gallery_id, generation_id, old_generation_id)
    db.execute("UPDATE main.gallery SET restored_at = ? WHERE id = ?", (milliseconds(), gallery_id))
    operations.count_again(db, gallery_id)
    leave_out_what_is_missing(db, gallery_id)
    (num,) = db.execute("SELECT COUNT(*) FROM temp.kept").fetchone()
    operations.count_operations(db, num_templates=0 if is_in_place else num)
    return gallery_id


def _generation(db: sqlite3.Connection, manifest: Manifest, gallery: str) -> tuple[int, int, int]:
    """The numbers of the gallery, of its active generation, and of that in the snapshot."""
    active = "SELECT id, number, space, index_kind FROM copy.generation WHERE active"
    old = db.execute(active).fetchone()
    if old is None:
        raise SnapshotCorruptError("the snapshot has no active generation")
    found = db.execute(
        "SELECT gallery.id, generation.id, number, space FROM main.gallery"
        " JOIN main.generation ON generation.gallery = gallery.id AND active WHERE name = ?",
        (gallery,),
    ).fetchone()
    if found is None:
        (last,) = db.execute("SELECT MAX(number) FROM copy.generation").fetchone()
        values = (gallery, manifest.created_at, last)
        cursor = db.execute("INSERT INTO main.gallery (name, created_at, last_generation) VALUES (?, ?, ?)", values)
        gallery_id = cursor.lastrowid
        cursor = db.execute(
            "INSERT INTO main.generation (gallery, number, space, active, index_kind) VALUES (?, ?, ?, 1, ?)",
            (gallery_id, *old[1:]),
        )
        _take_over_orders(db, cursor.lastrowid, old[0])
        assert gallery_id is not None
        assert cursor.lastrowid is not None
        return gallery_id, cursor.lastrowid, old[0]
    if tuple(found[2:]) != tuple(old[1:3]):
        raise GenerationChangedError(
            f"the snapshot is of generation {old[1]}, and the gallery is in generation {found[2]} or in another space"
        )
    return found[0], found[1], old[0]


def _take_over_orders(db: sqlite3.Connection, generation_id: int | None, old_generation_id: int) -> None:
    """What a generation was made for, which snapshots of older versions do not say."""
    columns = {name for _, name, *_ in db.execute("PRAGMA copy.table_info(generation)")}
    if "retires" in columns:
        query = "SELECT job, routes, retires FROM copy.generation WHERE id = ?"
        orders = db.execute(query, (old_generation_id,)).fetchone()
        statement = "UPDATE main.generation SET job = ?, routes = ?, retires = ? WHERE id = ?"
        db.execute(statement, (*orders, generation_id))


def _count_kept(db: sqlite3.Connection, is_erased: Callable[[str], bool]) -> None:
    """The templates that come back, by the numbers that they had and are going to have."""
    subjects = db.execute("SELECT id, name FROM copy.subject").fetchall()
    db.execute("CREATE TEMP TABLE owner (old INTEGER PRIMARY KEY, name TEXT NOT NULL, new INTEGER)")
    kept = [(number, name) for number, name in subjects if not is_erased(name)]
    db.executemany("INSERT INTO temp.owner (old, name) VALUES (?, ?)", kept)
    db.execute("CREATE TEMP TABLE kept (old INTEGER NOT NULL UNIQUE, new INTEGER NOT NULL)")
    db.execute(
        "INSERT INTO temp.kept SELECT seq, seq FROM copy.template JOIN temp.owner ON owner.old = subject ORDER BY seq"
    )


def _add_subjects(db: sqlite3.Connection, gallery_id: int) -> None:
    """Those who have none in the gallery get a number there."""
    db.execute(
        "UPDATE temp.owner SET new = (SELECT id FROM main.subject WHERE gallery = ? AND subject.name = owner.name)",
        (gallery_id,),
    )
    missing = [old for (old,) in db.execute("SELECT old FROM temp.owner WHERE new IS NULL ORDER BY old").fetchall()]
    (first,) = db.execute("SELECT next_subject FROM counter").fetchone()
    db.executemany(
        "UPDATE temp.owner SET new = ? WHERE old = ?", zip(range(first, first + len(missing)), missing, strict=True)
    )
    db.execute(
        "INSERT INTO main.subject SELECT new, ?, name, 0 FROM temp.owner WHERE new >= ? ORDER BY new",
        (gallery_id, first),
    )
    db.execute("UPDATE counter SET next_subject = next_subject + ?", (len(missing),))


def _put_back_retired(db: sqlite3.Connection, generation_id: int, old_generation_id: int) -> None:
    """Of templates that stay, those that were searched when the snapshot was taken are again."""
    db.execute(
        "INSERT OR REPLACE INTO main.translated SELECT there.id, mine.id, this.confidence, this.crc, this.feature"
        " FROM temp.kept JOIN main.translated there ON there.id = ? + kept.new AND length(there.feature) = 0"
        " JOIN copy.translated this ON this.id = ? + kept.old AND length(this.feature) > 0"
        " JOIN copy.route theirs ON theirs.id = this.route JOIN main.route mine ON mine.bundles = theirs.bundles",
        (generation_id << GENERATION_SHIFT, old_generation_id << GENERATION_SHIFT),
    )


def _add_routes(db: sqlite3.Connection) -> None:
    for table, column in (("route", "bundles"), ("provenance", "document")):
        db.execute(f"INSERT OR IGNORE INTO main.{table} ({column}) SELECT {column} FROM copy.{table}")


def _add_templates(db: sqlite3.Connection, gallery_id: int, generation_id: int, old_generation_id: int) -> None:
    db.execute("INSERT OR IGNORE INTO main.space (fingerprint, document) SELECT fingerprint, document FROM copy.space")
    db.execute(
        "INSERT INTO main.template (seq, gallery, subject, space, key, enrolled_at, norm, provenance, metadata, crc, original)"
        " SELECT kept.new, ?, owner.new, mine.id, key, enrolled_at, norm, here.id, metadata,"
        " row_crc(kept.new, owner.name, original), original"
        " FROM temp.kept JOIN copy.template ON seq = kept.old JOIN temp.owner ON owner.old = subject"
        " JOIN copy.space theirs ON theirs.id = space JOIN main.space mine ON mine.fingerprint = theirs.fingerprint"
        " JOIN copy.provenance there ON there.id = provenance JOIN main.provenance here ON here.document = there.document"
        " ORDER BY kept.new",
        (gallery_id,),
    )
    db.execute(
        "INSERT INTO main.translated SELECT ? + kept.new, mine.id, confidence, row_crc(kept.new, owner.name, feature), feature"
        f" FROM temp.kept JOIN copy.translated this ON this.id = ? + kept.old AND this.id & {_SEQ_BITS} = kept.old"
        " JOIN copy.template ON seq = kept.old JOIN temp.owner ON owner.old = subject"
        " JOIN copy.route theirs ON theirs.id = route JOIN main.route mine ON mine.bundles = theirs.bundles",
        (generation_id << GENERATION_SHIFT, old_generation_id << GENERATION_SHIFT),
    )
    rows = db.execute(
        "SELECT seq, metadata FROM main.template JOIN temp.kept ON kept.new = seq WHERE metadata IS NOT NULL"
    ).fetchall()
    fields: list[Metadata | None] = [json.loads(text) for _, text in rows]
    insert_fields(db, gallery_id, [seq for seq, _ in rows], fields)
