"""Verdicts on galleries small enough to be judged by hand.

A template is a unit vector along one axis, so that any two are alike wholly or not at all; among those that are not at all, names
decide. Whoever was found first stays so where both templates lie on one axis, and is lost where they lie on two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest

from models.space import Space
from service.entities import FloatArray, Gallery, NewTemplates, Translation
from service.errors import JobStateError
from service.galleries.oracle import OracleGalleryStore
from service.galleries.port import SearchResult
from service.usecases import judging
from service.usecases.judging import Figure, Judge, Judgement
from service.usecases.labelled import ProbesFigures
from service.usecases.migration_plan import FnirGate, GatePolicy
from service.usecases.pace import Pace

OLD, NEW = Space("old", 128, "external:old"), Space("new", 128, "external:new")


@dataclass(frozen=True)
class Enrolled:
    """A template, the axes on which it lies before and after, and what is told of its translation."""

    subject: str
    old: int
    new: int | None
    confidence: float = 0.5


def axes(places: Sequence[int | None]) -> FloatArray:
    rows = np.zeros((len(places), 128), dtype=np.float32)
    for row, place in zip(rows, places, strict=True):
        row[:] = np.nan if place is None else np.eye(128, dtype=np.float32)[place]
    return rows


def judged(
    templates: Sequence[Enrolled],
    policy: GatePolicy | None = None,
    probes: dict[str, ProbesFigures | None] | None = None,
    native_ratio: float | None = None,
    pace: Pace | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Judgement:
    store = OracleGalleryStore()
    store.create("staff", OLD)
    if templates:
        old, subjects = axes([one.old for one in templates]), [one.subject for one in templates]
        store.enrol("staff", NewTemplates(subjects, old, OLD, old, OLD))
    number = store.generations.begin("staff", NEW, job="job", routes={}).number
    chunk = store.generations.chunk("staff", number)
    new, told = axes([one.new for one in templates]), np.array([one.confidence for one in templates], np.float32)
    filled = store.generations.fill("staff", number, chunk, [Translation(new, ("a-to-b",), told)] if templates else [])
    assert filled.is_complete
    gallery = store.get("staff")
    return Judge(store, pace or Pace())(
        gallery, gallery.beside[0], policy or GatePolicy(), probes, native_ratio=native_ratio, go_on=go_on
    )


def pair(
    number: int, *, was_right: bool = True, is_right: bool = True, confidence: float = 0.5, name: str = "n"
) -> list[Enrolled]:
    """Two templates of one subject."""
    first, second = 2 * number, 2 * number + 1
    subject = f"{name}{number:02}"
    return [
        Enrolled(subject, first, first, confidence),
        Enrolled(subject, first if was_right else second, first if is_right else second, confidence),
    ]


def staff() -> list[Enrolled]:
    """n00 to n31 are found before and after, n32 to n35 only after, n36 to n39 only before; x is in the old generation only, z is
    there once, and of n04 and later ones the translation can be trusted.
    """
    people = [pair(number, confidence=0.01 if number < 4 else 0.5) for number in range(32)]
    people += [pair(number, was_right=False) for number in range(32, 36)]
    people += [pair(number, is_right=False) for number in range(36, 39)]
    people += [pair(39, is_right=False, confidence=np.nan)]
    people += [[Enrolled("x", 90, None), Enrolled("x", 90, None)], [Enrolled("z", 91, 91, 0.0625)]]
    return [template for person in people for template in person]


def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool]]:
    """Of each search from now on: how many probes, how many templates are left out, and whether it can wait."""
    asked: list[tuple[int, int, bool]] = []
    search = OracleGalleryStore.search

    def noted(store: OracleGalleryStore, name: str, probes_BD: FloatArray, *args: Any, **named: Any) -> SearchResult:
        asked.append((len(probes_BD), len(named["without_ids"]), named["between"] is not None))
        return search(store, name, probes_BD, *args, **named)

    monkeypatch.setattr(OracleGalleryStore, "search", noted)
    return asked


POLICY = GatePolicy(low_confidence=0.0625, max_low_confidence=0.1, max_missing=0.02)


def gate(judgement: Judgement, name: str) -> Figure:
    (found,) = (one for one in judgement.gates if one.name == name)
    return found


def assert_gate(judgement: Judgement, name: str, value: float, num: int, state: str) -> None:
    found = gate(judgement, name)
    assert found.value == pytest.approx(value)
    assert (found.num, found.state) == (num, state)


class TestFigures:
    def test_rank_1_counts_drawn_templates_of_subjects_who_have_others_in_both_generations(self) -> None:
        found = judged(staff(), POLICY)
        # Two each of forty; x is not in the new generation, z has no other template.
        assert {name: found.rank1[name] for name in ("num", "before", "after", "positive_flips", "negative_flips")} == {
            "num": 80,
            "before": 36 / 40,
            "after": 36 / 40,
            "positive_flips": 8,
            "negative_flips": 8,
        }
        assert_gate(found, "rank-1 retention", 32 / 36, 36, "failed")
        assert_gate(found, "negative flips", 4 / 40, 40, "failed")
        assert not found.is_passed

    def test_overlap_is_the_mean_share_of_ten_nearest_that_stay(self) -> None:
        """Who is found has oneself and the first nine others by name; who is not, the first ten: nine of ten stay."""
        found = judged(staff(), POLICY)
        assert found.overlaps == [0] * 9 + [16, 65]
        assert_gate(found, "neighbour overlap@10", (33 + 8 * 0.9) / 41, 41, "passed")

    def test_low_confidence_is_the_share_below_the_limit_of_templates_that_tell(self) -> None:
        found = judged(staff(), POLICY)
        # 78 of n00 to n38 and z, which is at the limit and not below; x is not there, n39 does not tell.
        assert_gate(found, "low confidence", 8 / 79, 79, "failed")
        assert found.confidence["num"] == 79
        assert found.confidence["histogram"] == [8, 1, *[0] * 8, 70, *[0] * 9]
        assert found.confidence["quantiles"] == {
            "0.01": 0.01,
            "0.05": 0.01,
            "0.25": 0.5,
            "0.5": 0.5,
            "0.75": 0.5,
            "0.95": 0.5,
        }

    def test_missing_templates_are_a_share_of_all(self) -> None:
        found = judged(staff(), POLICY)
        assert (found.num_missing, found.num_templates) == (2, 83)
        assert_gate(found, "missing templates", 2 / 83, 83, "failed")
        found = judged(staff(), replace(POLICY, max_missing=0.025))
        assert_gate(found, "missing templates", 2 / 83, 83, "passed")

    @pytest.mark.parametrize(("ratio", "expected"), [(None, 0.9), (1.0, 0.9), (2.0, 0.8), (0.5, 0.95), (20.0, 0.0)])
    def test_native_probes_are_predicted_to_miss_so_many_times_as_often(
        self, ratio: float | None, expected: float
    ) -> None:
        found = judged(staff(), POLICY, native_ratio=ratio)
        assert found.rank1["predicted_native"] == pytest.approx(expected)
        assert found.rank1["native_ratio"] == ratio

    @pytest.mark.parametrize(
        ("ratio", "low", "high"),
        # Wilson's of 90 % of 40, by hand: (0.94802 -+ 1.96 sqrt(0.00285025)) / 1.09604; a miss counts twice, or half.
        [(None, 0.7695, 0.9604), (2.0, 0.5390, 0.9208), (0.5, 0.8847, 0.9802)],
    )
    def test_the_prediction_has_an_interval_of_as_many_as_there_are_subjects(
        self, ratio: float | None, low: float, high: float
    ) -> None:
        found = judged(staff(), POLICY, native_ratio=ratio)
        assert found.rank1["predicted_interval"] == pytest.approx([low, high], abs=1e-4)
        assert found.rank1["num_subjects"] == 40

    def test_where_nobody_is_missed_the_interval_says_how_little_that_is(self) -> None:
        found = judged([template for number in range(40) for template in pair(number)])
        low, high = found.rank1["predicted_interval"]
        assert (low, high) == (pytest.approx(1 / (1 + 1.96**2 / 40)), pytest.approx(1.0))

    def test_a_generation_like_the_one_before_passes(self) -> None:
        found = judged([template for number in range(40) for template in pair(number)])
        assert [(one.value, one.state) for one in found.gates] == [
            (1.0, "passed"),
            (1.0, "passed"),
            (0.0, "passed"),
            (0.0, "passed"),
            (0.0, "passed"),
        ]
        assert found.is_passed
        assert found.to_json()["is_passed"] is True
        assert [one["state"] for one in found.to_json()["gates"]] == ["passed"] * 5

    def test_of_fewer_than_thirty_a_share_says_nothing(self) -> None:
        people = [template for number in range(29) for template in pair(number)]
        found = judged(people)
        assert [one.state for one in found.gates] == ["not-measured"] * 3 + ["passed"] * 2
        assert [one.num for one in found.gates] == [29, 29, 29, 58, 58]
        assert not found.is_passed
        # With one more who was not found before, flips can be told, and retention cannot.
        found = judged([*people, *pair(29, was_right=False)])
        assert [one.state for one in found.gates[:3]] == ["not-measured", "not-measured", "passed"]
        # Few flip where few were found: that alone tells nothing.
        assert not found.is_passed

    @pytest.mark.parametrize(("num", "state"), [(39, "not-measured"), (40, "passed")])
    def test_of_few_subjects_ten_are_nearest_to_anything(self, num: int, state: str) -> None:
        found = judged([template for number in range(num) for template in pair(number)])
        overlap = found.gates[0]
        assert (overlap.num, overlap.state) == (num, state)
        # The page shows what was counted all the same.
        assert sum(found.overlaps) == 2 * num

    @pytest.mark.parametrize(("few_of", "at_once"), [(100, 1), (30, 4), (1, 60)])
    def test_of_a_larger_gallery_more_are_asked_about_at_once_but_no_two_of_one_subject(
        self, few_of: int, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else of a subject with two templates that are both drawn nobody would be left to be found."""
        monkeypatch.setattr(judging, "_FEW_OF", few_of)
        asked = searches(monkeypatch)
        people = [template for number in range(60) for template in pair(number)]
        found = judged(people, replace(POLICY, num_samples=120))
        assert (found.rank1["num"], found.rank1["num_subjects"], found.rank1["before"]) == (120, 60, 1.0)
        # In either generation; nobody is to be given way to.
        assert asked == [(at_once, at_once, False)] * (2 * 120 // at_once)

    def test_it_stops_where_it_is_not_to_go_on(self) -> None:
        asked = iter([True, True, False])
        with pytest.raises(JobStateError):
            judged(staff(), POLICY, go_on=lambda: next(asked))

    def test_whoever_has_many_templates_counts_as_much_as_whoever_has_two(self) -> None:
        """Of forty a quarter is lost; one more with a hundred templates does not make that little."""
        people = [template for number in range(40) for template in pair(number, is_right=number >= 10)]
        people += [Enrolled("many", 100, 100)] * 100
        found = judged(people)
        assert_gate(found, "rank-1 retention", 31 / 41, 41, "failed")
        assert_gate(found, "negative flips", 10 / 41, 41, "failed")
        assert found.rank1["after"] == pytest.approx((2 * 30 + 3) / 83)
        assert (found.rank1["num"], found.rank1["num_subjects"]) == (2 * 40 + 3, 41)

    def test_those_with_one_template_are_drawn_beside_a_few_with_many(self) -> None:
        people = [Enrolled(f"many{number}", number, number) for number in range(3) for _ in range(50)]
        people += [Enrolled(f"one{number:02}", 10 + number, 10 + number) for number in range(60)]
        found = judged(people, replace(POLICY, num_samples=40))
        assert (found.gates[0].num, sum(found.overlaps)) == (3 + 31, 40)

    def test_a_gallery_that_is_put_back_while_it_is_judged_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        described = OracleGalleryStore.get

        def behind(store: OracleGalleryStore, name: str) -> Gallery:
            gallery = described(store, name)
            return replace(gallery, beside=tuple(replace(one, is_complete=False) for one in gallery.beside))

        def searched(*args: Any, **named: Any) -> SearchResult:
            monkeypatch.setattr(OracleGalleryStore, "get", behind)
            return search(*args, **named)

        search = OracleGalleryStore.search
        monkeypatch.setattr(OracleGalleryStore, "search", searched)
        with pytest.raises(JobStateError, match="put back"):
            judged(staff(), POLICY)

    def test_no_more_are_drawn_than_the_policy_says(self) -> None:
        found = judged(staff(), replace(POLICY, num_samples=10))
        assert gate(found, "negative flips").num <= 10
        assert sum(found.overlaps) <= 10

    def test_of_an_empty_gallery_nothing_is_measured_but_that_nothing_is_missing(self) -> None:
        found = judged([])
        assert [one.state for one in found.gates] == ["not-measured"] * 4 + ["passed"]
        assert (found.rank1["num"], found.rank1["before"], found.rank1["predicted_native"]) == (0, None, None)
        assert found.rank1["predicted_interval"] is None
        assert (found.overlaps, found.confidence) == ([0] * 11, {"num": 0, "quantiles": {}, "histogram": []})

    def test_it_judges_alike_while_it_gives_way_to_requests(self, monkeypatch: pytest.MonkeyPatch) -> None:
        slept: list[float] = []
        with monkeypatch.context() as patch:
            asked = searches(patch)
            busy = judged(staff(), POLICY, pace=Pace(lambda: True, 0.5, slept.append))
        # 81 drawn templates of 83, so each alone, in either generation.
        assert asked == [(1, 1, True)] * (2 * 81)
        # The store may rest within a search; after each it does.
        assert len(slept) >= 2 * 81
        assert replace(busy, judged_at="") == replace(judged(staff(), POLICY), judged_at="")


def probes(fnir: float | None, num_subjects: int = 200) -> ProbesFigures:
    return ProbesFigures(200, num_subjects, 100, 0.9, 0.01, 0.5, fnir)


class TestLabelledProbes:
    @pytest.mark.parametrize(
        ("before", "after", "increase", "state"),
        [
            (probes(0.125), probes(0.25), 0.125, "passed"),
            (probes(0.125), probes(0.375), 0.25, "failed"),
            (probes(0.25), probes(0.125), -0.125, "passed"),
            (probes(None), probes(0.125), None, "not-measured"),
            (probes(0.125), probes(None), None, "not-measured"),
            (None, probes(0.125), None, "not-measured"),
            (probes(0.0), probes(0.0, num_subjects=29), None, "not-measured"),
            (probes(0.0, num_subjects=29), probes(0.0, num_subjects=30), 0.0, "passed"),
        ],
    )
    def test_the_increase_of_misses_is_a_gate_that_must_be_measured(
        self, before: ProbesFigures | None, after: ProbesFigures, increase: float | None, state: str
    ) -> None:
        policy = GatePolicy(fnir=FnirGate(0.01, 0.125))
        people = [template for number in range(30) for template in pair(number)]
        found = judged(people, policy, {"before": before, "after": after})
        last = found.gates[-1]
        assert (last.name, last.value, last.state) == ("FNIR increase at FPIR 0.01", increase, state)
        assert (last.num, last.is_required) == (after.num_mated_subjects, True)
        assert found.is_passed == (state == "passed")
        assert found.probes is not None
        assert (found.probes["before"] is None, found.probes["after"]["fnir"]) == (before is None, after.fnir)

    def test_without_probes_it_is_not_measured_and_without_the_gate_they_are_only_told(self) -> None:
        people = [template for number in range(30) for template in pair(number)]
        found = judged(people, GatePolicy(fnir=FnirGate()))
        assert (found.gates[-1].state, found.gates[-1].num, found.is_passed) == ("not-measured", 0, False)
        assert found.probes is None
        found = judged(people, GatePolicy(), {"before": probes(0.0), "after": probes(1.0)})
        assert (len(found.gates), found.is_passed) == (5, True)
        assert found.probes is not None


@pytest.mark.parametrize(
    ("value", "is_least", "state"),
    [
        (None, True, "not-measured"),
        (None, False, "not-measured"),
        (0.5, True, "passed"),
        (0.5, False, "passed"),
        (0.25, True, "failed"),
        (0.25, False, "passed"),
        (0.75, True, "passed"),
        (0.75, False, "failed"),
    ],
)
def test_the_limit_itself_is_met(value: float | None, is_least: bool, state: str) -> None:
    assert Figure("", value, 0.5, is_least, 1).state == state


Gate = tuple[Literal["passed", "failed", "not-measured"], bool]
"""Its state, and whether it is required."""
PASSED, FAILED, LACKING = ("passed", False), ("failed", False), ("not-measured", False)


@pytest.mark.parametrize(
    ("gates", "is_passed"),
    [
        ([], False),
        ([PASSED], True),
        ([PASSED, PASSED], True),
        ([FAILED], False),
        ([PASSED, FAILED], False),
        ([LACKING], False),
        ([LACKING, PASSED], True),
        ([LACKING, FAILED], False),
        ([PASSED, ("not-measured", True)], False),
        ([PASSED, ("passed", True)], True),
        ([PASSED, ("failed", True)], False),
        ([LACKING, ("passed", True)], True),
    ],
)
def test_it_is_passed_where_none_failed_and_what_must_be_measured_was(gates: list[Gate], is_passed: bool) -> None:
    value = {"passed": 1.0, "failed": 0.0, "not-measured": None}
    figures = tuple(
        Figure("", value[state], 0.5, is_least=True, num=1, is_required=is_required, is_of_quality=True)
        for state, is_required in gates
    )
    assert [one.state for one in figures] == [state for state, _ in gates]
    assert Judgement("", figures, {}, {}, (), 1, 1, None, 0).is_passed == is_passed


@pytest.mark.parametrize("state", ["not-measured", "failed", "passed"])
def test_one_of_the_passed_must_tell_how_well_people_are_found(state: str) -> None:
    other = Figure("low confidence", 0.0, 0.5, is_least=False, num=1)
    value = {"passed": 1.0, "failed": 0.0, "not-measured": None}[state]
    of_quality = Figure("rank-1 retention", value, 0.5, is_least=True, num=1, is_of_quality=True)
    assert not Judgement("", (other,), {}, {}, (), 1, 1, None, 0).is_passed
    assert Judgement("", (other, of_quality), {}, {}, (), 1, 1, None, 0).is_passed == (state == "passed")
