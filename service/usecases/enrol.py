"""Enrol: put templates into a gallery. Original features are kept; those of another space are translated as well."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from service.entities import Metadata, NewTemplates, Once, Probe, ProbeRows, Route
from service.galleries.port import Enrolment, GalleryStore
from service.usecases.gates import Duplicate, Gates
from service.usecases.probes import Probes
from service.usecases.samples import Samples
from service.usecases.trust import Trusted

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The ids of the new templates, in the order they were sent, and the route by which they came into the gallery."""

    template_ids: tuple[str, ...]
    num_replaced: int
    generation: int
    route: Route
    trusted: Trusted
    duplicates: tuple[Duplicate, ...] = ()
    """Those whose face is enrolled under another name, where that is looked for and let through."""


class Enrol:
    """The verb."""

    def __init__(self, probes: Probes, galleries: GalleryStore, gates: Gates) -> None:
        self._probes = probes
        self._galleries = galleries
        self._gates = gates

    async def __call__(
        self, gallery: str, samples: Samples, *, replaces: bool = False, once: Once | None = None
    ) -> Enrolled:
        """Enrol all of `samples` or none; with `replaces`, in place of the templates of the same keys.

        Raises `NotFoundError`, `SpaceMismatchError`, `LowConfidenceError`, `AlreadyExistsError`, what the gates raise, and what
        is wrong with a sample.
        """
        found = await asyncio.to_thread(self._galleries.get, gallery)
        native = await self._probes.read(samples.probes, also=[found.space])
        routed = await self._probes.into(native, found.space)
        route = routed.route
        templates = NewTemplates(
            samples.subjects,
            native.features,
            native.space,
            routed.features,
            found.space,
            route.bundles,
            confidence=routed.trusted.confidence,
            norm=native.norm,
            keys=samples.keys,
            metadata=samples.metadata,
            provenance=_provenance(samples.probes),
        )

        async with self._gates.passing(gallery, found.space, samples, routed, replaces=replaces) as duplicates:

            def told(done: Enrolment) -> Enrolled:
                ids, num_replaced = done.template_ids, done.num_replaced
                return Enrolled(ids, num_replaced, found.generation, route, routed.trusted, tuple(duplicates))

            mapped = once and once.through(told)
            call = asyncio.to_thread(self._galleries.enrol, gallery, templates, replaces=replaces, once=mapped)
            return told(await _ended(call))


async def _ended(call: Coroutine[Any, Any, T]) -> T:
    """What a call gives; it ends before this does, even where this is cancelled."""
    task = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        # Looked at, so that asyncio does not say in the log what nobody waits for any more.
        task.cancelled() or task.exception()
        raise


def _provenance(probes: Sequence[Probe] | ProbeRows) -> Sequence[Metadata]:
    """How each came: as a feature, or as a picture that an encoder here made into one."""
    if isinstance(probes, ProbeRows):
        return [{"sent_as": "feature"}] * len(probes)
    sent = {"feature": {"sent_as": "feature"}, "picture": {"sent_as": "picture"}}
    return [sent["feature" if probe.picture is None else "picture"] for probe in probes]
