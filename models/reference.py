"""What features of a space look like: which single ones are not of it, and which streams of them are not.

Features are seen in the directions in which those of the space vary, each scaled to a variance of one; directions in which
they hardly vary tell most, as nothing but a feature of another origin has anything there. Directions are grouped in BLOCKS
blocks, from the widest to the narrowest.

Shapes: N features, D dimension of the space, K BLOCKS blocks, Z statistics of a stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ContractError
from models.features import FloatArray

BLOCKS = 4
STREAM = 200
"""Different faces of a stream for which its scores are calibrated."""
NUM_STATISTICS = 2 * BLOCKS + 1
FEWEST_SPREAD = 20
"""Different faces from which on their spread is looked at."""
FEWEST_FACES = 50
"""Different faces from which on their mean is looked at: what fewer have in common may be one person's."""

LARGEST = 1e7
"""Of any number that is read: squares of what comes of them do not overflow."""
SMALLEST_SD = 1e-6

_FieldArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpaceReference:
    """Measured on faces of many people; features are unit vectors."""

    mean_D: FloatArray
    basis_DD: FloatArray
    """Columns are directions, the widest first, over the standard deviation there."""
    same_face: float
    """Cosine that hardly any two people's features reach: from there on two of a stream may be of one, who then counts once."""
    limit_K: _FieldArray
    """Energy of a feature in each block that hardly any of the space has."""
    stream_mean_Z: _FieldArray
    """Of `stream_statistics`, over streams of STREAM different faces."""
    stream_sd_Z: _FieldArray
    stream_limit: float
    """How many standard deviations hardly any stream of the space is off."""

    def whitened(self, feature_ND: FloatArray) -> FloatArray:
        """Features in the directions of the space, (N, D): mean zero and variance one in each, for those of the space."""
        return whitened(feature_ND, self.mean_D, self.basis_DD)

    def is_outlier(self, whitened_ND: FloatArray) -> npt.NDArray[np.bool_]:
        """Which features, (N,), hardly any of the space is like."""
        is_outlier_N: npt.NDArray[np.bool_] = np.any(energies(whitened_ND) > self.limit_K, axis=1)
        return is_outlier_N

    def stream_score(self, whitened_ND: FloatArray) -> float | None:
        """How far a stream of N different faces is off, in standard deviations: the farthest of the statistics.

        Faces of a space are no less like it for having less energy than usual, or less in common. None for too few faces.
        """
        num = len(whitened_ND)
        if num < FEWEST_SPREAD:
            return None
        off_Z = (stream_statistics(whitened_ND) - self.stream_mean_Z) / self.stream_sd_Z
        # Of fewer faces the mean energy varies more; a shift does not, as it is scaled by their number.
        energy = float(off_Z[:BLOCKS].max() * np.sqrt(min(1.0, num / STREAM)))
        return energy if num < FEWEST_FACES else max(energy, float(off_Z[BLOCKS:].max()))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By name, as `from_arrays` takes them."""
        return {
            "mean": self.mean_D,
            "basis": self.basis_DD,
            "same_face": np.array([self.same_face], dtype=np.float32),
            "limit": self.limit_K,
            "stream_mean": self.stream_mean_Z,
            "stream_sd": self.stream_sd_Z,
            "stream_limit": np.array([self.stream_limit], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], dimension: int) -> "SpaceReference":
        """Check and take. Raises `ContractError`."""
        shapes = {
            "mean": (dimension,),
            "basis": (dimension, dimension),
            "same_face": (1,),
            "limit": (BLOCKS,),
            "stream_mean": (NUM_STATISTICS,),
            "stream_sd": (NUM_STATISTICS,),
            "stream_limit": (1,),
        }
        found = checked_arrays(arrays, shapes)
        if (found["stream_sd"] < SMALLEST_SD).any():
            raise ContractError(f"stream_sd must be {SMALLEST_SD:g} or more")
        if found["stream_limit"][0] <= 0 or not -1 <= found["same_face"][0] <= 1:
            raise ContractError("stream_limit must be above zero, and same_face a cosine")
        return cls(
            found["mean"],
            found["basis"],
            float(found["same_face"][0]),
            found["limit"],
            found["stream_mean"],
            found["stream_sd"],
            float(found["stream_limit"][0]),
        )


def whitened(feature_ND: FloatArray, mean_D: FloatArray, basis_DD: FloatArray) -> FloatArray:
    """Features in the directions of a basis, from a mean, (N, D)."""
    whitened_ND: FloatArray = np.matmul(feature_ND - mean_D, basis_DD, dtype=np.float32)
    return whitened_ND


def energies(whitened_ND: FloatArray) -> FloatArray:
    """The mean square of each feature in each block, (N, K)."""
    return _block_means(np.square(whitened_ND))


def stream_statistics(whitened_ND: FloatArray) -> npt.NDArray[np.float64]:
    """Of a stream of different faces: the log of the mean energy in each block, of the energy of their mean in each block, and of
    that over all blocks, (Z,).

    The mean's times the number of faces: of faces that have nothing in common it does not depend on that number.
    """
    energy_D = np.einsum("nd,nd->d", whitened_ND, whitened_ND) / len(whitened_ND)
    shift_D = np.square(whitened_ND.mean(axis=0)) * len(whitened_ND)
    means = [*_block_means(np.stack([energy_D, shift_D])).reshape(-1), shift_D.mean()]
    return np.log(np.maximum(np.array(means, dtype=np.float64), 1e-12))


def _block_means(value_ND: FloatArray) -> FloatArray:
    """The mean of each block of directions, (N, K)."""
    start_K, width_K = _blocks(value_ND.shape[1])
    return np.add.reduceat(value_ND, start_K, axis=1).astype(np.float32) / width_K


@cache
def _blocks(dimension: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Where each block starts, and how wide it is."""
    width_K = np.array([len(block) for block in np.array_split(np.arange(dimension), BLOCKS)])
    return np.cumsum(width_K) - width_K, width_K.astype(np.float32)


def checked_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The named arrays as float32 of these shapes, up to LARGEST; -1 stands for any extent. Raises `ContractError`."""
    found = {}
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.dtype != np.float32 or len(array.shape) != len(shape):
            raise ContractError(f"{name} must be a float32 array of {len(shape)} dimensions")
        if any(wanted not in (-1, extent) for extent, wanted in zip(array.shape, shape, strict=True)):
            raise ContractError(f"{name} has not the shape that belongs to its space")
        if not (np.abs(array) <= LARGEST).all():
            raise ContractError(f"{name} holds NaN, or a number beyond {LARGEST:g}")
        found[name] = array
    return found
