"""Ways from pictures of one modality to photos: samplers and translators that are for sketches, or caricatures, alone."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from models.bundle import Bundle, Sampling
from models.space import Space
from service.entities import RouteStep
from service.inference.thresholds import Thresholds

_Way = tuple[str, str, str]
"""Fingerprints of the weak space and of the strong one, and a modality."""


class Across:
    """The bundles of each way, the best first. Immutable once built."""

    def __init__(self, bundles: Iterable[Bundle], thresholds: Thresholds) -> None:
        """The best is that which finds more on people kept apart, as it says itself: test people before validation people; of
        equals that which its operator calibrated.
        """
        self._thresholds = thresholds
        self._sampling: dict[str, Sampling] = {}
        found: dict[_Way, list[Bundle]] = defaultdict(list)
        for bundle in bundles:
            manifest = bundle.manifest
            assert manifest.source is not None
            assert manifest.modality is not None
            found[manifest.source.fingerprint, manifest.target.fingerprint, manifest.modality].append(bundle)
            if manifest.sampling:
                self._sampling[manifest.name] = manifest.sampling
        self._steps: dict[_Way, list[RouteStep]] = {
            way: [_step(bundle) for bundle in sorted(of_way, key=_merit)] for way, of_way in found.items()
        }
        self.modalities = frozenset(modality for _, _, modality in self._steps)

    def step(self, source: Space, target: Space, modality: str, *, fmr: float | None = None) -> RouteStep | None:
        """The way of pictures of that modality whose features are of `source`, to photos' in `target`; None where none is. Of
        several the best that states a threshold at `fmr`, where one does.
        """
        steps = self._steps.get((source.fingerprint, target.fingerprint, modality), [])
        stating = [one for one in steps if fmr is not None and self.states(one, modality, fmr)]
        return next(iter(stating or steps), None)

    def states(self, step: RouteStep, modality: str, fmr: float) -> bool:
        """Whether a way's thresholds reach down to a false-match rate."""
        return self._thresholds.of_bundle(step.bundle, modality).point_at(fmr) is not None

    def steps(self) -> list[tuple[str, RouteStep]]:
        """The best of each way, with its modality."""
        return [(modality, steps[0]) for (_, _, modality), steps in sorted(self._steps.items())]

    def sampling(self, bundle: str) -> Sampling | None:
        """How a sampler is asked; None for a translator."""
        return self._sampling.get(bundle)


def _step(bundle: Bundle) -> RouteStep:
    manifest = bundle.manifest
    assert manifest.source is not None
    return RouteStep(manifest.name, manifest.source, manifest.target)


def _merit(bundle: Bundle) -> tuple[int, float, bool, str]:
    """The less the better."""
    manifest = bundle.manifest
    parts = [_found(manifest.metrics.get(part)) for part in ("test", "validation")]
    place = next((place for place, figure in enumerate(parts) if figure is not None), len(parts))
    return place, -(parts[place] or 0.0) if place < len(parts) else 0.0, not manifest.is_calibrated, manifest.name


def _found(measured: Any) -> float | None:
    """Rank-5 of one part of the split; None where it was not measured."""
    figures = measured.get("figures") if isinstance(measured, dict) else None
    rank5 = figures.get("rank5") if isinstance(figures, dict) else None
    return float(rank5) if isinstance(rank5, int | float) else None
