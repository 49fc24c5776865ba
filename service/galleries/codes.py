"""Vectors as bytes, and how far products of these may be from products of the vectors: a quarter of the memory is read, and
processors multiply more bytes at once than numbers.

Shapes: G rows of a block, P probes, M features of each, B of all of them, D dimension.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from models.runtime import BYTE_ZERO, LARGEST_FACTOR, ByteProducts
from service.entities import FloatArray
from service.galleries.rules import LENGTH_TOLERANCE

_BLOCK_BYTES = 1 << 22
"""Of a block: few enough that its products stay near a core, so many that what is done once a block takes no time."""
_LARGEST_CODE = 127
_FEWEST_ROWS = 64

ByteArray = npt.NDArray[np.uint8]
ProductArray = npt.NDArray[np.int32]


def block_rows(dimension: int) -> int:
    """Vectors of a block."""
    return max(_FEWEST_ROWS, _BLOCK_BYTES // dimension)


@dataclass(frozen=True, slots=True)
class CodedBlock:
    """Vectors of length one as bytes."""

    bytes_GD: ByteArray
    scale: float
    """What one step of a byte is worth."""
    error: float
    """The distance of a vector from its bytes at most."""

    @classmethod
    def of(cls, vectors_GD: FloatArray) -> "CodedBlock":
        """Each number to the nearest step, of which there are as many to the largest number of the block."""
        # Somebody may be forgotten meanwhile.
        vectors_GD = vectors_GD.copy()
        scale = float(np.abs(vectors_GD).max(initial=0.0)) / _LARGEST_CODE or 1.0
        step_GD = np.rint(vectors_GD * np.float32(1 / scale))
        distance_G = np.linalg.norm(vectors_GD - step_GD * np.float32(scale), axis=1)
        return cls((step_GD + BYTE_ZERO).astype(np.uint8), scale, float(distance_G.max(initial=0.0)))

    def forget(self, rows: npt.NDArray[np.int64]) -> None:
        """These vectors are nothing from here on."""
        self.bytes_GD[rows] = BYTE_ZERO


class CodedFeatures:
    """What is asked about, as small integers, those of one probe on one scale."""

    def __init__(self, features_PMD: FloatArray) -> None:
        num_probes, num_samples, dimension = features_PMD.shape
        largest_P = np.abs(features_PMD).max(axis=(1, 2))
        self.scale_P = np.where(largest_P > 0, largest_P, 1.0).astype(np.float64) / LARGEST_FACTOR
        steps_PMD = np.rint(features_PMD / self.scale_P[:, None, None])
        off_PM = np.linalg.norm(features_PMD - steps_PMD * self.scale_P[:, None, None], axis=2)
        self._off_P = off_PM.max(axis=1)
        self._length_P = np.linalg.norm(features_PMD, axis=2).max(axis=1)
        self._float_error = (dimension + 8) * float(np.finfo(np.float32).eps)
        steps_BD = steps_PMD.reshape(num_probes * num_samples, dimension).astype(np.int8)
        self._steps_DB = np.ascontiguousarray(steps_BD.T)

    def products(self, block: CodedBlock, rows: slice) -> ProductArray:
        """Of some rows of a block with all features, (G, B), in steps of both scales."""
        return _multiply()(block.bytes_GD[rows], self._steps_DB)

    def errors(self, block: CodedBlock) -> npt.NDArray[np.float64]:
        """How far a product may be at most from the float32 product of the vectors, for each probe (P,).

        |x q - x' q'| <= |x - x'| |q| + |x'| |q - q'|, and what float32 adds in any order.
        """
        length = 1.0 + LENGTH_TOLERANCE + block.error
        bound_P: npt.NDArray[np.float64] = block.error * self._length_P + length * self._off_P + self._float_error
        return bound_P


@cache
def _multiply() -> ByteProducts:
    return ByteProducts()


def least_steps(cosine: float, scale: float) -> int:
    """The least product in steps that is not below a cosine, as an int32 can tell."""
    return math.ceil(min(max(cosine / scale, -(2.0**31)), 2.0**31 - 1.0))
