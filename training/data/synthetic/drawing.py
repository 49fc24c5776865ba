"""Drawings of a person: sketches that lose and shift what they show, and caricatures that exaggerate it.

Both are of another occasion than any photo: they have conditions of their own. K traits; H W picture.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.data.synthetic.canvas import FloatArray
from training.data.synthetic.conditions import Conditions, Light
from training.data.synthetic.person import Person
from training.data.synthetic.photo import blurred, paint_scene, to_bytes
from training.data.synthetic.traits import GROUPS, IS_SHAPE, Latent, traits_of

REMEMBERED = 0.6
"""Correlation of a sketch's traits with the person's. Two people a sketch cannot tell apart are no rarity: see
`tests/numerics/test_synthetic_world.py`."""
_COLOUR_REMEMBERED = 0.3
"""Of traits that are no shape; of these a pencil shows age, beards, and how light hair, brows and eyes are."""
_EXAGGERATION = (1.5, 3.4)
"""Least and most that a caricature multiplies a group of traits by."""
_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_WHITE = (0.97, 0.97, 0.97)


@dataclass(frozen=True, slots=True)
class Drawing:
    """Pixels (H, W, 3) of 0..255, and what the artist made of the conditions and the five points (in pixels)."""

    pixels: npt.NDArray[np.uint8]
    conditions: Conditions
    points: list[tuple[float, float]]


def sketched_latent(latent_K: Latent, random: np.random.Generator) -> Latent:
    """What a witness tells and an artist draws: shapes as remembered, hardly any colour.

    Each shape trait is r z + sqrt(1 - r^2) e, e standard normal, so that sketches of all people together spread as the
    people do; who was meant is then a matter of probability, even with every line read rightly.
    """
    remembered_K = np.where(IS_SHAPE, REMEMBERED, _COLOUR_REMEMBERED)
    forgotten_K = np.sqrt(1.0 - np.square(remembered_K))
    return remembered_K * latent_K + forgotten_K * random.standard_normal(len(latent_K))


def caricatured_latent(latent_K: Latent, random: np.random.Generator) -> Latent:
    """The deviation from the mean face, exaggerated: each group of shape traits by a factor of the artist's choice."""
    factor_K = np.ones(len(latent_K))
    low, high = _EXAGGERATION
    for members in GROUPS.values():
        factor_K[list(members)] = random.uniform(low, high)
    return np.where(IS_SHAPE, factor_K, 1.0) * latent_K


def draw_sketch(person: Person, conditions: Conditions, style: str, side: int, random: np.random.Generator) -> Drawing:
    """A sketch in one of SKETCH_STYLES."""
    latent = sketched_latent(person.latent, random)
    # Paper is white: skin tone, freckles, moles and make-up are not drawn.
    traits = replace(traits_of(latent), melanin=0.12, redness=0.0, freckles=0.0, lip_red=0.55)
    plain = replace(person, marks=(), texture=int(random.integers(2**31)), traits=traits)
    bare = {**conditions.worn, "lipstick": False}
    white = replace(conditions, background=(_WHITE, _WHITE), clothes=_WHITE, worn=bare)
    drawn = _on_paper(white, turned=0.35, error=1.7)
    scene = paint_scene(plain, drawn, side)
    ink_HW = SKETCH_STYLES[style](_brightness(scene.colour_CHW), random)
    return Drawing(to_bytes(np.broadcast_to(ink_HW, (3, side, side))), drawn, scene.points)


def draw_caricature(
    person: Person, conditions: Conditions, style: str, side: int, random: np.random.Generator
) -> Drawing:
    """A caricature in one of CARICATURE_STYLES."""
    traits = traits_of(caricatured_latent(person.latent, random))
    if style == "ink" or random.random() < 0.5:
        conditions = replace(conditions, background=(_WHITE, _WHITE))
    drawn = _on_paper(conditions, turned=0.6, error=1.3)
    scene = paint_scene(replace(person, traits=traits), drawn, side)
    return Drawing(to_bytes(CARICATURE_STYLES[style](scene.colour_CHW, random)), drawn, scene.points)


def _on_paper(conditions: Conditions, *, turned: float, error: float) -> Conditions:
    """What an artist makes of the conditions: little turning, even light, nothing in the way, worse alignment."""
    light = Light(0.5 * conditions.light.azimuth, 0.5, 0.68, (1.0, 1.0, 1.0), 1.0)
    return replace(
        conditions,
        yaw=turned * conditions.yaw,
        pitch=turned * conditions.pitch,
        aligned_error_52=error * conditions.aligned_error_52,
        light=light,
        worn={**conditions.worn, "occluded": False},
    )


def _brightness(colour_CHW: FloatArray) -> FloatArray:
    gray_HW: FloatArray = np.tensordot(_BRIGHTNESS, colour_CHW, axes=1)
    return gray_HW


