"""Segments: templates of one origin in memory, in columns, in order of enrolment.

One thread appends and buries; any thread reads. A reader holds a `View`: rows in it do not change any more, but for those that
are buried, which it sees at once, also in segments that others have taken the place of. So reading needs no lock, and a removal
is never answered from. Rows that others replace are dead to whoever begins afterwards, and stay as they are for readers who
began before.

Shapes: G rows, D dimension, K some rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count, islice

import numpy as np
import numpy.typing as npt

from service.entities import FloatArray
from service.galleries.codes import CodedBlock, block_rows

SEGMENT_BYTES = 64 << 20
"""Of vectors in a full segment: enough to be searched at the speed of memory, few enough to be written again at once."""
FEWEST_ROWS = 64
_numbers = count()
_DEAD_SHARE = 4
"""A segment of which one row in so many is dead is worth copying without them."""

RowArray = npt.NDArray[np.int64]
SeqArray = npt.NDArray[np.int64]
"""Numbers of templates."""


def full_segment(dimension: int) -> int:
    """Rows of a segment that is full."""
    return max(FEWEST_ROWS, SEGMENT_BYTES // (4 * dimension))


class Segment:
    """Up to `capacity` rows; memory is taken as they come."""

    __slots__ = (
        "__weakref__",
        "_coded",
        "capacity",
        "file",
        "is_dead",
        "name_ends",
        "names",
        "num",
        "num_dead",
        "number",
        "on_disk",
        "replaced_at",
        "seqs",
        "subject_ids",
        "vectors",
        "version",
    )

    def __init__(self, dimension: int, capacity: int) -> None:
        self.number = next(_numbers)
        """Its own in this process."""
        self.capacity = capacity
        self.vectors: FloatArray = np.empty((capacity, dimension), dtype=np.float32)
        self.seqs: SeqArray = np.empty(capacity, dtype=np.int64)
        self.subject_ids: RowArray = np.empty(capacity, dtype=np.int64)
        self.name_ends: RowArray = np.empty(capacity, dtype=np.int64)
        self.names = bytearray()
        """Of the subjects, in UTF-8, one after the other."""
        self.is_dead: npt.NDArray[np.bool_] = np.zeros(capacity, dtype=np.bool_)
        self.replaced_at: dict[int, int] = {}
        """Of rows that are dead by being replaced, and not forgotten yet: since when."""
        self.num = 0
        self.num_dead = 0
        self.version = 0
        """Odd while rows are being buried, and another one afterwards."""
        self.file = ""
        """The name of the file that holds its vectors, where memory does not."""
        self.on_disk: np.memmap[tuple[int, ...], np.dtype[np.float32]] | None = None
        """The vectors of that file where it has no name any more: what is written to them is written to it."""
        self._coded: dict[int, CodedBlock] = {}

    def coded(self, block: int) -> CodedBlock:
        """The vectors of a block, all of whose rows are in, as bytes; they are made when they are first asked for."""
        found = self._coded.get(block)
        if found is None:
            size = block_rows(self.vectors.shape[1])
            first = block * size
            found = self._coded[block] = CodedBlock.of(self.vectors[first : first + size])
            # What was forgotten while they were made; whoever forgets from here on finds them.
            dead = np.flatnonzero(self.is_dead[first : first + size])
            found.forget(dead[~np.isin(dead + first, list(self.replaced_at))])
        return found

    def append(self, rows: "Columns") -> None:
        """Put in rows for which there is room, of higher `seq` than those that are in. Readers know of them by `num`."""
        start, end = self.num, self.num + len(rows)
        assert end <= self.capacity
        self.vectors[start:end] = rows.vectors
        self.seqs[start:end] = rows.seqs
        self.subject_ids[start:end] = rows.subject_ids
        names = "".join(rows.subjects)
        lengths = map(len, rows.subjects if names.isascii() else (name.encode() for name in rows.subjects))
        ends = accumulate(lengths, initial=len(self.names))
        self.name_ends[start:end] = list(islice(ends, 1, None))
        self.names += names.encode()
        self.num = end

    def grown(self, capacity: int) -> "Segment":
        """One with room for more, and what is not dead in this one."""
        other = Segment(self.vectors.shape[1], capacity)
        if self.num_dead:
            other.append(self.columns(self.live_rows))
            return other
        for mine, theirs in (
            (self.vectors, other.vectors),
            (self.seqs, other.seqs),
            (self.subject_ids, other.subject_ids),
            (self.name_ends, other.name_ends),
        ):
            theirs[: self.num] = mine[: self.num]
        other.names = bytearray(self.names)
        other.num = self.num
        return other

    def bury(self, seqs: SeqArray, replaced_at: int | None = None) -> RowArray:
        """Mark those of `seqs` (ascending) that are in as dead, and forget their vectors, but for those that were replaced; which
        rows they were.
        """
        rows = rows_of(self.seqs[: self.num], seqs)
        rows = rows[~self.is_dead[rows]]
        if len(rows):
            self.version += 1
            if replaced_at is not None:
                self.replaced_at.update(dict.fromkeys(rows.tolist(), replaced_at))
            self.is_dead[rows] = True
            try:
                if replaced_at is None:
                    self._forget_vectors(rows)
            finally:
                # Whatever the disk says: whoever saves waits for an even one.
                self.num_dead += len(rows)
                self.version += 1
        return rows

    def forget_replaced(self, row: int) -> None:
        """Forget the vector of a row that was replaced, if it is not forgotten yet: nobody sees it from here on."""
        if self.replaced_at.pop(row, None) is not None:
            self._forget_vectors([row])

    def lose_name(self, on_disk: np.memmap[tuple[int, ...], np.dtype[np.float32]]) -> None:
        """Its file has no name from here on, and is there as long as this is: nothing that is forgotten stays in it."""
        # First, so that what is buried beside this is in one of both.
        self.on_disk = on_disk
        seen = list(self.replaced_at)
        self._forget_vectors(np.setdiff1d(np.flatnonzero(self.is_dead[: self.num]), seen))

    def _forget_vectors(self, rows: RowArray | Sequence[int]) -> None:
        self.vectors[rows] = 0.0
        if self._coded:
            number_K, place_K = np.divmod(np.asarray(rows, dtype=np.int64), block_rows(self.vectors.shape[1]))
            for number in np.unique(number_K).tolist():
                if number in self._coded:
                    self._coded[number].forget(place_K[number_K == number])
        if self.on_disk is not None:
            self.on_disk[rows] = 0.0
            self.on_disk.flush()

    def is_seen(self, row: int, moment: int) -> bool:
        """Whether a reader who began at some moment may answer from a row."""
        return not self.is_dead[row] or self.replaced_at.get(row, 0) > moment

    def subject(self, row: int) -> str:
        """The subject of a row."""
        start = int(self.name_ends[row - 1]) if row else 0
        return self.names[start : int(self.name_ends[row])].decode()

    def columns(self, rows: RowArray) -> "Columns":
        """Some rows, copied."""
        subjects = [self.subject(row) for row in rows.tolist()]
        return Columns(self.seqs[rows], self.subject_ids[rows], subjects, self.vectors[rows])

    @property
    def live_rows(self) -> RowArray:
        """The rows that are not dead, ascending."""
        return np.flatnonzero(~self.is_dead[: self.num])

    @property
    def num_live(self) -> int:
        """How many are not dead."""
        return self.num - self.num_dead

    @property
    def is_worth_copying(self) -> bool:
        """Whether so many are dead that the others are better off in a segment of their own."""
        return self.num_dead * _DEAD_SHARE > max(self.num, FEWEST_ROWS * _DEAD_SHARE)


@dataclass(frozen=True, slots=True)
class Columns:
    """Rows on their way into a segment."""

    seqs: SeqArray
    subject_ids: RowArray
    subjects: Sequence[str]
    vectors: FloatArray

    def __len__(self) -> int:
        return len(self.seqs)

    def take(self, rows: slice) -> "Columns":
        """Some of them, one after the other."""
        return Columns(self.seqs[rows], self.subject_ids[rows], self.subjects[rows], self.vectors[rows])


@dataclass(frozen=True, slots=True)
class View:
    """What there was of some segments at one moment."""

    segments: tuple[Segment, ...]
    nums: tuple[int, ...]
    """Rows of each."""

    @property
    def num_rows(self) -> int:
        """Of all segments, dead ones too."""
        return sum(self.nums)

    def starts_after(self, seq: int) -> list[int]:
        """Of each segment the first row of a higher number than `seq`."""
        parts = zip(self.segments, self.nums, strict=True)
        return [int(np.searchsorted(segment.seqs[:num], seq, side="right")) for segment, num in parts]

    def num_after(self, seq: int) -> int:
        """Rows of higher numbers than `seq`."""
        return self.num_rows - sum(self.starts_after(seq))

    def places(self, seqs: SeqArray) -> tuple[RowArray, RowArray]:
        """Where rows of these numbers are, in any order and shape: segments and rows there, -1 for those that are not there."""
        firsts = np.array([segment.seqs[0] for segment in self.segments])
        places = np.searchsorted(firsts, seqs, side="right") - 1
        rows = np.full(seqs.shape, -1, dtype=np.int64)
        for place, (segment, num) in enumerate(zip(self.segments, self.nums, strict=True)):
            here = np.nonzero(places == place)
            wanted = seqs[here]
            found = np.minimum(np.searchsorted(segment.seqs[:num], wanted), num - 1)
            rows[here] = np.where(segment.seqs[found] == wanted, found, -1)
        return places, rows


def rows_of(seqs_G: SeqArray, wanted: SeqArray) -> RowArray:
    """Where those of `wanted` that are in `seqs_G` are; both ascending.

    >>> rows_of(np.array([2, 3, 7]), np.array([1, 3, 7, 9])).tolist()
    [1, 2]
    """
    if not len(seqs_G):
        return np.empty(0, dtype=np.int64)
    rows = np.minimum(np.searchsorted(seqs_G, wanted), len(seqs_G) - 1)
    found: RowArray = rows[seqs_G[rows] == wanted]
    return found
