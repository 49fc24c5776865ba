"""Measuring across modalities, beside plain loops."""

import math

import numpy as np
import pytest

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.space import Space
from training.evaluation.cross_modal import (
    SIGMAS,
    best_sigma,
    figures_of,
    mean_figures,
    ranks_of,
    real_variance,
    recall_by_samples,
    score_samples,
    variance_of,
)
from training.evaluation.verification import tar_at_far

SPACE = Space("one", 8, "external:one")


def unit(*shape: int, seed: int = 0) -> FloatArray:
    raw = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(raw / np.linalg.norm(raw, axis=-1, keepdims=True), dtype=np.float32)


def feature_set(feature_ND: FloatArray, subject: list[str]) -> FeatureSet:
    image = np.array([f"p{row}" for row in range(len(subject))])
    return FeatureSet.build(SPACE, {"feature": feature_ND, "image": image, "subject": np.array(subject)})


def test_scores_are_the_densities_of_a_plain_loop() -> None:
    sample_PMS, gallery_GS, sigma = unit(3, 4, 8), unit(5, 8, seed=1), 0.3
    score_PG = score_samples(sample_PMS, gallery_GS, sigma)
    for probe in range(3):
        for row in range(5):
            kernels = [
                math.exp(-float(((one.astype(float) - gallery_GS[row]) ** 2).sum()) / (2 * sigma**2))
                for one in sample_PMS[probe]
            ]
            expected = 1 + sigma**2 * math.log(sum(kernels) / 4)
            assert score_PG[probe, row] == pytest.approx(expected, abs=1e-5)


def test_one_sample_is_scored_by_its_cosine_whatever_sigma() -> None:
    sample_PMS, gallery_GS = unit(3, 1, 8), unit(5, 8, seed=1)
    assert np.array_equal(score_samples(sample_PMS, gallery_GS, 0.1), sample_PMS[:, 0] @ gallery_GS.T)


def test_recall_and_rates_are_those_of_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    probe_subject = np.array([f"s{number % 60}" for number in range(70)])
    gallery_subject = np.array([f"s{number % 60}" for number in range(130)])
    score_PG = random.normal(size=(70, 130)).astype(np.float32)
    ranks: list[int] = []
    genuine: list[float] = []
    impostor: list[float] = []
    for row, subject in enumerate(probe_subject.tolist()):
        best: dict[str, float] = {}
        for column, other in enumerate(gallery_subject.tolist()):
            score = float(score_PG[row, column])
            best[other] = max(best.get(other, -9.0), score)
            (genuine if other == subject else impostor).append(score)
        ranks.append(sum(score >= best[subject] for score in best.values()))
    found = figures_of(score_PG, probe_subject, gallery_subject)
    for figure, k in ((found.rank1, 1), (found.rank5, 5), (found.rank10, 10), (found.rank50, 50)):
        assert figure == pytest.approx(sum(rank <= k for rank in ranks) / 70)
    assert found.tar_far_1e2 == tar_at_far(np.array(genuine), np.array(impostor), 1e-2)
    assert found.tar_far_1e3 == tar_at_far(np.array(genuine), np.array(impostor), 1e-3)


def test_a_tie_with_another_subject_counts_against_the_probe() -> None:
    tied = np.zeros((1, 3), dtype=np.float32)
    assert ranks_of(tied, np.array(["a"]), np.array(["a", "b", "a"])).tolist() == [2]


def test_a_probe_of_nobody_in_the_gallery_is_refused() -> None:
    with pytest.raises(ValueError, match="not in the gallery"):
        ranks_of(np.zeros((1, 1), dtype=np.float32), np.array(["a"]), np.array(["b"]))


def test_rates_that_too_few_comparisons_can_tell_are_not_told() -> None:
    found = figures_of(np.eye(5, dtype=np.float32), np.array(list("abcde")), np.array(list("abcde")))
    assert (found.tar_far_1e2, found.tar_far_1e3) == (None, None)
    assert mean_figures([found, found]) == found


def test_variance_is_that_of_all_pairs() -> None:
    sample_PMS, subject = unit(6, 3, 8), ["a", "b", "c", "d", "e", "a"]
    within = [
        float(sample_PMS[p, i] @ sample_PMS[p, j]) for p in range(6) for i in range(3) for j in range(3) if i != j
    ]
    across = [
        float(sample_PMS[p, i] @ sample_PMS[q, j])
        for p in range(6)
        for q in range(6)
        if subject[p] != subject[q]
        for i in range(3)
        for j in range(3)
    ]
    found = variance_of(sample_PMS, np.array(subject))
    assert found.intra_sim == pytest.approx(np.mean(within), abs=1e-6)
    assert found.inter_sim == pytest.approx(np.mean(across), abs=1e-6)
    assert variance_of(sample_PMS[:, :1], np.array(subject)).intra_sim is None


def test_real_variance_counts_every_person_alike() -> None:
    feature, subject = unit(7, 8), ["a", "a", "a", "b", "b", "c", "d"]
    within = [
        np.mean([float(feature[i] @ feature[j]) for i in rows for j in rows if i != j]) for rows in ((0, 1, 2), (3, 4))
    ]
    people = [[0, 1, 2], [3, 4], [5], [6]]
    across = [
        np.mean([float(feature[i] @ feature[j]) for i in one for j in other])
        for one in people
        for other in people
        if one is not other
    ]
    found = real_variance(feature_set(feature, subject))
    assert found.intra_sim == pytest.approx(np.mean(within), abs=1e-6)
    assert found.inter_sim == pytest.approx(np.mean(across), abs=1e-6)
    assert real_variance(feature_set(feature[5:], ["c", "d"])).intra_sim is None


def test_sigma_is_narrow_where_one_sample_of_several_is_right() -> None:
    gallery = feature_set(np.eye(8, dtype=np.float32), list("abcdefgh"))
    probes = feature_set(np.eye(8, dtype=np.float32)[:4], list("abcd"))
    # One sample is the person, the others all lie half way to somebody else: their mean is nearer to that one.
    wrong = np.eye(8, dtype=np.float32)[4:].copy()
    sample_PMS = np.stack([np.stack([probes.feature[row], *([wrong[row] * 0.8] * 5)]) for row in range(4)])
    chosen = best_sigma(sample_PMS, probes, gallery)
    assert chosen < SIGMAS[-1]
    found = figures_of(score_samples(sample_PMS, gallery.feature, chosen), probes.subject, gallery.subject)
    assert found.rank1 == 1.0


def test_recall_is_told_for_each_number_of_the_first_samples() -> None:
    gallery = feature_set(np.eye(8, dtype=np.float32), list("abcdefgh"))
    probes = feature_set(np.eye(8, dtype=np.float32)[:2], list("ab"))

    def sample(weak_NW: FloatArray, seed: int) -> FloatArray:
        wrong = np.roll(weak_NW, 1, axis=1)
        return np.stack([wrong, weak_NW, weak_NW], axis=1)

    found = recall_by_samples(sample, probes, gallery, 0.5, nums=(1, 3), seeds=(0, 1))
    assert (found[1].rank1, found[3].rank1) == (0.0, 1.0)
