"""Segments: templates of one origin in memory, in columns, in order of enrolment.

One thread appends and buries; any thread reads. A reader holds a `View`: rows in it do not change any more, but for those that
are buried, which it sees at once. So reading needs no lock, and a removal is never answered from.

Shapes: G rows, D dimension, K some rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, count, islice

import numpy as np
import numpy.typing as npt

from service.entities import FloatArray

SEGMENT_BYTES = 64 << 20
"""Of vectors in a full segment: enough to be searched at the speed of memory, few enough to be written again at once."""
_FEWEST_ROWS = 64
_numbers = count()
_DEAD_SHARE = 4
"""A segment of which one row in so many is dead is worth copying without them."""

RowArray = npt.NDArray[np.int64]
SeqArray = npt.NDArray[np.int64]
"""Numbers of templates."""


def full_segment(dimension: int) -> int:
    """Rows of a segment that is full."""
    return max(_FEWEST_ROWS, SEGMENT_BYTES // (4 * dimension))


class Segment:
    """Up to `capacity` rows; memory is taken as they come."""

    __slots__ = (
        "capacity",
        "is_dead",
        "name_ends",
        "names",
        "num",
        "num_dead",
        "number",
        "seqs",
        "subject_ids",
        "vectors",
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
        self.num = 0
        self.num_dead = 0

    def append(self, rows: "Columns") -> None:
        """Put in rows for which there is room, of higher `seq` than those that are in. Readers know of them by `num`."""
        start, end = self.num, self.num + len(rows)
        assert end <= self.capacity
        self.vectors[start:end] = rows.vectors
        self.seqs[start:end] = rows.seqs
        self.subject_ids[start:end] = rows.subject_ids
        encoded = [name.encode() for name in rows.subjects]
        ends = accumulate((len(name) for name in encoded), initial=len(self.names))
        self.name_ends[start:end] = list(islice(ends, 1, None))
        self.names += b"".join(encoded)
        self.num = end

    def bury(self, seqs: SeqArray) -> int:
        """Mark those of `seqs` (ascending) that are in as dead, and forget their vectors; how many there were."""
        rows = rows_of(self.seqs[: self.num], seqs)
        rows = rows[~self.is_dead[rows]]
        self.is_dead[rows] = True
        self.vectors[rows] = 0.0
        self.num_dead += len(rows)
        return len(rows)

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
        return self.num_dead * _DEAD_SHARE > max(self.num, _FEWEST_ROWS * _DEAD_SHARE)


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


class Segments:
    """All segments of one origin, as their one writer sees them."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._segments: list[Segment] = []
        self.view = View((), ())
        """Replaced as a whole by every change."""

    @property
    def num_live(self) -> int:
        """Rows that are not dead."""
        return sum(segment.num_live for segment in self._segments)

    @property
    def last_seq(self) -> int:
        """Of the row that came last, dead or not; 0 where there is none."""
        return max((int(segment.seqs[segment.num - 1]) for segment in self._segments if segment.num), default=0)

    def append(self, rows: Columns) -> None:
        """Put in rows of higher `seq` than those that are in."""
        start = 0
        while start < len(rows):
            segment = self._with_room(len(rows) - start)
            end = min(len(rows), start + segment.capacity - segment.num)
            segment.append(rows.take(slice(start, end)))
            start = end
        self._publish()

    def adopt(self, segment: Segment) -> None:
        """Put in a segment whose rows are of higher `seq` than those that are in."""
        self._segments.append(segment)
        self._publish()

    def bury(self, seqs: SeqArray) -> int:
        """Take out those of `seqs` (ascending) that are in; how many there were."""
        num = 0
        for place, segment in enumerate(self._segments):
            num_here = segment.bury(seqs)
            num += num_here
            if num_here and segment.is_worth_copying:
                live = segment.live_rows
                fresh = Segment(self._dimension, max(_FEWEST_ROWS, len(live)))
                fresh.append(segment.columns(live))
                self._segments[place] = fresh
        self._segments = [segment for segment in self._segments if segment.num_live]
        if num:
            self._publish()
        return num

    def _with_room(self, num: int) -> Segment:
        """The last segment, made larger while it is small, or a new one."""
        largest = full_segment(self._dimension)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.num < last.capacity:
            return last
        if last is None or last.capacity >= largest:
            self._segments.append(Segment(self._dimension, min(largest, max(_FEWEST_ROWS, num))))
            return self._segments[-1]
        grown = Segment(self._dimension, min(largest, max(2 * last.capacity, last.num + num)))
        grown.append(last.columns(last.live_rows))
        self._segments[-1] = grown
        return grown

    def _publish(self) -> None:
        segments = tuple(self._segments)
        self.view = View(segments, tuple(segment.num for segment in segments))


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
