"""Where the moving parts of one face are in one picture: traits and motion together, in face units."""

from dataclasses import dataclass

from training.data.synthetic.action_units import Motion
from training.data.synthetic.traits import Traits

_LEAST_OPEN = 0.012


@dataclass(frozen=True, slots=True)
class Eyes:
    """Both eyes, mirrored at u = 0; openings are measured from the line between the corners."""

    u: float
    half_width: float
    opening_above: float
    opening_below: float


@dataclass(frozen=True, slots=True)
class Mouth:
    """The mouth: v of its middle and corners, and from there the lips' thickness and the opening between them."""

    v: float
    half_width: float
    corner_v: float
    upper: float
    lower: float
    opening: float


@dataclass(frozen=True, slots=True)
class Anatomy:
    """One face in one picture."""

    traits: Traits
    motion: Motion
    eyes: Eyes
    mouth: Mouth
    chin_v: float
    nose_v: float

    @classmethod
    def of(cls, traits: Traits, motion: Motion) -> "Anatomy":
        """Put the parts where the motion moves them."""
        above = max(_LEAST_OPEN, traits.eye_open * (1.0 + motion.lid_upper))
        below = max(_LEAST_OPEN, 0.72 * traits.eye_open * (1.0 - motion.lid_lower))
        thickness = max(0.12, 1.0 - motion.lip_thinness)
        v = traits.mouth_height - 0.5 * motion.lower_lip_up + 0.1 * motion.jaw
        mouth = Mouth(
            v=v,
            half_width=max(0.16, traits.mouth_width + motion.corner_out),
            corner_v=v - traits.mouth_tilt - motion.corner_up,
            upper=traits.upper_lip * thickness,
            lower=traits.lower_lip * thickness,
            opening=motion.opening,
        )
        nose_v = traits.nose_length - 0.03 * motion.nose_creases
        return cls(
            traits,
            motion,
            Eyes(traits.eye_spacing, traits.eye_width, above, below),
            mouth,
            traits.chin_height + motion.jaw,
            nose_v,
        )

    @property
    def points(self) -> list[tuple[float, float]]:
        """Eyes, tip of the nose, corners of the mouth, as seen by the viewer from the left."""
        mouth, eyes = self.mouth, self.eyes
        return [
            (-eyes.u, 0.0),
            (eyes.u, 0.0),
            (0.0, self.nose_v),
            (-mouth.half_width, mouth.corner_v),
            (mouth.half_width, mouth.corner_v),
        ]
