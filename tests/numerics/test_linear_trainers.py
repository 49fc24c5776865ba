import warnings

import numpy as np
import numpy.typing as npt
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import LinearRegression, Ridge

from models.features import unit_features
from training.trainers import linear
from training.trainers.fitted import Fitted, TrainingData, best_on_validation, mean_cosine
from training.trainers.linear import fit_low_rank, fit_procrustes, fit_ridge

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]

FITS = {"procrustes": fit_procrustes, "ridge": fit_ridge, "low-rank": fit_low_rank}


def related(num_source: int, num_target: int, *, num: int = 300, noise: float = 0.3, seed: int = 0) -> TrainingData:
    """Unit features whose target is a linear map of the source, with noise."""
    random = np.random.default_rng(seed)
    source = random.normal(size=(num + 60, num_source))
    weight = random.normal(size=(num_source, num_target)) / np.sqrt(num_source)
    target = source @ weight + noise * random.normal(size=(num + 60, num_target))
    return training_data(source, target, num)


def training_data(source: DoubleArray, target: DoubleArray, num: int, seed: int = 0) -> TrainingData:
    x, y = unit_features(source), unit_features(target)
    return TrainingData(x[:num], y[:num], x[num:], y[num:], seed)


def test_square_procrustes_equals_scipy() -> None:
    data = related(12, 12)
    expected, _ = orthogonal_procrustes(data.source_NS.astype(np.float64), data.target_NT.astype(np.float64))
    model = fit_procrustes(data).model
    np.testing.assert_allclose(model.weight_ST, expected, atol=1e-6)
    assert not model.bias_T.any()


def test_procrustes_recovers_a_planted_rotation() -> None:
    random = np.random.default_rng(1)
    turn = np.linalg.qr(random.normal(size=(10, 10)))[0]
    source = random.normal(size=(100, 10))
    model = fit_procrustes(training_data(source, source @ turn, 80)).model
    np.testing.assert_allclose(model.weight_ST, turn, atol=1e-5)


@pytest.mark.parametrize(("num_source", "num_target"), [(6, 15), (15, 6), (9, 9)])
def test_procrustes_is_semi_orthogonal_and_as_good_as_any_such_map_can_be(num_source: int, num_target: int) -> None:
    data = related(num_source, num_target)
    weight = fit_procrustes(data).model.weight_ST.astype(np.float64)
    smaller = weight @ weight.T if num_source < num_target else weight.T @ weight
    np.testing.assert_allclose(smaller, np.eye(min(num_source, num_target)), atol=1e-6)
    # The maximum of trace(W' X'Y) over semi-orthogonal W is the sum of the singular values of X'Y.
    cross = data.source_NS.astype(np.float64).T @ data.target_NT
    assert np.trace(weight.T @ cross) == pytest.approx(np.linalg.svd(cross, compute_uv=False).sum(), rel=1e-6)


@pytest.mark.parametrize("strength", [1e-4, 1e-2, 0.3, 1.0])
@pytest.mark.parametrize(("num_source", "num_target"), [(8, 5), (5, 8)])
def test_ridge_equals_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, strength: float, num_source: int, num_target: int
) -> None:
    monkeypatch.setattr(linear, "RIDGE_STRENGTHS", (strength,))
    data = related(num_source, num_target)
    model = fit_ridge(data).model
    oracle = oracle_ridge(data, strength)
    np.testing.assert_allclose(model.weight_ST, oracle.coef_.T, atol=1e-5)
    np.testing.assert_allclose(model.bias_T, oracle.intercept_, atol=1e-5)


def oracle_ridge(data: TrainingData, strength: float) -> Ridge:
    """scikit-learn penalises sums, not means, and by an absolute amount."""
    source = data.source_NS.astype(np.float64)
    alpha = len(source) * strength * source.var(axis=0).mean()
    return Ridge(alpha=alpha).fit(source, data.target_NT.astype(np.float64))


def test_ridge_without_penalty_is_ordinary_least_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "RIDGE_STRENGTHS", (0.0,))
    data = related(7, 4)
    oracle = LinearRegression().fit(data.source_NS.astype(np.float64), data.target_NT.astype(np.float64))
    model = fit_ridge(data).model
    np.testing.assert_allclose(model.weight_ST, oracle.coef_.T, atol=1e-5)
    np.testing.assert_allclose(model.bias_T, oracle.intercept_, atol=1e-5)


