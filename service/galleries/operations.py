"""What the record is changed by: functions of its writer's transaction, each wholly or not at all.

Shapes: G templates, D dimension.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, repeat

import numpy as np
import numpy.typing as npt

from models.space import Space
from service.entities import IndexKind, Once
from service.errors import AlreadyExistsError, NotFoundError
from service.galleries.rows import PreparedTemplates, insert_many, insert_row, insert_templates, space_document
from service.galleries.rules import milliseconds, timestamp
from service.galleries.schema import GENERATION_SHIFT, RETIRED, GalleryEntry, row_crc

_ANSWERS_MS = 24 * 3600 * 1000
"""How long answers are kept."""
_A_TIME = 500
"""Values of one SQL list."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of a gallery, after an operation."""

    num_templates: int
    num_subjects: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What an enrolment did: numbers of the new templates, one after the other, and of their subjects; and what it replaced."""

    first_seq: int
    subject_ids: npt.NDArray[np.int64]
    replaced: list[int]
    counts: Counts
    retired: Mapping[int, Sequence[int]] = field(default_factory=dict)
    """By generation, translated templates in whose place native ones are."""
    num_retired: int = 0
    """In the active one."""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    seqs: list[int]
    counts: Counts


def create(
    db: sqlite3.Connection, name: str, space: Space, index_kind: IndexKind, once: Once | None = None
) -> GalleryEntry:
    """An empty gallery, generation 1. Raises `AlreadyExistsError`."""
    created_at = timestamp()
    if db.execute("SELECT 1 FROM gallery WHERE name = ?", (name,)).fetchone():
        raise AlreadyExistsError(f"gallery {name} exists already")
    gallery_id = insert_row(db, "INSERT INTO gallery (name, created_at) VALUES (?, ?)", (name, created_at))
    generation_id = insert_row(
        db,
        "INSERT INTO generation (gallery, number, space, active, index_kind) VALUES (?, 1, ?, 1, ?)",
        (gallery_id, space_document(space), index_kind),
    )
    entry = GalleryEntry(gallery_id, name, created_at, generation_id, 1, space, index_kind)
    count_operations(db)
    remember(db, once, entry)
    return entry


def forget_name(db: sqlite3.Connection, gallery_id: int, once: Once | None = None) -> None:
    """Make a gallery one that is being dropped: from here on nobody sees it. Raises `NotFoundError`."""
    _count(db, gallery_id, 0, 0)
    db.execute("UPDATE gallery SET name = NULL WHERE id = ?", (gallery_id,))
    count_operations(db)
    remember(db, once, None)


def drop_some(db: sqlite3.Connection, gallery_id: int, limit: int = 2048) -> bool:
    """Take up to `limit` templates out of a gallery that is being dropped; whether nothing of it is left."""
    rows = db.execute("SELECT seq FROM template WHERE gallery = ? LIMIT ?", (gallery_id, limit)).fetchall()
    if rows:
        _delete_templates(db, gallery_id, [seq for (seq,) in rows])
        return False
    for table, column in (
        ("subject", "gallery"),
        ("generation", "gallery"),
        ("gallery", "id"),
    ):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (gallery_id,))
    return True


def enrol(
    db: sqlite3.Connection,
    generations: Sequence[GalleryEntry],
    batches: Sequence[PreparedTemplates],
    *,
    replaces: bool = False,
) -> list[Enrolled]:
    """Put in checked templates, of one or several requests, into all generations of a gallery, the active one first; those of
    the same keys are replaced or, without `replaces`, in the way. Several at once must have no keys.

    Raises `AlreadyExistsError` naming the rows of keys that are taken, `NotFoundError`.
    """
    entry = generations[0]
    replaced = _taken(db, entry.gallery_id, batches[0].templates.keys)
    if replaced and not replaces:
        raise AlreadyExistsError(
            "a template of this key is in the gallery already", [(row, "its key is taken") for row in sorted(replaced)]
        )
    gone = sorted(set(replaced.values()))
    if gone:
        take_out(db, entry.gallery_id, gone)
    first, first_subject = db.execute("SELECT next_seq, next_subject FROM counter").fetchone()
    names = [name for batch in batches for name in batch.templates.subjects]
    subject_ids, num_new = _subjects(db, entry.gallery_id, names, first_subject)
    ends = list(accumulate((batch.num for batch in batches), initial=0))
    parts = [
        (batch, first + start, subject_ids[start : start + batch.num])
        for batch, start in zip(batches, ends, strict=False)
    ]
    insert_templates(db, generations, parts)
    retired = [
        {one.generation: retire(db, one, set(ids), before=seq) for one in generations if _retires(one, batch)}
        for batch, seq, ids in parts
    ]
    for other in generations[1:]:
        if other.retires and other.kept_until_ms is None:
            for mine in retired:
                mine[other.generation] = retire_too(db, entry, other, mine.get(entry.generation, []))
    counts = _count(db, entry.gallery_id, len(names), num_new)
    count_operations(db, len(parts), num_templates=len(names), num_subjects=num_new)
    enrolled = [
        Enrolled(seq, np.array(ids, dtype=np.int64), gone, counts, mine, len(mine.get(entry.generation, ())))
        for (_, seq, ids), mine in zip(parts, retired, strict=True)
    ]
    for batch, one in zip(batches, enrolled, strict=True):
        remember(db, batch.once, one)
    return enrolled


def _retires(entry: GalleryEntry, batch: PreparedTemplates) -> bool:
    """Whether new templates take the place of translated ones in a generation, which was active once."""
    was_active = entry.is_active or entry.kept_until_ms is not None
    return entry.retires and was_active and batch.translated(entry.space) is None


def retire(
    db: sqlite3.Connection,
    entry: GalleryEntry,
    subject_ids: Iterable[int],
    *,
    before: int = (1 << GENERATION_SHIFT) - 1,
) -> list[int]:
    """Leave out of a generation what of some subjects was translated into it, of numbers below `before`; which templates that
    were.
    """
    retired: list[int] = []
    wanted = list(subject_ids)
    for start in range(0, len(wanted), _A_TIME):
        some = wanted[start : start + _A_TIME]
        rows = db.execute(
            "SELECT seq, name FROM template JOIN subject ON subject.id = subject JOIN translated ON translated.id = seq + ?"
            f" WHERE template.subject IN ({_marks(some)}) AND seq < ? AND length(feature) > 0 ORDER BY seq",
            (entry.base, *some, before),
        ).fetchall()
        db.executemany(
            "UPDATE translated SET feature = x'', confidence = ?, crc = ? WHERE id = ?",
            [(RETIRED, row_crc(seq, name.encode(), b""), entry.base + seq) for seq, name in rows],
        )
        retired += [seq for seq, _ in rows]
    return retired


def retire_too(db: sqlite3.Connection, entry: GalleryEntry, other: GalleryEntry, seqs: Sequence[int]) -> list[int]:
    """Leave templates out of another generation that were retired in one, whether it has looked at them or not, but for those
    that are native there; which those are.
    """
    query = "SELECT seq FROM template JOIN space ON space.id = template.space WHERE seq = ? AND fingerprint <> ?"
    foreign = [seq for seq in seqs if db.execute(query, (seq, other.space.fingerprint)).fetchone()]
    db.executemany(
        "INSERT INTO translated SELECT ? + ?, route, confidence, crc, feature FROM translated WHERE id = ?"
        " ON CONFLICT (id) DO UPDATE"
        " SET confidence = excluded.confidence, crc = excluded.crc, feature = excluded.feature",
        [(other.base, seq, entry.base + seq) for seq in foreign],
    )
    return foreign


def remove(db: sqlite3.Connection, entry: GalleryEntry, seqs: Sequence[int], once: Once | None = None) -> Removed:
    """Take out templates of the gallery that are in, at least one."""
    counts = take_out(db, entry.gallery_id, seqs)
    count_operations(db)
    removed = Removed(list(seqs), counts)
    remember(db, once, removed)
    return removed


def erase(
    db: sqlite3.Connection,
    name: str,
    entry: GalleryEntry | None,
    seqs: Sequence[int],
    *,
    digests: Sequence[bytes],
    pieces: bytes,
) -> None:
    """As `remove`, of none too, also where the gallery has no entry any more; and keep what stands for who was erased, and until
    its end what is looked for.
    """
    now = milliseconds()
    (op,) = db.execute("SELECT next_op FROM counter").fetchone()
    if entry is not None and seqs:
        take_out(db, entry.gallery_id, seqs)
    count_operations(db)
    db.executemany("INSERT OR REPLACE INTO erased VALUES (?, ?, ?)", ((digest, now, op) for digest in digests))
    db.execute("INSERT INTO erasing VALUES (?, ?, ?)", (op, name, pieces))


def counts_of(db: sqlite3.Connection, entry: GalleryEntry) -> Counts:
    """Of a gallery. Raises `NotFoundError`."""
    return _count(db, entry.gallery_id, 0, 0)


def count_again(db: sqlite3.Connection, gallery_id: int) -> None:
    """Make a gallery's counts those of its rows."""
    db.execute(
        "UPDATE subject SET num_templates = (SELECT COUNT(*) FROM template WHERE template.subject = subject.id)"
        " WHERE gallery = ?",
        (gallery_id,),
    )
    db.execute("DELETE FROM subject WHERE gallery = ? AND num_templates = 0", (gallery_id,))
    db.execute(
        "UPDATE gallery SET num_templates = (SELECT COUNT(*) FROM template WHERE template.gallery = gallery.id),"
        " num_subjects = (SELECT COUNT(*) FROM subject WHERE subject.gallery = gallery.id) WHERE id = ?",
        (gallery_id,),
    )


