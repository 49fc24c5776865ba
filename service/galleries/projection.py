"""The projection: the templates of one gallery generation as they are searched, made from the record.

One thread changes a projection; searches go beside it, each on what there was when it began but for what was removed since, and
wait for nobody.

Shapes: B probes, D dimension, G templates.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from service.entities import FloatArray, IndexKind, IndexState, Side
from service.errors import DamagedError
from service.galleries.ids import TemplateIds
from service.galleries.indexes import BuiltIndex, IndexPolicy, build_best
from service.galleries.part import Part
from service.galleries.reader import CandidateRows, Reader
from service.galleries.recorded import GalleryRows
from service.galleries.rules import ONE_FEATURE
from service.galleries.scan import Probes, nominate
from service.galleries.segments import RowArray, Segment, SeqArray, View, rows_of


class Projection:
    """An exact index. Templates of every origin have segments of their own, as their scores may be searched apart."""

    def __init__(self, dimension: int, ids: TemplateIds) -> None:
        self._dimension = dimension
        self._ids = ids
        self._parts: dict[Side, Part] = {}
        """Replaced as a whole where one comes or goes."""
        self.num_templates = 0
        self.last_seq = 0
        """Of the template that came last."""
        self.version = 0
        """Counts changes."""
        self._lock = threading.Lock()
        self._readers: Counter[int] = Counter()
        """Searches that go on, by the moment at which they began."""
        self._replaced: deque[tuple[int, Segment, list[int]]] = deque()
        """Rows that were replaced and may be seen still: since when, and where."""
        self._replaced_of: dict[str, set[tuple[Segment, int]]] = {}
        """The same, by subject; but for those that are forgotten."""
        self._moment = 0
        """Counts replacements; a search that began before one does not heed it."""

    def add(self, rows: GalleryRows) -> None:
        """Put in templates whose features (G, D) were checked; a search that starts afterwards sees them."""
        self.put(rows, ())

    def put(self, rows: GalleryRows, replaced: Sequence[int]) -> None:
        """Put in templates in place of others, at one moment: a search sees either, and one that goes on what it began with."""
        parts = self._appended(rows)
        with self._lock:
            for origin, part in parts.items():
                part.publish()
                if origin not in self._parts:
                    self._parts = {**self._parts, origin: part}
            if len(rows):
                self.num_templates += len(rows)
                self.last_seq = max(self.last_seq, int(rows.seqs[-1]))
                self.version += 1
            if replaced:
                self._moment += 1
                self._take_out(replaced, replaced_at=self._moment)
                self._forget_replaced()

    def _appended(self, rows: GalleryRows) -> dict[Side, Part]:
        parts = {}
        for place, origin in enumerate(rows.origins):
            part = self._parts.get(origin)
            if part is None:
                part = Part(self._dimension)
            part.append(rows.columns if len(rows.origins) == 1 else rows.columns_of(place))
            parts[origin] = part
        return parts

    def adopt(self, parts: Mapping[Side, Sequence[Segment]], indexes: Mapping[Side, BuiltIndex]) -> None:
        """Begin with segments and indexes that were saved. Raises `DamagedError` where these are not in order."""
        for origin, segments in parts.items():
            part = Part(self._dimension)
            part.index = indexes.get(origin)
            for segment in segments:
                if not segment.num or (np.diff(segment.seqs) <= 0).any() or segment.seqs[0] <= part.last_seq:
                    raise DamagedError("its templates are not in order")
                part.adopt(segment)
            self._parts = {**self._parts, origin: part}
            self.num_templates += part.num_live
            self.last_seq = max(self.last_seq, part.last_seq)

    def seqs(self) -> SeqArray:
        """The numbers of all templates, ascending."""
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *(part.seqs() for part in self._parts.values())]))

    def origins(self) -> dict[Side, int]:
        """In which ways its templates came, and how many each."""
        return {origin: part.num_live for origin, part in self._parts.items()}

    def subjects_with(self, origin: Side) -> RowArray:
        """The numbers of subjects who have templates of an origin, and of others too."""
        mine = self._parts.get(origin)
        others = [part.subject_ids() for side, part in self._parts.items() if side != origin]
        if mine is None or not others:
            return np.empty(0, dtype=np.int64)
        return np.intersect1d(mine.subject_ids(), np.concatenate(others))

    def remove(self, seqs: Sequence[int]) -> None:
        """Take out templates; from here on no search sees them, nor what subjects of theirs were replaced by."""
        self._take_out(seqs, replaced_at=None)

    def _take_out(self, seqs: Sequence[int], replaced_at: int | None) -> None:
        wanted = np.array(sorted(seqs), dtype=np.int64)
        named = self._named(wanted) if replaced_at is None else {}
        for part in self._parts.values():
            num, touched = part.bury(wanted, replaced_at)
            self.num_templates -= num
            if replaced_at is not None:
                self._await_readers(replaced_at, touched)
        self.version += 1
        if any(not part.num_live for part in self._parts.values()):
            self._parts = {origin: part for origin, part in self._parts.items() if part.num_live}
        if named:
            left = np.concatenate([np.empty(0, dtype=np.int64), *(part.subject_ids() for part in self._parts.values())])
            gone = set(named) - set(np.intersect1d(left, list(named)).tolist())
            self.forget_subjects(frozenset(named[subject_id] for subject_id in gone))

    def _await_readers(self, moment: int, replaced: Iterable[tuple[Segment, RowArray]]) -> None:
        """Keep rows that were replaced as long as a search may see them; with the lock."""
        for segment, rows in replaced:
            self._replaced.append((moment, segment, rows.tolist()))
            for row in rows.tolist():
                self._replaced_of.setdefault(segment.subject(row), set()).add((segment, row))

    def _forget_replaced(self) -> None:
        """Forget rows that no search sees any more; with the lock."""
        oldest = min(self._readers, default=None)
        while self._replaced and (oldest is None or self._replaced[0][0] <= oldest):
            _, segment, rows = self._replaced.popleft()
            for row in rows:
                segment.forget_replaced(row)
                subject = segment.subject(row)
                of_subject = self._replaced_of.get(subject, set())
                of_subject.discard((segment, row))
                if not of_subject:
                    self._replaced_of.pop(subject, None)

    def _named(self, seqs: SeqArray) -> dict[int, str]:
        """Whose templates these are, where it matters: somebody may be seen still by what was replaced."""
        if not self._replaced:
            return {}
        segments = [segment for view in self.views().values() for segment in view.segments]
        return {
            int(segment.subject_ids[row]): segment.subject(row)
            for segment in segments
            for row in rows_of(segment.seqs[: segment.num], seqs).tolist()
        }

    def forget_subjects(self, subjects: frozenset[str]) -> None:
        """From here on no search sees what some subjects had before it was replaced."""
        with self._lock:
            for subject in subjects:
                for segment, row in self._replaced_of.pop(subject, ()):
                    segment.forget_replaced(row)

    def remove_subjects(self, subjects: frozenset[str]) -> None:
        """Take out all that some subjects have, and had before it was replaced."""
        segments = [segment for view in self.views().values() for segment in view.segments]
        self.remove(
            [
                int(segment.seqs[row])
                for segment in segments
                for row in segment.live_rows.tolist()
                if segment.subject(row) in subjects
            ]
        )
        self.forget_subjects(subjects)

    def views(self) -> dict[Side, View]:
        """What there is now, by origin, in the order of origins."""
        with self._lock:
            return {origin: part.view for origin, part in self._sorted_parts()}

    @property
    def indexes(self) -> dict[Side, BuiltIndex]:
        """By origin, where there is one that is worth keeping: a copy of the vectors is not."""
        indexes = {origin: part.index for origin, part in self._sorted_parts() if part.index is not None}
        return {origin: index for origin, index in indexes.items() if not index.is_exact}

    def index_state(self, asked: IndexKind) -> IndexState:
        """How it is searched."""
        indexes = [part.index for _, part in self._sorted_parts() if part.index is not None]
        if not indexes:
            return IndexState(asked, "flat", 1.0, 0)
        recall = min(index.recall for index in indexes)
        num = sum(len(index.seqs) for index in indexes)
        return IndexState(asked, indexes[0].kind, recall, num, "cuda" if indexes[0].is_exact else "cpu")

    def forget_indexes(self, *, if_stale: bool = False) -> None:
        """Do without indexes, or without those that hold templates that were taken out; none that is being built is taken."""
        for part in self._parts.values():
            part.forget_index(if_stale=if_stale)
        self.version += 1

    def num_equal(self, seqs: SeqArray, features_GD: FloatArray) -> int:
        """How many of these templates (ascending numbers) are searched with just these vectors."""
        num = 0
        for view in self.views().values():
            for segment, num_rows in zip(view.segments, view.nums, strict=True):
                rows = rows_of(segment.seqs[:num_rows], seqs)
                rows = rows[~segment.is_dead[rows]]
                given = features_GD[rows_of(seqs, segment.seqs[rows])]
                num += int((segment.vectors[rows] == given).all(axis=1).sum())
        return num

    def exchange(self, segment: Segment, other: Segment) -> None:
        """Put a segment in the place of one that holds the same, where that is still so."""
        for part in self._parts.values():
            part.exchange(segment, other)

    def is_index_due(self, asked: IndexKind, policy: IndexPolicy) -> bool:
        """Whether one is to be built."""
        kind = policy.choose(asked, self.num_templates, self._dimension)
        return any(policy.is_due(part.index, asked, kind, part.view) for part in self._parts.values())

    def build_indexes(self, asked: IndexKind, policy: IndexPolicy, is_stopped: Callable[[], bool] = bool) -> None:
        """Build what is due; called by one thread, searches and changes go on meanwhile."""
        for part in list(self._parts.values()):
            num_forgotten, view = part.num_forgotten, part.view
            kind = policy.choose(asked, self.num_templates, self._dimension)
            if kind == "flat" and not policy.on_gpu:
                part.index = None
            elif policy.is_due(part.index, asked, kind, view):
                index = build_best(asked, kind, view, policy, partial(_nearest, view), is_stopped=is_stopped)
                if part.install(index, num_forgotten):
                    self.version += 1

    def _sorted_parts(self) -> list[tuple[Side, Part]]:
        return sorted(self._parts.items(), key=lambda item: _order(item[0]))

    @contextmanager
    def reading(self) -> Iterator[Reader]:
        """What there is now, as long as this lasts."""
        with self._lock:
            moment, num = self._moment, self.num_templates
            # The indexes first: what they do not know of is in the views then.
            parts = [(origin, part.index, part.view) for origin, part in self._sorted_parts()]
            self._readers[moment] += 1
        try:
            yield Reader(self._ids, self._dimension, moment, num, parts)
        finally:
            with self._lock:
                self._readers[moment] -= 1
                if not self._readers[moment]:
                    del self._readers[moment]
                self._forget_replaced()

    def search(self, probes_BD: FloatArray, top_k: int, *, crowd: int = 1, by_origin: bool = False) -> CandidateRows:
        """The best `top_k` subjects of each checked probe (B, D), as the port defines them."""
        with self.reading() as reader:
            return reader.search(probes_BD, top_k, crowd=crowd, by_origin=by_origin)


def _nearest(view: View, probes_BD: FloatArray, num: int) -> list[set[int]]:
    """The numbers of the live templates nearest to each probe, by FAISS's scores."""
    nominated = nominate(view, Probes(probes_BD[:, None], ONE_FEATURE.sigma), num)
    of_probes = zip(nominated.segment_PK.tolist(), nominated.row_PK.tolist(), strict=True)
    found = [[(view.segments[place], row) for place, row in zip(*of_probe, strict=True)] for of_probe in of_probes]
    return [{int(segment.seqs[row]) for segment, row in one if not segment.is_dead[row]} for one in found]


def _order(origin: Side) -> tuple[str, tuple[str, ...]]:
    return origin.space, origin.bundles
