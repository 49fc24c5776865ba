"""A probe on the wire: a feature, as numbers or base64 of little-endian float32, or a picture in base64."""

import base64
import binascii
from dataclasses import replace
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from models.calibration import MODALITY_PATTERN, PHOTO
from service.api.problems import UNION_TAGS, Problem, ProblemError
from service.entities import Probe
from service.galleries.rules import KEY_PATTERN, SUBJECT_PATTERN

STRICT = ConfigDict(extra="forbid", strict=True)
MAX_NUMBERS = 65_536

SpaceReference = Annotated[
    str,
    Field(min_length=1, max_length=64, description="a space, by name or fingerprint", examples=["mobilefacenet-128"]),
]
# Lists fail at their first fault: a body of a million faults would cost seconds to list them.
Numbers = Annotated[list[float], Field(min_length=1, max_length=MAX_NUMBERS, fail_fast=True)]
Base64 = Annotated[str, Field(min_length=1, description="base64 of little-endian float32")]
Point = Annotated[list[float], Field(min_length=2, max_length=2)]
Subject = Annotated[str, Field(pattern=SUBJECT_PATTERN, description="who it is; 1 to 128 printable characters")]
TemplateKey = Annotated[
    str,
    Field(
        pattern=KEY_PATTERN,
        description="the sender's own name of a template, once in a gallery; a PUT replaces the template of the same key",
    ),
]
Modality = Annotated[
    str,
    Field(
        pattern=rf"^{MODALITY_PATTERN}$",
        description="what it is: thresholds are measured for each",
        examples=["sketch"],
    ),
]
GalleryName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$", examples=["people"])]


def numbers_or_base64() -> Discriminator:
    """Tells the two ways to write vectors apart, so that faults are named in the way that was meant."""
    numbers, text = UNION_TAGS
    return Discriminator(
        lambda value: numbers if isinstance(value, list) else text if isinstance(value, str) else None,
        custom_error_type="numbers_or_base64",
        custom_error_message="Input should be numbers, or base64 of little-endian float32",
    )


Feature = Annotated[Annotated[Numbers, Tag(UNION_TAGS[0])] | Annotated[Base64, Tag(UNION_TAGS[1])], numbers_or_base64()]


Image = Annotated[
    str, Field(min_length=1, description="base64 of a JPEG, PNG, WebP or BMP: an aligned crop, or with landmarks")
]
Landmarks = Annotated[
    list[Point],
    Field(min_length=5, max_length=5, description="x, y of left eye, right eye, nose tip, mouth corners, in pixels"),
]


class Sample(BaseModel):
    """A feature or a picture of a face: exactly one of the two."""

    model_config = STRICT

    feature: Feature | None = None
    image: Image | None = None
    landmarks: Landmarks | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.feature is None) == (self.image is None):
            raise ValueError("give either a feature or an image")
        if self.landmarks is not None and self.image is None:
            raise ValueError("landmarks belong to an image")
        return self

    def probe(self, space: str, pointer: str) -> Probe:
        """The probe, of `space`. Raises `Problem` naming `pointer` where base64 is broken."""
        if self.image is not None:
            landmarks = [(x, y) for x, y in self.landmarks] if self.landmarks is not None else None
            return Probe(space, picture=decode_base64(self.image, f"{pointer}/image"), landmarks=landmarks)
        assert self.feature is not None
        return Probe(space, feature=vector(self.feature, f"{pointer}/feature"))


class ProbeBody(Sample):
    """A sample with its space."""

    space: SpaceReference


class ComparedProbe(ProbeBody):
    """What is compared, with what it is: thresholds are measured for each modality."""

    modality: Modality = PHOTO

    def asked(self, pointer: str) -> Probe:
        """The probe. Raises `Problem` naming `pointer` where base64 is broken."""
        return replace(self.probe(self.space, pointer), modality=self.modality)


def vector(feature: list[float] | str, pointer: str) -> npt.NDArray[Any]:
    """Numbers or base64 as one vector (D,)."""
    if isinstance(feature, str):
        data = decode_base64(feature, pointer)
        if len(data) % 4:
            raise _fault(pointer, "must hold whole float32 numbers")
        return np.frombuffer(data, dtype="<f4")
    return np.array(feature, dtype=np.float64)


def decode_base64(text: str, pointer: str) -> bytes:
    """The bytes. Raises `Problem` naming `pointer`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _fault(pointer, "must be base64 (RFC 4648, with padding)") from None


def _fault(pointer: str, reason: str) -> Problem:
    return Problem(422, "invalid-request", "the request has 1 fault(s)", [ProblemError(pointer=pointer, reason=reason)])