def test_ridge_takes_the_penalty_that_scikit_learn_finds_best_on_validation() -> None:
    data = related(40, 20, num=60, noise=1.0)
    merits = {}
    for strength in linear.RIDGE_STRENGTHS[1:]:
        predicted = unit_features(oracle_ridge(data, strength).predict(data.validation_source_VS.astype(np.float64)))
        merits[strength] = np.mean((predicted.astype(np.float64) * data.validation_target_VT).sum(axis=1))
    chosen = fit_ridge(data).hyperparameters["strength"]
    assert chosen == max(merits, key=lambda strength: merits[strength])
    assert chosen not in (linear.RIDGE_STRENGTHS[1], linear.RIDGE_STRENGTHS[-1])


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_low_rank_has_the_rank_that_it_says(monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    monkeypatch.setattr(linear, "RANKS", (rank,))
    monkeypatch.setattr(linear, "best_on_validation", lambda data, candidates: next(iter(candidates)))
    fitted = fit_low_rank(related(10, 12))
    assert fitted.hyperparameters["rank"] == rank
    assert np.linalg.matrix_rank(fitted.model.weight_ST, tol=1e-5) == rank


@pytest.mark.parametrize(("num_source", "num_target"), [(6, 9), (9, 6)])
def test_low_rank_of_full_rank_is_ridge(monkeypatch: pytest.MonkeyPatch, num_source: int, num_target: int) -> None:
    monkeypatch.setattr(linear, "RANKS", ())
    data = related(num_source, num_target)
    low_rank, ridge = fit_low_rank(data), fit_ridge(data)
    assert low_rank.hyperparameters == {**ridge.hyperparameters, "rank": 6}
    np.testing.assert_allclose(low_rank.model.weight_ST, ridge.model.weight_ST, atol=1e-6)
    np.testing.assert_allclose(low_rank.model.bias_T, ridge.model.bias_T, atol=1e-6)


def test_low_rank_keeps_the_best_directions_of_the_fitted_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "RIDGE_STRENGTHS", (0.0,))
    monkeypatch.setattr(linear, "RANKS", (2,))
    monkeypatch.setattr(linear, "best_on_validation", lambda data, candidates: next(iter(candidates)))
    data = related(7, 9)
    source = data.source_NS.astype(np.float64)
    ridge = LinearRegression().fit(source, data.target_NT.astype(np.float64)).coef_.T
    fitted_values = (source - source.mean(axis=0)) @ ridge
    leading = np.linalg.svd(fitted_values, full_matrices=False)[2][:2]
    np.testing.assert_allclose(fit_low_rank(data).model.weight_ST, ridge @ leading.T @ leading, atol=1e-5)


def test_low_rank_recovers_a_planted_low_rank_map(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "RANKS", (1, 2, 3, 4, 6, 8, 12))
    random = np.random.default_rng(3)
    weight = random.normal(size=(20, 3)) @ random.normal(size=(3, 16)) / 8
    source = unit_features(random.normal(size=(2500, 20))).astype(np.float64)
    target = source @ weight + 0.05 * random.normal(size=(2500, 16))
    # Targets are not brought to unit length here: that would make the planted relation only nearly linear.
    data = TrainingData(
        source[:500].astype(np.float32),
        target[:500].astype(np.float32),
        source[500:].astype(np.float32),
        unit_features(target[500:]),
        0,
    )
    fitted = fit_low_rank(data)
    assert fitted.hyperparameters["rank"] == 3
    error = np.linalg.norm(fitted.model.weight_ST - weight) / np.linalg.norm(weight)
    assert error < 0.08
    assert error < np.linalg.norm(fit_ridge(data).model.weight_ST - weight) / np.linalg.norm(weight)


def deficient(kind: str) -> TrainingData:
    random = np.random.default_rng(4)
    source = random.normal(size=(120, 10))
    if kind == "a subspace":
        source = random.normal(size=(120, 3)) @ random.normal(size=(3, 10))
    elif kind == "constant dimensions":
        source[:, 4:] = 0.25
    elif kind == "dead dimensions":
        source[:, 4:] = 0.0
    elif kind == "a dimension twice":
        source[:, 9] = source[:, 8]
    elif kind == "fewer pairs than dimensions":
        source = random.normal(size=(6 + 60, 10))
    elif kind == "the same picture over and over":
        source = np.repeat(source[:1], 120, axis=0)
    target = source @ random.normal(size=(10, 7)) + 0.1 * random.normal(size=(len(source), 7))
    return training_data(source, target, len(source) - 60)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize(
    "kind",
    [
        "a subspace",
        "constant dimensions",
        "dead dimensions",
        "a dimension twice",
        "fewer pairs than dimensions",
        "the same picture over and over",
    ],
)
def test_deficient_sources_give_bounded_weights_and_no_warning(name: str, kind: str) -> None:
    data = deficient(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = FITS[name](data).model
        translated = model(data.validation_source_VS)
    assert np.isfinite(model.weight_ST).all()
    # Targets have length one, and no source direction that is used has less than a hundredth of its variance.
    assert np.abs(model.weight_ST).max() < 100
    np.testing.assert_allclose(np.linalg.norm(translated, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("strength", [0.0, 1e-6, 1e-2])
def test_directions_without_variance_get_no_weight(monkeypatch: pytest.MonkeyPatch, strength: float) -> None:
    monkeypatch.setattr(linear, "RIDGE_STRENGTHS", (strength,))
    weight = fit_ridge(deficient("dead dimensions")).model.weight_ST
    np.testing.assert_allclose(weight[4:], 0.0, atol=1e-6)
    assert np.abs(weight[:4]).min() > 1e-3


def test_mean_cosine_is_the_mean_of_the_row_products() -> None:
    a = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    b = np.array([[1, 0], [0, -1], [0.8, 0.6]], dtype=np.float32)
    assert mean_cosine(a, b) == pytest.approx((1 - 1 + 0.96) / 3, abs=1e-7)


def test_the_first_of_equal_candidates_is_taken() -> None:
    data = related(4, 4)
    model = fit_procrustes(data).model
    assert best_on_validation(data, [Fitted(model, {"n": 1}), Fitted(model, {"n": 2})]).hyperparameters == {"n": 1}
