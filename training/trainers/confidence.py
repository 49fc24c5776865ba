"""A linear map that estimates, from a feature and its translation, how well it will be recognised.

Shapes: N features, F inputs, Y things to estimate.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOLDS = 4
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties on the weights of inputs that are scaled to a variance of one, in multiples of what all pictures weigh."""
_SMALLEST_SD = 1e-6

_FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Estimator:
    """What it estimates has a mean of zero."""

    weight_F: _FloatArray
    bias_1: _FloatArray
    unseen_N: _FloatArray
    """Of each feature the estimate of one that has not seen its person."""


def fit_estimator(
    input_NF: _FloatArray, wanted_NY: _FloatArray, weight_N: _FloatArray, code_N: npt.NDArray[np.int64], seed: int
) -> Estimator:
    """Ridge regression of several things, each scaled to a mean of zero and a variance of one; the estimate is their sum.

    To estimate two things that mean nearly the same, from different pictures, is steadier than either. The strength is the one
    that is best on people that have not been seen, a quarter of them at a time. `code_N` says whose each feature is. Features of
    which it is not known what is wanted, NaN, weigh nothing.

    Source: Hoerl and Kennard, Ridge regression (Technometrics 1970).
    """
    mean_F, sd_F = input_NF.mean(axis=0), np.maximum(input_NF.std(axis=0), _SMALLEST_SD)
    scaled_NF = (input_NF - mean_F) / sd_F
    fold_N = np.random.default_rng(seed).permutation(int(code_N.max()) + 1)[code_N] % FOLDS
    fitted = [_fit(scaled_NF, wanted_N, weight_N, fold_N) for wanted_N in wanted_NY.T]
    weight_F, unseen_N = (np.sum(parts, axis=0) for parts in zip(*fitted, strict=True))
    weight_F = (weight_F / sd_F).astype(np.float32)
    return Estimator(weight_F, np.array([-mean_F @ weight_F], dtype=np.float32), unseen_N)


def _fit(
    scaled_NF: _FloatArray, wanted_N: _FloatArray, weight_N: _FloatArray, fold_N: npt.NDArray[np.int64]
) -> tuple[_FloatArray, _FloatArray]:
    """The weights (F,), and of each feature the estimate by those of the other folds (N,)."""
    is_known_N = ~np.isnan(wanted_N)
    mean, sd = wanted_N[is_known_N].mean(), max(wanted_N[is_known_N].std(), _SMALLEST_SD)
    wanted_N, weight_N = np.where(is_known_N, (wanted_N - mean) / sd, np.float32(0)), weight_N * is_known_N
    parts = [
        _Moments.of(*(values[fold_N == fold] for values in (scaled_NF, wanted_N, weight_N))) for fold in range(FOLDS)
    ]
    whole = _Moments.of(scaled_NF, wanted_N, weight_N)
    unseen: list[tuple[float, _FloatArray]] = []
    for strength in STRENGTHS:
        unseen_N = np.empty(len(scaled_NF), dtype=np.float32)
        for fold, part in enumerate(parts):
            unseen_N[fold_N == fold] = scaled_NF[fold_N == fold] @ whole.without(part).solve(strength)
        unseen.append((float(np.sum(weight_N * (unseen_N - wanted_N) ** 2)), unseen_N))
    best = min(range(len(STRENGTHS)), key=lambda number: unseen[number][0])
    return whole.solve(STRENGTHS[best]), unseen[best][1]


@dataclass(frozen=True, slots=True)
class _Moments:
    """Weighted sums over pictures."""

    square_FF: _FloatArray
    product_F: _FloatArray
    weight: float

    @classmethod
    def of(cls, input_NF: _FloatArray, wanted_N: _FloatArray, weight_N: _FloatArray) -> "_Moments":
        weighted_FN: _FloatArray = input_NF.T * weight_N
        return cls(weighted_FN @ input_NF, weighted_FN @ wanted_N, float(weight_N.sum()))

    def without(self, part: "_Moments") -> "_Moments":
        return _Moments(self.square_FF - part.square_FF, self.product_F - part.product_F, self.weight - part.weight)

    def solve(self, strength: float) -> _FloatArray:
        penalty = np.float32(strength * self.weight)
        weight_F: _FloatArray = np.linalg.solve(
            self.square_FF + penalty * np.eye(len(self.square_FF), dtype=np.float32), self.product_F
        )
        return weight_F
