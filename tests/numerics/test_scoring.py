import numpy as np
import numpy.typing as npt
import pytest

from training.evaluation import scoring
from training.evaluation.curves import error_curve
from training.evaluation.scoring import FINENESS, Fusion, Subjects, bins_of, count_scores, score_blocks, start_of
from training.evaluation.verification import score_pairs, tar_at_far

FloatArray = npt.NDArray[np.float32]


def faces(num_subjects: int = 60, pictures: int = 4) -> tuple[FloatArray, npt.NDArray[np.str_]]:
    """Their products and sums are exact in float32, so that scores do not depend on how many are computed at once."""
    random = np.random.default_rng(0)
    face = np.repeat(random.integers(-2, 3, (num_subjects, 8)), pictures, axis=0)
    feature = (face + random.integers(-1, 2, (num_subjects * pictures, 8))) / 16
    return feature.astype(np.float32), np.array([f"s{row // pictures}" for row in range(num_subjects * pictures)])


@pytest.mark.parametrize("held", [1, 7, 50, 10_000])
def test_blocks_hold_no_more_than_they_may_and_together_every_score(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(scoring, "HELD", held)
    probe, gallery = np.eye(12, 5, dtype=np.float32), np.eye(10, 5, dtype=np.float32)
    seen = np.full((12, 10), np.nan)
    for rows, score in score_blocks(probe, gallery):
        assert score.size <= max(held, 10)
        assert np.isnan(seen[rows]).all()
        seen[rows] = score
    np.testing.assert_array_equal(seen, probe @ gallery.T)


@pytest.mark.parametrize("fusion", ["max", "mean"])
def test_fused_scores_are_those_of_a_loop_over_subjects(fusion: Fusion) -> None:
    random = np.random.default_rng(0)
    score = random.normal(size=(5, 40)).astype(np.float32)
    subject = random.choice(["x", "", "zz", "y"], 40)
    fused = Subjects(subject, fusion).fuse(score)
    expected = [
        [getattr(row[subject == name].astype(np.float64), fusion)() for name in ("", "x", "y", "zz")] for row in score
    ]
    np.testing.assert_allclose(fused, expected, atol=1e-7)


def test_subjects_are_found_and_strangers_are_not() -> None:
    places = Subjects(np.array(["b", "a", "b"])).places_of(np.array(["a", "b", "c", "", "aa"]))
    assert places.tolist() == [0, 1, -1, -1, -1]


@pytest.mark.parametrize("held", [300, 1 << 24])
def test_counted_scores_tell_what_held_ones_tell_to_the_fineness_of_a_bin(
    monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    monkeypatch.setattr(scoring, "HELD", held)
    feature, subject = faces()
    genuine, impostor = score_pairs(feature, subject, feature, subject)
    counts = count_scores(feature, subject, feature, subject)
    assert (counts.genuine.sum(), counts.impostor.sum()) == (len(genuine), len(impostor))
    for far in (1e-1, 1e-2, 1e-3):
        threshold = counts.threshold_at(far)
        assert threshold is not None
        assert np.mean(impostor >= threshold) <= far < np.mean(impostor >= threshold - 1 / FINENESS)
        assert counts.tar_at_far(far) == np.mean(genuine >= threshold)
        assert counts.tar_at_far(far) == pytest.approx(tar_at_far(genuine, impostor, far), abs=2 / len(genuine))
    curve, exact = counts.curve(), error_curve(genuine, impostor)
    for threshold, fmr, fnmr in zip(curve.threshold_K, curve.fmr_K, curve.fnmr_K, strict=True):
        assert fmr == np.mean(impostor >= threshold)
        assert fnmr == pytest.approx(np.mean(genuine < threshold))
    np.testing.assert_array_equal(curve.threshold_K, exact.threshold_K)


def test_a_score_between_two_starts_belongs_to_the_lower() -> None:
    between = ((np.array([3, 4, -3, -4]) + 0.75) / FINENESS).astype(np.float32)
    assert bins_of(between).tolist() == [FINENESS + 3, FINENESS + 4, FINENESS - 3, FINENESS - 4]
    assert [start_of(place) * FINENESS for place in bins_of(between)] == [3, 4, -3, -4]


def test_rounding_beyond_one_is_counted_at_the_edge() -> None:
    rows = np.array([[1.0000002]], dtype=np.float32)
    counts = count_scores(
        rows, np.array(["a"]), np.array([[1.0], [-1.0000002]], dtype=np.float32), np.array(["a", "b"])
    )
    assert (counts.genuine.sum(), counts.impostor.sum()) == (1, 1)
    assert counts.genuine[np.searchsorted(np.arange(-FINENESS, FINENESS + 2) / FINENESS, 1.0)] == 1
    assert counts.impostor[0] == 1


def test_where_all_impostors_score_highest_the_threshold_lies_above_them() -> None:
    same = np.ones((4, 1), dtype=np.float32)
    counts = count_scores(same, np.array(list("abcd")), same, np.array(list("abcd")))
    assert counts.threshold_at(0.5) == 1 + 1 / FINENESS
    assert counts.tar_at_far(0.5) == 0.0


def test_too_few_impostors_give_no_threshold_and_one_side_no_curve() -> None:
    feature, subject = faces(3, 1)
    counts = count_scores(feature, subject, feature, subject)
    assert (counts.threshold_at(0.1), counts.tar_at_far(0.1)) == (None, None)
    with pytest.raises(ValueError, match="genuine and impostor"):
        count_scores(feature[:1], subject[:1], feature[:1], subject[:1]).curve()
