"""When features are compared through a translator, and when in a common space."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from models.bundle import Bundle
from models.calibration import Calibration
from models.operating_point import OperatingPoint
from models.space import Space
from service.entities import Route, Side
from service.errors import NoRouteError
from service.inference.catalog import Catalog
from tests.unit.service.inference.test_catalog import A, B, C, D, bundle, measured

COMMON = Space("common", 3, "sha256:" + "c" * 64)
OTHER_COMMON = Space("other", 3, "sha256:" + "d" * 64)


def projection(
    name: str, source: Space, target: Space = COMMON, *, cosine: float = 0.8, missed: float | None = None
) -> Bundle:
    made = bundle(name, source, target, measured(cosine))
    made = replace(made, manifest=replace(made.manifest, method="cca"))
    return missing(made, missed) if missed is not None else made


def missing(made: Bundle, fnmr: float, fmr: float = 1e-3) -> Bundle:
    """The bundle, missing so many genuine pairs at that false-match rate when it translates."""
    return replace(made, calibration=Calibration({"translated": (OperatingPoint(fmr, 0.5, fnmr, 100, 100_000),)}))


def meeting(catalog: Catalog, a: Space, b: Space) -> tuple[str, str]:
    route = catalog.comparison(a, b)
    return route.space.name, ",".join(route.bundles)


def test_two_projections_into_one_space_make_a_comparison_and_no_translation() -> None:
    catalog = Catalog([projection("ac", A), projection("bc", B)], [])
    route = catalog.comparison(A, B)
    assert (route.source, route.target, route.space, route.bundles) == (A, B, COMMON, ("ac", "bc"))
    assert [step.bundle for step in route.steps] == ["ac"]
    assert route.target_step is not None
    assert route.target_step.bundle == "bc"
    assert catalog.comparison(B, A).bundles == ("bc", "ac")
    with pytest.raises(NoRouteError):
        catalog.route(A, B)


def test_any_two_of_several_encoders_meet() -> None:
    catalog = Catalog([projection(f"{space.name}-common", space) for space in (A, B, C)], [])
    assert meeting(catalog, A, C) == ("common", "a-common,c-common")
    assert meeting(catalog, C, B) == ("common", "c-common,b-common")
    with pytest.raises(NoRouteError):
        catalog.comparison(A, D)


def test_projections_of_different_fits_do_not_meet() -> None:
    catalog = Catalog([projection("ac", A), projection("bo", B, OTHER_COMMON)], [])
    with pytest.raises(NoRouteError):
        catalog.comparison(A, B)


def test_translators_into_an_encoders_own_space_are_no_meeting() -> None:
    """A to C and B to C lead to features that C's encoder could have made: that is for galleries of C."""
    with pytest.raises(NoRouteError):
        Catalog([bundle("ac", A, C), bundle("bc", B, C)], []).comparison(A, B)


def test_one_space_needs_neither() -> None:
    catalog = Catalog([projection("ac", A), projection("bc", B)], [])
    assert catalog.comparison(A, A) == Route(A, A)
    assert catalog.meetings(A, A) == []


def test_features_that_are_in_the_common_space_are_compared_there() -> None:
    catalog = Catalog([projection("ac", A), projection("bc", B)], [])
    assert catalog.comparison(A, COMMON).bundles == ("ac",)
    assert catalog.comparison(A, COMMON).target_step is None


@pytest.mark.parametrize(
    ("translator", "common", "expected"),
    [(0.1, 0.05, "ac,bc"), (0.05, 0.1, "ab"), (0.1, 0.1, "ab"), (None, 0.01, "ab"), (0.1, None, "ab")],
)
def test_of_translator_and_common_space_the_one_that_misses_fewer_is_taken(
    translator: float | None, common: float | None, expected: str
) -> None:
    direct = bundle("ab", A, B, measured(0.7))
    direct = direct if translator is None else missing(direct, translator)
    catalog = Catalog([direct, projection("ac", A, missed=common), projection("bc", B)], [])
    assert ",".join(catalog.comparison(A, B).bundles) == expected
    assert ",".join(catalog.comparison_either_way(A, B).bundles) == expected
    # The other way the translator does not lead, but either of two features may be translated.
    assert catalog.comparison(B, A).bundles == ("bc", "ac")
    assert set(catalog.comparison_either_way(B, A).bundles) == set(expected.split(","))


