"""What each action unit (AU) moves in a face, and the units that a picture of an expression shows.

What a unit moves follows the Facial Action Coding System (Ekman 1997); how far is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from training.data.expressions import ACTION_UNITS, UNITS_OF

_STRAY = 0.04
"""Share of pictures in which a unit moves that the expression does not ask for."""
_NEVER_TOGETHER = ((24, 25), (24, 26), (23, 25), (23, 26), (12, 15))
"""Lips cannot be pressed or tight and apart, corners not up and down; a stray second one of these stays at rest."""


@dataclass(frozen=True, slots=True)
class Motion:
    """How far each part is from rest, in face units unless said otherwise; v grows downwards."""

    brow_inner: float = 0.0
    brow_outer: float = 0.0
    brow_squeeze: float = 0.0
    lid_upper: float = 0.0
    """Opening gained above, as a share of the eye's own."""
    lid_lower: float = 0.0
    """Opening lost below, as a share of the eye's own."""
    cheek: float = 0.0
    """0 to 1, as are the four that follow."""
    brow_creases: float = 0.0
    frown_creases: float = 0.0
    nose_creases: float = 0.0
    folds: float = 0.0
    chin_boss: float = 0.0
    upper_lip_up: float = 0.0
    corner_out: float = 0.0
    corner_up: float = 0.0
    lower_lip_up: float = 0.0
    lip_thinness: float = 0.0
    """Share of the lips' thickness that is gone."""
    opening: float = 0.0
    """Between the lips."""
    jaw: float = 0.0

    @property
    def has_open_mouth(self) -> bool:
        """Whether the dark between the lips is seen: it is painted then, and only then."""
        return self.opening > _LEAST_SEEN_OPENING


_LEAST_SEEN_OPENING = 0.015
_EFFECTS: Mapping[int, Motion] = {
    1: Motion(brow_inner=-0.1, brow_creases=0.6),
    2: Motion(brow_outer=-0.1, brow_creases=0.5),
    4: Motion(brow_inner=0.075, brow_outer=0.03, brow_squeeze=0.05, frown_creases=1.0),
    5: Motion(lid_upper=0.6),
    6: Motion(lid_lower=0.35, cheek=1.0, folds=0.3),
    7: Motion(lid_upper=-0.3, lid_lower=0.35),
    9: Motion(nose_creases=1.0, brow_inner=0.04, upper_lip_up=0.03, folds=0.35),
    10: Motion(upper_lip_up=0.065, folds=0.6, opening=0.02),
    11: Motion(folds=1.0),
    12: Motion(corner_out=0.085, corner_up=0.095, folds=0.6, lip_thinness=0.15),
    15: Motion(corner_up=-0.09, corner_out=-0.015),
    17: Motion(lower_lip_up=0.055, chin_boss=1.0, corner_up=-0.02),
    20: Motion(corner_out=0.1, corner_up=-0.02, lip_thinness=0.25),
    23: Motion(lip_thinness=0.4, corner_out=-0.05),
    24: Motion(lip_thinness=0.7, corner_out=-0.025, chin_boss=0.3),
    25: Motion(opening=0.075),
    26: Motion(opening=0.16, jaw=0.13),
}
_EFFECTS_UM = np.array([[getattr(_EFFECTS[unit], part.name) for part in fields(Motion)] for unit in ACTION_UNITS])


def draw_units(expression: str, random: np.random.Generator) -> dict[int, float]:
    """The units that one picture of the expression shows, each with its intensity in [0.45, 1].

    Prototypical units always, observational ones with their weight as probability, any other now and then.
    """
    units = UNITS_OF[expression]
    share = dict.fromkeys(ACTION_UNITS, _STRAY)
    share.update(units.observational)
    share.update(dict.fromkeys(units.prototypical, 1.0))
    chance, strength = random.random(len(ACTION_UNITS)), random.uniform(0.45, 1.0, len(ACTION_UNITS))
    shown = {u: float(strength[k]) for k, u in enumerate(ACTION_UNITS) if chance[k] < share[u]}
    asked = {*units.prototypical, *(unit for unit, _ in units.observational)}
    for one, other in _NEVER_TOGETHER:
        if one in shown and other in shown:
            del shown[_less_wanted(one, other, asked)]
    return shown


def motion_of(intensity: Mapping[int, float]) -> Motion:
    """What units of these intensities move together."""
    intensity_U = np.array([intensity.get(unit, 0.0) for unit in ACTION_UNITS])
    return Motion(*(intensity_U @ _EFFECTS_UM).tolist())


def _less_wanted(one: int, other: int, asked: set[int]) -> int:
    return one if one not in asked else other
