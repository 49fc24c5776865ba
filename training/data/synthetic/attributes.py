"""Binary attributes of a picture: those that people wear or change, and those they are born with or show.

A worn attribute has a share of pictures, which can be set; each person has a habit of its own (some never wear glasses,
some always do), so that attributes and identities are related, as they are among people.
"""

from collections.abc import Mapping

import numpy as np

from training.data.synthetic.action_units import Motion
from training.data.synthetic.traits import Traits
from training.errors import SyntheticError

WORN: Mapping[str, float] = {
    "eyeglasses": 0.17,
    "hat": 0.06,
    "beard": 0.14,
    "moustache": 0.1,
    "bangs": 0.2,
    "lipstick": 0.18,
    "earrings": 0.15,
    "occluded": 0.06,
}
"""Attributes of one picture with the share of photos in which they are worn, be it under long hair; nothing is in the way
of a drawing."""

SHOWN = (
    "smile",
    "mouth_open",
    "frontal_face",
    "big_nose",
    "narrow_eyes",
    "bushy_eyebrows",
    "full_lips",
    "pale_skin",
    "black_hair",
    "blond_hair",
    "gray_hair",
    "curly_hair",
    "long_hair",
    "receding_hairline",
    "freckles",
    "square_jaw",
    "elderly",
)
"""Attributes that follow from traits, expression, pose and the length of the hair that day."""

ATTRIBUTES: tuple[str, ...] = (*WORN, *SHOWN)
_FRONTAL = 0.2
_STEADY = 0.35
"""Below 1, habits lie near never and always."""


def worn_shares(asked: Mapping[str, float]) -> dict[str, float]:
    """The share of each worn attribute, those in `asked` changed. Raises `SyntheticError`."""
    for name, share in asked.items():
        if name in SHOWN:
            raise SyntheticError(
                f"attribute {name!r} follows from face and expression; these can be set: {', '.join(WORN)}"
            )
        if name not in WORN:
            raise SyntheticError(f"there is no attribute {name!r}; these can be set: {', '.join(WORN)}")
        if not 0 <= share <= 1:
            raise SyntheticError(f"attribute {name!r}: its share of pictures must lie between 0 and 1")
    return {**WORN, **asked}


def draw_habits(shares: Mapping[str, float], random: np.random.Generator) -> dict[str, float]:
    """How often one person wears each attribute; over people the mean is the share."""
    habits = {}
    # A generator for each: the number of draws of a beta depends on its share, and one share must not move the others.
    for name, seed in zip(WORN, random.integers(2**63, size=len(WORN)).tolist(), strict=True):
        share = shares[name]
        if 0 < share < 1:
            share = float(np.random.default_rng(seed).beta(_STEADY * share, _STEADY * (1 - share)))
        habits[name] = share
    return habits


def shown_attributes(traits: Traits, motion: Motion, turned: float, hair_change: float = 0.0) -> dict[str, bool]:
    """What a face shows; `turned` is the larger of yaw and pitch, in radians. The rules are the definitions.

    `hair_change` is how much longer the hair is in this picture than the person's usual. Freckles count from where they
    stand out from the skin by some eight of 255 levels.
    """
    return {
        "smile": motion.corner_up > 0.02,
        "mouth_open": motion.has_open_mouth,
        "frontal_face": turned < _FRONTAL,
        "big_nose": traits.nose_width + 0.5 * traits.nose_height > 0.385,
        "narrow_eyes": traits.eye_open < 0.071,
        "bushy_eyebrows": traits.brow_thickness > 0.06,
        "full_lips": traits.upper_lip + traits.lower_lip > 0.19,
        "pale_skin": traits.melanin < 0.16,
        "black_hair": traits.hair_dark > 0.82 and not is_gray(traits),
        "blond_hair": traits.hair_dark < 0.35 and not is_gray(traits),
        "gray_hair": is_gray(traits),
        "curly_hair": traits.hair_curl > 0.55,
        "long_hair": traits.hair_length + hair_change > 0.95,
        "receding_hairline": traits.hair_recession > 0.28,
        "freckles": traits.freckles * (1.0 - traits.melanin) > 0.15,
        "square_jaw": traits.jaw_square > 2.85,
        "elderly": traits.age > 0.55,
    }


def is_gray(traits: Traits) -> bool:
    """Whether the hair has turned."""
    return traits.age > 0.52
