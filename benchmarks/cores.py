"""Many independent fits, one process and one thread a core."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


def on_all_cores(work: Callable[..., ResultT], arguments: Sequence[tuple[Any, ...]]) -> list[ResultT]:
    """`work(*arguments[i])` for each i, in order. Closed forms and small networks gain little from more threads."""
    with _one_thread_each(), ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, *zip(*arguments, strict=True)))


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """For processes that are started meanwhile, and none later."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]
        if before is not None:
            os.environ["OMP_NUM_THREADS"] = before
