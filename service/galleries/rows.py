"""New templates as rows of the record's tables. Shapes: G templates, D dimension."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np

from models.documents import canonical_json
from models.space import Space
from service.entities import FloatArray, Metadata, NewTemplates, Once, Scalar, Translation
from service.galleries.port import Condition
from service.galleries.rules import milliseconds, translation_into
from service.galleries.schema import GalleryEntry, row_crc

_ROWS_TOGETHER = 32


class PreparedTemplates:
    """Templates as the record keeps them, made before the writer's turn comes."""

    def __init__(self, templates: NewTemplates, once: Once | None = None) -> None:
        """Of templates that were checked."""
        self.templates = templates
        self.once = once
        self.num = len(templates)
        self.owners = [name.encode() for name in templates.subjects]
        self.originals = vectors(templates.originals)
        self._translated: dict[str, _Translated | None] = {}
        self.metadata = [json.dumps(one) if one else None for one in templates.metadata or [None] * self.num]

    def translated(self, space: Space) -> "_Translated | None":
        """What is kept of them in a generation in `space`, None where they are native there."""
        fingerprint = space.fingerprint
        if fingerprint not in self._translated:
            found = translation_into(self.templates, space)
            is_native = found is not None and not found.route
            self._translated[fingerprint] = None if is_native else _Translated.of(found, self.num)
        return self._translated[fingerprint]


@dataclass(frozen=True, slots=True)
class _Translated:
    """Translations as the record keeps them; what has none is empty."""

    route: str
    confidence: list[float | None]
    features: Sequence[memoryview | bytes]

    @classmethod
    def of(cls, found: Translation | None, num: int) -> "_Translated":
        """Of so many templates."""
        if found is None:
            return cls("[]", [None] * num, [b""] * num)
        absent = np.flatnonzero(np.isnan(found.features).any(axis=1)).tolist()
        features: list[memoryview | bytes] = list(vectors(found.features))
        for row in absent:
            features[row] = b""
        return cls(json.dumps(found.route), numbers_or_none(found.confidence, num), features)


def insert_templates(
    db: sqlite3.Connection,
    generations: Sequence[GalleryEntry],
    parts: Sequence[tuple[PreparedTemplates, int, list[int]]],
) -> None:
    """Of each request the templates, the number of its first one, and the numbers of their subjects, into all generations of
    their gallery.
    """
    now, numbers = milliseconds(), _Numbers(db)
    rows, fields, translated = [], [], []
    gallery_id = generations[0].gallery_id
    for prepared, first, subject_ids in parts:
        templates, num = prepared.templates, prepared.num
        seqs = range(first, first + num)
        columns = (
            seqs,
            repeat(gallery_id, num),
            subject_ids,
            repeat(numbers.of_space(templates.original_space), num),
            templates.keys or repeat(None, num),
            repeat(now, num),
            numbers_or_none(templates.norm, num),
            numbers.of_provenance(templates.provenance, num),
            prepared.metadata,
            map(row_crc, seqs, prepared.owners, prepared.originals),
            prepared.originals,
        )
        rows.append(zip(*columns, strict=True))
        if templates.metadata:
            fields.append(_fields(gallery_id, seqs, templates.metadata))
        for entry in generations:
            found = prepared.translated(entry.space)
            if found is not None:
                ids = range(entry.base + first, entry.base + first + num)
                route_ids = repeat(numbers.of_text("route", "bundles", found.route), num)
                crcs = map(row_crc, seqs, prepared.owners, found.features)
                translated.append(zip(ids, route_ids, found.confidence, crcs, found.features, strict=True))
    insert_many(
        db,
        "template (seq, gallery, subject, space, key, enrolled_at, norm, provenance, metadata, crc, original)",
        chain.from_iterable(rows),
    )
    insert_many(db, "attribute", chain.from_iterable(fields))
    insert_many(db, "translated", chain.from_iterable(translated))


