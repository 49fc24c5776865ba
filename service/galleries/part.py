"""A part: the templates of one origin, in segments that one thread changes, and an index over those that came before it."""

import threading

from service.galleries.indexes import BuiltIndex
from service.galleries.segments import FEWEST_ROWS, Columns, Segment, SeqArray, View, full_segment, rows_of


class Part:
    """All segments of one origin, as their one writer sees them."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._segments: list[Segment] = []
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

    @property
    def num_forgotten(self) -> int:
        """How often something was erased from it."""
        return self._num_forgotten

    def install(self, index: BuiltIndex, num_forgotten: int) -> bool:
        """Take an index, unless something that it may hold was erased since."""
        with self._index_lock:
            if self._num_forgotten != num_forgotten:
                return False
            self.index = index
            return True

    def forget_index(self, seqs: SeqArray | None = None) -> None:
        """Do without an index that holds one of these (ascending), or anything, and take none that is being built."""
        with self._index_lock:
            self._num_forgotten += 1
            if self.index is not None and (seqs is None or len(rows_of(self.index.seqs, seqs))):
                self.index = None

    def exchange(self, segment: Segment, other: Segment) -> None:
        """Put a segment in the place of one that holds the same, where that is still so."""
        if segment in self._segments and (segment.num, segment.num_live) == (other.num, other.num_live):
            self._segments[self._segments.index(segment)] = other
            self._publish()

    def bury(self, seqs: SeqArray, replaced_at: int | None = None) -> tuple[int, list[Segment]]:
        """Take out those of `seqs` (ascending) that are in; how many there were, and where."""
        num, touched = 0, []
        for place, segment in enumerate(self._segments):
            num_here = segment.bury(seqs, replaced_at)
            num += num_here
            if num_here:
                touched.append(segment)
            if num_here and segment.is_worth_copying:
                live = segment.live_rows
                fresh = Segment(self._dimension, max(FEWEST_ROWS, len(live)))
                fresh.append(segment.columns(live))
                self._segments[place] = fresh
        self._segments = [segment for segment in self._segments if segment.num_live]
        if num:
            self._publish()
        return num, touched

    def _with_room(self, num: int) -> Segment:
        """The last segment, made larger while it is small, or a new one."""
        largest = full_segment(self._dimension)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.num < last.capacity:
            return last
        if last is None or last.capacity >= largest:
            self._segments.append(Segment(self._dimension, min(largest, max(FEWEST_ROWS, num))))
            return self._segments[-1]
        grown = Segment(self._dimension, min(largest, max(2 * last.capacity, last.num + num)))
        grown.append(last.columns(last.live_rows))
        self._segments[-1] = grown
        return grown

    def _publish(self) -> None:
        segments = tuple(self._segments)
        self.view = View(segments, tuple(segment.num for segment in segments))
