"""Figures of one network's tasks against loops over every comparison."""

import itertools

import numpy as np
import pytest

from models.feature_set import FeatureSet
from models.space import Space
from training.evaluation.tasks import accuracy, area_under, task_figures


def rows(subjects: str, seed: int, prefix: str) -> FeatureSet:
    """Features of these people, one letter each, that are a little alike where people are."""
    random = np.random.default_rng(seed)
    identity = {letter: np.random.default_rng(ord(letter)).normal(size=4) for letter in set(subjects)}
    feature = np.stack([identity[letter] + 0.9 * random.normal(size=4) for letter in subjects]).astype(np.float32)
    columns = {
        "feature": feature,
        "image": np.array([f"{prefix}{row}" for row in range(len(subjects))]),
        "subject": np.array(list(subjects)),
    }
    return FeatureSet.build(Space("s", 4, "external:s"), columns)


WEAK, PHOTOS = rows("aabbcdde", 1, "w"), rows("aabbbccdefgg", 2, "p")


def rank1_by_hand(probes: FeatureSet, gallery: FeatureSet) -> float:
    """How many of the probes whose subject is in the gallery have a picture of theirs above all of others."""
    right = []
    for feature, subject in zip(probes.feature, probes.subject, strict=True):
        if subject not in gallery.subject:
            continue
        scores = gallery.feature @ feature
        is_own = gallery.subject == subject
        right.append(scores[is_own].max() > scores[~is_own].max())
    return float(np.mean(right))


def test_either_side_is_asked_about_among_the_other() -> None:
    found = task_figures(WEAK, PHOTOS)
    assert found.weak_to_photo.rank1 == pytest.approx(rank1_by_hand(WEAK, PHOTOS))
    # Nobody is looked for among weak pictures of whom there is none.
    assert found.photo_to_weak.rank1 == pytest.approx(rank1_by_hand(PHOTOS, WEAK))
    assert (found.num_weak, found.num_photos) == (8, 12)
    assert 0 < found.weak_to_photo.rank1 < 1


def test_the_area_is_the_share_of_pairs_that_are_in_order() -> None:
    genuine: list[float] = []
    impostor: list[float] = []
    for (one, first), (other, second) in itertools.product(
        zip(WEAK.feature, WEAK.subject, strict=True), zip(PHOTOS.feature, PHOTOS.subject, strict=True)
    ):
        (genuine if first == second else impostor).append(float(one @ other))
    by_hand = np.mean([(g > i) + 0.5 * (g == i) for g in genuine for i in impostor])
    assert task_figures(WEAK, PHOTOS).auc == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [([1.0], [0.0], 1.0), ([0.0], [1.0], 0.0), ([0.5, 0.5], [0.5], 0.5), ([0.5, 1.0], [0.5, 0.2, 0.7], 0.75)],
)
def test_ties_are_counted_half(genuine: list[float], impostor: list[float], expected: float) -> None:
    assert area_under(np.array(genuine, dtype=np.float32), np.array(impostor, dtype=np.float32)) == pytest.approx(
        expected
    )


def test_accuracy_is_of_people_who_are_known() -> None:
    probability_NC = np.array([[0.7, 0.3], [0.6, 0.4], [0.1, 0.9], [0.8, 0.2]], dtype=np.float32)
    subject_N = np.array(["ann", "bob", "bob", "stranger"])
    assert accuracy(probability_NC, subject_N, ["ann", "bob"]) == pytest.approx(2 / 3)
    assert accuracy(probability_NC, np.array(["x"] * 4), ["ann", "bob"]) is None
