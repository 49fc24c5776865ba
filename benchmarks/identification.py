"""Identification over 10,000 templates: the same candidates as the numpy oracle, and the time beside bare FAISS."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import faiss
import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from models.feature_set import FeatureSet
from models.features import FloatArray
from service.entities import NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.oracle import OracleGalleryStore
from service.galleries.port import GalleryStore, SearchResult

TEMPLATES = 10_000
PROBES = 884
TOP_K = 10
SINGLE = 300
NAME = "people"


def measure(faces: Faces) -> str:
    """Agreement over all probes; median milliseconds of single probes, one way after another."""
    features = faces.features("edgeface-xxs-512")
    enrolled, probes = features.take(np.arange(TEMPLATES)), features.feature[TEMPLATES : TEMPLATES + PROBES]
    probes = np.concatenate([probes, enrolled.feature[:PROBES]])
    oracle = OracleGalleryStore()
    with tempfile.TemporaryDirectory() as folder:
        embedded = EmbeddedGalleryStore(Path(folder))
        same_id = dict(zip(_enrol(oracle, enrolled), _enrol(embedded, enrolled), strict=True))
        expected = oracle.search(NAME, probes, features.space, TOP_K)
        found = embedded.search(NAME, probes, features.space, TOP_K)
        agreeing = _num_agreeing(expected, found, same_id)
        bare = faiss.IndexFlatIP(features.space.dimension)
        bare.add(enrolled.feature)
        own_ms = _single_ms(lambda probe: embedded.search(NAME, probe, features.space, TOP_K), probes)
        bare_ms = _single_ms(lambda probe: bare.search(probe, TOP_K), probes)
        embedded.close()
    rows = [
        ["same candidates, order and scores as the oracle", f"**{agreeing} of {len(probes)}** probes"],
        ["one probe, gallery store (search on the calling thread, exact ranking, subjects)", f"{own_ms:.2f} ms"],
        ["one probe, bare FAISS `IndexFlatIP`, its default threads", f"{bare_ms:.2f} ms"],
        ["ratio", f"{own_ms / bare_ms:.2f}"],
    ]
    subjects = len(set(enrolled.subject.tolist()))
    text = (
        f"{TEMPLATES:,} templates of {subjects:,} subjects, {features.space.dimension} numbers, top {TOP_K}; half of the "
        f"probes are enrolled vectors themselves. Medians of {SINGLE} single searches in process."
    )
    return f"{text}\n\n{table(['what', 'figure'], rows)}"


def _enrol(store: GalleryStore, features: FeatureSet) -> tuple[str, ...]:
    space, rows = features.space, features.feature
    store.create(NAME, space)
    return store.enrol(NAME, NewTemplates(features.subject.tolist(), rows, space, rows, space)).template_ids


def _num_agreeing(expected: SearchResult, found: SearchResult, same_id: dict[str, str]) -> int:
    return sum(
        [(c.subject, c.score, same_id[c.template_id]) for c in truth]
        == [(c.subject, c.score, c.template_id) for c in own]
        for truth, own in zip(expected.candidates, found.candidates, strict=True)
    )


def _single_ms(search: Callable[[FloatArray], object], probes: FloatArray) -> float:
    times = []
    for probe in probes[:SINGLE]:
        started = time.perf_counter()
        search(probe[None])
        times.append(time.perf_counter() - started)
    return median(times) * 1000
