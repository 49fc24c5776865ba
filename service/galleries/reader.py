"""One search in a projection as it was at some moment.

Scores in float32 only nominate. Candidates are ranked by the exact scores of the nominated templates, and accepted
only when no template left out could still be among them; else more are nominated. The oracle would answer the same.

Shapes: B rows of P probes, M of each; D dimension, G templates, K nominated templates of one probe.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias

import numpy as np

from service.entities import Candidate, Density, FloatArray, Side
from service.galleries.ids import TemplateIds
from service.galleries.indexes import BuiltIndex
from service.galleries.rules import LENGTH_TOLERANCE, ONE_FEATURE, exact_scores, probes_of
from service.galleries.scan import MAX_NUMBERS, Nominated, Probes, nominate
from service.galleries.segments import Segment, SeqArray, View

CandidateRows: TypeAlias = tuple[tuple[Candidate, ...], ...]
"""For each probe."""


class _Found(NamedTuple):
    """A candidate, and where its template is."""

    candidate: Candidate
    seq: int
    segment: Segment
    row: int


_Candidates: TypeAlias = list[_Found]

_GROWTH = 4
"""How many times more templates are nominated when the last number did not settle a probe."""


class Reader:
    """A projection as it was at some moment, but for what was removed since."""

    def __init__(
        self,
        ids: TemplateIds,
        dimension: int,
        moment: int,
        num_templates: int,
        parts: Sequence[tuple[Side, BuiltIndex | None, View]],
    ) -> None:
        self._ids = ids
        self._dimension = dimension
        self._moment = moment
        self.num_templates = num_templates
        self._parts = parts

    def search(
        self,
        probes_BD: FloatArray,
        top_k: int,
        *,
        crowd: int = 1,
        by_origin: bool = False,
        among: SeqArray | None = None,
        without: SeqArray | None = None,
        between: Callable[[], None] | None = None,
        density: Density = ONE_FEATURE,
    ) -> CandidateRows:
        """The best `top_k` subjects of each probe in checked rows (B, D), as the port defines them.

        `crowd` is how many templates a subject has, about. With `among`, ascending, only those templates are looked at, and
        never those in `without`, ascending. Between its pieces it calls `between`.
        """
        which = _Which(self._moment, among, without, between)
        probes = Probes(probes_of(probes_BD, density), density.sigma)
        found = [_Search(part, self._ids, self._dimension, which)(probes, top_k, crowd) for part in self._parts]
        ranked: list[_Candidates] = []
        for place in range(len(probes)):
            of_parts = [one for of_part in found for one in of_part[place]]
            ranked.append(of_parts if by_origin or len(found) == 1 else _merged(of_parts, top_k))
        candidates = [tuple(one.candidate for one in of_probe) for of_probe in ranked]
        # Whoever was removed while others were looked at is not answered.
        changed = [
            place
            for place, of_probe in enumerate(ranked)
            if not all(one.segment.is_seen(one.row, self._moment) for one in of_probe)
        ]
        if changed:
            again = self.search(
                probes.take(changed).rows,
                top_k,
                crowd=crowd,
                by_origin=by_origin,
                among=among,
                without=without,
                between=between,
                density=density,
            )
            for place, of_probe_again in zip(changed, again, strict=True):
                candidates[place] = of_probe_again
        return tuple(candidates)


@dataclass(frozen=True, slots=True)
class _Which:
    """The templates that a search is among, by their numbers."""

    moment: int
    """Those that there were then."""
    among: SeqArray | None
    without: SeqArray | None
    between: Callable[[], None] | None
    """What is called after each piece of it."""


class _Search:
    """One search among templates of one origin."""

    def __init__(
        self, part: tuple[Side, BuiltIndex | None, View], ids: TemplateIds, dimension: int, which: _Which
    ) -> None:
        self._origin, self._index, self._view = part
        self._ids = ids
        self._which = which
        # The bound for a float32 sum of D products of unit vectors, in any order, and two roundings to float32 more. It is
        # that of densities as well, as one moves by no more than the cosine that moves most.
        self._score_error = max(1e-5, (dimension + 4) * 2.0**-24 * (1 + LENGTH_TOLERANCE) ** 2)

    def __call__(self, probes: Probes, top_k: int, crowd: int) -> list[_Candidates]:
        """The best `top_k` subjects of each probe."""
        num_rows = self._view.num_rows
        if not num_rows:
            return [[] for _ in range(len(probes))]
        settled: dict[int, _Candidates] = {}
        unsettled = list(range(len(probes)))
        num_nominated = min(top_k * crowd + 8, num_rows)
        while unsettled:
            for part in _parts(unsettled, num_nominated * probes.features_PMD[0].size):
                settled.update(self._settle(part, probes.take(part), num_nominated, top_k))
            unsettled = [place for place in unsettled if place not in settled]
            num_nominated = min(num_nominated * _GROWTH, num_rows)
        return [settled[place] for place in range(len(probes))]

    def _settle(
        self, places: list[int], probes: Probes, num_nominated: int, top_k: int
    ) -> Iterator[tuple[int, _Candidates]]:
        """Candidates of those probes for which this many nominated templates (at most all) are enough."""
        nominated = nominate(
            self._view,
            probes,
            num_nominated,
            among=self._which.among,
            without=self._which.without,
            index=self._index,
            between=self._which.between,
        )
        score_PK = self._exact_scores(probes, nominated)
        for row, place in enumerate(places):
            candidates = self._ranked(nominated, row, score_PK[row].tolist(), top_k)
            # Strictly above, so that nothing left out can tie with a candidate either.
            out_of_reach = nominated.floor_P[row] + self._score_error
            is_enough = len(candidates) == top_k and (
                not nominated.is_exact or candidates[-1].candidate.score > out_of_reach
            )
            if nominated.is_all or is_enough:
                yield place, candidates

    def _ranked(self, nominated: Nominated, place: int, scores: list[float], top_k: int) -> _Candidates:
        segments = self._view.segments
        best: dict[int, tuple[float, int, int, int]] = {}
        of_probe = zip(scores, nominated.segment_PK[place].tolist(), nominated.row_PK[place].tolist(), strict=True)
        for score, number, row in of_probe:
            segment = segments[number]
            if row < 0 or not segment.is_seen(row, self._which.moment):
                continue
            subject_id = int(segment.subject_ids[row])
            seq = int(segment.seqs[row])
            # The negative `seq` prefers the first enrolled among equal scores.
            if subject_id not in best or (score, -seq) > best[subject_id][:2]:
                best[subject_id] = (score, -seq, number, row)
        named = (
            (-score, segments[number].subject(row), -seq, number, row) for score, seq, number, row in best.values()
        )
        ranked = heapq.nsmallest(top_k, named)
        template_ids = self._ids.of(seq for _, _, seq, _, _ in ranked)
        return [
            _Found(Candidate(subject, -score, template_id, self._origin), seq, segments[number], row)
            for (score, subject, seq, number, row), template_id in zip(ranked, template_ids, strict=True)
        ]

    def _exact_scores(self, probes: Probes, nominated: Nominated) -> FloatArray:
        """(P, K), 0 of nominated templates that are in no segment."""
        score_PK = np.zeros(nominated.row_PK.shape, dtype=np.float32)
        dimension = probes.dimension
        for place, probe_MD in enumerate(probes.features_PMD):
            for part in _parts(list(range(score_PK[0].size)), dimension):
                vectors = np.zeros((len(part), dimension), dtype=np.float32)
                numbers, rows = nominated.segment_PK[place, part], nominated.row_PK[place, part]
                for number in set(numbers.tolist()):
                    is_here = (numbers == number) & (rows >= 0)
                    vectors[is_here] = self._view.segments[number].vectors[rows[is_here]]
                score_PK[place, part] = exact_scores(probe_MD, vectors, probes.sigma)
        return score_PK


def _merged(found: _Candidates, top_k: int) -> _Candidates:
    """The best of several parts: of each subject the best template, of equal scores the first enrolled."""
    worst_first = sorted(found, key=lambda one: (one.candidate.score, -one.seq))
    best = {one.candidate.subject: one for one in worst_first}
    return heapq.nsmallest(top_k, best.values(), key=lambda one: (-one.candidate.score, one.candidate.subject))


def _parts(rows: list[int], numbers_per_row: int) -> Iterator[list[int]]:
    size = max(1, MAX_NUMBERS // max(1, numbers_per_row))
    remaining = iter(rows)
    while part := list(islice(remaining, size)):
        yield part
