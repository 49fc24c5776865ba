"""What every feature must be before it is compared: finite, not zero, of its space's dimension, of length one."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ContractError

FloatArray = npt.NDArray[np.float32]

MIN_NORM = 1e-6
"""Vectors shorter than this have no direction that can be trusted."""

_BLOCK = 16_384
"""Rows normalised at once: float64 copies of a whole gallery would not fit in memory."""


class NonFiniteError(ContractError):
    """A feature holds NaN or infinity."""


class ZeroNormError(ContractError):
    """A feature is (nearly) the zero vector and has no direction."""


def unit_features(raw_ND: npt.NDArray[np.floating[Any]], *, what: str = "feature") -> FloatArray:
    """L2-normalise rows, (N, D) to float32 (N, D). Raises `NonFiniteError`, `ZeroNormError` naming the first bad row.

    Its own output comes back to the bit, so that features keep their digest however often they are read and written.

    >>> unit_features(np.array([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    unit_ND = np.empty(np.shape(raw_ND), dtype=np.float32)
    for start in range(0, len(unit_ND), _BLOCK):
        unit_ND[start : start + _BLOCK] = _unit_block(np.asarray(raw_ND[start : start + _BLOCK]), start, what)
    return unit_ND


def _unit_block(raw_ND: npt.NDArray[np.floating[Any]], start: int, what: str) -> FloatArray:
    """Some rows, the first of which is row `start` of the whole."""
    wide_ND = raw_ND.astype(np.float64)
    finite_N = np.isfinite(wide_ND).all(axis=1)
    if not finite_N.all():
        row = start + int(np.argmin(finite_N))
        raise NonFiniteError(f"{what} {row} holds NaN or infinity; extract it again or leave it out")
    # Scaled by the largest entry first, so that no square overflows.
    largest_N1 = np.abs(wide_ND).max(axis=1, keepdims=True, initial=0.0)
    too_small_N = largest_N1[:, 0] < MIN_NORM / max(1.0, np.sqrt(wide_ND.shape[1]))
    scaled_ND = wide_ND / np.where(too_small_N[:, None], 1.0, largest_N1)
    norm_N1 = np.linalg.norm(scaled_ND, axis=1, keepdims=True)
    # Cut at 2: enough to tell short rows and rows of length one, and no product overflows.
    length_N = norm_N1[:, 0] * np.minimum(largest_N1[:, 0], 2.0)
    too_small_N |= length_N < MIN_NORM
    if too_small_N.any():
        row = start + int(np.argmax(too_small_N))
        raise ZeroNormError(f"{what} {row} is a zero vector; it has no direction to compare: leave it out")
    unit_ND: FloatArray = (scaled_ND / norm_N1).astype(np.float32)
    if raw_ND.dtype.itemsize <= unit_ND.itemsize:
        is_unit_N = np.abs(length_N - 1.0) <= np.finfo(np.float32).eps
        unit_ND[is_unit_N] = wide_ND[is_unit_N]
    return unit_ND
