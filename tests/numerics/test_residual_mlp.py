import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.adapters import ResidualMLP
from models.features import unit_features
from training.trainers import residual_mlp
from training.trainers.fitted import TrainingData, mean_cosine
from training.trainers.linear import fit_ridge
from training.trainers.residual_mlp import _Partners, fit_contrastive_mlp, fit_residual_mlp
from training.trainers.torch_translator import TorchTranslator

FloatArray = npt.NDArray[np.float32]


def folded(num: int, *, seed: int = 0, dimension: int = 8) -> TrainingData:
    """A planted relation that no linear map has: the target is the absolute value of the turned source."""
    random = np.random.default_rng(0)
    turn = np.linalg.qr(random.normal(size=(dimension, dimension)))[0]
    source = unit_features(random.normal(size=(num + 200, dimension)))
    target = unit_features(np.abs(source @ turn) - 0.25)
    return TrainingData(source[:num], target[:num], source[num:], target[num:], seed)


@pytest.fixture
def two_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_mlp, "EPOCHS", 2)


def translated(data: TrainingData) -> FloatArray:
    return fit_residual_mlp(data).model(data.validation_source_VS)


@pytest.mark.usefixtures("two_epochs")
def test_the_same_seed_gives_the_same_numbers_to_the_bit() -> None:
    first = translated(folded(300))
    torch.rand(17)  # Whoever drew random numbers in between has no say.
    assert first.tobytes() == translated(folded(300)).tobytes()


@pytest.mark.usefixtures("two_epochs")
def test_another_seed_gives_other_numbers() -> None:
    assert np.abs(translated(folded(300)) - translated(folded(300, seed=1))).max() > 1e-4


def test_before_training_it_points_where_ridge_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_mlp, "EPOCHS", 0)
    data = folded(300)
    np.testing.assert_allclose(translated(data), fit_ridge(data).model(data.validation_source_VS), atol=1e-6)


def test_it_beats_ridge_on_a_planted_nonlinear_relation() -> None:
    data = folded(1024)
    ridge = mean_cosine(fit_ridge(data).model(data.validation_source_VS), data.validation_target_VT)
    fitted = fit_residual_mlp(data)
    trained = mean_cosine(fitted.model(data.validation_source_VS), data.validation_target_VT)
    assert ridge < 0.5
    assert trained > ridge + 0.2
    assert fitted.hyperparameters["epochs"] == 30


@pytest.mark.usefixtures("two_epochs")
def test_fewer_pairs_than_a_batch_are_one_batch() -> None:
    rows = translated(folded(33))
    assert rows.shape == (200, 8)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-6)


@pytest.mark.usefixtures("two_epochs")
def test_a_translator_in_use_drops_nothing_out_and_sees_each_row_alone() -> None:
    data = folded(300)
    model = fit_residual_mlp(data).model
    together = model(data.validation_source_VS)
    np.testing.assert_array_equal(together, model(data.validation_source_VS))
    np.testing.assert_allclose(together[:1], model(data.validation_source_VS[:1]), atol=1e-6)


def test_sources_without_variance_are_no_division_by_zero() -> None:
    network = ResidualMLP(3, 2, width=4)
    same = torch.nn.functional.normalize(torch.ones(5, 3), dim=-1)
    network.start_from(torch.ones(3, 2), torch.zeros(2), same)
    out = network.eval()(same)
    np.testing.assert_allclose(out.detach().numpy(), np.full((5, 2), 0.5**0.5), atol=1e-6)


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (12, 0.5), (20, 0.0)],
)
def test_the_rate_warms_up_for_an_epoch_and_falls_as_half_a_cosine(step: int, expected: float) -> None:
    # Four steps an epoch, five epochs: the cosine spans steps 4 to 20.
    assert residual_mlp._rate(step, 4, 20) == pytest.approx(expected)


def test_mixing_takes_the_same_share_on_both_sides() -> None:
    source = torch.nn.functional.normalize(torch.randn(64, 5, generator=torch.Generator().manual_seed(1)), dim=-1)
    mixed_source, mixed_target = residual_mlp._mixed(source, source.clone(), torch.Generator().manual_seed(2))
    assert torch.equal(mixed_source, mixed_target)
    own = (mixed_source * source).sum(dim=-1)
    assert own.min() > 0  # At most half of each row comes from its partner.
    assert own.mean() < 0.999
    np.testing.assert_allclose(mixed_source.norm(dim=-1).numpy(), 1.0, atol=1e-6)


