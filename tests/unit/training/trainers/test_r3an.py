"""Algorithm 1 on pairs small enough to train in seconds."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.r3an import R3ANTranslator
from training.errors import TrainingError
from training.losses.regression import l2_regression
from training.recipes.r3an import ARCHITECTURES, RECIPES, small
from training.trainers import r3an, updates
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import TrainingData, Workplace, mean_cosine
from training.trainers.r3an import _AllPaths, _Naive, fit_fully_connected, fit_r3an
from training.trainers.r3an_recipe import Paths, R3ANRecipe
from training.trainers.torch_translator import TorchTranslator
from training.trainers.updates import Update

NUM_PAIRS, NUM_SOURCE, NUM_TARGET = 24, 6, 5
NETWORKS = ("generator", "extractor", "discriminator")

MOVED = {
    "arch1": {"generator", "extractor"},
    "arch2": {"generator", "extractor", "discriminator"},
    "arch3": {"generator", "extractor"},
    "arch4": {"generator", "extractor"},
    "arch5": {"generator", "extractor"},
    "arch6": {"generator", "extractor", "discriminator"},
    "arch7": {"generator", "extractor"},
    "r3an": {"generator", "extractor", "discriminator"},
}


class KilledError(Exception):
    pass


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def pairs(workplace: Workplace | None = None, *, pictures: bool = True) -> TrainingData:
    """Pictures of one colour each; the source is a turned colour, the target another."""
    random = np.random.default_rng(0)
    colour_N3 = random.integers(0, 256, size=(NUM_PAIRS, 3))
    latent = np.concatenate([colour_N3 / 127.5 - 1.0, np.ones((NUM_PAIRS, 1))], axis=1)
    source, target = (unit(latent @ random.normal(size=(4, size))) for size in (NUM_SOURCE, NUM_TARGET))
    picture = np.broadcast_to(colour_N3[:, None, None], (NUM_PAIRS, 56, 56, 3)).astype(np.uint8)
    return TrainingData(
        source, target, source, target, 0, picture if pictures else None, workplace=workplace or Workplace()
    )


def recipe(name: str = "r3an", **changes: object) -> R3ANRecipe:
    return replace(small(ARCHITECTURES[name]), **({"batch": 8, "epochs": 1} | changes))  # type: ignore[arg-type]


def bits(model: TorchTranslator) -> dict[str, bytes]:
    return {key: tensor.numpy().tobytes() for key, tensor in model.network.state_dict().items()}


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


@pytest.mark.parametrize("name", MOVED)
def test_an_architecture_trains_its_own_networks_and_no_other(name: str) -> None:
    run = _AllPaths(pairs(), recipe(name))
    before = {part: weights(getattr(run, part)) for part in NETWORKS}
    run.step(np.arange(8), 0)
    moved = {
        part
        for part in NETWORKS
        if any(not torch.equal(a, b) for a, b in zip(before[part], weights(getattr(run, part)), strict=True))
    }
    assert moved == MOVED[name]


def test_the_updates_come_in_the_order_of_algorithm_1(monkeypatch: pytest.MonkeyPatch) -> None:
    run = _AllPaths(pairs(), recipe())
    moved: list[set[str]] = []
    plain = Update.step

    def step(self: Update, loss: Tensor) -> float:
        before = {part: weights(getattr(run, part)) for part in NETWORKS}
        value = plain(self, loss)
        after = {part: weights(getattr(run, part)) for part in NETWORKS}
        moved.append({part for part in NETWORKS if not all(map(torch.equal, before[part], after[part]))})
        return value

    monkeypatch.setattr(Update, "step", step)
    run.step(np.arange(8), 0)
    assert moved == [{"discriminator"}, {"generator"}, {"extractor"}, {"generator", "extractor"}]


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_one_loss_leaves_the_momentum_of_another_as_it_is(optimiser: str) -> None:
    """With Adam too, whose steps of one loss would be out of proportion after small gradients of another."""
    run = _AllPaths(pairs(), recipe(optimiser=optimiser, learning_rate=0.01))
    run.step(np.arange(8), 0)
    kept = copy.deepcopy({name: update.optimiser.state_dict()["state"] for name, update in run.updates.items()})
    loss = 1e-3 * run.extractor(run._pictures(np.arange(8))).sum()
    run.updates["representation"].step(loss)
    for name, update in run.updates.items():
        state = update.optimiser.state_dict()["state"]
        same = [torch.equal(value[key], kept[name][number][key]) for number, value in state.items() for key in value]
        assert all(same) == (name != "representation")


@pytest.mark.parametrize("name", [*MOVED, "fc"])
@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_every_network_decays_once_in_a_mini_batch(name: str, optimiser: str) -> None:
    work = recipe(name, optimiser=optimiser, learning_rate=0.01, weight_decay=0.5)
    run = _Naive(pairs(), work) if name == "fc" else _AllPaths(pairs(), work)
    decays: dict[int, list[float]] = {}
    for update in run.updates.values():
        for group in update.optimiser.param_groups:
            for parameter in group["params"]:
                decays.setdefault(id(parameter), []).append(group["weight_decay"])
    assert decays
    assert all(sorted(found) == [0.0] * (len(found) - 1) + [0.5] for found in decays.values())


def test_a_weight_scales_the_steps_of_either_optimiser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam does not see how much a loss is weighted."""
    monkeypatch.setattr(updates, "_LARGEST_GRADIENT", 1e9)
    moved = []
    for optimiser in ("sgd", "adam"):
        for weight in (1.0, 0.1):
            run = _AllPaths(pairs(), recipe(optimiser=optimiser, paths=Paths(representation=weight, regression=1.0)))
            before = torch.cat([w.flatten() for w in weights(run.extractor)])
            loss = weight * l2_regression(run.extractor(run._pictures(np.arange(8))), run.target_NT[:8])
            run.updates["representation"].step(loss)
            moved.append(float((torch.cat([w.flatten() for w in weights(run.extractor)]) - before).norm()))
    assert moved[1] / moved[0] == pytest.approx(0.1, rel=0.05)
    assert moved[3] / moved[2] == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_each_update_sees_the_weights_that_the_one_before_it_left(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool
) -> None:
    """Autocast keeps copies of weights in bfloat16; those of before an update must not serve the one after it."""
    monkeypatch.setattr(r3an, "has_bfloat16", lambda device: bfloat16)
    run = _AllPaths(pairs(), recipe(learning_rate=0.05, paths=Paths(reconstruction=1.0, regression=1.0)))
    given: list[Tensor] = []
    painted: list[Tensor] = []

    def keep(network: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given.append(inputs[0].detach().clone())
        painted.append(output.detach().float())

    run.generator.register_forward_hook(keep)
    run.step(np.arange(8), 20)
    assert len(painted) == 2
    assert torch.equal(given[0], given[1])
    assert float((painted[0] - painted[1]).abs().mean()) > 0.01


def test_an_update_leaves_other_networks_and_their_momentum_alone() -> None:
    """Once every network has momentum and weights to decay, an update of one must not move the two others by theirs."""
    run = _AllPaths(pairs(), recipe(optimiser="sgd", learning_rate=0.01, weight_decay=0.1))
    run.step(np.arange(8), 0)
    part_of = dict(zip(NETWORKS, ("reconstruction", "representation", "discrimination"), strict=True))
    for part in NETWORKS:
        before = {name: weights(getattr(run, name)) for name in NETWORKS}
        picture_BCHW = run.generator(run.source_NS[:8])
        run.updates[part_of[part]].step(run.discriminator(picture_BCHW).sum() + run.extractor(picture_BCHW).sum())
        for name in NETWORKS:
            after = weights(getattr(run, name))
            is_still = all(torch.equal(a, b) for a, b in zip(before[name], after, strict=True))
            assert is_still == (name != part)


@pytest.mark.parametrize("name", ["r3an", "fc"])
@pytest.mark.parametrize("step", [1, 3, 4, 5])
def test_an_interrupted_training_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path: Path, name: str, step: int
) -> None:
    fit = fit_fully_connected if name == "fc" else fit_r3an

    def killed(report: Report) -> None:
        if report.step == step:
            raise KilledError

    work = recipe(name, epochs=2)
    whole = fit(pairs(Workplace(checkpoint=tmp_path / "whole.npz")), work)
    with pytest.raises(KilledError):
        fit(pairs(Workplace(checkpoint=tmp_path / "cut.npz", on_step=killed)), work)
    resumed = fit(pairs(Workplace(checkpoint=tmp_path / "cut.npz")), work)
    assert bits(resumed.model) == bits(whole.model)


