"""A gallery's original features as feature sets, one for each space that they came from, to be enrolled elsewhere.

Shapes: N templates of one space, D its dimension.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature_set import LABEL_PREFIX, FeatureSet
from models.space import parse_space
from service.entities import Metadata, Scalar
from service.errors import DamagedError
from service.galleries.ids import TemplateIds
from service.galleries.record import Record
from service.galleries.schema import GalleryEntry, row_crc

_SPACES = "SELECT id, document FROM space WHERE id IN (SELECT space FROM template WHERE gallery = ?)"
_ROWS = (
    "SELECT seq, name, key, norm, metadata, crc, original FROM template JOIN subject ON subject.id = subject"
    " WHERE template.gallery = ? AND template.space = ? ORDER BY seq"
)


def exported(record: Record, entry: GalleryEntry) -> Iterator[FeatureSet]:
    """The templates of a gallery, with their keys (or ids) as pictures and their metadata as labels.

    Raises `DamagedError` naming a template that is not what was written.
    """
    with closing(record.connect()) as db:
        spaces = db.execute(_SPACES, (entry.gallery_id,))
        for space_id, document in spaces.fetchall():
            space = parse_space(document)
            rows = db.execute(_ROWS, (entry.gallery_id, space_id)).fetchall()
            yield FeatureSet.build(space, _columns(rows, record.ids), what=f"gallery {entry.name}")


def _columns(rows: Sequence[tuple[Any, ...]], ids: TemplateIds) -> dict[str, npt.NDArray[Any]]:
    for seq, name, *_, crc, original in rows:
        if row_crc(seq, name.encode(), original) != crc:
            raise DamagedError(f"template {ids.of([seq])[0]} is damaged (its feature does not match its CRC32C)")
    seqs, names, keys, norms, texts, _, originals = zip(*rows, strict=True)
    own_ids = ids.of(seqs)
    columns: dict[str, npt.NDArray[Any]] = {
        "feature": np.frombuffer(b"".join(originals), dtype="<f4").reshape(len(rows), -1),
        "image": np.array([key or own for key, own in zip(keys, own_ids, strict=True)]),
        "subject": np.array(names),
    }
    if any(norm is not None for norm in norms):
        columns["norm"] = np.array([np.nan if norm is None else norm for norm in norms])
    return columns | _labels([json.loads(text) if text else {} for text in texts])


def _labels(metadata: Sequence[Metadata]) -> dict[str, npt.NDArray[Any]]:
    """Fields as columns: numbers with NaN where there is none, all else as text."""
    values_by_name: dict[str, dict[int, Scalar]] = defaultdict(dict)
    for row, fields in enumerate(metadata):
        for name, value in fields.items():
            values_by_name[name][row] = value
    labels = {}
    for name, values in values_by_name.items():
        if len(values) == len(metadata) and all(isinstance(value, bool) for value in values.values()):
            labels[LABEL_PREFIX + name] = np.array([values[row] for row in range(len(metadata))])
            continue
        is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values.values())
        empty: Scalar = np.nan if is_number else ""
        column = [_told(values.get(row, empty)) for row in range(len(metadata))]
        labels[LABEL_PREFIX + name] = np.array(column, dtype=np.float64 if is_number else np.str_)
    return labels


def _told(value: Scalar) -> Scalar:
    """Truth that not all have, as JSON writes it."""
    return str(value).lower() if isinstance(value, bool) else value
