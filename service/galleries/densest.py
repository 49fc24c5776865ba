"""Which templates have the highest densities for probes of several features, by float32 products that BLAS multiplies.

Looking for each feature's nearest would not do: of features that are far apart, a template that lies between them all may be near
the top for none. So all products are looked at, and of those templates that have one above the least density that counts, the
density: it is never above the largest cosine. Where vectors are known as bytes as well, products of these say which templates
are worth it; they are off by no more than is known.

Shapes: P probes, M features of each, B features of some probes, G rows of templates, D dimension, N products, K those of the
highest densities of one probe, or rows that may be among them.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.parzen import density_scores
from service.entities import FloatArray
from service.galleries.codes import CodedBlock, CodedFeatures, ProductArray, block_rows, least_steps
from service.galleries.segments import RowArray

_MATRIX_PRODUCTS, _FEWEST_ROWS, _MOST_ROWS = 1 << 18, 8, 64
"""Matrices of so many products (rows x features x D) OpenBLAS multiplies on the calling thread, and without copying the rows."""

_FEATURES_AT_ONCE = 20
"""Of as many probes as have no more together: fewer are slower, more leave too few rows for one matrix."""

_NUMBERS_AT_ONCE, _SCORES_AT_ONCE, _FIRST_SHARE = 1 << 17, 1 << 16, 8
"""Of vectors and of products; either fit into a core's own cache. Of the first templates there are one in so many products."""

_CODED_FEATURES_AT_ONCE = 40
"""Of probes whose bytes are multiplied together: products of a block stay near a core."""

_CODED_PRODUCTS_AT_ONCE = 1 << 19
"""Of bytes, which bounds what a search takes beside the vectors."""

_CROWDED_SHARE = 2
"""Where more than one in so many products may be among the highest, float32 products of all cost as much, and less memory."""

_ROWS_ALONG = 64
"""Rows whose products are compared as one: numpy is fast along many numbers."""


