"""What is asked about, and how: features, pictures of faces, and what a request says of them. Shapes: S dimension of a space."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.floating[Any]]
Scalar = str | int | float | bool
Condition = Scalar | Sequence[Scalar] | Mapping[str, float]
Where = Mapping[str, Condition]
"""Of metadata by the field's name: a value, one of several, or a range `{"at_least": 2020, "at_most": 2024}` of numbers."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a face, in place of its feature: the service makes that, by the encoder of the space that is named with it."""

    data: bytes
    """JPEG, PNG, WebP or BMP: an aligned crop, or with landmarks."""
    landmarks: Sequence[Sequence[float]] | Rows | None = None
    """(5, 2): x, y of left eye, right eye, nose tip and both mouth corners, in pixels."""


Sample = Rows | Picture
"""A feature (S,), or a picture."""


@dataclass(frozen=True, slots=True)
class Trust:
    """What becomes of translations of low confidence, beside what the service's setting says: both hold."""

    on_low: Literal["pass", "flag", "refuse"] = "flag"
    min_confidence: float | None = None
    """In [0, 1]; the setting's where there is none."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Leaves templates out by what was told of their pictures at enrolment; give `has`, `lacks` or `alike`."""

    error: float
    """Of each condition: the share, in (0, 1), of those who are meant that it may leave out."""
    has: Sequence[str] = ()
    """Classes and attributes that their pictures show."""
    lacks: Sequence[str] = ()
    alike: Sequence[str] = ()
    """Which they show or do not, as the probe's picture does, where that is clear."""
    bundle: str | None = None
    """By which it was told, where several are loaded."""


@dataclass(frozen=True, slots=True)
class TellAttributes:
    """That it is told what the probe's picture shows, too."""

    bundle: str | None = None
    """That tells it, where several are loaded."""


@dataclass(frozen=True, slots=True)
class KeepAttributes:
    """That what is told of pictures is kept with their templates, for searches with a filter."""

    names: Sequence[str] | None = None
    """Of classes and attributes; all where none are named."""
    bundle: str | None = None
    """That tells it, where several are loaded."""


def sample_json(sample: Sample) -> dict[str, Any]:
    """As the service reads it."""
    if isinstance(sample, Picture):
        return picture_json(sample)
    return {"feature": float32(sample).tolist()}


def picture_json(picture: Picture) -> dict[str, Any]:
    """As the service reads it: base64, and landmarks where there are some."""
    body: dict[str, Any] = {"image": base64.b64encode(picture.data).decode()}
    if picture.landmarks is not None:
        body["landmarks"] = [[float(x), float(y)] for x, y in picture.landmarks]
    return body


def probe_json(sample: Sample, space: str, modality: str | None = None) -> dict[str, Any]:
    """A sample with its space, and what it is."""
    return given({"space": space, **sample_json(sample), "modality": modality})


def trust_json(trust: Trust | None) -> dict[str, Any]:
    """As a body and a query say it; nothing where nothing is asked."""
    return {} if trust is None else given({"on_low": trust.on_low, "min_confidence": trust.min_confidence})


def filter_json(asked: Filter | None) -> dict[str, Any] | None:
    """As the service reads it."""
    if asked is None:
        return None
    names = {"has": list(asked.has), "lacks": list(asked.lacks), "alike": list(asked.alike)}
    some = {name: value for name, value in names.items() if value}
    return given({"error": asked.error, "bundle": asked.bundle, **some})


def tell_json(asked: TellAttributes | KeepAttributes | None) -> dict[str, Any] | None:
    """As the service reads it: an empty object asks too."""
    if asked is None:
        return None
    names = asked.names if isinstance(asked, KeepAttributes) else None
    return given({"bundle": asked.bundle, "names": None if names is None else list(names)})


def float32(rows: Rows) -> npt.NDArray[np.float32]:
    """As they are sent."""
    return np.ascontiguousarray(rows, dtype=np.float32)


def given(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of it; the service knows what holds where nothing is."""
    return {name: value for name, value in body.items() if value is not None}
