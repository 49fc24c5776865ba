"""Gates: what an operator does not want enrolled. Templates of little confidence or short norm, and a face that is enrolled
under another name.

Shapes: G templates, D dimension of the gallery's space.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from weakref import WeakValueDictionary

import numpy as np

from models.features import FloatArray
from models.space import Space
from service.entities import Candidate, Side
from service.errors import DuplicateSubjectError, LowConfidenceError, LowNormError, NoOperatingPointError
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.observability.stages import stage
from service.usecases.decisions import threshold_for
from service.usecases.probes import RoutedFeatures
from service.usecases.samples import Samples

_BLOCK = 1024
_LOOKED_AT = 2
"""Subjects of the gallery that are looked at for each template: its own may be one of them."""


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What an operator set; by default everything is let in."""

    min_confidence: float = 0.0
    """Of translated templates."""
    min_norm: dict[str, float] = field(default_factory=dict)
    """By name or fingerprint of a space: of its features as the encoder puts them out, where that is known."""
    duplicates: Literal["allow", "flag", "refuse"] = "allow"
    duplicate_fmr: float = 1e-6
    """A template is a duplicate where another subject's is as like it as so few strangers are."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A template that is like one of another subject: of the gallery, by its id, or of the same request, by its row."""

    row: int
    score: float
    template_id: str | None = None
    other_row: int | None = None

    @property
    def reason(self) -> str:
        """In words, without a name."""
        other = f"template {self.template_id}" if self.template_id else f"template {self.other_row} of the request"
        return f"its face is enrolled under another name: it is like {other}"


class Gates:
    """Lets templates through, or refuses them all."""

    def __init__(self, inference: Inference, galleries: GalleryStore, policy: GatePolicy) -> None:
        self._inference = inference
        self._galleries = galleries
        self._policy = policy
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By gallery, while somebody is in it."""

    @asynccontextmanager
    async def passing(
        self, gallery: str, space: Space, samples: Samples, routed: RoutedFeatures, *, replaces: bool
    ) -> AsyncIterator[list[Duplicate]]:
        """Look at templates on their way into `gallery` in `space`, in place of those of their keys if it `replaces`; duplicates
        that are let through. Where these are looked for, requests pass one after the other, as two may bring the same face.

        Raises `LowConfidenceError`, `LowNormError`, `DuplicateSubjectError`, each naming its rows; `NoOperatingPointError` where
        duplicates are to be refused and no threshold at that rate was measured.
        """
        self._check_confidence(routed.trusted.confidence)
        self._check_norm(routed)
        if self._policy.duplicates == "allow":
            yield []
            return
        keys = [key for key in samples.keys or () if key is not None] if replaces else []
        async with self._turns.setdefault(gallery, asyncio.Lock()):
            with stage("search"):
                duplicates = await asyncio.to_thread(self._duplicates, gallery, space, samples.subjects, routed, keys)
            if duplicates and self._policy.duplicates == "refuse":
                raise DuplicateSubjectError(
                    f"{len(duplicates)} of {len(samples)} templates are of somebody who is enrolled under another name",
                    [(duplicate.row, duplicate.reason) for duplicate in duplicates],
                )
            yield duplicates

    def _check_confidence(self, confidence: FloatArray | None) -> None:
        least = self._policy.min_confidence
        if confidence is None or least <= 0:
            return
        # What is not known, NaN, is not below.
        low = np.flatnonzero(confidence < least).tolist()
        if low:
            reason = f"its translation cannot be trusted to {least:g}"
            raise LowConfidenceError(
                f"{len(low)} of {len(confidence)} translations cannot be trusted to {least:g}, and are not enrolled here",
                [(row, reason) for row in low],
            )

    def _check_norm(self, routed: RoutedFeatures) -> None:
        space, norm = routed.native.space, routed.native.norm
        least = self._policy.min_norm.get(space.name, self._policy.min_norm.get(space.fingerprint, 0.0))
        if norm is None or least <= 0:
            return
        short = np.flatnonzero(norm < least).tolist()
        if short:
            raise LowNormError(
                f"{len(short)} of {len(norm)} features are shorter than {least:g}, as those of poor pictures are, and are not "
                "enrolled here",
                [(row, f"its norm is below {least:g}") for row in short],
            )

    def _duplicates(
        self,
        gallery: str,
        space: Space,
        subjects: Sequence[str],
        routed: RoutedFeatures,
        replaced_keys: Sequence[str],
    ) -> list[Duplicate]:
        side, _ = routed.route.sides
        found = self._galleries.search(
            gallery, routed.features, space, _LOOKED_AT, by_origin=True, without=replaced_keys
        )
        in_gallery = [
            self._like_others(side, subject, of_row) for subject, of_row in zip(subjects, found.candidates, strict=True)
        ]
        threshold = self._threshold(side, side)
        in_request = _like_each_other(routed.features, subjects, threshold) if threshold is not None else {}
        duplicates = []
        for row, candidate in enumerate(in_gallery):
            if candidate is not None:
                duplicates.append(Duplicate(row, candidate.score, template_id=candidate.template_id))
            elif row in in_request:
                other_row, score = in_request[row]
                duplicates.append(Duplicate(row, score, other_row=other_row))
        return duplicates

    def _like_others(self, side: Side, subject: str, candidates: Sequence[Candidate]) -> Candidate | None:
        """The most alike of other subjects that is too much so."""
        others = [candidate for candidate in candidates if candidate.subject != subject]
        for candidate in sorted(others, key=lambda one: -one.score):
            threshold = self._threshold(side, candidate.origin)
            if threshold is not None and candidate.score >= threshold:
                return candidate
        return None

    def _threshold(self, one: Side, other: Side) -> float | None:
        """None where it is not known and nothing is refused by it."""
        measured = self._inference.catalog.thresholds.between(one, other)
        try:
            why = ", at which duplicates are to be told"
            return threshold_for(measured, self._policy.duplicate_fmr, why=why).threshold
        except NoOperatingPointError:
            if self._policy.duplicates == "refuse":
                raise
            return None


def _like_each_other(
    features_GD: FloatArray, subjects: Sequence[str], threshold: float
) -> dict[int, tuple[int, float]]:
    """Of rows that are like an earlier one of another subject: that row, and the score."""
    numbers = np.unique(np.array(subjects), return_inverse=True)[1]
    found: dict[int, tuple[int, float]] = {}
    for start in range(0, len(features_GD), _BLOCK):
        block = slice(start, start + _BLOCK)
        for earlier in range(0, start + 1, _BLOCK):
            before = slice(earlier, earlier + _BLOCK)
            score_GG = features_GD[block] @ features_GD[before].T
            is_alike = (score_GG >= threshold) & (numbers[block][:, None] != numbers[before][None, :])
            for row, other in np.argwhere(is_alike).tolist():
                if earlier + other < start + row:
                    found.setdefault(start + row, (earlier + other, float(score_GG[row, other])))
    return found
