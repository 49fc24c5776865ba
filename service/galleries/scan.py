"""Which templates may be most alike to a probe, over all segments of a view at once: by FAISS for one feature, by `densest` for
several.

Shapes: P probes, M features of each, D dimension, K nominated templates of one probe.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import faiss
import numpy as np
import numpy.typing as npt

from models.parzen import density_scores
from service.entities import FloatArray
from service.galleries.codes import CodedBlock
from service.galleries.densest import Floors, densest, densities
from service.galleries.gpu import GpuFailedError
from service.galleries.indexes import BuiltIndex
from service.galleries.segments import RowArray, Segment, SeqArray, View, rows_of

MAX_NUMBERS = 1 << 24
"""Numbers (rows x dimension) handled at once, which bounds a search's memory: 64 MiB as float32."""

_MIN_SHARED_PRODUCTS = 1 << 24
"""Searches of fewer products (probes x templates x dimension), a few milliseconds, are not shared between threads."""

_INDEX_SHARE = 4
"""Where one in so many templates is wanted, an index is of no use."""

_FEW_LEFT_OUT, _LEFT_OUT_SHARE = 256, 4
"""Where at most so many rows of a segment are left out, and fewer than one in so many, they are looked at and forgotten: so the
others need no copies.
"""

_Found = tuple[FloatArray, RowArray, RowArray]
"""Scores, places of segments in the view, and rows there, (P, K) each."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What is asked about; one feature each or several, of which any may be right."""

    features_PMD: FloatArray
    sigma: float

    def __len__(self) -> int:
        return len(self.features_PMD)

    def take(self, places: list[int]) -> "Probes":
        """Some of them."""
        return Probes(self.features_PMD[places], self.sigma)

    @property
    def num_samples(self) -> int:
        """Features of each."""
        return int(self.features_PMD.shape[1])

    @property
    def dimension(self) -> int:
        """Of the space."""
        return int(self.features_PMD.shape[2])

    @property
    def rows(self) -> FloatArray:
        """All features (B, D), those of one probe after those of another."""
        return np.ascontiguousarray(self.features_PMD.reshape(-1, self.dimension))


@dataclass(frozen=True, slots=True)
class Nominated:
    """As many templates for each probe, in no order."""

    segment_PK: npt.NDArray[np.int64]
    """The place of a template's segment in the view."""
    row_PK: RowArray
    """-1 for none."""
    floor_P: FloatArray
    """No template that is left out scores higher than this, but for float32's error."""
    is_all: bool
    """Whether none is left out."""
    is_exact: bool
    """Whether `floor_P` holds. Of an index that leaves templates out, it does so among those that it looks at."""


def tune_faiss() -> None:
    """Set from how many probes on FAISS multiplies matrices in place of scanning row by row. Process-wide, idempotent.

    Either gives other float32 scores, never other candidates. FAISS 1.15 compares probes x dimension with a default of
    128,000, which makes a batch of 100 ten times slower than need be. Measured on two cores at D = 128, 256, 512, both
    ways are equally fast at 10, 8 and 6 probes. Older FAISS compares the number of probes alone, with a default of 20.
    """
    counts_dimension = faiss.cvar.distance_compute_blas_threshold > 1000
    faiss.cvar.distance_compute_blas_threshold = 2048 if counts_dimension else 8


