"""Everybody's own spaces side by side: scores are weighted means, and weights those of Fisher's discriminant."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from models.adapters import ResidualMLP, SideBySide
from models.features import FloatArray, unit_features
from models.linear import LinearMap
from training.trainers import two_sided
from training.trainers.fitted import CommonData, Fitted, TrainingData
from training.trainers.linear import fit_ridge
from training.trainers.torch_translator import TorchTranslator
from training.trainers.two_sided import fit_two_sided, score_weights


def features(*shape: int, seed: int) -> FloatArray:
    return unit_features(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def test_the_score_side_by_side_is_the_weighted_mean_of_the_scores() -> None:
    to_b, to_a = ResidualMLP(6, 9).eval(), ResidualMLP(9, 6).eval()
    a, b = torch.from_numpy(features(20, 6, seed=1)), torch.from_numpy(features(20, 9, seed=2))
    side_a, side_b = SideBySide([None, to_b], [0.3, 0.7]).eval(), SideBySide([to_a, None], [0.3, 0.7]).eval()
    with torch.inference_mode():
        got = side_a(3.0 * a) @ side_b(b).T
        expected = 0.3 * (a @ to_a(b).T) + 0.7 * (to_b(a) @ b.T)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
    assert side_a(a).shape == (20, 15)
    torch.testing.assert_close(side_a(a).norm(dim=1), torch.ones(20))


def people(num: int, each: int, seed: int) -> tuple[FloatArray, np.ndarray]:
    random = np.random.default_rng(seed)
    return np.repeat(random.normal(size=(num, 8)), each, axis=0), np.repeat([f"p{i}" for i in range(num)], each)


def seen(latent: FloatArray, noise: float, seed: int) -> FloatArray:
    return unit_features((latent + noise * np.random.default_rng(seed).normal(size=latent.shape)).astype(np.float32))


def test_weights_are_those_of_a_linear_discriminant() -> None:
    latent, subject = people(80, 4, seed=3)
    beside = [[seen(latent, noise, 10 * i + k) for k, noise in enumerate((0.3, 0.9))] for i in range(2)]
    weight = score_weights(beside, subject)
    same = subject[:, None] == subject[None]
    off = ~np.eye(len(subject), dtype=bool)
    score = np.stack([beside[0][k] @ beside[1][k].T for k in range(2)], axis=-1)
    chosen, label = (
        np.concatenate([score[same & off], score[~same]]),
        np.r_[np.ones((same & off).sum()), np.zeros((~same).sum())],
    )
    theirs = LinearDiscriminantAnalysis(solver="lsqr", priors=[0.5, 0.5]).fit(chosen, label).coef_[0]
    np.testing.assert_allclose(weight, theirs / theirs.sum(), atol=2e-3)
    assert weight[0] > 0.6
    assert weight.sum() == pytest.approx(1.0)


def test_a_space_that_only_misleads_keeps_a_little_weight_and_no_more() -> None:
    latent, subject = people(60, 3, seed=4)
    wrong = [features(len(subject), 8, seed=s) for s in (5, 6)]
    weight = score_weights([[seen(latent, 0.2, 1), wrong[0]], [seen(latent, 0.2, 2), wrong[1]]], subject)
    assert 0.0 < weight[1] < 0.1


@pytest.mark.parametrize("subject", [None, np.array([f"p{i}" for i in range(12)])])
def test_without_a_second_picture_of_anybody_all_spaces_count_alike(subject: np.ndarray | None) -> None:
    beside = [[features(12, 8, seed=s) for s in pair] for pair in ((1, 2), (3, 4))]
    np.testing.assert_array_equal(score_weights(beside, subject), [0.5, 0.5])


@pytest.fixture
def linear_translators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ridge in place of the network: its answer is known, and the fit takes no time."""

    def fit(data: TrainingData) -> Fitted[TorchTranslator]:
        ridge = fit_ridge(data).model
        return Fitted(TorchTranslator(_Linear(ridge)))

    monkeypatch.setattr(two_sided, "fit_residual_mlp", fit)


class _Linear(nn.Module):
    def __init__(self, ridge: LinearMap) -> None:
        super().__init__()
        self.linear = nn.Linear(*ridge.weight_ST.shape)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(ridge.weight_ST.T.copy()))
            self.linear.bias.copy_(torch.from_numpy(ridge.bias_T))

    def forward(self, source_BS: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(self.linear(source_BS), dim=-1)


Encode = Callable[[int], FloatArray]


@pytest.mark.usefixtures("linear_translators")
@pytest.mark.parametrize("num_sides", [2, 3])
def test_people_are_found_across_any_two_encoders(num_sides: int) -> None:
    latent, subject = people(500, 3, seed=7)
    sides = []
    for k in range(num_sides):
        random = np.random.default_rng(20 + k)
        mixed = latent @ random.normal(size=(8, 10 + k)) + 0.15 * random.normal(size=(len(latent), 10 + k))
        sides.append(unit_features(mixed.astype(np.float32)))
    train, validation, test = slice(0, 900), slice(900, 1200), slice(1200, 1500)
    heard: list[str] = []
    data = CommonData(
        [f"e{k}" for k in range(num_sides)],
        [side[train] for side in sides],
        [side[validation] for side in sides],
        seed=0,
        subject_N=np.unique(subject[train], return_inverse=True)[1],
        validation_subject_V=subject[validation],
        on_step=heard.append,
    )
    fitted = fit_two_sided(data)
    assert len(heard) == num_sides * (num_sides - 1)
    assert list(fitted.hyperparameters["weights"]) == [f"e{k}" for k in range(num_sides)]  # type: ignore[arg-type]
    common = [model(side[test]) for model, side in zip(fitted.models, sides, strict=True)]
    assert {features.shape for features in common} == {(300, sum(side.shape[1] for side in sides))}
    for i in range(num_sides):
        for j in range(num_sides):
            score = common[i] @ common[j].T
            np.fill_diagonal(score, -1.0)
            assert np.mean(subject[test][score.argmax(axis=1)] == subject[test]) > 0.9


def test_scores_that_come_in_parts_have_the_covariance_of_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sided, "_SCORES_AT_ONCE", 7)
    score = (0.8 + 0.01 * np.random.default_rng(0).normal(size=(100, 3))).astype(np.float32)
    spread = two_sided._Spread(3)
    for part in np.split(score, [10, 50]):
        spread.add(part)
    np.testing.assert_allclose(spread.mean(), score.mean(axis=0, dtype=np.float64), rtol=1e-9)
    np.testing.assert_allclose(spread.covariance(), np.cov(score.T.astype(np.float64)), rtol=1e-6, atol=1e-12)
