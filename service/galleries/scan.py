"""Which templates may be most alike to a probe, by FAISS, over all segments of a view at once.

Shapes: B probes, D dimension, K nominated templates of one probe.
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

from service.entities import FloatArray
from service.galleries.segments import RowArray, Segment, SeqArray, View, rows_of

MAX_NUMBERS = 1 << 24
"""Numbers (rows x dimension) handled at once, which bounds a search's memory: 64 MiB as float32."""

_MIN_SHARED_PRODUCTS = 1 << 24
"""Searches of fewer products (probes x templates x dimension), a few milliseconds, are not shared between threads."""

_Found = tuple[FloatArray, RowArray]
"""Scores and rows, (B, K) each, the highest first."""


@dataclass(frozen=True, slots=True)
class Nominated:
    """As many templates for each probe, in no order."""

    segment_BK: npt.NDArray[np.int64]
    """The place of a template's segment in the view."""
    row_BK: RowArray
    floor_B: FloatArray
    """No template that is left out scores higher than this, but for float32's error."""
    is_all: bool
    """Whether none is left out."""


def tune_faiss() -> None:
    """Set from how many probes on FAISS multiplies matrices in place of scanning row by row. Process-wide, idempotent.

    Either gives other float32 scores, never other candidates. FAISS 1.15 compares probes x dimension with a default of
    128,000, which makes a batch of 100 ten times slower than need be. Measured on two cores at D = 128, 256, 512, both
    ways are equally fast at 10, 8 and 6 probes. Older FAISS compares the number of probes alone, with a default of 20.
    """
    counts_dimension = faiss.cvar.distance_compute_blas_threshold > 1000
    faiss.cvar.distance_compute_blas_threshold = 2048 if counts_dimension else 8


def nominate(view: View, probes_BD: FloatArray, num: int, among: SeqArray | None = None) -> Nominated:
    """`num` templates of the view for each probe, those of the highest float32 scores; dead ones may be among them.

    With `among`, ascending, only those templates.
    """
    probes_BD = np.ascontiguousarray(probes_BD)
    parts = list(zip(view.segments, view.nums, strict=True))
    picked = [None if among is None else rows_of(segment.seqs[:num_rows], among) for segment, num_rows in parts]
    num_possible = sum(
        num_rows if rows is None else len(rows) for (_, num_rows), rows in zip(parts, picked, strict=True)
    )
    found = _run(
        [
            _task(segment, num_rows, rows, probes_BD, num)
            for (segment, num_rows), rows in zip(parts, picked, strict=True)
        ],
        probes_BD.size * num_possible,
    )
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    rows = np.concatenate([rows for _, rows in found], axis=1)
    places = np.repeat(np.arange(len(found)), [part.shape[1] for part, _ in found])
    segments = np.broadcast_to(places, rows.shape)
    num_found = rows.shape[1]
    if num_found > num:
        kept = np.argpartition(scores, num_found - num, axis=1)[:, num_found - num :]
        scores, rows, segments = (np.take_along_axis(one, kept, axis=1) for one in (scores, rows, segments))
    floor_B = scores.min(axis=1) if scores.shape[1] else np.full(len(probes_BD), np.inf, dtype=np.float32)
    return Nominated(segments, rows, floor_B, num >= num_possible)


def _task(
    segment: Segment, num_rows: int, rows: RowArray | None, probes_BD: FloatArray, num: int
) -> Callable[[], _Found]:
    """The scan of a segment, or of some of its rows."""

    def scan() -> _Found:
        if rows is None:
            return _best(probes_BD, segment.vectors[:num_rows], num)
        step = max(1, MAX_NUMBERS // probes_BD.shape[1])
        found = [
            (scores, rows[start : start + step][places])
            for start in range(0, max(1, len(rows)), step)
            for scores, places in [_best(probes_BD, segment.vectors[rows[start : start + step]], num)]
        ]
        return np.concatenate([one for one, _ in found], axis=1), np.concatenate([one for _, one in found], axis=1)

    return scan


def _best(probes_BD: FloatArray, vectors_GD: FloatArray, num: int) -> _Found:
    num = min(num, len(vectors_GD))
    if num == 0:
        empty = np.empty((len(probes_BD), 0))
        return empty.astype(np.float32), empty.astype(np.int64)
    scores, rows = faiss.knn(probes_BD, vectors_GD, num, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, rows


def _run(tasks: list[Callable[[], _Found]], num_products: int) -> list[_Found]:
    """All of them, on all cores where that is worth it."""
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
