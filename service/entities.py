"""The nouns of the service: frozen values without behaviour of their own, known to every layer.

Shapes: B batch, D dimension of a gallery's space.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO
from models.picture import Landmarks
from models.space import Space

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked about: a feature, or a picture for the space's encoder. Exactly one of the two is set."""

    space: str
    """Name or fingerprint."""
    feature: npt.NDArray[np.floating[Any]] | None = None
    picture: bytes | None = None
    landmarks: Landmarks | None = None
    modality: str = PHOTO
    norm: float = math.nan
    """What is known of the feature's norm, where its own is one."""


@dataclass(frozen=True, slots=True)
class ProbeRows:
    """Features of one space that came as rows of one array."""

    space: str
    """Name or fingerprint."""
    features: npt.NDArray[np.floating[Any]]
    """(N, D)."""
    norm: FloatArray | None = None
    """What is known of the features' norms (N,), where their own are one."""
    modality: Sequence[str] | str = PHOTO

    def __len__(self) -> int:
        return len(self.features)

    @property
    def modalities(self) -> Sequence[str]:
        """Of each."""
        return [self.modality] * len(self) if isinstance(self.modality, str) else self.modality


@dataclass(frozen=True, slots=True)
class RouteStep:
    """One translator of a route."""

    bundle: str
    source: Space
    target: Space


@dataclass(frozen=True, slots=True)
class Route:
    """How features of two spaces become comparable: by translators from one to the other, none where they are the same.

    Or both are projected, and meet in a common space: then `target_step` is the other side's projection.
    """

    source: Space
    target: Space
    steps: tuple[RouteStep, ...] = ()
    target_step: RouteStep | None = None

    @property
    def space(self) -> Space:
        """Where they are compared."""
        return self.target_step.target if self.target_step else self.target

    @property
    def target_steps(self) -> tuple[RouteStep, ...]:
        """What the other side goes through."""
        return (self.target_step,) if self.target_step else ()

    @property
    def bundles(self) -> tuple[str, ...]:
        """The names of its translators, in order, the other side's last."""
        return tuple(step.bundle for step in (*self.steps, *self.target_steps))

    @property
    def sides(self) -> "tuple[Side, Side]":
        """How either feature came to where they are compared."""
        one, other = (tuple(step.bundle for step in steps) for steps in (self.steps, self.target_steps))
        return Side(self.source.fingerprint, one), Side(self.target.fingerprint, other)


@dataclass(frozen=True, slots=True)
class Side:
    """How a feature came to where it is compared: by which translators, none where its encoder made it there."""

    space: str
    """Fingerprint of the space of its encoder."""
    bundles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Density:
    """A probe is several features, of which any may be right, and a score how many of them lie about a template, and how close.

    Source: Weak-Strong GAN (AAAI 2019), Eq. 2 and 3; the scale is that of `models.parzen`.
    """

    num_samples: int
    """Features of one probe."""
    sigma: float
    """The width of a kernel."""


IndexKind = Literal["auto", "flat", "fp16", "sq8", "ivf", "hnsw"]
"""How a gallery is searched: `flat` is exact, the others look at less than everything; `auto` goes by size and memory."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """How a gallery is searched now."""

    asked: IndexKind
    kind: IndexKind
    recall: float
    """Share of the ten nearest templates that a search looks at, measured on templates of the gallery: 1 where it is exact."""
    num_indexed: int
    """Templates in the index; those that came after it are searched beside it."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the index is."""


@dataclass(frozen=True, slots=True)
class Generation:
    """A version of a gallery in one space, beside the active one: it is being built, or it was active and is kept."""

    number: int
    space: Space
    state: Literal["building", "kept"]
    is_complete: bool
    """Whether every template is searchable in it, or is known not to be: it may become the active one."""
    num_done: int
    """Templates that are, or are known not to be."""
    job: str | None = None
    """That builds it, or did."""
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By which translators templates come into it, by the fingerprint of the space that they are of."""
    kept_until: str | None = None


@dataclass(frozen=True, slots=True)
class Gallery:
    """Templates searchable in one space."""

    name: str
    space: Space
    generation: int
    num_templates: int
    num_subjects: int
    created_at: str
    index: IndexState
    beside: tuple[Generation, ...] = ()
    """Its other generations, which whatever is enrolled reaches as well."""
    job: str | None = None
    """That built the active generation."""
    restored_at: str | None = field(default=None, compare=False)
    """When it was last put back from a snapshot."""

    def generation_beside(self, number: int | None) -> Generation | None:
        """The one of that number, where it is not the active one and is there."""
        return next((one for one in self.beside if one.number == number), None)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that was recorded of a gallery at one moment, kept beside it."""

    snapshot_id: str
    gallery: str
    generation: int
    taken_at: str
    num_templates: int
    num_subjects: int
    sha256: str
    """Of its rows."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What became of a subject who was erased, and where nothing was left."""

    subject: str
    num_templates: int
    """That were in the gallery."""
    num_generations: int
    num_snapshots: int
    """Out of which somebody was taken."""
    num_files: int
    num_bytes: int
    """That were looked through for pieces of vectors: none was found."""


