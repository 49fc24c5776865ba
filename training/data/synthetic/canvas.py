"""A picture being painted, with the face coordinates of every pixel.

Shapes: H W picture, planes of colour (3, H, W) float32 in 0..1. Signed distances are in face units, negative inside.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
"""float32 all through, for speed; numpy's own types do not say that float32 times a Python float stays float32."""
Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Colour planes, and where on the face each pixel lies. Windows share their pixels with the whole."""

    colour_CHW: FloatArray
    u_HW: FloatArray
    v_HW: FloatArray
    pixel: float
    """Size of a pixel in face units."""

    def paint(self, coverage_HW: FloatArray, colour: Colour | FloatArray) -> None:
        """Lay a colour, or planes of colours, over what is there, as far as it covers (0 to 1)."""
        over = np.array(colour, dtype=np.float32)[:, None, None] if isinstance(colour, tuple) else colour
        change = over - self.colour_CHW
        change *= coverage_HW
        np.add(self.colour_CHW, change, out=self.colour_CHW)

    def shade(self, factor_HW: FloatArray) -> None:
        """Multiply what is there."""
        np.multiply(self.colour_CHW, factor_HW, out=self.colour_CHW)

    def inside(self, distance_HW: FloatArray, softness: float = 0.0) -> FloatArray:
        """Coverage from signed distance: an edge one pixel wide, and `softness` (face units) more."""
        covered: FloatArray = distance_HW * (-1.0 / (self.pixel + softness))
        covered += 0.5
        np.maximum(covered, 0.0, out=covered)
        np.minimum(covered, 1.0, out=covered)
        return covered

    def line(self, distance_HW: FloatArray, width: float) -> FloatArray:
        """Coverage of a stroke of `width` along where the distance is zero; thinner than a pixel it grows faint."""
        faint = min(1.0, width / self.pixel)
        return self.inside(np.abs(distance_HW) - 0.5 * max(width, self.pixel)) * faint

    def window(self, rows: slice, columns: slice) -> "Canvas":
        """A part of the picture."""
        return Canvas(self.colour_CHW[:, rows, columns], self.u_HW[rows, columns], self.v_HW[rows, columns], self.pixel)


def ellipse(u: FloatArray, v: FloatArray, half_width: float, half_height: float) -> FloatArray:
    """Signed distance from an ellipse around the origin, exact on its outline and for circles."""
    reach: FloatArray = np.sqrt(np.square(u * (1.0 / half_width)) + np.square(v * (1.0 / half_height)))
    reach -= 1.0
    reach *= min(half_width, half_height)
    return reach


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """The colour `share` of the way from one to the other.

    >>> mixed((0.0, 0.0, 0.0), (1.0, 0.5, 0.0), 0.5)
    (0.5, 0.25, 0.0)
    """
    return (
        one[0] + share * (other[0] - one[0]),
        one[1] + share * (other[1] - one[1]),
        one[2] + share * (other[2] - one[2]),
    )


def table(values: FloatArray, low: float, high: float, at: FloatArray) -> FloatArray:
    """A function given at equal steps from `low` to `high`, looked up at every pixel; constant beyond.

    >>> table(np.array([0.0, 1.0, 2.0], dtype=np.float32), 0.0, 1.0, np.array([-1.0, 0.5, 9.0], dtype=np.float32)).tolist()
    [0.0, 1.0, 2.0]
    """
    place = at - low
    place *= (len(values) - 1) / (high - low)
    place += 0.5
    np.maximum(place, 0, out=place)
    np.minimum(place, len(values) - 1, out=place)
    found: FloatArray = values.take(place.astype(np.intp))
    return found
