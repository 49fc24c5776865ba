"""What a picture shows beside who is on it: told by a bundle, kept with templates, and by which a search leaves some out.

Shapes: C classes and attributes.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from models.attributes import Attribute, AttributeTable, Cut
from models.calibration import PHOTO
from models.features import FloatArray
from service.entities import Metadata, Probe, ProbeRows, Scalar
from service.errors import InvalidInputError, NotFoundError
from service.galleries.port import Condition, GalleryStore, Where
from service.galleries.rules import MAX_FIELDS
from service.inference.engine import Picture
from service.inference.inference import Inference
from service.inference.loading import LoadedBundle
from service.usecases.samples import DIGITS, TOLD, Samples, is_told


@dataclass(frozen=True, slots=True)
class Told:
    """What a bundle tells of one picture."""

    bundle: str
    digest: str
    table: AttributeTable
    probability_C: FloatArray

    def probability(self, name: str) -> float:
        """Of a class or attribute."""
        return float(self.probability_C[self.table.places[name]])


@dataclass(frozen=True, slots=True)
class Filter:
    """Among whom a search is: templates whose pictures show, or do not show, what is named. Those of which it is not known are
    among them.
    """

    error: float
    """Of each condition: the share of those who are meant that it may leave out."""
    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    """As the probe's picture, where that is clear."""
    bundle: str | None = None


@dataclass(frozen=True, slots=True)
class UsedCondition:
    """A condition as it was used: who has it is meant, or who has it not; neither where the probe did not show it clearly."""

    name: str
    has: bool | None
    cut: Cut | None
    error: float
    """At most this share of those who are meant is left out; where it is asked for templates like the probe, over all probes of
    whom the same is true, whatever was seen of this one.
    """
    num_told: int
    """Templates of the gallery of whose pictures it was told: no other is left out."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """How templates were left out."""

    bundle: str
    digest: str
    conditions: tuple[UsedCondition, ...]


class Attributes:
    """The verb, and what enrolment and identification need of it."""

    def __init__(self, inference: Inference, galleries: GalleryStore) -> None:
        self._inference = inference
        self._galleries = galleries

    async def __call__(self, picture: Picture, modality: str, bundle: str | None = None) -> Told:
        """What a picture shows.

        Raises `NotFoundError` where no bundle tells it, `InvalidInputError` where several do and none is named, or the named one
        is for pictures of another modality, and what is wrong with the picture.
        """
        chosen = self._chosen(bundle, modality)
        manifest = chosen.bundle.manifest
        probability_C = await self._inference.classify(picture, manifest.name)
        return Told(manifest.name, manifest.digest, _table(chosen), probability_C)

    async def told(self, samples: Samples, bundle: str | None, names: Sequence[str] | None) -> tuple[Samples, int, str]:
        """Samples whose metadata hold what their pictures show, of `names` alone where they are given; how many are of pictures,
        and the bundle's digest.

        Raises as the call does, and `InvalidInputError` for a name that the bundle does not know or that is given twice, and for
        more than metadata hold.
        """
        chosen = self._chosen(bundle, PHOTO)
        table, digest = _table(chosen), chosen.bundle.manifest.digest
        wanted = tuple(table.places) if names is None else tuple(names)
        if len(set(wanted)) < len(wanted):
            raise InvalidInputError("attributes name one twice")
        for name in wanted:
            _known(table, name)
        most = max((len(own or ()) for own in samples.metadata or ()), default=0)
        if len(wanted) + most > MAX_FIELDS:
            raise InvalidInputError(
                f"the bundle tells {len(table.everything)} attributes, and with its metadata a template has at most {MAX_FIELDS} "
                "fields; name those that are to be kept"
            )
        pictures = [_picture(probe) for probe in _each(samples.probes)]

        async def fields(picture: Picture | None) -> Metadata:
            if picture is None:
                return {}
            told = await self(picture, PHOTO, chosen.bundle.manifest.name)
            return {_field(digest, name): told.probability(name) for name in wanted}

        shown = await asyncio.gather(*(fields(picture) for picture in pictures))
        given = samples.metadata or [None] * len(pictures)
        merged: list[Metadata | None] = [
            {**(own or {}), **of_picture} if of_picture else own for own, of_picture in zip(given, shown, strict=True)
        ]
        return replace(samples, metadata=merged), sum(picture is not None for picture in pictures), digest

    async def where(
        self, gallery: str, asked: Filter, probe: Probe | None, also: Where | None
    ) -> tuple[Where, Filtered]:
        """The conditions of a filter, and of `also`, as a store takes them; and how they were come by.

        Raises as the call does, and `InvalidInputError` for names that are not known, are given twice or are in `also` already,
        for an error at which nothing was measured, and where the probe is to be looked at and is no picture; `NotFoundError`
        where there is no such gallery.
        """
        chosen = self._chosen(asked.bundle, PHOTO)
        manifest, table = chosen.bundle.manifest, _table(chosen)
        named = (*asked.has, *asked.lacks, *asked.alike)
        if len(set(named)) < len(named):
            raise InvalidInputError("the filter names an attribute twice")
        told = None
        if asked.alike:
            picture = _picture(probe) if probe else None
            if probe is None or picture is None:
                raise InvalidInputError("alike looks at the probe's picture: send an image")
            told = await self(picture, probe.modality, manifest.name)
        fields = {name: _field(manifest.digest, name) for name in named}
        if set(fields.values()) & set(also or ()):
            raise InvalidInputError("where names what the filter does; leave it out of one of them")
        # Before the gallery is looked through.
        conditions = list(_conditions(table, asked, told))
        num_told = await asyncio.to_thread(self._galleries.count_with, gallery, list(fields.values()))
        used = tuple(replace(one, num_told=num_told[fields[one.name]]) for one in conditions)
        where = {
            fields[one.name]: _condition(one.cut, has=one.has)
            for one in used
            if one.cut is not None and one.has is not None
        }
        return {**(also or {}), **where}, Filtered(manifest.name, manifest.digest, used)

    def _chosen(self, bundle: str | None, modality: str) -> LoadedBundle:
        """The bundle of that name, or the only one, that is for pictures of a modality; templates are photos."""
        loaded = self._inference.loaded.attributes
        if bundle is not None:
            named = next((one for one in loaded if one.bundle.manifest.name == bundle), None)
            if named is None:
                raise NotFoundError("no bundle of this name that tells attributes is loaded; see /bundles")
            if not _is_for(named, modality):
                raise InvalidInputError(
                    f"this bundle tells attributes of pictures of the modality {named.bundle.manifest.modality} alone"
                )
            return named
        fitting = [one for one in loaded if _is_for(one, modality)]
        if not fitting:
            raise NotFoundError("no bundle that tells attributes of pictures of this modality is loaded; see /bundles")
        if len(fitting) > 1:
            names = ", ".join(one.bundle.manifest.name for one in fitting)
            raise InvalidInputError(f"several bundles tell attributes: name one ({names})")
        return fitting[0]


def split_told(metadata: Metadata) -> tuple[Metadata, dict[str, dict[str, float]]]:
    """What a template's sender said of it, and what bundles told of its picture, by the first digits of their digests."""
    own: dict[str, Scalar] = {}
    told: dict[str, dict[str, float]] = {}
    for field, value in metadata.items():
        if is_told(field, value):
            _, digest, name = field.split(".", 2)
            told.setdefault(digest, {})[name] = float(value)
        else:
            own[field] = value
    return own, told


