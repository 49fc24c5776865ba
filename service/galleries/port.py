"""The port that every gallery store keeps. One contract suite (`tests/contract/test_gallery_store.py`) runs over all.

Calls block; they are made from worker threads, from several at once. Shapes: B probes, D dimension of the gallery's space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from models.space import Space
from service.entities import Candidate, FloatArray, Gallery, NewTemplate, Template

Project = Callable[[FloatArray], FloatArray]
"""Unit features of one space, row by row, to unit features of another."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Ranked candidates for each probe, all from one generation."""

    generation: int
    num_templates: int
    """Of the gallery, when it was searched."""
    candidates: tuple[tuple[Candidate, ...], ...]


@dataclass(frozen=True, slots=True)
class TemplatePage:
    """Some templates in order of enrolment, and where to go on; `next_after` is None on the last page."""

    templates: tuple[Template, ...]
    next_after: int | None


class GalleryStore(Protocol):
    """Keeps galleries. What a call acknowledges by returning is durable where the adapter is."""

    def create(self, name: str, space: Space) -> Gallery:
        """Make an empty gallery. Raises `AlreadyExistsError`."""

    def get(self, name: str) -> Gallery:
        """Raises `NotFoundError`."""

    def list_galleries(self) -> list[Gallery]:
        """All galleries by name."""

    def drop(self, name: str) -> None:
        """Remove a gallery with all its templates. Raises `NotFoundError`."""

    def enrol(self, name: str, templates: Sequence[NewTemplate]) -> list[str]:
        """Put in all of `templates` or none; their new ids in the same order.

        Raises `NotFoundError`; `SpaceMismatchError` where a template was not made for the gallery's space;
        `DimensionMismatchError` where a feature has not its space's dimension; `NonFiniteVectorError` and
        `InvalidInputError` for features that are not unit vectors; `StorageError` where it cannot be recorded.
        """

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """A page of templates in order of enrolment, of one subject if asked. Raises `NotFoundError` for the gallery."""

    def remove_template(self, name: str, template_id: str) -> None:
        """Raises `NotFoundError`."""

    def remove_subject(self, name: str, subject: str) -> int:
        """Remove all templates of a subject and say how many there were. Raises `NotFoundError` when there are none."""

    def ensure_index(self, name: str, space: Space, projections: Mapping[str, Project]) -> None:
        """Make the gallery searchable in `space` as well, with the templates enrolled now and those enrolled later.

        `projections`, by the fingerprint of the space that they start from, bring unit features (G, D) there: of a
        template its original feature, or where that has no projection its feature in the gallery's space. Nothing of it
        is recorded. Where the gallery has an index in that space already, it stays as it is. Raises `NotFoundError`;
        `SpaceMismatchError` where the gallery's own space has no projection; `EngineError` for a projection that
        gives no unit vectors, and, naming it, for a template that a projection finds no direction for.
        """

    def search(
        self, name: str, probes_BD: FloatArray, space: Space, top_k: int, *, by_origin: bool = False
    ) -> SearchResult:
        """The `top_k` (at least 1) most alike subjects for each probe, by their best template, from the highest score down.

        With `by_origin`, as many of each origin of templates, one origin after the other: what is a high score for one
        may be a low one for another.

        Exact: scores are float64 dot products rounded to float32; equal scores are ordered by subject, and of one
        subject's templates with equal scores the first enrolled is named. Raises `NotFoundError`;
        `SpaceMismatchError` where the gallery is not in `space` (any more) and has no index there;
        `DimensionMismatchError`;
        `NonFiniteVectorError` and `InvalidInputError` for probes that are not unit vectors.
        """

    def close(self) -> None:
        """Release files and memory; nothing may be called afterwards."""
