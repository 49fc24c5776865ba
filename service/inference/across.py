"""Ways from pictures of one modality to photos: samplers and translators that are for sketches, or caricatures, alone."""

from collections import defaultdict
from collections.abc import Iterable

from models.bundle import Bundle, Sampling
from models.space import Space
from service.entities import RouteStep


class Across:
    """The best bundle for each modality, from each space to each. Immutable once built."""

    def __init__(self, bundles: Iterable[Bundle]) -> None:
        self._best: dict[tuple[str, str, str], RouteStep] = {}
        self._sampling: dict[str, Sampling] = {}
        found: dict[tuple[str, str, str], list[Bundle]] = defaultdict(list)
        for bundle in bundles:
            manifest = bundle.manifest
            assert manifest.source is not None
            assert manifest.modality is not None
            found[manifest.source.fingerprint, manifest.target.fingerprint, manifest.modality].append(bundle)
            if manifest.sampling:
                self._sampling[manifest.name] = manifest.sampling
        for way, of_way in found.items():
            best = min((one.manifest for one in of_way), key=lambda one: (-_rank5(one.metrics), one.name))
            assert best.source is not None
            self._best[way] = RouteStep(best.name, best.source, best.target)
        self.modalities = frozenset(modality for _, _, modality in self._best)

    def step(self, source: Space, target: Space, modality: str) -> RouteStep | None:
        """The way of pictures of that modality whose features are of `source`, to photos' in `target`; None where none is."""
        return self._best.get((source.fingerprint, target.fingerprint, modality))

    def steps(self) -> list[tuple[str, RouteStep]]:
        """All of them, each with its modality."""
        return [(modality, step) for (_, _, modality), step in sorted(self._best.items())]

    def sampling(self, bundle: str) -> Sampling | None:
        """How a sampler is asked; None for a translator."""
        return self._sampling.get(bundle)


def _rank5(metrics: object) -> float:
    """Measured on test people, or else on validation people; 0 where it was not."""
    parts = metrics if isinstance(metrics, dict) else {}
    for part in ("test", "validation"):
        figures = (parts.get(part) or {}).get("figures") or {}
        if isinstance(figures.get("rank5"), int | float):
            return float(figures["rank5"])
    return 0.0
