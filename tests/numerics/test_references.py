import numpy as np
import pytest

from models.features import FloatArray, unit_features
from models.reference import BLOCKS, energies
from training.evaluation.references import FLOOR, fit_reference

WIDTH = np.geomspace(1.0, 0.02, 24)


def people(num: int, pictures: int = 2, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    random = np.random.default_rng(seed)
    identity = np.repeat(random.normal(size=(num, 24)), pictures, axis=0)
    raw = (identity + 0.3 * random.normal(size=identity.shape)) * WIDTH + 0.2
    return unit_features(raw), np.repeat(np.arange(num), pictures)


def test_in_its_directions_features_have_mean_zero_and_variance_one() -> None:
    feature, code = people(600)
    reference = fit_reference(feature, code, 0)
    assert reference is not None
    whitened = reference.whitened(feature)
    covariance = np.cov(whitened.T, bias=True)
    variance = np.linalg.eigvalsh(np.cov(feature.T.astype(np.float64), bias=True))[::-1]
    is_wide = variance > 2 * FLOOR * variance[0]
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(covariance[np.ix_(is_wide, is_wide)], np.eye(is_wide.sum()), atol=1e-3)
    assert np.all(np.diff(1 / np.linalg.norm(reference.basis_DD, axis=0)) <= 1e-6)  # the widest first
    assert np.square(reference.whitened(feature)).mean() == pytest.approx(np.trace(covariance) / 24, abs=1e-3)


def test_hardly_any_feature_and_hardly_any_stream_of_other_people_is_beyond_the_limits() -> None:
    reference = fit_reference(*people(1000), 0)
    assert reference is not None
    feature, code = people(1000, seed=1)
    # Of other people, with another mean of their own.
    assert reference.is_outlier(reference.whitened(feature)).mean() < 0.005
    random = np.random.default_rng(2)
    firsts = feature[np.unique(code, return_index=True)[1]]
    scores = [
        reference.stream_score(reference.whitened(firsts[random.choice(1000, 200, replace=False)])) for _ in range(300)
    ]
    assert max(score for score in scores if score is not None) < reference.stream_limit


def test_energies_are_of_quarters_from_the_widest_to_the_narrowest() -> None:
    row = np.arange(24, dtype=np.float32)[None]
    assert energies(row).shape == (1, BLOCKS)
    assert energies(row)[0, 1] == pytest.approx(np.mean(np.arange(6, 12) ** 2))


@pytest.mark.parametrize("num", [249, 250])
def test_of_too_few_people_there_is_none(num: int) -> None:
    assert (fit_reference(*people(num), 0) is None) == (num < 250)


def test_of_a_space_of_few_numbers_there_is_none() -> None:
    feature, code = people(300)
    assert fit_reference(unit_features(feature[:, :7]), code, 0) is None


def test_neither_those_it_is_measured_on_nor_others_stick_out() -> None:
    """Though few pictures, of which some are unlike others, give rise to directions of their own."""
    random = np.random.default_rng(0)
    identity, code = np.repeat(random.normal(size=(800, 40)), 2, axis=0), np.repeat(np.arange(800), 2)
    bad = random.beta(0.7, 2.0, size=(len(code), 1))
    raw = (1 - bad) * (identity @ random.normal(size=(40, 256))) + 3 * bad * random.normal(size=256)
    feature = unit_features(raw + random.normal(size=raw.shape))
    is_known = code < 500
    reference = fit_reference(feature[is_known], code[is_known], 0)
    assert reference is not None
    for rows in (is_known, ~is_known):
        assert reference.is_outlier(reference.whitened(feature[rows])).mean() < 0.005