def counted(db: sqlite3.Connection, entry: GalleryEntry) -> Counts:
    """The rows of a gallery, counted."""
    query = (
        "SELECT (SELECT COUNT(*) FROM template WHERE gallery = ?1), (SELECT COUNT(*) FROM subject WHERE gallery = ?1)"
    )
    return Counts(*db.execute(query, (entry.gallery_id,)).fetchone())


def seqs_of_template(db: sqlite3.Connection, entry: GalleryEntry, seq: int | None) -> list[int]:
    """The number itself, or nothing where the gallery has no such template."""
    query = "SELECT seq FROM template WHERE seq = ? AND gallery = ?"
    return [found for (found,) in db.execute(query, (seq, entry.gallery_id))]


def seqs_of_subject(db: sqlite3.Connection, entry: GalleryEntry, subject: str) -> list[int]:
    """The numbers of a subject's templates."""
    query = (
        "SELECT seq FROM template WHERE subject = (SELECT id FROM subject WHERE gallery = ? AND name = ?) ORDER BY seq"
    )
    return [seq for (seq,) in db.execute(query, (entry.gallery_id, subject))]


def remember(db: sqlite3.Connection, once: Once | None, outcome: object) -> None:
    """Keep the answer to a request that may come again, with what it did."""
    if once is not None:
        forget_answers(db, milliseconds() - _ANSWERS_MS)
        answer = once.answer(outcome)
        db.execute(
            "INSERT INTO answered VALUES (?, ?, ?, ?, ?)",
            (once.key, once.digest, answer.status, answer.body, milliseconds()),
        )


