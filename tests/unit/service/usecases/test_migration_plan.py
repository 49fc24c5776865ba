"""By which routes a gallery goes to another space, and what is refused before anything is done."""

import json
from typing import Any

import pytest

from models.documents import canonical_json
from models.space import Space
from service.entities import Gallery, IndexState
from service.errors import InvalidInputError, NoRouteError
from service.inference.catalog import Catalog
from service.usecases.migration_plan import Asked, FnirGate, GatePolicy, Mode, Plan, plan
from tests.unit.service.inference.test_catalog import A, B, C, D, E, bundle, measured

CATALOG = Catalog(
    [
        bundle("ab", A, B, measured(0.9)),
        bundle("ab-other", A, B, measured(0.5)),
        bundle("bc", B, C),
        bundle("ca", C, A),
        bundle("db", D, B),
    ],
    [],
)
"""From a by b to c and back to a; from d to b; nothing leads out of e, or into d."""


def gallery(space: Space = A, num: int = 100) -> Gallery:
    return Gallery("staff", space, 1, num, num, "2026-11-01T10:00:00.000+00:00", IndexState("auto", "flat", 1.0, 0))


def planned(asked: Asked, origins: list[tuple[Space, int]] | None = None, space: Space = A) -> Plan:
    return plan(CATALOG, gallery(space), [(space, 100)] if origins is None else origins, asked)


class TestAsked:
    EVERYTHING = Asked(
        "b",
        "mixed",
        ("ab", "bc"),
        GatePolicy(10, 7, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, FnirGate(0.001, 0.25)),
        "auto",
        60.5,
        retires=False,
        untranslatable="leave-out",
    )

    @pytest.mark.parametrize("asked", [Asked("b"), EVERYTHING, Asked("b", route=()), Asked("b", "probe")])
    def test_it_comes_back_from_json_as_it_was(self, asked: Asked) -> None:
        document = json.loads(canonical_json(asked.to_json()))
        assert Asked.of_json(document) == asked
        assert Asked.of_json(document | {"plan": {"routes": {}}}) == asked
        assert Asked.of_json(asked.to_json()) == asked

    def test_its_json_holds_everything_by_name(self) -> None:
        gates: dict[str, Any] = {
            "num_samples": 10,
            "seed": 7,
            "min_overlap": 0.1,
            "min_retention": 0.2,
            "max_negative_flips": 0.3,
            "low_confidence": 0.4,
            "max_low_confidence": 0.5,
            "max_missing": 0.6,
            "fnir": {"fpir": 0.001, "max_increase": 0.25},
        }
        assert self.EVERYTHING.to_json() == {
            "target": "b",
            "mode": "mixed",
            "route": ["ab", "bc"],
            "gates": gates,
            "cutover": "auto",
            "keep_seconds": 60.5,
            "retires": False,
            "untranslatable": "leave-out",
        }

    def test_what_is_not_known_is_refused(self) -> None:
        with pytest.raises(TypeError):
            Asked.of_json(Asked("b").to_json() | {"surprise": 1})


class TestRoutes:
    def test_templates_of_each_space_go_by_their_best_route(self) -> None:
        found = planned(Asked("b"), [(A, 90), (C, 7), (D, 3)])
        assert (found.source, found.target, found.left_out) == (A, B, {})
        assert found.bundles == {A.fingerprint: ("ab",), C.fingerprint: ("ca", "ab"), D.fingerprint: ("db",)}
        assert found.routes[C.fingerprint].source == C
        assert {route.target for route in found.routes.values()} == {B}
        assert found.back is not None
        assert found.back.bundles == ("bc", "ca")

    def test_the_target_is_found_by_name_and_by_fingerprint(self) -> None:
        assert planned(Asked("c")) == planned(Asked(C.fingerprint))
        assert planned(Asked("c")).bundles == {A.fingerprint: ("ab", "bc")}

    def test_what_is_of_the_target_already_needs_no_route(self) -> None:
        found = planned(Asked("b"), [(A, 90), (B, 10)])
        assert found.bundles == {A.fingerprint: ("ab",)}
        assert found.left_out == {}

    @pytest.mark.parametrize("origins", [[], [(C, 5)]])
    def test_the_gallerys_own_space_has_its_route_though_no_template_is_of_it_yet(
        self, origins: list[tuple[Space, int]]
    ) -> None:
        assert planned(Asked("b"), origins).bundles[A.fingerprint] == ("ab",)

    def test_a_route_that_is_asked_for_is_taken_for_the_gallerys_own_space_alone(self) -> None:
        found = planned(Asked("b", route=("ab-other",)), [(A, 90), (C, 10)])
        assert found.bundles == {A.fingerprint: ("ab-other",), C.fingerprint: ("ca", "ab")}
        found = planned(Asked("c", route=("ab-other", "bc")))
        assert found.bundles == {A.fingerprint: ("ab-other", "bc")}

    @pytest.mark.parametrize(("route", "where"), [(("ab", "bc"), "c"), ((), "a")])
    def test_a_route_that_leads_elsewhere_is_refused(self, route: tuple[str, ...], where: str) -> None:
        with pytest.raises(InvalidInputError, match=f"leads to {where}, and not to b"):
            planned(Asked("b", route=route))

    @pytest.mark.parametrize(
        "route", [("unknown",), ("db",), ("ab", "ca"), ("ab", "bc", "ca"), ("ab", "bc", "ca", "ab")]
    )
    def test_a_route_that_is_none_is_refused(self, route: tuple[str, ...]) -> None:
        with pytest.raises(NoRouteError):
            planned(Asked("b", route=route))


