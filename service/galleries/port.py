"""The port that every gallery store keeps. One contract suite (`tests/contract/test_gallery_store.py`) runs over all.

Calls block; they are made from worker threads, from several at once. Shapes: B rows of probes, D
dimension of the gallery's space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.space import Space
from service.entities import (
    Answer,
    Candidate,
    Check,
    Density,
    Erased,
    FloatArray,
    Gallery,
    Generation,
    IndexKind,
    NewTemplates,
    Once,
    Scalar,
    Snapshot,
    Template,
    Translation,
)

Project = Callable[[FloatArray], FloatArray]
"""Unit features of one space, row by row, to unit features of another."""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Ranked candidates for each probe, all from one generation."""

    generation: int
    num_templates: int
    """That were looked at: all of the gallery, or those that were meant."""
    candidates: tuple[tuple[Candidate, ...], ...]


@dataclass(frozen=True, slots=True)
class TemplatePage:
    """Some templates in order of enrolment, and where to go on; `next_after` is None on the last page."""

    templates: tuple[Template, ...]
    next_after: int | None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """The ids of the new templates, in the order given, and how many these replaced and retired."""

    template_ids: tuple[str, ...]
    num_replaced: int = 0
    num_retired: int = 0
    """Translated templates in whose place native ones of their subjects are."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which values a field of a template's metadata may have."""

    any_of: tuple[Scalar, ...] | None = None
    at_least: float | None = None
    at_most: float | None = None
    or_missing: bool = False
    """Whether a template without that field is meant too."""


Where = Mapping[str, Condition]
"""Templates that meet all conditions, by the names of fields."""


@dataclass(frozen=True, slots=True)
class Originals:
    """Features of one space as their encoder made them, which are to be translated."""

    space: Space
    features: FloatArray
    """(N, S)."""
    norm: FloatArray
    """(N,), NaN where it is not known."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some templates of a gallery, in order of enrolment, that a generation does not search yet."""

    parts: tuple[Originals, ...]
    """Of those that are not translated yet, by space."""
    num: int
    """Of all of them."""
    after: int
    next_after: int
    """Where the next one begins."""
    rows: Any
    """What the store itself knows of them."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of a chunk."""

    num: int
    """Templates that are searchable now."""
    num_missing: int
    """That are not, and will not be."""
    is_complete: bool
    """Whether the generation has caught up with the gallery."""
    num_translated: int = 0
    """Of all these, those that were translated for it now."""
    filled_to: int = field(default=0, compare=False)
    """Where the next chunk begins: some that came since may be in already."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some templates of a gallery; between two of one subject there are those of all others who have as many."""

    template_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    num_mated: int
    """The first so many are of subjects who have others too."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a gallery is not native."""

    num_native: int
    num_translated: int
    num_retired: int
    """Templates in whose place native ones are."""
    num_missing: int
    """Those that are not in the generation for other reasons."""
    templates: tuple[Template, ...]
    """Translated ones, those of least confidence first."""
    next_after: int | None
    """Where the next page begins."""