def forget_answers(db: sqlite3.Connection, before_ms: int) -> None:
    """Answers that nobody is going to ask for again."""
    db.execute("DELETE FROM answered WHERE at < ?", (before_ms,))


def _subjects(db: sqlite3.Connection, gallery_id: int, names: Sequence[str], first: int) -> tuple[list[int], int]:
    """The numbers of the subjects, who now have as many templates more, and how many of them are new, from `first` on."""
    num_by_name = Counter(names)
    wanted = list(num_by_name)
    id_by_name: dict[str, int] = {}
    for start in range(0, len(wanted), _A_TIME):
        some = wanted[start : start + _A_TIME]
        query = f"SELECT name, id FROM subject WHERE gallery = ? AND name IN ({_marks(some)})"
        id_by_name.update(db.execute(query, (gallery_id, *some)))
    known = [(num_by_name[name], subject_id) for name, subject_id in id_by_name.items()]
    if known:
        db.executemany("UPDATE subject SET num_templates = num_templates + ? WHERE id = ?", known)
    new = [name for name in wanted if name not in id_by_name]
    ids = range(first, first + len(new))
    if new:
        id_by_name.update(zip(new, ids, strict=True))
        numbers = map(num_by_name.__getitem__, new)
        insert_many(db, "subject", zip(ids, repeat(gallery_id), new, numbers, strict=False))
    return [id_by_name[name] for name in names], len(new)


