"""Indexes of FAISS over the templates of one origin: searched in place of all their vectors where there are too many for that.

An index only nominates; who is nominated is scored by its own vector, so an index may leave somebody out, and what it finds of
those who should be found (recall) is measured when it is built, on templates of the gallery itself. Templates that came after it
are searched beside it. What is taken out is passed over. One is exact: all vectors, in the memory of a GPU.

Shapes: B probes, D dimension, G indexed templates, K nominated templates of one probe.
"""

import logging
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from service.entities import FloatArray, IndexKind
from service.galleries import gpu
from service.galleries.segments import SeqArray, View

log = logging.getLogger("facebridge.galleries")

FEWEST_INDEXED = 20_000
"""Templates of an origin below which no index is worth it."""
_FRESH_SHARE = 5
"""An index is built again when as many templates came after it as one in so many of those in it."""
_LONGEST_SCAN_BYTES = 2 << 30
"""Of vectors; a search of more than that takes longer than a tenth of a second on two cores."""
_NEIGHBOURS = 10
_SAMPLE = 200
_TRAINED = 100_000
_ADDED = 2048
_LINKS = 32
_BREADTH = 80
_IN_PLACE: dict[IndexKind, IndexKind] = {"ivf": "sq8"}
"""Where faces lie so that the lists of `ivf` tell little, a scan of a quarter of the bytes is faster, and misses less."""
_LEAST_GAIN = 8
"""An index by lists is of use where it looks at one in so many of them, or fewer."""
_MEMORY_SHARE = 2
"""One in so many bytes of memory may be vectors and indexes."""


@dataclass(frozen=True, slots=True)
class IndexPolicy:
    """How galleries are indexed where they are not asked for otherwise."""

    kind: IndexKind = "auto"
    recall: float = 0.99
    """That an index is to reach, of ten nearest templates, by searching wider."""
    memory_bytes: int = 0
    """For vectors and indexes; 0 for half of what the process may have."""
    may_use_gpu: bool = False
    """Where there is one, what is searched exactly is searched there."""

    @property
    def memory(self) -> int:
        """Bytes."""
        return self.memory_bytes or memory_limit() // _MEMORY_SHARE

    @property
    def on_gpu(self) -> bool:
        """Whether it is so now."""
        return self.may_use_gpu and gpu.is_there()

    def choose(self, asked: IndexKind, num: int, dimension: int) -> IndexKind:
        """The kind to try for so many templates: as asked, or the exact one while it is fast and fits; then one that does.

        >>> [IndexPolicy(memory_bytes=8 << 30).choose("auto", num, 256) for num in (1000, 1_000_000, 4_000_000)]
        ['flat', 'flat', 'ivf']
        >>> IndexPolicy(memory_bytes=512 << 20).choose("auto", 1_000_000, 256)
        'ivf'
        """
        if asked != "auto":
            return asked
        longest = gpu.LONGEST_SCAN_BYTES if self.on_gpu else _LONGEST_SCAN_BYTES
        return "flat" if 4 * num * dimension <= min(self.memory, longest) else "ivf"

    def is_due(self, index: "BuiltIndex | None", asked: IndexKind, kind: IndexKind, view: View) -> bool:
        """Whether an index is to be built: there are enough templates, and too many came after the one that is there."""
        if (kind == "flat" and not self.on_gpu) or view.num_rows < FEWEST_INDEXED:
            return False
        if index is None or (index.kind != kind and not (asked == "auto" and index.kind == _IN_PLACE.get(kind))):
            return True
        return view.num_after(index.last_seq) * _FRESH_SHARE > len(index.seqs)


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """An index of FAISS; it does not change."""

    kind: IndexKind
    seqs: SeqArray
    """The numbers of the templates in it (G,), ascending."""
    effort: int
    """How wide a search looks: HNSW's efSearch, IVF's nprobe."""
    recall: float
    """Share of the ten nearest that it nominates."""
    index: Any

    @property
    def last_seq(self) -> int:
        """Of the template that came last."""
        return int(self.seqs[-1])

    @property
    def is_exact(self) -> bool:
        """Whether it leaves nobody out."""
        return self.kind == "flat"

    def can_nominate(self, num: int) -> bool:
        """Whether it finds so many of one probe."""
        return not self.is_exact or (num <= gpu.MOST and gpu.is_there())

    def nominate(self, probes_BD: FloatArray, num: int) -> tuple[FloatArray, SeqArray]:
        """Scores and numbers of up to `num` templates of each probe, (B, K); where there are fewer the number is 0."""
        num = min(num, len(self.seqs))
        scores, places = self.index.search(probes_BD, num, params=_parameters(self.kind, max(self.effort, 1), num))
        return scores, np.where(places < 0, 0, self.seqs[np.maximum(places, 0)])


class Stopped(Exception):  # noqa: N818  (no error)
    """The service ends before an index is built."""


