"""Which templates have the highest densities for probes of several features, by float32 products that BLAS multiplies.

Looking for each feature's nearest would not do: of features that are far apart, a template that lies between them all may be near
the top for none. So all products are looked at, and of those templates that have one above the least density that counts, the
density: it is never above the largest cosine.

Shapes: P probes, M features of each, B features of some probes, G rows of templates, D dimension, K those of the highest
densities of one probe.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from models.parzen import density_scores
from service.entities import FloatArray
from service.galleries.segments import RowArray

_MATRIX_NUMBERS, _FEWEST_ROWS, _MOST_ROWS = 1 << 18, 8, 64
"""Matrices of so many products (rows x features x D) OpenBLAS multiplies on the calling thread, and without copying the rows."""

_FEATURES_AT_ONCE = 20
"""Of as many probes as have no more together: fewer are slower, more leave too few rows for one matrix."""

_SCORES_AT_ONCE, _FIRST_SHARE = 1 << 17, 8
"""They fit into a core's own cache; and of the first templates one in so many of these."""


def densest(probes_PMD: FloatArray, sigma: float, vectors_GD: FloatArray, num: int) -> tuple[FloatArray, RowArray]:
    """The `num` (at most G) rows of the highest float32 densities for each probe, in no order: these and those (P, K)."""
    num_samples, dimension = probes_PMD.shape[1:]
    highest = [_Highest(num, sigma) for _ in probes_PMD]
    size = max(1, _FEATURES_AT_ONCE // num_samples)
    groups = [
        (highest[start : start + size], probes_PMD[start : start + size]) for start in range(0, len(highest), size)
    ]
    columns = [(of_group, np.ascontiguousarray(some.reshape(-1, dimension).T)) for of_group, some in groups]
    step = max(1, _SCORES_AT_ONCE // (size * num_samples))
    # From the first few on it is known what is of no account.
    starts = [0, *range(step // _FIRST_SHARE or step, len(vectors_GD), step)]
    for start, end in pairwise([*starts, len(vectors_GD)]):
        block_GD = vectors_GD[start:end]
        for of_group, features_DB in columns:
            score_GPM = _products(block_GD, features_DB).reshape(len(block_GD), -1, num_samples)
            for place, of_probe in enumerate(of_group):
                of_probe.offer(start, np.ascontiguousarray(score_GPM[:, place]))
    return np.stack([one.scores for one in highest]), np.stack([one.rows for one in highest])


def densities(probe_MD: FloatArray, sigma: float, vectors_GD: FloatArray) -> FloatArray:
    """The densities (G,) of templates for one probe, by float32 products."""
    return _densities(_products(vectors_GD, np.ascontiguousarray(probe_MD.T)), sigma)


def _densities(score_GM: FloatArray, sigma: float) -> FloatArray:
    # Row by row of another matrix: numpy is fast along what lies together.
    return density_scores(np.ascontiguousarray(score_GM.T), sigma).astype(np.float32)


class _Highest:
    """Of all rows that were offered, those of the highest densities for one probe."""

    def __init__(self, num: int, sigma: float) -> None:
        self._num, self._sigma = num, sigma
        self.scores: FloatArray = np.empty(0, dtype=np.float32)
        self.rows: RowArray = np.empty(0, dtype=np.int64)

    def offer(self, first_row: int, score_GM: FloatArray) -> None:
        """Rows from `first_row` on, with their cosines."""
        near = self._near(score_GM)
        if not len(near):
            return
        scores = _densities(score_GM[near], self._sigma)
        self.scores, self.rows = np.concatenate([self.scores, scores]), np.concatenate([self.rows, near + first_row])
        if len(self.scores) > self._num:
            kept = np.argpartition(self.scores, -self._num)[-self._num :]
            self.scores, self.rows = self.scores[kept], self.rows[kept]

    def _near(self, score_GM: FloatArray) -> RowArray:
        """Those that may have a place."""
        if len(self.scores) < self._num:
            return np.arange(len(score_GM))
        # Of all products at once: to look at them row by row takes longer than to multiply.
        above = np.flatnonzero(score_GM.reshape(-1) > self.scores.min())
        return np.unique(above // score_GM.shape[1])


def _products(vectors_GD: FloatArray, features_DB: FloatArray) -> FloatArray:
    """(G, B)."""
    dimension, num = features_DB.shape
    score_GB = np.empty((len(vectors_GD), num), dtype=np.float32)
    for rows, num_rows in _matrices(len(vectors_GD), dimension * num):
        together = vectors_GD[rows].reshape(-1, num_rows, dimension)
        np.matmul(together, features_DB, out=score_GB[rows].reshape(-1, num_rows, num))
    return score_GB


def _matrices(num: int, numbers_per_row: int) -> Iterator[tuple[slice, int]]:
    """All of so many rows, in matrices of so many rows each: those that are full, and the rest."""
    size = max(_FEWEST_ROWS, min(_MOST_ROWS, _MATRIX_NUMBERS // numbers_per_row))
    full = num // size * size
    if full:
        yield slice(0, full), size
    if full < num:
        yield slice(full, num), num - full
