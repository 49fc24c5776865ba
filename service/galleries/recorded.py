"""What is read of the record: galleries with their generations, and rows of templates.

Shapes: G templates, D dimension of the generation's space.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space import parse_space
from service.entities import FloatArray, Generation, Side
from service.galleries.rules import time_of
from service.galleries.schema import GalleryEntry
from service.galleries.segments import Columns, SeqArray

GENERATIONS = (
    "SELECT gallery.id, name, created_at, generation.id, number, space, index_kind, active, job, routes, kept_until, retires,"
    " restored_at, num_templates, num_subjects FROM gallery JOIN generation ON generation.gallery = gallery.id"
    " AND (active OR kept_until IS NULL OR kept_until > 0) WHERE name IS NOT NULL"
)
"""All that are not being dropped."""


@dataclass(frozen=True, slots=True)
class GalleryRows:
    """Templates of a gallery in order of enrolment, with their features (G, D) in the gallery's space."""

    seqs: SeqArray
    subject_ids: npt.NDArray[np.int64]
    subjects: Sequence[str]
    features_GD: FloatArray
    origins: Sequence[Side]
    """The ways in which they came."""
    origin_G: npt.NDArray[np.intp]
    """Which of these each came."""
    foreign: Mapping[int, tuple[str, FloatArray]] = field(default_factory=dict)
    """Of those translated, where it was asked for, by row: the fingerprint of the space that they came from, and what they
    were there."""

    def __len__(self) -> int:
        return len(self.seqs)

    @property
    def columns(self) -> Columns:
        """All of them, as segments take them."""
        return Columns(self.seqs, self.subject_ids, self.subjects, self.features_GD)

    def columns_of(self, origin: int) -> Columns:
        """Those that came this way."""
        rows = np.flatnonzero(self.origin_G == origin)
        subjects = [self.subjects[row] for row in rows.tolist()]
        return Columns(self.seqs[rows], self.subject_ids[rows], subjects, self.features_GD[rows])

    def only(self, row: int) -> "GalleryRows":
        """One of them."""
        one = slice(row, row + 1)
        return GalleryRows(
            self.seqs[one],
            self.subject_ids[one],
            self.subjects[one],
            self.features_GD[one],
            self.origins,
            self.origin_G[one],
            {0: self.foreign[row]} if row in self.foreign else {},
        )


@dataclass(frozen=True, slots=True)
class RecordedGallery:
    """A gallery with one of its generations, and how much is in it."""

    entry: GalleryEntry
    num_templates: int
    num_subjects: int


def parsed_generation(row: tuple[Any, ...]) -> RecordedGallery:
    """A row of `GENERATIONS`. Raises `SpaceError` where the document of its space is damaged."""
    gallery_id, name, created_at, generation_id, number, space, index_kind, active, job, routes, *rest = row
    kept_until, retires, restored_at, num_templates, num_subjects = rest
    entry = GalleryEntry(
        gallery_id,
        name,
        created_at,
        generation_id,
        number,
        parse_space(space, what=f"gallery {name}"),
        index_kind,
        bool(active),
        job,
        {fingerprint: tuple(bundles) for fingerprint, bundles in json.loads(routes or "{}").items()},
        kept_until,
        bool(retires),
        restored_at,
    )
    return RecordedGallery(entry, num_templates, num_subjects)


def described_generation(entry: GalleryEntry, *, is_complete: bool, num_done: int) -> Generation:
    """One that is not active, as it is told."""
    kept = entry.kept_until_ms
    return Generation(
        entry.generation,
        entry.space,
        "building" if kept is None else "kept",
        is_complete,
        num_done,
        entry.job,
        entry.routes,
        None if kept is None else time_of(kept),
    )
