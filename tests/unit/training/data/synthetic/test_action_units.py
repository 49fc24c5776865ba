from dataclasses import astuple

import numpy as np
import pytest

from training.data.expressions import ACTION_UNITS, EXPRESSIONS, UNITS_OF
from training.data.synthetic.action_units import Motion, draw_units, motion_of

TABLE_1: dict[str, tuple[set[int], dict[int, float]]] = {
    "happiness": ({12, 25}, {6: 0.51}),
    "sadness": ({4, 15}, {1: 0.6, 6: 0.5, 11: 0.26, 17: 0.67}),
    "fear": ({1, 4, 20, 25}, {2: 0.57, 5: 0.63, 26: 0.33}),
    "anger": ({4, 7, 24}, {10: 0.26, 17: 0.52, 23: 0.29}),
    "surprise": ({1, 2, 25, 26}, {5: 0.66}),
    "disgust": ({9, 10, 17}, {4: 0.31, 24: 0.26}),
}
"""Kollias et al. (AAAI 2024), Table 1, columns of Du, Tao and Martinez (2014): prototypical, observational with weight."""

LIPS_SHUT, LIPS_APART = (23, 24), (25, 26)
CORNERS_UP, CORNERS_DOWN = 12, 15
NUM_DRAWS = 2000


def draws(expression: str) -> list[dict[int, float]]:
    random = np.random.default_rng(EXPRESSIONS.index(expression))
    return [draw_units(expression, random) for _ in range(NUM_DRAWS)]


def four_deviations(share: float) -> float:
    """Of the mean of so many draws."""
    return float(4 * (share * (1 - share) / NUM_DRAWS) ** 0.5)


def test_units_are_those_of_the_papers_table() -> None:
    found = {name: (set(units.prototypical), dict(units.observational)) for name, units in UNITS_OF.items()}
    assert found == {"neutral": (set(), {}), **TABLE_1}


def test_the_seventeen_units_are_those_of_the_table_and_are_named_once() -> None:
    named = {unit for always, sometimes in TABLE_1.values() for unit in (*always, *sometimes)}
    assert set(ACTION_UNITS) == named
    assert len(ACTION_UNITS) == 17
    assert tuple(UNITS_OF) == EXPRESSIONS


@pytest.mark.parametrize("expression", TABLE_1)
def test_prototypical_units_are_always_shown(expression: str) -> None:
    always, _ = TABLE_1[expression]
    assert all(always <= shown.keys() for shown in draws(expression))


@pytest.mark.parametrize("expression", TABLE_1)
def test_observational_units_are_shown_as_often_as_their_weight_says(expression: str) -> None:
    _, sometimes = TABLE_1[expression]
    drawn = draws(expression)
    for unit, weight in sometimes.items():
        share = sum(unit in shown for shown in drawn) / NUM_DRAWS
        assert share == pytest.approx(weight, abs=four_deviations(weight)), unit


def test_a_neutral_face_moves_a_unit_now_and_then() -> None:
    drawn = draws("neutral")
    for unit in ACTION_UNITS:
        share = sum(unit in shown for shown in drawn) / NUM_DRAWS
        assert share == pytest.approx(0.04, abs=four_deviations(0.04)), unit


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_unit_is_never_shown_together_with_one_that_it_excludes(expression: str) -> None:
    for shown in draws(expression):
        assert not (any(unit in shown for unit in LIPS_SHUT) and any(unit in shown for unit in LIPS_APART))
        assert not (CORNERS_UP in shown and CORNERS_DOWN in shown)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_intensities_lie_between_just_visible_and_full(expression: str) -> None:
    strengths = [strength for shown in draws(expression) for strength in shown.values()]
    assert min(strengths) >= 0.45
    assert max(strengths) <= 1.0
    # Uniform over the interval: its middle, and the interval over the root of twelve.
    assert np.mean(strengths) == pytest.approx(0.725, abs=4 * 0.55 / (12 * len(strengths)) ** 0.5)


def test_a_face_without_units_is_at_rest() -> None:
    assert motion_of({}) == Motion()


def test_a_half_smile_with_lips_apart_moves_what_the_two_units_move() -> None:
    expected = Motion(corner_out=0.0425, corner_up=0.0475, folds=0.3, lip_thinness=0.075, opening=0.075)
    np.testing.assert_allclose(astuple(motion_of({12: 0.5, 25: 1.0})), astuple(expected), atol=1e-12)


def test_units_that_pull_against_each_other_are_summed() -> None:
    # Inner brows: 0.075 down by unit 4, half of 0.1 up by unit 1.
    moved = motion_of({4: 1.0, 1: 0.5})
    assert moved.brow_inner == pytest.approx(0.025)
    assert moved.brow_creases == pytest.approx(0.3)


def test_motion_is_linear_in_the_intensities() -> None:
    random = np.random.default_rng(0)
    one, other = ({unit: float(random.random()) for unit in ACTION_UNITS} for _ in range(2))
    mixed = {unit: 0.3 * one[unit] + 0.7 * other[unit] for unit in ACTION_UNITS}
    expected = 0.3 * np.array(astuple(motion_of(one))) + 0.7 * np.array(astuple(motion_of(other)))
    np.testing.assert_allclose(astuple(motion_of(mixed)), expected, atol=1e-12)
