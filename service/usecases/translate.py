"""Translate features from one space into another. Shapes: n rows, S source and T target dimension."""

from typing import Any

import numpy.typing as npt

from service.entities import Route
from service.errors import NoRouteError
from service.inference.inference import Inference
from service.usecases.probes import NativeFeatures, Probes, RoutedFeatures, checked_features, off_loop
from service.usecases.trust import TrustPolicy


class Translate:
    """The verb."""

    def __init__(self, inference: Inference, probes: Probes) -> None:
        self._inference = inference
        self._probes = probes

    def find_route(self, source: str, target: str) -> Route:
        """The route between two spaces given by name or fingerprint. Raises `NoRouteError`."""
        catalog = self._inference.catalog
        source_space, target_space = catalog.find_space(source), catalog.find_space(target)
        if source_space is None or target_space is None:
            which = "source" if source_space is None else "target"
            raise NoRouteError(f"the {which} space is not known here; see /spaces")
        return catalog.route(source_space, target_space)

    async def __call__(
        self,
        raw_NS: npt.NDArray[Any],
        *,
        source: str,
        target: str,
        trust: TrustPolicy | None = None,
        is_judged: bool = True,
    ) -> RoutedFeatures:
        """Translate rows (n, S); confidence is not looked at where nobody asks (`is_judged` and `trust`) and nothing is refused.

        Raises `NoRouteError`, `LowConfidenceError`, and what is wrong with a vector.
        """
        route = self.find_route(source, target)
        features, norm = await off_loop(checked_features, raw_NS, route.source)
        native = await self._probes.watched(NativeFeatures(route.source, features, norm=norm))
        return await self._probes.along(native, route, trust, is_judged=is_judged)
