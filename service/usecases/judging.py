"""The verdict on a generation before it becomes the active one: figures from templates themselves, and gates.

Templates that are drawn are taken out of the gallery and asked about, in either generation alike: so nobody needs a picture or a
probe. Labelled probes, where there are some, tell more; they are looked at and not kept.

Shapes: N drawn templates or probes, D dimension of a generation's space, K nearest subjects.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.entities import Candidate, FloatArray, Gallery, Generation
from service.errors import JobStateError
from service.galleries.port import GalleryStore, Sample
from service.galleries.rules import timestamp
from service.usecases.labelled import ProbesFigures
from service.usecases.migration_plan import GatePolicy
from service.usecases.pace import Pace

NEIGHBOURS = 10
_AT_ONCE = 64
"""So many drawn templates are asked about one segment of a gallery in about 0.04 seconds of one core."""
_BINS = 20
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 30
"""Subjects of drawn templates below which a share says nothing; and those to be found, below which neighbours do not."""
_FEW_OF = 100
"""At most one in so many templates is taken out at once: without more of them it would be another gallery."""
_Z = 1.96
"""Of an interval of 95 %."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A gate: what was measured, what it takes, and whether that is so. Without a value it was not measured."""

    name: str
    value: float | None
    limit: float
    is_least: bool
    """Whether the limit is the least value, or the largest."""
    num: int
    """Of how many people it is measured, or templates where it is of these."""
    is_required: bool = False
    """Whether it is as good as failed where it is not measured."""
    is_of_quality: bool = False
    """Whether it tells how well people are found; one such gate must be passed."""

    @property
    def state(self) -> Literal["passed", "failed", "not-measured"]:
        """Of the gate."""
        if self.value is None:
            return "not-measured"
        is_met = self.value >= self.limit if self.is_least else self.value <= self.limit
        return "passed" if is_met else "failed"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was measured."""

    judged_at: str
    gates: tuple[Figure, ...]
    confidence: Mapping[str, Any]
    """Quantiles, and how many in each twentieth of [0, 1]."""
    rank1: Mapping[str, Any]
    """Of drawn templates of subjects who have several: before, after, and what native probes are likely to find after, with an
    interval of 95 %.
    """
    overlaps: Sequence[int]
    """Drawn templates by how many of their nearest are the same."""
    num_templates: int
    last_number: int
    """Of the template that came last before it was judged."""
    restored_at: str | None
    """When the gallery had been put back from a snapshot."""
    num_missing: int
    probes: Mapping[str, Any] | None = None
    """Of labelled probes, if there were any."""

    @property
    def is_passed(self) -> bool:
        """Whether no gate failed, none that is required is lacking, and one tells how well people are found."""
        is_failed = any(gate.state == "failed" for gate in self.gates)
        is_lacking = any(gate.is_required and gate.state == "not-measured" for gate in self.gates)
        is_told = any(gate.is_of_quality and gate.state == "passed" for gate in self.gates)
        return is_told and not is_failed and not is_lacking

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        document = asdict(self)
        document["gates"] = [asdict(gate) | {"state": gate.state} for gate in self.gates]
        document["is_passed"] = self.is_passed
        return document


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges generations of one store."""

    store: GalleryStore
    pace: Pace = field(default_factory=Pace)

    def __call__(
        self,
        gallery: Gallery,
        generation: Generation,
        policy: GatePolicy,
        probes: Mapping[str, ProbesFigures | None] | None = None,
        *,
        native_ratio: float | None = None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> Judgement:
        """Measure a complete generation beside the active one. `probes` is what labelled ones found before and after;
        `native_ratio`, how many times as often native probes miss as translated ones.

        Raises `NotFoundError`, `RollbackExpiredError`, `StorageError`; `JobStateError` where it is not to `go_on`.
        """
        generations, new = self.store.generations, generation.number
        last_number = generations.last_number(gallery.name)
        num_templates = self.store.get(gallery.name).num_templates
        before, after, drawn = self._neighbours(gallery, new, policy, go_on)
        own = drawn.subjects[: drawn.num_mated]
        found_some = [row for row, names in enumerate(before) if names]
        shared = [_shared(before[row], after[row]) for row in found_some]
        was_right, is_right = (_right(ranked, own) for ranked in (before, after))
        confidences = generations.confidences(gallery.name, new)
        num_missing = generations.num_missing(gallery.name, new)
        if not _is_still(gallery, new, self.store.get(gallery.name)):
            raise JobStateError("the gallery was put back or exchanged while it was judged; it is to be judged again")
        return Judgement(
            timestamp(),
            (
                *_gates(
                    policy,
                    _OfEach(shared, [drawn.subjects[row] for row in found_some]),
                    _OfEach(is_right[was_right], [own[row] for row in np.flatnonzero(was_right).tolist()]),
                    _OfEach(was_right & ~is_right, own),
                    confidences,
                    share_missing=num_missing / max(1, num_templates),
                    num_templates=num_templates,
                    is_crowd=gallery.num_subjects >= FEWEST + NEIGHBOURS,
                ),
                *_of_probes(policy, probes),
            ),
            _distribution(confidences),
            _rank1(was_right, is_right, own, native_ratio),
            np.bincount(np.rint(np.array(shared) * NEIGHBOURS).astype(int), minlength=NEIGHBOURS + 1).tolist(),
            num_templates,
            last_number,
            gallery.restored_at,
            num_missing,
            None if probes is None else {name: asdict(one) if one else None for name, one in probes.items()},
        )

    def _neighbours(
        self, gallery: Gallery, new: int, policy: GatePolicy, go_on: Callable[[], bool]
    ) -> tuple[list[list[str]], list[list[str]], Sample]:
        """The nearest subjects of drawn templates in the active generation and in the new one, and what was drawn of those that
        are in both.
        """
        generations, old = self.store.generations, gallery.generation
        sample = generations.sample(gallery.name, policy.num_samples, policy.seed)
        features = [generations.features(gallery.name, number, sample.template_ids) for number in (old, new)]
        # Only those that are in both.
        kept = np.flatnonzero(~np.isnan(features[0]).any(axis=1) & ~np.isnan(features[1]).any(axis=1))
        drawn = Sample(
            tuple(sample.template_ids[row] for row in kept.tolist()),
            tuple(sample.subjects[row] for row in kept.tolist()),
            int((kept < sample.num_mated).sum()),
        )
        before, after = (
            self._nearest(gallery, number, features_ND[kept], drawn, go_on)
            for number, features_ND in zip((old, new), features, strict=True)
        )
        return before, after, drawn

    def _nearest(
        self,
        gallery: Gallery,
        generation: int,
        features_ND: FloatArray,
        drawn: Sample,
        go_on: Callable[[], bool],
    ) -> list[list[str]]:
        """The nearest subjects of each in the gallery without itself, and without those that are asked about together."""
        at_once = max(1, min(_AT_ONCE, gallery.num_templates // _FEW_OF))
        spaces = {gallery.generation: gallery.space} | {one.number: one.space for one in gallery.beside}
        nearest: list[list[str]] = []
        rest = self.pace.resting()

        def between() -> None:
            if not go_on():
                raise JobStateError("the job is not to go on")
            rest()

        between()
        for part in _parts(drawn.subjects, at_once):
            found = self.store.search(
                gallery.name,
                features_ND[part],
                spaces[generation],
                NEIGHBOURS,
                generation=generation,
                without_ids=drawn.template_ids[part],
                between=between if self.pace.is_busy() else None,
            )
            nearest += [_names(of_probe) for of_probe in found.candidates]
            between()
        return nearest


def _parts(subjects: Sequence[str], most: int) -> Iterator[slice]:
    """One part after the other, in which nobody is twice."""
    start = 0
    while start < len(subjects):
        end, seen = start, set[str]()
        while end < min(len(subjects), start + most) and subjects[end] not in seen:
            seen.add(subjects[end])
            end += 1
        yield slice(start, end)
        start = end


def _is_still(gallery: Gallery, new: int, now: Gallery) -> bool:
    """Whether a gallery is in the generation in which it was, and the new one beside it whole."""
    beside = now.generation_beside(new)
    were, are = ((one.created_at, one.restored_at, one.generation) for one in (gallery, now))
    return beside is not None and beside.is_complete and were == are


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [one.subject for one in candidates]


def _right(ranked: Sequence[Sequence[str]], own: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Whether each is nearest to its own subject."""
    return np.array([bool(names) and names[0] == subject for names, subject in zip(ranked, own, strict=False)], bool)


def _shared(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the nearest that are the same."""
    return len(set(one) & set(other)) / len(one)


@dataclass(frozen=True, slots=True)
class _OfEach:
    """What drawn templates say, each of somebody: whoever has several counts as much as whoever has one."""

    values: Sequence[float] | npt.NDArray[np.bool_]
    subjects: Sequence[str]

    @property
    def num_subjects(self) -> int:
        """People they are of."""
        return len(set(self.subjects))

    @property
    def mean(self) -> float:
        """Over people, of the mean of each."""
        _, numbers = np.unique(np.array(self.subjects), return_inverse=True)
        return float(np.mean(np.bincount(numbers, np.asarray(self.values, dtype=np.float64)) / np.bincount(numbers)))


def _gates(
    policy: GatePolicy,
    shared: _OfEach,
    kept: _OfEach,
    lost: _OfEach,
    confidences: FloatArray,
    *,
    share_missing: float,
    num_templates: int,
    is_crowd: bool,
) -> tuple[Figure, ...]:
    """The gates that need no labelled probes."""
    share_low = float((confidences < policy.low_confidence).mean()) if len(confidences) else None
    return (
        _figure("neighbour overlap@10", shared, policy.min_overlap, is_told=is_crowd),
        _figure("rank-1 retention", kept, policy.min_retention),
        # Of many who were not found before, few flip: that alone tells nothing.
        replace(_figure("negative flips", lost, policy.max_negative_flips), is_least=False, is_of_quality=False),
        Figure("low confidence", share_low, policy.max_low_confidence, is_least=False, num=len(confidences)),
        Figure("missing templates", share_missing, policy.max_missing, is_least=False, num=num_templates),
    )


def _figure(name: str, found: _OfEach, limit: float, *, is_told: bool = True) -> Figure:
    """How well people are found: the mean, if there are enough; it is to be at least `limit`."""
    num = found.num_subjects
    value = found.mean if is_told and num >= FEWEST else None
    return Figure(name, value, limit, is_least=True, num=num, is_of_quality=True)


def _distribution(confidences: FloatArray) -> dict[str, Any]:
    if not len(confidences):
        return {"num": 0, "quantiles": {}, "histogram": []}
    quantiles = {f"{share:g}": round(float(np.quantile(confidences, share)), 6) for share in _QUANTILES}
    counts, _ = np.histogram(confidences, bins=_BINS, range=(0.0, 1.0))
    return {"num": len(confidences), "quantiles": quantiles, "histogram": counts.tolist()}


def _of_probes(policy: GatePolicy, probes: Mapping[str, ProbesFigures | None] | None) -> tuple[Figure, ...]:
    """The gate that needs labelled probes."""
    if policy.fnir is None:
        return ()
    before, after = (probes or {}).get("before"), (probes or {}).get("after")
    increase = None
    is_enough = after is not None and after.num_mated_subjects >= FEWEST
    if is_enough and before is not None and after is not None and before.fnir is not None and after.fnir is not None:
        increase = after.fnir - before.fnir
    name = f"FNIR increase at FPIR {policy.fnir.fpir:g}"
    num = after.num_mated_subjects if after else 0
    limit = policy.fnir.max_increase
    return (Figure(name, increase, limit, is_least=False, num=num, is_required=True, is_of_quality=True),)


def _rank1(
    was_right: npt.NDArray[np.bool_], is_right: npt.NDArray[np.bool_], own: Sequence[str], native_ratio: float | None
) -> dict[str, Any]:
    """Of drawn templates of subjects who have others: before, after, and what is predicted of native probes after; those miss
    more or less often than translated ones, by as much as was measured of the translator. The interval is Wilson's (1927), of as
    many as there are subjects: several templates of one tell less than as many subjects would.
    """
    num, num_subjects = len(own), len(set(own))
    before, after = (float(right.mean()) if num else None for right in (was_right, is_right))
    predicted, interval = None, None
    if after is not None:
        ratio = native_ratio or 1.0
        predicted, low, high = (1.0 - min(1.0, (1.0 - rate) * ratio) for rate in (after, *_wilson(after, num_subjects)))
        interval = [low, high]
    found_again = int((is_right & ~was_right).sum())
    return {
        "num": num,
        "num_subjects": num_subjects,
        "before": before,
        "after": after,
        "predicted_native": predicted,
        "predicted_interval": interval,
        "native_ratio": native_ratio,
        "positive_flips": found_again,
        "negative_flips": int((was_right & ~is_right).sum()),
    }


def _wilson(rate: float, num: int) -> tuple[float, float]:
    """The interval of a share that was found of so many."""
    middle = (rate + _Z**2 / (2 * num)) / (1 + _Z**2 / num)
    width = _Z * math.sqrt(rate * (1 - rate) / num + _Z**2 / (4 * num**2)) / (1 + _Z**2 / num)
    return max(0.0, middle - width), min(1.0, middle + width)