def test_rates_that_only_one_of_them_measured_do_not_compare_them() -> None:
    direct = missing(bundle("ab", A, B), 0.5, fmr=1e-3)
    common = missing(projection("ac", A), 0.1, fmr=1e-4)
    catalog = Catalog([direct, common, projection("bc", B)], [])
    assert catalog.comparison(A, B).bundles == ("ab",)


def test_who_asks_at_a_rate_gets_a_way_that_has_a_threshold_there() -> None:
    direct = missing(bundle("ab", A, B), 0.5, fmr=1e-3)
    common = [missing(projection("ac", A), 0.1, fmr=1e-4), missing(projection("bc", B), 0.1, fmr=1e-4)]
    catalog = Catalog([direct, *common], [])
    asked = {fmr: set(catalog.comparison_either_way(A, B, fmr=fmr).bundles) for fmr in (None, 1e-2, 1e-3, 1e-4)}
    assert asked == {None: {"ab"}, 1e-2: {"ab"}, 1e-3: {"ab"}, 1e-4: {"ac", "bc"}}
    unmeasured = Catalog([bundle("ab", A, B), *common], [])
    assert set(unmeasured.comparison_either_way(B, A, fmr=1e-4).bundles) == {"ac", "bc"}


def test_a_common_space_is_shorter_than_a_chain() -> None:
    chain = [bundle("ad", A, D), bundle("db", D, B)]
    assert Catalog(chain, []).comparison(A, B).bundles == ("ad", "db")
    assert Catalog([*chain, projection("ac", A), projection("bc", B)], []).comparison(A, B).bundles == ("ac", "bc")


def test_of_two_common_spaces_the_better_measured_is_taken() -> None:
    catalog = Catalog(
        [
            projection("ac", A, cosine=0.7),
            projection("bc", B),
            projection("ao", A, OTHER_COMMON, cosine=0.9),
            projection("bo", B, OTHER_COMMON),
        ],
        [],
    )
    assert catalog.comparison(A, B).bundles == ("ao", "bo")
    assert [route.space.name for route in catalog.meetings(A, B)] == ["other", "common"]
    assert {step.bundle for step in catalog.common_steps(A)} == {"ac", "ao"}
    assert catalog.common_steps(C) == []


def two_meetings(missed: float | None, missed_by_other: float | None) -> list[Bundle]:
    return [
        projection("ac", A, cosine=0.9, missed=missed),
        projection("bc", B, missed=missed),
        projection("ao", A, OTHER_COMMON, cosine=0.7, missed=missed_by_other),
        projection("bo", B, OTHER_COMMON, missed=missed_by_other),
    ]


@pytest.mark.parametrize(
    ("missed", "missed_by_other", "expected"),
    [(0.3, 0.01, "ao,bo"), (0.01, 0.3, "ac,bc"), (0.1, 0.1, "ac,bc"), (None, 0.3, "ao,bo"), (None, None, "ac,bc")],
)
def test_of_two_common_spaces_the_one_that_misses_fewer_is_taken_whatever_their_cosines(
    missed: float | None, missed_by_other: float | None, expected: str
) -> None:
    """Mean cosines of different spaces cannot be compared; they decide where nothing else does."""
    catalog = Catalog(two_meetings(missed, missed_by_other), [])
    assert ",".join(catalog.comparison(A, B).bundles) == expected
    assert set(catalog.comparison(B, A).bundles) == set(expected.split(","))


def test_every_common_space_is_held_against_a_translator() -> None:
    """The first one has measured nothing at the translator's rates, the second one has."""
    direct = missing(bundle("ab", A, B), 0.1, fmr=1e-2)
    first = [missing(projection(f"{s.name}c", s), 0.01, fmr=1e-4) for s in (A, B)]
    second = [missing(projection(f"{s.name}o", s, OTHER_COMMON), 0.05, fmr=1e-2) for s in (A, B)]
    assert Catalog([direct, *first, *second], []).comparison(A, B).bundles == ("ao", "bo")
    assert Catalog([direct, *first], []).comparison(A, B).bundles == ("ab",)


