"""Both phases of Weak-Strong GAN by hand, and what a training comes to, on people small enough to learn in seconds."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.features import FloatArray
from models.space import InputPreparation
from tests.api.world import COLOURS_TO_A, encoder_graph
from training.errors import TrainingError
from training.recipes.wsgan import RECIPES, VARIANTS, small
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace
from training.trainers.picture_encoder import Unit, _Both
from training.trainers.rule import Rule
from training.trainers.weak_strong import EncodedPictures, WeakStrong
from training.trainers.wsgan import TorchSampler, _Run, fit_wsgan
from training.trainers.wsgan_recipe import WSGANRecipe

NUM_PEOPLE, WEAK, STRONG = 24, 8, 6
START = np.eye(WEAK, STRONG, dtype=np.float32)


class KilledError(Exception):
    pass


def unit(rows: np.ndarray) -> FloatArray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def people(workplace: Workplace | None = None) -> WeakStrong:
    """A weak feature of each, and two strong ones; of the last six strong ones alone."""
    random = np.random.default_rng(0)
    latent = random.normal(size=(NUM_PEOPLE, 4))
    class_M = np.repeat(np.arange(NUM_PEOPLE), 2)
    strong = latent[class_M] @ random.normal(size=(4, STRONG)) + 0.3 * random.normal(size=(len(class_M), STRONG))
    weak = (latent @ random.normal(size=(4, WEAK)))[:-6]
    return WeakStrong(
        unit(weak),
        np.arange(NUM_PEOPLE - 6),
        unit(strong),
        class_M,
        NUM_PEOPLE,
        is_one_space=False,
        seed=3,
        workplace=workplace or Workplace(),
    )


def recipe(name: str = "wsgan", **changes: object) -> WSGANRecipe:
    terms = replace(small().terms, contrast=0.0)
    tiny = replace(small(), terms=terms, num_hidden=16, num_noise=3, dropout=0.0, batch=8, epochs=3, fewest_steps=0)
    return replace(VARIANTS[name](tiny), **changes)  # type: ignore[arg-type]


def run_of(name: str = "wsgan", **changes: object) -> _Run:
    return _Run(people(), recipe(name, **changes), torch.from_numpy(START))


def noise_as_drawn(run: _Run, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
    """What the run is going to draw, without taking it from it."""
    copied = torch.Generator()
    copied.set_state(run.state.random.get_state())
    return draw(copied)


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


def moved(before: dict[str, list[Tensor]], run: _Run) -> set[str]:
    return {
        name
        for name, old in before.items()
        if not all(torch.equal(one, other) for one, other in zip(old, weights(run.state.networks[name]), strict=True))
    }


def cross_entropy(feature_BS: Tensor, run: _Run, class_B: Tensor) -> Tensor:
    """Of scaled cosines with the class centres, written out."""
    centre_CS = run.classifier.centre_CD / run.classifier.centre_CD.norm(dim=1, keepdim=True)
    logit_BC = run.recipe.scale * feature_BS @ centre_CS.T
    found: Tensor = (logit_BC.exp().sum(dim=1).log() - logit_BC[torch.arange(len(class_B)), class_B]).mean()
    return found


def test_the_d_phase_minimises_equation_9_over_critic_classifier_and_encoder_of_noise() -> None:
    run = run_of()
    networks = copy.deepcopy(dict(run.state.networks))

    def draw(random: torch.Generator) -> Tensor:
        weak = torch.randint(0, NUM_PEOPLE - 6, (8,), generator=random)
        strong = torch.randint(0, 2 * NUM_PEOPLE, (8,), generator=random)
        noise = torch.randn(8, 3, generator=random)
        made = networks["generator"](run.kept.features[weak], noise).detach()
        real = run.kept_strong.features[strong]
        adversarial = networks["critic"](made).mean() - networks["critic"](real).mean()
        classification = cross_entropy(real, run, run.strong_class_M[strong])
        regression = (networks["noise_encoder"](made) - noise).square().sum(dim=1).sqrt().mean()
        terms = run.recipe.terms
        total: Tensor = adversarial + terms.strong_classification * classification + terms.noise * regression
        return total

    expected = noise_as_drawn(run, draw)
    before = {name: weights(network) for name, network in run.state.networks.items()}
    assert run.d_phase() == pytest.approx(float(expected.detach()), rel=1e-5)
    assert moved(before, run) == {"critic", "classifier", "noise_encoder"}


def test_the_g_phase_minimises_equation_8_over_the_generator_alone() -> None:
    run = run_of()
    run.d_phase()
    networks = copy.deepcopy(dict(run.state.networks))
    rows = torch.arange(8)

    def draw(random: torch.Generator) -> Tensor:
        noise = torch.randn(8, 3, generator=random)
        made = networks["generator"](run.kept.features[rows], noise)
        regression = (networks["noise_encoder"](made) - noise).square().sum(dim=1).sqrt().mean()
        terms = run.recipe.terms
        classification = cross_entropy(made, run, run.weak_class_N[rows])
        adversarial = -networks["critic"](made).mean()
        total: Tensor = adversarial + terms.classification * classification + terms.noise * regression
        return total

    expected = noise_as_drawn(run, draw)
    before = {name: weights(network) for name, network in run.state.networks.items()}
    assert run.g_phase(rows) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert moved(before, run) == {"generator"}


def test_the_classifier_learns_from_what_is_generated_where_the_recipe_says_so() -> None:
    run = run_of(classifier_learns_weak=True)
    before = {name: weights(network) for name, network in run.state.networks.items()}
    run.g_phase(torch.arange(8))
    assert moved(before, run) == {"generator", "classifier"}


def test_the_critics_weights_are_clipped_after_every_d_phase() -> None:
    run = run_of(clip=0.01)
    run.d_phase()
    assert max(float(parameter.detach().abs().max()) for parameter in run.critic.parameters()) <= 0.01
    # Or it would have nothing to clip.
    assert max(float(parameter.detach().abs().max()) for parameter in run_of().critic.parameters()) > 0.01


def test_the_d_phase_is_invoked_five_times_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def phase(name: str) -> float:
        called.append(name)
        return 0.0

    monkeypatch.setattr(_Run, "d_phase", lambda run: phase("d"))
    monkeypatch.setattr(_Run, "g_phase", lambda run, rows: phase("g"))
    run_of().step(torch.arange(8), 0)
    assert called == ["d"] * 5 + ["g"]


@pytest.mark.parametrize(
    ("name", "of_d"),
    [("wsgan-c", {"classifier"}), ("wsgan-ac", {"classifier", "critic"})],
)
def test_each_row_of_table_3_trains_what_its_losses_are_of(name: str, of_d: set[str]) -> None:
    run = run_of(name, clip=1e9)
    before = {network: weights(module) for network, module in run.state.networks.items()}
    run.d_phase()
    assert moved(before, run) == of_d


def test_the_published_recipe_has_the_papers_numbers() -> None:
    paper = RECIPES["paper"]()
    assert (paper.terms.classification, paper.terms.strong_classification, paper.terms.noise) == (0.1, 0.1, 0.01)
    rules = (paper.generator, paper.critic, paper.classifier, paper.noise_encoder, paper.encoder)
    assert [rule.kind for rule in rules] == ["rmsprop", "rmsprop", "sgd", "sgd", "sgd"]
    assert {rule.learning_rate for rule in rules} == {0.005}
    assert (paper.batch, paper.num_critic, paper.clip) == (512, 5, 0.01)
    assert not paper.starts_linear


def test_class_centres_begin_with_the_means_of_strong_features() -> None:
    run, data = run_of(), people()
    for number in (0, NUM_PEOPLE - 1):
        mean = data.strong_MS[data.strong_class_M == number].mean(axis=0)
        centre = run.classifier.centre_CD[number].detach().numpy()
        np.testing.assert_allclose(centre, mean / np.linalg.norm(mean), atol=1e-6)


def test_generated_features_find_their_people_more_often_than_the_start() -> None:
    data = people()
    fitted = fit_wsgan(data, recipe(epochs=150, generator=Rule("adamw", 1e-2)), START)
    noise = np.random.default_rng(1).normal(size=(len(data.weak_NW), 3)).astype(np.float32)
    centres = np.stack([data.strong_MS[data.strong_class_M == c].mean(axis=0) for c in range(NUM_PEOPLE)])

    def share(strong: FloatArray) -> float:
        return float(np.mean((strong @ unit(centres).T).argmax(axis=1) == data.weak_class_N))

    assert share(fitted.sampler(data.weak_NW, noise)) > share(unit(data.weak_NW @ START)) + 0.3


def test_an_interrupted_training_comes_to_the_same_numbers(tmp_path: Path) -> None:
    def interrupt(report: Report) -> None:
        if report.step == 5:
            raise KilledError

    with_dropout = recipe(epochs=30, dropout=0.5)
    whole = fit_wsgan(people(), with_dropout, START).sampler
    kept = tmp_path / "checkpoint.npz"
    with pytest.raises(KilledError):
        fit_wsgan(people(Workplace(checkpoint=kept, on_step=interrupt)), with_dropout, START)
    assert kept.exists()
    resumed = fit_wsgan(people(Workplace(checkpoint=kept)), with_dropout, START).sampler
    assert all(
        torch.equal(one, other)
        for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True)
    )


class Constant(nn.Module):
    """Gives everybody one feature, or everybody their own whatever the noise."""

    def __init__(self, *, heeds_weak: bool) -> None:
        super().__init__()
        self.heeds_weak = heeds_weak

    def forward(self, weak_BW: Tensor, noise_BZ: Tensor) -> Tensor:
        raw = weak_BW[:, :STRONG] if self.heeds_weak else torch.ones(len(noise_BZ), STRONG)
        return functional.normalize(raw, dim=-1)


@pytest.mark.parametrize(
    ("heeds_weak", "says"), [(False, "everybody is given one feature"), (True, "whatever the noise")]
)
def test_a_collapsed_generator_stops_the_training_and_is_told(heeds_weak: bool, says: str) -> None:
    run = run_of()
    run.generator = Constant(heeds_weak=heeds_weak)  # type: ignore[assignment]
    with pytest.raises(TrainingError, match=says):
        run.check_varied(run.num_epochs - 1)


def test_without_a_loss_of_noise_a_generator_need_not_heed_it() -> None:
    run = run_of("wsgan-ac")
    run.generator = Constant(heeds_weak=True)  # type: ignore[assignment]
    run.check_varied(run.num_epochs - 1)


def test_a_generator_that_starts_from_a_map_is_near_to_it_at_first() -> None:
    run = run_of()
    weak = run.kept.features
    made = run.generator.eval()(weak, torch.zeros(len(weak), 3))
    start = functional.normalize(weak @ torch.from_numpy(START), dim=-1)
    assert float(functional.cosine_similarity(made, start).mean().detach()) > 0.85


def colours(*, with_strong: bool = False) -> WeakStrong:
    """Pictures of one colour each, whose encoder takes their mean colour."""
    random = np.random.default_rng(5)
    picture = np.broadcast_to(random.integers(0, 256, size=(12, 1, 1, 3)), (12, 112, 112, 3)).astype(np.uint8)
    strong = unit(random.normal(size=(12, 8)))
    weak = EncodedPictures(np.ascontiguousarray(picture), InputPreparation(), encoder_graph(COLOURS_TO_A))
    return WeakStrong(
        strong,
        np.arange(12),
        strong,
        np.arange(12),
        12,
        is_one_space=True,
        seed=0,
        pictures=weak,
        strong_pictures=255 - weak.picture_NHW3 if with_strong else None,
    )


def test_the_encoder_of_weak_pictures_is_trained_with_the_generator() -> None:
    data = colours()
    run = _Run(data, recipe(num_counterparts=2, batch=6), torch.eye(8))
    before = {name: weights(network) for name, network in run.state.networks.items()}
    rows = torch.tensor([0, 1, 2, 3, 4, 5])
    kept = run.kept.features.clone()
    assert math.isfinite(run.g_phase(rows))
    assert moved(before, run) == {"generator", "encoder"}
    changed = (run.kept.features != kept).any(dim=1)
    assert changed.tolist() == [True] * 6 + [False] * 6


def test_an_encoder_that_was_trained_is_given_with_the_sampler() -> None:
    fitted = fit_wsgan(colours(), recipe(batch=6, epochs=40), np.eye(8, dtype=np.float32))
    assert fitted.encoder_at is not None
    features = fitted.encoder_at(1.0)(np.random.default_rng(0).normal(size=(2, 3, 112, 112)).astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0, atol=1e-5)
    assert isinstance(fitted.sampler, TorchSampler)


def test_drawings_of_photos_are_learned_from_as_weak_pictures_of_whoever_is_on_them() -> None:
    data = colours(with_strong=True)
    run = _Run(data, recipe(batch=6, num_drawings=5, num_counterparts=2), torch.eye(8))
    kept = run.kept.features.clone()
    seen, weak = run._seen, []

    def noted(rows_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weak.append(seen(rows_B))
        return weak[-1]

    run._seen = noted  # type: ignore[method-assign]
    state = run.state.random.get_state()
    before = {name: weights(network) for name, network in run.state.networks.items()}
    assert math.isfinite(run.g_phase(torch.arange(6)))
    assert moved(before, run) == {"generator", "encoder"}
    ((feature_BW, class_B, own_BS),) = weak
    assert len(feature_BW) == len(class_B) == 11
    drawn_B = torch.randint(0, len(data.strong_class_M), (5,), generator=torch.Generator().set_state(state))
    expected = [*data.weak_class_N[:6].tolist(), *data.strong_class_M[drawn_B.numpy()].tolist()]
    assert class_B.tolist() == expected
    torch.testing.assert_close(own_BS, functional.normalize(run.classifier.centre_CD[class_B], dim=-1))
    # D-phases see real ones alone.
    assert (run.kept.features != kept).any(dim=1).tolist() == [True] * 6 + [False] * 6
    torch.testing.assert_close(run.kept.features[:6], feature_BW[:6].detach())


def test_what_is_generated_is_contrasted_with_photos_of_the_same_people_as_the_encoder_makes_them() -> None:
    one = colours(with_strong=True)
    assert one.strong_pictures is not None
    data = replace(
        one,
        strong_MS=np.concatenate([one.strong_MS] * 2),
        strong_class_M=np.concatenate([one.strong_class_M] * 2),
        strong_pictures=np.concatenate([one.strong_pictures] * 2),
    )
    asked = recipe(batch=6, num_drawings=5, contrasts_strong=True)
    run = _Run(data, asked, torch.eye(8))
    encoded: list[tuple[Sequence[Tensor], list[Tensor]]] = []
    assert run.weak is not None
    together = run.weak.together

    def noted(lots: Sequence[Tensor]) -> list[Tensor]:
        encoded.append((lots, together(lots)))
        return encoded[-1][1]

    run.weak.together = noted  # type: ignore[assignment, method-assign]
    asked_for: list[Tensor] = []
    assert run.photos is not None
    pictures = run.photos.pictures

    def of_photos(rows_B: Tensor, random: torch.Generator) -> Tensor:
        asked_for.append(rows_B)
        return pictures(rows_B, random)

    run.photos.pictures = of_photos  # type: ignore[method-assign]
    weak_BW, class_B, own_BS = run._seen(torch.arange(6))
    ((lots, _),), (own_B,) = encoded, asked_for
    assert [len(lot) for lot in lots] == [6, 5, 11]
    assert torch.equal(run.strong_class_M[own_B], class_B)
    # D-phases see photos as the encoder made them here, and those that it has not seen yet as they came.
    is_once = torch.bincount(own_B, minlength=len(data.strong_MS))[own_B] == 1
    torch.testing.assert_close(run.kept_strong.features[own_B[is_once]], own_BS.detach()[is_once])
    is_new = torch.ones(len(data.strong_MS), dtype=torch.bool)
    is_new[own_B] = False
    assert torch.equal(run.kept_strong.features[is_new], torch.from_numpy(data.strong_MS)[is_new])
    contrasted: list[Tensor] = []
    contrast = run._contrast

    def noting(made_BS: Tensor, own_BS: Tensor, class_B: Tensor) -> Tensor:
        contrasted.append(own_BS)
        return contrast(made_BS, own_BS, class_B)

    run._contrast = noting  # type: ignore[method-assign]
    run.recipe = replace(asked, terms=replace(asked.terms, contrast=1.0))
    run.g_phase(torch.arange(6))
    assert torch.equal(contrasted[0], encoded[1][1][-1].repeat(asked.num_counterparts, 1))
    assert len(weak_BW) == len(class_B) == len(own_BS) == 11
    assert own_BS.requires_grad
    chosen = [run._some_of(class_B) for _ in range(20)]
    assert all(torch.equal(run.strong_class_M[rows], class_B) for rows in chosen)
    assert len({tuple(rows.tolist()) for rows in chosen}) > 1
    assert _Run(data, recipe(batch=6, contrasts_strong=True), torch.eye(8))._seen(torch.arange(6))[2].shape == (6, 8)


@pytest.mark.parametrize("contrasts", [False, True])
def test_an_encoder_of_both_modalities_may_be_taught_to_recognise_pictures_itself(contrasts: bool) -> None:
    data, losses, expected = colours(with_strong=True), [], 0.0
    for weight in (0.0, 1.0, 3.0):
        terms = replace(recipe().terms, encoder_classification=weight)
        asked = recipe(batch=6, terms=terms, num_counterparts=1, contrasts_strong=contrasts)
        run, twin = _Run(data, asked, torch.eye(8)), _Run(data, asked, torch.eye(8))
        weak_BW, class_B, own_BS = twin._seen(torch.arange(6))
        sides = [weak_BW, own_BS] if contrasts else [weak_BW]
        expected = sum(float(cross_entropy(side, twin, class_B).detach()) for side in sides)
        losses.append(run.g_phase(torch.arange(6)))
    assert losses[1] - losses[0] == pytest.approx(expected, rel=1e-3)
    assert losses[2] - losses[0] == pytest.approx(3 * expected, rel=1e-3)


def test_drawings_need_the_photos() -> None:
    with pytest.raises(TrainingError, match="pictures of both"):
        _Run(colours(), recipe(batch=6, num_drawings=2), torch.eye(8))


def test_an_encoder_may_look_at_pictures_and_their_mirror_images() -> None:
    torch.manual_seed(0)
    one = Unit(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5)))
    picture = torch.randn(2, 3, 4, 4)
    plain, turned = one(picture), one(picture.flip(3))
    assert not torch.allclose(plain, turned, atol=0.1)
    found = _Both(one)(picture)
    torch.testing.assert_close(found, functional.normalize(plain + turned, dim=1))
    torch.testing.assert_close(found, _Both(one)(picture.flip(3)))


@pytest.mark.parametrize("is_mirrored", [False, True])
def test_it_does_so_where_the_recipe_says_so(is_mirrored: bool) -> None:
    fitted = fit_wsgan(colours(), recipe(batch=6, epochs=40, is_mirrored=is_mirrored), np.eye(8, dtype=np.float32))
    assert fitted.encoder_at is not None
    assert isinstance(fitted.encoder_at(0.5).network, _Both) is is_mirrored


def test_an_encoder_of_both_modalities_is_trained_in_both_phases_as_published() -> None:
    run = _Run(colours(with_strong=True), recipe(batch=6, trains_on_strong=True), torch.eye(8))
    before = {name: weights(network) for name, network in run.state.networks.items()}
    assert math.isfinite(run.d_phase())
    assert moved(before, run) == {"critic", "classifier", "noise_encoder", "encoder"}
    before = {name: weights(network) for name, network in run.state.networks.items()}
    run.g_phase(torch.arange(6))
    assert moved(before, run) == {"generator", "encoder"}


def test_an_encoder_of_both_modalities_needs_the_pictures_of_both() -> None:
    with pytest.raises(TrainingError, match="pictures of both"):
        _Run(colours(), recipe(batch=6, trains_on_strong=True), torch.eye(8))


def test_an_encoder_that_learns_by_classification_alone_gets_no_gradient_of_the_others() -> None:
    def of_encoder(**changes: Any) -> list[Tensor]:
        run = _Run(colours(), recipe(batch=6, encoder_learns_all=False, num_hidden=4, **changes), torch.eye(8))
        run.g_phase(torch.arange(6))
        return [
            parameter.grad for parameter in run.state.networks["encoder"].parameters() if parameter.grad is not None
        ]

    terms = recipe().terms
    without = replace(terms, noise=0.0, is_adversarial=False)
    assert all(torch.equal(one, other) for one, other in zip(of_encoder(), of_encoder(terms=without), strict=True))
    all_of_it = _Run(colours(), recipe(batch=6, num_hidden=4), torch.eye(8))
    all_of_it.g_phase(torch.arange(6))
    learned = [p.grad for p in all_of_it.state.networks["encoder"].parameters() if p.grad is not None]
    assert not all(torch.equal(one, other) for one, other in zip(of_encoder(), learned, strict=True))


def test_contrast_asks_that_a_person_finds_what_was_generated_of_them() -> None:
    run = run_of()
    random = np.random.default_rng(4)
    made = torch.from_numpy(unit(random.normal(size=(5, STRONG))))
    classes = torch.tensor([3, 0, 7, 7, 1])
    centre_CS = run.classifier.centre_CD.detach() / run.classifier.centre_CD.detach().norm(dim=1, keepdim=True)
    logits = (run.recipe.scale * made @ centre_CS[classes].T).double()
    expected = 0.0
    for side in (logits, logits.T):
        for row in range(5):
            others = [j for j in range(5) if j == row or classes[j] != classes[row]]
            expected += math.log(sum(math.exp(float(side[row, j])) for j in others)) - float(side[row, row])
    found = run._contrast(made, run._centres(classes), classes)
    assert float(found.detach()) == pytest.approx(expected / 10, rel=1e-5)


def test_few_pictures_are_seen_more_often() -> None:
    few = recipe(epochs=3, fewest_steps=11)
    assert (few.num_epochs(2), few.num_epochs(5), few.num_epochs(20)) == (6, 3, 3)


def test_what_noise_does_is_not_looked_at_before_half_of_the_training() -> None:
    run = run_of(epochs=4)
    run.generator = Constant(heeds_weak=True)  # type: ignore[assignment]
    run.check_varied(0)
    with pytest.raises(TrainingError, match="whatever the noise"):
        run.check_varied(1)
