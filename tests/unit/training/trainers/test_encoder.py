"""Training encoders on classes that a colour tells apart, at 32 pixels a side."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.space import InputPreparation
from training.data.picture_store import LabelledPictures
from training.errors import TrainingError
from training.recipes import encoders as recipes
from training.trainers import encoder
from training.trainers.encoder import (
    TorchEncoder,
    choose_torch_device,
    fit_encoder,
    has_bfloat16,
    margin_share,
)
from training.trainers.encoder_recipe import EncoderRecipe, Report
from training.trainers.schedule import rate

SIDE = 32
PREPARATION = InputPreparation(resize=(SIDE, SIDE), mean=(127.5,) * 3, std=(64.0,) * 3)
COLOURS = np.array([[220, 30, 30], [30, 220, 30], [30, 30, 220], [220, 220, 30], [220, 30, 220], [30, 220, 220]])
RECIPE = EncoderRecipe(
    backbone="mobilenetv2-t6",
    width=0.1,
    dimension=8,
    epochs=2,
    batch=16,
    learning_rate=0.1,
    schedule="cosine",
    margin=0.3,
    scale=16.0,
)


class KilledError(Exception):
    pass


def coloured(num_each: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Noise around the colour of each class, in turn."""
    random = np.random.default_rng(seed)
    class_N = np.arange(num_each * len(COLOURS)) % len(COLOURS)
    noisy = COLOURS[class_N][:, None, None] + random.normal(scale=25, size=(len(class_N), SIDE, SIDE, 3))
    return noisy.clip(0, 255).astype(np.uint8), class_N.astype(np.int64)


def labelled(num_each: int = 8, digest: str = "colours") -> LabelledPictures:
    return LabelledPictures(*coloured(num_each, 0), len(COLOURS), digest)