class TestWhereNoRouteLeads:
    def test_it_is_refused_with_how_many_templates_of_which_spaces(self) -> None:
        other = Space("f", 4, "external:f")
        with pytest.raises(NoRouteError, match=r"to b for .*: 3 of e, 2 of f \(of 100\)"):
            planned(Asked("b"), [(A, 95), (other, 2), (E, 3)])
        with pytest.raises(NoRouteError, match=r"100 of e \(of 100\)"):
            planned(Asked("b"), space=E)

    def test_or_they_are_left_out_where_that_was_asked_for(self) -> None:
        found = planned(Asked("b", untranslatable="leave-out"), [(A, 97), (E, 3)])
        assert (found.bundles, found.left_out) == ({A.fingerprint: ("ab",)}, {"e": 3})
        found = planned(Asked("b", untranslatable="leave-out"), space=E)
        assert (found.bundles, found.left_out) == ({}, {"e": 100})

    def test_nobody_is_left_out_of_a_space_of_which_nobody_is(self) -> None:
        found = planned(Asked("b"), [(B, 100)], space=E)
        assert (found.bundles, found.left_out) == ({}, {})


class TestModes:
    @pytest.mark.parametrize("mode", ["gallery", "mixed"])
    def test_the_gallery_goes_there(self, mode: Mode) -> None:
        found = planned(Asked("b", mode))
        assert found.bundles == {A.fingerprint: ("ab",)}
        assert found.back is not None

    def test_for_probes_alone_nothing_of_the_gallery_is_translated(self) -> None:
        found = planned(Asked("c", "probe", route=("unknown",)), [(A, 97), (E, 3)])
        assert (found.bundles, found.left_out, found.source, found.target) == ({}, {}, A, C)
        assert found.back is not None
        assert (found.back.source, found.back.target, found.back.bundles) == (C, A, ("ca",))

    @pytest.mark.parametrize("mode", ["probe", "mixed"])
    def test_without_a_way_back_probes_cannot_be_translated(self, mode: Mode) -> None:
        with pytest.raises(NoRouteError, match="from b to d"):
            planned(Asked("b", mode), space=D)
        assert planned(Asked("b"), space=D).back is None

    def test_probes_may_come_from_where_no_template_can_go(self) -> None:
        """Nothing leads from b to d; from d to b something does."""
        assert planned(Asked("d", "probe"), space=B).back is not None
        with pytest.raises(NoRouteError):
            planned(Asked("d", "mixed"), space=B)


class TestTargets:
    @pytest.mark.parametrize("target", ["a", A.fingerprint])
    @pytest.mark.parametrize("mode", ["gallery", "probe", "mixed"])
    def test_a_gallery_that_is_there_already_goes_nowhere(self, target: str, mode: Mode) -> None:
        with pytest.raises(InvalidInputError, match="staff is in the space a already"):
            planned(Asked(target, mode))

    @pytest.mark.parametrize("target", ["nowhere", "", "e"])
    def test_a_space_that_nobody_knows_is_refused_and_not_repeated(self, target: str) -> None:
        with pytest.raises(InvalidInputError, match="not known") as failure:
            planned(Asked(target))
        assert "nowhere" not in str(failure.value)
