from collections.abc import Callable

import numpy as np
import pytest

from models.feature_set import FeatureSet
from training.data.pairs import join_all, join_by_image
from training.errors import JoinError

MakeSet = Callable[..., FeatureSet]


def renamed(plain: FeatureSet, **columns: list[str]) -> FeatureSet:
    return FeatureSet.build(plain.space, plain.columns() | {name: np.array(text) for name, text in columns.items()})


def test_pairs_are_the_common_pictures_in_order_of_their_keys(feature_set: MakeSet) -> None:
    source = renamed(feature_set("a", subjects=False), image=["e", "b", "x", "a", "d", "c"])
    target = renamed(feature_set("b", 3, subjects=False), image=["c", "y", "z", "a", "b", "e"])
    pairs = join_by_image(source, target)
    assert len(pairs) == 4
    assert pairs.source.image.tolist() == pairs.target.image.tolist() == ["a", "b", "c", "e"]
    np.testing.assert_array_equal(pairs.source.feature, source.feature[[3, 1, 5, 0]])
    np.testing.assert_array_equal(pairs.target.feature, target.feature[[3, 4, 0, 5]])


def test_norms_stay_with_their_features(feature_set: MakeSet) -> None:
    source = renamed(feature_set("a", subjects=False), image=["e", "b", "x", "a", "d", "c"])
    pairs = join_by_image(source, renamed(feature_set("b", 3), image=["c", "y", "z", "a", "b", "e"]))
    assert source.norm is not None
    np.testing.assert_array_equal(pairs.source.norms, source.norm[[3, 1, 5, 0]])


def test_taking_rows_takes_them_on_both_sides(feature_set: MakeSet) -> None:
    pairs = join_by_image(feature_set("a"), feature_set("b", 3))
    taken = pairs.take(np.array([4, 1]))
    assert taken.source.image.tolist() == taken.target.image.tolist() == ["004.png", "001.png"]
    np.testing.assert_array_equal(taken.target.feature, pairs.target.feature[[4, 1]])


def test_the_same_space_twice_is_refused_even_under_another_name(feature_set: MakeSet) -> None:
    source = feature_set("a")
    with pytest.raises(JoinError, match="both feature sets are of the space 'a'; there is nothing to translate"):
        join_by_image(source, source)


def test_sets_without_a_common_picture_are_refused_with_a_key_of_each(feature_set: MakeSet) -> None:
    target = renamed(feature_set("b"), image=[f"set/{i}.png" for i in range(6)])
    with pytest.raises(JoinError, match=r"keys like '000\.png', the target like 'set/0\.png'"):
        join_by_image(feature_set("a"), target)


def test_sets_that_name_different_people_are_refused_with_the_first_picture(feature_set: MakeSet) -> None:
    target = renamed(feature_set("b"), subject=["s0", "s0", "s1", "s9", "s2", "s9"])
    with pytest.raises(JoinError, match=r"different subjects for 2 pictures, '003\.png' first"):
        join_by_image(feature_set("a"), target)


@pytest.mark.parametrize("unlabelled", ["source", "target"])
def test_one_set_may_leave_the_subjects_out(feature_set: MakeSet, unlabelled: str) -> None:
    pairs = join_by_image(
        feature_set("a", subjects=unlabelled != "source"), feature_set("b", subjects=unlabelled != "target")
    )
    assert len(pairs) == 6
    assert pairs.source.subject.tolist() == feature_set("a").subject.tolist()


@pytest.mark.parametrize("side", ["source", "target"])
def test_features_that_a_translator_made_are_not_taken_for_the_encoders_own(feature_set: MakeSet, side: str) -> None:
    native = {"source": feature_set("a"), "target": feature_set("b", 3)}
    marked = native[side].columns() | {"label_translated_by": np.full(6, "a-bundle")}
    sets = native | {side: FeatureSet.build(native[side].space, marked)}
    with pytest.raises(JoinError, match=f"the {side} set was made by a translator"):
        join_by_image(sets["source"], sets["target"])


def test_modalities_are_of_whichever_set_knows_them(feature_set: MakeSet) -> None:
    plain = feature_set("b", 3)
    kinds = ["photo", "sketch"] * 3
    drawn = renamed(feature_set("a"), modality=kinds)
    for source, target in ((drawn, plain), (plain, drawn)):
        pairs = join_by_image(source, target)
        for side in (pairs.source, pairs.target):
            assert side.modality is not None
            assert side.modality.tolist() == kinds
    for side in join_all([plain, drawn]):
        assert side.modality is not None
        assert side.modality.tolist() == kinds


def test_sets_that_disagree_on_modalities_are_refused(feature_set: MakeSet) -> None:
    one = renamed(feature_set("a"), modality=["photo"] * 6)
    other = renamed(feature_set("b", 3), modality=["photo", "sketch", *["photo"] * 4])
    with pytest.raises(JoinError, match=r"different modalities for 1 pictures, '001\.png' first"):
        join_by_image(one, other)


def test_an_unknown_modality_is_filled_in_from_the_other_set(feature_set: MakeSet) -> None:
    one = renamed(feature_set("a"), modality=["", "sketch", *[""] * 4])
    other = renamed(feature_set("b", 3), modality=["photo", "", *["photo"] * 4])
    pairs = join_by_image(one, other)
    for side in (pairs.source, pairs.target):
        assert side.modality is not None
        assert side.modality.tolist() == ["photo", "sketch", *["photo"] * 4]
