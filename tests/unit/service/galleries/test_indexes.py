"""Indexes that look at less than everything: what they find, what they cost nobody, and that they outlive the process."""

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, thread
from pathlib import Path

import faiss
import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, IndexKind, IndexState, NewTemplates
from service.errors import DamagedError
from service.galleries import background, gpu, indexes
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS
from service.galleries.indexes import IndexPolicy
from service.galleries.oracle import OracleGalleryStore
from service.galleries.part import Part
from service.galleries.saved import ProjectionFolder
from service.galleries.segments import Columns

SPACE = Space("here", 32, "external:here")
ELSEWHERE = Space("elsewhere", 8, "external:elsewhere")
KINDS: tuple[IndexKind, ...] = ("fp16", "sq8", "ivf", "hnsw")


@pytest.fixture(autouse=True)
def small_galleries_are_indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexes, "FEWEST_INDEXED", 500)
    monkeypatch.setattr(background, "_INDEX_SECONDS", 0.01)
    monkeypatch.setattr(background, "_LOOK_SECONDS", 0.01)


def people(num: int, seed: int = 0) -> FloatArray:
    """Features of people who look alike in groups, as people do."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((num // 5 + 1, 32))
    raw_GD = centres[rng.integers(len(centres), size=num)] + 0.6 * rng.standard_normal((num, 32))
    unit_GD: FloatArray = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    return unit_GD


def native(features_GD: FloatArray, name: str = "p") -> NewTemplates:
    return NewTemplates([f"{name}{row}" for row in range(len(features_GD))], features_GD, SPACE, features_GD, SPACE)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def filled(folder: Path, kind: IndexKind, features_GD: FloatArray) -> EmbeddedGalleryStore:
    store = EmbeddedGalleryStore(folder, IndexPolicy(recall=0.95))
    store.create("staff", SPACE, index=kind)
    store.enrol("staff", native(features_GD))
    wait_until(lambda: store.get("staff").index.num_indexed == len(features_GD))
    return store


@pytest.fixture
def gpu_of_this_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A GPU whose FAISS is the CPU's; put a number in to make it fail. `tests/gpu` has the real one."""
    broken: list[int] = []

    class Index:
        def __init__(self, _: object, dimension: int) -> None:
            self._index = faiss.IndexFlatIP(dimension)
            self.add = self._index.add

        def search(self, probes_BD: FloatArray, num: int) -> object:
            assert threading.current_thread().name.startswith("gallery-gpu")
            assert num <= gpu.MOST
            if broken:
                raise RuntimeError("Error in somewhere\nCUDA error 999")
            return self._index.search(probes_BD, num)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", Index, raising=False)
    monkeypatch.setattr(gpu, "_resources", lambda: None)
    yield broken
    gpu._failures.clear()


def on_gpu(folder: Path, features_GD: FloatArray) -> EmbeddedGalleryStore:
    store = EmbeddedGalleryStore(folder, IndexPolicy("flat", may_use_gpu=True))
    store.create("staff", SPACE)
    store.enrol("staff", native(features_GD))
    wait_until(lambda: store.get("staff").index.num_indexed == len(features_GD))
    return store


