"""The oracle's rules. Shapes: G templates, D dimension."""

import math

import numpy as np
import pytest

from models.features import unit_features
from models.parzen import density_scores
from service.galleries.rules import exact_scores


@pytest.mark.parametrize("dimension", [1, 3, 4, 127, 128, 512, 8193])
def test_a_score_does_not_depend_on_what_is_scored_beside_it(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    features_GD = unit_features(rng.standard_normal((200, dimension)))
    probe_D = unit_features(rng.standard_normal((1, dimension)))[0]
    together = exact_scores(probe_D[None], features_GD, 1.0)
    for picked in ([0], [199, 3], list(range(50, 117))):
        assert exact_scores(probe_D[None], features_GD[picked], 1.0).tolist() == together[picked].tolist()
    assert exact_scores(probe_D[None], np.asfortranarray(features_GD), 1.0).tolist() == together.tolist()


@pytest.mark.parametrize("num_samples", [2, 10])
def test_a_density_does_not_depend_on_what_is_scored_beside_it(num_samples: int) -> None:
    rng = np.random.default_rng(num_samples)
    features_GD = unit_features(rng.standard_normal((2000, 32)))
    probe_MD = unit_features(rng.standard_normal((num_samples, 32)))
    cosines_MG = probe_MD.astype(np.float64) @ features_GD.astype(np.float64).T
    together = density_scores(cosines_MG, 0.3).tolist()
    assert [density_scores(one_M[:, None], 0.3)[0] for one_M in cosines_MG.T] == together
    assert density_scores(cosines_MG[:, 7:10], 0.3).tolist() == together[7:10]
    scores = exact_scores(probe_MD, features_GD, 0.3).tolist()
    assert [exact_scores(probe_MD, one_D[None], 0.3)[0] for one_D in features_GD] == scores


def test_a_score_is_the_exactly_rounded_dot_product() -> None:
    rng = np.random.default_rng(3)
    features_GD = unit_features(rng.standard_normal((50, 256)))
    probe_D = unit_features(rng.standard_normal((1, 256)))[0]
    exact = [math.fsum(float(a) * float(b) for a, b in zip(probe_D, row, strict=True)) for row in features_GD]
    assert exact_scores(probe_D[None], features_GD, 1.0).tolist() == np.array(exact).astype(np.float32).tolist()


def test_no_score_is_past_one() -> None:
    rng = np.random.default_rng(4)
    features_GD = unit_features(rng.standard_normal((500, 64)))
    assert max(exact_scores(row[None], features_GD, 1.0).max() for row in features_GD) == 1.0