def prepared(picture_NHW3: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return ((picture_NHW3.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 64.0).astype(np.float32)


def fitted(
    checkpoint: Path,
    recipe: EncoderRecipe = RECIPE,
    *,
    seed: int = 0,
    pictures: LabelledPictures | None = None,
    on_step: Callable[[Report], None] = lambda report: None,
) -> TorchEncoder:
    return fit_encoder(
        recipe,
        pictures or labelled(),
        PREPARATION,
        seed=seed,
        device="cpu",
        checkpoint=checkpoint,
        on_step=on_step,
    ).encoder


def weights(model: TorchEncoder) -> dict[str, bytes]:
    return {key: tensor.numpy().tobytes() for key, tensor in model.network.state_dict().items()}


def killed_at(step: int) -> Callable[[Report], None]:
    def on_step(report: Report) -> None:
        if report.step == step:
            raise KilledError

    return on_step


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TorchEncoder:
    """Two epochs of three steps each, without an interruption."""
    return fitted(tmp_path_factory.mktemp("whole") / "checkpoint.npz")


def separation(model: TorchEncoder) -> float:
    """The lowest cosine of two held-out pictures of one class, less the highest of two of different ones."""
    pictures, class_N = coloured(5, 6)
    feature = model(prepared(pictures))
    cosine_NN, same_NN = feature @ feature.T, class_N[:, None] == class_N
    return float(cosine_NN[same_NN].min() - cosine_NN[~same_NN].max())


def test_held_out_pictures_of_a_toy_world_are_told_apart_once_it_has_trained(tmp_path: Path) -> None:
    toy = replace(
        RECIPE, backbone="resnet-50", width=0.25, batch=24, learning_rate=0.03, margin=0.2, scale=8.0, epochs=16
    )
    untrained = fitted(tmp_path / "untrained.npz", replace(toy, epochs=0))
    trained = fitted(tmp_path / "trained.npz", toy, pictures=labelled(16))
    assert separation(untrained) < 0
    # Above 0 every picture is nearer to all of its class than to any other: rank-1 is 1.
    assert separation(trained) > 0.3


def test_features_have_length_one_and_each_picture_is_seen_alone(whole: TorchEncoder) -> None:
    pictures = prepared(coloured(2, 3)[0])
    feature = whole(pictures)
    assert feature.shape == (12, 8)
    assert feature.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(feature, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(whole(pictures[4:5]), feature[4:5], atol=1e-5)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 6])
def test_an_interrupted_training_ends_with_the_bits_of_an_uninterrupted_one(
    whole: TorchEncoder, tmp_path: Path, step: int
) -> None:
    with pytest.raises(KilledError):
        fitted(tmp_path / "c.npz", on_step=killed_at(step))
    torch.rand(17)  # Whoever drew random numbers in between has no say.
    steps: list[int] = []
    resumed = fitted(tmp_path / "c.npz", on_step=lambda report: steps.append(report.step))
    # It goes on after the last finished epoch: the first is finished once the third step was heard of.
    assert steps == ([1, 2, 3, 4, 5, 6] if step <= 3 else [4, 5, 6])
    assert weights(resumed) == weights(whole)


def test_a_resnet_is_resumed_to_the_bit_too(tmp_path: Path) -> None:
    recipe = replace(RECIPE, backbone="resnet-50")
    expected = fitted(tmp_path / "whole.npz", recipe)
    with pytest.raises(KilledError):
        fitted(tmp_path / "c.npz", recipe, on_step=killed_at(4))
    assert weights(fitted(tmp_path / "c.npz", recipe)) == weights(expected)


def test_a_finished_training_is_not_done_again(whole: TorchEncoder, tmp_path: Path) -> None:
    fitted(tmp_path / "c.npz")
    again = fitted(tmp_path / "c.npz", on_step=killed_at(1))
    assert weights(again) == weights(whole)


@pytest.mark.parametrize("changed", ["recipe", "seed", "pictures"])
def test_other_work_is_refused_and_what_is_there_kept(tmp_path: Path, changed: str) -> None:
    fitted(tmp_path / "c.npz", replace(RECIPE, epochs=1))
    recipe = replace(RECIPE, epochs=1, margin=0.2) if changed == "recipe" else replace(RECIPE, epochs=1)
    pictures = labelled(digest="others") if changed == "pictures" else None
    kept, seed = (tmp_path / "c.npz").read_bytes(), 1 if changed == "seed" else 0
    with pytest.raises(TrainingError, match="left by a training with other options"):
        fitted(tmp_path / "c.npz", recipe, seed=seed, pictures=pictures)
    assert (tmp_path / "c.npz").read_bytes() == kept


def test_garbage_in_place_of_the_checkpoint_starts_anew(whole: TorchEncoder, tmp_path: Path) -> None:
    (tmp_path / "c.npz").write_bytes(b"words")
    assert weights(fitted(tmp_path / "c.npz")) == weights(whole)


def test_another_seed_gives_another_network(whole: TorchEncoder, tmp_path: Path) -> None:
    pictures = prepared(coloured(1, 3)[0])
    other = fitted(tmp_path / "c.npz", seed=1)
    assert np.abs(other(pictures) - whole(pictures)).max() > 1e-3


def test_a_loss_that_is_no_number_says_what_to_do(tmp_path: Path) -> None:
    wild = replace(RECIPE, learning_rate=1e36, epochs=3)
    with pytest.raises(TrainingError, match=r"the loss is no number after \d steps; lower --learning-rate"):
        fitted(tmp_path / "c.npz", wild)


def test_weights_that_are_no_numbers_are_never_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = encoder._Run.step

    def spoiling(run: encoder._Run, *given: Any) -> float:
        loss = plain(run, *given)
        with torch.no_grad():
            run.network.state_dict()["norm.running_var"][0] = float("inf")
        return loss

    monkeypatch.setattr(encoder._Run, "step", spoiling)
    with pytest.raises(TrainingError, match="a weight is no number after 1 epochs; lower --learning-rate"):
        fitted(tmp_path / "c.npz", replace(RECIPE, epochs=2))
    assert not (tmp_path / "c.npz").exists()


def test_reports_count_all_steps_and_average_the_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([6.0, 3.0, 0.0, 1.0, 1.0, 1.0])
    monkeypatch.setattr(encoder._Run, "step", lambda *_: next(losses))
    reports: list[Report] = []
    fitted(tmp_path / "c.npz", on_step=reports.append)
    assert [(report.step, report.num_steps) for report in reports] == [(step, 6) for step in range(1, 7)]
    assert [report.loss for report in reports] == pytest.approx([6, 4.5, 3, 2.5, 2.2, 2])


def test_a_batch_larger_than_the_set_is_the_set(tmp_path: Path) -> None:
    reports: list[Report] = []
    pictures = labelled(2)
    fitted(tmp_path / "c.npz", replace(RECIPE, batch=500), pictures=pictures, on_step=reports.append)
    assert [report.num_steps for report in reports] == [2, 2]


def test_iterations_are_rounded_up_to_whole_epochs(tmp_path: Path) -> None:
    reports: list[Report] = []
    fitted(tmp_path / "c.npz", replace(RECIPE, iterations=4), on_step=reports.append)
    # 48 pictures are three batches of 16: four iterations take two epochs.
    assert [report.num_steps for report in reports] == [6] * 6


def test_every_epoch_sees_every_picture_once_in_another_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []

    def step(run: object, rows_B: npt.NDArray[np.int64], number: int) -> float:
        assert number == len(seen)
        seen.append(rows_B.tolist())
        return 1.0

    monkeypatch.setattr(encoder._Run, "step", step)
    fitted(tmp_path / "c.npz")
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert sorted(first) == sorted(second) == list(range(48))
    assert first != second


def test_norms_and_biases_do_not_decay() -> None:
    run = encoder._Run(RECIPE, labelled(), PREPARATION, 0, "cpu")
    decays = {
        (parameter.ndim > 1, group["weight_decay"])
        for group in run.optimiser.param_groups
        for parameter in group["params"]
    }
    assert decays == {(True, 5e-4), (False, 0.0)}


@pytest.mark.parametrize(
    ("done", "expected"),
    [(0.0, 0.02), (0.024, 0.5), (0.05, 1.0), (0.525, 0.5), (1.0, 0.0)],
)
def test_the_rate_warms_up_and_falls_as_half_a_cosine(done: float, expected: float) -> None:
    # The cosine spans 0.05 to 1; its middle is 0.525.
    assert rate(done, "cosine", ()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("done", "expected"), [(0.05, 1), (0.49, 1), (0.5, 0.1), (0.69, 0.1), (0.7, 0.01), (0.8, 0.001), (0.99, 0.001)]
)
def test_the_rate_falls_to_a_tenth_three_times_as_in_r3an(done: float, expected: float) -> None:
    # 200,000 iterations: at 100,000, 140,000 and 160,000.
    assert rate(done, "steps", RECIPE.milestones) == pytest.approx(expected)


@pytest.mark.parametrize(("done", "expected"), [(0, 0), (0.05, 0), (0.175, 0.5), (0.3, 1), (0.9, 1)])
def test_the_margin_grows_after_the_warm_up(done: float, expected: float) -> None:
    assert margin_share(done) == pytest.approx(expected)


def test_cuda_is_refused_where_there_is_none_and_auto_takes_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TrainingError, match="CUDA was asked for, and PyTorch finds none; use --device cpu"):
        choose_torch_device("cuda")
    assert (choose_torch_device("auto"), choose_torch_device("cpu")) == ("cpu", "cpu")