@pytest.mark.parametrize(("counted", "expected"), [("people", ("ac", "bc")), ("pictures", ("ab",))])
def test_misses_at_rates_that_were_counted_otherwise_are_not_compared(
    counted: Literal["people", "pictures"], expected: tuple[str, ...]
) -> None:
    """Both projections miss fewer than the translator, which counted people."""
    direct = missing(bundle("ab", A, B), 0.1)
    direct = replace(direct, calibration=replace(direct.calibration, counted="people"))
    sides = [missing(projection(f"{s.name}c", s), 0.01) for s in (A, B)]
    sides = [replace(side, calibration=replace(side.calibration, counted=counted)) for side in sides]
    assert Catalog([direct, *sides], []).comparison(A, B).bundles == expected


def test_native_thresholds_that_count_people_go_before_more_that_count_pictures() -> None:
    of_many = Calibration({"native-target": (OperatingPoint(1e-3, 0.5, 0.1, 100, 9_000_000),)}, counted="pictures")
    of_few = Calibration({"native-target": (OperatingPoint(1e-3, 0.6, 0.1, 100, 40_000),)}, counted="people")
    of_pictures = replace(bundle("old", A, B), calibration=of_many)
    of_people = replace(bundle("new", A, B), calibration=of_few)
    for bundles in ([of_pictures, of_people], [of_people, of_pictures]):
        catalog = Catalog(bundles, [])
        assert [point.threshold for point in catalog.operating_points(catalog.comparison(B, B))] == [0.6]


def test_thresholds_are_the_stricter_ones_of_both_sides_whichever_is_first() -> None:
    sides = []
    for name, space, thresholds in (("ac", A, (0.5, 0.8, 0.9)), ("bc", B, (0.6, 0.7))):
        points = tuple(
            OperatingPoint(10.0**-place, threshold, 0.1, 100, 100_000)
            for place, threshold in enumerate(thresholds, start=1)
        )
        sides.append(replace(projection(name, space), calibration=Calibration({"translated": points})))
    catalog = Catalog(sides, [])
    for pair in ((A, B), (B, A)):
        points = catalog.operating_points(catalog.comparison(*pair))
        assert [(point.fmr, point.threshold) for point in points] == [(0.1, 0.6), (0.01, 0.8)]


def test_where_one_side_measured_nothing_the_others_thresholds_count() -> None:
    catalog = Catalog([projection("ac", A, missed=0.25), projection("bc", B)], [])
    for pair in ((A, B), (B, A)):
        assert [point.fnmr for point in catalog.operating_points(catalog.comparison(*pair))] == [0.25]


def test_the_quality_of_a_meeting_is_that_of_its_two_spaces() -> None:
    """A projection's first figures are of the space that is hardest to meet."""
    first = projection("ac", A, cosine=0.3)
    pairs: dict[str, Any] = {"against": {"test": {"b": measured(0.9)["test"], "d": measured(0.3)["test"]}}}
    first = replace(first, manifest=replace(first.manifest, metrics=first.manifest.metrics | pairs))
    catalog = Catalog([first, projection("bc", B, cosine=0.7), projection("dc", D)], [])
    for pair in ((A, B), (B, A)):
        assert catalog.quality(catalog.comparison(*pair)) == pytest.approx((0.9 + 0.7) / 2)
    assert catalog.quality(catalog.comparison(A, D)) == pytest.approx((0.3 + 0.8) / 2)


def test_projections_into_a_common_space_are_one_for_each_space() -> None:
    bundles = [projection("ac", A), projection("bc", B), projection("ao", A, OTHER_COMMON), bundle("dc", D, COMMON)]
    assert {step.bundle for step in Catalog(bundles, []).steps_into(COMMON)} == {"ac", "bc"}


def test_comparisons_are_listed_beside_routes() -> None:
    catalog = Catalog([bundle("ab", A, B), projection("ac", A), projection("bc", B)], [])
    listed = [(r.source.name, r.target.name, ",".join(r.bundles)) for r in catalog.routes()]
    assert ("a", "b", "ab") in listed
    assert ("a", "b", "ac,bc") in listed
    assert ("b", "a", "bc,ac") in listed
    assert ("a", "common", "ac") in listed


