import numpy as np
import pytest

from training.data.expressions import ACTION_UNITS, EXPRESSIONS
from training.data.labelled import Labels
from training.data.relatedness import Relatedness, counted, of_aff_wild2, of_study, relatedness_of
from training.errors import TrainingError

CLASSES, ATTRIBUTES = ("cat", "dog", "newt"), ("fur", "barks", "wings")
CLASS = np.array([0, 0, 0, 1, 1, -1])
HAS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 1, 1]], dtype=bool)
KNOWN = np.array([[1, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1], [1, 1, 1]], dtype=bool)


def units(related: Relatedness, expression: str) -> dict[int, float]:
    weight_M = related.weight_KM[related.classes.index(expression)]
    return {unit: round(float(one), 4) for unit, one in zip(ACTION_UNITS, weight_M, strict=True) if one}


def test_a_study_says_what_table_1_says() -> None:
    study = of_study()
    assert (study.classes, len(study.attributes), study.attributes[0]) == (EXPRESSIONS, 17, "au_1")
    assert units(study, "sadness") == {4: 1.0, 15: 1.0, 1: 0.6, 6: 0.5, 11: 0.26, 17: 0.67}
    assert units(study, "neutral") == {}
    # A prototypical and an observational unit are expected alike.
    np.testing.assert_array_equal(study.chance_KM, study.weight_KM > 0)
    assert study.uncoupled == ()


def test_aff_wild2_says_what_its_column_says() -> None:
    found = of_aff_wild2()
    assert units(found, "surprise") == {1: 0.38, 2: 0.37, 25: 0.85, 26: 0.3, 5: 0.5, 7: 0.2}
    np.testing.assert_array_equal(found.chance_KM, found.weight_KM)
    assert found.uncoupled == ("au_9", "au_11", "au_17", "au_20", "au_23", "au_24")


def test_annotations_are_counted_where_they_are_known() -> None:
    found = counted(CLASS, HAS, KNOWN, CLASSES, ATTRIBUTES)
    np.testing.assert_allclose(found.chance_KM[:2], [[2 / 3, 0, 0], [1, 0.5, 0]])
    # Of newts there is no picture: they have what everybody has whose class is known.
    np.testing.assert_allclose(found.chance_KM[2], [3 / 4, 1 / 4, 0])
    assert (found.unseen, found.uncoupled) == (("newt",), ("wings",))


def test_arrays_of_other_pictures_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"attributes of \(6, 3\) and \(1, 3\) for 6 pictures"):
        counted(CLASS, HAS, KNOWN[:1], CLASSES, ATTRIBUTES)


def test_some_are_taken_in_their_order() -> None:
    found = counted(CLASS, HAS, KNOWN, CLASSES, ATTRIBUTES).of(("newt", "dog"), ("barks",))
    assert (found.classes, found.attributes, found.unseen) == (("newt", "dog"), ("barks",), ("newt",))
    np.testing.assert_allclose(found.chance_KM, [[1 / 4], [0.5]])
    with pytest.raises(TrainingError, match="nothing is known of the attribute 'gills'; known: fur"):
        counted(CLASS, HAS, KNOWN, CLASSES, ATTRIBUTES).of(("dog",), ("gills",))


def test_what_it_does_not_know_no_class_has() -> None:
    found = of_study().as_far_as_known(("happiness", "neutral"), ("eyeglasses", "au_12", "au_1"))
    np.testing.assert_array_equal(found.chance_KM, [[0, 1, 0], [0, 0, 0]])
    assert "eyeglasses" in found.uncoupled
    with pytest.raises(TrainingError, match=r"the class 'contempt'; .*; leave it out by naming the others"):
        of_study().as_far_as_known(("contempt",), ("au_12",))
    with pytest.raises(TrainingError, match="nothing is known of the attribute 'eyeglasses'"):
        of_study().as_far_as_known(("happiness",), ("eyeglasses",))


def labels(attributes: tuple[str, ...], classes: tuple[str, ...] = ("happiness", "neutral"), *, both: bool) -> Labels:
    """Two pictures of a known class, and two that tell attributes; of `both` all tell both."""
    class_N = np.array([0, 1, 0 if both else -1, 1 if both else -1])
    is_known_NM = np.repeat(np.array([both, both, True, True])[:, None], len(attributes), axis=1)
    return Labels(classes, attributes, class_N, is_known_NM & True, is_known_NM)


def test_without_a_name_it_is_the_study_or_counted_or_as_far_as_the_study_knows() -> None:
    assert relatedness_of(None, labels(("au_1", "au_12"), both=True)).origin == "study"
    assert relatedness_of(None, labels(("au_1", "eyeglasses"), both=True)).origin == "counted"
    found = relatedness_of(None, labels(("au_1", "eyeglasses"), both=False))
    assert (found.origin, "eyeglasses" in found.uncoupled) == ("study", True)
    with pytest.raises(TrainingError, match=r"say it in a file$"):
        relatedness_of(None, labels(("eyeglasses",), both=False))
    with pytest.raises(TrainingError, match="or learn expressions alone, which 'contempt' is none of"):
        relatedness_of(None, labels(("au_1",), ("contempt", "neutral"), both=False))


@pytest.mark.parametrize("out_of_range", [3, -2])
def test_classes_out_of_range_are_refused(out_of_range: int) -> None:
    with pytest.raises(TrainingError, match="numbered from 0 to 2"):
        counted(np.array([0, out_of_range]), HAS[:2], KNOWN[:2], CLASSES, ATTRIBUTES)


def test_what_is_no_relatedness_is_refused() -> None:
    right = np.full((3, 3), 0.5, dtype=np.float32)
    with pytest.raises(TrainingError, match=r"weights of relatedness are \(3, 2\)"):
        Relatedness(CLASSES, ATTRIBUTES, right[:, :2], right)
    for wrong in (right * 3, -right, right * np.nan):
        with pytest.raises(TrainingError, match="chances of relatedness must be from 0 to 1"):
            Relatedness(CLASSES, ATTRIBUTES, right, wrong)
    with pytest.raises(TrainingError, match="classes of relatedness must be named, each once"):
        Relatedness(("cat", "cat", "dog"), ATTRIBUTES, right, right)
