"""The world: any picture of any of its people by number, with everything that is true of it. Nothing is kept.

    world = World(WorldSettings(seed=7))
    picture = world.picture(person=12, modality="photo", number=0)
    picture.pixels, picture.labels["expression"], world.person(12).latent

Invariant: a picture depends on seed, person, modality, number and the settings that concern it, and on nothing that was
made before. To the last bit that holds for one kind of processor and one BLAS thread: sums of floats are rounded otherwise
elsewhere, by one level of 255 in few pixels. K traits; H W picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from training.data.expressions import ACTION_UNITS, EXPRESSIONS
from training.data.synthetic.action_units import motion_of
from training.data.synthetic.attributes import SHOWN, WORN, shown_attributes, worn_shares
from training.data.synthetic.conditions import Conditions, draw_conditions
from training.data.synthetic.drawing import CARICATURE_STYLES, SKETCH_STYLES, draw_caricature, draw_sketch
from training.data.synthetic.person import Person, draw_person
from training.data.synthetic.photo import paint_scene, photograph
from training.errors import SyntheticError

MODALITIES = ("photo", "sketch", "caricature")
SIDES = (48, 512)
MAX_SEED = 2**63 - 1
_FIRST_STREAM = 16
_DRAWING_QUALITY = 92
_KEPT_PEOPLE = 64


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What kind of world it is. Raises `SyntheticError` for one that cannot be."""

    seed: int = 0
    side: int = 112
    """Of a picture, in pixels."""
    expressions: tuple[str, ...] = EXPRESSIONS
    worn: Mapping[str, float] = field(default_factory=lambda: dict(WORN))
    """The share of pictures that show each worn attribute."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise SyntheticError(f"the seed must lie between 0 and {MAX_SEED}")
        if not SIDES[0] <= self.side <= SIDES[1]:
            raise SyntheticError(f"the size of a picture must lie between {SIDES[0]} and {SIDES[1]} pixels")
        unknown = [name for name in self.expressions if name not in EXPRESSIONS]
        if unknown or not self.expressions:
            named = f"there is no expression {unknown[0]!r}" if unknown else "no expression is left"
            raise SyntheticError(f"{named}; there are: {', '.join(EXPRESSIONS)}")
        object.__setattr__(self, "worn", worn_shares(self.worn))


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels (H, W, 3) of 0..255, the JPEG quality that belongs to them, and what is true of them."""

    pixels: npt.NDArray[np.uint8]
    quality: int
    labels: Mapping[str, str]
    """`LABELS` in their order, as text."""


LABELS: tuple[str, ...] = (
    "style",
    "expression",
    *(f"au_{unit}" for unit in ACTION_UNITS),
    *WORN,
    *SHOWN,
    "yaw",
    "pitch",
    "five_points",
)
"""`au_*` hold intensities of 0 to 1, attributes 0 or 1, `yaw` and `pitch` degrees, `five_points` x and y in pixels of the
five points as they truly are; the crop was cut by points with an error. Of a drawing, expression, units, things worn and
points are those drawn; attributes that follow from traits are the person's own, whatever the artist made of them."""


def subject_name(settings: WorldSettings, person: int) -> str:
    """A person's name: worlds of different seeds share none.

    >>> subject_name(WorldSettings(seed=3), 12)
    'w3-000012'
    """
    return f"w{settings.seed}-{person:06d}"


class World:
    """Everybody in it, and every picture that could be taken of them."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.person = lru_cache(maxsize=_KEPT_PEOPLE)(self._person)

    def picture(self, person: int, modality: str, number: int) -> Picture:
        """Picture `number` of a person in a modality. Raises `SyntheticError` for an unknown modality."""
        if modality not in MODALITIES:
            raise SyntheticError(f"there is no modality {modality!r}; there are: {', '.join(MODALITIES)}")
        stream = _FIRST_STREAM + MODALITIES.index(modality)
        random = np.random.default_rng((self.settings.seed, stream, person, number))
        who = self.person(person)
        conditions = draw_conditions(who, self.settings.expressions, random)
        side = self.settings.side
        if modality == "photo":
            scene = paint_scene(who, conditions, side)
            pixels = photograph(scene.colour_CHW, conditions)
            return Picture(pixels, conditions.camera.quality, self._labels(who, conditions, "", scene.points))
        styles = SKETCH_STYLES if modality == "sketch" else CARICATURE_STYLES
        style = str(random.choice(tuple(styles)))
        draw = draw_sketch if modality == "sketch" else draw_caricature
        drawing = draw(who, conditions, style, side, random)
        labels = self._labels(who, drawing.conditions, style, drawing.points)
        return Picture(drawing.pixels, _DRAWING_QUALITY, labels)

    def _person(self, number: int) -> Person:
        return draw_person(self.settings.seed, number, self.settings.worn)

    def _labels(
        self, person: Person, conditions: Conditions, style: str, points: Sequence[tuple[float, float]]
    ) -> dict[str, str]:
        turned = max(abs(conditions.yaw), abs(conditions.pitch))
        attributes = {
            **conditions.worn,
            **shown_attributes(person.traits, motion_of(conditions.units), turned, conditions.hair_change),
        }
        values = (
            style,
            conditions.expression,
            *(f"{conditions.units.get(unit, 0.0):.3g}" for unit in ACTION_UNITS),
            *(str(int(attributes[name])) for name in (*WORN, *SHOWN)),
            f"{np.degrees(conditions.yaw):.1f}",
            f"{np.degrees(conditions.pitch):.1f}",
            " ".join(f"{value:.2f}" for point in points for value in point),
        )
        return dict(zip(LABELS, values, strict=True))
