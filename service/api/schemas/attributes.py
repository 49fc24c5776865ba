"""What pictures show, on the wire: told of one, kept with templates, and searched by."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from models.attributes import NAME_PATTERN
from models.calibration import PHOTO
from service.api.schemas.probes import STRICT, GalleryName, Image, Landmarks, Modality, decode_base64
from service.inference.engine import Picture
from service.usecases.attributes import Filter, Filtered, Told, UsedCondition

_MAX_NAMES = 64

AttributeName = Annotated[str, Field(pattern=NAME_PATTERN, examples=["eyeglasses"])]
Names = Annotated[list[AttributeName], Field(min_length=1, max_length=_MAX_NAMES)]
BundleName = Annotated[
    GalleryName | None, Field(description="that tells them, where several are loaded", examples=["faces-attributes"])
]


class TellBody(BaseModel):
    """By which bundle it is told what a picture shows."""

    model_config = STRICT

    bundle: BundleName = None


class KeepBody(TellBody):
    """Which of it is kept with the templates that are enrolled from pictures."""

    names: Annotated[Names | None, Field(description="of classes and attributes; all where none are named")] = None


class AttributesRequest(TellBody):
    """A picture of a face."""

    image: Image
    landmarks: Landmarks | None = None
    modality: Modality = PHOTO

    @property
    def picture(self) -> Picture:
        """The picture. Raises `Problem`."""
        landmarks = [(x, y) for x, y in self.landmarks] if self.landmarks is not None else None
        return Picture(decode_base64(self.image, "/image"), landmarks)


class FilterBody(TellBody):
    """Leaves templates out by what was told of their pictures at enrolment; those of which nothing was told are let through."""

    error: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="of each condition: the share of those who are meant that it may leave out; the largest measured one "
            "that is not above it is used",
            examples=[0.05],
        ),
    ]
    has: Annotated[Names | None, Field(description="whose pictures show this")] = None
    lacks: Annotated[Names | None, Field(description="whose pictures do not show this")] = None
    alike: Annotated[
        Names | None, Field(description="whose pictures show this or do not, as the probe's does, where that is clear")
    ] = None

    @model_validator(mode="after")
    def _a_name(self) -> Self:
        if not (self.has or self.lacks or self.alike):
            raise ValueError("give has, lacks or alike")
        return self

    @property
    def asked(self) -> Filter:
        """As the use case takes it."""
        has, lacks, alike = (tuple(one or ()) for one in (self.has, self.lacks, self.alike))
        return Filter(self.error, has, lacks, alike, self.bundle)


class ProbableView(BaseModel):
    """A class or attribute, and how probable it is."""

    name: str
    probability: float


class ToldView(BaseModel):
    """What a picture shows. The classes exclude each other, and their probabilities sum to one."""

    bundle: str
    digest: str
    """Of the bundle."""
    label: str | None
    """What the classes are called together; null where there are none."""
    classes: list[ProbableView]
    """The most probable first."""
    attributes: list[ProbableView]

    @classmethod
    def of(cls, told: Told) -> Self:
        """The view."""
        classes, attributes = (
            [ProbableView(name=one.name, probability=told.probability(one.name)) for one in some]
            for some in (told.table.classes, told.table.attributes)
        )
        return cls(
            bundle=told.bundle,
            digest=told.digest,
            label=told.table.label or None,
            classes=sorted(classes, key=lambda one: -one.probability),
            attributes=attributes,
        )


class ConditionView(BaseModel):
    """A condition as it was used."""

    name: str
    has: bool | None
    """Who shows it is meant, or who does not; null where the probe's picture did not show it clearly: then nobody is left out."""
    threshold: float | None
    """On the probability."""
    error: float
    """At most this share of those who are meant is left out, those who meet this condition. Of `alike` over all probes of whom
    the same is true, whatever this one shows."""
    passed: float | None
    """The measured share of those who are not meant, and are let through all the same."""
    num_told: int
    """Templates of the gallery of whose pictures it was told: no other is left out."""

    @classmethod
    def of(cls, used: UsedCondition) -> Self:
        """The view."""
        cut = used.cut
        return cls(
            name=used.name,
            has=used.has,
            threshold=cut.threshold if cut else None,
            error=used.error,
            passed=cut.passed if cut else None,
            num_told=used.num_told,
        )


class FilterView(BaseModel):
    """How templates were left out.

    Errors are those of people who were kept apart when the bundle was trained, in the mean over the people that they may be
    measured on. Of those who meet several conditions nothing is said; and what somebody shows on one picture need not be what
    they show on another.
    """

    bundle: str
    digest: str
    conditions: list[ConditionView]

    @classmethod
    def of(cls, filtered: Filtered | None) -> Self | None:
        """The view; null where nothing was filtered."""
        if filtered is None:
            return None
        return cls(
            bundle=filtered.bundle,
            digest=filtered.digest,
            conditions=[ConditionView.of(one) for one in filtered.conditions],
        )


class KeptView(BaseModel):
    """What was told of pictures and kept with their templates."""

    digest: str
    """Of the bundle."""
    num_told: int
    """Templates: those that were sent as pictures."""
