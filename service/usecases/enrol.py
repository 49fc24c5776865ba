"""Enrol: put templates into a gallery. Original features are kept; those of another space are translated as well."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.feature_set import FeatureSet
from service.entities import Metadata, NewTemplates, Probe, ProbeRows, Route
from service.errors import InvalidInputError
from service.galleries.port import GalleryStore, Once
from service.usecases.gates import Duplicate, Gates
from service.usecases.probes import Probes
from service.usecases.trust import Trusted


@dataclass(frozen=True, slots=True)
class Samples:
    """What is to be enrolled: one sample of a subject for each, all of one space."""

    subjects: Sequence[str]
    probes: Sequence[Probe] | ProbeRows
    keys: Sequence[str | None] | None = None
    metadata: Sequence[Metadata | None] | None = None


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
        duplicates = tuple(await self._gates(gallery, found.space, samples.subjects, routed))
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

        def told(ids: tuple[str, ...], num_replaced: int) -> Enrolled:
            return Enrolled(ids, num_replaced, found.generation, route, routed.trusted, duplicates)

        mapped = once and once.through(lambda done: told(done.template_ids, done.num_replaced))
        enrolment = await asyncio.to_thread(self._galleries.enrol, gallery, templates, replaces=replaces, once=mapped)
        return told(enrolment.template_ids, enrolment.num_replaced)


def samples_of(feature_set: FeatureSet) -> Samples:
    """What a feature set has to enrol: keys of pictures as keys, labels as metadata. Raises `InvalidInputError`."""
    if not feature_set.has_subjects:
        raise InvalidInputError("the feature set does not say who its pictures are of; fill its column subject")
    if feature_set.is_translated:
        raise InvalidInputError("the feature set was made by a translator; send the features that the encoder made")
    derived = np.flatnonzero(feature_set.picture != feature_set.image)
    if len(derived):
        raise InvalidInputError(
            f"row {derived[0]} is a view or a blend of pictures, made to learn from; send the pictures themselves, as "
            "`facebridge-train select` writes them (a picture that is only called like one must be renamed)"
        )
    rows = ProbeRows(feature_set.space.fingerprint, feature_set.feature, feature_set.norms)
    return Samples(feature_set.subject.tolist(), rows, feature_set.image.tolist(), _metadata(feature_set))


def _metadata(feature_set: FeatureSet) -> list[Metadata | None] | None:
    """What else the feature set says of its pictures: their labels and modality, but for numbers that are none and empty text."""
    columns = dict(feature_set.labels)
    if feature_set.modality is not None:
        columns["modality"] = feature_set.modality
    if not columns:
        return None
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [
        {name: value for name, value in zip(columns, of_row, strict=True) if value == value and value != ""}  # noqa: PLR0124
        for of_row in values
    ]


def _provenance(probes: Sequence[Probe] | ProbeRows) -> Sequence[Metadata]:
    """How each came: as a feature, or as a picture that an encoder here made into one."""
    if isinstance(probes, ProbeRows):
        return [{"sent_as": "feature"}] * len(probes)
    sent = {"feature": {"sent_as": "feature"}, "picture": {"sent_as": "picture"}}
    return [sent["feature" if probe.picture is None else "picture"] for probe in probes]
