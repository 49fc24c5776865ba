"""The relief of a face and its creases: a sum of Gaussian bumps, evaluated at every pixel in one matrix product.

Shapes: H W picture, G bumps. A bump has a place and two widths along axes turned by its angle; it raises the surface,
darkens the skin (a crease) and reddens it (blood), each by its own amount.
"""

import math
from dataclasses import dataclass

import numpy as np

from training.data.synthetic.anatomy import Anatomy
from training.data.synthetic.canvas import Canvas, FloatArray

_REACH = 1.15
"""No bump is felt farther than this from the middle, in face units."""


@dataclass(frozen=True, slots=True)
class _Bump:
    u: float
    v: float
    width: float
    height: float
    raises: float = 0.0
    darkens: float = 0.0
    reddens: float = 0.0
    angle: float = 0.0
    is_paired: bool = False
    """Also at -u with the angle mirrored."""


@dataclass(frozen=True, slots=True)
class Relief:
    """Height above the bare head (face units), darkness and redness at every pixel."""

    height_HW: FloatArray
    dark_HW: FloatArray
    red_HW: FloatArray


def relief_of(anatomy: Anatomy, canvas: Canvas) -> Relief:
    """The relief of one face at the pixels of a canvas."""
    bumps = [*_nose(anatomy), *_eyes(anatomy), *_bones(anatomy), *_mouth(anatomy), *_creases(anatomy)]
    rows = []
    for bump in bumps:
        rows.append(_row(bump, bump.u, bump.angle))
        if bump.is_paired:
            rows.append(_row(bump, -bump.u, -bump.angle))
    table = np.array(rows, dtype=np.float32)
    summed = np.zeros((3, *canvas.u_HW.shape), dtype=np.float32)
    columns = np.flatnonzero((np.abs(canvas.u_HW) < _REACH).any(axis=0))
    if len(columns):
        across = slice(int(columns[0]), int(columns[-1]) + 1)
        u, v = canvas.u_HW[:, across], canvas.v_HW[:, across]
        basis = np.stack([u * u, v * v, u * v, u, v, np.ones_like(u)]).reshape(6, -1)
        weight = table[:, :6] @ basis
        np.exp(weight, out=weight)
        summed[:, :, across] = (table[:, 6:].T @ weight).reshape(3, *u.shape)
    return Relief(summed[0], summed[1], summed[2])


def _row(bump: _Bump, u: float, angle: float) -> list[float]:
    """Coefficients of the exponent in u^2, v^2, uv, u, v, 1, then the three amounts."""
    cosine, sine = math.cos(angle), math.sin(angle)
    a, b = 0.5 / bump.width**2, 0.5 / bump.height**2
    uu = a * cosine**2 + b * sine**2
    vv = a * sine**2 + b * cosine**2
    uv = 2.0 * (a - b) * cosine * sine
    v = bump.v
    constant = -(uu * u * u + vv * v * v + uv * u * v)
    linear_u, linear_v = 2.0 * uu * u + uv * v, 2.0 * vv * v + uv * u
    return [-uu, -vv, -uv, linear_u, linear_v, constant, bump.raises, bump.darkens, bump.reddens]


def _nose(anatomy: Anatomy) -> list[_Bump]:
    traits, v = anatomy.traits, anatomy.nose_v
    out = traits.nose_height
    return [
        _Bump(0.0, 0.12, traits.bridge_width, 0.26, raises=0.42 * out),
        _Bump(0.0, 0.1, traits.bridge_width, 0.1, raises=traits.bridge_hump),
        _Bump(0.0, v - 0.05, traits.nose_tip, 0.095, raises=0.55 * out, reddens=0.25 * traits.redness),
        _Bump(0.66 * traits.nose_width, v - 0.005, 0.055, 0.06, raises=0.3 * out, is_paired=True),
        _Bump(0.0, v + 0.075, 0.8 * traits.nose_width, 0.035, darkens=0.16),
        _Bump(traits.nose_width + 0.035, v - 0.01, 0.022, 0.07, darkens=0.2, angle=-0.25, is_paired=True),
        _Bump(0.07, 0.06, 0.05, 0.013, darkens=0.35 * anatomy.motion.nose_creases, angle=0.5, is_paired=True),
        _Bump(0.07, 0.12, 0.05, 0.013, darkens=0.3 * anatomy.motion.nose_creases, angle=0.5, is_paired=True),
    ]


