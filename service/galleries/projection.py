"""The projection: the FAISS index of one gallery generation, rebuilt from the record at every start.

FAISS's float32 scores only nominate. Candidates are ranked by the exact scores of the nominated templates, and accepted
only when no template left out could still be among them; else more are nominated. The oracle would answer the same.
Invariant: ids in the index are the record's `seq`, and each has a label.

Shapes: B probes, D dimension, G templates, K nominated templates of one probe.
"""

import heapq
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from service.entities import Candidate, FloatArray, Side
from service.galleries.record import GalleryRows
from service.galleries.rules import LENGTH_TOLERANCE, exact_scores

SeqArray: TypeAlias = npt.NDArray[np.int64]
_Candidates: TypeAlias = list[tuple[Candidate, int]]
"""With the `seq` of the templates."""

_GROWTH = 4
"""How many times more templates are nominated when the last number did not settle a probe."""

_PROBES_A_TURN = 256
"""Probes searched before waiting writers get their turn."""

_MAX_NUMBERS = 1 << 24
"""Numbers (rows x dimension) handled at once, which bounds a search's memory: 64 MiB as float32."""

_MIN_SHARED_PRODUCTS = 1 << 24
"""Searches of fewer products (probes x templates x dimension), a few milliseconds, are not shared between threads."""


def tune_faiss() -> None:
    """Set from how many probes on FAISS multiplies matrices in place of scanning row by row. Process-wide, idempotent.

    Either gives other float32 scores, never other candidates. FAISS 1.15 compares probes x dimension with a default of
    128,000, which makes a batch of 100 ten times slower than need be. Measured on two cores at D = 128, 256, 512, both
    ways are equally fast at 10, 8 and 6 probes. Older FAISS compares the number of probes alone, with a default of 20.
    """
    counts_dimension = faiss.cvar.distance_compute_blas_threshold > 1000
    faiss.cvar.distance_compute_blas_threshold = 2048 if counts_dimension else 8


