"""Spaces, routes and bundles on the wire."""

from typing import Literal, Self

from pydantic import BaseModel

from models.attributes import Attribute, AttributeTable
from models.space import Space
from service.entities import Route


class SpaceView(BaseModel):
    """A space."""

    name: str
    fingerprint: str
    dimension: int
    metric: str

    @classmethod
    def of(cls, space: Space) -> Self:
        """The view of a space."""
        return cls(name=space.name, fingerprint=space.fingerprint, dimension=space.dimension, metric=space.metric)


class ListedSpace(SpaceView):
    """A space with what can be done in it."""

    encoder: str | None
    """The bundle that makes features of this space from pictures."""
    arriving: "ArrivingView | None"
    """What is thought of features that arrive under its name; null where no bundle knows what they look like."""


class ArrivingView(BaseModel):
    """Whether what arrives under the name of a space looks like its features."""

    state: Literal["unknown", "usual", "suspected"]
    """Unknown until enough has arrived."""
    reason: str
    num_seen: int
    outlier_share: float
    """Of the last 200 features, those like hardly any of the space."""
    num_faces: int
    """Different ones among the last that are judged together."""
    stream_score: float | None
    """How far these are off together, over what hardly any are; null with too few."""


class RouteView(BaseModel):
    """The translators from one space to another, in order; none where they are the same.

    Where both are projected into a common space instead, that space, and the bundles of both projections.
    """

    source: SpaceView
    target: SpaceView
    bundles: list[str]
    common_space: SpaceView | None

    @classmethod
    def of(cls, route: Route) -> Self:
        """The view of a route."""
        return cls(
            source=SpaceView.of(route.source),
            target=SpaceView.of(route.target),
            bundles=list(route.bundles),
            common_space=SpaceView.of(route.space) if route.target_step else None,
        )


class ListedRoute(RouteView):
    """A route with its measured quality (product of mean cosines) and the false-match rates with a known threshold."""

    quality: float | None
    """Null for ways of one modality: what they make of a picture is to be found by, and not to be like another of it."""
    false_match_rates: list[float]
    modality: str | None
    """Of the pictures that go this way alone; null for ways of photos, and of all that have none of their own."""


class ConfidenceView(BaseModel):
    """What the confidence in a translation says."""

    meaning: Literal["tar", "cosine"]
    """`tar`: of faces that looked alike to the translator, the share of genuine comparisons that was found at the false-match
    rate `fmr`; `cosine`: their mean cosine with the native feature of the same picture."""
    fmr: float | None
    uses_norms: bool
    """Whether it tells more of features that are sent as their encoder put them out, not made of length one."""


class SamplingView(BaseModel):
    """With how many samples a probe is asked about where a request does not say it, and how wide their kernels are."""

    samples: int
    sigma: float


class AttributeView(BaseModel):
    """A class or attribute, and the errors that a filter by it can state."""

    name: str
    has: list[float]
    """Of those who are meant where it is asked for."""
    lacks: list[float]
    """Where it is asked for those who do not show it."""

    @classmethod
    def of(cls, one: Attribute) -> Self:
        """The view."""
        has, lacks = ([cut.error for cut in cuts] for cuts in (one.has, one.lacks))
        return cls(name=one.name, has=has, lacks=lacks)


class TellsView(BaseModel):
    """What a bundle tells of a picture."""

    label: str | None
    """What the classes are called together."""
    classes: list[AttributeView]
    attributes: list[AttributeView]

    @classmethod
    def of(cls, table: AttributeTable) -> Self:
        """The view."""
        classes, attributes = ([AttributeView.of(one) for one in some] for some in (table.classes, table.attributes))
        return cls(label=table.label or None, classes=classes, attributes=attributes)


class BundleView(BaseModel):
    """A loaded bundle and the device it runs on."""

    name: str
    kind: str
    method: str
    source: SpaceView | None
    target: SpaceView
    device: str
    digest: str
    licence: str
    confidence: ConfidenceView | None
    """Of a translator that tells how far its translations can be trusted."""
    modality: str | None
    """Of the pictures that it is for, where these are not all."""
    sampling: SamplingView | None
    """Of a sampler."""
    num_people: int | None
    """Whom a classifier knows."""
    tells: TellsView | None
    """Of a bundle that tells attributes."""


class RejectedView(BaseModel):
    """A folder that was not loaded, and why."""

    folder: str
    reason: str


class BundleList(BaseModel):
    """Everything that was found in the folder of bundles."""

    bundles: list[BundleView]
    rejected: list[RejectedView]
