import numpy as np
import pytest
from sklearn.linear_model import Ridge

from training.trainers.confidence import STRENGTHS, fit_estimator

PEOPLE, PICTURES, INPUTS = 120, 3, 6
CODE = np.repeat(np.arange(PEOPLE), PICTURES)


def faces(noise: float = 0.3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(2.0, 3.0, size=(len(CODE), INPUTS)).astype(np.float32)
    wanted = inputs @ np.arange(INPUTS) + noise * random.normal(size=len(CODE))
    return inputs, wanted.astype(np.float32)


def scaled(values: np.ndarray) -> np.ndarray:
    return np.asarray((values - values.mean(axis=0)) / values.std(axis=0))


def test_it_is_the_weighted_ridge_regression_of_one_of_its_strengths() -> None:
    inputs, wanted = faces()
    weight = np.random.default_rng(1).uniform(0.2, 1.0, len(CODE)).astype(np.float32)
    found = fit_estimator(inputs, wanted[:, None], weight, CODE, 0)
    estimate = inputs @ found.weight_F + found.bias_1
    off = []
    for strength in STRENGTHS:
        ridge = Ridge(alpha=strength * weight.sum(), fit_intercept=False).fit(scaled(inputs), scaled(wanted), weight)
        off.append(np.abs(ridge.predict(scaled(inputs)) - estimate).max())
    # What the inputs tell is clear, so that it is the weakest.
    assert np.argmin(off) == 0
    assert off[0] < 1e-4


def test_where_inputs_tell_nothing_the_strongest_is_taken() -> None:
    inputs, _ = faces()
    wanted = np.random.default_rng(2).normal(size=len(CODE)).astype(np.float32)
    found = fit_estimator(inputs, wanted[:, None], np.ones(len(CODE), np.float32), CODE, 0)
    assert np.abs(inputs @ found.weight_F + found.bias_1).max() < 0.1


def test_the_estimate_of_the_unseen_is_by_others_alone() -> None:
    inputs, wanted = faces()
    weight = np.ones(len(CODE), np.float32)
    before = fit_estimator(inputs, wanted[:, None], weight, CODE, 0)
    wanted[CODE == 7] += np.float32(50.0)
    after = fit_estimator(inputs, wanted[:, None], weight, CODE, 0)
    scale = wanted.std() / faces()[1].std()
    is_own = CODE == 7
    assert after.unseen_N[is_own] * scale == pytest.approx(before.unseen_N[is_own], abs=0.02)
    fitted = [inputs[is_own] @ one.weight_F + one.bias_1 for one in (before, after)]
    assert np.abs(fitted[1] * scale - fitted[0]).max() > 0.05


def test_of_whom_nothing_is_known_nothing_is_learned_and_still_something_told() -> None:
    inputs, wanted = faces()
    is_known = CODE % 2 == 0
    weight = np.ones(len(CODE), np.float32)
    some = fit_estimator(inputs, np.where(is_known, wanted, np.float32(np.nan))[:, None], weight, CODE, 0)
    none_of_them = fit_estimator(
        inputs, np.where(is_known, wanted, np.float32(np.nan))[:, None], weight * is_known, CODE, 0
    )
    np.testing.assert_array_equal(some.weight_F, none_of_them.weight_F)
    assert np.corrcoef(some.unseen_N[~is_known], wanted[~is_known])[0, 1] > 0.99


def test_the_estimate_of_two_things_is_the_sum_of_both() -> None:
    inputs, wanted = faces()
    other = np.where(CODE % 2 == 0, -inputs[:, 0], np.float32(np.nan))
    weight = np.ones(len(CODE), np.float32)
    one, two = (fit_estimator(inputs, side[:, None], weight, CODE, 0) for side in (wanted, other))
    both = fit_estimator(inputs, np.stack([wanted, other], axis=1), weight, CODE, 0)
    for name in ("weight_F", "bias_1", "unseen_N"):
        np.testing.assert_allclose(getattr(both, name), getattr(one, name) + getattr(two, name), atol=1e-5)