class GenerationStore(Protocol):
    """The generations of galleries beside the active ones. Calls block, as those of `GalleryStore` do."""

    def begin(
        self, name: str, space: Space, *, job: str, routes: Mapping[str, Sequence[str]], retires: bool = True
    ) -> Generation:
        """A generation beside the active one, in another space, to be filled; that of the same job, where it is there already.

        From here on what is enrolled must say what it is in this space. `routes` are told to who translates. With `retires`
        native templates take the place of translated ones of the same subject once the generation is or was active. Raises
        `NotFoundError`, `MigrationInProgressError` where another is being built, `SpaceMismatchError` where the active one is
        in that space.
        """

    def origins(self, name: str) -> Sequence[tuple[Space, int]]:
        """The spaces that templates of a gallery are of, and how many of each. Raises `NotFoundError`."""

    def chunk(self, name: str, generation: int, *, after: int | None = None, limit: int = 4096) -> Chunk:
        """The next templates that a generation does not search yet, or those from where another chunk ended; none where it is
        complete. Raises `NotFoundError`, `GenerationChangedError` where there is no such generation beside the active one,
        `DamagedError`.
        """

    def fill(self, name: str, generation: int, chunk: Chunk, made: Sequence[Translation | None]) -> Filled:
        """Record and make searchable what a chunk became, part by part, None where no route leads; what was removed meanwhile
        stays away. What is done already is done once: a chunk that is not the next raises `GenerationChangedError`.
        """

    def activate(
        self,
        name: str,
        generation: int,
        *,
        expected: int,
        keep_seconds: float,
        job: str | None = None,
        once: Once | None = None,
    ) -> Gallery:
        """Make a complete generation the active one, in one step; that before is kept beside it for so long.

        Raises `NotFoundError`; `GenerationChangedError` where the active one is not `expected`, or neither of the two is of the
        `job` that is given; `RollbackExpiredError` where
        there is no such generation any more; `JobStateError` where it is not complete.
        """

    def drop(self, name: str, generation: int) -> None:
        """Remove a generation that is not active, if it is there. Raises `NotFoundError` for the gallery."""

    def is_indexed(self, name: str, generation: int) -> bool:
        """Whether a generation is searched as it is going to be: no index of it is due. Raises as `chunk` does."""

    def num_missing(self, name: str, generation: int, *, after: int = 0) -> int:
        """Templates that came after the one of that number, are recorded and not in a generation, but for those that native ones
        have retired. Raises as `chunk` does.
        """

    def last_number(self, name: str) -> int:
        """The number of the template that came last, of those that are there, 0 where there are none; any that come are of higher
        ones. Raises `NotFoundError`.
        """

    def num_after(self, name: str, number: int) -> int:
        """Templates that came after the one of that number, and are there. Raises `NotFoundError`."""

    def look_again(self, name: str, generation: int, spaces: Sequence[Space]) -> int:
        """Take templates of some spaces for which no route was there when they came for such that are to be translated, in a
        generation that is not active; how many those are. If there are any it is behind from then on. Raises as `chunk` does.
        """

    def confidences(self, name: str, generation: int) -> FloatArray:
        """Of all translated templates of a generation that tell, in no order. Raises as `chunk` does."""

    def sample(self, name: str, num: int, seed: int) -> Sample:
        """At most `num` templates of the active generation drawn at random: one of each subject who has several there, then
        another one of each who has, three of one at most; and of those who have one, where there is room. Raises
        `NotFoundError`.
        """

    def features(self, name: str, generation: int, template_ids: Sequence[str]) -> FloatArray:
        """What templates are in a generation (N, D), NaN where they are not in it. Raises as `chunk` does, `DamagedError`."""

    def backlog(self, name: str, *, after: int = 0, limit: int = 100) -> Backlog:
        """The translated templates of the active generation, a page. Raises `NotFoundError`."""


