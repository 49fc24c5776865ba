"""What the loaded bundles make possible: spaces, the routes between them, and the thresholds measured on each."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from typing import Any

from models.bundle import COMMON_SPACE_METHODS, Bundle
from models.calibration import PHOTO
from models.operating_point import OperatingPoint
from models.space import Space
from service.entities import Route, RouteStep
from service.errors import NoRouteError, SpaceMismatchError
from service.inference.across import Across
from service.inference.thresholds import Thresholds, shared

MAX_HOPS = 3


class Catalog:
    """Spaces by name and fingerprint, and the best route between any two. Immutable once built."""

    def __init__(self, translators: Iterable[Bundle], encoders: Iterable[Bundle]) -> None:
        """`translators`, samplers among them; those for pictures of one modality lead nowhere by themselves."""
        everything = {bundle.manifest.name: bundle for bundle in translators}
        self._translators = {name: one for name, one in everything.items() if not one.manifest.modality}
        self._encoders: dict[str, Bundle] = {}
        encoders = tuple(encoders)
        self.thresholds = Thresholds((*everything.values(), *encoders))
        self.across = Across((one for one in everything.values() if one.manifest.modality), self.thresholds)
        for bundle in encoders:
            self._encoders.setdefault(bundle.manifest.target.fingerprint, bundle)
        self._spaces: dict[str, Space] = {}
        self._aliases: set[Space] = set()
        """Every name under which a bundle knows a space; the name is no part of the fingerprint, so one may have several."""
        for bundle in (*everything.values(), *self._encoders.values()):
            for space in (bundle.manifest.source, bundle.manifest.target):
                if space is not None:
                    self._spaces.setdefault(space.fingerprint, space)
                    self._aliases.add(space)
        self._steps = self._best_steps()

    @property
    def spaces(self) -> tuple[Space, ...]:
        """All known spaces, by name."""
        return tuple(sorted(self._spaces.values(), key=lambda space: (space.name, space.fingerprint)))

    def encoder_of(self, space: Space) -> str | None:
        """The name of the encoder bundle that puts out features of `space`."""
        bundle = self._encoders.get(space.fingerprint)
        return bundle.manifest.name if bundle else None

    def find_space(self, reference: str, also: Iterable[Space] = ()) -> Space | None:
        """The space of that name or fingerprint among the known ones and `also`; None where there is none.

        Raises `SpaceMismatchError` for a name that two different spaces carry.
        """
        also = tuple(also)
        known = self._spaces | {space.fingerprint: space for space in also}
        if reference in known:
            return known[reference]
        named = {space.fingerprint: space for space in (*self._aliases, *also) if space.name == reference}
        if len(named) > 1:
            raise SpaceMismatchError(
                f"{len(named)} different spaces carry this name (fingerprints {', '.join(sorted(named))}); give the fingerprint"
            )
        return next(iter(named.values()), None)

    def route(self, source: Space, target: Space) -> Route:
        """The route with the fewest steps, the better measured of equals. Raises `NoRouteError`."""
        if source.fingerprint == target.fingerprint:
            return Route(source, target)
        best: dict[str, tuple[float, tuple[RouteStep, ...]]] = {source.fingerprint: (1.0, ())}
        reached = dict(best)
        for _ in range(MAX_HOPS):
            found: dict[str, tuple[float, tuple[RouteStep, ...]]] = {}
            for here, (merit, steps) in reached.items():
                for step, quality in self._steps.get(here, {}).values():
                    there = step.target.fingerprint
                    if there not in best and (there not in found or merit * quality > found[there][0]):
                        found[there] = (merit * quality, (*steps, step))
            if target.fingerprint in found:
                return Route(source, target, found[target.fingerprint][1])
            best |= found
            reached = found
        raise NoRouteError(f"no route leads from this space to {target.name}; see /routes for those there are")

    def along(self, source: Space, bundles: Sequence[str]) -> Route:
        """The route from a space by translators of these names, in order. Raises `NoRouteError` where they are not all loaded, or
        one does not begin where the one before ends.
        """
        steps: list[RouteStep] = []
        here, seen = source, {source.fingerprint}
        for name in bundles:
            if name not in self._translators:
                raise NoRouteError("a translator of the route is not loaded; see /bundles")
            manifest = self._translators[name].manifest
            if manifest.source is None or manifest.source.fingerprint != here.fingerprint:
                raise NoRouteError(f"translator {name} does not begin in the space {here.name}; see /bundles")
            steps.append(RouteStep(name, manifest.source, manifest.target))
            here = manifest.target
            if here.fingerprint in seen:
                raise NoRouteError(f"the route comes to the space {here.name} twice")
            seen.add(here.fingerprint)
        return Route(source, here, tuple(steps))

    def digest_of(self, bundle: str) -> str:
        """Of a translator. Raises `NoRouteError` where it is not loaded."""
        if bundle not in self._translators:
            raise NoRouteError("a translator of the route is not loaded; see /bundles")
        return self._translators[bundle].manifest.digest

    def pinned(self, source: Space, pins: Sequence[str]) -> Route:
        """The route by just these translators, each named as `pin` does.

        Raises `NoRouteError` where one is not loaded, or is another one.
        """
        route = self.along(source, [one.partition("@")[0] for one in pins])
        for name, one in zip(route.bundles, pins, strict=True):
            if pin(name, self.digest_of(name)) != one:
                raise NoRouteError(
                    f"translator {name} is another one than when this began; put the former back, or cancel the job"
                )
        return route

    def comparison(
        self, source: Space, target: Space, *, fmr: float | None = None, modalities: Set[str] = frozenset({PHOTO})
    ) -> Route:
        """The best way to compare features of `source` with the native ones of `target`: translators, or a common space.

        One step is better than several. Of a translator and a common space the one that misses fewer genuine pairs at
        the lowest false-match rate that both have measured; the translator where that is not known. Of those for which a
        threshold was measured at `fmr` for pictures of these modalities, where there are any. Raises `NoRouteError`.
        """
        return self._best((source, target), fmr=fmr, modalities=modalities)

    def comparison_either_way(
        self, a: Space, b: Space, *, fmr: float | None = None, modalities: Set[str] = frozenset({PHOTO})
    ) -> Route:
        """The best way to compare a feature of each, whichever is translated. Raises `NoRouteError`.

        Of those for which a threshold was measured at the false-match rate `fmr`, as in `comparison`.
        """
        return self._best((a, b), (b, a), fmr=fmr, modalities=modalities)

    def meetings(self, a: Space, b: Space) -> list[Route]:
        """The ways to compare features of two spaces in a common one, which may be that of `a` itself.

        First what misses the fewest genuine pairs at the lowest false-match rate that all measured have in common, and
        of those that are equal or not measured what has the highest mean cosine.
        """
        if a.fingerprint == b.fingerprint:
            return []
        for step in self.common_steps(b):
            if step.target.fingerprint == a.fingerprint:
                return [Route(a, b, (), step)]
        ways_a, ways_b = self._steps.get(a.fingerprint, {}), self._steps.get(b.fingerprint, {})
        common = sorted((ways_a.keys() & ways_b.keys()) - {a.fingerprint, b.fingerprint})
        routes = [
            Route(a, b, (ways_a[fingerprint][0],), ways_b[fingerprint][0])
            for fingerprint in common
            if self._is_common(ways_a[fingerprint][0], ways_b[fingerprint][0])
        ]
        missed = [self._missed(route) for route in routes]
        rate = min(shared([one for one in missed if one]), default=(math.nan, ""))
        merits = [(one.get(rate, math.inf), -self.quality(route)) for one, route in zip(missed, routes, strict=True)]
        return [routes[place] for place in sorted(range(len(routes)), key=merits.__getitem__)]

    def common_steps(self, space: Space) -> list[RouteStep]:
        """The projections of `space` into common spaces."""
        steps = (step for step, _ in self._steps.get(space.fingerprint, {}).values())
        return [step for step in steps if self._translators[step.bundle].manifest.method in COMMON_SPACE_METHODS]

    def steps_into(self, common: Space) -> list[RouteStep]:
        """The projections into a common space, one for each space that has any."""
        found = [step for space in self.spaces for step in self.common_steps(space)]
        return [step for step in found if step.target.fingerprint == common.fingerprint]

    def routes(self) -> list[Route]:
        """Every way to compare two different known spaces: by translators, and in common spaces."""
        found = []
        for source in self.spaces:
            for target in self.spaces:
                if source.fingerprint != target.fingerprint:
                    with suppress(NoRouteError):
                        found.append(self.route(source, target))
                    found += self.meetings(source, target)
        return found

    def routes_across(self) -> list[tuple[Route, str]]:
        """The ways of single modalities, each with its modality."""
        return [(Route(step.source, step.target, (step,)), modality) for modality, step in self.across.steps()]

    def quality(self, route: Route) -> float:
        """The product of the steps' measured mean cosines with native features, in [0, 1]; in a common space the cosine there,
        the mean of what both sides measured.
        """
        if route.target_step:
            ways = ((route.target_step, route.source), *((step, route.target) for step in route.steps))
            measured = [_quality(self._translators[step.bundle].manifest.metrics, other.name) for step, other in ways]
            return sum(measured) / len(measured)
        merit = 1.0
        for step in route.steps:
            merit *= _quality(self._translators[step.bundle].manifest.metrics)
        return merit

    def operating_points(self, route: Route, modality: str = PHOTO) -> tuple[OperatingPoint, ...]:
        """The thresholds measured for comparisons of native features at the end of `route`, at the usual rates."""
        return self.thresholds.between(*route.sides, modality).points

    def _best(self, *directions: tuple[Space, Space], fmr: float | None, modalities: Set[str]) -> Route:
        translated = []
        for source, target in directions:
            with suppress(NoRouteError):
                translated.append(self.route(source, target))
        meetings = self.meetings(*directions[0])
        if fmr is not None:
            stating = [
                route
                for route in (*translated, *meetings)
                if all(self.thresholds.between(*route.sides, one).point_at(fmr) for one in modalities)
            ]
            if stating:
                translated = [route for route in translated if route in stating]
                meetings = [route for route in meetings if route in stating]
        if not translated and not meetings:
            raise NoRouteError(f"no route leads to {directions[0][1].name}; see /routes for those there are")
        if not translated:
            return meetings[0]
        best = min(translated, key=lambda route: (len(route.steps), -self.quality(route)))
        if meetings and len(best.steps) > 1:
            return meetings[0]
        return next((meeting for meeting in meetings if self._misses_fewer(meeting, best)), best)

    def _is_common(self, *steps: RouteStep) -> bool:
        return all(self._translators[step.bundle].manifest.method in COMMON_SPACE_METHODS for step in steps)

    def _misses_fewer(self, one: Route, other: Route) -> bool:
        missed, missed_by_other = self._missed(one), self._missed(other)
        rate = min(shared([missed, missed_by_other]), default=None)
        return rate is not None and missed[rate] < missed_by_other[rate]

    def _missed(self, route: Route) -> dict[tuple[float, str], float]:
        """The share of genuine pairs that are missed, by the false-match rate and how it was counted.

        Rates that were counted in other ways say nothing about which route is better.
        """
        counted = "/".join(sorted({self._translators[name].calibration.counted for name in route.bundles}))
        return {(point.fmr, counted): point.fnmr for point in self.operating_points(route)}

    def _best_steps(self) -> Mapping[str, Mapping[str, tuple[RouteStep, float]]]:
        steps: dict[str, dict[str, tuple[RouteStep, float]]] = defaultdict(dict)
        for name, bundle in sorted(self._translators.items()):
            source, target = bundle.manifest.source, bundle.manifest.target
            assert source is not None
            quality = _quality(bundle.manifest.metrics)
            there = steps[source.fingerprint].get(target.fingerprint)
            # Of a bundle and what was calibrated of it, the latter: it states what its operator measured.
            is_better = there is None or (quality, bundle.manifest.is_calibrated) > (
                there[1],
                self._translators[there[0].bundle].manifest.is_calibrated,
            )
            if is_better:
                steps[source.fingerprint][target.fingerprint] = (RouteStep(name, source, target), quality)
        return steps


def pin(name: str, digest: str) -> str:
    """A translator by its name and what it is.

    >>> pin("a-to-b", "0123456789abcdef0123")
    'a-to-b@0123456789abcdef'
    """
    return f"{name}@{digest[:16]}"


def _quality(metrics: Mapping[str, Any], against: str = "") -> float:
    """Mean cosine of translated and native features on pictures kept apart; a half where it is not told.

    Of a projection that was measured with several other spaces, with that named `against`, or with the hardest.

    Not rank-1: that depends on how many people were in each bundle's own gallery, and not every bundle has it.
    """
    for part in ("test", "validation"):
        measured = _at(metrics, "against", part, against) or _at(metrics, part)
        figure = _at(measured, "rows", "translated probes", "mean_cosine")
        if isinstance(figure, int | float):
            return min(1.0, max(0.0, float(figure)))
    return 0.5


def _at(document: Any, *names: str) -> Any:
    """What stands there in nested objects; None where nothing does, as a stranger's metrics may be anything."""
    for name in names:
        document = document.get(name) if isinstance(document, dict) else None
    return document