def densest(
    probes_PMD: FloatArray,
    sigma: float,
    vectors_GD: FloatArray,
    num: int,
    *,
    coded: Callable[[int], CodedBlock] | None = None,
    floors: "Floors | None" = None,
) -> tuple[FloatArray, RowArray]:
    """The `num` (at most G) rows of the highest float32 densities for each probe, in no order: these and those (P, K).

    `coded` gives of the vectors a block, by its number, as bytes. With `floors`, some of those below them may be others.
    """
    floors = floors or Floors(len(probes_PMD))
    highest = [_Highest(probe_MD, num, sigma, floors, place) for place, probe_MD in enumerate(probes_PMD)]
    size = block_rows(vectors_GD.shape[1])
    num_coded = len(vectors_GD) // size * size if coded is not None else 0
    # From the first few on it is known what is of no account.
    num_first = num if floors.are_known else max(num, _SCORES_AT_ONCE // (_FIRST_SHARE * probes_PMD.shape[1]))
    if coded is None or num_first >= num_coded:
        _offer_all(highest, vectors_GD, slice(0, len(vectors_GD)))
    else:
        _offer_all(highest, vectors_GD, slice(0, num_first))
        together = max(1, _CODED_FEATURES_AT_ONCE // probes_PMD.shape[1])
        groups = [_CodedProbes(highest[start : start + together]) for start in range(0, len(highest), together)]
        for number in range(num_first // size, num_coded // size):
            rows = slice(max(num_first, number * size), (number + 1) * size)
            block = coded(number)
            for group in groups:
                group.look_at(block, rows, slice(rows.start - number * size, size), vectors_GD)
        if num_coded < len(vectors_GD):
            _offer_all(highest, vectors_GD, slice(num_coded, len(vectors_GD)))
    return np.stack([one.scores for one in highest]), np.stack([one.rows for one in highest])


def densities(probe_MD: FloatArray, sigma: float, vectors_GD: FloatArray) -> FloatArray:
    """The densities (G,) of templates for one probe, by float32 products."""
    return _densities(_products(vectors_GD, np.ascontiguousarray(probe_MD.T)), sigma)


def _densities(score_GM: FloatArray, sigma: float) -> FloatArray:
    # Row by row of another matrix: numpy is fast along what lies together.
    return density_scores(np.ascontiguousarray(score_GM.T), sigma).astype(np.float32)


class Floors:
    """Of each probe a density which as many templates of a gallery have as are looked for, so that none below is of account: what
    is found in one part of it spares work in the others.
    """

    def __init__(self, num_probes: int) -> None:
        self.least_P = np.full(num_probes, -np.inf)

    @property
    def are_known(self) -> bool:
        """Whether there is one of each probe."""
        return bool(np.isfinite(self.least_P).all())


class _Highest:
    """Of all rows that were offered, those of the highest densities for one probe."""

    def __init__(self, probe_MD: FloatArray, num: int, sigma: float, floors: Floors, place: int) -> None:
        self.probe_MD = probe_MD
        self._num, self._sigma = num, sigma
        self._floors, self._place = floors, place
        self.scores: FloatArray = np.empty(0, dtype=np.float32)
        self.rows: RowArray = np.empty(0, dtype=np.int64)

    @property
    def least(self) -> float:
        """The density that others must be above, once there are as many as are looked for."""
        return max(float(self.scores.min()), float(self._floors.least_P[self._place]))

    def offer(self, first_row: int, score_GM: FloatArray) -> None:
        """Rows from `first_row` on, with their cosines."""
        if len(self.scores) < self._num:
            near = np.arange(len(score_GM))
        else:
            # Of all products at once: to look at them row by row takes longer than to multiply.
            near = _once(np.flatnonzero(score_GM.reshape(-1) > self.least) // score_GM.shape[1])
        if len(near):
            self._take(near + first_row, _densities(score_GM[near], self._sigma))

    def offer_about(self, row_K: RowArray, score_KM: FloatArray, error: float, vectors_GD: FloatArray) -> None:
        """Some rows, with their cosines but for an error: a density is off by no more than the cosine that is off most."""
        near = row_K[_densities(score_KM, self._sigma) > self.least - error]
        if len(near):
            self._take(near, densities(self.probe_MD, self._sigma, vectors_GD[near]))

    def _take(self, row_K: RowArray, score_K: FloatArray) -> None:
        self.scores, self.rows = np.concatenate([self.scores, score_K]), np.concatenate([self.rows, row_K])
        if len(self.scores) > self._num:
            kept = np.argpartition(self.scores, -self._num)[-self._num :]
            self.scores, self.rows = self.scores[kept], self.rows[kept]
            # Another thread may put a lower one in between: it is one all the same.
            self._floors.least_P[self._place] = self.least


def _offer_all(highest: Sequence[_Highest], vectors_GD: FloatArray, rows: slice) -> None:
    """These rows to all probes, by float32 products."""
    num_samples = len(highest[0].probe_MD)
    size = max(1, min(len(highest), _FEATURES_AT_ONCE // num_samples))
    groups = [highest[start : start + size] for start in range(0, len(highest), size)]
    columns = [np.concatenate([one.probe_MD for one in group]).T.copy() for group in groups]
    step = max(1, _SCORES_AT_ONCE // (size * num_samples))
    starts = [rows.start, *range(rows.start + (step // _FIRST_SHARE or step), rows.stop, step)]
    for start, end in pairwise([*starts, rows.stop]):
        block_GD = vectors_GD[start:end]
        for place, (group, features_DB) in enumerate(zip(groups, columns, strict=True)):
            score_GB = _products(block_GD, features_DB, is_read=place > 0)
            score_GPM = score_GB.reshape(len(block_GD), -1, num_samples)
            for of_probe, score_GM in zip(group, score_GPM.transpose(1, 0, 2), strict=True):
                of_probe.offer(start, np.ascontiguousarray(score_GM))


class _CodedProbes:
    """Some probes whose features are multiplied with bytes together."""

    def __init__(self, highest: Sequence[_Highest]) -> None:
        self._highest = highest
        self._num_samples = len(highest[0].probe_MD)
        self._features = CodedFeatures(np.stack([one.probe_MD for one in highest]))

    def look_at(self, block: CodedBlock, rows: slice, within: slice, vectors_GD: FloatArray) -> None:
        """Offer each probe those of these rows, `within` of a block, that may be among its highest."""
        step = max(_ROWS_ALONG, _CODED_PRODUCTS_AT_ONCE // (len(self._highest) * self._num_samples))
        for start in range(within.start, within.stop, step):
            some = slice(start, min(within.stop, start + step))
            self._look_at_some(block, rows.start + start - within.start, some, vectors_GD)

    def _look_at_some(self, block: CodedBlock, first_row: int, within: slice, vectors_GD: FloatArray) -> None:
        product_GB = self._features.products(block, within)
        error_P, scale_P = self._features.errors(block).tolist(), (self._features.scale_P * block.scale).tolist()
        least_P = [
            least_steps(one.least - error, scale)
            for one, error, scale in zip(self._highest, error_P, scale_P, strict=True)
        ]
        is_above = _above(product_GB, np.repeat(np.array(least_P, dtype=np.int32), self._num_samples))
        if np.count_nonzero(is_above) * _CROWDED_SHARE > is_above.size:
            _offer_all(self._highest, vectors_GD, slice(first_row, first_row + len(product_GB)))
            return
        row_N, column_N = np.divmod(np.flatnonzero(is_above), is_above.shape[1])
        probe_N = column_N // self._num_samples
        for number in np.flatnonzero(np.bincount(probe_N, minlength=1)).tolist():
            own = _once(row_N[probe_N == number])
            columns = slice(number * self._num_samples, (number + 1) * self._num_samples)
            about_KM = product_GB[own, columns].astype(np.float32) * np.float32(scale_P[number])
            self._highest[number].offer_about(own + first_row, about_KM, error_P[number], vectors_GD)


def _above(product_GB: ProductArray, least_B: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which products (G, B) are not below the least of their column."""
    num_rows, num_columns = product_GB.shape
    is_above = np.empty(product_GB.shape, dtype=bool)
    whole = num_rows - num_rows % _ROWS_ALONG
    along = (-1, _ROWS_ALONG * num_columns)
    np.greater_equal(
        product_GB[:whole].reshape(along), np.tile(least_B, _ROWS_ALONG), out=is_above[:whole].reshape(along)
    )
    np.greater_equal(product_GB[whole:], least_B, out=is_above[whole:])
    return is_above


def _once(rows_N: RowArray) -> RowArray:
    """Ascending rows, each once."""
    return rows_N[np.flatnonzero(np.diff(rows_N, prepend=-1))]


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
