"""Parquet bodies, read in a process of their own: what a file of a stranger does there, it does there alone."""

import asyncio
import os
import sys

from models.errors import FeatureSetError
from service.errors import QueueFullError

MAX_PROCESSES = 2
"""That read at once; others wait for their turn."""
MAX_WAITING = 16
"""Bodies in memory, those that are read included."""
_COMMAND = (sys.executable, "-P", "-m", "models.parquet")
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "ARROW_IO_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
"""The process may have so much address space; by default pyarrow and threads reserve more of it than a file takes."""


class ParquetReader:
    """Reads the Parquet bodies of one app."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(MAX_PROCESSES)
        self._num_waiting = 0

    async def npz(self, data: bytes, max_bytes: int, timeout_seconds: float) -> bytes:
        """A Parquet feature set that unpacks to at most `max_bytes`, as `.npz`. Raises `FeatureSetError`, `QueueFullError`."""
        if self._num_waiting >= MAX_WAITING:
            raise QueueFullError("as many Parquet files are waiting to be read as may wait; try again shortly")
        self._num_waiting += 1
        try:
            async with self._turns:
                return await _npz(data, max_bytes, timeout_seconds)
        finally:
            self._num_waiting -= 1


async def _npz(data: bytes, max_bytes: int, timeout_seconds: float) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        str(max_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | ENVIRONMENT,
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            npz, reason = await process.communicate(data)
    except TimeoutError:
        raise FeatureSetError("body: takes too long to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 2:
        raise FeatureSetError(reason.decode(errors="replace"))
    if process.returncode != 0:
        raise FeatureSetError("body: not a Parquet file that can be read")
    return npz
