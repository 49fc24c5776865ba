from dataclasses import replace

import numpy as np
import pytest

from training.data.labelled import UNKNOWN, filled, read_labels
from training.data.sources import PictureItem
from training.errors import TrainingError


def item(key: str, **labels: str) -> PictureItem:
    return PictureItem(key, key, labels=labels)


ITEMS = [
    item("a", mood="glad", hat="1", glasses="0"),
    item("b", mood="", hat="0.45", glasses=""),
    item("c", mood="sad", hat="", glasses="0.0"),
    item("d"),
]


def test_what_is_empty_or_missing_is_not_known() -> None:
    found = read_labels(ITEMS, "mood", ("hat", "glasses"))
    assert (found.classes, found.attributes) == (("glad", "sad"), ("hat", "glasses"))
    assert found.class_N.tolist() == [0, UNKNOWN, 1, UNKNOWN]
    assert found.has_NM.tolist() == [[True, False], [True, False], [False, False], [False, False]]
    assert found.is_known_NM.tolist() == [[True, True], [True, False], [False, True], [False, False]]
    assert found.unseen == ()


def test_classes_can_be_named_and_those_without_a_picture_are_told() -> None:
    found = read_labels(ITEMS, "mood", ("hat",), ("sad", "glad"))
    assert found.class_N.tolist() == [1, UNKNOWN, 0, UNKNOWN]
    assert found.take(np.array([0])).unseen == ("sad",)
    assert found.take(np.array([1, 3])).unseen == ("sad", "glad")
    assert found.take(np.array([3])).unseen == ("sad", "glad", "hat")


def test_of_a_class_that_is_not_named_the_class_is_not_known() -> None:
    found = read_labels(ITEMS, "mood", (), ("glad",))
    assert (found.classes, found.class_N.tolist()) == (("glad",), [0, UNKNOWN, UNKNOWN, UNKNOWN])
    with pytest.raises(TrainingError, match="of no picture mood is 'angry'; it is: glad, sad"):
        read_labels(ITEMS, "mood", (), ("glad", "angry"))


def test_an_attribute_may_be_there_where_a_column_says_anything() -> None:
    found = read_labels([*ITEMS[:2], item("c", mood=" sad ", glasses="0.0"), ITEMS[3]], "", ("glasses=0", "mood=sad"))
    assert found.attributes == ("glasses", "mood")
    # As text: 0.0 is not what was asked for.
    assert found.has_NM.tolist() == [[True, False], [False, False], [False, True], [False, False]]
    assert found.is_known_NM.tolist() == [[True, True], [False, False], [True, True], [False, False]]
    with pytest.raises(TrainingError, match="of no picture mood is 'angry'; it is: glad, sad"):
        read_labels(ITEMS, "", ("mood=angry",))
    with pytest.raises(TrainingError, match=r"of no picture hat is ''; it is: 0\.45, 1"):
        read_labels(ITEMS, "", ("hat=",))


def test_attributes_that_all_have_or_none_are_told() -> None:
    assert read_labels(ITEMS, "", ("hat", "glasses", "mood=sad")).alike == ("hat", "glasses")
    assert read_labels(ITEMS[3:], "", ()).alike == ()


def test_attributes_alone_need_no_class() -> None:
    found = read_labels(ITEMS, "", ("hat",))
    assert (found.classes, found.class_N.tolist()) == ((), [UNKNOWN] * 4)
    assert read_labels(ITEMS, "mood", ()).has_NM.shape == (4, 0)


def test_what_is_given_goes_before_what_is_told() -> None:
    given = read_labels(ITEMS, "mood", ())
    told = read_labels(
        [item(one.key, mood=mood) for one, mood in zip(ITEMS, ["sad", "sad", "", "odd"], strict=True)], "mood", ()
    )
    found = filled(given, replace(told, classes=("sad", "odd", "glad"), class_N=np.array([0, 0, UNKNOWN, 1])))
    assert [found.classes[one] for one in found.class_N.tolist()] == ["glad", "sad", "sad", "odd"]
    with pytest.raises(TrainingError, match="'glad' is no class that is told; these are: odd, sad"):
        filled(given, told)


def test_what_is_no_label_is_refused_by_name() -> None:
    with pytest.raises(TrainingError, match="no picture has a label 'beard'; there are: glasses, hat, mood"):
        read_labels(ITEMS, "mood", ("beard",))
    for wrong in ("2", "-1", "yes", "nan", "inf"):
        with pytest.raises(TrainingError, match=f"e: hat is '{wrong}', which is no number from 0 to 1"):
            read_labels([*ITEMS, item("e", hat=wrong)], "", ("hat",))
