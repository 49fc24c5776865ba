"""Enrol: put templates into a gallery. Original features are kept; those of another space are translated as well."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from models.space import Space
from service.entities import Gallery, Metadata, NewTemplates, Once, Probe, ProbeRows, Route, Translation
from service.errors import GenerationChangedError, SpaceMismatchError
from service.galleries.port import Enrolment, GalleryStore
from service.observability.stages import stage
from service.usecases.gates import Duplicate, Gates
from service.usecases.probes import NativeFeatures, Probes, RoutedFeatures
from service.usecases.samples import Samples
from service.usecases.trust import Trusted

T = TypeVar("T")
_TRIES = 10
"""While generations come and go."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What became of the new templates, and the route by which they came into the gallery."""

    done: Enrolment
    """Their ids in the order they were sent."""
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
        for _ in range(_TRIES):
            found = await asyncio.to_thread(self._galleries.get, gallery)
            native = await self._probes.read(samples.probes, also=[found.space, *(one.space for one in found.beside)])
            routed = await self._probes.into(native, found.space)
            templates = _templates(samples, routed, found.space, await self._elsewhere(native, found))
            # Where a generation came, or took another's place, in between: once more, for those there are then.
            with suppress(GenerationChangedError, SpaceMismatchError):
                return await self._enrol(found, samples, routed, templates, replaces=replaces, once=once)
        raise GenerationChangedError(f"gallery {gallery} goes from one generation to another all the time; try again")

    async def _enrol(
        self,
        found: Gallery,
        samples: Samples,
        routed: RoutedFeatures,
        templates: NewTemplates,
        *,
        replaces: bool,
        once: Once | None,
    ) -> Enrolled:
        """Raises `GenerationChangedError`, `SpaceMismatchError` where the gallery has other generations by then."""
        async with self._gates.passing(found.name, found.space, samples, routed, replaces=replaces) as duplicates:

            def told(done: Enrolment) -> Enrolled:
                return Enrolled(done, found.generation, routed.route, routed.trusted, tuple(duplicates))

            mapped = once and once.through(told)
            call = asyncio.to_thread(self._galleries.enrol, found.name, templates, replaces=replaces, once=mapped)
            with stage("record"):
                return told(await _ended(call))

    async def _elsewhere(self, native: NativeFeatures, gallery: Gallery) -> dict[str, Translation | None]:
        """What features are in the other generations of a gallery, by the fingerprints of their spaces."""
        made: dict[str, Translation | None] = {}
        for generation in gallery.beside:
            fingerprint = generation.space.fingerprint
            if fingerprint not in (native.space.fingerprint, gallery.space.fingerprint, *made):
                made[fingerprint] = await self._probes.into_generation(native, generation)
        return made


def _templates(
    samples: Samples, routed: RoutedFeatures, space: Space, elsewhere: Mapping[str, Translation | None]
) -> NewTemplates:
    native = routed.native
    return NewTemplates(
        samples.subjects,
        native.features,
        native.space,
        routed.features,
        space,
        routed.route.bundles,
        confidence=routed.trusted.confidence,
        norm=native.norm,
        keys=samples.keys,
        metadata=samples.metadata,
        provenance=_provenance(samples.probes),
        elsewhere=elsewhere,
    )


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
