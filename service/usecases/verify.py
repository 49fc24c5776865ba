"""Verify: are two probes of one subject? They are compared in one space, to which one of them may be translated."""

from dataclasses import dataclass

import numpy as np

from models.calibration import PHOTO
from models.operating_point import OperatingPoint
from models.space import Space
from service.entities import Probe, Route, RouteStep
from service.errors import NoRouteError, SpaceMismatchError
from service.galleries.rules import exact_scores
from service.inference.inference import Inference
from service.inference.thresholds import NOTHING, Measured
from service.usecases.decisions import Meaning, meaning_of, threshold_for
from service.usecases.probes import NativeFeatures, Probes, refuse_draw
from service.usecases.sampling import Draw, Drawn
from service.usecases.trust import Trusted, TrustPolicy


@dataclass(frozen=True, slots=True)
class Verified:
    """The score and what it means, the route that made it comparable, and the operating point at the asked rate."""

    score: float
    meaning: Meaning
    route: Route
    operating_point: OperatingPoint | None
    trusted: Trusted
    drawn: Drawn | None = None
    """Where one of them was compared as several features."""

    @property
    def space(self) -> Space:
        """The space of the comparison."""
        return self.route.space

    @property
    def is_match(self) -> bool | None:
        """The decision; None where no rate was asked for."""
        return None if self.operating_point is None else self.score >= self.operating_point.threshold


class Verify:
    """The verb."""

    def __init__(self, inference: Inference, probes: Probes) -> None:
        self._inference = inference
        self._probes = probes

    async def __call__(
        self,
        a: Probe,
        b: Probe,
        *,
        fmr: float | None = None,
        trust: TrustPolicy | None = None,
        draw: Draw | None = None,
    ) -> Verified:
        """Compare two probes; `draw` says how one of a weak modality is sampled.

        Raises `SpaceMismatchError` where no route joins their spaces, `NoOperatingPointError` where `fmr` was not
        measured for this route, `LowConfidenceError`, and as `Probes.across`.
        """
        native_a, native_b = await self._probes.read([a]), await self._probes.read([b])
        for weak, strong in ((native_a, native_b), (native_b, native_a)):
            is_asked = strong.modalities == {PHOTO}
            step = self._probes.step_across(weak, strong.space, fmr, draw, is_either_way=True) if is_asked else None
            if step is not None:
                return await self._across(weak, strong, step, fmr, draw)
        refuse_draw(draw)
        route = self._comparison(native_a.space, native_b.space, fmr, {a.modality, b.modality})
        if route.source.fingerprint != native_a.space.fingerprint:
            native_a, native_b = native_b, native_a
        measured = self._measured(route, a.modality, b.modality)
        point = None if fmr is None else threshold_for(measured, fmr)
        features_a, features_b, trusted = await self._probes.together(native_a, native_b, route, trust)
        cosine = np.dot(features_a[0].astype(np.float64), features_b[0].astype(np.float64))
        score = float(np.clip(cosine, -1.0, 1.0))
        return Verified(score, meaning_of(score, measured), route, point, trusted)

    async def _across(
        self, weak: NativeFeatures, strong: NativeFeatures, step: RouteStep, fmr: float | None, draw: Draw | None
    ) -> Verified:
        """A picture of a weak modality with a photo, as their people are identified."""
        routed = await self._probes.across(weak, step, draw)
        drawn = routed.drawn
        # As a gallery would score it, to the last bit.
        score = float(exact_scores(routed.features, strong.features, drawn.sigma if drawn else 1.0)[0])
        (modality,) = weak.modalities
        is_measured = drawn is None or drawn.is_measured
        measured = self._measured(routed.route, modality) if is_measured else NOTHING
        point = None if fmr is None else threshold_for(measured, fmr)
        return Verified(score, meaning_of(score, measured), routed.route, point, routed.trusted, drawn)

    def _comparison(self, a: Space, b: Space, fmr: float | None, modalities: set[str]) -> Route:
        # A drawing and a photo are compared as such; so are two photos.
        kinds = modalities - {PHOTO} or {PHOTO}
        try:
            return self._inference.catalog.comparison_either_way(a, b, fmr=fmr, modalities=kinds)
        except NoRouteError:
            raise SpaceMismatchError(
                f"features of {a.name} ({a.fingerprint}) and {b.name} ({b.fingerprint}) cannot be compared: "
                "no translator leads from one to the other, and they have no common space"
            ) from None

    def _measured(self, route: Route, *modalities: str) -> Measured:
        others = [modality for modality in modalities if modality != PHOTO]
        # Two drawings have never been compared.
        if len(others) > 1:
            return NOTHING
        return self._inference.catalog.thresholds.between(*route.sides, *others)
