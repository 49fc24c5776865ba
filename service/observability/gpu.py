"""How much memory the GPUs have, by NVIDIA's own library where it is there; nothing where it is not."""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

_LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Of one GPU, in bytes."""

    number: int
    total: int
    used: int


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`. Source: NVML API reference."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def gpu_memory() -> list[GpuMemory]:
    """Of every GPU that can be asked."""
    library = _library()
    return [] if library is None else list(_asked(library))


def _asked(library: ctypes.CDLL) -> Iterator[GpuMemory]:
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        return
    for number in range(count.value):
        device, memory = ctypes.c_void_p(), _Memory()
        if library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device)):
            continue
        if not library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)):
            yield GpuMemory(number, memory.total, memory.used)


@lru_cache(1)
def _library() -> ctypes.CDLL | None:
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_LIBRARY)
        if library.nvmlInit_v2() == 0:
            return library
    return None
