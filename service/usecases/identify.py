"""Identify: which subjects of a gallery is a probe most alike to? Shapes: n probes."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.space import Space
from service.entities import Candidate, Probe, Route
from service.galleries.port import GalleryStore
from service.inference.inference import Inference
from service.usecases.probes import NativeFeatures, Probes


@dataclass(frozen=True, slots=True)
class Identified:
    """Ranked candidates for each probe, all from one generation of the gallery."""

    gallery: str
    generation: int
    space: Space
    route: Route
    candidates: tuple[tuple[Candidate, ...], ...]


class Identify:
    """The verb."""

    def __init__(self, inference: Inference, probes: Probes, galleries: GalleryStore) -> None:
        self._inference = inference
        self._probes = probes
        self._galleries = galleries

    async def __call__(self, gallery: str, probes: Sequence[Probe], *, top_k: int) -> Identified:
        """Search one gallery with probes of one space; they are translated where a route leads to the gallery's.

        Raises `NotFoundError`, `SpaceMismatchError`, and what is wrong with a probe.
        """
        found = await asyncio.to_thread(self._galleries.get, gallery)
        return await self._search(gallery, found.space, await self._probes.read(probes, also=[found.space]), top_k)

    async def _search(self, gallery: str, space: Space, native: NativeFeatures, top_k: int) -> Identified:
        routed = await self._probes.comparable(native, space)
        if step := routed.route.target_step:
            projections = self._inference.projections(step.target)
            await asyncio.to_thread(self._galleries.ensure_index, gallery, step.target, projections)
        result = await asyncio.to_thread(self._galleries.search, gallery, routed.features, routed.route.space, top_k)
        return Identified(gallery, result.generation, space, routed.route, result.candidates)
