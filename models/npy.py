"""Reading `.npy` and `.npz` bytes that came from somebody else: no pickles, no allocation beyond what was sent."""

import io
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from models.errors import ContractError

_HEADER_FAULTS = (
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    OverflowError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)
_MAX_HEADER_BYTES = 4096


class NpyError(ContractError):
    """The bytes are not one complete `.npy` array of plain numbers or text."""


def read_npy(data: bytes) -> npt.NDArray[Any]:
    """The array of a `.npy` file, a read-only view of `data` where it can be. Raises `NpyError`."""
    stream = io.BytesIO(data)
    try:
        version = npy_format.read_magic(stream)
        if version == (1, 0):
            header = npy_format.read_array_header_1_0(stream, max_header_size=_MAX_HEADER_BYTES)
        elif version == (2, 0):
            header = npy_format.read_array_header_2_0(stream, max_header_size=_MAX_HEADER_BYTES)
        else:
            raise NpyError("only .npy versions 1.0 and 2.0 are read")
    except _HEADER_FAULTS:
        raise NpyError("not a .npy array: its header is damaged; write it with numpy.save") from None
    shape, fortran_order, dtype = header
    if dtype.hasobject or dtype.kind not in "fiubU":
        raise NpyError("the .npy array must hold plain numbers or text, never objects")
    offset = stream.tell()
    count = 1
    for extent in shape:
        if extent < 0:
            raise NpyError("the .npy header gives a negative extent")
        count *= int(extent)
    if count * dtype.itemsize != len(data) - offset:
        raise NpyError("the .npy header and the number of bytes sent do not agree; the array was cut or damaged")
    try:
        flat = np.frombuffer(data, dtype=dtype, count=count, offset=offset)
        array = flat.reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, TypeError, OverflowError):
        raise NpyError("the .npy header gives a shape or type that no array can have") from None
    if dtype.kind == "U" and not is_unicode(array):
        raise NpyError("the .npy array holds text that is not Unicode")
    return array


def is_unicode(text: npt.NDArray[Any]) -> bool:
    """Whether text holds Unicode characters only: numpy takes any 32 bits, and Python fails on them later.

    >>> is_unicode(np.array(["Zoë"])), is_unicode(np.array([chr(0xD800)]))
    (True, False)
    """
    codes = text.ravel().view(np.dtype(np.uint32).newbyteorder(text.dtype.byteorder))
    return not ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes <= 0xDFFF))).any()


def write_npy(array: npt.NDArray[Any]) -> bytes:
    """`array` as the bytes of a `.npy` file."""
    stream = io.BytesIO()
    npy_format.write_array(stream, np.asarray(array, order="C"), allow_pickle=False)
    return stream.getvalue()


def read_arrays(data: bytes, *, max_bytes: int = 8 << 30) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a `.npz` file that unpacks to at most `max_bytes`, by name. Raises `NpyError`."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(member.file_size for member in archive.infolist()) > max_bytes:
                raise NpyError(f"unpacks to more than {max_bytes} bytes; split it")
            _check_members(archive.infolist(), data)
            return {
                member.filename.removesuffix(".npy"): read_npy(_read_member(archive, member))
                for member in archive.infolist()
            }
    except NpyError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise NpyError("not a complete .npz file; write it again") from None


def write_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """The bytes of a `.npz` file; the same arrays give the same bytes."""
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _check_members(members: list[zipfile.ZipInfo], data: bytes) -> None:
    """Refuse what `zipfile` lets pass: members that a damaged directory lost, doubled or renamed."""
    names = {member.filename for member in members if member.filename.endswith(".npy")}
    if data[-22:-18] != b"PK\5\6" or not len(names) == len(members) == int.from_bytes(data[-12:-10], "little"):
        raise zipfile.BadZipFile
    if any(member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for member in members):
        raise zipfile.BadZipFile


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Unlike `archive.read`, which unpacks all there is before it looks at the size that was declared."""
    with archive.open(member) as stream:
        return stream.read(member.file_size)