def _taken(db: sqlite3.Connection, gallery_id: int, keys: Sequence[str | None] | None) -> dict[int, int]:
    """Which rows' keys are in the gallery, and by which template."""
    row_by_key = {key: row for row, key in enumerate(keys or ()) if key is not None}
    wanted = list(row_by_key)
    taken: dict[int, int] = {}
    for start in range(0, len(wanted), _A_TIME):
        some = wanted[start : start + _A_TIME]
        query = f"SELECT key, seq FROM template WHERE gallery = ? AND key IN ({_marks(some)})"
        taken |= {row_by_key[key]: seq for key, seq in db.execute(query, (gallery_id, *some))}
    return taken


def take_out(db: sqlite3.Connection, gallery_id: int, seqs: Sequence[int]) -> Counts:
    """Delete templates of a gallery, and subjects who have none then. Raises `NotFoundError`."""
    num_left_by_subject = _delete_templates(db, gallery_id, seqs)
    # Not with RETURNING: within a savepoint SQLite keeps a journal for each such statement, which takes quadratic time.
    less = [(num, subject_id) for subject_id, num in num_left_by_subject.items()]
    db.executemany("UPDATE subject SET num_templates = num_templates - ? WHERE id = ?", less)
    num_emptied = 0
    for start in range(0, len(less), _A_TIME):
        some = [subject_id for _, subject_id in less[start : start + _A_TIME]]
        query = f"DELETE FROM subject WHERE id IN ({_marks(some)}) AND num_templates = 0"
        num_emptied += db.execute(query, some).rowcount
    return _count(db, gallery_id, -len(seqs), -num_emptied)


def _delete_templates(db: sqlite3.Connection, gallery_id: int, seqs: Sequence[int]) -> Counter[int]:
    """Of which subjects they were."""
    generations = [one for (one,) in db.execute("SELECT id FROM generation WHERE gallery = ?", (gallery_id,))]
    subjects: Counter[int] = Counter()
    for start in range(0, len(seqs), _A_TIME):
        some = seqs[start : start + _A_TIME]
        for generation in generations:
            ids = [(generation << GENERATION_SHIFT) + seq for seq in some]
            db.execute(f"DELETE FROM translated WHERE id IN ({_marks(ids)})", ids)
        # An index leads from a template to its fields; from there each is found by its own key.
        fields = db.execute(
            f"SELECT gallery, name, value, template FROM attribute WHERE template IN ({_marks(some)})", some
        ).fetchall()
        db.executemany("DELETE FROM attribute WHERE gallery = ? AND name = ? AND value = ? AND template = ?", fields)
        gone = db.execute(f"DELETE FROM template WHERE seq IN ({_marks(some)}) RETURNING subject", some)
        subjects.update(subject for (subject,) in gone)
    return subjects


def _count(db: sqlite3.Connection, gallery_id: int, templates: int, subjects: int) -> Counts:
    row = db.execute(
        "UPDATE gallery SET num_templates = num_templates + ?, num_subjects = num_subjects + ?"
        " WHERE id = ? AND name IS NOT NULL RETURNING num_templates, num_subjects",
        (templates, subjects, gallery_id),
    ).fetchone()
    if row is None:
        raise NotFoundError("there is no gallery of this name")
    return Counts(*row)


def count_operations(db: sqlite3.Connection, num: int = 1, *, num_templates: int = 0, num_subjects: int = 0) -> None:
    """From here on the numbers are taken that operations, new templates and new subjects got."""
    db.execute(
        "UPDATE counter SET next_op = next_op + ?, next_seq = next_seq + ?, next_subject = next_subject + ?",
        (num, num_templates, num_subjects),
    )


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
