"""What SQLite leaves behind in its pages: when it moves rows from one to another, copies stay in what is unused of the first.

With `secure_delete` a row that is deleted is overwritten; copies that were made of it before are not. They lie between pointers
and first cell of a page, and nobody ever reads them (https://www.sqlite.org/fileformat2.html, "B-tree Pages").
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.errors import DamagedError
from service.galleries.failpoints import reached

_PAGES = 2048
"""Pages that are read at once."""
_HEADS = {2: 12, 5: 12, 10: 8, 13: 8}
"""Bytes of the head of a page, by its type: of a table or an index, inside or a leaf."""
_FIRST_PAGE_HEAD = 100
_LARGEST_FILE = 1 << 24
"""Pages. The first byte of a page that is none of a tree is of another page's number, and in a larger file may be any."""

_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Unused:
    """Bytes that SQLite does not use and that are not zero."""

    start: int
    """Of the file."""
    num: int


def unused(descriptor: int) -> Iterator[Unused]:
    """All that is left in a database, which nobody writes to meanwhile and whose log is empty.

    Raises `DamagedError` where it is not built as it should be, or in a way that is not known here; `OSError`.
    """
    head = _read(descriptor, 0, _FIRST_PAGE_HEAD)
    page_bytes, num_reserved, is_packed = _short(head, 16), int(head[20]), bool(_number(head, 52))
    if page_bytes < 512 or num_reserved or is_packed:
        raise DamagedError("the record is not laid out as this version does it")
    num_pages = os.fstat(descriptor).st_size // page_bytes
    if num_pages >= _LARGEST_FILE:
        raise DamagedError("the record is too large to be looked through page by page")
    free = dict(_free_pages(descriptor, head, page_bytes))
    for first in range(0, num_pages, _PAGES):
        block = _read(descriptor, first * page_bytes, _PAGES * page_bytes)
        pages_NB = block[: len(block) // page_bytes * page_bytes].reshape(-1, page_bytes)
        for place in np.flatnonzero(pages_NB.any(axis=1)).tolist():
            page, number = pages_NB[place], first + place + 1
            at = _FIRST_PAGE_HEAD if number == 1 else 0
            for start, end in [(free[number], page_bytes)] if number in free else _gaps(page, at):
                if page[start:end].any():
                    yield Unused((number - 1) * page_bytes + start, end - start)


def overwrite_unused(descriptor: int) -> int:
    """Write zeros over all that is left in a database; how many bytes there were. It is for the caller to sync.

    Raises what `unused` raises, with nothing overwritten then; `OSError`.
    """
    num = 0
    for one in list(unused(descriptor)):
        written = 0
        while written < one.num:
            written += os.pwrite(descriptor, bytes(one.num - written), one.start + written)
        num += one.num
        reached("erase-in-pages")
    return num


def _free_pages(descriptor: int, head: _Bytes, page_bytes: int) -> Iterator[tuple[int, int]]:
    """Pages that are free, and from where on they hold nothing: those of the list of them hold it."""
    trunk, seen = _number(head, 32), set[int]()
    while trunk:
        if trunk in seen:
            raise DamagedError("the list of free pages of the record does not end")
        seen.add(trunk)
        page = _read(descriptor, (trunk - 1) * page_bytes, page_bytes)
        num = _number(page, 4)
        if 8 + 4 * num > page_bytes:
            raise DamagedError("the list of free pages of the record is damaged")
        yield trunk, 8 + 4 * num
        yield from ((leaf, 0) for leaf in page[8 : 8 + 4 * num].view(">u4").tolist())
        trunk = _number(page, 0)


def _gaps(page: _Bytes, at: int) -> list[tuple[int, int]]:
    """What is unused of a page whose head is `at` some place; nothing of one that is none of a tree."""
    head = _HEADS.get(int(page[at]))
    if head is None:
        return []
    num_cells, start = _short(page, at + 3), _short(page, at + 5) or 1 << 16
    pointers = at + head
    end = pointers + 2 * num_cells
    cells = page[pointers:end].view(">u2")
    if not end <= start <= len(page) or (num_cells and int(cells.min()) < start):
        raise DamagedError("a page of the record is not built as it should be")
    gaps, free = [(end, start)], _short(page, at + 1)
    while free:
        is_within = start <= free <= len(page) - 4
        following, num = (_short(page, free), _short(page, free + 2)) if is_within else (0, 0)
        # In order, and none within another.
        if num < 4 or free + num > len(page) or (following and following < free + num):
            raise DamagedError("the free parts of a page of the record are not where they should be")
        gaps.append((free + 4, free + num))
        free = following
    return gaps


def _read(descriptor: int, start: int, num: int) -> _Bytes:
    return np.frombuffer(os.pread(descriptor, num, start), dtype=np.uint8)


def _number(page: _Bytes, at: int) -> int:
    return int.from_bytes(page[at : at + 4].tobytes(), "big")


def _short(page: _Bytes, at: int) -> int:
    return int(page[at]) << 8 | int(page[at + 1])
