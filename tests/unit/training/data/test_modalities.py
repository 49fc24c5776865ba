"""Joining sketches and photos by who is on them, and splitting them by subject."""

import numpy as np
import pytest

from models.feature_set import FeatureSet
from models.space import Space
from models.split import SplitRule
from training.data.modalities import FEWEST_PEOPLE, ModalityParts, join_by_subject
from training.errors import JoinError, TrainingError

SPACE = Space("one", 4, "external:one")
OTHER = Space("two", 4, "external:two")


def rows(space: Space, *of: tuple[str, str], modality: bool = True) -> FeatureSet:
    """Pictures named by subject and modality."""
    columns = {
        "feature": np.random.default_rng(0).normal(size=(len(of), 4)).astype(np.float32),
        "image": np.array([f"{place}-{subject}-{kind}" for place, (subject, kind) in enumerate(of)]),
        "subject": np.array([subject for subject, _ in of]),
    }
    if modality:
        columns["modality"] = np.array([kind for _, kind in of])
    return FeatureSet.build(space, columns)


BOTH = rows(
    SPACE, ("ann", "sketch"), ("ann", "photo"), ("ann", "photo"), ("bob", "sketch"), ("cid", "photo"), ("dee", "photo")
)


def test_one_set_of_both_modalities_is_joined_with_itself() -> None:
    found = join_by_subject(BOTH, BOTH)
    assert found.modality == "sketch"
    assert found.weak.subject.tolist() == ["ann"]
    assert found.strong.subject.tolist() == ["ann", "ann", "cid", "dee"]
    assert found.is_one_space


def test_a_sketch_of_somebody_without_a_photo_is_left_out_and_counted() -> None:
    assert join_by_subject(BOTH, BOTH).num_lonely == 1


def test_sets_of_two_encoders_are_joined_by_subject_whatever_their_pictures() -> None:
    weak, strong = rows(SPACE, ("ann", "sketch"), ("bob", "sketch")), rows(OTHER, ("bob", "photo"), ("ann", "photo"))
    found = join_by_subject(weak, strong)
    assert found.weak.subject.tolist() == ["ann", "bob"]
    assert not found.is_one_space


def test_a_set_that_names_no_modality_is_what_it_is_said_to_be() -> None:
    weak, strong = rows(SPACE, ("ann", ""), modality=False), rows(OTHER, ("ann", ""), modality=False)
    found = join_by_subject(weak, strong, "sketch")
    assert (len(found.weak), len(found.strong), found.modality) == (1, 1, "sketch")
    assert found.weak.modality is not None
    assert found.strong.modality is not None
    assert (found.weak.modality.tolist(), found.strong.modality.tolist()) == (["sketch"], ["photo"])


def test_no_picture_is_a_sketch_and_a_photo() -> None:
    untold = rows(SPACE, ("ann", ""), ("bob", ""), modality=False)
    with pytest.raises(JoinError, match="2 pictures are on both sides, '0-ann-' first"):
        join_by_subject(untold, untold, "sketch")
    # Two folders may name different pictures alike.
    others = FeatureSet.build(SPACE, untold.columns() | {"feature": -untold.feature})
    assert len(join_by_subject(untold, others, "sketch").weak) == 2


@pytest.mark.parametrize(
    ("source", "target", "modality", "says"),
    [
        (BOTH, BOTH, "caricature", "source set holds no picture of the modality 'caricature'"),
        (BOTH, rows(OTHER, ("ann", "sketch")), None, "target set holds no picture of the modality 'photo'"),
        (BOTH, BOTH, "photo", "weak modality"),
        (rows(SPACE, ("ann", "photo")), BOTH, None, "does not say which pictures are no photos"),
        (rows(SPACE, ("ann", "sketch"), ("bob", "caricature")), BOTH, None, "several: caricature, sketch"),
        (rows(SPACE, ("bob", "sketch")), BOTH, None, "nobody on the pictures"),
        (rows(SPACE, ("", "sketch")), BOTH, None, "does not say who"),
    ],
)
def test_what_cannot_be_joined_is_told(source: FeatureSet, target: FeatureSet, modality: str | None, says: str) -> None:
    with pytest.raises(JoinError, match=says):
        join_by_subject(source, target, modality)


def test_features_that_a_translator_made_are_refused() -> None:
    translated = BOTH.moved(OTHER, BOTH.feature, translated_by="somebody")
    with pytest.raises(JoinError, match="made by a translator"):
        join_by_subject(translated, BOTH)


def people(num: int) -> FeatureSet:
    return rows(SPACE, *((f"s{number}", kind) for number in range(num) for kind in ("sketch", "photo")))


def test_nobody_is_in_two_parts_and_everybody_is_in_the_gallery() -> None:
    both = people(120)
    parts = ModalityParts.of(join_by_subject(both, both), SplitRule("subject", 0, 0.2, 0.2))
    assert parts.test is not None
    of_parts = [set(part.subject.tolist()) for part in (parts.train.weak, parts.validation, parts.test)]
    assert sum(map(len, of_parts)) == len(set().union(*of_parts)) == 120
    assert set(parts.train.strong.subject.tolist()) == of_parts[0]
    assert len(parts.gallery) == 120
    assert parts.num_validation == len(of_parts[1])


def test_too_few_people_are_refused() -> None:
    both = people(FEWEST_PEOPLE)
    with pytest.raises(TrainingError, match=f"at least {FEWEST_PEOPLE}"):
        ModalityParts.of(join_by_subject(both, both), SplitRule("subject", 0, 0.2, 0.2))


def test_blends_are_of_nobody_and_views_of_whoever_their_picture_is_of() -> None:
    columns = people(40).columns()
    images = columns["image"].tolist()
    images[0], images[2] = f"{images[4]}#view-1", f"{images[6]}#blend-{images[8]}"
    both = FeatureSet.build(SPACE, columns | {"image": np.array(images)})
    found = join_by_subject(both, both)
    assert f"{images[4]}#view-1" in found.weak.image
    assert not found.weak.is_blend.any()
    assert len(found.weak) == 39


def test_nothing_is_chosen_by_photos_of_test_people() -> None:
    both = people(120)
    parts = ModalityParts.of(join_by_subject(both, both), SplitRule("subject", 0, 0.2, 0.2))
    assert parts.test is not None
    assert not set(parts.known.subject.tolist()) & set(parts.test.subject.tolist())
    assert len(np.unique(parts.known.subject)) == 120 - len(np.unique(parts.test.subject))