def build_best(
    asked: IndexKind,
    kind: IndexKind,
    view: View,
    policy: IndexPolicy,
    nearest: Callable[[FloatArray, int], list[set[int]]],
    *,
    is_stopped: Callable[[], bool] = bool,
) -> BuiltIndex:
    """As `build`; where it was not asked for by name and must look at so much that it is of no use, the one in its place."""
    built = build(kind, view, policy, nearest, is_stopped)
    if asked == "auto" and kind in _IN_PLACE and built.effort * _LEAST_GAIN > built.index.nlist:
        return build(_IN_PLACE[kind], view, policy, nearest, is_stopped)
    return built


def build(
    kind: IndexKind,
    view: View,
    policy: IndexPolicy,
    nearest: Callable[[FloatArray, int], list[set[int]]],
    is_stopped: Callable[[], bool] = bool,
) -> BuiltIndex:
    """An index of the live templates of a view, that looks as wide as it must to find the wanted share of the ten nearest.

    `nearest` tells the numbers of the templates nearest to probes, exactly. Raises `Stopped`, `GpuFailedError`.
    """
    parts = [(segment, segment.live_rows) for segment in view.segments]
    parts = [(segment, rows[rows < num]) for (segment, rows), num in zip(parts, view.nums, strict=True)]
    seqs = np.concatenate([segment.seqs[rows] for segment, rows in parts])
    dimension = parts[0][0].vectors.shape[1]
    index: Any = gpu.GpuIndex(dimension) if kind == "flat" else _empty(kind, dimension, len(seqs), policy.memory)
    rng = np.random.default_rng(len(seqs))
    if not index.is_trained:
        share = min(1.0, _TRAINED / len(seqs))
        some = [segment.vectors[rows[rng.random(len(rows)) < share]] for segment, rows in parts]
        index.train(np.concatenate(some))
    for segment, rows in parts:
        for start in range(0, len(rows), _ADDED):
            if is_stopped():
                raise Stopped
            index.add(segment.vectors[rows[start : start + _ADDED]])
    if kind == "flat":
        return BuiltIndex(kind, seqs, 0, 1.0, index)
    probes_BD = np.concatenate(
        [segment.vectors[rng.choice(rows, -(-_SAMPLE // len(parts)))] for segment, rows in parts]
    )
    expected = nearest(probes_BD, _NEIGHBOURS + 1)
    built = BuiltIndex(kind, seqs, _least_effort(kind), 0.0, index)
    while True:
        found = built.nominate(probes_BD, _NEIGHBOURS + 1)[1]
        hits = [
            len(truth & set(row)) / len(truth) for truth, row in zip(expected, found.tolist(), strict=True) if truth
        ]
        built = BuiltIndex(kind, seqs, built.effort, float(np.mean(hits)), index)
        wider = _wider(built)
        if built.recall >= policy.recall or wider is None:
            log.info(
                "built %s over %d templates, recall@10 %.4f at effort %d", kind, len(seqs), built.recall, built.effort
            )
            return built
        built = wider


def memory_limit() -> int:
    """Bytes that this process may have: its control group's, or the machine's."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        return min(machine, int(limit)) if limit != "max" else machine
    except (OSError, ValueError):
        return machine


def packed(built: BuiltIndex) -> bytes:
    """The index as FAISS writes it; whoever reads it again must know that it is what was written."""
    return faiss.serialize_index(built.index).tobytes()


def unpacked(kind: IndexKind, data: npt.NDArray[np.uint8], seqs: SeqArray, effort: int, recall: float) -> BuiltIndex:
    """What `packed` wrote."""
    return BuiltIndex(kind, seqs, effort, recall, faiss.deserialize_index(data))


def _empty(kind: IndexKind, dimension: int, num: int, memory: int) -> Any:
    metric = faiss.METRIC_INNER_PRODUCT
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(dimension, _LINKS, metric)
        index.hnsw.efConstruction = _BREADTH
        return index
    if kind == "ivf":
        lists = max(1, min(round(4 * math.sqrt(num)), num // 39))
        stored = "Flat" if 4 * num * dimension <= memory else "SQ8"
        return faiss.index_factory(dimension, f"IVF{lists},{stored}", metric)
    quantizer = faiss.ScalarQuantizer.QT_fp16 if kind == "fp16" else faiss.ScalarQuantizer.QT_8bit
    return faiss.IndexScalarQuantizer(dimension, quantizer, metric)


def _parameters(kind: IndexKind, effort: int, num: int) -> Any:
    if kind == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=max(effort, num))  # type: ignore[attr-defined]
    return faiss.SearchParametersIVF(nprobe=effort) if kind == "ivf" else None  # type: ignore[call-arg]


def _least_effort(kind: IndexKind) -> int:
    return {"hnsw": 32, "ivf": 4}.get(kind, 0)


def _wider(built: BuiltIndex) -> BuiltIndex | None:
    """The same, looking twice as wide, where that can find more."""
    limit = {"hnsw": 2048, "ivf": getattr(built.index, "nlist", 0)}.get(built.kind, 0)
    if built.effort >= limit:
        return None
    return BuiltIndex(built.kind, built.seqs, min(2 * built.effort, limit), 0.0, built.index)
