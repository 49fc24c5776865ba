"""A gallery as it is open here: what is recorded of it, its projection, and the other spaces in which it is searchable.

Shapes: G templates, D dimension of the gallery's space.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from models.space import Space
from service.entities import FloatArray, Gallery, Generation
from service.errors import EngineError, InvalidInputError
from service.galleries.ids import TemplateIds
from service.galleries.operations import Counts
from service.galleries.port import Project
from service.galleries.projection import Projection
from service.galleries.recorded import GalleryRows, described_generation
from service.galleries.rules import check_projected, time_of
from service.galleries.saved import ProjectionFolder
from service.galleries.schema import GalleryEntry


@dataclass(frozen=True, slots=True)
class CommonIndex:
    """Another space in which a gallery is searchable."""

    space: Space
    own: str
    """The fingerprint of the gallery's space."""
    projections: Mapping[str, Project]
    projection: Projection

    def projected(self, originals_GS: FloatArray, fingerprint: str, features_GD: FloatArray) -> FloatArray:
        """New templates, of the space of that fingerprint and `features_GD` in the gallery's, as they are in this one (G, D).

        Raises `EngineError`, and what a projection raises.
        """
        if fingerprint in self.projections:
            return self._project(fingerprint, originals_GS)
        return self._project(self.own, features_GD)

    def add(self, rows: GalleryRows) -> None:
        """Put in recorded templates."""
        self.projection.add(replace(rows, features_GD=self.features(rows)))

    def features(self, rows: GalleryRows) -> FloatArray:
        """Recorded templates as they are in this space (G, D), each from its encoder's own feature where there is a way."""
        projected_GD = np.empty((len(rows), self.space.dimension), dtype=np.float32)
        rows_by_space: dict[str, list[int]] = defaultdict(list)
        for row in range(len(rows)):
            fingerprint = rows.foreign[row][0] if row in rows.foreign else self.own
            rows_by_space[fingerprint if fingerprint in self.projections else self.own].append(row)
        for fingerprint, mine in rows_by_space.items():
            is_own = fingerprint == self.own
            native = rows.features_GD[mine] if is_own else np.stack([rows.foreign[row][1] for row in mine])
            projected_GD[mine] = self._project(fingerprint, native)
        return projected_GD

    def _project(self, fingerprint: str, features_GD: FloatArray) -> FloatArray:
        return check_projected(self.projections[fingerprint](features_GD), self.space, len(features_GD))


@dataclass(slots=True, eq=False)
class OpenGallery:
    """In one of its generations. Changed by the record's writing thread alone, each field as a whole; read by anyone."""

    entry: GalleryEntry
    projection: Projection
    counts: Counts
    folder: ProjectionFolder
    """Where the projection is saved."""
    saved_version: int | None = None
    """Of the projection as it is saved, None where it is not."""
    num_saved: int = 0
    """Templates that there were then."""
    is_dropped: bool = False
    is_behind: bool = False
    """Whether templates are recorded that it does not search yet: it is not the active generation then, and nothing is put in
    but in order."""
    filled_to: int = 0
    """The number of the last template that it has looked at, while it is behind."""
    num_looked_at: int = 0
    """And how many those were."""
    num_recorded: int = 0
    """Templates that were translated into it before it was opened."""
    beside: "tuple[OpenGallery, ...]" = ()
    """Of the active generation, the others."""
    indexes: Mapping[str, CommonIndex] = field(default_factory=dict)
    """By fingerprint of their space."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why there is no index in a space, by its fingerprint: a template that cannot be projected, until one is removed."""

    @property
    def crowd(self) -> int:
        """Templates of a subject, about."""
        return -(-self.counts.num_templates // max(1, self.counts.num_subjects))

    @property
    def generations(self) -> "tuple[OpenGallery, ...]":
        """All of them, if this is the active one, which is the first."""
        return (self, *self.beside)

    def holds(self, other: "OpenGallery | None") -> bool:
        """Whether another is one of these."""
        return any(one is other for one in self.generations)

    def remove(self, seqs: Sequence[int]) -> None:
        """Take templates out of what is searched, in all generations."""
        if seqs:
            for one in self.generations:
                for projection in one.projections():
                    projection.remove(seqs)
                one.failed.clear()

    def count(self, counts: Counts) -> None:
        """How much is recorded now."""
        for one in self.generations:
            one.counts = counts

    def forget_subjects(self, subjects: frozenset[str]) -> None:
        """Let no search that goes on see what some subjects had before it was replaced, in all generations."""
        for one in self.generations:
            for projection in one.projections():
                projection.forget_subjects(subjects)

    def forget_stale_indexes(self) -> None:
        """Do without indexes that hold templates that were taken out, until they are built again."""
        for projection in self.projections():
            projection.forget_indexes(if_stale=True)

    def projections(self) -> list[Projection]:
        """Its own, and those in other spaces."""
        return [self.projection, *(index.projection for index in self.indexes.values())]

    def as_beside(self) -> Generation:
        """As it is told where it is not the active generation."""
        num = self.counts.num_templates
        if self.is_behind:
            num = min(max(self.num_looked_at, self.num_recorded), num)
        return described_generation(self.entry, is_complete=not self.is_behind, num_done=num)

    def described(self) -> Gallery:
        """As it is told."""
        entry, counts = self.entry, self.counts
        beside = (one.as_beside() for one in self.beside)
        return Gallery(
            entry.name,
            entry.space,
            entry.generation,
            counts.num_templates,
            counts.num_subjects,
            entry.created_at,
            self.projection.index_state(entry.index_kind),
            tuple(beside),
            entry.job,
            None if entry.restored_at_ms is None else time_of(entry.restored_at_ms),
        )


def first_without_direction(index: CommonIndex, rows: GalleryRows, ids: TemplateIds) -> str:
    """The template of a block for which a projection finds no direction, by its id."""
    trial = replace(index, projection=Projection(index.space.dimension, ids))
    for row in range(len(rows)):
        try:
            trial.add(rows.only(row))
        except InvalidInputError:
            return ids.of([int(rows.seqs[row])])[0]
    raise EngineError("a projection finds no direction for templates together, and one for each alone")
