"""What is read of generations for those who judge them: samples, confidences, what is not native yet.

Shapes: N templates, D dimension of a generation's space.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from models.space import Space, parse_space
from service.entities import FloatArray
from service.galleries.port import Backlog, Sample
from service.galleries.record import TEMPLATE, Record
from service.galleries.rules import MOST_OF_ONE, in_rounds
from service.galleries.schema import GENERATION_SHIFT, GalleryEntry, row_crc

_LOOKED_AT = 5
"""Subjects who are looked at for each that is wanted: of some all templates but one may have been retired."""
_OF_GENERATION = f"translated.id >> {GENERATION_SHIFT} = ? AND length(feature) > 0"


def origins(record: Record, entry: GalleryEntry, num_by_space: Mapping[str, int]) -> list[tuple[Space, int]]:
    """The spaces of a gallery's templates with their numbers; `num_by_space` are those that are searched, by fingerprint."""
    absent = record.read(
        "SELECT space.fingerprint, COUNT(*) FROM json_each(?) JOIN template ON seq = value"
        " JOIN space ON space.id = template.space GROUP BY 1",
        (json.dumps(record.absent(entry).tolist()),),
    )
    num = dict(num_by_space)
    for fingerprint, num_absent in absent:
        num[fingerprint] = num.get(fingerprint, 0) + num_absent
    documents = dict(record.read("SELECT fingerprint, document FROM space"))
    return [(parse_space(documents[fingerprint]), num[fingerprint]) for fingerprint in sorted(num)]


def last_number(record: Record, entry: GalleryEntry) -> int:
    """As the port's."""
    ((found,),) = record.read("SELECT MAX(seq) FROM template WHERE gallery = ?", (entry.gallery_id,))
    return found or 0


def num_after(record: Record, entry: GalleryEntry, number: int) -> int:
    """As the port's."""
    query = "SELECT COUNT(*) FROM template WHERE gallery = ? AND seq > ?"
    num: int = record.read(query, (entry.gallery_id, number))[0][0]
    return num


def confidences(record: Record, entry: GalleryEntry) -> FloatArray:
    """As the port's."""
    query = f"SELECT confidence AS found FROM translated WHERE {_OF_GENERATION} AND confidence IS NOT NULL"
    return np.array(_column(record, query, (entry.generation_id,)), dtype=np.float32)


def sample(record: Record, entry: GalleryEntry, num: int, seed: int) -> Sample:
    """As the port's."""
    rng = np.random.default_rng(seed)
    query = "SELECT id AS found FROM subject WHERE gallery = ? AND num_templates {} ORDER BY id"
    mated: dict[int, list[int]] = {}
    single: dict[int, list[int]] = {}
    for condition in ("> 1", "= 1"):
        of_kind = _column(record, query.format(condition), (entry.gallery_id,))
        for place in rng.permutation(len(of_kind))[: _LOOKED_AT * num].tolist():
            if len(mated) >= num or (condition == "= 1" and len(mated) + len(single) >= num):
                break
            seqs = _seqs_of(record, entry, of_kind[place], rng)
            if seqs:
                (mated if len(seqs) > 1 else single)[of_kind[place]] = seqs[:MOST_OF_ONE]
    drawn = list(islice(in_rounds(mated), num))
    num_mated = len(drawn)
    drawn += islice(in_rounds(single), num - num_mated)
    of_ids = (json.dumps(sorted({subject_id for subject_id, _ in drawn})),)
    names = dict(record.read("SELECT id, name FROM subject WHERE id IN (SELECT value FROM json_each(?))", of_ids))
    subjects = tuple(names.get(subject_id, "") for subject_id, _ in drawn)
    return Sample(tuple(record.ids.of(seq for _, seq in drawn)), subjects, num_mated)


def _column(record: Record, query: str, values: Sequence[object]) -> list[Any]:
    """What a query finds in its one column. SQLite puts it together by itself: row by row, a million rows would take the
    interpreter from all others as often.
    """
    ((found,),) = record.read(f"SELECT json_group_array(found) FROM ({query})", values)
    values_of_column: list[Any] = json.loads(found)
    return values_of_column


def _seqs_of(record: Record, entry: GalleryEntry, subject_id: int, rng: np.random.Generator) -> list[int]:
    """Of a subject's templates that are in a generation, in any order."""
    query = (
        "SELECT seq AS found FROM template LEFT JOIN translated ON translated.id = seq + ?"
        " WHERE subject = ? AND (feature IS NULL OR length(feature) > 0) ORDER BY seq"
    )
    seqs: list[int] = rng.permutation(_column(record, query, (entry.base, subject_id))).tolist()
    return seqs


def features(record: Record, entry: GalleryEntry, template_ids: Sequence[str]) -> FloatArray:
    """As the port's. Raises `DamagedError`."""
    found = np.full((len(template_ids), entry.space.dimension), np.nan, dtype=np.float32)
    query = (
        "SELECT name, space.fingerprint, template.crc, original, translated.crc, feature FROM template"
        " JOIN subject ON subject.id = subject JOIN space ON space.id = template.space"
        " LEFT JOIN translated ON translated.id = seq + ? WHERE seq = ? AND template.gallery = ?"
    )
    for row, template_id in enumerate(template_ids):
        seq = record.ids.seq(template_id)
        if seq is None:
            continue
        for name, fingerprint, crc, original, own_crc, feature in record.read(
            query, (entry.base, seq, entry.gallery_id)
        ):
            if feature is None and fingerprint != entry.space.fingerprint:
                continue
            vector, vector_crc = (original, crc) if feature is None else (feature, own_crc)
            if row_crc(seq, name.encode(), vector) != vector_crc:
                raise record.damaged(entry, seq, "a feature of it does not match its CRC32C")
            if vector:
                found[row] = np.frombuffer(vector, dtype="<f4")
    return found


def backlog(record: Record, entry: GalleryEntry, num_native: int, *, after: int, limit: int) -> Backlog:
    """As the port's; `num_native` are those that are searched."""
    count = f"SELECT COUNT(*), COUNT(confidence) FROM translated WHERE {_OF_GENERATION}"
    num_translated, num_told = record.read(count, (entry.generation_id,))[0]
    num_missing = record.num_missing(entry)
    # The index serves either by itself; who is told of comes first, the least trusted before all.
    told = f"SELECT id FROM translated WHERE {_OF_GENERATION} AND confidence IS NOT NULL ORDER BY confidence, id LIMIT ? OFFSET ?"
    untold = f"SELECT id FROM translated WHERE {_OF_GENERATION} AND confidence IS NULL ORDER BY id LIMIT ? OFFSET ?"
    ids = record.read(told, (entry.generation_id, limit, after))
    if len(ids) < limit:
        ids += record.read(untold, (entry.generation_id, limit - len(ids), max(0, after - num_told)))
    seqs = [number - entry.base for (number,) in ids]
    rows = record.read(f"{TEMPLATE} WHERE seq IN (SELECT value FROM json_each(?))", (entry.base, json.dumps(seqs)))
    by_seq = {row[0]: record.template_of(row) for row in rows}
    next_after = after + len(seqs)
    return Backlog(
        num_native,
        num_translated,
        len(record.absent(entry)) - num_missing,
        num_missing,
        tuple(by_seq[seq] for seq in seqs if seq in by_seq),
        next_after if next_after < num_translated else None,
    )
