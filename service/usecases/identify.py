"""Identify: which subjects of a gallery is a probe of, or nobody? Shapes: n probes."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from models.operating_point import OperatingPoint
from models.space import Space
from service.entities import Candidate, Gallery, Probe, ProbeRows, Route, Side
from service.errors import SpaceMismatchError
from service.galleries.port import GalleryStore, SearchResult, Where
from service.inference.inference import Inference
from service.inference.thresholds import NOTHING, Measured
from service.observability.stages import stage
from service.usecases.decisions import Meaning, Wanted, meaning_of, threshold_for
from service.usecases.probes import NativeFeatures, Probes, RoutedFeatures
from service.usecases.sampling import Draw, Drawn
from service.usecases.trust import Trusted, TrustPolicy

_TRIES = 10
"""To search a gallery while it is put back, or goes into another generation, again and again."""


@dataclass(frozen=True, slots=True)
class JudgedCandidate:
    """A candidate, what its score means, and the operating point that it reached where a rate was asked for."""

    candidate: Candidate
    meaning: Meaning
    point: OperatingPoint | None = None


@dataclass(frozen=True, slots=True)
class Identified:
    """Ranked candidates for each probe, all from one generation of the gallery.

    Where a rate was asked for, only those that reach its threshold: a probe without any is of nobody here.
    """

    gallery: str
    generation: int
    num_templates: int
    space: Space
    route: Route
    wanted: Wanted | None
    candidates: tuple[tuple[JudgedCandidate, ...], ...]
    points: tuple["UsedPoint", ...]
    """One for each way in which templates came into the gallery, where a rate was asked for."""
    trusted: Trusted
    drawn: Drawn | None = None
    """Where probes were asked about as several features each."""

    @property
    def decisions(self) -> list[Literal["match", "nobody"] | None]:
        """Of each probe; None where no rate was asked for."""
        if self.wanted is None:
            return [None] * len(self.candidates)
        return ["match" if of_probe else "nobody" for of_probe in self.candidates]


@dataclass(frozen=True, slots=True)
class UsedPoint:
    """The operating point for probes of a modality and templates of an origin."""

    origin: Side
    modality: str
    point: OperatingPoint


class Identify:
    """The verb."""

    def __init__(self, inference: Inference, probes: Probes, galleries: GalleryStore) -> None:
        self._inference = inference
        self._probes = probes
        self._galleries = galleries

    async def __call__(
        self,
        gallery: str,
        probes: Sequence[Probe] | ProbeRows,
        *,
        top_k: int,
        where: Where | None = None,
        wanted: Wanted | None = None,
        trust: TrustPolicy | None = None,
        draw: Draw | None = None,
    ) -> Identified:
        """Search one gallery with probes of one space; they are translated where a route leads to the gallery's. With
        `where`, among templates of such metadata only; `draw` says how probes of a weak modality are sampled.

        Raises `NotFoundError`, `SpaceMismatchError`, `NoOperatingPointError` where the gallery holds templates with which no
        threshold was measured at the wanted rate, `LowConfidenceError`, and what is wrong with a probe.
        """
        found = await asyncio.to_thread(self._galleries.get, gallery)
        native = await self._probes.read(probes, also=[found.space, *(one.space for one in found.beside)])
        asked = _Asked(top_k, where, wanted, trust, draw)
        routed, result = await self._asked(found, native, asked)
        judge = _Judge(self._inference, routed, result.num_templates, wanted)
        modalities = probes.modalities if isinstance(probes, ProbeRows) else [probe.modality for probe in probes]
        candidates = await asyncio.to_thread(judge, result, modalities, top_k)
        return Identified(
            gallery,
            result.generation,
            result.num_templates,
            routed.route.target,
            routed.route,
            wanted,
            candidates,
            judge.points,
            routed.trusted,
            routed.drawn,
        )

    async def _asked(
        self, found: Gallery, native: NativeFeatures, asked: "_Asked"
    ) -> tuple[RoutedFeatures, SearchResult]:
        """Probes as they were compared, and what was found. Where another generation takes the place of that for which they were
        translated, that one is asked.
        """
        for _ in range(_TRIES):
            fmr = asked.wanted.fmr_among(found.num_templates) if asked.wanted else None
            routed = await self._probes.comparable(native, found.space, asked.trust, fmr=fmr, draw=asked.draw)
            with suppress(SpaceMismatchError):
                result = await self._search(found.name, routed, asked)
                # In a common space either can be searched.
                if result.generation == found.generation:
                    return routed, result
            found = await asyncio.to_thread(self._galleries.get, found.name)
        raise SpaceMismatchError(f"gallery {found.name} goes from one generation to another all the time; ask again")

    async def _search(self, gallery: str, routed: RoutedFeatures, asked: "_Asked") -> SearchResult:
        step = routed.route.target_step
        projections = self._inference.projections(step.target) if step else None

        def search() -> SearchResult:
            return self._galleries.search(
                gallery,
                routed.features,
                routed.route.space,
                asked.top_k,
                by_origin=asked.wanted is not None,
                where=asked.where,
                density=routed.drawn.density if routed.drawn else None,
            )

        def search_in_common() -> SearchResult:
            assert step is not None
            assert projections is not None
            for _ in range(_TRIES - 1):
                self._galleries.ensure_index(gallery, step.target, projections)
                # A gallery that was put back or made anew in between has no such index yet.
                with suppress(SpaceMismatchError):
                    return search()
            self._galleries.ensure_index(gallery, step.target, projections)
            return search()

        with stage("search"):
            return await asyncio.to_thread(search_in_common if step else search)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks of the gallery."""

    top_k: int
    where: Where | None
    wanted: Wanted | None
    trust: TrustPolicy | None
    draw: Draw | None


