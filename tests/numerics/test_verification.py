import math

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_curve

from training.evaluation.verification import score_pairs, tar_at_far

Scores = npt.NDArray[np.float64]


def naive_tar(genuine: list[float], impostor: list[float], far: float) -> float | None:
    """The best share of genuine scores over every threshold that lets at most a share `far` of impostors pass."""
    if len(impostor) * far < 1 - 1e-9:
        return None
    best = 0.0
    everything = sorted({*genuine, *impostor})
    for threshold in [*everything, *(math.nextafter(score, 9.0) for score in everything)]:
        passed = sum(score >= threshold for score in impostor)
        if passed <= far * len(impostor) + 1e-9:
            best = max(best, sum(score >= threshold for score in genuine) / len(genuine))
    return best


@pytest.mark.parametrize("far", [0.3, 1e-1, 1e-2, 1e-3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tar_is_where_the_roc_of_scikit_learn_reaches_the_rate_on_distinct_scores(far: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    genuine, impostor = random.normal(1.5, 1, 400), random.normal(0, 1, 2000)
    fpr, tpr, _ = roc_curve(
        np.repeat([1, 0], [400, 2000]), np.concatenate([genuine, impostor]), drop_intermediate=False
    )
    # The first point with this FPR is the one whose threshold is an impostor's own score.
    first = int(np.searchsorted(fpr, far - 1e-12))
    assert fpr[first] == pytest.approx(far, abs=1e-12)
    assert tar_at_far(genuine, impostor, far) == pytest.approx(tpr[first], abs=1e-12)


@pytest.mark.parametrize("far", [0.5, 0.25, 0.1, 0.05])
@pytest.mark.parametrize("seed", range(4))
def test_tar_with_ties_never_accepts_more_impostors_than_the_rate(far: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    genuine, impostor = random.integers(2, 8, 30) / 8, random.integers(0, 6, 60) / 8
    assert tar_at_far(genuine, impostor, far) == naive_tar(genuine.tolist(), impostor.tolist(), far)


def test_there_is_no_tar_without_enough_impostors_or_without_genuine_scores() -> None:
    scores = np.linspace(0, 1, 99)
    assert tar_at_far(scores, scores, 1e-2) is None
    assert tar_at_far(scores, np.linspace(0, 1, 100), 1e-2) is not None
    assert tar_at_far(np.zeros(0), scores, 0.1) is None


def test_impostors_that_all_score_alike_leave_only_what_is_above_them() -> None:
    assert tar_at_far(np.array([0.5, 0.75, 0.25]), np.full(10, 0.5), 0.1) == pytest.approx(1 / 3)


def test_ties_in_float32_are_broken_in_float32() -> None:
    impostor = np.full(10, 0.1, dtype=np.float32)
    genuine = np.array([0.1, 0.2], dtype=np.float32)
    assert tar_at_far(genuine, impostor, 0.1) == 0.5


def test_score_pairs_are_those_of_a_double_loop() -> None:
    random = np.random.default_rng(0)
    probe = random.integers(-3, 4, (7, 3)).astype(np.float32)
    gallery = random.integers(-3, 4, (5, 3)).astype(np.float32)
    who, known = list("abcabca"), list("abcde")
    genuine, impostor = score_pairs(probe, np.array(who), gallery, np.array(known))
    expected: dict[bool, list[float]] = {True: [], False: []}
    for row, subject in zip(probe.tolist(), who, strict=True):
        for stored, other in zip(gallery.tolist(), known, strict=True):
            expected[subject == other].append(sum(a * b for a, b in zip(row, stored, strict=True)))
    assert genuine.tolist() == expected[True]
    assert impostor.tolist() == expected[False]
    assert (len(genuine), len(impostor)) == (7, 28)


@pytest.mark.parametrize(("num_probes", "num_gallery"), [(0, 3), (3, 0), (40, 30)])
def test_pairs_are_told_apart_whatever_the_names_are(num_probes: int, num_gallery: int) -> None:
    """Names of other lengths on both sides, one the beginning of another, and such as only one side knows."""
    names = ["", "a", "aa", "a b", "Zoë", "10", "1"]
    random = np.random.default_rng(1)
    probe_subject = random.choice(names, num_probes).astype("<U3")
    gallery_subject = random.choice([*names, "only in the gallery"], num_gallery).astype("<U19")
    probe = np.arange(num_probes, dtype=np.float32)[:, None] + 1
    gallery = np.arange(num_gallery, dtype=np.float32)[:, None] + 1
    genuine, impostor = score_pairs(probe, probe_subject, gallery, gallery_subject)
    same = np.array(
        [[one == other for other in gallery_subject.tolist()] for one in probe_subject.tolist()], dtype=bool
    ).reshape(num_probes, num_gallery)
    np.testing.assert_array_equal(genuine, (probe @ gallery.T)[same])
    np.testing.assert_array_equal(impostor, (probe @ gallery.T)[~same])
