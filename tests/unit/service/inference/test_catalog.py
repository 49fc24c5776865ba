from dataclasses import replace
from typing import Any

import pytest

from models.bundle import Bundle, Manifest, Provenance
from models.calibration import Calibration, Comparison
from models.documents import sha256_hex
from models.graph import GraphSignature
from models.operating_point import OperatingPoint
from models.space import Space
from service.errors import NoRouteError, SpaceMismatchError
from service.inference.catalog import Catalog

A, B, C, D, E = (Space(name, 4, f"external:{name}") for name in "abcde")
GRAPH = GraphSignature(18, "x", (None, 4), "y", (None, 4))


def bundle(
    name: str, source: Space | None, target: Space, metrics: Any = None, points: dict[Comparison, float] | None = None
) -> Bundle:
    """Without a model; `points` are thresholds at a false-match rate of 0.01."""
    manifest = Manifest(
        name=name,
        kind="translator" if source else "encoder",
        method="ridge",
        source=source,
        target=target,
        input_name="x",
        output_name="y",
        opset=18,
        licence="MIT",
        provenance=Provenance("2026-01-01T00:00:00Z", "0", {}),
        metrics=metrics or {},
        files={"model.onnx": sha256_hex(name.encode())},
    )
    calibration: dict[Comparison, tuple[OperatingPoint, ...]] = {
        comparison: (OperatingPoint(0.01, threshold, 0.1, 10, 10_000),)
        for comparison, threshold in (points or {}).items()
    }
    return Bundle(manifest, b"", GRAPH, Calibration(calibration))


def measured(mean_cosine: float) -> dict[str, Any]:
    return {"test": {"rows": {"translated probes": {"mean_cosine": mean_cosine}}}}


def measured_on(given: Bundle, num_impostors: int) -> Bundle:
    """The bundle, its thresholds measured on so many impostors."""
    points = {
        comparison: tuple(replace(point, num_impostors=num_impostors) for point in found)
        for comparison, found in given.calibration.points.items()
    }
    return replace(given, calibration=Calibration(points))


def route(catalog: Catalog, source: Space, target: Space) -> tuple[str, ...]:
    return catalog.route(source, target).bundles


def thresholds(catalog: Catalog, source: Space, target: Space) -> list[float]:
    return [point.threshold for point in catalog.operating_points(catalog.route(source, target))]