class _Judge:
    """What candidates' scores mean, each by the way its template came to where it is compared, and who is let through."""

    def __init__(self, inference: Inference, routed: RoutedFeatures, num_templates: int, wanted: Wanted | None) -> None:
        route = routed.route
        self._thresholds = inference.catalog.thresholds
        self._route = route
        self._drawn = routed.drawn
        self._num_templates = num_templates
        self._wanted = wanted
        self._projected_by: dict[str, str] = {}
        """Of a gallery that is asked in a common space, the projections by the space that they start from."""
        if route.target_step:
            steps = inference.catalog.steps_into(route.target_step.target)
            self._projected_by = {step.source.fingerprint: step.bundle for step in steps}
        self._points: dict[tuple[Side, str], OperatingPoint] = {}

    @property
    def points(self) -> tuple[UsedPoint, ...]:
        """What it has judged by."""
        return tuple(UsedPoint(origin, modality, point) for (origin, modality), point in self._points.items())

    def __call__(
        self, result: SearchResult, modalities: Sequence[str], top_k: int
    ) -> tuple[tuple[JudgedCandidate, ...], ...]:
        """Of each probe, by its modality."""
        of_probes = zip(result.candidates, modalities, strict=True)
        if self._wanted is None:
            return tuple(tuple(self._meant(one, modality) for one in ranked) for ranked, modality in of_probes)
        return tuple(self._let_through(found, modality, top_k) for found, modality in of_probes)

    def _let_through(self, found: Sequence[Candidate], modality: str, top_k: int) -> tuple[JudgedCandidate, ...]:
        """Those above their thresholds, by how far: what is a high score for one origin may be a low one for another."""
        margins = [(one.score - self._point(one.origin, modality).threshold, one) for one in found]
        ranked = sorted(((-margin, one.subject, one) for margin, one in margins if margin >= 0), key=lambda m: m[:2])
        best = {subject: one for _, subject, one in reversed(ranked)}
        kept = [one for _, subject, one in ranked if best[subject] is one][:top_k]
        return tuple(self._meant(one, modality, self._point(one.origin, modality)) for one in kept)

    def _meant(self, one: Candidate, modality: str, point: OperatingPoint | None = None) -> JudgedCandidate:
        return JudgedCandidate(one, meaning_of(one.score, self._measured(one.origin, modality)), point)

    def _measured(self, origin: Side, modality: str) -> Measured:
        probe, native = self._route.sides
        if self._drawn and not self._drawn.is_measured:
            return NOTHING
        if not self._projected_by:
            return self._thresholds.between(probe, origin, modality)
        # A template whose encoder has no projection was translated first, and projected as the gallery's own are.
        projection = self._projected_by.get(origin.space)
        in_common = Side(origin.space, (projection,) if projection else (*origin.bundles, *native.bundles))
        return self._thresholds.between(probe, in_common, modality)

    def _point(self, origin: Side, modality: str) -> OperatingPoint:
        key = (origin, modality)
        if key not in self._points:
            assert self._wanted is not None
            why = f" for {' and '.join(origin.bundles)}'s templates" if origin.bundles else ""
            if self._drawn and not self._drawn.is_measured:
                why += f" with {self._drawn.num_samples} samples a probe; leave samples to the sampler"
            if self._wanted.fpir is not None:
                why += f", as an FPIR of {self._wanted.fpir:g} takes among {self._num_templates:,} templates"
            fmr = self._wanted.fmr_among(self._num_templates)
            self._points[key] = threshold_for(self._measured(*key), fmr, why=why)
        return self._points[key]
