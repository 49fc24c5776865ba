"""From what was sent to unit features in the space that is needed: the one place where spaces meet.

Shapes: n probes, D dimension of the probe's space, T of the wanted space. Invariant: features leave here only in the
space that was asked for, by a route that is named, or not at all.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO
from models.features import FloatArray, NonFiniteError, ZeroNormError, checked_norms, unit_features_and_norms
from models.samples import draw_noise
from models.space import Space
from service.entities import Generation, Probe, ProbeRows, Route, RouteStep, Translation
from service.errors import (
    DimensionMismatchError,
    InvalidInputError,
    NonFiniteVectorError,
    NoRouteError,
    SpaceMismatchError,
    SuspectedSpaceError,
    ZeroNormVectorError,
)
from service.inference.batcher import OFF_LOOP_ROWS
from service.inference.engine import Picture
from service.inference.inference import OFF_LOOP_JUDGED, Inference
from service.inference.watch import Watch
from service.usecases.sampling import Draw, Drawn, SampleLimits
from service.usecases.trust import Trusted, TrustPolicy, judge


@dataclass(frozen=True, slots=True)
class NativeFeatures:
    """Unit features (n, D) in the space in which they were made."""

    space: Space
    features: FloatArray
    modalities: frozenset[str] = frozenset({PHOTO})
    drawn: npt.NDArray[np.bool_] | None = None
    """Which of them, (n,), are of a modality other than photos that some bundle has measured: what is usual of features, and
    confidence, is of photos alone. None for none. What nobody has measured counts as a photo, so that a word in a request
    does not undo what an operator set.
    """
    norm: FloatArray | None = None
    """That they had (n,), NaN where it is not known."""

    @property
    def is_photo(self) -> npt.NDArray[np.bool_]:
        """The others, (n,)."""
        return np.ones(len(self.features), dtype=bool) if self.drawn is None else ~self.drawn


@dataclass(frozen=True, slots=True)
class RoutedFeatures:
    """The native features, and the same where the route leads (n, T): the wanted space, or a common one."""

    native: NativeFeatures
    features: FloatArray
    route: Route
    trusted: Trusted
    drawn: Drawn | None = None
    """Where each is several features (n M, T), M of a probe one after the other."""


class Probes:
    """Reads probes and brings them into a space."""

    def __init__(
        self,
        inference: Inference,
        trust: TrustPolicy | None = None,
        *,
        watch: Watch | None = None,
        refuses_suspected: bool = False,
        limits: SampleLimits | None = None,
    ) -> None:
        """`trust` holds for every request, as `limits` do; with `refuses_suspected` features of a space of which the `watch` is
        suspicious are refused.
        """
        self._inference = inference
        self._trust = trust or TrustPolicy()
        self._watch = watch or inference.new_watch()
        self._refuses_suspected = refuses_suspected
        self._limits = limits or SampleLimits()

    async def read(self, probes: Sequence[Probe] | ProbeRows, also: Iterable[Space] = ()) -> NativeFeatures:
        """Unit features of probes of one space; pictures are encoded. `also` are spaces known besides the catalog's.

        Raises `SpaceMismatchError` for an unknown space, and what is wrong with a vector or a picture.
        """
        space = self._inference.catalog.find_space(
            probes.space if isinstance(probes, ProbeRows) else probes[0].space, also
        )
        if space is None:
            raise SpaceMismatchError(
                "features of a space that is not known here cannot be compared with anything; see /spaces"
            )
        if isinstance(probes, ProbeRows):
            checked, norm = await off_loop(checked_features, probes.features, space)
            known = norm if probes.norm is None else checked_norms(probes.norm)
            modalities = probes.modalities
        else:
            checked, norm = await self._checked(probes, space)
            known = checked_norms(np.array([probe.norm for probe in probes]))
            modalities = [probe.modality for probe in probes]
        catalog = self._inference.catalog
        measured = (catalog.thresholds.modalities | catalog.across.modalities) - {PHOTO}
        drawn = np.array([modality in measured for modality in modalities])
        norm = np.where(np.isnan(norm), known, norm)
        return await self.watched(NativeFeatures(space, checked, frozenset(modalities), drawn, norm))

    async def _checked(self, probes: Sequence[Probe], space: Space) -> tuple[FloatArray, FloatArray]:
        features = [probe.feature for probe in probes if probe.feature is not None]
        if len(features) == len(probes):
            return await off_loop(_checked_together, features, space)
        encoded = await asyncio.gather(*(self._encode(probe, space) for probe in probes))
        checked, norm = (np.concatenate(column) for column in zip(*encoded, strict=True))
        return checked, norm

    async def watched(self, native: NativeFeatures) -> NativeFeatures:
        """The same, after a look at whether they are of the space that they claim.

        Raises `SuspectedSpaceError` where they do not look like it and that is to be refused.
        """
        photos = native.features[native.is_photo]
        if not len(photos):
            return native
        if len(photos) < OFF_LOOP_JUDGED:
            seen = self._watch.observe(photos, native.space)
        else:
            seen = await asyncio.to_thread(self._watch.observe, photos, native.space)
        if self._refuses_suspected and seen.state == "suspected":
            raise SuspectedSpaceError(
                f"what arrives as features of the space {native.space.name} does not look like it: {seen.reason}. Compare "
                "encoder, colour order, normalisation and alignment with the space's; see /spaces"
            )
        return native

    async def along(
        self, native: NativeFeatures, route: Route, asked: TrustPolicy | None = None, *, is_judged: bool = True
    ) -> RoutedFeatures:
        """Bring features where a route leads; `asked` may be stricter than the setting.

        Confidence is not looked at where that would have no effect and `is_judged` is false. Raises `LowConfidenceError`.
        """
        if not is_judged and self._trust.on_low != "refuse" and asked is None:
            return RoutedFeatures(
                native, await self._inference.translate(native.features, route.steps), route, Trusted()
            )
        features, confidence = await self._inference.translate_judged(native.features, route.steps, native.norm)
        return RoutedFeatures(native, features, route, judge(_of_photos(confidence, native), self._trust, asked))

    async def together(
        self, one: NativeFeatures, other: NativeFeatures, route: Route, asked: TrustPolicy | None = None
    ) -> tuple[FloatArray, FloatArray, Trusted]:
        """Bring row i of both to where they are compared, one along a route and the other by the other side's steps, if there are
        any; the confidence is the lesser of both. Raises `LowConfidenceError`.
        """
        features, confidence = await self._inference.translate_judged(one.features, route.steps, one.norm)
        others, of_others = await self._inference.translate_judged(other.features, route.target_steps, other.norm)
        if route.target_steps:
            is_told = self._inference.is_told([*route.steps, *route.target_steps])
            both = [told for told in (confidence, of_others) if told is not None]
            confidence = np.min(both, axis=0) if is_told else None
            confidence = _of_photos(confidence, other)
        return features, others, judge(_of_photos(confidence, one), self._trust, asked)

    async def comparable(
        self,
        native: NativeFeatures,
        target: Space,
        asked: TrustPolicy | None = None,
        *,
        fmr: float | None = None,
        draw: Draw | None = None,
    ) -> RoutedFeatures:
        """Bring features to where they can be compared with those of `target`: there, or in a common space; by a way for which
        a threshold was measured at `fmr` for pictures like them, where there is one. Of a modality for which there is a
        sampler or a translator of its own, by that.

        Raises `SpaceMismatchError` where no way leads together, `LowConfidenceError`, and as `across`.
        """
        step = self.step_across(native, target, fmr, draw)
        if step is not None:
            return await self.across(native, step, draw)
        refuse_draw(draw)
        try:
            route = self._inference.catalog.comparison(native.space, target, fmr=fmr, modalities=native.modalities)
        except NoRouteError:
            raise _mismatch(native.space, target, "no translator leads there, and they have no common space") from None
        return await self.along(native, route, asked)

    def _states_more(
        self, native: NativeFeatures, target: Space, step: RouteStep, fmr: float | None, *, is_either_way: bool
    ) -> bool:
        """Whether pictures of this modality have a threshold at a rate the way of photos, and none by a bundle of their own: a
        bundle that is added takes no decision away.
        """
        catalog = self._inference.catalog
        (modality,) = native.modalities
        if fmr is None or catalog.across.states(step, modality, fmr):
            return False
        way = catalog.comparison_either_way if is_either_way else catalog.comparison
        try:
            route = way(native.space, target, fmr=fmr, modalities=native.modalities)
        except NoRouteError:
            return False
        return catalog.thresholds.between(*route.sides, modality).point_at(fmr) is not None

    def step_across(
        self,
        native: NativeFeatures,
        target: Space,
        fmr: float | None,
        draw: Draw | None,
        *,
        is_either_way: bool = False,
    ) -> RouteStep | None:
        """The bundle that is for features of this modality, None where there is none, or photos' way states more, into the target
        or where `is_either_way` from there.

        Raises `InvalidInputError` where only some of them are of it, or samples are asked for and photos' way states more.
        """
        catalog = self._inference.catalog.across
        steps = {catalog.step(native.space, target, modality, fmr=fmr): modality for modality in native.modalities}
        if len(steps) > 1:
            named = next(modality for step, modality in steps.items() if step)
            raise InvalidInputError(
                f"pictures of the modality {named} go by a way of their own; ask about each modality by itself"
            )
        (step,) = steps
        if step is None or not self._states_more(native, target, step, fmr, is_either_way=is_either_way):
            return step
        if draw is not None and draw.is_asked and catalog.sampling(step.bundle) is not None:
            raise InvalidInputError(
                f"for samples of {step.bundle} no threshold was measured at the rate {fmr:g}, and what has one draws no samples; "
                "leave out either fmr, or samples and seed"
            )
        return None

    async def across(self, native: NativeFeatures, step: RouteStep, draw: Draw | None = None) -> RoutedFeatures:
        """Bring features of a weak modality to photos', by a sampler as several each.

        Raises `InvalidInputError` for more samples than may be, or for any where nothing is sampled; `BatchTooLargeError`.
        """
        route = Route(native.space, step.target, (step,))
        sampling = self._inference.catalog.across.sampling(step.bundle)
        if sampling is None:
            refuse_draw(draw)
            features = await self._inference.translate(native.features, route.steps)
            return RoutedFeatures(native, features, route, Trusted())
        drawn = self._limits.drawn(sampling, draw or Draw(), *native.features.shape)
        noise_MZ = draw_noise(drawn.num_samples, sampling.num_noise, drawn.seed)
        features = await self._inference.sample(native.features, step, noise_MZ)
        return RoutedFeatures(native, features, route, Trusted(), drawn)

    async def into(self, native: NativeFeatures, target: Space) -> RoutedFeatures:
        """Bring features into `target`. Raises `SpaceMismatchError` where no route leads there, `LowConfidenceError`."""
        try:
            route = self._inference.catalog.route(native.space, target)
        except NoRouteError:
            raise _mismatch(native.space, target, "no translator leads there") from None
        return await self.along(native, route)

    async def into_generation(self, native: NativeFeatures, generation: Generation) -> Translation | None:
        """What features are in a generation of a gallery: by its own route, or the best there is; None where none leads there.

        Confidence is kept, and nothing refused for it: that is for the active generation.
        """
        catalog = self._inference.catalog
        try:
            pins = generation.routes.get(native.space.fingerprint)
            route = catalog.pinned(native.space, pins) if pins else catalog.route(native.space, generation.space)
        except NoRouteError:
            return None
        blocking = self._inference.blocking(route.steps)
        return await asyncio.to_thread(blocking, native.features, native.norm)

    async def _encode(self, probe: Probe, space: Space) -> tuple[FloatArray, FloatArray]:
        """One row of each; encoders that are served normalise what they put out."""
        if probe.feature is not None:
            return _checked_together([probe.feature], space)
        assert probe.picture is not None
        feature = await self._inference.encode(Picture(probe.picture, probe.landmarks), space)
        return feature[None], np.full(1, np.nan, dtype=np.float32)


def refuse_draw(draw: Draw | None) -> None:
    """Raises `InvalidInputError` where a request says how to sample, and nothing is sampled."""
    if draw is not None and draw.is_asked:
        raise InvalidInputError(
            "samples and seed have no effect: no sampler is loaded for probes like this; see /routes"
        )


def _of_photos(confidence: FloatArray | None, native: NativeFeatures) -> FloatArray | None:
    """Nothing, NaN, of pictures of another modality."""
    return None if confidence is None else np.where(native.is_photo, confidence, np.float32(np.nan))


def _mismatch(source: Space, target: Space, reason: str) -> SpaceMismatchError:
    return SpaceMismatchError(
        f"features of the space {source.name} ({source.fingerprint}) cannot be compared with those of "
        f"{target.name} ({target.fingerprint}): {reason}"
    )


async def off_loop(
    work: Callable[[Any, Space], tuple[FloatArray, FloatArray]], features: Any, space: Space
) -> tuple[FloatArray, FloatArray]:
    """`work(features, space)`, on a thread where there are many features."""
    if len(features) < OFF_LOOP_ROWS:
        return work(features, space)
    return await asyncio.to_thread(work, features, space)


def _checked_together(features: Sequence[npt.NDArray[Any]], space: Space) -> tuple[FloatArray, FloatArray]:
    return checked_features(stacked(features, space), space)


def stacked(features: Sequence[npt.NDArray[Any]], space: Space) -> npt.NDArray[Any]:
    """Vectors (D,) as rows (n, D). Raises `DimensionMismatchError` where one has another length."""
    for row, feature in enumerate(features):
        if feature.shape != (space.dimension,):
            raise DimensionMismatchError(
                f"vector {row} has {feature.shape[0]} numbers; the space {space.name} has {space.dimension}"
            )
    return np.stack(features)


def checked_features(raw_ND: npt.NDArray[Any], space: Space) -> tuple[FloatArray, FloatArray]:
    """Rows (n, D) of length one, and the norms (n,) that they had, NaN where that was one.

    Raises `DimensionMismatchError`, `NonFiniteVectorError`, `ZeroNormVectorError`.
    """
    if raw_ND.ndim != 2 or raw_ND.shape[1] != space.dimension:
        raise DimensionMismatchError(
            f"vectors must come as rows of {space.dimension} numbers, as the space {space.name} has"
        )
    try:
        # A wider float that overflows becomes infinite, which is refused; numpy need not warn as well.
        with np.errstate(over="ignore"):
            return unit_features_and_norms(raw_ND, what="vector")
    except NonFiniteError as failure:
        raise NonFiniteVectorError(str(failure)) from None
    except ZeroNormError as failure:
        raise ZeroNormVectorError(str(failure)) from None
