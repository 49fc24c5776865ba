"""What labelled probes find in one generation: shares of misses at a rate of false positives, and of those found first.

Shapes: N probes, D dimension of the generation's space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.space import Space
from service.entities import Candidate, FloatArray
from service.galleries.port import GalleryStore

_TOP = 10
_AT_ONCE = 256
_LOWEST = -1.0
"""Of scores."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Whom probes are of, and who of them is enrolled."""

    subjects: Sequence[str]
    is_enrolled: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class ProbesFigures:
    """Of one generation."""

    num_mated: int
    num_mated_subjects: int
    num_non_mated: int
    rank1: float | None
    """Of mated probes, those whose subject comes first."""
    fpir: float
    threshold: float | None
    """At which so many probes of nobody find somebody at most; None where there are too few to tell."""
    fnir: float | None
    """Of mated probes, those whose subject is not among ten candidates above that threshold."""


def measure(
    store: GalleryStore,
    gallery: str,
    generation: tuple[int, Space],
    features_ND: FloatArray,
    *,
    labelled: Labelled,
    fpir: float,
) -> ProbesFigures:
    """Ask a generation, by number and space, about features in its space; those that are NaN find nobody.

    Source of the rates: ISO/IEC 19795-1 and NIST FRVT 1:N.
    """
    known = np.flatnonzero(~np.isnan(features_ND).any(axis=1)).tolist()
    candidates: dict[int, tuple[Candidate, ...]] = {}
    for start in range(0, len(known), _AT_ONCE):
        rows = known[start : start + _AT_ONCE]
        found = store.search(gallery, features_ND[rows], generation[1], _TOP, generation=generation[0])
        candidates.update(zip(rows, found.candidates, strict=True))
    best_of_strangers, ranks, own_scores = [], [], []
    for row, subject in enumerate(labelled.subjects):
        ranked = candidates.get(row, ())
        if labelled.is_enrolled[subject]:
            place = next((rank for rank, one in enumerate(ranked) if one.subject == subject), None)
            ranks.append(place)
            own_scores.append(-np.inf if place is None else ranked[place].score)
        else:
            best_of_strangers.append(ranked[0].score if ranked else _LOWEST)
    threshold = threshold_at(best_of_strangers, fpir)
    num_mated = len(ranks)
    return ProbesFigures(
        num_mated,
        len({subject for subject in labelled.subjects if labelled.is_enrolled[subject]}),
        len(best_of_strangers),
        sum(rank == 0 for rank in ranks) / num_mated if num_mated else None,
        fpir,
        threshold,
        float(np.mean(np.array(own_scores) <= threshold)) if num_mated and threshold is not None else None,
    )


def threshold_at(scores_of_strangers: Sequence[float], fpir: float) -> float | None:
    """The lowest of the scores above which at most a share `fpir` of them lies; None of fewer than 1 / `fpir`.

    >>> threshold_at([0.1, 0.4, 0.2, 0.3], 0.25), threshold_at([0.1, 0.4, 0.2], 0.25)
    (0.3, None)
    """
    num = len(scores_of_strangers)
    if num * fpir < 1 - 1e-9:
        return None
    return float(sorted(scores_of_strangers, reverse=True)[min(num - 1, int(num * fpir + 1e-9))])