def _eyes(anatomy: Anatomy) -> list[_Bump]:
    traits, eyes = anatomy.traits, anatomy.eyes
    tired = traits.eye_bags + 0.2 * traits.age
    outer = eyes.u + eyes.half_width
    feet = 0.22 * traits.age + 0.32 * anatomy.motion.cheek
    return [
        _Bump(eyes.u, -0.03, 0.2, 0.13, raises=-traits.eye_depth, darkens=0.9 * traits.eye_depth, is_paired=True),
        _Bump(eyes.u, 0.0, 0.14, 0.09, raises=0.09, is_paired=True),
        _Bump(eyes.u - eyes.half_width - 0.02, -0.04, 0.05, 0.08, darkens=0.14, is_paired=True),
        _Bump(eyes.u, 0.155, 0.13, 0.028, darkens=0.55 * tired, is_paired=True),
        _Bump(outer + 0.09, -0.03, 0.06, 0.012, darkens=feet, angle=-0.35, is_paired=True),
        _Bump(outer + 0.1, 0.05, 0.06, 0.012, darkens=feet, angle=0.25, is_paired=True),
    ]


def _bones(anatomy: Anatomy) -> list[_Bump]:
    traits, motion = anatomy.traits, anatomy.motion
    boss = 0.06 * motion.chin_boss
    blush = 0.5 * traits.redness
    return [
        _Bump(0.36, -0.2, 0.22, 0.07, raises=traits.brow_ridge, is_paired=True),
        _Bump(0.0, -0.6, 0.45, 0.28, raises=traits.forehead),
        _Bump(0.62, 0.4, 0.2, 0.15, raises=traits.cheekbones + 0.07 * motion.cheek, angle=-0.3, is_paired=True),
        _Bump(0.58, 0.48, 0.2, 0.17, reddens=blush, is_paired=True),
        _Bump(0.64, 0.85, 0.14, 0.22, raises=-traits.cheek_hollow, darkens=traits.cheek_hollow, is_paired=True),
        _Bump(0.0, anatomy.chin_v - 0.19, traits.chin_width, 0.11, raises=traits.chin_relief + boss),
        _Bump(0.06, anatomy.chin_v - 0.2, 0.03, 0.05, darkens=0.14 * motion.chin_boss, is_paired=True),
    ]


def _mouth(anatomy: Anatomy) -> list[_Bump]:
    mouth, v = anatomy.mouth, anatomy.mouth.v
    philtrum = 0.5 * (anatomy.nose_v + 0.07 + v - mouth.upper)
    return [
        _Bump(0.0, v - 0.02, 0.3, 0.2, raises=0.08),
        _Bump(0.0, v - 0.6 * mouth.upper, 0.6 * mouth.half_width, 0.04, raises=0.35 * mouth.upper),
        _Bump(0.0, v + mouth.opening + 0.55 * mouth.lower, 0.5 * mouth.half_width, 0.05, raises=0.5 * mouth.lower),
        _Bump(0.0, v + mouth.opening + mouth.lower + 0.06, 0.19, 0.04, raises=-0.05, darkens=0.13),
        _Bump(0.0, philtrum, 0.028, 0.07, raises=-0.02, darkens=0.05),
        _Bump(mouth.half_width + 0.03, mouth.corner_v, 0.035, 0.035, darkens=0.18, is_paired=True),
    ]


def _creases(anatomy: Anatomy) -> list[_Bump]:
    traits, motion, mouth = anatomy.traits, anatomy.motion, anatomy.mouth
    top = (traits.nose_width + 0.07, anatomy.nose_v - 0.03)
    bottom = (mouth.half_width + 0.12, mouth.corner_v - 0.02)
    length = math.hypot(bottom[0] - top[0], bottom[1] - top[1])
    lean = math.atan2(bottom[0] - top[0], bottom[1] - top[1])
    depth = 0.5 * traits.folds + 0.2 * traits.age + 0.32 * motion.folds
    middle = (0.5 * (top[0] + bottom[0]), 0.5 * (top[1] + bottom[1]))
    fold = _Bump(*middle, 0.024, 0.36 * length, darkens=min(0.6, depth), angle=-lean, is_paired=True)
    cheek = _Bump(
        middle[0] + 0.1, middle[1] - 0.02, 0.07, 0.36 * length, raises=0.08 * depth, angle=-lean, is_paired=True
    )
    lines = min(0.45, 0.22 * max(0.0, traits.age - 0.25) + 0.2 * motion.brow_creases)
    frown = min(0.5, 0.1 * traits.age + 0.36 * motion.frown_creases)
    forehead = [_Bump(0.0, v, 0.3, 0.014, darkens=lines) for v in (-0.43, -0.54, -0.65)]
    return [fold, cheek, *forehead, _Bump(0.055, -0.2, 0.014, 0.065, darkens=frown, angle=-0.15, is_paired=True)]