@dataclass(frozen=True, slots=True)
class Check:
    """Something that was looked at, and whether it is as it should be."""

    what: str
    is_sound: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told to whoever asked, kept for when the request comes again."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Once:
    """A request that has a name of its own, so that it is carried out once however often it comes."""

    key: bytes
    """SHA-256 of that name."""
    digest: bytes
    """SHA-256 of what it asks."""
    answer: Callable[[Any], Answer]
    """To what the call gives."""

    def through(self, step: Callable[[Any], Any]) -> "Once":
        """The same, for a call of whose outcome `step` makes what the answer is made of."""
        return replace(self, answer=lambda outcome: self.answer(step(outcome)))


Scalar = str | int | float | bool
Metadata = Mapping[str, Scalar]
"""What else is known of a template, field by field."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What templates of one space became in another."""

    features: FloatArray
    """(G, D), of length one; NaN where a template has no direction there."""
    route: tuple[str, ...] = ()
    """The translators; none for native templates."""
    confidence: FloatArray | None = None
    """In the translation, (G,), NaN where it is not told."""


@dataclass(frozen=True, slots=True)
class NewTemplates:
    """Templates to enrol, all of one space and by one route, in columns of G rows."""

    subjects: Sequence[str]
    originals: FloatArray
    """(G, D of the original space), of length one."""
    original_space: Space
    features: FloatArray
    """(G, D of `space`), of length one; the originals themselves where these are native."""
    space: Space
    """The space for which `features` were made: the gallery's."""
    route: tuple[str, ...] = ()
    """The translators that made `features` from `originals`; empty for native templates."""
    confidence: FloatArray | None = None
    """In the translation, (G,), NaN where it is not told."""
    norm: FloatArray | None = None
    """Of the originals as their encoder put them out, (G,), NaN where it is not known."""
    keys: Sequence[str | None] | None = None
    """The sender's own names of them, each once in a gallery."""
    metadata: Sequence[Metadata | None] | None = None
    provenance: Sequence[Metadata] | None = None
    """How they came here."""
    elsewhere: Mapping[str, Translation | None] = field(default_factory=dict)
    """What they are in the spaces of other generations, by fingerprint; None where no route leads there."""

    def __len__(self) -> int:
        return len(self.subjects)

    @property
    def side(self) -> Side:
        """How they came into the gallery's space."""
        return Side(self.original_space.fingerprint, self.route)


@dataclass(frozen=True, slots=True)
class Template:
    """What is told about an enrolled template; never its vector."""

    template_id: str
    subject: str
    space: str
    """Fingerprint of the space of the original feature."""
    route: tuple[str, ...]
    enrolled_at: str
    confidence: float | None = None
    """In the translation; None for a native template, and where it is not told."""
    norm: float | None = None
    key: str | None = None
    metadata: Metadata = field(default_factory=dict)
    provenance: Metadata = field(default_factory=dict)
    is_searchable: bool = True
    """In the active generation: not where no route leads into its space, or a native template of the subject has retired it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A subject that a probe may be of, with its best template. `score` is the cosine, or the density on its scale; higher is
    more alike.
    """

    subject: str
    score: float
    template_id: str
    origin: Side
    """How the template came into the gallery's space."""


JobState = Literal[
    "queued", "running", "paused", "verifying", "ready", "cut-over", "rolled-back", "failed", "cancelled"
]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that outlives its request: the migration of a gallery."""

    job_id: str
    gallery: str
    state: JobState
    asked: Mapping[str, Any]
    """JSON values."""
    found: Mapping[str, Any]
    """What it came to, JSON values."""
    reason: str
    """Why it is in its state, where that is not plain."""
    created_at: str
    updated_at: str
    version: int
    """Counts changes."""