class Projection:
    """An exact index that may be searched, added to and removed from by several threads at once.

    Templates of every origin have an index of their own, as their scores may be searched apart.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._parts: dict[Side, _Part] = {}
        self._num_by_subject: Counter[str] = Counter()
        self._counts = (0, 0)
        """Replaced as a whole by every write, so that it is read without waiting."""
        self._lock = _ReadersWriterLock()

    def add(self, rows: GalleryRows) -> None:
        """Put in templates whose features (G, D) were checked; a search that starts afterwards sees them."""
        places_by_origin: dict[Side, list[int]] = defaultdict(list)
        for place, origin in enumerate(rows.origins):
            places_by_origin[origin].append(place)
        with self._lock.writing():
            for origin, places in places_by_origin.items():
                self._parts.setdefault(origin, _Part(self._dimension, origin)).add(rows, places)
            self._num_by_subject.update(rows.subjects)
            self._count()

    def remove(self, seqs: Sequence[int]) -> None:
        """Take out templates that are in. Costs a pass over the index."""
        with self._lock.writing():
            for origin, part in list(self._parts.items()):
                self._num_by_subject -= Counter(part.remove(seqs))
                if not len(part):
                    del self._parts[origin]
            self._count()

    def counts(self) -> tuple[int, int]:
        """The numbers of templates and of subjects, at one moment."""
        return self._counts

    def search(
        self, probes_BD: FloatArray, top_k: int, *, by_origin: bool = False
    ) -> tuple[tuple[Candidate, ...], ...]:
        """The best `top_k` subjects of each checked probe (B, D), as the port defines them.

        Writers get their turn between blocks of probes, so later probes may see what was enrolled meanwhile.
        """
        candidates: list[tuple[Candidate, ...]] = []
        for start in range(0, len(probes_BD), _PROBES_A_TURN):
            block_BD = probes_BD[start : start + _PROBES_A_TURN]
            with self._lock.reading():
                parts = sorted(self._parts.values(), key=lambda part: (part.origin.space, part.origin.bundles))
                found = [part.search(block_BD, top_k) for part in parts]
            for row in range(len(block_BD)):
                of_parts = [candidate for of_part in found for candidate in of_part[row]]
                is_ranked = by_origin or len(found) == 1
                ranked = of_parts if is_ranked else _merged(of_parts, top_k)
                candidates.append(tuple(candidate for candidate, _ in ranked))
        return tuple(candidates)

    def _count(self) -> None:
        self._counts = sum(map(len, self._parts.values())), len(self._num_by_subject)


class _Part:
    """The templates of one origin. Not to be searched beside an add."""

    def __init__(self, dimension: int, origin: Side) -> None:
        self.origin = origin
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._label_by_seq: dict[int, tuple[str, str]] = {}
        """Subject and template id."""
        self._num_by_subject: Counter[str] = Counter()
        # The bound for a float32 sum of D products of unit vectors, in any order, and two roundings to float32 more.
        self._score_error = max(1e-5, (dimension + 4) * 2.0**-24 * (1 + LENGTH_TOLERANCE) ** 2)

    def __len__(self) -> int:
        return len(self._label_by_seq)

    def add(self, rows: GalleryRows, places: list[int]) -> None:
        """Put in the rows at `places`."""
        seqs = rows.seqs[places]
        self._index.add_with_ids(np.ascontiguousarray(rows.features_GD[places]), seqs)
        for place, seq in zip(places, seqs.tolist(), strict=True):
            self._label_by_seq[seq] = (rows.subjects[place], rows.template_ids[place])
            self._num_by_subject[rows.subjects[place]] += 1

    def remove(self, seqs: Sequence[int]) -> list[str]:
        """Take out those of `seqs` that are in; their subjects."""
        mine = [seq for seq in seqs if seq in self._label_by_seq]
        if mine:
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(mine, dtype=np.int64)))
        subjects = [self._label_by_seq.pop(seq)[0] for seq in mine]
        self._num_by_subject -= Counter(subjects)
        return subjects

    def search(self, probes_BD: FloatArray, top_k: int) -> list[_Candidates]:
        """The best `top_k` subjects of each probe among these templates."""
        num_templates, num_subjects = len(self._label_by_seq), len(self._num_by_subject)
        top_k = min(top_k, num_subjects)
        settled: dict[int, _Candidates] = {}
        open_rows = list(range(len(probes_BD)))
        num_nominated = top_k * -(-num_templates // num_subjects) + 8
        while open_rows:
            num_nominated = min(num_nominated, num_templates)
            for part in _parts(open_rows, num_nominated * probes_BD.shape[1]):
                settled.update(self._settle(part, probes_BD[part], num_nominated, top_k))
            open_rows = [row for row in open_rows if row not in settled]
            num_nominated *= _GROWTH
        return [settled[row] for row in range(len(probes_BD))]

    def _settle(
        self, rows: list[int], probes_BD: FloatArray, num_nominated: int, top_k: int
    ) -> Iterator[tuple[int, _Candidates]]:
        """Candidates of those probes for which this many nominated templates (at most all) are enough."""
        num_templates = len(self._label_by_seq)
        with _threads_for(probes_BD.size * num_templates):
            rough_BK, seqs_BK = self._index.search(np.ascontiguousarray(probes_BD), num_nominated)
        everything = num_nominated == num_templates
        for row, probe_D, rough_K, seqs_K in zip(rows, probes_BD, rough_BK, seqs_BK, strict=True):
            candidates = self._ranked(probe_D, seqs_K, top_k)
            # Strictly above, so that nothing left out can tie with a candidate either.
            out_of_reach = float(rough_K[-1]) + self._score_error
            if everything or (len(candidates) == top_k and candidates[-1][0].score > out_of_reach):
                yield row, candidates

    def _ranked(self, probe_D: FloatArray, seqs_K: SeqArray, top_k: int) -> _Candidates:
        best: dict[str, tuple[float, int]] = {}
        for seq, score in zip(seqs_K.tolist(), self._exact_scores(probe_D, seqs_K), strict=True):
            subject, _ = self._label_by_seq[seq]
            # The negative `seq` prefers the first enrolled among equal scores.
            best[subject] = max(best.get(subject, (-np.inf, 0)), (score, -seq))
        ranked = heapq.nsmallest(top_k, best.items(), key=lambda item: (-item[1][0], item[0]))
        return [
            (Candidate(subject, score, self._label_by_seq[-seq][1], self.origin), -seq)
            for subject, (score, seq) in ranked
        ]

    def _exact_scores(self, probe_D: FloatArray, seqs_K: SeqArray) -> list[float]:
        scores: list[float] = []
        for part_K in np.array_split(seqs_K, -(-len(seqs_K) * len(probe_D) // _MAX_NUMBERS)):
            scores += exact_scores(probe_D, self._index.reconstruct_batch(part_K)).tolist()
        return scores


def _merged(found: _Candidates, top_k: int) -> _Candidates:
    """The best of several parts: of each subject the best template, of equal scores the first enrolled."""
    worst_first = sorted(found, key=lambda one: (one[0].score, -one[1]))
    best = {one[0].subject: one for one in worst_first}
    return heapq.nsmallest(top_k, best.values(), key=lambda one: (-one[0].score, one[0].subject))


def _parts(rows: list[int], numbers_per_row: int) -> Iterator[list[int]]:
    size = max(1, _MAX_NUMBERS // numbers_per_row)
    return (rows[start : start + size] for start in range(0, len(rows), size))


@contextmanager
def _threads_for(num_products: int) -> Iterator[None]:
    """Keep a small search on the calling thread: on a busy machine, meeting OpenMP's other threads takes about 10 ms."""
    num_threads = faiss.omp_get_max_threads()
    if num_products < _MIN_SHARED_PRODUCTS:
        faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        # The setting is the calling thread's own.
        faiss.omp_set_num_threads(num_threads)


class _ReadersWriterLock:
    """Many readers or one writer: FAISS may not be searched beside an add. A waiting writer goes before new readers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._num_readers = 0
        self._num_waiting_writers = 0
        self._is_writing = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._is_writing and not self._num_waiting_writers)
            self._num_readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._num_readers -= 1
                self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._num_waiting_writers += 1
            try:
                self._changed.wait_for(lambda: not self._is_writing and not self._num_readers)
                self._is_writing = True
            finally:
                self._num_waiting_writers -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