def _lines(gray_HW: FloatArray, fine: float, strength: float) -> FloatArray:
    """Ink (0 to 1) where it is darker than around: a difference of Gaussians, sharpened.

    Source: Winnemöller et al., XDoG: an extended difference-of-Gaussians compendium (2012), with a linear ramp.
    """
    difference = blurred(gray_HW, 1.8 * fine) - blurred(gray_HW, fine)
    ink: FloatArray = np.clip(strength * difference - 0.06, 0.0, 1.0)
    return ink


def _hatching(gray_HW: FloatArray, random: np.random.Generator) -> FloatArray:
    """Ink of parallel strokes, a second and third layer across where it is darker."""
    side = gray_HW.shape[0]
    place = np.arange(side, dtype=np.float32)
    # Hands are not rulers: each column of the paper is shifted a little.
    row = place[:, None] + _grain((1, side), 0.6, random)
    column = place[None, :]
    ink = np.zeros_like(gray_HW)
    turn = float(random.uniform(0.5, 1.1))
    for level, angle in ((0.68, turn), (0.45, -turn), (0.26, turn + 1.3)):
        stroke = np.sin(math.cos(angle) * 1.9 * row + math.sin(angle) * 1.9 * column)
        ink += np.clip((level - gray_HW) * 5.0, 0.0, 1.0) * np.clip(stroke, 0.0, 1.0)
    hatched: FloatArray = np.minimum(0.6 * ink, 1.0)
    return hatched


def _grain(shape: tuple[int, ...], strength: float, random: np.random.Generator) -> FloatArray:
    grain: FloatArray = strength * random.standard_normal(shape, dtype=np.float32)
    return grain


def _pencil(gray_HW: FloatArray, random: np.random.Generator) -> FloatArray:
    ink = np.maximum(_lines(gray_HW, 0.8, 9.0), 0.7 * _hatching(blurred(gray_HW, 1.2), random))
    return 0.97 - 0.75 * blurred(ink * (1.0 + _grain(ink.shape, 0.25, random)), 0.4)


def _contour(gray_HW: FloatArray, random: np.random.Generator) -> FloatArray:
    return 0.98 - 0.85 * blurred(_lines(gray_HW, 0.9, 12.0), 0.45) + _grain(gray_HW.shape, 0.015, random)


def _charcoal(gray_HW: FloatArray, random: np.random.Generator) -> FloatArray:
    tone = np.clip(1.25 * (blurred(gray_HW, 1.5) - 0.1), 0.0, 1.0)
    ink = np.maximum(1.0 - tone, 0.8 * _lines(gray_HW, 1.1, 9.0))
    drawn: FloatArray = 0.95 - 0.8 * ink * (1.0 + _grain(ink.shape, 0.2, random))
    return drawn


SKETCH_STYLES: Mapping[str, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    "pencil": _pencil,
    "contour": _contour,
    "charcoal": _charcoal,
}


def _flat(colour_CHW: FloatArray, random: np.random.Generator) -> FloatArray:
    """Few flat tones with black outlines."""
    levels = int(random.integers(4, 7))
    soft = blurred(colour_CHW, 1.0)
    flat = np.round(soft * levels) * (1.0 / levels)
    ink = _lines(_brightness(colour_CHW), 0.9, 10.0)
    drawn: FloatArray = (0.25 * soft + 0.75 * flat) * (1.0 - 0.9 * ink)
    return drawn


def _painted(colour_CHW: FloatArray, random: np.random.Generator) -> FloatArray:
    """Strong colours in broad strokes."""
    soft = blurred(colour_CHW, 1.3)
    gray = _brightness(soft)
    strong = gray + float(random.uniform(1.4, 2.1)) * (soft - gray)
    return strong * (1.0 - 0.4 * _lines(gray, 1.4, 8.0)) + _grain(gray.shape, 0.02, random)


def _ink(colour_CHW: FloatArray, random: np.random.Generator) -> FloatArray:
    """Black lines and black areas on white."""
    gray = _brightness(colour_CHW)
    black = np.clip((0.3 - blurred(gray, 0.8)) * 8.0, 0.0, 1.0)
    drawn = 0.98 - 0.93 * np.maximum(black, _lines(gray, 1.0, 13.0))
    return np.broadcast_to(blurred(drawn, float(random.uniform(0.35, 0.6))), colour_CHW.shape)


def _crayon(colour_CHW: FloatArray, random: np.random.Generator) -> FloatArray:
    """Coloured hatching on paper."""
    gray = _brightness(colour_CHW)
    cover = np.clip(0.45 + _hatching(0.75 * gray, random) + _grain(gray.shape, 0.15, random), 0.0, 1.0)
    return (0.96 + cover * (blurred(colour_CHW, 0.8) - 0.96)) * (1.0 - 0.7 * _lines(gray, 0.9, 9.0))


CARICATURE_STYLES: Mapping[str, Callable[[FloatArray, np.random.Generator], FloatArray]] = {
    "flat": _flat,
    "painted": _painted,
    "ink": _ink,
    "crayon": _crayon,
}
