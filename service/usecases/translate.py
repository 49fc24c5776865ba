"""Translate features from one space into another. Shapes: n rows, S source and T target dimension."""

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from models.features import FloatArray
from service.entities import Route
from service.errors import NoRouteError
from service.inference.inference import Inference
from service.usecases.probes import checked_features, off_loop


@dataclass(frozen=True, slots=True)
class Translated:
    """Unit features (n, T) and the route they took."""

    features: FloatArray
    route: Route


class Translate:
    """The verb."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def find_route(self, source: str, target: str) -> Route:
        """The route between two spaces given by name or fingerprint. Raises `NoRouteError`."""
        catalog = self._inference.catalog
        source_space, target_space = catalog.find_space(source), catalog.find_space(target)
        if source_space is None or target_space is None:
            which = "source" if source_space is None else "target"
            raise NoRouteError(f"the {which} space is not known here; see /spaces")
        return catalog.route(source_space, target_space)

    async def __call__(self, raw_NS: npt.NDArray[Any], *, source: str, target: str) -> Translated:
        """Translate rows (n, S). Raises `NoRouteError`, and what is wrong with a vector."""
        route = self.find_route(source, target)
        features = await off_loop(checked_features, raw_NS, route.source)
        return Translated(await self._inference.translate(features, route.steps), route)