def insert_many(db: sqlite3.Connection, into: str, rows: Iterable[Sequence[object]]) -> None:
    """Insert rows into a table, several by one statement, which is faster by a fifth."""
    rest, last = iter(rows), list[Sequence[object]]()

    def together() -> Iterator[list[object]]:
        while len(some := list(islice(rest, _ROWS_TOGETHER))) == _ROWS_TOGETHER:
            yield list(chain.from_iterable(some))
        last.extend(some)

    full = list(islice(together(), 1))
    if full:
        one = _marks(len(full[0]) // _ROWS_TOGETHER)
        db.executemany(f"INSERT INTO {into} VALUES {','.join([one] * _ROWS_TOGETHER)}", chain(full, together()))
    if last:
        db.executemany(f"INSERT INTO {into} VALUES {_marks(len(last[0]))}", last)


def _marks(num_columns: int) -> str:
    return f"({','.join('?' * num_columns)})"


class _Numbers:
    """Of what many templates have in common: each is looked up once, and entered where it is new."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._known: dict[tuple[str, str], int] = {}

    def of_space(self, space: Space) -> int:
        fingerprint = space.fingerprint
        number = self._known.get(("space", fingerprint))
        if number is None:
            row = self._db.execute("SELECT id FROM space WHERE fingerprint = ?", (fingerprint,)).fetchone()
            statement = "INSERT INTO space (fingerprint, document) VALUES (?, ?)"
            number = int(row[0]) if row else insert_row(self._db, statement, (fingerprint, space_document(space)))
            self._known["space", fingerprint] = number
        return number

    def of_text(self, table: str, column: str, text: str) -> int:
        number = self._known.get((table, text))
        if number is None:
            row = self._db.execute(f"SELECT id FROM {table} WHERE {column} = ?", (text,)).fetchone()
            statement = f"INSERT INTO {table} ({column}) VALUES (?)"
            number = int(row[0]) if row else insert_row(self._db, statement, (text,))
            self._known[table, text] = number
        return number

    def of_provenance(self, provenance: Sequence[Metadata] | None, num: int) -> Iterable[int]:
        if provenance is None:
            return repeat(self.of_text("provenance", "document", "{}"), num)
        # Most are one object, many times.
        numbers = {
            id(one): self.of_text("provenance", "document", canonical_json(one).decode())
            for one in {id(one): one for one in provenance}.values()
        }
        return [numbers[id(one)] for one in provenance]


def insert_fields(
    db: sqlite3.Connection, gallery_id: int, seqs: Sequence[int], metadata: Sequence[Metadata | None]
) -> None:
    """So that searches may be among templates by their metadata."""
    insert_many(db, "attribute", _fields(gallery_id, seqs, metadata))


def _fields(
    gallery_id: int, seqs: Iterable[int], metadata: Iterable[Metadata | None]
) -> Iterator[tuple[int, str, str | int | float, int]]:
    for seq, of_template in zip(seqs, metadata, strict=True):
        for name, value in (of_template or {}).items():
            yield gallery_id, name, attribute_value(value), seq


def attribute_value(value: Scalar) -> str | int | float:
    """As the record compares it: numbers by size, text and truth by themselves."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "=" + value if isinstance(value, str) else value


def matching_query(
    gallery_id: int, name: str, condition: Condition, *, is_met: bool = True
) -> tuple[str, list[object]]:
    """Which templates of a gallery have a field that meets a condition, or does not, and the values of the query."""
    tests, values = [], []
    if condition.any_of is not None:
        tests.append(f"value IN ({','.join('?' * len(condition.any_of))})")
        values += [attribute_value(value) for value in condition.any_of]
    else:
        # Text comes after all numbers, and is no number at most this.
        tests.append("typeof(value) IN ('integer', 'real')")
    for comparison, limit in ((">=", condition.at_least), ("<=", condition.at_most)):
        if limit is not None:
            tests.append(f"value {comparison} ?")
            values.append(limit)
    met = f"{'' if is_met else 'NOT '}({' AND '.join(tests)})"
    return f"SELECT template FROM attribute WHERE gallery = ? AND name = ? AND {met}", [gallery_id, name, *values]


def parsed_metadata(text: str | None) -> Metadata:
    """As it was enrolled."""
    fields: Metadata = json.loads(text) if text else {}
    return fields


def insert_row(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> int:
    """Insert one row; its number."""
    row_id = db.execute(statement, values).lastrowid
    assert row_id is not None
    return row_id


def space_document(space: Space) -> str:
    """A space as it is kept."""
    return canonical_json(space.to_json()).decode()


def vectors(features_GD: FloatArray) -> list[memoryview]:
    """Each as bytes; they are those of the array, and not copied."""
    size = 4 * features_GD.shape[1]
    data = np.ascontiguousarray(features_GD, dtype="<f4").data.cast("B")
    return [data[start : start + size] for start in range(0, len(data), size)]


def numbers_or_none(column: FloatArray | None, num: int) -> list[float | None]:
    """NaN as nothing."""
    if column is None:
        return [None] * num
    return [None if value != value else value for value in column.tolist()]  # noqa: PLR0124