class GalleryStore(Protocol):
    """Keeps galleries. What a call acknowledges by returning is durable where the adapter is.

    Where a write is given `once`, its answer is kept with what it did, both or neither; `answered` finds it again. Every write
    raises `StorageError` where it cannot be recorded, `ReadOnlyError` where nothing is recorded any more.
    """

    @property
    def generations(self) -> GenerationStore:
        """Those of its galleries."""

    def create(self, name: str, space: Space, *, index: IndexKind | None = None, once: Once | None = None) -> Gallery:
        """Make an empty gallery, searched by an index of a kind, or that of the setting. Raises `AlreadyExistsError`."""

    def get(self, name: str) -> Gallery:
        """Raises `NotFoundError`."""

    def list_galleries(self) -> list[Gallery]:
        """All galleries by name."""

    def drop(self, name: str, *, once: Once | None = None) -> None:
        """Remove a gallery with all its templates. Raises `NotFoundError`."""

    def enrol(
        self, name: str, templates: NewTemplates, *, replaces: bool = False, once: Once | None = None
    ) -> Enrolment:
        """Put in all of `templates` or none; with `replaces`, in place of those of the same keys.

        Raises `NotFoundError`; `SpaceMismatchError` where they were not made for the gallery's space, `GenerationChangedError`
        where they do not say what they are in that of another generation;
        `DimensionMismatchError` where features have not their space's dimension; `NonFiniteVectorError` and
        `InvalidInputError` for features that are not unit vectors, keys that come twice and metadata that may not be;
        `AlreadyExistsError` for keys that are taken. What is wrong with single rows is told by row.
        """

    def templates(self, name: str, *, after: int = 0, limit: int = 100, subject: str | None = None) -> TemplatePage:
        """A page of templates in order of enrolment, of one subject if asked. Raises `NotFoundError` for the gallery."""

    def template(self, name: str, template_id: str) -> Template:
        """Raises `NotFoundError`."""

    def count_with(self, name: str, fields: Sequence[str]) -> dict[str, int]:
        """How many templates of the gallery have each of these fields of metadata. Raises `NotFoundError`."""

    def remove_template(self, name: str, template_id: str, *, once: Once | None = None) -> None:
        """Raises `NotFoundError`."""

    def remove_subject(self, name: str, subject: str, *, once: Once | None = None) -> int:
        """Remove all templates of a subject and say how many there were. Raises `NotFoundError` when there are none."""

    def ensure_index(
        self, name: str, space: Space, projections: Mapping[str, Project], *, generation: int | None = None
    ) -> None:
        """Make the gallery searchable in `space` as well, with the templates enrolled now and those enrolled later; in its active
        generation or another.

        `projections`, by the fingerprint of the space that they start from, bring unit features (G, D) there: of a
        template its original feature, or where that has no projection its feature in the gallery's space. Nothing of it
        is recorded. Where the gallery has an index in that space already, it stays as it is. Raises `NotFoundError`;
        `SpaceMismatchError` where the gallery's own space has no projection; `EngineError` for a projection that
        gives no unit vectors, and, naming it, for a template that a projection finds no direction for.
        """

    def search(
        self,
        name: str,
        probes_BD: FloatArray,
        space: Space,
        top_k: int,
        *,
        by_origin: bool = False,
        where: Where | None = None,
        without: Sequence[str] = (),
        generation: int | None = None,
        without_ids: Sequence[str] = (),
        between: Callable[[], None] | None = None,
        density: Density | None = None,
    ) -> SearchResult:
        """The `top_k` (at least 1) most alike subjects for each probe, by their best template, from the highest score down; in
        the active generation or another.

        With `where`, among the templates that it means; never those of the keys `without`, nor those of the ids `without_ids`.
        With `by_origin`, as many of each origin of templates, one origin after the other: what is a high score for one may be a
        low one for another. A search that can wait gives `between`: it takes one core, calls that now and then, and
        ends by what that raises.

        With `density` a probe is as many rows as that says, one after the other, and its scores are `density_scores` of their
        cosines; of one row that is its cosine.

        Exact: scores are of float64 dot products and rounded to float32; equal scores are ordered by subject, and of one
        subject's templates with equal scores the first enrolled is named. Raises `NotFoundError`;
        `SpaceMismatchError` where the gallery is not in `space` (any more) and has no index there;
        `DimensionMismatchError`;
        `NonFiniteVectorError` and `InvalidInputError` for probes that are not unit vectors, and for a `density` that divides no
        rows into probes or has no `sigma`.
        """

    def erase(self, name: str, subjects: Sequence[str], *, once: Once | None = None) -> list[Erased]:
        """Take subjects out of the gallery, every generation, its snapshots and all that is kept of it, and look through the
        bytes of everything for what may be left. Who is not there is erased from snapshots all the same.

        Raises `NotFoundError` for the gallery; `StorageError` where something is left, or may be.
        """

    def take_snapshot(self, name: str, *, once: Once | None = None) -> Snapshot:
        """Keep a copy of all that is recorded of the gallery now. Raises `NotFoundError`."""

    def snapshots(self, name: str) -> list[Snapshot]:
        """Those of the gallery, the oldest first. Raises `NotFoundError` where there are neither snapshots nor the gallery."""

    def verify_snapshot(self, name: str, snapshot_id: str) -> Snapshot:
        """Read a snapshot through. Raises `NotFoundError`, `SnapshotCorruptError`."""

    def remove_snapshot(self, name: str, snapshot_id: str, *, once: Once | None = None) -> None:
        """Raises `NotFoundError`."""

    def restore(self, name: str, snapshot_id: str, *, once: Once | None = None) -> Gallery:
        """Make the gallery, also one that was dropped, what it was when a snapshot of it was taken, but for who was erased since.

        Raises `NotFoundError`, `SnapshotCorruptError`, `GenerationChangedError`.
        """

    def check(self, name: str) -> list[Check]:
        """Whether all that is kept of a gallery is as it was written and agrees. Raises `NotFoundError`."""

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """Of the request that calls itself so: the digest of what it asked, and what it was answered. None where it is new."""

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` where nothing is written any more."""

    def close(self) -> None:
        """Release files and memory; nothing may be called afterwards."""
