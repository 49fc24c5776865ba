"""What a service answers of spaces and faces, typed; fields that a newer service adds are left out.

What is one of few words is text here, so that a newer service may say another. Shapes: N rows, T dimension of a target space.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

Document = Mapping[str, Any]
"""JSON as it is."""


class Answer(BaseModel):
    """Of a service; it does not change."""

    model_config = ConfigDict(extra="ignore", frozen=True, arbitrary_types_allowed=True)


class Space(Answer):
    """What one exact encoder puts out."""

    name: str
    fingerprint: str
    dimension: int
    metric: str


class Arriving(Answer):
    """Whether what arrives under the name of a space looks like its features."""

    state: str
    """`unknown` until enough has arrived, `usual` or `suspected`."""
    reason: str
    num_seen: int
    outlier_share: float
    """Of the last 200 features, those like hardly any of the space."""
    num_faces: int
    """Different ones among the last that are judged together."""
    stream_score: float | None
    """How far these are off together, over what hardly any are; null with too few."""


class ListedSpace(Space):
    """A space with what can be done in it."""

    encoder: str | None
    """The bundle that makes features of this space from pictures."""
    arriving: Arriving | None
    """Null where no bundle knows what its features look like."""


class Route(Answer):
    """The translators from one space to another, in order; none where they are the same."""

    source: Space
    target: Space
    bundles: tuple[str, ...]
    common_space: Space | None
    """That both are projected into instead, where they are; then the bundles are those of both projections."""


class ListedRoute(Route):
    """A route with what was measured of it."""

    quality: float | None
    """Product of mean cosines; null for ways of one modality."""
    false_match_rates: tuple[float, ...]
    """With a known threshold."""
    modality: str | None
    """Of the pictures that go this way alone; null for ways of photos, and of all that have none of their own."""


class ConfidenceMeaning(Answer):
    """What the confidence in a translation says."""

    meaning: str
    """`tar`: the share of genuine comparisons that was found at the false-match rate `fmr`; `cosine`: the mean cosine with the
    native feature."""
    fmr: float | None
    uses_norms: bool
    """Whether it tells more of features that are sent as their encoder put them out, not made of length one."""


class Sampling(Answer):
    """With how many samples a probe is asked about where a request does not say it, and how wide their kernels are."""

    samples: int
    sigma: float


class Drawn(Sampling):
    """As what probes were asked about by a sampler."""

    seed: int


class AttributeErrors(Answer):
    """A class or attribute, and the errors that a filter by it can state."""

    name: str
    has: tuple[float, ...]
    """Of those who are meant where it is asked for."""
    lacks: tuple[float, ...]
    """Where it is asked for those who do not show it."""


class Tells(Answer):
    """What a bundle tells of a picture."""

    label: str | None
    """What the classes are called together."""
    classes: tuple[AttributeErrors, ...]
    attributes: tuple[AttributeErrors, ...]


class Bundle(Answer):
    """A loaded bundle and the device it runs on."""

    name: str
    kind: str
    method: str
    source: Space | None
    target: Space
    device: str
    digest: str
    licence: str
    confidence: ConfidenceMeaning | None
    """Of a translator that tells how far its translations can be trusted."""
    modality: str | None
    """Of the pictures that it is for, where these are not all."""
    sampling: Sampling | None
    """Of a sampler."""
    num_people: int | None
    """Whom a classifier knows."""
    tells: Tells | None
    """Of a bundle that tells attributes."""


class Rejected(Answer):
    """A folder that was not loaded, and why."""

    folder: str
    reason: str


class Bundles(Answer):
    """Everything that was found in the folder of bundles."""

    bundles: tuple[Bundle, ...]
    rejected: tuple[Rejected, ...]


class Translated(Answer):
    """Features in another space, as they came in `.npy`."""

    features: npt.NDArray[np.float32]
    """(N, T), of length one."""
    route: tuple[str, ...]
    """The translators."""
    flagged: tuple[int, ...] = ()
    """Rows that can be trusted less, the first hundred, where `trust` was asked for."""
    num_flagged: int = 0
    """All of them."""


class TranslatedWithConfidence(Answer):
    """Features in another space, and how far each can be trusted."""

    features: npt.NDArray[np.float32]
    """(N, T), of length one."""
    route: Route
    confidence: npt.NDArray[np.float32] | None
    """(N,), in [0, 1], NaN where it is not known; None where nothing was translated or the translator does not tell."""
    flagged: tuple[int, ...]
    """Rows whose confidence is below what was asked for."""


class Trusted(Answer):
    """How far the translation of one probe can be trusted."""

    confidence: float | None
    """In [0, 1]; null where nothing was translated, nothing tells, or the picture is no photo."""
    flagged: bool
    """Whether it is below what was asked for."""


class Verified(Trusted):
    """Two probes, compared."""

    score: float
    """The cosine in the space of comparison."""
    decision: str | None
    """`match` or `non-match`, where a rate was asked for."""
    threshold: float | None
    fmr: float | None
    """Of the threshold: as asked for, or as much lower as a measured one may be."""
    fnmr: float | None
    """The measured share of genuine pairs below the threshold."""
    score_fmr: float | None
    """The share of strangers that reaches the score, at most; null where that was not measured."""
    log10_likelihood_ratio: float | None
    """How many times as likely the score is where both are of one person as where they are of two, its logarithm."""
    route: Route
    sampling: Drawn | None
    """Null where both are one feature."""


class Probable(Answer):
    """A class or attribute, and how probable it is."""

    name: str
    probability: float


class Told(Answer):
    """What a picture shows. The classes exclude each other, and their probabilities sum to one."""

    bundle: str
    digest: str
    """Of the bundle."""
    label: str | None
    """What the classes are called together; null where there are none."""
    classes: tuple[Probable, ...]
    """The most probable first."""
    attributes: tuple[Probable, ...]


class UsedCondition(Answer):
    """A condition of a filter as it was used."""

    name: str
    has: bool | None
    """Who shows it is meant, or who does not; null where the probe's picture did not show it clearly: then nobody is left out."""
    threshold: float | None
    """On the probability."""
    error: float
    """At most this share of those who are meant is left out."""
    passed: float | None
    """The measured share of those who are not meant, and are let through all the same."""
    num_told: int
    """Templates of the gallery of whose pictures it was told: no other is left out."""


