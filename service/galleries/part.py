"""A part: the templates of one origin, in segments that one thread changes, and an index over those that came before it."""

import threading
from weakref import WeakSet

import numpy as np

from service.galleries.indexes import BuiltIndex
from service.galleries.segments import FEWEST_ROWS, Columns, RowArray, Segment, SeqArray, View, full_segment


class Part:
    """All segments of one origin, as their one writer sees them."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._segments: list[Segment] = []
        self._left: WeakSet[Segment] = WeakSet()
        """In whose place others are, and which somebody may read still."""
        self.index: BuiltIndex | None = None
        """Searched in place of those segments that it holds."""
        self._num_forgotten = 0
        self._index_lock = threading.Lock()
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
        """Put in rows of higher `seq` than those that are in; nobody sees them before `publish`."""
        start = 0
        while start < len(rows):
            segment = self._with_room(len(rows) - start)
            end = min(len(rows), start + segment.capacity - segment.num)
            segment.append(rows.take(slice(start, end)))
            start = end

    def adopt(self, segment: Segment) -> None:
        """Put in a segment whose rows are of higher `seq` than those that are in."""
        self._segments.append(segment)
        self.publish()

    def publish(self) -> None:
        """Let those who begin to read see what there is now."""
        segments = tuple(self._segments)
        self.view = View(segments, tuple(segment.num for segment in segments))

    def seqs(self) -> SeqArray:
        """The numbers of the rows that are not dead, ascending."""
        return np.concatenate(
            [np.empty(0, dtype=np.int64), *(segment.seqs[segment.live_rows] for segment in self._segments)]
        )

    def subject_ids(self) -> RowArray:
        """Whose the rows are that are not dead."""
        return np.concatenate(
            [np.empty(0, dtype=np.int64), *(segment.subject_ids[segment.live_rows] for segment in self._segments)]
        )

    @property
    def num_forgotten(self) -> int:
        """How often something was erased from it."""
        return self._num_forgotten

    def install(self, index: BuiltIndex, num_forgotten: int) -> bool:
        """Take an index, unless something was erased since, and it holds what is not there any more."""
        with self._index_lock:
            if self._num_forgotten != num_forgotten and self._is_stale(index):
                return False
            self.index = index
            return True

    def forget_index(self, *, if_stale: bool = False) -> None:
        """Do without an index, or without one that holds what was taken out; take none that is being built."""
        with self._index_lock:
            self._num_forgotten += 1
            if self.index is not None and (not if_stale or self._is_stale(self.index)):
                self.index = None

    def _is_stale(self, index: BuiltIndex) -> bool:
        return bool(len(np.setdiff1d(index.seqs, self.seqs())))

    def exchange(self, segment: Segment, other: Segment) -> None:
        """Put a segment in the place of one of which those that live are the same, where that is still so."""
        if segment in self._segments and np.array_equal(segment.seqs[segment.live_rows], other.seqs[other.live_rows]):
            self._put(self._segments.index(segment), other)
            self.publish()

    def bury(self, seqs: SeqArray, replaced_at: int | None = None) -> tuple[int, list[tuple[Segment, RowArray]]]:
        """Take out those of `seqs` (ascending) that are in; how many there were, and where."""
        left = [(segment, segment.bury(seqs, replaced_at)) for segment in self._left]
        here = [(segment, segment.bury(seqs, replaced_at)) for segment in self._segments]
        num = sum(len(rows) for _, rows in here)
        # When all of them are dead: there may be no memory for copies.
        for place, (segment, rows) in enumerate(here):
            if len(rows) and segment.num_live and segment.is_worth_copying:
                live = segment.live_rows
                fresh = Segment(self._dimension, max(FEWEST_ROWS, len(live)))
                fresh.append(segment.columns(live))
                self._put(place, fresh)
        self._segments = [segment for segment in self._segments if segment.num_live]
        if num:
            self.publish()
        return num, [(segment, rows) for segment, rows in (*left, *here) if len(rows)]

    def _put(self, place: int, segment: Segment) -> None:
        self._left.add(self._segments[place])
        self._segments[place] = segment

    def _with_room(self, num: int) -> Segment:
        """The last segment, made larger while it is small, or a new one."""
        largest = full_segment(self._dimension)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.num < last.capacity:
            return last
        if last is None or last.capacity >= largest:
            # Where there is a full one, another is going to be: memory is taken as rows come.
            self._segments.append(Segment(self._dimension, largest if last else min(largest, max(FEWEST_ROWS, num))))
            return self._segments[-1]
        grown = last.grown(min(largest, max(2 * last.capacity, last.num + num)))
        self._put(len(self._segments) - 1, grown)
        return grown
