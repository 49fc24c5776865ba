"""A probe of several features over a million templates, by density, beside a probe of one by its cosine.

Shapes: P probes, M features of each, N templates, D dimension.
"""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.galleries import BATCH, DIMENSION, NAME, SPACE, TOP_K, people
from models.features import FloatArray, unit_features
from service.entities import Density, NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore

TEMPLATES = 1_000_000
NUM_SAMPLES = 10
ALIKE, APART = 0.7, 0.0
"""Cosines of two features of one probe, about."""
SIGMA = 0.3
SINGLES = 15
MANY = 64
BATCHES = 3


def measure(_: Faces) -> str:
    """Ratios of medians, both by turns, in one process."""
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = EmbeddedGalleryStore(Path(folder))
        _fill(store)
        rows = [
            ["one probe", *_compared(store, 1, SINGLES, ALIKE), "<= 2"],
            ["one probe whose features are far apart", *_compared(store, 1, SINGLES, APART), ""],
            [f"{MANY} probes at once", *_compared(store, MANY, BATCHES, ALIKE), ""],
        ]
        store.close()
    head = (
        f"{TEMPLATES:,} templates of {DIMENSION} numbers, kind `flat`, top {TOP_K}; {NUM_SAMPLES} features a probe, two of them "
        f"at a cosine of {ALIKE:g} about, or {APART:g} where they are far apart; sigma {SIGMA:g}. Medians of {SINGLES} searches, "
        f"of {BATCHES} where there are {MANY} probes, both by turns."
    )
    return f"{head}\n\n{table(['what', 'by cosine', 'by density', 'ratio', 'asked for'], rows)}"


def _fill(store: EmbeddedGalleryStore) -> None:
    store.create(NAME, SPACE, index="flat")
    features_ND = people(TEMPLATES, 2)
    for start in range(0, TEMPLATES, BATCH):
        part = features_ND[start : start + BATCH]
        subjects = [f"subject-{number:08d}" for number in range(start, start + len(part))]
        store.enrol(NAME, NewTemplates(subjects, part, SPACE, part, SPACE))


def _compared(store: EmbeddedGalleryStore, num_probes: int, rounds: int, cosine: float) -> list[str]:
    """How long so many probes of one feature take, how long those of several, and how many times that is."""
    rng = np.random.default_rng(4)
    by_cosine, by_density = [], []
    for probes_PD in people(num_probes * rounds, 3).reshape(rounds, num_probes, DIMENSION):
        features_BD = _about(probes_PD, cosine, rng)
        search = partial(store.search, NAME, space=SPACE, top_k=TOP_K)
        by_cosine.append(_seconds(partial(search, probes_PD)))
        by_density.append(_seconds(partial(search, features_BD, density=Density(NUM_SAMPLES, SIGMA))))
    one, several = median(by_cosine), median(by_density)
    return [f"{one * 1000:.0f} ms", f"{several * 1000:.0f} ms", f"**{several / one:.2f}**"]


def _about(probes_PD: FloatArray, cosine: float, rng: np.random.Generator) -> FloatArray:
    """Features (P x M, D) about each probe, two of them at such a cosine."""
    own_PMD = rng.standard_normal((len(probes_PD), NUM_SAMPLES, DIMENSION)) / np.sqrt(DIMENSION)
    raw_PMD = np.sqrt(cosine) * probes_PD[:, None] + np.sqrt(1 - cosine) * own_PMD
    return unit_features(raw_PMD.reshape(-1, DIMENSION))


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
