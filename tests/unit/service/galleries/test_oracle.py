"""The oracle's rules. Shapes: G templates, D dimension."""

import math

import numpy as np
import pytest

from models.features import unit_features
from service.galleries.rules import exact_scores


@pytest.mark.parametrize("dimension", [1, 3, 4, 127, 128, 512, 8193])
def test_a_score_does_not_depend_on_what_is_scored_beside_it(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    features_GD = unit_features(rng.standard_normal((200, dimension)))
    probe_D = unit_features(rng.standard_normal((1, dimension)))[0]
    together = exact_scores(probe_D, features_GD)
    for picked in ([0], [199, 3], list(range(50, 117))):
        assert exact_scores(probe_D, features_GD[picked]).tolist() == together[picked].tolist()
    assert exact_scores(probe_D, np.asfortranarray(features_GD)).tolist() == together.tolist()


def test_a_score_is_the_exactly_rounded_dot_product() -> None:
    rng = np.random.default_rng(3)
    features_GD = unit_features(rng.standard_normal((50, 256)))
    probe_D = unit_features(rng.standard_normal((1, 256)))[0]
    exact = [math.fsum(float(a) * float(b) for a, b in zip(probe_D, row, strict=True)) for row in features_GD]
    assert exact_scores(probe_D, features_GD).tolist() == np.array(exact).astype(np.float32).tolist()


def test_no_score_is_past_one() -> None:
    rng = np.random.default_rng(4)
    features_GD = unit_features(rng.standard_normal((500, 64)))
    assert max(exact_scores(row, features_GD).max() for row in features_GD) == 1.0
