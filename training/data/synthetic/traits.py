"""Who somebody is: the traits of a procedural face, and the latent vector they come from.

Lengths are in face units: one unit is 40 pixels of the 112 x 112 crop of the mean face. u grows to the viewer's right, v
downwards, the origin lies midway between the eyes of the mean face. K traits; a latent is (K,) float64, standard normal
over the world's people, and the mean face is the latent of zeros.
"""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Latent = npt.NDArray[np.float64]
Group = Literal["head", "eyes", "brows", "nose", "mouth", "hair", "skin"]

_WIDEST = 2.6
"""Standard deviations to which people reach; drawings may go beyond, to the limits of each trait."""


def _trait(mean: float, deviation: float, low: float, high: float, group: Group, *, is_shape: bool = True) -> Any:
    """A trait with its mean and deviation over people, and the limits within which it can be drawn."""
    return field(
        default=mean,
        metadata={"deviation": deviation, "low": low, "high": high, "group": group, "is_shape": is_shape},
    )


@dataclass(frozen=True, slots=True)
class Traits:
    """One face at rest. The defaults are the mean face."""

    face_width: float = _trait(1.0, 0.055, 0.78, 1.3, "head")
    jaw_square: float = _trait(2.5, 0.42, 1.5, 4.6, "head")
    jaw_taper: float = _trait(0.2, 0.09, -0.08, 0.55, "head")
    chin_height: float = _trait(1.5, 0.075, 1.27, 1.95, "head")
    chin_width: float = _trait(0.2, 0.045, 0.08, 0.42, "head")
    chin_relief: float = _trait(0.1, 0.05, -0.03, 0.32, "head")
    cheekbones: float = _trait(0.12, 0.06, -0.05, 0.38, "head")
    cheek_hollow: float = _trait(0.05, 0.045, -0.08, 0.25, "head")
    brow_ridge: float = _trait(0.07, 0.04, -0.03, 0.25, "head")
    forehead: float = _trait(0.1, 0.05, -0.05, 0.3, "head")
    ear_size: float = _trait(0.27, 0.035, 0.17, 0.5, "head")
    ear_out: float = _trait(0.05, 0.03, -0.02, 0.25, "head")

    eye_spacing: float = _trait(0.44, 0.028, 0.34, 0.6, "eyes")
    eye_width: float = _trait(0.2, 0.017, 0.13, 0.31, "eyes")
    eye_open: float = _trait(0.082, 0.014, 0.035, 0.18, "eyes")
    eye_tilt: float = _trait(0.04, 0.075, -0.3, 0.35, "eyes")
    eye_depth: float = _trait(0.08, 0.04, -0.02, 0.26, "eyes")
    lid_crease: float = _trait(0.5, 0.3, 0.0, 1.0, "eyes")
    eye_bags: float = _trait(0.16, 0.13, 0.0, 0.7, "eyes")
    iris_size: float = _trait(0.092, 0.007, 0.06, 0.14, "eyes")
    iris_light: float = _trait(0.34, 0.24, 0.0, 1.0, "eyes", is_shape=False)
    iris_hue: float = _trait(0.5, 0.3, 0.0, 1.0, "eyes", is_shape=False)

    brow_height: float = _trait(-0.27, 0.038, -0.45, -0.15, "brows")
    brow_thickness: float = _trait(0.05, 0.014, 0.016, 0.12, "brows")
    brow_arch: float = _trait(0.055, 0.032, -0.05, 0.2, "brows")
    brow_tilt: float = _trait(0.0, 0.033, -0.15, 0.15, "brows")
    brow_length: float = _trait(0.52, 0.035, 0.38, 0.7, "brows")
    brow_gap: float = _trait(0.16, 0.03, 0.02, 0.3, "brows")
    brow_dark: float = _trait(0.62, 0.18, 0.12, 1.0, "brows", is_shape=False)

    nose_length: float = _trait(0.51, 0.042, 0.36, 0.76, "nose")
    nose_width: float = _trait(0.2, 0.028, 0.11, 0.38, "nose")
    nose_height: float = _trait(0.3, 0.055, 0.14, 0.6, "nose")
    bridge_width: float = _trait(0.085, 0.016, 0.045, 0.17, "nose")
    bridge_hump: float = _trait(0.0, 0.04, -0.1, 0.2, "nose")
    nose_tip: float = _trait(0.1, 0.02, 0.05, 0.22, "nose")
    nostrils: float = _trait(0.45, 0.19, 0.0, 1.0, "nose")

    mouth_height: float = _trait(1.0, 0.04, 0.86, 1.18, "mouth")
    mouth_width: float = _trait(0.385, 0.034, 0.24, 0.58, "mouth")
    upper_lip: float = _trait(0.07, 0.02, 0.018, 0.19, "mouth")
    lower_lip: float = _trait(0.095, 0.022, 0.03, 0.24, "mouth")
    cupids_bow: float = _trait(0.3, 0.14, 0.0, 0.8, "mouth")
    mouth_tilt: float = _trait(0.0, 0.022, -0.1, 0.1, "mouth")
    folds: float = _trait(0.22, 0.14, 0.0, 0.8, "mouth")
    lip_red: float = _trait(0.42, 0.17, 0.0, 1.0, "mouth", is_shape=False)

    hairline: float = _trait(-0.83, 0.075, -1.15, -0.55, "hair")
    hair_peak: float = _trait(0.0, 0.075, -0.25, 0.25, "hair")
    hair_recession: float = _trait(0.16, 0.13, -0.1, 0.6, "hair")
    hair_volume: float = _trait(0.13, 0.06, 0.03, 0.5, "hair")
    hair_curl: float = _trait(0.3, 0.28, 0.0, 1.0, "hair")
    hair_length: float = _trait(0.45, 0.75, -0.3, 2.0, "hair")
    hair_dark: float = _trait(0.62, 0.25, 0.0, 1.0, "hair", is_shape=False)
    hair_red: float = _trait(0.15, 0.2, 0.0, 1.0, "hair", is_shape=False)

    melanin: float = _trait(0.36, 0.23, 0.0, 1.0, "skin", is_shape=False)
    redness: float = _trait(0.4, 0.25, 0.0, 1.0, "skin", is_shape=False)
    freckles: float = _trait(-0.35, 0.5, 0.0, 1.0, "skin", is_shape=False)
    age: float = _trait(0.3, 0.22, 0.0, 1.0, "skin", is_shape=False)
    beard_growth: float = _trait(-0.05, 0.45, 0.0, 1.0, "skin", is_shape=False)


