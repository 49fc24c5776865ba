"""`extract`, from zip to feature set, beside the encoder's bare ONNX Runtime throughput on prepared input."""

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from models.runtime import Session
from training.data.encoders import Encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.feature_set_files import save_feature_set
from training.data.sources import PictureItem, PictureSource

ROUNDS = 3
PICTURES = 4096
BARE_SECONDS = 2.0
CORES = os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class _First(PictureSource):
    """The first pictures of another source."""

    source: PictureSource
    items: list[PictureItem]

    def read(self, item: PictureItem) -> bytes:
        return self.source.read(item)


def measure(faces: Faces) -> str:
    """Medians over rounds in which every way runs once, one after another."""
    source = faces.pictures()
    first = _First(source, source.items[:PICTURES])
    rows = []
    for name in ENCODERS:
        encoder = faces.encoder(name)
        ways = _bare_ways(encoder) | {"extract": lambda encoder=encoder: _extract(encoder, first)}
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, run in ways.items():
                rates[way].append(run())
        bare = {way: median(rate) for way, rate in rates.items() if way != "extract"}
        best = max(bare, key=lambda way: bare[way])
        ratios = [own / other for own, other in zip(rates["extract"], rates[best], strict=True)]
        rows.append([name, best, f"{bare[best]:.0f}", f"{median(rates['extract']):.0f}", f"**{median(ratios):.2f}**"])
    text = (
        f"Pictures a second; the best bare way of four (a batch of 8 or 32, each run on all cores or one thread a "
        f"core), median of {ROUNDS} rounds; `extract` reads {PICTURES} JPEGs from the zip, decodes, encodes and writes."
    )
    return f"{text}\n\n{table(['encoder', 'best bare way', 'bare /s', 'extract /s', 'ratio'], rows)}"


def _bare_ways(encoder: Encoder) -> dict[str, Callable[[], float]]:
    width, height = encoder.preparation.resize
    shared = Session(encoder.model, device="cpu", num_threads=1)
    whole = Session(encoder.model, device="cpu", num_threads=CORES)
    ways: dict[str, Callable[[], float]] = {}
    for batch in (8, 32):
        pictures = np.random.default_rng(0).uniform(0, 255, (batch, 3, height, width)).astype(np.float32)
        ways[f"batch {batch}, all cores"] = lambda pictures=pictures: _bare(whole, pictures, 1)  # type: ignore[misc]
        ways[f"batch {batch}, thread a core"] = lambda pictures=pictures: _bare(shared, pictures, CORES)  # type: ignore[misc]
    return ways


def _bare(session: Session, pictures: np.ndarray, num_callers: int) -> float:
    def call(deadline: float) -> int:
        done = 0
        while time.perf_counter() < deadline:
            session.run(pictures)
            done += len(pictures)
        return done

    session.run(pictures)
    started = time.perf_counter()
    with ThreadPoolExecutor(num_callers) as pool:
        done = sum(pool.map(call, [started + BARE_SECONDS] * num_callers))
    return done / (time.perf_counter() - started)


def _extract(encoder: Encoder, source: PictureSource) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.npz"
        started = time.perf_counter()
        extraction = extract_features(encoder, source, Path(folder) / "partial", ExtractionSettings(device="cpu"))
        save_feature_set(extraction.feature_set, out)
        discard_partial(Path(folder) / "partial")
        return len(source.items) / (time.perf_counter() - started)
