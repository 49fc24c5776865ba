"""The verdict on a generation before it becomes the active one: figures from templates themselves, and gates.

Templates that are drawn are taken out of the gallery and asked about, in either generation alike: so nobody needs a picture or a
probe. Labelled probes, where there are some, tell more; they are looked at and not kept.

Shapes: N drawn templates or probes, D dimension of a generation's space, K nearest subjects.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from service.entities import Candidate, FloatArray, Gallery, Generation
from service.galleries.port import GalleryStore, Sample
from service.galleries.rules import timestamp
from service.usecases.labelled import ProbesFigures
from service.usecases.migration_plan import GatePolicy
from service.usecases.pace import Pace

NEIGHBOURS = 10
_AT_ONCE, _FEW_AT_ONCE = 256, 4
_BINS = 20
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 30
"""Drawn templates below which a share says nothing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A gate: what was measured, what it takes, and whether that is so. Without a value it was not measured."""

    name: str
    value: float | None
    limit: float
    is_least: bool
    """Whether the limit is the least value, or the largest."""
    num: int
    """Of how many it is measured."""
    is_required: bool = False
    """Whether it is as good as failed where it is not measured."""

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
    """Of drawn templates of subjects who have several: before, after, and what native probes are likely to find after."""
    overlaps: Sequence[int]
    """Drawn templates by how many of their nearest are the same."""
    num_templates: int
    num_missing: int
    probes: Mapping[str, Any] | None = None
    """Of labelled probes, if there were any."""

    @property
    def is_passed(self) -> bool:
        """Whether no gate failed, and something was measured."""
        states = [gate.state for gate in self.gates]
        is_lacking = any(gate.is_required and gate.state == "not-measured" for gate in self.gates)
        return "failed" not in states and "passed" in states and not is_lacking

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
        native_ratio: float | None = None,
    ) -> Judgement:
        """Measure a complete generation beside the active one. `probes` is what labelled ones found before and after;
        `native_ratio`, how many times as often native probes miss as translated ones.

        Raises `NotFoundError`, `RollbackExpiredError`, `StorageError`.
        """
        generations = self.store.generations
        sample = generations.sample(gallery.name, policy.num_samples, policy.seed)
        old, new = gallery.generation, generation.number
        features = [generations.features(gallery.name, number, sample.template_ids) for number in (old, new)]
        # Only those that are in both.
        kept = np.flatnonzero(~np.isnan(features[0]).any(axis=1) & ~np.isnan(features[1]).any(axis=1))
        num_mated = int((kept < sample.num_mated).sum())
        subjects = [sample.subjects[row] for row in kept.tolist()]
        before, after = (
            self._nearest(gallery.name, number, space_features[kept], sample)
            for number, space_features in zip((old, new), features, strict=True)
        )
        shared = [_shared(one, other) for one, other in zip(before, after, strict=True) if one]
        was_right, is_right = (
            np.array(
                [bool(names) and names[0] == own for names, own in zip(ranked, subjects, strict=True)][:num_mated],
                dtype=bool,
            )
            for ranked in (before, after)
        )
        confidences = generations.confidences(gallery.name, new)
        num_missing = generations.num_missing(gallery.name, new)
        return Judgement(
            timestamp(),
            (
                *_gates(
                    policy,
                    shared,
                    was_right,
                    is_right,
                    confidences,
                    share_missing=num_missing / max(1, gallery.num_templates),
                    num_templates=gallery.num_templates,
                ),
                *_of_probes(policy, probes),
            ),
            _distribution(confidences),
            _rank1(was_right, is_right, native_ratio),
            np.bincount(np.rint(np.array(shared) * NEIGHBOURS).astype(int), minlength=NEIGHBOURS + 1).tolist(),
            gallery.num_templates,
            num_missing,
            None if probes is None else {name: asdict(one) if one else None for name, one in probes.items()},
        )

    def _nearest(self, name: str, generation: int, features_ND: FloatArray, sample: Sample) -> list[list[str]]:
        """The nearest subjects of each, without any of those that were drawn."""
        gallery = self.store.get(name)
        space = next(
            space
            for number, space in [
                (gallery.generation, gallery.space),
                *((one.number, one.space) for one in gallery.beside),
            ]
            if number == generation
        )
        nearest: list[list[str]] = []
        start = 0
        while start < len(features_ND):
            began, num = time.perf_counter(), _FEW_AT_ONCE if self.pace.is_busy() else _AT_ONCE
            found = self.store.search(
                name,
                features_ND[start : start + num],
                space,
                NEIGHBOURS,
                generation=generation,
                without_ids=sample.template_ids,
            )
            nearest += [_names(of_probe) for of_probe in found.candidates]
            start += num
            self.pace.rest(time.perf_counter() - began)
        return nearest


def _names(candidates: Sequence[Candidate]) -> list[str]:
    return [one.subject for one in candidates]


def _shared(one: Sequence[str], other: Sequence[str]) -> float:
    """Share of the nearest that are the same."""
    return len(set(one) & set(other)) / len(one)


def _gates(
    policy: GatePolicy,
    shared: Sequence[float],
    was_right: npt.NDArray[np.bool_],
    is_right: npt.NDArray[np.bool_],
    confidences: FloatArray,
    *,
    share_missing: float,
    num_templates: int,
) -> tuple[Figure, ...]:
    """The gates that need no labelled probes."""
    kept, lost = is_right[was_right], was_right & ~is_right
    low = confidences < policy.low_confidence
    return (
        _figure("neighbour overlap@10", shared, policy.min_overlap, is_least=True),
        _figure("rank-1 retention", kept, policy.min_retention, is_least=True),
        _figure("negative flips", lost, policy.max_negative_flips, is_least=False),
        _figure("low confidence", low, policy.max_low_confidence, is_least=False, fewest=1),
        Figure("missing templates", share_missing, policy.max_missing, is_least=False, num=num_templates),
    )


def _figure(
    name: str, values: Sequence[float] | npt.NDArray[np.bool_], limit: float, *, is_least: bool, fewest: int = FEWEST
) -> Figure:
    """The mean, if there are enough."""
    num = len(values)
    return Figure(name, float(np.mean(values)) if num >= fewest else None, limit, is_least, num)


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
    if before is not None and after is not None and before.fnir is not None and after.fnir is not None:
        increase = after.fnir - before.fnir
    name = f"FNIR increase at FPIR {policy.fnir.fpir:g}"
    num = after.num_mated if after else 0
    return (Figure(name, increase, policy.fnir.max_increase, is_least=False, num=num, is_required=True),)


def _rank1(
    was_right: npt.NDArray[np.bool_], is_right: npt.NDArray[np.bool_], native_ratio: float | None
) -> dict[str, Any]:
    """Of drawn templates of subjects who have others: before, after, and what is predicted of native probes after; those miss
    more or less often than translated ones, by as much as was measured of the translator.
    """
    num = len(was_right)
    before, after = (float(right.mean()) if num else None for right in (was_right, is_right))
    predicted = None if after is None else 1.0 - min(1.0, (1.0 - after) * (native_ratio or 1.0))
    found_again = int((is_right & ~was_right).sum())
    return {
        "num": num,
        "before": before,
        "after": after,
        "predicted_native": predicted,
        "native_ratio": native_ratio,
        "positive_flips": found_again,
        "negative_flips": int((was_right & ~is_right).sum()),
    }