class TestRoutes:
    def test_the_fewest_hops_win_over_better_quality(self) -> None:
        catalog = Catalog(
            [bundle("ab", A, B, measured(1.0)), bundle("bc", B, C, measured(1.0)), bundle("ac", A, C, measured(0.1))],
            [],
        )
        assert route(catalog, A, C) == ("ac",)

    def test_of_two_bundles_between_the_same_spaces_the_better_measured_is_taken(self) -> None:
        catalog = Catalog(
            [bundle("x", A, B, measured(0.5)), bundle("y", A, B, measured(0.9)), bundle("z", A, B, measured(0.7))], []
        )
        assert route(catalog, A, B) == ("y",)
        assert catalog.quality(catalog.route(A, B)) == pytest.approx(0.9)

    def test_of_two_routes_of_one_length_the_better_product_is_taken(self) -> None:
        # By b: 0.9 * 0.5 = 0.45; by d: 0.7 * 0.7 = 0.49.
        catalog = Catalog(
            [
                *(bundle("ab", A, B, measured(0.9)), bundle("bc", B, C, measured(0.5))),
                *(bundle("ad", A, D, measured(0.7)), bundle("dc", D, C, measured(0.7))),
            ],
            [],
        )
        assert route(catalog, A, C) == ("ad", "dc")
        assert catalog.quality(catalog.route(A, C)) == pytest.approx(0.49)

    def test_of_equal_bundles_the_first_by_name_is_taken_whatever_the_order(self) -> None:
        for names in (("x", "y"), ("y", "x")):
            assert route(Catalog([bundle(name, A, B) for name in names], []), A, B) == ("x",)

    def test_three_hops_are_a_route_and_four_are_none(self) -> None:
        catalog = Catalog([bundle("ab", A, B), bundle("bc", B, C), bundle("cd", C, D), bundle("de", D, E)], [])
        assert route(catalog, A, D) == ("ab", "bc", "cd")
        with pytest.raises(NoRouteError):
            catalog.route(A, E)

    def test_circles_end(self) -> None:
        catalog = Catalog([bundle("ab", A, B), bundle("ba", B, A), bundle("aa", A, A)], [bundle("c", None, C)])
        with pytest.raises(NoRouteError):
            catalog.route(A, C)
        assert route(catalog, A, A) == ()

    def test_translators_work_in_one_direction(self) -> None:
        with pytest.raises(NoRouteError):
            Catalog([bundle("ab", A, B)], []).route(B, A)

    def test_spaces_of_one_fingerprint_are_one_whatever_their_names(self) -> None:
        also_b = replace(B, name="b-by-another-name")
        catalog = Catalog([bundle("ab", A, B), bundle("bc", also_b, C)], [])
        assert route(catalog, A, C) == ("ab", "bc")
        assert route(catalog, B, also_b) == ()

    def test_all_routes_are_listed(self) -> None:
        catalog = Catalog([bundle("ab", A, B), bundle("bc", B, C)], [])
        assert [found.bundles for found in catalog.routes()] == [("ab",), ("ab", "bc"), ("bc",)]

    @pytest.mark.parametrize(
        ("metrics", "expected"),
        [
            ({}, 0.5),
            ({"test": None}, 0.5),
            ({"validation": {"rows": {"translated probes": {"mean_cosine": 0.25}}}}, 0.25),
            ({"test": {"rows": {"translated probes": {"rank1": 0.25, "mean_cosine": 0.75}}}}, 0.75),
            ({"test": {"rows": {"translated probes": {"mean_cosine": 7}}}}, 1.0),
            ({"test": {"rows": {"translated probes": {"mean_cosine": -0.5}}}}, 0.0),
        ],
    )
    def test_quality_is_the_mean_cosine_on_pictures_kept_apart_else_a_half(self, metrics: Any, expected: float) -> None:
        catalog = Catalog([bundle("ab", A, B, metrics)], [])
        assert catalog.quality(catalog.route(A, B)) == expected


class TestSpaces:
    def test_a_space_is_found_by_name_and_by_fingerprint(self) -> None:
        catalog = Catalog([bundle("ab", A, B)], [bundle("c", None, C)])
        assert [catalog.find_space(name) for name in ("a", "b", "c")] == [A, B, C]
        assert catalog.find_space(A.fingerprint) == A
        assert catalog.find_space("d") is None
        assert catalog.find_space("d", also=[D]) == D
        assert [space.name for space in catalog.spaces] == ["a", "b", "c"]

    def test_a_name_of_two_different_spaces_is_refused_with_both_fingerprints(self) -> None:
        other_a = Space("a", 4, "external:other")
        in_bundles = Catalog([bundle("ab", A, B), bundle("ob", other_a, B)], [])
        in_a_gallery = Catalog([bundle("ab", A, B)], [])
        cases: list[tuple[Catalog, list[Space]]] = [(in_bundles, []), (in_a_gallery, [other_a])]
        for catalog, also in cases:
            with pytest.raises(SpaceMismatchError) as failure:
                catalog.find_space("a", also)
            assert A.fingerprint in str(failure.value)
            assert other_a.fingerprint in str(failure.value)
            assert catalog.find_space(other_a.fingerprint, also) == other_a

    def test_every_name_of_a_space_finds_it(self) -> None:
        renamed = replace(A, name="renamed")
        catalog = Catalog([bundle("ab", A, B), bundle("rb", renamed, B)], [])
        found = [catalog.find_space(name) for name in ("a", "renamed")]
        assert [space.fingerprint for space in found if space] == [A.fingerprint] * 2
        assert len(catalog.spaces) == 2

    def test_a_gallerys_own_name_of_a_space_hides_no_other(self) -> None:
        renamed = replace(A, name="renamed")
        catalog = Catalog([bundle("ab", A, B)], [])
        found = [catalog.find_space(name, also=[renamed]) for name in ("a", "renamed", A.fingerprint)]
        assert [space.fingerprint for space in found if space] == [A.fingerprint] * 3

    def test_the_first_encoder_of_a_space_is_named(self) -> None:
        catalog = Catalog([bundle("ab", A, B)], [bundle("one", None, A), bundle("two", None, A)])
        assert (catalog.encoder_of(A), catalog.encoder_of(B)) == ("one", None)