def nominate(
    view: View,
    probes: Probes,
    num: int,
    *,
    among: SeqArray | None = None,
    without: SeqArray | None = None,
    index: BuiltIndex | None = None,
    between: Callable[[], None] | None = None,
) -> Nominated:
    """`num` templates of the view for each probe, those of the highest float32 scores; dead ones may be among them.

    With `among`, ascending, only those templates, and never those in `without`, ascending; with `index`, those that it finds, and
    the best of those that came after it. With `between`, all in one thread, a segment after the other, and that is
    called after each.
    """
    parts = list(zip(view.segments, view.nums, strict=True))
    is_all_meant = among is None and without is None
    num_found = num * probes.num_samples
    is_of_use = index is not None and num_found * _INDEX_SHARE <= view.num_rows and index.can_nominate(num)
    indexed = index if is_all_meant and is_of_use else None
    if indexed is not None:
        bounds = zip(view.starts_after(indexed.last_seq), view.nums, strict=True)
        picked = [_Picked(slice(start, end), _NONE) for start, end in bounds]
    else:
        picked = [_meant(segment, num_rows, among, without) for segment, num_rows in parts]
    floors = Floors(len(probes))
    tasks = [
        _task(segment, place, one, probes, num, floors=floors)
        for place, ((segment, _), one) in enumerate(zip(parts, picked, strict=True))
        if len(one)
    ]
    num_looked_at = sum(len(one) for one in picked)
    found = _run(tasks, probes.features_PMD.size * num_looked_at, between)
    floor_P = np.full(len(probes), -1.0, dtype=np.float32)
    if indexed is not None:
        try:
            of_index, floor_P = _of_index(indexed, view, probes, num)
        except GpuFailedError:
            return nominate(view, probes, num, between=between)
        found.append(of_index)
    is_all = indexed is None and num >= num_looked_at
    # One feature's nearest are what an index says. What is near to several together may be far down for each.
    is_exact = indexed is None or indexed.is_exact or probes.num_samples > 1
    return _best_of(found, num, floor_P, is_all=is_all, is_exact=is_exact)


def _of_index(index: BuiltIndex, view: View, probes: Probes, num: int) -> tuple[_Found, FloatArray]:
    """What an index finds for any feature of each probe, and the score (P,) above which it finds nothing else: the density of the
    lowest cosines that it finds, as a density rises with each cosine.
    """
    scores, seqs = index.nominate(probes.rows, num)
    # Exact scores are cut there: one that is left out with a product below minus one may be as good as another.
    lowest_PM = np.clip(scores.min(axis=1), -1.0, 1.0).reshape(len(probes), -1)
    if probes.num_samples == 1:
        return (scores, *view.places(seqs)), lowest_PM[:, 0]
    seqs = np.sort(seqs.reshape(len(probes), -1), axis=1)
    seqs[:, 1:][seqs[:, 1:] == seqs[:, :-1]] = 0
    places, rows = view.places(seqs)
    scores = np.full(rows.shape, -np.inf, dtype=np.float32)
    for of_probe, features_MD in enumerate(probes.features_PMD):
        for place in np.unique(places[of_probe]).tolist():
            here = np.flatnonzero((places[of_probe] == place) & (rows[of_probe] >= 0))
            vectors = view.segments[place].vectors[rows[of_probe, here]]
            scores[of_probe, here] = densities(features_MD, probes.sigma, vectors)
    return (scores, places, rows), density_scores(lowest_PM.T, probes.sigma).astype(np.float32)


_NONE: RowArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Picked:
    """The rows of a segment that are looked at, but for those `left_out` of them."""

    rows: slice | RowArray
    left_out: RowArray

    def __len__(self) -> int:
        num = self.rows.stop - self.rows.start if isinstance(self.rows, slice) else len(self.rows)
        return num - len(self.left_out)


def _meant(segment: Segment, num: int, among: SeqArray | None, without: SeqArray | None) -> _Picked:
    """Which of the first rows of a segment are looked at."""
    out = _NONE if without is None else rows_of(segment.seqs[:num], without)
    if among is not None:
        return _Picked(np.setdiff1d(rows_of(segment.seqs[:num], among), out, assume_unique=True), _NONE)
    if len(out) <= _FEW_LEFT_OUT and len(out) * _LEFT_OUT_SHARE < num:
        return _Picked(slice(0, num), out)
    return _Picked(np.delete(np.arange(num), out), _NONE)