def test_the_thresholds_of_a_meeting_are_those_of_its_two_spaces() -> None:
    """Of an encoder that is hard to meet nothing is heard where two others meet."""
    point = OperatingPoint(1e-3, 0.5, 0.2, 100, 100_000)
    hard = replace(point, threshold=0.9, fnmr=0.95)
    sides = [
        replace(
            projection(name, space),
            calibration=Calibration({"translated": (hard,)}, {other.fingerprint: (point,), D.fingerprint: (hard,)}),
        )
        for name, space, other in (("ac", A, B), ("bc", B, A))
    ]
    ridge = missing(bundle("ab", A, B, measured(0.8)), 0.5)
    catalog = Catalog([*sides, projection("dc", D, missed=0.95), ridge], [])
    assert catalog.operating_points(catalog.comparison(A, B)) == (point,)
    assert catalog.comparison(A, B).bundles == ("ac", "bc")
    assert [found.threshold for found in catalog.operating_points(catalog.comparison(A, D))] == [0.9]


def test_what_is_kept_in_a_common_space_is_compared_there_and_no_threshold_is_claimed() -> None:
    """It may be of the same encoder, whose impostors score higher than another's."""
    catalog = Catalog([projection("ac", A, missed=0.1), projection("bc", B, missed=0.1)], [])
    route = catalog.comparison(COMMON, A)
    assert (route.steps, route.space, route.bundles) == ((), COMMON, ("ac",))
    assert catalog.comparison(A, COMMON).bundles == ("ac",)
    for pair in ((COMMON, A), (A, COMMON)):
        assert catalog.operating_points(catalog.comparison(*pair)) == ()
        assert catalog.operating_points(catalog.comparison_either_way(*pair)) == ()
        assert catalog.quality(catalog.comparison(*pair)) == pytest.approx(0.8)


def at(threshold: float, fmr: float = 1e-3) -> tuple[OperatingPoint, ...]:
    return (OperatingPoint(fmr, threshold, 0.1, 100, 100_000),)


def test_the_stricter_of_both_projections_holds_in_the_common_space_and_of_drawings_their_own() -> None:
    def projecting(name: str, source: Space, other: Space, photo: float, sketch: float) -> Bundle:
        against = {other.fingerprint: at(photo), f"{other.fingerprint}/sketch": at(sketch)}
        points = {"translated": at(0.9), "translated/sketch": at(0.95)}
        return replace(projection(name, source), calibration=Calibration(points, against))

    bundles = [projecting("ac", A, B, 0.5, 0.7), projecting("bc", B, A, 0.6, 0.4), projection("cc", C, missed=0.1)]
    thresholds = Catalog(bundles, []).thresholds
    a, b, c = (Side(space.fingerprint, (name,)) for space, name in ((A, "ac"), (B, "bc"), (C, "cc")))
    for one, other in ((a, b), (b, a)):
        assert [point.threshold for point in thresholds.between(one, other).points] == [0.6]
        assert [point.threshold for point in thresholds.between(one, other, "sketch").points] == [0.7]
    # Of another side than those that were measured what holds for all of them; and that side knows of no drawings.
    assert [point.threshold for point in thresholds.between(a, c).points] == [0.9]
    assert [point.threshold for point in thresholds.between(a, c, "sketch").points] == [0.95]
    assert not thresholds.between(a, b, "caricature").points


def test_who_asks_of_drawings_gets_a_way_that_has_their_threshold() -> None:
    direct = missing(bundle("ab", A, B), 0.1)
    points = {"translated": at(0.5), "translated/sketch": at(0.6)}
    common = [
        replace(projection(name, space, missed=0.3), calibration=Calibration(points))
        for name, space in (("ac", A), ("bc", B))
    ]
    catalog = Catalog([direct, *common], [])
    assert catalog.comparison(A, B, fmr=1e-3).bundles == ("ab",)
    for kinds in ({"sketch"}, {"photo", "sketch"}):
        assert catalog.comparison(A, B, fmr=1e-3, modalities=kinds).bundles == ("ac", "bc")
        assert set(catalog.comparison_either_way(B, A, fmr=1e-3, modalities=kinds).bundles) == {"ac", "bc"}
    # Nobody has a threshold of these.
    assert catalog.comparison(A, B, fmr=1e-3, modalities={"caricature"}).bundles == ("ab",)