@pytest.mark.parametrize("share", [1.0, 0.75, 0.25, 0.0])
def test_between_start_and_trained_the_raw_outputs_are_mixed_in_that_share(share: float) -> None:
    torch.manual_seed(0)
    start = ResidualMLP(6, 4, width=8, dropout=0.0).eval()
    trained = ResidualMLP(6, 4, width=8, dropout=0.0).eval()
    last = trained.residual[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.normal_(last.weight)
    torch.nn.init.normal_(last.bias)
    unit = torch.nn.functional.normalize(torch.randn(10, 6), dim=-1)
    of_start = start.linear(unit)
    of_trained = trained.linear(unit) + trained.residual(unit)
    expected = torch.nn.functional.normalize(share * of_trained + (1 - share) * of_start, dim=-1)
    found = trained.between(start, share)(unit)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-6)


def test_the_share_that_does_best_on_validation_is_taken() -> None:
    # Nothing but a linear relation and noise: the network can only have learned the noise.
    random = np.random.default_rng(3)
    source = unit_features(random.normal(size=(400, 16)))
    target = unit_features(source @ random.normal(size=(16, 16)) + 1.5 * random.normal(size=(400, 16)))
    fitted = fit_residual_mlp(TrainingData(source[:200], target[:200], source[200:], target[200:], 0))
    share = fitted.hyperparameters["share"]
    assert isinstance(share, float)
    assert share < 1.0


def crowd(num_subjects: int, *, with_subjects: bool = True) -> TrainingData:
    """Six pictures a subject: who it is in 6 numbers, what only the picture has in 6 more, louder; both spaces see both."""
    random = np.random.default_rng(0)
    identity = np.repeat(random.normal(size=(num_subjects, 6)), 6, axis=0)
    latent = np.concatenate([identity, 2.0 * random.normal(size=(6 * num_subjects, 6))], axis=1)
    source, target = (
        unit_features(latent @ random.normal(size=(12, size)) + 0.1 * random.normal(size=(len(latent), size)))
        for size in (14, 16)
    )
    train = 6 * (num_subjects - 60)
    subjects = np.repeat(np.arange(num_subjects), 6)[:train] if with_subjects else None
    return TrainingData(source[:train], target[:train], source[train:], target[train:], 0, subject_N=subjects)


def rank1_across_pictures(data: TrainingData, model: TorchTranslator) -> float:
    """The first picture of each validation subject, translated, among the last pictures of all."""
    probe, gallery = model(data.validation_source_VS)[0::6], data.validation_target_VT[5::6]
    return float(np.mean((probe @ gallery.T).argmax(axis=1) == np.arange(len(probe))))


@pytest.mark.usefixtures("two_epochs")
@pytest.mark.parametrize("with_subjects", [True, False])
def test_contrastive_training_repeats_to_the_bit(*, with_subjects: bool) -> None:
    data = crowd(160, with_subjects=with_subjects)
    first, again = (fit_contrastive_mlp(data).model(data.validation_source_VS) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - translated(data)).max() > 1e-3


def test_learning_who_is_on_the_pictures_identifies_more_people() -> None:
    data = crowd(260)
    plain = rank1_across_pictures(data, fit_residual_mlp(data).model)
    fitted = fit_contrastive_mlp(data)
    assert rank1_across_pictures(data, fitted.model) > plain + 0.05
    assert fitted.hyperparameters["contrast"] == 1.0


def test_a_partner_is_of_the_same_subject_and_any_of_its_pictures() -> None:
    subjects = np.array([2, 0, 2, 1, 2, 0])
    partners = _Partners(subjects, torch.Generator().manual_seed(0))
    seen = {(int(row), int(partners.of(torch.tensor([row]))[0])) for row in range(6) for _ in range(60)}
    assert seen == {(a, b) for a in range(6) for b in range(6) if subjects[a] == subjects[b]}
