"""What one picture adds to a person: pose, light, expression, what is worn, what hides, and the camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.data.synthetic.action_units import draw_units
from training.data.synthetic.attributes import WORN
from training.data.synthetic.canvas import Colour
from training.data.synthetic.person import Person

_MOST_TURNED = 0.55


@dataclass(frozen=True, slots=True)
class Light:
    """One lamp and the light from everywhere; angles in radians, to the viewer's right and upwards."""

    azimuth: float
    elevation: float
    ambient: float
    """Share of the light that comes from everywhere."""
    colour: Colour
    exposure: float


@dataclass(frozen=True, slots=True)
class Camera:
    """What the camera does to what it sees."""

    blur: float
    """Deviation of a Gaussian, in pixels."""
    noise: float
    """Deviation, of full white 1."""
    contrast: float
    quality: int
    """Of JPEG."""


@dataclass(frozen=True, slots=True)
class Occlusion:
    """A thing before the face: a bar across it or a blob, at a place in face units."""

    u: float
    v: float
    size: float
    angle: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Conditions:
    """Everything about a picture that is not the person."""

    expression: str
    units: Mapping[int, float]
    worn: Mapping[str, bool]
    yaw: float
    pitch: float
    aligned_error_52: npt.NDArray[np.float64]
    gaze: tuple[float, float]
    light: Light
    camera: Camera
    background: tuple[Colour, Colour]
    clothes: Colour
    occlusion: Occlusion
    hair_change: float
    """Hair grows and is cut between pictures: added to its length, in face units."""
    seed: int
    """Of grain and texture."""


def draw_conditions(person: Person, expressions: Sequence[str], random: np.random.Generator) -> Conditions:
    """Conditions of an everyday photo."""
    expression = str(random.choice(expressions))
    yaw, pitch = _turned(random, 0.22), _turned(random, 0.13)
    return Conditions(
        expression=expression,
        units=draw_units(expression, random),
        worn={name: bool(random.random() < person.habits[name]) for name in WORN},
        yaw=yaw,
        pitch=pitch,
        aligned_error_52=random.normal(0.0, 0.9, (5, 2)),
        gaze=(float(random.normal(0.0, 0.025)), float(random.normal(0.0, 0.012))),
        light=_draw_light(random),
        camera=Camera(
            blur=float(random.gamma(2.0, 0.28)),
            noise=float(random.gamma(2.0, 0.009)),
            contrast=float(random.normal(1.0, 0.1)),
            quality=int(random.integers(55, 96)),
        ),
        background=(_draw_colour(random), _draw_colour(random)),
        clothes=_draw_colour(random),
        occlusion=_draw_occlusion(random),
        hair_change=float(random.normal(0.0, 0.12)),
        seed=int(random.integers(2**31)),
    )


def _turned(random: np.random.Generator, deviation: float) -> float:
    return float(np.clip(random.normal(0.0, deviation), -_MOST_TURNED, _MOST_TURNED))


def _draw_light(random: np.random.Generator) -> Light:
    warm = float(random.normal(0.0, 0.07))
    return Light(
        azimuth=float(random.normal(0.0, 0.75)),
        elevation=float(random.normal(0.5, 0.3)),
        ambient=float(random.uniform(0.35, 0.8)),
        colour=(1.0 + warm, 1.0, 1.0 - warm),
        exposure=float(np.exp(random.normal(0.0, 0.17))),
    )


def _draw_colour(random: np.random.Generator) -> Colour:
    bright, tint = random.uniform(0.12, 0.9), random.normal(0.0, 0.09, 3)
    red, green, blue = np.clip(bright + tint, 0.02, 0.98).tolist()
    return (red, green, blue)


def _draw_occlusion(random: np.random.Generator) -> Occlusion:
    return Occlusion(
        u=float(random.uniform(-0.8, 0.8)),
        v=float(random.uniform(0.2, 1.3)),
        size=float(random.uniform(0.16, 0.34)),
        angle=float(random.uniform(-1.2, 1.2)),
        colour=_draw_colour(random),
    )
