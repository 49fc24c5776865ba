"""A gallery of a million templates, beside bare FAISS in the same process and run: search, enrolment, starts, memory.

Vectors are of people who do not exist: a centre each, and pictures about it. G templates, D dimension, B probes.
"""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

import faiss
import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from models.features import FloatArray
from models.space import Space
from service.entities import NewTemplates
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import PROJECTIONS

TEMPLATES = 1_000_000
DIMENSION = 256
BATCH = 65_536
TOP_K = 10
MANY = 64
CLIENTS = 32
SINGLES_EACH = 150
ENROLLED_A_SECOND = 1000
ROUNDS = 7
NAME = "people"
SPACE = Space("measured", DIMENSION, "external:measured")

_START = """
import sys, time, pathlib
import service.app
from service.galleries.embedded import EmbeddedGalleryStore
started = time.perf_counter()
store = EmbeddedGalleryStore(pathlib.Path(sys.argv[1]))
seconds = time.perf_counter() - started
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["VmRSS"].split()[0]) * 1024, store.get("people").num_templates)
store.close()
"""


def people(num: int, seed: int) -> FloatArray:
    """Features (num, D): each a quarter of the way from a centre that three share, about."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((TEMPLATES // 3, DIMENSION), dtype=np.float32)
    features_GD = np.empty((num, DIMENSION), dtype=np.float32)
    for start in range(0, num, BATCH):
        part = slice(start, min(num, start + BATCH))
        size = part.stop - part.start
        own = 0.6 * rng.standard_normal((size, DIMENSION), dtype=np.float32)
        features_GD[part] = centres[rng.integers(len(centres), size=size)] + own
        features_GD[part] /= np.linalg.norm(features_GD[part], axis=1, keepdims=True)
    return features_GD


def measure(_: Faces) -> str:
    """Everything about one gallery, in one run."""
    features_GD, probes_BD = people(TEMPLATES, 2), people(MANY * ROUNDS, 3)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        data = Path(folder)
        store = EmbeddedGalleryStore(data)
        store.create(NAME, SPACE, index="flat")
        rows = [
            [
                "bulk enrolment, one client, 65,536 a request",
                f"{_bulk(store, features_GD):,.0f} templates/s",
                ">= 40,000",
            ]
        ]
        bare = faiss.IndexFlatIP(DIMENSION)
        bare.add(features_GD)
        rows += _searches(store, bare, probes_BD)
        rows += [_beside_enrolment(store, probes_BD, num_each) for num_each in (1, 10)]
        rows.append(["single enrolments, 32 clients", f"{_singles(store):,.0f} a second", ">= 3,000"])
        num = store.get(NAME).num_templates
        store.close()
        del bare, features_GD
        rows += _starts(data, num)
    head = f"{TEMPLATES:,} templates of {DIMENSION} numbers, kind `flat`, top {TOP_K}; medians of {ROUNDS} rounds, both by turns."
    return f"{head}\n\n{table(['what', 'figure', 'asked for'], rows)}"


def _bulk(store: EmbeddedGalleryStore, features_GD: FloatArray) -> float:
    seconds = 0.0
    for start in range(0, len(features_GD), BATCH):
        part = features_GD[start : start + BATCH]
        subjects = [f"subject-{number:08d}" for number in range(start, start + len(part))]
        templates = NewTemplates(subjects, part, SPACE, part, SPACE)
        began = time.perf_counter()
        store.enrol(NAME, templates)
        seconds += time.perf_counter() - began
    return len(features_GD) / seconds


def _searches(store: EmbeddedGalleryStore, bare: faiss.Index, probes_BD: FloatArray) -> list[list[str]]:
    own, beside, own_many, beside_many = [], [], [], []
    for start in range(0, MANY * ROUNDS, MANY):
        batch = np.ascontiguousarray(probes_BD[start : start + MANY])
        for row in range(6):
            one = batch[row : row + 1]
            own.append(_seconds(partial(store.search, NAME, one, SPACE, TOP_K)))
            beside.append(_seconds(partial(bare.search, one, TOP_K)))
        own_many.append(_seconds(partial(store.search, NAME, batch, SPACE, TOP_K)))
        # The better of FAISS's two ways: the store sets its threshold so that it multiplies matrices.
        beside_many.append(_seconds(partial(bare.search, batch, TOP_K)))
    one_ms, bare_ms = median(own) * 1000, median(beside) * 1000
    rate, bare_rate = MANY / median(own_many), MANY / median(beside_many)
    return [
        [
            "one probe, p50",
            f"{one_ms:.1f} ms; bare `IndexFlatIP` {bare_ms:.1f} ms: **{one_ms / bare_ms:.2f}**",
            "<= 1.15",
        ],
        ["64 probes at once", f"{rate:.0f} a second; bare {bare_rate:.0f}: **{rate / bare_rate:.2f}**", ">= 0.8"],
    ]


def _beside_enrolment(store: EmbeddedGalleryStore, probes_BD: FloatArray, num_each: int) -> list[str]:
    """Searches in three seconds, with and without clients that enrol 1,000 templates a second beside them, so many a request."""
    shares, reached = [], []
    for _ in range(3):
        alone = _num_searches(store, probes_BD)
        with _enrolling(store, num_each) as counted:
            began = time.perf_counter()
            beside = _num_searches(store, probes_BD)
            reached.append(sum(counted) / (time.perf_counter() - began))
        shares.append(beside / alone)
    figure = f"**{median(shares):.2f}** of the searches of one probe, at {median(reached):.0f} enrolments a second"
    how = "one by one" if num_each == 1 else f"{num_each} a request"
    return [f"searching while 1,000 a second are enrolled, {how}", figure, ">= 0.8"]


def _num_searches(store: EmbeddedGalleryStore, probes_BD: FloatArray) -> int:
    num, end = 0, time.perf_counter() + 3.0
    while time.perf_counter() < end:
        store.search(NAME, probes_BD[num % len(probes_BD)][None], SPACE, TOP_K)
        num += 1
    return num


@contextmanager
def _enrolling(store: EmbeddedGalleryStore, num_each: int) -> Iterator[list[int]]:
    """Clients that enrol `num_each` at a time, as many together as they are to, for as long as this lasts."""
    counted, done = [0] * CLIENTS, threading.Event()
    features_GD = people(64, 5)

    def client(number: int) -> None:
        began, mine = time.perf_counter(), 0
        while not done.is_set():
            some = features_GD[(mine + np.arange(num_each)) % len(features_GD)]
            names = [f"beside-{num_each}-{number}-{mine + place}" for place in range(num_each)]
            store.enrol(NAME, NewTemplates(names, some, SPACE, some, SPACE))
            mine += num_each
            counted[number] = mine
            ahead = began + mine * CLIENTS / ENROLLED_A_SECOND - time.perf_counter()
            if ahead > 0:
                time.sleep(ahead)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        yield counted
    finally:
        done.set()
        for one in clients:
            one.join()


def _singles(store: EmbeddedGalleryStore) -> float:
    features_GD = people(64, 6)

    def client(number: int) -> None:
        for mine in range(SINGLES_EACH):
            one = features_GD[mine % 64][None]
            store.enrol(NAME, NewTemplates([f"single-{number}-{mine}"], one, SPACE, one, SPACE))

    rates = []
    for _ in range(3):
        clients = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
        began = time.perf_counter()
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        rates.append(CLIENTS * SINGLES_EACH / (time.perf_counter() - began))
    return median(rates)


def _starts(data: Path, num: int) -> list[list[str]]:
    vectors = num * DIMENSION * 4
    saved = [_start(data) for _ in range(3)]
    rebuilt = []
    for _ in range(2):
        for path in sorted((data / PROJECTIONS).rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        rebuilt.append(_start(data)[0])
    resident = median(one[1] for one in saved) / vectors
    return [
        ["start from what was saved", f"{median(one[0] for one in saved):.1f} s", "< 10 s"],
        ["start from the record alone", f"{median(rebuilt):.1f} s", "< 30 s"],
        ["resident memory of a service process after its start", f"**{resident:.2f}** times the vectors", "<= 1.3"],
    ]


def _start(data: Path) -> tuple[float, int]:
    command = [sys.executable, "-c", _START, str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    seconds, resident, _ = done.stdout.split()
    return float(seconds), int(resident)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
