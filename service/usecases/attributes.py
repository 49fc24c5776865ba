"""What a picture shows beside who is on it: told by a bundle, kept with templates, and by which a search leaves some out.

Shapes: C classes and attributes.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from models.attributes import Attribute, AttributeTable, Cut
from models.features import FloatArray
from service.entities import Metadata, Probe, ProbeRows
from service.errors import InvalidInputError, NotFoundError
from service.galleries.port import Condition, Where
from service.inference.engine import Picture
from service.inference.inference import Inference
from service.inference.loading import LoadedBundle
from service.usecases.samples import Samples

_FIELD = "told.{}.{}"
"""The field of a template's metadata, by whose bundle, and of what."""
_DIGITS = 8
"""Of a bundle's digest: what another bundle told is another thing."""


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
    """The share of those who are meant that it leaves out, at most; with the probe's own, where that was asked."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """How templates were left out."""

    bundle: str
    digest: str
    conditions: tuple[UsedCondition, ...]

    @property
    def error(self) -> float:
        """At most this share of those who meet all conditions is left out: the sum of what each may."""
        return min(1.0, sum(one.error for one in self.conditions))


class Attributes:
    """The verb, and what enrolment and identification need of it."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def __call__(self, picture: Picture, bundle: str | None = None) -> Told:
        """What a picture shows.

        Raises `NotFoundError` where no bundle tells it, `InvalidInputError` where several do and none is named, and what is wrong
        with the picture.
        """
        chosen = self._chosen(bundle)
        manifest = chosen.bundle.manifest
        probability_C = await self._inference.classify(picture, manifest.name)
        return Told(manifest.name, manifest.digest, _table(chosen), probability_C)

    async def told(self, samples: Samples, bundle: str | None, names: Sequence[str] | None) -> tuple[Samples, int, str]:
        """Samples whose metadata hold what their pictures show, of `names` alone where they are given; how many are of pictures,
        and the bundle's digest.

        Raises as the call does, and `InvalidInputError` for a name that the bundle does not know.
        """
        chosen = self._chosen(bundle)
        table, digest = _table(chosen), chosen.bundle.manifest.digest
        wanted = tuple(table.places) if names is None else tuple(names)
        for name in wanted:
            _known(table, name)
        pictures = [_picture(probe) for probe in _each(samples.probes)]

        async def fields(picture: Picture | None) -> Metadata:
            if picture is None:
                return {}
            told = await self(picture, chosen.bundle.manifest.name)
            return {_field(digest, name): told.probability(name) for name in wanted}

        shown = await asyncio.gather(*(fields(picture) for picture in pictures))
        given = samples.metadata or [None] * len(pictures)
        merged: list[Metadata | None] = [
            {**(own or {}), **of_picture} if of_picture else own for own, of_picture in zip(given, shown, strict=True)
        ]
        return replace(samples, metadata=merged), sum(picture is not None for picture in pictures), digest

    async def where(self, asked: Filter, probe: Probe | None, also: Where | None) -> tuple[Where, Filtered]:
        """The conditions of a filter, and of `also`, as a store takes them; and how they were come by.

        Raises as the call does, and `InvalidInputError` for names that are not known or contradict each other, for an error at
        which nothing was measured, and where the probe is to be looked at and is no picture.
        """
        chosen = self._chosen(asked.bundle)
        manifest, table = chosen.bundle.manifest, _table(chosen)
        named = (*asked.has, *asked.lacks, *asked.alike)
        if len(set(named)) < len(named):
            raise InvalidInputError("the filter names an attribute twice")
        told = None
        if asked.alike:
            picture = _picture(probe) if probe else None
            if picture is None:
                raise InvalidInputError("alike looks at the probe's picture: send an image")
            told = await self(picture, manifest.name)
        used = tuple(_conditions(table, asked, told))
        where = {
            _field(manifest.digest, one.name): _condition(one.cut, has=one.has)
            for one in used
            if one.cut is not None and one.has is not None
        }
        return {**(also or {}), **where}, Filtered(manifest.name, manifest.digest, used)

    def _chosen(self, bundle: str | None) -> LoadedBundle:
        loaded = self._inference.loaded.attributes
        if bundle is not None:
            named = next((one for one in loaded if one.bundle.manifest.name == bundle), None)
            if named is None:
                raise NotFoundError("no bundle of this name that tells attributes is loaded; see /bundles")
            return named
        if not loaded:
            raise NotFoundError("no bundle that tells attributes is loaded; see /bundles")
        if len(loaded) > 1:
            names = ", ".join(one.bundle.manifest.name for one in loaded)
            raise InvalidInputError(f"several bundles tell attributes: name one ({names})")
        return loaded[0]


def split_told(metadata: Metadata) -> tuple[Metadata, dict[str, dict[str, float]]]:
    """What a template's sender said of it, and what bundles told of its picture, by the first digits of their digests."""
    own: dict[str, str | int | float | bool] = {}
    told: dict[str, dict[str, float]] = {}
    for field, value in metadata.items():
        begins, _, rest = field.partition(".")
        digest, dot, name = rest.partition(".")
        if begins == "told" and len(digest) == _DIGITS and dot and isinstance(value, float | int):
            told.setdefault(digest, {})[name] = float(value)
        else:
            own[field] = value
    return own, told


def _conditions(table: AttributeTable, asked: Filter, told: Told | None) -> Iterator[UsedCondition]:
    for name, has in (*((name, True) for name in asked.has), *((name, False) for name in asked.lacks)):
        cut = _cut(_known(table, name), asked.error, has=has)
        yield UsedCondition(name, has, cut, cut.error)
    for name in asked.alike:
        assert told is not None
        one = _known(table, name)
        having, lacking = (_cut(one, asked.error, has=has) for has in (True, False))
        probability = told.probability(name)
        # Of those who have it hardly any are told so little of, and the other way round.
        is_without, is_with = probability < having.threshold, probability > lacking.threshold
        if is_without == is_with:
            yield UsedCondition(name, None, None, 0.0)
        else:
            cut = having if is_with else lacking
            yield UsedCondition(name, is_with, cut, having.error + lacking.error)


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
            f"for those who {what} {one.name} no threshold was measured at an error of {error:g}; stated are: {stated}"
        )
    return found


def _known(table: AttributeTable, name: str) -> Attribute:
    place = table.places.get(name)
    if place is None:
        known = ", ".join(table.places)
        raise InvalidInputError(f"the bundle tells no attribute of a name that was asked for; it tells: {known}")
    return table.everything[place]


def _table(loaded: LoadedBundle) -> AttributeTable:
    table = loaded.bundle.attributes
    assert table is not None
    return table


def _field(digest: str, name: str) -> str:
    return _FIELD.format(digest[:_DIGITS], name)


def _each(probes: Sequence[Probe] | ProbeRows) -> Sequence[Probe | None]:
    return [None] * len(probes) if isinstance(probes, ProbeRows) else probes


def _picture(probe: Probe | None) -> Picture | None:
    return None if probe is None or probe.picture is None else Picture(probe.picture, probe.landmarks)
