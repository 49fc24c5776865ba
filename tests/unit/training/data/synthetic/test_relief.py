"""Against a sum over bumps, one pixel at a time, in float64 and in coordinates turned along each bump's axes."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from training.data.synthetic import relief
from training.data.synthetic.action_units import motion_of
from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas
from training.data.synthetic.relief import relief_of
from training.data.synthetic.traits import draw_latent, traits_of

PARTS: tuple[Callable[[Anatomy], list[Any]], ...] = (
    relief._nose,
    relief._eyes,
    relief._bones,
    relief._mouth,
    relief._creases,
)
ROUNDING = 2e-4
"""Narrow bumps have exponents of hundreds, summed in float32."""


def somebody(seed: int) -> Anatomy:
    traits = traits_of(draw_latent(np.random.default_rng(seed)))
    return Anatomy.of(traits, motion_of({1: 0.7, 4: 0.5, 6: 0.9, 9: 0.6, 12: 1.0, 17: 0.8, 26: 0.5}))


def canvas(u: np.ndarray, v: np.ndarray) -> Canvas:
    u, v = u.astype(np.float32), v.astype(np.float32)
    return Canvas(np.zeros((3, *u.shape), dtype=np.float32), u, v, 0.025)


def whole_face(side: int = 40) -> Canvas:
    v, u = np.meshgrid(np.linspace(-1.3, 1.7, side), np.linspace(-1.4, 1.4, side), indexing="ij")
    return canvas(u, v)


def gaussian(bump: Any, u: float, v: float) -> float:
    def at(middle: float, angle: float) -> float:
        across, down = u - middle, v - bump.v
        along = math.cos(angle) * across + math.sin(angle) * down
        aside = -math.sin(angle) * across + math.cos(angle) * down
        return math.exp(-0.5 * ((along / bump.width) ** 2 + (aside / bump.height) ** 2))

    return at(bump.u, bump.angle) + (at(-bump.u, -bump.angle) if bump.is_paired else 0.0)


def naive(anatomy: Anatomy, u: float, v: float) -> tuple[float, float, float]:
    bumps = [bump for part in PARTS for bump in part(anatomy)]
    weights = [gaussian(bump, u, v) for bump in bumps]
    return (
        sum(weight * bump.raises for weight, bump in zip(weights, bumps, strict=True)),
        sum(weight * bump.darkens for weight, bump in zip(weights, bumps, strict=True)),
        sum(weight * bump.reddens for weight, bump in zip(weights, bumps, strict=True)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_relief_is_the_sum_over_its_bumps(seed: int) -> None:
    anatomy, face = somebody(seed), whole_face()
    found = relief_of(anatomy, face)
    random = np.random.default_rng(seed)
    for i, j in random.integers(6, 34, (60, 2)).tolist():
        expected = naive(anatomy, float(face.u_HW[i, j]), float(face.v_HW[i, j]))
        at = (found.height_HW[i, j], found.dark_HW[i, j], found.red_HW[i, j])
        np.testing.assert_allclose(at, expected, atol=ROUNDING)


def test_a_face_that_moves_has_deeper_creases_between_the_brows() -> None:
    traits = traits_of(draw_latent(np.random.default_rng(0)))
    place = canvas(np.array([[0.055]]), np.array([[-0.2]]))
    rest, frown = (relief_of(Anatomy.of(traits, motion_of(units)), place) for units in ({}, {4: 1.0}))
    added = float(frown.dark_HW[0, 0] - rest.dark_HW[0, 0])
    # 0.36 in the middle of the bump, and what reaches it from its twin, 0.11 away and leaning to the other side.
    twin = 0.36 * math.exp(-0.5 * ((0.11 * math.cos(0.15) / 0.014) ** 2 + (0.11 * math.sin(0.15) / 0.065) ** 2))
    assert added == pytest.approx(0.36 + twin, abs=ROUNDING)


def test_the_relief_is_the_same_on_both_sides_of_the_face() -> None:
    found = relief_of(somebody(1), whole_face())
    for plane in (found.height_HW, found.dark_HW, found.red_HW):
        np.testing.assert_allclose(plane, plane[:, ::-1], atol=ROUNDING)


def test_a_picture_beside_the_face_has_no_relief() -> None:
    found = relief_of(somebody(1), canvas(np.full((3, 3), 1.2), np.zeros((3, 3))))
    assert not found.height_HW.any()
    assert not found.dark_HW.any()


def test_the_relief_is_float32() -> None:
    found = relief_of(somebody(1), whole_face())
    assert {str(plane.dtype) for plane in (found.height_HW, found.dark_HW, found.red_HW)} == {"float32"}
