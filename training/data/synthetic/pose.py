"""How a head is held and where its crop is cut: from pixels to face coordinates and back.

The head is a smooth bulge with a nose on it, turned and projected along parallel lines; then the crop is cut by the five
points, as an aligner would, with a little error of the detector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.picture import similarity_transform
from training.data.synthetic.canvas import Canvas, FloatArray

_STEPS = 3
_MORE_STEPS = 14
_DEPTH = 0.95


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a face matters to where its pixels come to lie."""

    nose_height: float
    nose_length: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Turned to the viewer's right by `yaw` and down by `pitch`, in radians; `crop` takes the plane to pixels."""

    yaw: float
    pitch: float
    shape: Shape
    crop: npt.NDArray[np.float64]

    @classmethod
    def aligned(
        cls,
        turned: tuple[float, float],
        shape: Shape,
        points: Sequence[tuple[float, float]],
        template_52: npt.NDArray[np.float64],
    ) -> "Pose":
        """Turned by (yaw, pitch), with the crop that has the five `points` of the face, in face units, on the template.

        The template is in pixels of the crop; an aligner's error is an error of it.
        """
        pose = cls(*turned, shape, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
        found = np.array([pose.project(u, v) for u, v in points])
        return cls(*turned, shape, similarity_transform(found, template_52))

    @property
    def pixel(self) -> float:
        """Size of a pixel in face units."""
        return 1.0 / math.hypot(self.crop[0, 0], self.crop[1, 0])

    def project(self, u: float, v: float) -> tuple[float, float]:
        """Where a point of the face comes to lie in the crop, in pixels."""
        depth = _depth_at(u, v, self.shape)
        x = u * math.cos(self.yaw) + depth * math.sin(self.yaw)
        y = v * math.cos(self.pitch) + depth * math.sin(self.pitch)
        return (
            float(self.crop[0, 0] * x + self.crop[0, 1] * y + self.crop[0, 2]),
            float(self.crop[1, 0] * x + self.crop[1, 1] * y + self.crop[1, 2]),
        )

    def canvas(self, side: int) -> tuple[Canvas, FloatArray]:
        """An empty canvas of side x side pixels, and the depth (H, W) of the head at each, in face units.

        The projection is inverted by fixed-point steps, more for a head turned farther. Turned by 0.5 radians one way, eyes
        and mouth are right to a small part of a pixel; where a far-turned nose hides the cheek behind it, they do not settle.
        """
        linear, shift = self.crop[:, :2], self.crop[:, 2]
        back = np.linalg.inv(linear)
        x0, y0 = (-back @ shift).tolist()
        row = np.arange(side, dtype=np.float32)
        x = float(back[0, 0]) * row[None, :] + float(back[0, 1]) * row[:, None] + x0
        y = float(back[1, 0]) * row[None, :] + float(back[1, 1]) * row[:, None] + y0
        tangent_u, tangent_v = math.tan(self.yaw), math.tan(self.pitch)
        x *= 1.0 / math.cos(self.yaw)
        y *= 1.0 / math.cos(self.pitch)
        u, v = x - 0.7 * tangent_u, y - 0.7 * tangent_v
        for _ in range(_STEPS + int(_MORE_STEPS * max(abs(tangent_u), abs(tangent_v)))):
            depth = _depth(u, v, self.shape)
            u, v = x - tangent_u * depth, y - tangent_v * depth
        return Canvas(np.empty((3, side, side), np.float32), u, v, self.pixel), depth


def _depth(u: FloatArray, v: FloatArray, shape: Shape) -> FloatArray:
    """How far the head stands out towards the viewer at each pixel, in face units."""
    square, lower = u * u, v - 0.25
    bulge = 0.55 * square
    lower *= lower
    lower *= 0.22
    bulge += lower
    bulge += 1.0
    np.divide(_DEPTH, bulge, out=bulge)
    nose = v - 0.86 * shape.nose_length
    nose *= nose
    nose *= -1.0 / 0.24**2
    square *= 1.0 / 0.045
    nose -= square
    np.exp(nose, out=nose)
    nose *= 0.75 * shape.nose_height
    bulge += nose
    return bulge


def _depth_at(u: float, v: float, shape: Shape) -> float:
    """The same at one point."""
    along = (v - 0.86 * shape.nose_length) / 0.24
    bulge = _DEPTH / (1.0 + 0.55 * u * u + 0.22 * (v - 0.25) ** 2)
    return bulge + 0.75 * shape.nose_height * math.exp(-u * u / 0.045 - along * along)
