import numpy as np
import numpy.typing as npt
import pytest
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import det_curve, roc_curve

from training.evaluation.curves import equal_error_rate, error_curve

Scores = npt.NDArray[np.float64]


def some_scores(seed: int, *, tied: bool) -> tuple[Scores, Scores]:
    random = np.random.default_rng(seed)
    genuine, impostor = random.normal(1.5, 1, 300), random.normal(0, 1, 2000)
    return (genuine.round(1), impostor.round(1)) if tied else (genuine, impostor)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_the_roc_of_scikit_learn(seed: int, tied: bool) -> None:
    genuine, impostor = some_scores(seed, tied=tied)
    labels, scores = np.repeat([1, 0], [len(genuine), len(impostor)]), np.concatenate([genuine, impostor])
    fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    curve = error_curve(genuine, impostor)
    np.testing.assert_allclose(curve.fmr_K, fpr, atol=1e-9)
    np.testing.assert_allclose(1 - curve.fnmr_K, tpr, atol=1e-9)
    np.testing.assert_allclose(curve.threshold_K, thresholds, atol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
def test_the_curve_holds_the_det_of_scikit_learn(tied: bool) -> None:
    genuine, impostor = some_scores(3, tied=tied)
    labels, scores = np.repeat([1, 0], [len(genuine), len(impostor)]), np.concatenate([genuine, impostor])
    fpr, fnr, thresholds = det_curve(labels, scores)
    curve = error_curve(genuine, impostor)
    place = [
        int(np.flatnonzero(curve.threshold_K == threshold)[0]) for threshold in thresholds if np.isfinite(threshold)
    ]
    assert len(place) > 50
    is_finite = np.isfinite(thresholds)
    np.testing.assert_allclose(curve.fmr_K[place], fpr[is_finite], atol=1e-9)
    np.testing.assert_allclose(curve.fnmr_K[place], fnr[is_finite], atol=1e-9)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_equal_error_rate_is_where_a_root_finder_finds_it(seed: int, tied: bool) -> None:
    genuine, impostor = some_scores(seed, tied=tied)
    labels, scores = np.repeat([1, 0], [len(genuine), len(impostor)]), np.concatenate([genuine, impostor])
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = brentq(lambda rate: 1.0 - rate - interp1d(fpr, tpr)(rate), 0.0, 1.0, xtol=1e-12)
    # On a vertical line of the ROC the interpolation may take either end; there the rate is the line's.
    assert equal_error_rate(error_curve(genuine, impostor)) == pytest.approx(expected, abs=1e-9)


def test_scores_that_tell_all_apart_have_no_equal_errors_and_scores_that_tell_nothing_have_a_half() -> None:
    assert equal_error_rate(error_curve(np.array([0.8, 0.9]), np.array([0.1, 0.2]))) == 0.0
    assert equal_error_rate(error_curve(np.array([0.5]), np.array([0.5, 0.5]))) == 0.5
    assert equal_error_rate(error_curve(np.array([0.1, 0.2]), np.array([0.8, 0.9]))) == 1.0


def test_a_curve_of_one_side_is_refused() -> None:
    with pytest.raises(ValueError, match="genuine and impostor"):
        error_curve(np.zeros(0), np.zeros(3))
    with pytest.raises(ValueError, match="genuine and impostor"):
        error_curve(np.zeros(3), np.zeros(0))
