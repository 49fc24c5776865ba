"""What the loaded bundles have measured of every comparison: thresholds at false-match rates, and what scores mean."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from models.bundle import COMMON_SPACE_METHODS, Bundle, chain_of
from models.calibration import PHOTO, Calibration, ChainCalibration, ScoreScale, comparison_of, strictest
from models.operating_point import OperatingPoint, point_at
from service.entities import Side

RateT = TypeVar("RateT")


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one comparison; without points and scale where nothing was measured, without scale where an old bundle has none."""

    points: tuple[OperatingPoint, ...] = ()
    scale: ScoreScale | None = None

    def point_at(self, fmr: float) -> OperatingPoint | None:
        """The threshold at which `fmr` is kept; without a scale that of exactly this rate, if there is one."""
        return self.scale.point_at(fmr) if self.scale else point_at(self.points, fmr)

    @property
    def lowest_fmr(self) -> float | None:
        """The lowest rate for which there is a threshold."""
        rates = [point.fmr for point in self.points] + ([self.scale.lowest_fmr] if self.scale else [])
        return min(rates, default=None)


NOTHING = Measured()


class Thresholds:
    """Immutable once built."""

    def __init__(self, bundles: Iterable[Bundle]) -> None:
        self._bundles = sorted(bundles, key=lambda bundle: bundle.manifest.name)
        self._translators = {
            bundle.manifest.name: bundle
            for bundle in self._bundles
            if bundle.manifest.kind in ("translator", "sampler")
        }
        compared = set[str]().union(*(bundle.calibration.compared for bundle in self._bundles))
        self.modalities = {PHOTO}.union(name.partition("/")[2] for name in compared) - {""}
        """Those that some bundle has measured."""
        self._known: dict[tuple[Side, Side, str], Measured] = {}

    def between(self, one: Side, other: Side, modality: str = PHOTO) -> Measured:
        """What was measured where a picture of `modality` is compared with a photo, whichever side is which.

        Nothing for sides that went through different translators into a space that is not common; nor with features that
        were kept in a common space: they may be of any encoder, and nothing says which. Of several translators one after
        another what was measured of exactly these.
        """
        if modality not in self.modalities:
            return NOTHING
        key = (one, other, modality)
        if key not in self._known:
            self._known[key] = self._between(*key)
        return self._known[key]

    def of_bundle(self, name: str, modality: str) -> Measured:
        """What a translator or sampler has measured of pictures of a modality that it brings to native ones."""
        return self._of([name], comparison_of("translated", modality))

    def _between(self, one: Side, other: Side, modality: str) -> Measured:
        if not one.bundles and not other.bundles:
            return self._native(one.space, modality) if one.space == other.space else NOTHING
        if not all(name in self._translators for name in (*one.bundles, *other.bundles)):
            # Templates outlive bundles.
            return NOTHING
        if one.bundles and other.bundles:
            if self._chain(one.bundles) != self._chain(other.bundles):
                return self._in_common(one, other, modality)
            found = (
                self._of(names, comparison_of("both-translated", modality)) for names in (one.bundles, other.bundles)
            )
            return next((measured for measured in found if measured.points or measured.scale), NOTHING)
        bundles = one.bundles or other.bundles
        if self._is_common(bundles[-1]):
            return NOTHING
        return self._of(bundles, comparison_of("translated", modality))

    def _of(self, bundles: Sequence[str], comparison: str) -> Measured:
        *before, last = (self._translators[name] for name in bundles)
        found: Calibration | ChainCalibration | None = last.calibration
        if before:
            found = last.calibration.after.get(self._chain(bundles[:-1]))
        if found is None:
            return NOTHING
        return Measured(found.points.get(comparison, ()), found.scales.get(comparison))

    def _chain(self, bundles: Sequence[str]) -> str:
        """Bundles of the same models are the same translators, whatever they are called."""
        return chain_of(self._translators[name].manifest for name in bundles)

    def _native(self, fingerprint: str, modality: str) -> Measured:
        """Measured on the most pairs, of people if there are any; of equals the first by the bundle's name."""
        found = [
            (bundle.calibration.counted == "people", measured)
            for bundle in self._bundles
            for measured in _native_in(bundle, fingerprint, modality)
        ]
        return max(found, key=lambda one: (one[0], one[1].points[0].num_impostors), default=(True, NOTHING))[1]

    def _in_common(self, one: Side, other: Side, modality: str) -> Measured:
        """The higher threshold at each rate of the two projections', whichever side is named first."""
        if len(one.bundles) != 1 or len(other.bundles) != 1 or not self._is_common(*one.bundles, *other.bundles):
            return NOTHING
        sides = [
            self._against(one.bundles[0], other.space, modality),
            self._against(other.bundles[0], one.space, modality),
        ]
        scales = [side.scale for side in sides if side.scale]
        by_rate = [{point.fmr: point for point in side.points} for side in sides if side.points]
        points = tuple(
            max((side[rate] for side in by_rate), key=lambda p: (p.threshold, p.fnmr))
            for rate in sorted(shared(by_rate), reverse=True)
        )
        return Measured(points, strictest(scales) if scales and len(scales) == len(by_rate) else None)

    def _against(self, name: str, fingerprint: str, modality: str) -> Measured:
        calibration = self._translators[name].calibration
        points = calibration.against.get(comparison_of(fingerprint, modality))
        if points is None:
            return self._of([name], comparison_of("translated", modality))
        return Measured(points, calibration.scales_against.get(comparison_of(fingerprint, modality)))

    def _is_common(self, *names: str) -> bool:
        return all(self._translators[name].manifest.method in COMMON_SPACE_METHODS for name in names)


def shared(by_rate: Sequence[Mapping[RateT, object]]) -> set[RateT]:
    """The false-match rates that are stated in all of them."""
    return set(by_rate[0]).intersection(*by_rate[1:]) if by_rate else set()


def _native_in(bundle: Bundle, fingerprint: str, modality: str) -> list[Measured]:
    """What the bundle measured on native comparisons in that space."""
    manifest, calibration = bundle.manifest, bundle.calibration
    sides = {"native-target": manifest.target, "native-source": manifest.source}
    found = []
    for kind, space in sides.items():
        points = calibration.points.get(comparison_of(kind, modality), ())
        if space is not None and space.fingerprint == fingerprint and points:
            found.append(Measured(points, calibration.scales.get(comparison_of(kind, modality))))
    return found
