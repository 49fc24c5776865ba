"""Traces of vectors on disk: the bytes of every file are looked through for pieces of them, wherever these lie.

This is what an erasure proves itself by: a database says that it has deleted, the bytes of its file say whether it has.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

PIECE = 16
"""Bytes of a piece: four numbers, which no other vector has but by being the same."""
_PIECES = 3
"""Of each vector: a database may have kept a part of it."""
_BLOCK = 16 << 20
_VECTORS = 4096
"""That are looked through together."""
_BETWEEN = b"\xff" * PIECE
"""No number of a vector is that, so no piece goes from one to the next."""
_Table = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Traces:
    """What was found."""

    num_files: int
    num_bytes: int
    found_in: tuple[Path, ...]
    """Files that hold a piece."""
    pieces: frozenset[bytes] = frozenset()
    """Those that were found."""


def pieces_of(vectors: Iterable[bytes]) -> frozenset[bytes]:
    """Pieces of little-endian float32 vectors: what else holds one holds that vector."""
    return frozenset(piece for vector in vectors for piece in _pieces(vector))


def find_traces(
    pieces: frozenset[bytes], paths: Iterable[Path], descriptors: Mapping[Path, int] | None = None
) -> Traces:
    """Look for pieces of vectors in files; in some by the descriptors by which they are open. Raises `OSError` where one cannot
    be read.
    """
    tables = _tables(pieces)
    num_files, num_bytes, found_in, found = 0, 0, [], set()
    for path in paths:
        in_file: set[bytes] = set()
        try:
            for block in _blocks(path, (descriptors or {}).get(path)):
                num_bytes += len(block)
                in_file |= _held(block, pieces, tables)
        except FileNotFoundError:
            # It is gone since it was listed, and what was in it.
            continue
        num_files += 1
        if in_file:
            found_in.append(path)
            found |= in_file
    return Traces(num_files, num_bytes, tuple(found_in), frozenset(found))


def held_in(pieces: frozenset[bytes], vectors: Iterable[bytes]) -> frozenset[bytes]:
    """Which pieces there are in some vectors."""
    tables, held = _tables(pieces), set[bytes]()
    remaining = iter(vectors)
    while block := _BETWEEN.join(islice(remaining, _VECTORS)):
        held |= _held(block, pieces, tables)
    return frozenset(held)


def _tables(pieces: frozenset[bytes]) -> tuple[_Table, _Table]:
    firsts, seconds = (np.zeros(1 << 16, dtype=np.bool_) for _ in range(2))
    # Those of a piece that lies at an even place, and at an odd one.
    for odd in (0, 1):
        firsts[[int.from_bytes(piece[odd : odd + 2], "little") for piece in pieces]] = True
        seconds[[int.from_bytes(piece[odd + 2 : odd + 4], "little") for piece in pieces]] = True
    return firsts, seconds


def _pieces(vector: bytes) -> Iterator[bytes]:
    """Where numbers differ, as near to even places as can be: a piece of zeros is in every file."""
    last = max(0, len(vector) - PIECE)
    for place in range(_PIECES):
        wanted = 4 * round(last * place / (_PIECES - 1) / 4)
        piece = vector[wanted : wanted + PIECE]
        if _is_plain(piece):
            starts = sorted(range(0, last + 1, 4), key=partial(_distance, wanted))
            pieces = (vector[start : start + PIECE] for start in starts)
            piece = next((one for one in pieces if not _is_plain(one)), b"")
        if piece:
            yield piece


def _distance(one: int, other: int) -> int:
    return abs(one - other)


def _is_plain(piece: bytes) -> bool:
    return len(set(piece)) <= 4


def _blocks(path: Path, descriptor: int | None) -> Iterator[bytes]:
    """The bytes of a file, each block with the end of the one before, so that no piece lies between two."""
    rest, at = b"", 0
    with nullcontext() if descriptor is not None else path.open("rb") as file:
        number = descriptor if file is None else file.fileno()
        assert number is not None
        while block := os.pread(number, _BLOCK, at):
            at += len(block)
            yield rest + block
            rest = block[-(PIECE - 1) :]


def _held(block: bytes, pieces: frozenset[bytes], tables: tuple[_Table, _Table]) -> set[bytes]:
    if len(block) < PIECE:
        return set()
    # Two tables of pairs of bytes leave few places to look at, however many pieces there are.
    firsts, seconds = tables
    pairs = np.frombuffer(block, dtype="<u2", count=len(block) // 2)
    places = np.flatnonzero(firsts[pairs[:-1]])
    places = 2 * places[seconds[pairs[places + 1]]]
    starts = (place - odd for place in places.tolist() for odd in (0, 1) if place >= odd)
    return {block[start : start + PIECE] for start in starts} & pieces
