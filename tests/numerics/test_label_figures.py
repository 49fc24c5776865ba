"""How well labels are told, beside counting by hand."""

import numpy as np
import pytest

from training.data.labelled import Labels
from training.evaluation.labels import attribute_figures, class_figures

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
