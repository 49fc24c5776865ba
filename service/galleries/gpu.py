"""FAISS on a GPU: the templates of an origin in its memory, all of them searched, as exactly as by the CPU.

FAISS's GPU resources are for one thread at a time, so whatever is done with them is done on one thread of this module. A GPU that
fails once is left alone until the next start: galleries are searched without it.
"""

import logging
import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from functools import cache
from typing import Any, TypeVar

import faiss
import numpy as np

from service.entities import FloatArray
from service.galleries.segments import RowArray

log = logging.getLogger("facebridge.galleries")

T = TypeVar("T")
MOST = 2048
"""Templates that FAISS finds for one probe on a GPU at most."""
LONGEST_SCAN_BYTES = 32 << 30
"""Of vectors that one GPU is to look through."""


class GpuFailedError(Exception):
    """The GPU did not do what it was asked; it is not asked again."""


class GpuIndex:
    """Vectors in the memory of the first GPU, by their inner products."""

    is_trained = True

    def __init__(self, dimension: int) -> None:
        """Raises `GpuFailedError`, as everything here."""
        # In a box that alone holds it, so that its memory is given back on that thread too.
        self._box: list[Any] = [_on_gpu(lambda: faiss.GpuIndexFlatIP(_resources(), dimension))]

        # Called wherever Python collects what nobody has any more, in the middle of anything: it may take no lock.
        weakref.finalize(self, _worker().later, self._box.clear).atexit = False

    def add(self, vectors_GD: FloatArray) -> None:
        """Put in vectors (G, D)."""
        _on_gpu(lambda: self._box[0].add(np.ascontiguousarray(vectors_GD)))

    def search(self, probes_BD: FloatArray, num: int, params: None = None) -> tuple[FloatArray, RowArray]:
        """Scores and places of the best `num`, at most `MOST`, of each probe (B, D): (B, K) each."""
        assert params is None
        found: tuple[FloatArray, RowArray] = _on_gpu(lambda: self._box[0].search(np.ascontiguousarray(probes_BD), num))
        return found


def is_there() -> bool:
    """Whether this FAISS was built for GPUs, finds one, and that one has not failed."""
    return faiss.get_num_gpus() > 0 and not _failures


_failures: list[str] = []


def _on_gpu(work: Callable[[], T]) -> T:
    try:
        return _worker().now(work)
    except RuntimeError as failure:
        if not _failures:
            # FAISS tells the line of its source, and the call that failed.
            log.error("the GPU failed, galleries are searched without it: %s", str(failure).splitlines()[0])
        _failures.append(type(failure).__name__)
        raise GpuFailedError from None


class _Worker:
    """The thread that has the GPU. What it is given goes through a queue that finalizers may put into."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="gallery-gpu", daemon=True).start()

    def now(self, work: Callable[[], T]) -> T:
        """What `work` gives there, or raises."""
        done: Future[T] = Future()

        def told() -> None:
            try:
                done.set_result(work())
            except BaseException as failure:  # noqa: BLE001
                done.set_exception(failure)

        self._work.put(told)
        return done.result()

    def later(self, work: Callable[[], object]) -> None:
        """Do `work` there some time; it does not raise."""
        self._work.put(work)

    def _run(self) -> None:
        while True:
            self._work.get()()


@cache
def _worker() -> _Worker:
    return _Worker()


@cache
def _resources() -> Any:
    return faiss.StandardGpuResources()
