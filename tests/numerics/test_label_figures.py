"""How well labels are told, beside counting by hand."""

import numpy as np
import pytest

from models.attributes import Attribute, AttributeTable, Cut
from training.data.labelled import UNKNOWN, Labels
from training.evaluation.labels import attribute_figures, class_figures, left_out, measured_table

CLASS = np.array([0, 0, 0, 1, -1, 3])
TOLD = [0, 0, 1, 1, 2, 2]
HAS = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0], [0, 1, 0, 0]], dtype=bool)
KNOWN = np.array([[1, 1, 1, 0]] * 5 + [[0, 1, 1, 0]], dtype=bool)
LABELS = Labels(("a", "b", "c", "d"), ("one", "all", "none", "unknown"), CLASS, HAS, KNOWN)


def test_classes_are_told_as_counted_by_hand() -> None:
    found = class_figures(np.eye(4, dtype=np.float32)[TOLD], LABELS)
    assert found is not None
    assert found.num_pictures == 5
    assert found.accuracy == pytest.approx(3 / 5)
    # Of a two of three, of b the one, of d none; nobody is of c.
    assert found.average_accuracy == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found.f1 == pytest.approx((2 * 2 / (2 + 3) + 2 * 1 / (2 + 1) + 0) / 3)


def test_attributes_are_told_as_counted_by_hand() -> None:
    probability = np.full((6, 4), 0.9, dtype=np.float32)
    probability[:, 0] = [0.8, 0.3, 0.6, 0.1, 0.7, 0.9]
    found = attribute_figures(probability, LABELS)
    assert found is not None
    # Of the first five pictures: two right, one found wrongly, one missed; what all or none have tells nothing.
    assert found.num_attributes == 1
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.f1 == pytest.approx(2 * 2 / (3 + 3))
    assert found.afa == pytest.approx((3 / 5 + 2 / 3) / 2)
    strict = attribute_figures(probability, LABELS, [0.65, 0.5, 0.5, 0.5])
    assert strict is not None
    assert strict.accuracy == pytest.approx(4 / 5)


def test_where_nothing_is_known_there_is_no_figure() -> None:
    nothing = Labels(LABELS.classes, LABELS.attributes, np.full(6, -1), HAS, np.zeros_like(KNOWN))
    probability = np.full((6, 4), 0.5, dtype=np.float32)
    assert class_figures(probability, nothing) is None
    assert attribute_figures(probability, nothing) is None


TABLE = AttributeTable(
    "mood",
    (Attribute("glad", (Cut(0.1, 0.5, 0.0),), (Cut(0.1, 0.4, 0.0),)), Attribute("sad")),
    (Attribute("hat", (Cut(0.05, 0.3, 0.0), Cut(0.1, 0.6, 0.0)), ()),),
)


def test_what_is_meant_and_left_out_is_counted_by_the_error_that_is_stated() -> None:
    labels = Labels(
        ("glad", "sad"),
        ("hat",),
        np.array([0, 0, 0, 1, 1, UNKNOWN]),
        np.array([[True], [True], [True], [False], [True], [True]]),
        np.array([[True], [True], [True], [True], [False], [True]]),
    )
    told = np.array([[0.9, 0.3], [0.5, 0.2], [0.4, 0.9], [0.3, 0.1], [0.6, 0.1], [0.1, 0.5]], dtype=np.float32)
    probability = np.column_stack([told[:, 0], 1 - told[:, 0], told[:, 1]])
    found = left_out(probability, labels, TABLE)
    # Glad: of three who are one is below a half; of two who are not one is above 0.4. Hat, known of four who have it: at 0.05 one
    # is below 0.3, at 0.1 three are below 0.6. What is as much as the threshold is let through.
    assert [(one.error, one.of) for one in found] == [(0.05, "hat"), (0.1, "hat")]
    assert [one.mean for one in found] == pytest.approx([1 / 4, (1 / 3 + 1 / 2 + 3 / 4) / 3])
    assert [one.largest for one in found] == pytest.approx([1 / 4, 3 / 4])


def test_thresholds_are_measured_of_what_is_known_and_of_everybody_once() -> None:
    num = 40
    labels = Labels(
        ("glad", "sad"),
        ("hat",),
        np.array([0, 1] * (num // 2)),
        np.arange(num)[:, None] % 4 < 2,
        np.arange(num)[:, None] < 30,
    )
    probability = np.random.default_rng(0).random((num, 3)).astype(np.float32)
    people = np.array([f"p{row // 2}" for row in range(num)])
    found = measured_table(probability, labels, people, tells=(True, True))
    assert [one.name for one in found.everything] == ["glad", "sad", "hat"]
    assert [(one.num_with, one.num_without) for one in found.everything] == [(20, 20), (20, 20), (16, 14)]
    assert [(one.num_people_with, one.num_people_without) for one in found.everything] == [(20, 20), (20, 20), (8, 7)]
    unknown = measured_table(probability, labels, None, tells=(False, True))
    assert [(one.name, one.num_people_with) for one in unknown.everything] == [("hat", 16)]
