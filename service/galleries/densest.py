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

_MATRIX_PRODUCTS, _FEWEST_ROWS, _MOST_ROWS = 1 << 18, 8, 64
"""Matrices of so many products (rows x features x D) OpenBLAS multiplies on the calling thread, and without copying the rows."""

_FEATURES_AT_ONCE = 20
"""Of as many probes as have no more together: fewer are slower, more leave too few rows for one matrix."""

_NUMBERS_AT_ONCE, _SCORES_AT_ONCE, _FIRST_SHARE = 1 << 17, 1 << 16, 8
"""Of vectors and of products; either fit into a core's own cache. Of the first templates there are one in so many products."""


def densest(probes_PMD: FloatArray, sigma: float, vectors_GD: FloatArray, num: int) -> tuple[FloatArray, RowArray]:
    """The `num` (at most G) rows of the highest float32 densities for each probe, in no order: these and those (P, K)."""
    num_samples, dimension = probes_PMD.shape[1:]
    highest = [_Highest(num, sigma) for _ in probes_PMD]
    size = max(1, min(len(probes_PMD), _FEATURES_AT_ONCE // num_samples))
    groups = [
        (highest[start : start + size], probes_PMD[start : start + size]) for start in range(0, len(highest), size)
    ]
    columns = [(of_group, np.ascontiguousarray(some.reshape(-1, dimension).T)) for of_group, some in groups]
    step = max(1, _SCORES_AT_ONCE // (size * num_samples))
    # From the first few on it is known what is of no account.
    starts = [0, *range(step // _FIRST_SHARE or step, len(vectors_GD), step)]
    for start, end in pairwise([*starts, len(vectors_GD)]):
        block_GD = vectors_GD[start:end]
        for place, (of_group, features_DB) in enumerate(columns):
            score_GB = _products(block_GD, features_DB, is_read=place > 0)
            score_GPM = score_GB.reshape(len(block_GD), -1, num_samples)
            for of_probe, score_GM in zip(of_group, score_GPM.transpose(1, 0, 2), strict=True):
                of_probe.offer(start, np.ascontiguousarray(score_GM))
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


def _products(vectors_GD: FloatArray, features_DB: FloatArray, *, is_read: bool = False) -> FloatArray:
    """(G, B); of vectors that were read before, or not."""
    dimension, num = features_DB.shape
    score_GB = np.empty((len(vectors_GD), num), dtype=np.float32)
    for rows, num_rows in _pieces(len(vectors_GD), dimension, num):
        together = vectors_GD[rows].reshape(-1, num_rows, dimension)
        if not is_read:
            # From one end to the other: memory is slow to give what matrices are multiplied of, here and there.
            together.max()
        np.matmul(together, features_DB, out=score_GB[rows].reshape(-1, num_rows, num))
    return score_GB


def _pieces(num_rows: int, dimension: int, num: int) -> Iterator[tuple[slice, int]]:
    """Some rows after others, and of how many each a matrix is made; but for the last these are whole ones."""
    size = max(_FEWEST_ROWS, min(_MOST_ROWS, _MATRIX_PRODUCTS // (dimension * num)))
    step = max(1, _NUMBERS_AT_ONCE // (dimension * size)) * size
    full = num_rows // size * size
    for start in range(0, full, step):
        yield slice(start, min(full, start + step)), size
    if full < num_rows:
        yield slice(full, num_rows), num_rows - full