class TestOperatingPoints:
    POINTS: dict[Comparison, float] = {"native-source": 0.1, "native-target": 0.2, "translated": 0.3}  # noqa: RUF012

    def test_one_step_has_the_thresholds_of_its_bundle(self) -> None:
        catalog = Catalog(
            [bundle("bad", A, B, measured(0.1), {"translated": 0.9}), bundle("good", A, B, measured(0.9), self.POINTS)],
            [],
        )
        assert thresholds(catalog, A, B) == [0.3]

    def test_native_comparisons_have_those_of_a_bundle_that_ends_or_begins_there(self) -> None:
        catalog = Catalog([bundle("ab", A, B, None, self.POINTS)], [])
        assert thresholds(catalog, A, A) == [0.1]
        assert thresholds(catalog, B, B) == [0.2]

    def test_of_several_bundles_the_one_that_measured_the_most_pairs_has_the_native_thresholds(self) -> None:
        few, many = (
            bundle("a-few", A, B, None, {"native-source": 0.1}),
            bundle("b-many", A, C, None, {"native-source": 0.2}),
        )
        catalog = Catalog([few, measured_on(many, 10**9)], [])
        assert thresholds(catalog, A, A) == [0.2]

    def test_of_equals_the_first_by_name_has_them_whatever_the_order(self) -> None:
        first = bundle("a", A, B, None, {"native-source": 0.1})
        last = bundle("z", A, C, None, {"native-source": 0.9})
        assert thresholds(Catalog([last, first], []), A, A) == thresholds(Catalog([first, last], []), A, A) == [0.1]

    def test_of_two_encoders_of_one_space_the_one_that_measured_more_has_them(self) -> None:
        few = bundle("a", None, A, None, {"native-target": 0.1})
        many = measured_on(bundle("b", None, A, None, {"native-target": 0.2}), 10**9)
        assert thresholds(Catalog([], [few, many]), A, A) == [0.2]

    def test_routes_of_several_steps_have_none(self) -> None:
        catalog = Catalog([bundle("ab", A, B, None, self.POINTS), bundle("bc", B, C, None, self.POINTS)], [])
        assert thresholds(catalog, A, C) == []

    def test_what_was_not_measured_has_none(self) -> None:
        catalog = Catalog([bundle("ab", A, B)], [bundle("c", None, C)])
        assert [thresholds(catalog, *ends) for ends in ((A, B), (A, A), (B, B), (C, C))] == [[], [], [], []]

    def test_native_comparisons_in_an_encoders_space_have_its_own_thresholds(self) -> None:
        encoder = bundle("c", None, C, None, {"native-target": 0.4})
        catalog = Catalog([bundle("ab", A, B, None, self.POINTS)], [encoder])
        assert thresholds(catalog, C, C) == [0.4]
        assert thresholds(catalog, A, A) == [0.1]

    @pytest.mark.parametrize(("num_by_encoder", "expected"), [(9_999, 0.2), (10_001, 0.4)])
    def test_of_an_encoder_and_a_translator_the_one_that_measured_more_pairs_counts(
        self, num_by_encoder: int, expected: float
    ) -> None:
        encoder = measured_on(bundle("b", None, B, None, {"native-target": 0.4}), num_by_encoder)
        translator = measured_on(bundle("ab", A, B, None, self.POINTS), 10_000)
        catalog = Catalog([translator], [encoder])
        assert thresholds(catalog, B, B) == [expected]
        # What comes out of the translator is compared with the thresholds measured for that.
        assert thresholds(catalog, A, B) == [0.3]
        assert thresholds(catalog, A, A) == [0.1]

    def test_an_encoder_without_thresholds_leaves_those_of_the_translators(self) -> None:
        catalog = Catalog([bundle("ab", A, B, None, self.POINTS)], [bundle("b", None, B)])
        assert thresholds(catalog, B, B) == [0.2]

    def test_an_encoders_space_by_another_name_is_the_same(self) -> None:
        renamed = replace(B, name="b-by-another-name")
        catalog = Catalog([], [bundle("b", None, B, None, {"native-target": 0.4})])
        assert thresholds(catalog, renamed, B) == [0.4]
