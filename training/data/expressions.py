"""The seven basic expressions, and the action units (AUs) that make them.

Source: Kollias et al., Distribution Matching for Multi-Task Learning (AAAI 2024), Table 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

EXPRESSIONS = ("neutral", "happiness", "sadness", "fear", "anger", "surprise", "disgust")
ACTION_UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 15, 17, 20, 23, 24, 25, 26)


@dataclass(frozen=True, slots=True)
class Units:
    """The units of an expression: shown by everybody, and by a share of people."""

    prototypical: tuple[int, ...] = ()
    observational: tuple[tuple[int, float], ...] = ()


UNITS_OF: Mapping[str, Units] = {
    "neutral": Units(),
    "happiness": Units((12, 25), ((6, 0.51),)),
    "sadness": Units((4, 15), ((1, 0.6), (6, 0.5), (11, 0.26), (17, 0.67))),
    "fear": Units((1, 4, 20, 25), ((2, 0.57), (5, 0.63), (26, 0.33))),
    "anger": Units((4, 7, 24), ((10, 0.26), (17, 0.52), (23, 0.29))),
    "surprise": Units((1, 2, 25, 26), ((5, 0.66),)),
    "disgust": Units((9, 10, 17), ((4, 0.31), (24, 0.26))),
}
"""By a cognitive-psychological study (Du, Tao and Martinez 2014)."""
AFF_WILD2_UNITS: Mapping[str, tuple[tuple[int, float], ...]] = {
    "happiness": ((12, 0.82), (25, 0.7), (6, 0.57), (7, 0.83), (10, 0.63)),
    "sadness": ((4, 0.53), (15, 0.42), (1, 0.31), (7, 0.13)),
    "fear": ((1, 0.52), (4, 0.4), (25, 0.85), (7, 0.57), (10, 0.57)),
    "anger": ((4, 0.65), (7, 0.45), (25, 0.4), (10, 0.33)),
    "surprise": ((1, 0.38), (2, 0.37), (25, 0.85), (26, 0.3), (5, 0.5), (7, 0.2)),
    "disgust": ((10, 0.85), (4, 0.6), (7, 0.75), (25, 0.8)),
}
"""The share of an expression's pictures in Aff-Wild2 on which a unit was annotated."""
