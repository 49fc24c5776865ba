"""What features of a space look like: which single ones are not of it, and which streams of them are not.

Features are seen in the directions in which those of the space vary, each scaled to a variance of one; directions in which
they hardly vary tell most, as nothing but a feature of another origin has anything there. Directions are grouped in BLOCKS
blocks, from the widest to the narrowest.

Shapes: N features, D dimension of the space, K BLOCKS blocks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ContractError
from models.features import FloatArray

BLOCKS = 4
STREAM = 200
"""Different faces of a stream for which its scores are calibrated."""
FEWEST_FACES = 50
"""Of fewer a stream has no scores: what they have in common may be one person's."""
SAME_FACE = 0.5
"""Cosine from which on two features of a stream may be of one person, who then counts once."""

_FieldArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpaceReference:
    """Measured on faces of many people; features are unit vectors."""

    mean_D: FloatArray
    basis_DD: FloatArray
    """Columns are directions, the widest first, over the standard deviation there."""
    limit_K: _FieldArray
    """Energy of a feature in each block that hardly any of the space has."""
    stream_mean_2K: _FieldArray
    """Of the logs of energy and shift in each block, over streams of STREAM different faces."""
    stream_sd_2K: _FieldArray
    stream_limit: float
    """How many standard deviations hardly any stream of the space is off."""

    def whitened(self, feature_ND: FloatArray) -> FloatArray:
        """Features in the directions of the space, (N, D): mean zero and variance one in each, for those of the space."""
        whitened_ND: FloatArray = np.matmul(feature_ND - self.mean_D, self.basis_DD, dtype=np.float32)
        return whitened_ND

    def mahalanobis(self, feature_ND: FloatArray) -> FloatArray:
        """The squared Mahalanobis distance over the dimension, (N,): one on average."""
        distance_N: FloatArray = np.square(self.whitened(feature_ND)).mean(axis=1, dtype=np.float32)
        return distance_N

    def is_outlier(self, whitened_ND: FloatArray) -> npt.NDArray[np.bool_]:
        """Which features, (N,), hardly any of the space is like."""
        is_outlier_N: npt.NDArray[np.bool_] = np.any(energies(whitened_ND) > self.limit_K, axis=1)
        return is_outlier_N

    def stream_score(self, whitened_ND: FloatArray) -> float:
        """How far a stream of N different faces is off, in standard deviations: the farthest of energy and shift in any block.

        Less energy than usual counts as much as more; a shift only where it is larger.
        """
        off_2K = (stream_statistics(whitened_ND) - self.stream_mean_2K) / self.stream_sd_2K
        # Of fewer faces the mean energy varies more; that of a shift does not, as it is scaled by their number.
        energy_K = np.abs(off_2K[:BLOCKS]) * np.sqrt(min(1.0, len(whitened_ND) / STREAM))
        return float(max(energy_K.max(), off_2K[BLOCKS:].max()))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """By name, as `from_arrays` takes them."""
        return {
            "mean": self.mean_D,
            "basis": self.basis_DD,
            "limit": self.limit_K,
            "stream_mean": self.stream_mean_2K,
            "stream_sd": self.stream_sd_2K,
            "stream_limit": np.array([self.stream_limit], dtype=np.float32),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], dimension: int) -> "SpaceReference":
        """Check and take. Raises `ContractError`."""
        shapes = {
            "mean": (dimension,),
            "basis": (dimension, dimension),
            "limit": (BLOCKS,),
            "stream_mean": (2 * BLOCKS,),
            "stream_sd": (2 * BLOCKS,),
            "stream_limit": (1,),
        }
        found = checked_arrays(arrays, shapes)
        if (found["stream_sd"] <= 0).any():
            raise ContractError("stream_sd must be above zero")
        return cls(
            found["mean"],
            found["basis"],
            found["limit"],
            found["stream_mean"],
            found["stream_sd"],
            float(found["stream_limit"][0]),
        )


def energies(whitened_ND: FloatArray) -> FloatArray:
    """The mean square of each feature in each block, (N, K)."""
    return np.stack([np.square(block_NE).mean(axis=1) for block_NE in np.array_split(whitened_ND, BLOCKS, axis=1)], 1)


def stream_statistics(whitened_ND: FloatArray) -> npt.NDArray[np.float64]:
    """Of a stream of different faces, in each block, the log of the mean energy, and that of the mean feature's, (2 K,).

    The latter times the number of faces: of faces that have nothing in common it does not depend on that number.
    """
    energy_K = energies(whitened_ND).mean(axis=0)
    shift_K = energies(whitened_ND.mean(axis=0, keepdims=True))[0] * len(whitened_ND)
    return np.log(np.maximum(np.concatenate([energy_K, shift_K]).astype(np.float64), 1e-12))


def checked_arrays(
    arrays: Mapping[str, npt.NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, npt.NDArray[np.float32]]:
    """The named arrays as finite float32 of these shapes; -1 stands for any extent. Raises `ContractError`."""
    found = {}
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None or array.dtype != np.float32 or len(array.shape) != len(shape):
            raise ContractError(f"{name} must be a float32 array of {len(shape)} dimensions")
        if any(wanted not in (-1, extent) for extent, wanted in zip(array.shape, shape, strict=True)):
            raise ContractError(f"{name} has not the shape that belongs to its space")
        if not np.isfinite(array).all():
            raise ContractError(f"{name} holds NaN or infinity")
        found[name] = array
    return found