def test_cuda_is_taken_where_there_is_one_and_it_was_not_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    chosen = (choose_torch_device("auto"), choose_torch_device("cuda"), choose_torch_device("cpu"))
    assert chosen == ("cuda", "cuda", "cpu")


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has=has: has)
        assert has_bfloat16("cpu") is has


def test_pictures_are_normalised_channel_by_channel() -> None:
    preparation = InputPreparation(mean=(100.0, 0.0, 50.0), std=(50.0, 255.0, 10.0))
    picture = np.array([[[[200, 255, 40], [0, 0, 50]]]], dtype=np.uint8)
    normalised = encoder.Normalise(preparation, "cpu")(picture)
    assert normalised.shape == (1, 3, 1, 2)
    np.testing.assert_allclose(normalised[0, :, 0].T, [[2, 1, -1], [-2, 0, 0]])


def test_a_recipe_may_be_that_of_the_network_for_verification(tmp_path: Path) -> None:
    """RMSprop, a margin of nothing, and a centre loss beside, on the network of Ming et al., at 75 pixels a side."""
    recipe = replace(
        recipes.paper("inception-resnet"),
        width=0.1,
        dimension=8,
        batch=12,
        iterations=4,
        learning_rate=1e-3,
        momentum=0.5,
    )
    picture_NHW3, class_N = coloured(2, 0)
    large = np.ascontiguousarray(picture_NHW3.repeat(3, axis=1).repeat(3, axis=2)[:, :75, :75])
    preparation = replace(PREPARATION, resize=(75, 75))
    pictures = LabelledPictures(large, class_N, len(COLOURS), "large")
    heard: list[Report] = []
    model = fit_encoder(
        recipe, pictures, preparation, seed=0, device="cpu", checkpoint=tmp_path / "c.npz", on_step=heard.append
    ).encoder
    assert [report.step for report in heard] == [1, 2, 3, 4]
    picture = np.random.default_rng(0).normal(size=(2, 3, 75, 75)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(model(picture), axis=1), 1.0, atol=1e-5)
    without = replace(recipe, centre=0.0)
    other = fit_encoder(without, pictures, preparation, seed=0, device="cpu", checkpoint=tmp_path / "d.npz").encoder
    assert not np.allclose(model(picture), other(picture), atol=1e-4)
    with pytest.raises(TrainingError, match="75 pixels or more"):
        fit_encoder(recipe, labelled(), PREPARATION, seed=0, device="cpu", checkpoint=tmp_path / "e.npz")