def _best_of(found: list[_Found], num: int, floor_P: FloatArray, *, is_all: bool, is_exact: bool) -> Nominated:
    """Those of the highest scores; of what was not found, none is above `floor_P`."""
    empty = np.empty((len(floor_P), 0), dtype=np.int64)
    columns = [(empty.astype(np.float32), empty, empty), *found]
    scores, segments, rows = (np.concatenate(column, axis=1) for column in zip(*columns, strict=True))
    scores, (segments, rows) = _highest(num, scores, [segments, rows])
    if scores.shape[1]:
        floor_P = np.maximum(floor_P, scores.min(axis=1))
    return Nominated(segments, rows, floor_P, is_all, is_exact)


def _highest(num: int, scores: FloatArray, others: list[RowArray]) -> tuple[FloatArray, list[RowArray]]:
    """Those of the `num` highest scores of each probe, in no order."""
    if scores.shape[1] <= num:
        return scores, others
    kept = np.argpartition(scores, scores.shape[1] - num, axis=1)[:, scores.shape[1] - num :]
    return np.take_along_axis(scores, kept, axis=1), [np.take_along_axis(one, kept, axis=1) for one in others]


def _task(
    segment: Segment, place: int, picked: _Picked, probes: Probes, num: int, *, floors: Floors
) -> Callable[[], _Found]:
    """The scan of some rows of a segment, which has its place in the view."""
    rows, left_out = picked.rows, picked.left_out

    def scan() -> _Found:
        if isinstance(rows, slice):
            coded = None if rows.start else segment.coded
            scores, found = _best(probes, segment.vectors[rows], num + len(left_out), coded=coded, floors=floors)
            found += rows.start
            if len(left_out):
                is_out = np.isin(found, left_out)
                scores[is_out], found[is_out] = -np.inf, -1
                scores, (found,) = _highest(num, scores, [found])
            return scores, np.full(found.shape, place), found
        step = max(1, MAX_NUMBERS // segment.vectors.shape[1])
        blocks = [rows[start : start + step] for start in range(0, len(rows), step)]
        best = [(block, *_best(probes, segment.vectors[block], num)) for block in blocks]
        scores = np.concatenate([scores for _, scores, _ in best], axis=1)
        found = np.concatenate([block[places] for block, _, places in best], axis=1)
        return scores, np.full(found.shape, place), found

    return scan


def _best(
    probes: Probes,
    vectors_GD: FloatArray,
    num: int,
    *,
    coded: Callable[[int], CodedBlock] | None = None,
    floors: Floors | None = None,
) -> tuple[FloatArray, RowArray]:
    vectors_GD, num = np.ascontiguousarray(vectors_GD), min(num, len(vectors_GD))
    if probes.num_samples > 1:
        return densest(probes.features_PMD, probes.sigma, vectors_GD, num, coded=coded, floors=floors)
    scores, rows = faiss.knn(probes.rows, vectors_GD, num, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def _run(tasks: list[Callable[[], _Found]], num_products: int, between: Callable[[], None] | None) -> list[_Found]:
    """All of them, on all cores where that is worth it and nobody is to be given way to."""
    if between is not None:
        found = []
        with _threads(1):
            for task in tasks:
                found.append(task())
                between()
        return found
    if num_products < _MIN_SHARED_PRODUCTS:
        # On a busy machine, meeting other threads takes about 10 ms.
        with _threads(1):
            return [task() for task in tasks]
    if len(tasks) == 1:
        return [tasks[0]()]
    return list(_pool().map(lambda task: task(), tasks))


@cache
def _pool() -> ThreadPoolExecutor:
    """Threads that scan a segment each; FAISS uses no others there."""
    return ThreadPoolExecutor(
        os.cpu_count() or 1, thread_name_prefix="gallery-scan", initializer=lambda: faiss.omp_set_num_threads(1)
    )


@contextmanager
def _threads(num: int) -> Iterator[None]:
    """FAISS's threads for searches of the calling thread."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(num)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