class UsedFilter(Answer):
    """How templates were left out."""

    bundle: str
    digest: str
    conditions: tuple[UsedCondition, ...]


class UsedPoint(Answer):
    """A threshold that was used: of probes of a modality, and templates that came into the gallery by `bundles`."""

    bundles: tuple[str, ...]
    modality: str
    threshold: float
    fmr: float
    """Of a comparison at this threshold."""
    fnmr: float
    """The measured share of genuine pairs below it."""


class Candidate(Answer):
    """A subject that a probe may be of."""

    rank: int
    subject: str
    score: float
    """The cosine of its best template, or the density of a sampled probe there."""
    template_id: str
    threshold: float | None
    """That it reached, where a rate was asked for."""
    score_fmr: float | None
    """The share of strangers that reaches the score, at most; null where that was not measured."""
    log10_likelihood_ratio: float | None
    """How many times as likely the score is where both are of one person as where they are of two, its logarithm."""


class Search(Answer):
    """Where was looked, and what was decided by."""

    gallery: str
    generation: int
    num_templates: int
    route: Route
    """Of the probes."""
    fmr: float | None
    """The false-match rate of a comparison that was asked for, or follows from the FPIR."""
    fpir: float | None
    """The share of searches, of people who are not in the gallery, that finds somebody: asked for, or by the FMR."""
    operating_points: tuple[UsedPoint, ...]
    sampling: Drawn | None
    """Null where each probe is one feature."""
    filter: UsedFilter | None
    """Null where that was not asked."""


class Found(Trusted):
    """Of one probe of several."""

    image: str | None = None
    """Its key where it came in a feature set."""
    decision: str | None
    """`match` or `nobody`, where a rate was asked for."""
    candidates: tuple[Candidate, ...]


class SearchedMany(Search):
    """Of each of many probes, in their order."""

    results: tuple[Found, ...]


class Identified(Search, Found):
    """Whom a probe may be of, the most alike first."""

    attributes: Told | None = None
    """Of the probe's picture; null where that was not asked."""


class KnownPerson(Answer):
    """One of the people whom a classifier knows."""

    rank: int
    subject: str
    probability: float
    """Among these people: a stranger's picture is somebody's too."""


class IdentifiedClosedSet(Answer):
    """The most probable of the people whom a classifier knows."""

    mode: str
    bundle: str
    digest: str
    """Of the bundle, which names this exact classifier."""
    num_people: int
    """Whom it knows; their probabilities sum to one."""
    candidates: tuple[KnownPerson, ...]
