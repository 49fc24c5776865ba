"""What is asked of a migration, and by which routes its templates go."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from models.space import Space
from service.entities import Gallery, Route
from service.errors import InvalidInputError, NoRouteError
from service.inference.catalog import Catalog

Mode = Literal["gallery", "probe", "mixed"]
"""Templates are translated, or the probes of the new encoder, back, or both, while it runs."""


@dataclass(frozen=True, slots=True)
class FnirGate:
    """Of labelled probes: misses at a rate of false positives, in the new generation over the old one."""

    fpir: float = 0.01
    max_increase: float = 0.02


@dataclass(frozen=True, slots=True)
class GatePolicy:
    """What a migration must reach before it is cut over; shares are of samples, or of all where that is cheap."""

    num_samples: int = 1000
    seed: int = 0
    min_overlap: float = 0.25
    """Of the ten nearest in either generation."""
    min_retention: float = 0.95
    """Of those found first before, who are so after."""
    max_negative_flips: float = 0.03
    """Found first before, and not after."""
    low_confidence: float = 0.05
    max_low_confidence: float = 0.05
    """Share of templates of which the translation can be trusted less than that."""
    max_missing: float = 0.0
    """Share of templates that are not in the new generation."""
    fnir: FnirGate | None = None
    """None where no labelled probes are to be given."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A migration, as it was asked for."""

    target: str
    """Name or fingerprint of a space."""
    mode: Mode = "gallery"
    route: tuple[str, ...] | None = None
    """The translators for templates of the gallery's own space; the best route where it is not given."""
    gates: GatePolicy = field(default_factory=GatePolicy)
    cutover: Literal["manual", "auto"] = "manual"
    keep_seconds: float = 7 * 24 * 3600.0
    """How long the generation before is kept after the cut-over."""
    retires: bool = True
    """Whether native templates take the place of translated ones of their subject."""
    untranslatable: Literal["refuse", "leave-out"] = "refuse"
    """What becomes of templates of spaces from which no route leads to the target."""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        document = asdict(self)
        document["route"] = None if self.route is None else list(self.route)
        return document

    @classmethod
    def of_json(cls, document: Mapping[str, Any]) -> "Asked":
        """What `to_json` wrote, and a plan beside it."""
        gates = dict(document["gates"])
        gates["fnir"] = FnirGate(**gates["fnir"]) if gates["fnir"] else None
        route = document["route"]
        document = {name: value for name, value in document.items() if name != "plan"}
        return cls(**{**document, "gates": GatePolicy(**gates), "route": None if route is None else tuple(route)})


@dataclass(frozen=True, slots=True)
class Plan:
    """How templates, and probes, are going to be translated."""

    source: Space
    target: Space
    routes: Mapping[str, Route]
    """For templates, by the fingerprint of the space that they are of; none for those of the target."""
    left_out: Mapping[str, int]
    """Templates from which no route leads to the target, by the name of their space."""
    back: Route | None
    """For probes of the target, as long as the gallery is in its old space; None where no route leads back."""

    @property
    def bundles(self) -> dict[str, tuple[str, ...]]:
        """The translators for templates, by the fingerprint of the space that they are of."""
        return {fingerprint: route.bundles for fingerprint, route in self.routes.items()}


def plan(catalog: Catalog, gallery: Gallery, origins: Sequence[tuple[Space, int]], asked: Asked) -> Plan:
    """How to do what is asked of a gallery whose templates are of so many spaces.

    Raises `InvalidInputError` for an unknown target, the gallery's own space and a route that leads elsewhere;
    `NoRouteError` where something cannot be translated that must be.
    """
    target = catalog.find_space(asked.target, also=[gallery.space])
    if target is None:
        raise InvalidInputError("the target space is not known here; see /spaces")
    if target.fingerprint == gallery.space.fingerprint:
        raise InvalidInputError(f"gallery {gallery.name} is in the space {gallery.space.name} already")
    back = _route_or_none(catalog, target, gallery.space)
    if asked.mode != "gallery" and back is None:
        raise NoRouteError(
            f"no route leads from {target.name} to {gallery.space.name}, by which probes could be translated back; see /routes"
        )
    if asked.mode == "probe":
        return Plan(gallery.space, target, {}, {}, back)
    routes: dict[str, Route] = {}
    left_out: dict[str, int] = {}
    # Also of the gallery's own space where no template is of it yet: some may come.
    for space, num in {one.fingerprint: (one, num) for one, num in [(gallery.space, 0), *origins]}.values():
        route = _route(catalog, gallery, space, target, asked)
        if route is not None:
            routes[space.fingerprint] = route
        elif space.fingerprint != target.fingerprint and num:
            left_out[space.name] = left_out.get(space.name, 0) + num
    if left_out and asked.untranslatable == "refuse":
        which = ", ".join(f"{num} of {name}" for name, num in sorted(left_out.items()))
        raise NoRouteError(
            f"no route leads to {target.name} for templates of these spaces: {which} (of {gallery.num_templates}); load a "
            "translator, or ask for them to be left out"
        )
    return Plan(gallery.space, target, routes, left_out, back)


def _route(catalog: Catalog, gallery: Gallery, space: Space, target: Space, asked: Asked) -> Route | None:
    if space.fingerprint == target.fingerprint:
        return None
    if asked.route is None or space.fingerprint != gallery.space.fingerprint:
        return _route_or_none(catalog, space, target)
    route = catalog.along(space, asked.route)
    if route.target.fingerprint != target.fingerprint:
        raise InvalidInputError(f"the route leads to {route.target.name}, and not to {target.name}")
    return route


def _route_or_none(catalog: Catalog, source: Space, target: Space) -> Route | None:
    try:
        return catalog.route(source, target)
    except NoRouteError:
        return None
