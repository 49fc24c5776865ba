"""The projection: the FAISS index of one gallery generation, rebuilt from the record at every start.

FAISS's float32 scores only nominate. Candidates are ranked by the exact scores of the nominated templates, and accepted
only when no template left out could still be among them; else more are nominated. The oracle would answer the same.
Invariant: ids in the index are the record's `seq`, and each has a label.

Shapes: B probes, D dimension, G templates, K nominated templates of one probe.
"""

import heapq
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from service.entities import Candidate, FloatArray
from service.galleries.record import GalleryRows
from service.galleries.rules import LENGTH_TOLERANCE, exact_scores

SeqArray: TypeAlias = npt.NDArray[np.int64]

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
    """An exact index that may be searched, added to and removed from by several threads at once."""

    def __init__(self, dimension: int) -> None:
        self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
        self._label_by_seq: dict[int, tuple[str, str]] = {}
        """Subject and template id."""
        self._num_by_subject: Counter[str] = Counter()
        self._counts = (0, 0)
        """Replaced as a whole by every write, so that it is read without waiting."""
        self._lock = _ReadersWriterLock()
        # The bound for a float32 sum of D products of unit vectors, in any order, and two roundings to float32 more.
        self._score_error = max(1e-5, (dimension + 4) * 2.0**-24 * (1 + LENGTH_TOLERANCE) ** 2)

    def add(self, rows: GalleryRows) -> None:
        """Put in templates whose features (G, D) were checked; a search that starts afterwards sees them."""
        labels = zip(rows.seqs.tolist(), rows.subjects, rows.template_ids, strict=True)
        with self._lock.writing():
            self._index.add_with_ids(np.ascontiguousarray(rows.features_GD), rows.seqs)
            self._label_by_seq.update((seq, (subject, template_id)) for seq, subject, template_id in labels)
            self._num_by_subject.update(rows.subjects)
            self._counts = len(self._label_by_seq), len(self._num_by_subject)

    def remove(self, seqs: Sequence[int]) -> None:
        """Take out templates that are in. Costs a pass over the index."""
        with self._lock.writing():
            self._index.remove_ids(faiss.IDSelectorBatch(np.array(seqs, dtype=np.int64)))
            for seq in seqs:
                subject, _ = self._label_by_seq.pop(seq)
                self._num_by_subject[subject] -= 1
                if not self._num_by_subject[subject]:
                    del self._num_by_subject[subject]
            self._counts = len(self._label_by_seq), len(self._num_by_subject)

    def counts(self) -> tuple[int, int]:
        """The numbers of templates and of subjects, at one moment."""
        return self._counts

    def search(self, probes_BD: FloatArray, top_k: int) -> tuple[tuple[Candidate, ...], ...]:
        """The best `top_k` subjects of each checked probe (B, D), as the port defines them.

        Writers get their turn between blocks of probes, so later probes may see what was enrolled meanwhile.
        """
        candidates: list[tuple[Candidate, ...]] = []
        for start in range(0, len(probes_BD), _PROBES_A_TURN):
            candidates += self._search_block(probes_BD[start : start + _PROBES_A_TURN], top_k)
        return tuple(candidates)

    def _search_block(self, probes_BD: FloatArray, top_k: int) -> tuple[tuple[Candidate, ...], ...]:
        with self._lock.reading():
            num_templates, num_subjects = len(self._label_by_seq), len(self._num_by_subject)
            top_k = min(top_k, num_subjects)
            if top_k < 1:
                return ((),) * len(probes_BD)
            settled: dict[int, tuple[Candidate, ...]] = {}
            open_rows = list(range(len(probes_BD)))
            num_nominated = top_k * -(-num_templates // num_subjects) + 8
            while open_rows:
                num_nominated = min(num_nominated, num_templates)
                for part in _parts(open_rows, num_nominated * probes_BD.shape[1]):
                    settled.update(self._settle(part, probes_BD[part], num_nominated, top_k))
                open_rows = [row for row in open_rows if row not in settled]
                num_nominated *= _GROWTH
            return tuple(settled[row] for row in range(len(probes_BD)))

    def _settle(
        self, rows: list[int], probes_BD: FloatArray, num_nominated: int, top_k: int
    ) -> Iterator[tuple[int, tuple[Candidate, ...]]]:
        """Candidates of those probes for which this many nominated templates (at most all) are enough."""
        num_templates = len(self._label_by_seq)
        with _threads_for(probes_BD.size * num_templates):
            rough_BK, seqs_BK = self._index.search(np.ascontiguousarray(probes_BD), num_nominated)
        everything = num_nominated == num_templates
        for row, probe_D, rough_K, seqs_K in zip(rows, probes_BD, rough_BK, seqs_BK, strict=True):
            candidates = self._ranked(probe_D, seqs_K, top_k)
            # Strictly above, so that nothing left out can tie with a candidate either.
            out_of_reach = float(rough_K[-1]) + self._score_error
            if everything or (len(candidates) == top_k and candidates[-1].score > out_of_reach):
                yield row, candidates

    def _ranked(self, probe_D: FloatArray, seqs_K: SeqArray, top_k: int) -> tuple[Candidate, ...]:
        best: dict[str, tuple[float, int]] = {}
        for seq, score in zip(seqs_K.tolist(), self._exact_scores(probe_D, seqs_K), strict=True):
            subject, _ = self._label_by_seq[seq]
            # The negative `seq` prefers the first enrolled among equal scores.
            best[subject] = max(best.get(subject, (-np.inf, 0)), (score, -seq))
        ranked = heapq.nsmallest(top_k, best.items(), key=lambda item: (-item[1][0], item[0]))
        return tuple(Candidate(subject, score, self._label_by_seq[-seq][1]) for subject, (score, seq) in ranked)

    def _exact_scores(self, probe_D: FloatArray, seqs_K: SeqArray) -> list[float]:
        scores: list[float] = []
        for part_K in np.array_split(seqs_K, -(-len(seqs_K) * len(probe_D) // _MAX_NUMBERS)):
            scores += exact_scores(probe_D, self._index.reconstruct_batch(part_K)).tolist()
        return scores


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