def _conditions(table: AttributeTable, asked: Filter, told: Told | None) -> Iterator[UsedCondition]:
    for name, has in (*((name, True) for name in asked.has), *((name, False) for name in asked.lacks)):
        cut = _cut(_known(table, name), asked.error, has=has)
        yield UsedCondition(name, has, cut, cut.error, 0)
    for name in asked.alike:
        assert told is not None
        one = _known(table, name)
        having, lacking = (_cut(one, asked.error, has=has) for has in (True, False))
        probability = told.probability(name)
        # Of those who have it hardly any are told so little of, and the other way round.
        is_without, is_with = probability < having.threshold, probability > lacking.threshold
        # A mate is left out where the probe was taken for the other kind, or is of the right kind and beyond the threshold.
        error = min(1.0, 2 * max(having.error, lacking.error))
        if is_without == is_with:
            yield UsedCondition(name, None, None, error, 0)
        else:
            yield UsedCondition(name, is_with, having if is_with else lacking, error, 0)


def _condition(cut: Cut, *, has: bool) -> Condition:
    if has:
        return Condition(at_least=cut.threshold, or_missing=True)
    return Condition(at_most=cut.threshold, or_missing=True)


def _cut(one: Attribute, error: float, *, has: bool) -> Cut:
    found = one.cut(error, has=has)
    if found is None:
        stated = ", ".join(f"{cut.error:g}" for cut in (one.has if has else one.lacks)) or "none"
        what = "have" if has else "lack"
        raise InvalidInputError(
            f"for those who {what} {one.name} no threshold was measured at so small an error; stated are: {stated}"
        )
    return found


def _known(table: AttributeTable, name: str) -> Attribute:
    place = table.places.get(name)
    if place is None:
        known = ", ".join(table.places)
        raise InvalidInputError(f"the bundle tells no attribute of a name that was asked for; it tells: {known}")
    return table.everything[place]


def _is_for(loaded: LoadedBundle, modality: str) -> bool:
    return loaded.bundle.manifest.modality in (None, modality)


def _table(loaded: LoadedBundle) -> AttributeTable:
    table = loaded.bundle.attributes
    assert table is not None
    return table


def _field(digest: str, name: str) -> str:
    return f"{TOLD}{digest[:DIGITS]}.{name}"


def _each(probes: Sequence[Probe] | ProbeRows) -> Sequence[Probe | None]:
    return [None] * len(probes) if isinstance(probes, ProbeRows) else probes


def _picture(probe: Probe | None) -> Picture | None:
    return None if probe is None or probe.picture is None else Picture(probe.picture, probe.landmarks)