@pytest.mark.usefixtures("gpu_of_this_cpu")
def test_on_a_gpu_the_exact_search_stays_exact(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    features_GD, probes_BD = people(9100), people(20, seed=1)
    # Closer together than float32 products can tell, and more than are nominated at first.
    moved_GD = features_GD[50].astype(np.float64) + 2e-7 * np.random.default_rng(3).standard_normal((100, 32))
    features_GD[100:200] = moved_GD / np.linalg.norm(moved_GD, axis=1, keepdims=True)
    probes_BD[0] = features_GD[50]
    beside = OracleGalleryStore()
    beside.create("staff", SPACE)
    store = on_gpu(tmp_path, features_GD[:9000])
    beside.enrol("staff", native(features_GD[:9000]))
    assert store.get("staff").index == IndexState("flat", "flat", 1.0, 9000, "cuda")
    for one in (store, beside):
        one.enrol("staff", native(features_GD[9000:], "later"))
        one.remove_subject("staff", "p7")
        one.remove_subject("staff", "later7")
    # 8 more are nominated than are asked for, so the last is too much for a GPU.
    for top_k in (1, 10, 2000, gpu.MOST):
        found, expected = (one.search("staff", probes_BD, SPACE, top_k).candidates for one in (store, beside))
        assert [[(c.subject, c.score) for c in row] for row in found] == [
            [(c.subject, c.score) for c in row] for row in expected
        ]
    store.close()
    # Nothing of it is saved: it is a copy of the vectors.
    assert "cannot be saved" not in caplog.text
    assert list((tmp_path / PROJECTIONS).rglob("*.segment"))
    assert not list((tmp_path / PROJECTIONS).rglob("*.index"))


@pytest.mark.usefixtures("gpu_of_this_cpu")
def test_what_is_on_the_gpu_goes_on_its_thread_wherever_it_is_let_go() -> None:
    gone: list[str] = []
    index = gpu.GpuIndex(8)
    weakref.finalize(index._box[0], lambda: gone.append(threading.current_thread().name))
    pool = ThreadPoolExecutor(1)
    # A finalizer may run while any lock is held, as that of all executors.
    with thread._global_shutdown_lock:
        del index
    wait_until(lambda: bool(gone))
    assert gone == ["gallery-gpu"]
    pool.shutdown()


def test_without_the_gpu_that_failed_a_gallery_is_searched_as_before(
    tmp_path: Path, gpu_of_this_cpu: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    features_GD, probes_BD = people(3000), people(20, seed=1)
    store = on_gpu(tmp_path, features_GD)
    gpu_of_this_cpu.append(1)
    assert share_found(store, features_GD, probes_BD) == 1.0
    wait_until(lambda: store.get("staff").index == IndexState("flat", "flat", 1.0, 0, "cpu"))
    gpu_of_this_cpu.clear()
    assert share_found(store, features_GD, probes_BD) == 1.0
    (line,) = [record.getMessage() for record in caplog.records if "GPU" in record.getMessage()]
    assert line.endswith("searched without it: Error in somewhere")
    store.close()


def share_found(store: EmbeddedGalleryStore, features_GD: FloatArray, probes_BD: FloatArray) -> float:
    """Of the ten nearest by numpy, those that the store names, all with the exact score."""
    found = store.search("staff", probes_BD, SPACE, 10).candidates
    score_BG = probes_BD.astype(np.float64) @ features_GD.astype(np.float64).T
    shares = []
    for score_G, candidates in zip(score_BG, found, strict=True):
        nearest = {f"p{row}" for row in np.argsort(-score_G)[:10]}
        shares.append(len(nearest & {candidate.subject for candidate in candidates}) / 10)
        for candidate in candidates:
            assert candidate.score == np.float32(score_G[int(candidate.subject[1:])])
    return float(np.mean(shares))


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_finds_what_it_says_that_it_finds_with_exact_scores(tmp_path: Path, kind: IndexKind) -> None:
    features_GD = people(3000)
    store = filled(tmp_path, kind, features_GD)
    state = store.get("staff").index
    assert (state.asked, state.kind) == (kind, kind)
    assert state.recall >= 0.95
    assert share_found(store, features_GD, people(200, seed=1)) >= 0.9
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_and_goes_after_an_index_was_built_is_seen_at_once(tmp_path: Path, kind: IndexKind) -> None:
    features_GD, more_GD = people(1000), people(20, seed=2)
    store = filled(tmp_path, kind, features_GD)
    store.enrol("staff", native(more_GD, "new"))
    best = [candidates[0].subject for candidates in store.search("staff", more_GD, SPACE, 1).candidates]
    assert best == [f"new{row}" for row in range(20)]
    store.remove_subject("staff", "new3")
    store.remove_subject("staff", "p7")
    for probe_D, gone in ((more_GD[3], "new3"), (features_GD[7], "p7")):
        (candidates,) = store.search("staff", probe_D[None], SPACE, 10).candidates
        assert len(candidates) == 10
        assert gone not in {candidate.subject for candidate in candidates}
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_there_again_after_a_start_and_its_vectors_stay_on_disk(tmp_path: Path, kind: IndexKind) -> None:
    features_GD, probes_BD = people(1000), people(50, seed=1)
    store = filled(tmp_path, kind, features_GD)
    store.remove_subject("staff", "p5")
    expected, state = store.search("staff", probes_BD, SPACE, 10), store.get("staff").index
    store.close()

    for _ in range(2):
        again = EmbeddedGalleryStore(tmp_path, IndexPolicy(recall=0.95))
        assert again.get("staff").index == state
        assert again.search("staff", probes_BD, SPACE, 10) == expected
        (view,) = again._gallery("staff").projection.views().values()
        assert all(isinstance(segment.vectors, np.memmap) for segment in view.segments)
        again.close()


def test_a_gallery_of_several_origins_has_an_index_for_each_that_is_large(tmp_path: Path) -> None:
    features_GD = people(1200)
    store = EmbeddedGalleryStore(tmp_path)
    store.create("staff", SPACE, index="ivf")
    store.enrol("staff", native(features_GD[:600]))
    originals_GD = features_GD[600:1190, :8] / np.linalg.norm(features_GD[600:1190, :8], axis=1, keepdims=True)
    names = [f"q{row}" for row in range(590)]
    store.enrol("staff", NewTemplates(names, originals_GD, ELSEWHERE, features_GD[600:1190], SPACE, ("e-h",)))
    wait_until(lambda: store.get("staff").index.num_indexed == 1190)
    (candidates,) = store.search("staff", features_GD[700:701], SPACE, 3).candidates
    assert (candidates[0].subject, candidates[0].score) == ("q100", 1.0)
    apart = store.search("staff", features_GD[700:701], SPACE, 3, by_origin=True).candidates[0]
    assert [candidate.subject[0] for candidate in apart].count("p") == 3
    store.close()


def test_a_damaged_index_is_built_again(tmp_path: Path) -> None:
    features_GD = people(1000)
    filled(tmp_path, "ivf", features_GD).close()
    (path,) = (tmp_path / PROJECTIONS).rglob("*.index")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store = EmbeddedGalleryStore(tmp_path)
    assert store.get("staff").num_templates == 1000
    wait_until(lambda: store.get("staff").index.num_indexed == 1000)
    assert share_found(store, features_GD, people(50, seed=1)) >= 0.9
    store.close()


def test_a_turned_bit_or_a_cut_of_an_index_is_seen(tmp_path: Path) -> None:
    filled(tmp_path, "ivf", people(1000)).close()
    (path,) = (tmp_path / PROJECTIONS).rglob("*.index")
    content, rng = path.read_bytes(), np.random.default_rng(0)
    turned = [
        content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
        for at, bit in zip(
            rng.integers(len(content), size=300).tolist(), rng.integers(8, size=300).tolist(), strict=True
        )
    ]
    cut = [content[: len(content) * part // 50] for part in range(50)]
    for damaged in (*turned, *cut, content + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            ProjectionFolder(path.parent).load(SPACE.fingerprint, SPACE.dimension)
    path.write_bytes(content)
    assert ProjectionFolder(path.parent).load(SPACE.fingerprint, SPACE.dimension) is not None
    sys.stdout.write(f"{len(turned) + len(cut) + 1} turned bits and cuts of an index: every one seen\n")


def test_where_nothing_is_asked_a_gallery_that_is_small_enough_is_searched_exactly(tmp_path: Path) -> None:
    store = EmbeddedGalleryStore(tmp_path)
    assert store.create("staff", SPACE).index.asked == "auto"
    store.enrol("staff", native(people(1000)))
    time.sleep(0.1)
    state = store.get("staff").index
    assert (state.kind, state.recall, state.num_indexed) == ("flat", 1.0, 0)
    store.close()


@pytest.mark.parametrize(("num_groups", "kind"), [(40, "ivf"), (6000, "sq8")])
def test_a_gallery_that_does_not_fit_in_memory_has_the_index_that_is_of_use(
    tmp_path: Path, num_groups: int, kind: IndexKind
) -> None:
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((num_groups, 32))
    raw_GD = centres[rng.integers(num_groups, size=6000)] + 0.3 * rng.standard_normal((6000, 32))
    features_GD = (raw_GD / np.linalg.norm(raw_GD, axis=1, keepdims=True)).astype(np.float32)
    store = EmbeddedGalleryStore(tmp_path, IndexPolicy(memory_bytes=10_000, recall=0.95))
    store.create("staff", SPACE)
    store.enrol("staff", native(features_GD))
    wait_until(lambda: store.get("staff").index.num_indexed == 6000)
    first = store._gallery("staff").projection.indexes
    assert (store.get("staff").index.asked, store.get("staff").index.kind) == ("auto", kind)
    assert share_found(store, features_GD, features_GD[::300]) >= 0.95
    time.sleep(0.1)
    # It is not built again and again.
    assert all(one is first[origin] for origin, one in store._gallery("staff").projection.indexes.items())
    store.close()


def test_an_index_that_finds_too_little_looks_wider_until_it_finds_enough() -> None:
    features_GD = people(4000)
    from_few, from_most = (built(features_GD, recall) for recall in (0.2, 0.995))
    assert from_few.effort < from_most.effort
    assert from_most.recall >= 0.995


def built(features_GD: FloatArray, recall: float) -> indexes.BuiltIndex:
    part = Part(32)
    seqs = np.arange(1, len(features_GD) + 1)
    part.append(Columns(seqs, seqs, [f"p{seq}" for seq in seqs], features_GD))
    part.publish()
    flat = faiss.IndexFlatIP(32)
    flat.add(features_GD)

    def nearest(probes_BD: FloatArray, num: int) -> list[set[int]]:
        return [set((row + 1).tolist()) for row in flat.search(probes_BD, num)[1]]

    return indexes.build("ivf", part.view, IndexPolicy(recall=recall), nearest)
