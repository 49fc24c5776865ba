"""What the record is changed by where generations come, are filled, become active and go: functions of its writer's transaction.

Shapes: G templates, D dimension.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from models.space import Space, parse_space
from service.entities import IndexKind
from service.errors import MigrationInProgressError
from service.galleries.operations import count_operations, retire
from service.galleries.rows import insert_many, insert_row, space_document
from service.galleries.schema import GENERATION_SHIFT, RETIRED, GalleryEntry, row_crc
from service.galleries.segments import SeqArray


def begin(
    db: sqlite3.Connection,
    active: GalleryEntry,
    space: Space,
    *,
    job: str,
    routes: Mapping[str, Sequence[str]],
    retires: bool,
    index_kind: IndexKind,
) -> GalleryEntry:
    """A new generation of a gallery. Raises `MigrationInProgressError` where one is being built."""
    gallery_id = active.gallery_id
    query = "SELECT 1 FROM generation WHERE gallery = ? AND NOT active AND kept_until IS NULL"
    if db.execute(query, (gallery_id,)).fetchone():
        raise MigrationInProgressError(f"gallery {active.name} is being migrated already")
    advance = "UPDATE gallery SET last_generation = last_generation + 1 WHERE id = ? RETURNING last_generation"
    (number,) = db.execute(advance, (gallery_id,)).fetchone()
    generation_id = insert_row(
        db,
        "INSERT INTO generation (gallery, number, space, active, index_kind, job, routes, retires)"
        " VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
        (gallery_id, number, space_document(space), index_kind, job, json.dumps(routes), int(retires)),
    )
    if retires:
        # What native templates have retired stays so.
        _retire_as_in(db, active, generation_id << GENERATION_SHIFT, space)
    count_operations(db)
    return GalleryEntry(
        gallery_id,
        active.name,
        active.created_at,
        generation_id,
        number,
        space,
        index_kind,
        is_active=False,
        job=job,
        routes={fingerprint: tuple(bundles) for fingerprint, bundles in routes.items()},
        retires=retires,
    )


def _retire_as_in(db: sqlite3.Connection, active: GalleryEntry, base: int, space: Space) -> None:
    """Leave out of a new generation what is retired in the active one, but for what is native there."""
    db.execute(
        "INSERT INTO translated SELECT seq + ?, route, confidence, translated.crc, feature FROM translated"
        " JOIN template ON seq = translated.id - ? JOIN space ON space.id = template.space AND fingerprint <> ?"
        " WHERE translated.id >= ? AND translated.id < ? AND length(feature) = 0 AND confidence = ?",
        (base, active.base, space.fingerprint, active.base, active.base + (1 << GENERATION_SHIFT), RETIRED),
    )


def living(db: sqlite3.Connection, entry: GalleryEntry, seqs: SeqArray) -> SeqArray:
    """Those of the numbers of templates (ascending) that are in a gallery still. They must be all that were between the first and
    the last of them: none comes there any more, so it is enough to count.
    """
    if not len(seqs):
        return seqs
    query = "SELECT COUNT(*) FROM template WHERE gallery = ? AND seq BETWEEN ? AND ?"
    (num,) = db.execute(query, (entry.gallery_id, int(seqs[0]), int(seqs[-1]))).fetchone()
    return seqs if num == len(seqs) else living_until(db, entry, int(seqs[-1]), int(seqs[0]))


def living_until(db: sqlite3.Connection, entry: GalleryEntry, last: int, first: int = 0) -> SeqArray:
    """The numbers of all templates of a gallery up to one, ascending."""
    query = "SELECT seq FROM template WHERE gallery = ? AND seq BETWEEN ? AND ? ORDER BY seq"
    rows = db.execute(query, (entry.gallery_id, first, last)).fetchall()
    return np.fromiter((seq for (seq,) in rows), dtype=np.int64, count=len(rows))


def absent_between(db: sqlite3.Connection, entry: GalleryEntry, first: int, last: int) -> SeqArray:
    """The numbers of templates that are known not to be in a generation, ascending."""
    query = "SELECT id FROM translated WHERE id BETWEEN ? AND ? AND length(feature) = 0 ORDER BY id"
    rows = db.execute(query, (entry.base + first, entry.base + last)).fetchall()
    return np.fromiter((number for (number,) in rows), dtype=np.int64, count=len(rows)) - entry.base


def forget_unroutable(db: sqlite3.Connection, entry: GalleryEntry, spaces: Sequence[Space]) -> int:
    """Look again at templates of some spaces for which no route was there when they came; how many those are."""
    query = (
        "SELECT translated.id FROM translated JOIN route ON route.id = route JOIN template ON seq = translated.id - ?"
        " JOIN space ON space.id = template.space WHERE translated.id >= ? AND translated.id < ? AND length(feature) = 0"
        " AND bundles = '[]' AND confidence IS NOT ? AND fingerprint IN (SELECT value FROM json_each(?))"
    )
    bounds = (entry.base, entry.base, entry.base + (1 << GENERATION_SHIFT))
    fingerprints = json.dumps([space.fingerprint for space in spaces])
    ids = db.execute(query, (*bounds, RETIRED, fingerprints)).fetchall()
    db.executemany("DELETE FROM translated WHERE id = ?", ids)
    return len(ids)


def is_there_more(db: sqlite3.Connection, entry: GalleryEntry, after: int) -> bool:
    """Whether a gallery has templates of higher numbers."""
    query = "SELECT 1 FROM template WHERE gallery = ? AND seq > ? LIMIT 1"
    return db.execute(query, (entry.gallery_id, after)).fetchone() is not None


def route_id(db: sqlite3.Connection, route: Sequence[str]) -> int:
    """The number of a list of translators, which is entered where it is new."""
    text = json.dumps(route)
    row = db.execute("SELECT id FROM route WHERE bundles = ?", (text,)).fetchone()
    return int(row[0]) if row else insert_row(db, "INSERT INTO route (bundles) VALUES (?)", (text,))


def insert_translated(
    db: sqlite3.Connection, rows: Iterable[tuple[int, int, float | None, int, bytes | memoryview]]
) -> None:
    """Numbers, routes, confidences, CRC32Cs and features."""
    insert_many(db, "translated", rows)


def activate(
    db: sqlite3.Connection, old: GalleryEntry, new: GalleryEntry, kept_until_ms: int, with_natives: Sequence[int]
) -> list[int]:
    """Make one generation the active one in place of another, which is kept; which translated templates it is without from now
    on, as their subjects have native ones.
    """
    db.execute(
        "UPDATE generation SET active = 0, kept_until = ? WHERE id = ? AND active", (kept_until_ms, old.generation_id)
    )
    db.execute("UPDATE generation SET active = 1, kept_until = NULL WHERE id = ?", (new.generation_id,))
    retired = retire(db, new, with_natives) if new.retires else []
    count_operations(db)
    return retired


def now_kept(entry: GalleryEntry, kept_until_ms: int) -> GalleryEntry:
    """A generation that was active."""
    return replace(entry, is_active=False, kept_until_ms=kept_until_ms)


def now_active(entry: GalleryEntry) -> GalleryEntry:
    """A generation that has become so."""
    return replace(entry, is_active=True, kept_until_ms=None)


def forget(db: sqlite3.Connection, entry: GalleryEntry) -> None:
    """Make a generation one that is being dropped: from here on nobody sees it."""
    db.execute("UPDATE generation SET kept_until = 0 WHERE id = ? AND NOT active", (entry.generation_id,))
    count_operations(db)


def drop_some(db: sqlite3.Connection, generation_id: int, limit: int = 2048) -> bool:
    """Take up to `limit` translations out of a generation that is being dropped; whether nothing of it is left."""
    first, end = generation_id << GENERATION_SHIFT, (generation_id + 1) << GENERATION_SHIFT
    query = "SELECT id FROM translated WHERE id >= ? AND id < ? ORDER BY id LIMIT 1 OFFSET ?"
    row = db.execute(query, (first, end, limit)).fetchone()
    db.execute("DELETE FROM translated WHERE id >= ? AND id < ?", (first, row[0] if row else end))
    if row:
        return False
    db.execute("DELETE FROM generation WHERE id = ?", (generation_id,))
    return True


def leave_out_what_is_missing(db: sqlite3.Connection, gallery_id: int) -> None:
    """Of templates that came back: those of another space than a generation's are not in it, unless they are translated."""
    number = route_id(db, [])
    query = (
        "SELECT seq, name FROM template JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
        " WHERE template.gallery = ? AND fingerprint <> ? AND NOT EXISTS (SELECT 1 FROM translated WHERE id = seq + ?)"
    )
    generations = db.execute("SELECT id, space FROM generation WHERE gallery = ? AND NOT active", (gallery_id,))
    for generation_id, document in generations.fetchall():
        base = generation_id << GENERATION_SHIFT
        missing = db.execute(query, (gallery_id, parse_space(document).fingerprint, base)).fetchall()
        rows = [(base + seq, number, None, row_crc(seq, name.encode(), b""), b"") for seq, name in missing]
        insert_translated(db, sorted(rows))
