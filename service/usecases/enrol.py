"""Enrol: put templates into a gallery. Original features are kept; those of another space are translated as well."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from service.entities import NewTemplate, Probe, Route
from service.galleries.port import GalleryStore
from service.usecases.probes import Probes
from service.usecases.trust import Trusted


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The ids of the new templates, in the order they were sent, and the route by which they came into the gallery."""

    template_ids: tuple[str, ...]
    generation: int
    route: Route
    trusted: Trusted


class Enrol:
    """The verb."""

    def __init__(self, probes: Probes, galleries: GalleryStore) -> None:
        self._probes = probes
        self._galleries = galleries

    async def __call__(self, gallery: str, subjects: Sequence[str], samples: Sequence[Probe]) -> Enrolled:
        """Enrol one sample for each entry of `subjects`, all of one space, all or none.

        Raises `NotFoundError`, `SpaceMismatchError`, `LowConfidenceError`, and what is wrong with a sample.
        """
        found = await asyncio.to_thread(self._galleries.get, gallery)
        native = await self._probes.read(samples, also=[found.space])
        routed = await self._probes.into(native, found.space)
        templates = [
            NewTemplate(subject, original, native.space, feature, found.space, routed.route.bundles)
            for subject, original, feature in zip(subjects, native.features, routed.features, strict=True)
        ]
        ids = await asyncio.to_thread(self._galleries.enrol, gallery, templates)
        return Enrolled(tuple(ids), found.generation, routed.route, routed.trusted)