@pytest.mark.parametrize(("name", "epochs"), [("r3an", 6), ("arch3", 30), ("fc", 30)])
def test_training_brings_translations_nearer_to_the_target(name: str, epochs: int) -> None:
    fit = fit_fully_connected if name == "fc" else fit_r3an
    data = pairs()
    untrained = fit(data, recipe(name, epochs=0)).model
    trained = fit(data, recipe(name, epochs=epochs)).model
    before, after = (mean_cosine(model(data.source_NS), data.target_NT) for model in (untrained, trained))
    assert after > before + 0.5


def test_the_translator_gives_unit_features_row_by_row() -> None:
    data = pairs()
    model = fit_r3an(data, recipe()).model
    translated = model(data.source_NS)
    assert translated.shape == (NUM_PAIRS, NUM_TARGET)
    assert translated.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(translated, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(model(data.source_NS[3:4]), translated[3:4], atol=1e-5)


def test_normalisation_takes_its_statistics_of_batches_of_many_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features come sorted by person; a batch of one person alone varies less than the faces that are translated."""
    data = pairs()
    seen: list[Tensor] = []
    plain = R3ANTranslator.forward

    def watched(self: R3ANTranslator, source_BS: Tensor) -> Tensor:
        if self.training:
            seen.append(source_BS)
        return plain(self, source_BS)

    monkeypatch.setattr(R3ANTranslator, "forward", watched)
    person_N = np.repeat(np.arange(0, NUM_PAIRS, 8), 8)
    assert data.picture_NHW3 is not None
    picture_NHW3 = data.picture_NHW3[person_N]
    fit_r3an(
        replace(
            data, source_NS=data.source_NS[person_N], target_NT=data.target_NT[person_N], picture_NHW3=picture_NHW3
        ),
        recipe(),
    )
    assert [len(source_BS) for source_BS in seen] == [8, 8, 8]
    assert sorted(torch.cat(seen).tolist()) == sorted(data.source_NS[person_N].tolist())
    assert all(len(source_BS.unique(dim=0)) > 1 for source_BS in seen)


@pytest.mark.parametrize("name", ["r3an", "fc"])
def test_a_training_that_ends_without_features_blames_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loss is a number, and the last step ruins the weights."""
    fit = fit_fully_connected if name == "fc" else fit_r3an
    plain = r3an._train

    def ruinous(run: r3an._Run, data: TrainingData) -> None:
        plain(run, data)
        for network in run.state.networks.values():
            for parameter in network.parameters():
                nn.init.constant_(parameter, 0.0 if name == "fc" else 1e38)

    monkeypatch.setattr(r3an, "_train", ruinous)
    with pytest.raises(TrainingError, match=r"diverged: its answers are no features; .* fit --learning-rate 0\.00025"):
        fit(pairs(), recipe(name, epochs=1))


def test_without_pictures_the_paths_that_need_them_are_refused() -> None:
    with pytest.raises(TrainingError, match="needs the pictures that the features were made from"):
        fit_r3an(pairs(pictures=False), recipe("arch1"))
    fit_r3an(pairs(pictures=False), recipe("arch3"))


@pytest.mark.parametrize("name", ["r3an", "fc"])
def test_a_diverging_training_stops_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fit = fit_fully_connected if name == "fc" else fit_r3an
    place = tmp_path / "checkpoint.npz"
    plain: Callable[..., Tensor] = l2_regression
    calls: list[int] = []

    def broken(raw_BT: Tensor, target_BT: Tensor) -> Tensor:
        calls.append(1)
        loss = plain(raw_BT, target_BT)
        return loss * float("nan") if len(calls) > limit else loss

    limit = 10**6
    monkeypatch.setattr("training.trainers.r3an.l2_regression", broken)
    fit(pairs(Workplace(checkpoint=place)), recipe(name, epochs=1))
    limit = len(calls)
    one_epoch = len(calls)
    calls.clear()
    place.unlink()
    limit = one_epoch
    with pytest.raises(
        TrainingError,
        match=r"no number, after 4 steps; go on from the checkpoint of finished epoch 1 with fit --learning-rate 0\.00025",
    ):
        fit(pairs(Workplace(checkpoint=place)), recipe(name, epochs=2))
    kept = np.load(place)
    assert kept["rates"].tolist() == [0.001]
    assert all(np.isfinite(kept[key]).all() for key in kept.files if kept[key].dtype.kind == "f")
    limit = 10**6
    steps: list[int] = []
    gentler = replace(recipe(name, epochs=2), learning_rate=0.00025)
    fitted = fit(pairs(Workplace(checkpoint=place, on_step=lambda report: steps.append(report.step))), gentler)
    assert steps == [4, 5, 6]
    assert fitted.hyperparameters["learning_rates"] == [0.001, 0.00025]


@pytest.mark.parametrize("name", ["r3an", "arch3", "fc"])
def test_a_training_whose_loss_grows_beyond_all_bounds_has_diverged(tmp_path: Path, name: str) -> None:
    fit = fit_fully_connected if name == "fc" else fit_r3an
    place = tmp_path / "checkpoint.npz"
    with pytest.raises(
        TrainingError, match=r"diverged: its loss is far too large.*start again with fit --learning-rate 25"
    ):
        fit(pairs(Workplace(checkpoint=place)), replace(recipe(name, epochs=20), learning_rate=100.0))


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss does not show them: the running variance of a normalisation counts only once it is exported."""
    plain = _AllPaths.update_all

    def spoiling(self: _AllPaths, rows_B: np.ndarray) -> float:
        loss = plain(self, rows_B)
        norms = [layer for layer in self.extractor.modules() if isinstance(layer, nn.BatchNorm2d)]
        assert norms[0].running_var is not None
        norms[0].running_var[0] = float("inf")
        return loss

    monkeypatch.setattr(_AllPaths, "update_all", spoiling)
    place = tmp_path / "checkpoint.npz"
    with pytest.raises(
        TrainingError, match=r"diverged: a weight is far too large, or no number, after 3 steps; start again"
    ):
        fit_r3an(pairs(Workplace(checkpoint=place)), recipe(epochs=2))
    assert not place.exists()


def test_where_the_memory_is_too_small_the_batch_that_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_run: _AllPaths, rows_B: np.ndarray, _number: int) -> float:
        if len(rows_B) > 2:
            raise torch.OutOfMemoryError
        return 0.0

    monkeypatch.setattr(_AllPaths, "step", step)
    with pytest.raises(TrainingError, match="a batch of 8 does not fit into the memory of the cpu; fit --batch 2 does"):
        fit_r3an(pairs(), recipe())


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        RuntimeError("[enforce fail] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_cpu_without_memory_is_told_like_a_gpu(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def step(_run: _AllPaths, rows_B: np.ndarray, _number: int) -> float:
        if len(rows_B) > 4:
            raise failure
        return 0.0

    monkeypatch.setattr(_AllPaths, "step", step)
    with pytest.raises(TrainingError, match="a batch of 8 does not fit into the memory of the cpu; fit --batch 4 does"):
        fit_r3an(pairs(), recipe())


def test_other_errors_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_run: _AllPaths, _rows_B: np.ndarray, _number: int) -> float:
        raise RuntimeError("something else")

    monkeypatch.setattr(_AllPaths, "step", step)
    with pytest.raises(RuntimeError, match="something else"):
        fit_r3an(pairs(), recipe())


def test_where_nothing_fits_another_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def step(_run: _AllPaths, _rows_B: np.ndarray, _number: int) -> float:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(_AllPaths, "step", step)
    with pytest.raises(TrainingError, match="--device cpu"):
        fit_r3an(pairs(), recipe())


def test_the_recipes_are_the_architectures_of_table_3() -> None:
    ticks = {
        name: (bool(p.adversarial), bool(p.reconstruction), bool(p.representation), bool(p.regression))
        for name, p in ARCHITECTURES.items()
    }
    assert ticks == {
        "fc": (False, False, False, True),
        "arch1": (False, True, True, False),
        "arch2": (True, False, True, False),
        "arch3": (False, False, False, True),
        "arch4": (False, True, False, True),
        "arch5": (False, True, True, True),
        "arch6": (True, False, False, True),
        "arch7": (False, False, True, True),
        "r3an": (True, True, True, True),
    }


def test_the_paper_recipe_is_that_of_section_5() -> None:
    published = RECIPES["paper"](ARCHITECTURES["r3an"])
    assert (published.optimiser, published.learning_rate, published.momentum) == ("sgd", 0.08, 0.9)
    assert (published.batch, published.weight_decay, published.iterations) == (512, 1e-3, 200_000)
    assert published.schedule == "steps"
    # To a tenth at 60,000, 100,000 and 140,000 of 200,000.
    assert r3an.MILESTONES == (0.3, 0.5, 0.7)
    assert published.num_epochs(20) == 10_000
