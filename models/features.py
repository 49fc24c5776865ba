"""What every feature must be before it is compared: finite, not zero, of its space's dimension, of length one."""

from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ContractError

FloatArray = npt.NDArray[np.float32]

MIN_NORM = 1e-6
"""Vectors shorter than this have no direction that can be trusted."""

UNIT_TOLERANCE = 1e-3
"""Off by less, a norm is one: half-precision copies of features of length one are."""

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
    return unit_features_and_norms(raw_ND, what=what)[0]


def unit_features_and_norms(
    raw_ND: npt.NDArray[np.floating[Any]], *, what: str = "feature"
) -> tuple[FloatArray, FloatArray]:
    """As `unit_features`, and the norms (N,) that the rows had; NaN of rows of length one, whose norm nobody kept.

    >>> unit_features_and_norms(np.array([[3.0, 4.0], [0.6, 0.8]]))[1].tolist()
    [5.0, nan]
    """
    unit_ND, norm_N = np.empty(np.shape(raw_ND), dtype=np.float32), np.empty(len(raw_ND), dtype=np.float32)
    for start in range(0, len(unit_ND), _BLOCK):
        block = slice(start, start + _BLOCK)
        unit_ND[block], norm_N[block] = _unit_block(np.asarray(raw_ND[block]), start, what)
    return unit_ND, norm_N


def checked_norms(norm_N: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """Norms (N,) as they are kept: NaN where they are of length one, not positive or not finite, and so say nothing."""
    with np.errstate(over="ignore"):
        kept_N = norm_N.astype(np.float32)
    kept_N[~np.isfinite(kept_N) | (kept_N <= 0) | (np.abs(kept_N - 1) < UNIT_TOLERANCE)] = np.nan
    return kept_N


def _unit_block(raw_ND: npt.NDArray[np.floating[Any]], start: int, what: str) -> tuple[FloatArray, FloatArray]:
    """Some rows, the first of which is row `start` of the whole."""
    with np.errstate(invalid="ignore"):
        # A NaN that signals is told of below, as any.
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
    with np.errstate(over="ignore"):
        return unit_ND, checked_norms(norm_N1[:, 0] * largest_N1[:, 0])