TRAITS: tuple[str, ...] = tuple(trait.name for trait in fields(Traits))
NUM_TRAITS = len(TRAITS)
GROUPS: dict[Group, tuple[int, ...]] = {
    group: tuple(k for k, trait in enumerate(fields(Traits)) if trait.metadata["group"] == group)
    for group in ("head", "eyes", "brows", "nose", "mouth", "hair", "skin")
}
IS_SHAPE = np.array([trait.metadata["is_shape"] for trait in fields(Traits)])
"""Which traits a drawing without colour can show, (K,)."""

_MEAN = np.array([trait.default for trait in fields(Traits)], dtype=np.float64)
_DEVIATION = np.array([trait.metadata["deviation"] for trait in fields(Traits)])
_LOW = np.array([trait.metadata["low"] for trait in fields(Traits)])
_HIGH = np.array([trait.metadata["high"] for trait in fields(Traits)])


def draw_latent(random: np.random.Generator) -> Latent:
    """A person: standard normal, cut off at 2.6 deviations."""
    return np.clip(random.standard_normal(NUM_TRAITS), -_WIDEST, _WIDEST)


def traits_of(latent_K: Latent) -> Traits:
    """The face of a latent; each trait is kept within the limits in which it can be drawn.

    >>> traits_of(np.zeros(NUM_TRAITS)).face_width
    1.0
    """
    value_K = np.clip(_MEAN + _DEVIATION * latent_K, _LOW, _HIGH)
    return Traits(*value_K.tolist())
