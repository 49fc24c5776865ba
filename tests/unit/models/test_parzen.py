"""Scores by density, beside Eq. 2 and 3 as they stand."""

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from models.features import unit_features
from models.parzen import density_scores


def unit(num: int, seed: int, dimension: int = 16) -> npt.NDArray[np.float64]:
    rows = unit_features(np.random.default_rng(seed).standard_normal((num, dimension)).astype(np.float32)).astype(
        np.float64
    )
    normed: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return normed


def density(features_MD: npt.NDArray[np.float64], template_D: npt.NDArray[np.float64], sigma: float) -> float:
    """Eq. 2 with the kernel of Eq. 3, without its constant."""
    kernels = [math.exp(-float(np.sum((template_D - one) ** 2)) / (2 * sigma**2)) for one in features_MD]
    return sum(kernels) / len(kernels)


@pytest.mark.parametrize("sigma", [0.2, 0.5, 2.0])
@pytest.mark.parametrize("num", [1, 2, 10])
def test_scores_are_the_density_on_the_scale_of_cosines(num: int, sigma: float) -> None:
    features_MD, templates_GD = unit(num, 1), unit(30, 2)
    scores = density_scores(features_MD @ templates_GD.T, sigma)
    expected = [1 + sigma**2 * math.log(density(features_MD, one, sigma)) for one in templates_GD]
    assert scores == pytest.approx(expected, abs=1e-12)


def test_with_one_feature_a_score_is_its_cosine() -> None:
    cosines = np.array([[0.75, -0.5, 0.0, 1.0]])
    assert density_scores(cosines, 0.05).tolist() == cosines[0].tolist()


def test_it_lies_between_the_mean_and_the_largest_and_comes_to_either() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (10, 50))
    sigmas = (1e-3, 0.1, 0.3, 1.0, 10.0, 1e3)
    scores = [density_scores(cosines, sigma) for sigma in sigmas]
    assert scores[0] == pytest.approx(cosines.max(axis=0), abs=1e-5)
    assert scores[-1] == pytest.approx(cosines.mean(axis=0), abs=1e-5)
    assert all((later <= earlier + 1e-9).all() for earlier, later in pairwise(scores))


def test_narrow_kernels_do_not_underflow() -> None:
    """exp(-2 / 1e-6) is no number above zero any more."""
    scores = density_scores(np.array([[-1.0, 0.5], [-1.0, -1.0]]), 1e-3)
    assert scores == pytest.approx([-1.0, 0.5], abs=1e-5)


def test_the_order_of_a_probes_features_does_not_matter() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (10, 50))
    assert density_scores(cosines[::-1], 0.3) == pytest.approx(density_scores(cosines, 0.3))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 1e-4, 1e4])
def test_a_width_that_is_none_is_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match="sigma must be from"):
        density_scores(np.zeros((1, 1)), sigma)
