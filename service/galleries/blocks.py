"""Blocks of templates on their way into a generation: read from the record, translated, recorded.

Shapes: G templates of a block, N of one origin, D dimension of the generation's space.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress, repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space import Space, parse_space
from service.entities import FloatArray, Side, Translation
from service.errors import EngineError
from service.galleries import generation_rows
from service.galleries.port import Originals
from service.galleries.record import Record
from service.galleries.recorded import GalleryRows
from service.galleries.rows import numbers_or_none, vectors
from service.galleries.rules import checked_translation
from service.galleries.schema import GalleryEntry, row_crc
from service.galleries.segments import SeqArray

_ROWS = (
    "SELECT seq, subject, name, space, crc, original, norm FROM template JOIN subject ON subject.id = subject"
    " WHERE template.gallery = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_MADE = (
    "SELECT translated.id, crc, feature, bundles FROM translated JOIN route ON route.id = route"
    " WHERE translated.id BETWEEN ? AND ?"
)


@dataclass(frozen=True, slots=True)
class Block:
    """Templates of a gallery, in order of enrolment, and what they are in a generation if that is known."""

    seqs: SeqArray
    subject_ids: npt.NDArray[np.int64]
    subjects: Sequence[str]
    features: "list[bytes | None]"
    """In the generation: of native ones the original; None where it is to be translated, empty where it is not there."""
    sides: "list[Side | None]"
    """How they came there."""
    places: Sequence[npt.NDArray[np.intp]]
    """Of each part that is to be translated, the rows."""
    originals: tuple[Originals, ...]
    spaces: Sequence[str]
    """Of the encoders that made them, by fingerprint."""
    raw: Sequence[bytes]
    """What these made."""

    def __len__(self) -> int:
        return len(self.seqs)

    @classmethod
    def empty(cls) -> "Block":
        """Of nothing."""
        none = np.empty(0, dtype=np.int64)
        return cls(none, none, [], [], [], [], (), [], [])

    @property
    def to_translate(self) -> SeqArray:
        """The numbers of templates that are not translated yet."""
        return np.concatenate([np.empty(0, dtype=np.int64), *(self.seqs[places] for places in self.places)])

    @property
    def last_seq(self) -> int:
        """Of its last template."""
        return int(self.seqs[-1])


def read_block(
    record: Record, entry: GalleryEntry, after: int, limit: int, db: sqlite3.Connection | None = None
) -> Block | None:
    """The templates that come after number `after`, None where there are none; as the transaction of `db` sees them, if given.

    Raises `DamagedError` naming the first that is not what was written.
    """

    def read(query: str, values: Sequence[object] = ()) -> list[Any]:
        return record.read(query, values) if db is None else db.execute(query, values).fetchall()

    rows = read(_ROWS, (entry.gallery_id, after, limit))
    if not rows:
        return None
    # Whatever is seen of a template is seen with what it is in the generation, if that is known: both came together.
    made = {
        number - entry.base: of_template
        for number, *of_template in read(_MADE, (entry.base + rows[0][0], entry.base + rows[-1][0]))
    }
    spaces = {number: parse_space(document) for number, document in read("SELECT id, document FROM space")}
    fingerprints = {number: space.fingerprint for number, space in spaces.items()}
    sizes = {number: 4 * space.dimension for number, space in spaces.items()}
    seqs, subject_ids, names, space_ids, crcs, originals, norms = zip(*rows, strict=True)
    features: list[bytes | None] = [None] * len(rows)
    sides: list[Side | None] = [None] * len(rows)
    rows_by_space: dict[int, list[int]] = {}
    native = {number for number, fingerprint in fingerprints.items() if fingerprint == entry.space.fingerprint}
    of_natives = Side(entry.space.fingerprint)
    for row, (seq, name, space_id, crc, original) in enumerate(
        zip(seqs, names, space_ids, crcs, originals, strict=True)
    ):
        if seq in made:
            own_crc, feature, bundles = made[seq]
            if row_crc(seq, name.encode(), feature) != own_crc or len(feature) not in (0, 4 * entry.space.dimension):
                raise record.damaged(entry, seq, "its stored feature does not match its CRC32C")
            features[row], sides[row] = feature, Side(fingerprints[space_id], tuple(json.loads(bundles)))
            continue
        if row_crc(seq, name.encode(), original) != crc or len(original) != sizes[space_id]:
            raise record.damaged(entry, seq, "its original feature does not match its CRC32C")
        if space_id in native:
            features[row], sides[row] = original, of_natives
        else:
            rows_by_space.setdefault(space_id, []).append(row)
    parts = [
        _part(spaces[space_id], [originals[row] for row in of_space], [norms[row] for row in of_space])
        for space_id, of_space in rows_by_space.items()
    ]
    return Block(
        np.array(seqs, dtype=np.int64),
        np.array(subject_ids, dtype=np.int64),
        names,
        features,
        sides,
        [np.array(of_space, dtype=np.intp) for of_space in rows_by_space.values()],
        tuple(parts),
        [fingerprints[space_id] for space_id in space_ids],
        originals,
    )


def _part(space: Space, originals: Sequence[bytes], norms: Sequence[float | None]) -> Originals:
    features = np.frombuffer(b"".join(originals), dtype="<f4").reshape(len(originals), space.dimension)
    return Originals(space, features, np.array(norms, dtype=np.float32))


@dataclass(frozen=True, slots=True)
class Completed:
    """A block with all that could be translated."""

    rows: GalleryRows
    """Those that are in the generation."""
    parts: "Sequence[_Recordable]"
    base: int
    """What is added to the number of a template to find it in the generation."""

    def record(self, db: sqlite3.Connection, alive: SeqArray) -> None:
        """Record what was translated of templates that are there still."""
        for part in self.parts:
            number = generation_rows.route_id(db, part.route)
            is_alive = np.isin(part.seqs, alive, assume_unique=True)
            ids = (part.seqs + self.base).tolist()
            rows = zip(ids, repeat(number), part.confidence, part.crcs, part.features, strict=False)
            generation_rows.insert_translated(db, rows if is_alive.all() else compress(rows, is_alive.tolist()))


@dataclass(frozen=True, slots=True)
class _Recordable:
    """What was made of the templates of one part, in columns."""

    seqs: SeqArray
    route: tuple[str, ...]
    confidence: Sequence[float | None]
    crcs: Sequence[int]
    features: Sequence[bytes | memoryview]


def completed(
    block: Block, made: Sequence[Translation | None], entry: GalleryEntry, *, with_originals: bool = False
) -> Completed:
    """A block, and what was made of its parts, as they are in a generation. Raises `EngineError`."""
    if len(made) != len(block.places):
        raise EngineError("a chunk was translated into another number of parts than it has")
    features_GD = np.zeros((len(block), entry.space.dimension), dtype=np.float32)
    known = [row for row, feature in enumerate(block.features) if feature]
    if known:
        joined = b"".join(feature for feature in block.features if feature)
        features_GD[known] = np.frombuffer(joined, dtype="<f4").reshape(len(known), -1)
    sides, recordable = list(block.sides), []
    for places, originals, translation in zip(block.places, block.originals, made, strict=True):
        found = checked_translation(translation, entry.space, len(places))
        recordable.append(_recordable(block, places, found))
        present = places[~np.isnan(found.features).any(axis=1)]
        features_GD[places] = found.features
        side = Side(originals.space.fingerprint, found.route)
        for row in present.tolist():
            sides[row] = side
    rows = np.array(
        [row for row, side in enumerate(sides) if side is not None and block.features[row] != b""], dtype=np.intp
    )
    origins = list(dict.fromkeys(sides[row] for row in rows.tolist()))
    numbers = {side: number for number, side in enumerate(origins)}
    return Completed(
        GalleryRows(
            block.seqs[rows],
            block.subject_ids[rows],
            [block.subjects[row] for row in rows.tolist()],
            features_GD[rows],
            [side for side in origins if side is not None],
            np.array([numbers[sides[row]] for row in rows.tolist()], dtype=np.intp),
            _foreign(block, rows.tolist(), entry) if with_originals else {},
        ),
        recordable,
        entry.base,
    )


def _recordable(block: Block, places: npt.NDArray[np.intp], found: Translation) -> _Recordable:
    seqs = block.seqs[places]
    features: list[bytes | memoryview] = list(vectors(found.features))
    for row in np.flatnonzero(np.isnan(found.features).any(axis=1)).tolist():
        features[row] = b""
    owners = [block.subjects[row].encode() for row in places.tolist()]
    crcs = list(map(row_crc, seqs.tolist(), owners, features))
    return _Recordable(seqs, found.route, numbers_or_none(found.confidence, len(places)), crcs, features)


def _foreign(block: Block, rows: Sequence[int], entry: GalleryEntry) -> dict[int, tuple[str, FloatArray]]:
    """Of those that were translated, what they were before; by their places among `rows`."""
    own = entry.space.fingerprint
    return {
        place: (block.spaces[row], np.frombuffer(block.raw[row], dtype="<f4").astype(np.float32))
        for place, row in enumerate(rows)
        if block.spaces[row] != own
    }
