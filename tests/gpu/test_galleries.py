"""On a machine with a GPU that FAISS finds: galleries are searched there, and answer the same. Skipped elsewhere."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.indexes import IndexPolicy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="FAISS finds no GPU on this machine"),
]

SPACE = Space("here", 256, "external:here")
NUM = 100_000


def units(num: int, seed: int) -> FloatArray:
    raw_GD = np.random.default_rng(seed).standard_normal((num, 256), dtype=np.float32)
    unit_GD: FloatArray = raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)
    return unit_GD


def filled(folder: Path, *, may_use_gpu: bool) -> EmbeddedGalleryStore:
    store = EmbeddedGalleryStore(folder, IndexPolicy("flat", may_use_gpu=may_use_gpu))
    store.create("staff", SPACE)
    features_GD = units(NUM, 1)
    for start in range(0, NUM, 50_000):
        part = features_GD[start : start + 50_000]
        store.enrol("staff", NewTemplates([f"{start + row}" for row in range(len(part))], part, SPACE, part, SPACE))
    return store


def test_a_gallery_on_the_gpu_answers_as_on_the_cpu_to_many_at_once(tmp_path: Path) -> None:
    on_gpu, on_cpu = filled(tmp_path / "gpu", may_use_gpu=True), filled(tmp_path / "cpu", may_use_gpu=False)
    deadline = time.monotonic() + 60
    while on_gpu.get("staff").index.num_indexed < NUM:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert on_gpu.get("staff").index.device == "cuda"
    probes_BD = np.concatenate([units(200, 2), units(NUM, 1)[:56]])

    def named(store: EmbeddedGalleryStore, start: int) -> list[list[tuple[str, float]]]:
        found = store.search("staff", probes_BD[start : start + 16], SPACE, 10).candidates
        return [[(candidate.subject, candidate.score) for candidate in row] for row in found]

    with ThreadPoolExecutor(8) as pool:
        starts = range(0, len(probes_BD), 16)
        assert list(pool.map(lambda start: named(on_gpu, start), starts)) == [named(on_cpu, start) for start in starts]
    on_gpu.close()
    on_cpu.close()
