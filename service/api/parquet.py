"""Parquet bodies, read in a process of their own: what a file of a stranger does there, it does there alone."""

import asyncio
import sys

from models.errors import FeatureSetError

_COMMAND = (sys.executable, "-P", "-m", "models.parquet")


async def npz_of_parquet(data: bytes, max_bytes: int, timeout_seconds: float) -> bytes:
    """A Parquet feature set that unpacks to at most `max_bytes`, as `.npz`. Raises `FeatureSetError`."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        str(max_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
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
