"""A common space of everybody's own spaces: what an encoder gives, beside its translations into all others.

Shapes: N pictures, D dimension of one encoder's space, E the sum of all D, C comparisons, K encoders.

The score of two features there is the weighted mean of their scores in each space: of two encoders, the first one's
feature translated is compared with the second's own, and the second's translated with the first's own. The two errors
are not the same ones, so that the mean misses fewer people than either.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.adapters import SideBySide
from models.features import FloatArray
from training.trainers.fitted import CommonData, FittedSides, TrainingData
from training.trainers.residual_mlp import fit_residual_mlp
from training.trainers.torch_translator import TorchTranslator

MAX_PICTURES = 2048
"""Of validation, for the weights; more are thinned out evenly."""
_SCORES_AT_ONCE = 1 << 18
_SMALLEST_WEIGHT = 0.05
DoubleArray = npt.NDArray[np.float64]


def fit_two_sided(data: CommonData) -> FittedSides[TorchTranslator]:
    """A translator for every ordered pair of encoders, and what each space's score counts.

    The weights are those of Fisher's linear discriminant between genuine and impostor scores of validation subjects
    (Fisher, The use of multiple measurements in taxonomic problems, 1936), none below 0.05 before they are made to sum to
    one; equal where subjects are not known.
    """
    translators: dict[tuple[int, int], TorchTranslator] = {}
    for i, j in itertools.permutations(range(len(data.sides)), 2):
        data.on_step(f"{data.names[i]} to {data.names[j]}")
        pair = TrainingData(
            data.sides[i], data.sides[j], data.validation[i], data.validation[j], data.seed, subject_N=data.subject_N
        )
        translators[i, j] = fit_residual_mlp(pair).model
    weight_K = score_weights(_beside(data.validation, translators), data.validation_subject_V)
    models = [
        TorchTranslator(
            SideBySide(
                [None if i == j else translators[i, j].network for j in range(len(data.sides))], weight_K.tolist()
            )
        )
        for i in range(len(data.sides))
    ]
    return FittedSides(models, {"weights": dict(zip(data.names, weight_K.round(4).tolist(), strict=True))})


def score_weights(beside: Sequence[Sequence[FloatArray]], subject_V: npt.NDArray[np.str_] | None) -> DoubleArray:
    """What the score in each space counts (K,), of sum 1; `beside[i][j]` are the features of encoder i in space j."""
    num_sides = len(beside)
    equal_K = np.full(num_sides, 1 / num_sides)
    if subject_V is None:
        return equal_K
    rows = np.linspace(0, len(subject_V) - 1, min(len(subject_V), MAX_PICTURES)).astype(np.int64)
    _, code = np.unique(subject_V[rows], return_inverse=True)
    same = code[:, None] == code[None]
    off_diagonal = ~np.eye(len(rows), dtype=bool)
    genuine, impostor = _Spread(num_sides), _Spread(num_sides)
    for i, j in itertools.combinations(range(num_sides), 2):
        score_VVK = np.stack([beside[i][k][rows] @ beside[j][k][rows].T for k in range(num_sides)], axis=-1)
        genuine.add(score_VVK[same & off_diagonal])
        impostor.add(score_VVK[~same])
    if min(genuine.num, impostor.num) <= num_sides:
        return equal_K
    within_KK = (genuine.covariance() + impostor.covariance()) / 2 + 1e-9 * np.eye(num_sides)
    weight_K = np.linalg.solve(within_KK, genuine.mean() - impostor.mean())
    kept_K: DoubleArray = np.maximum(weight_K / max(np.abs(weight_K).sum(), 1e-12), _SMALLEST_WEIGHT)
    return np.asarray(kept_K / kept_K.sum())


class _Spread:
    """Mean and covariance of scores (C, K) that come in parts: all of them at once are too many for several encoders."""

    def __init__(self, num_sides: int) -> None:
        self.num = 0
        self._sum_K: DoubleArray = np.zeros(num_sides)
        self._product_KK: DoubleArray = np.zeros((num_sides, num_sides))

    def add(self, score_CK: FloatArray) -> None:
        """Count these scores in."""
        self.num += len(score_CK)
        self._sum_K += score_CK.sum(axis=0, dtype=np.float64)
        for start in range(0, len(score_CK), _SCORES_AT_ONCE):
            block_CK = score_CK[start : start + _SCORES_AT_ONCE].astype(np.float64)
            self._product_KK += block_CK.T @ block_CK

    def mean(self) -> DoubleArray:
        """Means (K,)."""
        return self._sum_K / self.num

    def covariance(self) -> DoubleArray:
        """Unbiased covariances (K, K)."""
        return (self._product_KK - self.num * np.outer(self.mean(), self.mean())) / (self.num - 1)


def _beside(
    sides: Sequence[FloatArray], translators: Mapping[tuple[int, int], TorchTranslator]
) -> list[list[FloatArray]]:
    """The features of each side in each space, in that order."""
    numbers = range(len(sides))
    return [[sides[i] if i == j else translators[i, j](sides[i]) for j in numbers] for i in numbers]
