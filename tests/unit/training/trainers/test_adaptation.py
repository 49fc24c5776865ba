"""What each method of adaptation trains, on a network of three layers and pictures of one colour."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.features import FloatArray
from models.onnx_network import read_network
from models.space import InputPreparation
from training.errors import TrainingError
from training.recipes.adaptation import VARIANTS, paper, small
from training.trainers.adaptation import _Run, fit_adaptation
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace
from training.trainers.objectives import Batch, Objectives
from training.trainers.weak_strong import EncodedPictures, WeakStrong

SIDE, NUM, DIMENSION = 16, 12, 5
BOTH = ("joint-training", "dann-u", "dann-s", "sdt", "jan-s")


class KilledError(Exception):
    pass


def network_graph() -> bytes:
    """Two convolutions and a product: `picture` (N, 3, 16, 16) to `feature` (N, 5)."""
    random = np.random.default_rng(0)
    weights = {
        "w1": random.normal(size=(4, 3, 3, 3)) / 5,
        "b1": random.normal(size=4) / 5,
        "w2": random.normal(size=(6, 4, 3, 3)) / 6,
        "b2": random.normal(size=6) / 5,
        "w3": random.normal(size=(6, DIMENSION)),
        "b3": random.normal(size=DIMENSION) / 5,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["picture", "w1", "b1"], ["one"], strides=[2, 2]),
            helper.make_node("Relu", ["one"], ["one_r"]),
            helper.make_node("Conv", ["one_r", "w2", "b2"], ["two"], strides=[2, 2]),
            helper.make_node("Relu", ["two"], ["two_r"]),
            helper.make_node("GlobalAveragePool", ["two_r"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w3", "b3"], ["feature"]),
        ],
        "three-layers",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["batch", DIMENSION])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    opset = helper.make_opsetid("", 18)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return data


def write_encoder(folder: Path) -> Path:
    """That network as an encoder that `--encoder` takes."""
    folder.mkdir()
    (folder / "three.onnx").write_bytes(network_graph())
    size = {"size": [SIDE, SIDE], "crop": [0, 0, SIDE, SIDE], "resize": [SIDE, SIDE]}
    description = {"name": "three", "file": "three.onnx", "dim": DIMENSION, "mean": [127.5] * 3, "std": [127.5] * 3}
    (folder / "three.json").write_text(json.dumps(description | size))
    return folder / "three.json"


def unit(rows: np.ndarray) -> FloatArray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def colours(workplace: Workplace | None = None, *, with_strong: bool = True) -> WeakStrong:
    """A weak and a strong picture of twelve people."""
    random = np.random.default_rng(1)
    picture = np.broadcast_to(random.integers(0, 256, (NUM, 1, 1, 3)), (NUM, SIDE, SIDE, 3)).astype(np.uint8)
    preparation = InputPreparation(
        size=(SIDE, SIDE), crop=(0, 0, SIDE, SIDE), resize=(SIDE, SIDE), mean=(127.5,) * 3, std=(127.5,) * 3
    )
    strong = unit(random.normal(size=(NUM, DIMENSION)))
    return WeakStrong(
        strong,
        np.arange(NUM),
        strong,
        np.arange(NUM),
        NUM,
        is_one_space=True,
        seed=0,
        pictures=EncodedPictures(np.ascontiguousarray(picture), preparation, network_graph()),
        strong_pictures=255 - picture if with_strong else None,
        workplace=workplace or Workplace(),
    )


def recipe(name: str, **changes: object) -> AdaptationRecipe:
    chosen = VARIANTS[name](replace(small(), batch=6, epochs=2, num_drawings=0, is_mirrored=False))
    shared = {"num_shared": 1} if chosen.num_shared else {}
    layers = {"num_layers": 1} if chosen.num_layers else {}
    return replace(chosen, **(shared | layers | changes))  # type: ignore[arg-type]


def weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": parameter.detach().clone()
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
    }


def moved(name: str, number: int = 0, **changes: object) -> set[str]:
    """The weights that a step changes."""
    run = _Run(colours(), recipe(name, **changes))
    before = weights(run.state.networks)
    run.step(torch.arange(6), number)
    after = weights(run.state.networks)
    return {key for key in before if not torch.equal(before[key], after[key])}


def layers_of(run: _Run, name: str = "encoder") -> list[set[str]]:
    network = run.state.networks[name]
    return [{f"{name}/{weight}" for weight in layer.weights} for layer in network.layers]  # type: ignore[union-attr]


def test_fixed_fine_tuning_changes_the_last_layers_and_the_head_alone() -> None:
    first, second, last = layers_of(_Run(colours(), recipe("fixed-fine-tuning")))
    changed = moved("fixed-fine-tuning")
    assert changed == last | {"head/head.centre_CD"}
    assert not changed & (first | second)


@pytest.mark.parametrize("name", ["fine-tuning", *BOTH])
def test_the_others_change_all_layers(name: str) -> None:
    # Of a method whose strength grows from nothing, a step from the middle.
    changed = moved(name, number=2)
    for layer in layers_of(_Run(colours(), recipe(name))):
        assert layer <= changed


@pytest.mark.parametrize("name", ["dann-u", "dann-s", "sdt"])
def test_a_classifier_of_modalities_learns_where_there_is_one(name: str) -> None:
    assert any(key.startswith("head/domain") for key in moved(name, number=2))
    assert not any(key.startswith("head/domain") for key in moved("joint-training"))


def test_cross_modal_networks_share_their_last_layers_and_keep_the_strong_ones_others() -> None:
    run = _Run(colours(), recipe("cross-modal-a"))
    first, second, last = layers_of(run)
    stage_a, stage_b = moved("cross-modal-a"), moved("cross-modal-b")
    assert first | second <= stage_a
    assert not stage_a & last
    assert first | second | last <= stage_b
    strong = layers_of(run, "strong_encoder")
    assert strong[2] <= stage_b
    assert not stage_b & (strong[0] | strong[1])


def batch(weak: Tensor, strong: Tensor, done: float = 0.5) -> Batch:
    classes = torch.arange(len(weak))
    return Batch(weak, classes, strong, classes, done)


def objectives(name: str) -> Objectives:
    torch.manual_seed(0)
    strong = torch.from_numpy(unit(np.random.default_rng(2).normal(size=(NUM, DIMENSION))))
    return Objectives(recipe(name), strong, torch.arange(NUM), NUM)


@pytest.mark.parametrize(
    ("name", "heeds_weak", "heeds_strong"),
    [
        ("fine-tuning", True, False),
        ("joint-training", True, True),
        ("cross-modal-a", True, False),
    ],
)
def test_labels_of_each_modality_count_where_they_are_to(name: str, heeds_weak: bool, heeds_strong: bool) -> None:
    objective = objectives(name)
    weak, strong = (torch.from_numpy(unit(np.random.default_rng(s).normal(size=(4, DIMENSION)))) for s in (3, 4))
    one = batch(weak, strong)
    swapped = torch.tensor([1, 0, 3, 2])
    other_weak = replace(one, weak_class_B=swapped)
    other_strong = replace(one, strong_class_B=swapped)
    with torch.no_grad():
        assert (float(objective(other_weak)) != float(objective(one))) is heeds_weak
        assert (float(objective(other_strong)) != float(objective(one))) is heeds_strong


def test_unsupervised_dann_does_not_look_at_labels_of_weak_pictures() -> None:
    objective = objectives("dann-u")
    weak, strong = (torch.from_numpy(unit(np.random.default_rng(s).normal(size=(4, DIMENSION)))) for s in (3, 4))
    one = batch(weak, strong)
    with torch.no_grad():
        assert float(objective(replace(one, weak_class_B=torch.tensor([1, 0, 3, 2])))) == float(objective(one))
        assert float(objective(replace(one, strong_class_B=torch.tensor([1, 0, 3, 2])))) != float(objective(one))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_method_gives_encoders_of_unit_features(name: str) -> None:
    fitted = fit_adaptation(colours(), recipe(name))
    picture = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    weak = fitted.weak_at(1.0)(picture)
    np.testing.assert_allclose(np.linalg.norm(weak, axis=1), 1.0, atol=1e-5)
    assert fitted.is_one is not name.startswith("cross-modal")
    assert (fitted.strong is not None) is (name == "cross-modal-b")
    if fitted.strong is not None:
        assert not np.allclose(weak, fitted.strong(picture))


def test_between_what_an_encoder_was_and_what_it_became_weights_are_mixed() -> None:
    fitted = fit_adaptation(colours(), recipe("fine-tuning"))
    picture = np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    with torch.inference_mode():
        raw = read_network(network_graph(), (SIDE, SIDE))(torch.from_numpy(picture))
    untouched = unit(raw.numpy())
    np.testing.assert_allclose(fitted.weak_at(0.0)(picture), untouched, atol=1e-6)
    assert not np.allclose(fitted.weak_at(1.0)(picture), untouched, atol=1e-4)
    half = fitted.weak_at(0.5)(picture)
    assert not np.allclose(half, untouched, atol=1e-5)
    assert not np.allclose(half, fitted.weak_at(1.0)(picture), atol=1e-5)


def test_an_interrupted_training_comes_to_the_same_numbers(tmp_path: Path) -> None:
    def interrupt(report: Report) -> None:
        if report.step == 3:
            raise KilledError

    picture = np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    whole = fit_adaptation(colours(), recipe("cross-modal-b")).weak_at(1.0)(picture)
    kept = tmp_path / "checkpoint.npz"
    with pytest.raises(KilledError):
        fit_adaptation(colours(Workplace(checkpoint=kept, on_step=interrupt)), recipe("cross-modal-b"))
    assert kept.exists()
    resumed = fit_adaptation(colours(Workplace(checkpoint=kept)), recipe("cross-modal-b"))
    assert np.array_equal(resumed.weak_at(1.0)(picture), whole)


@pytest.mark.parametrize("name", ["fine-tuning", "joint-training", "cross-modal-a", "cross-modal-b"])
def test_drawings_of_photos_are_weak_pictures_of_whoever_is_on_them(name: str) -> None:
    data = colours()
    run = _Run(data, recipe(name, num_drawings=5))
    state = run.state.random.get_state()
    rows = torch.arange(4)
    made = run._batch(rows, 0.5)
    plain = _Run(data, recipe(name))._batch(rows, 0.5)
    assert len(made.weak_BD) == len(made.weak_class_B) == 9
    assert (
        len(made.strong_BD) == len(made.strong_class_B) == len(plain.strong_BD) == (4 if run.recipe.sees_strong else 0)
    )
    random = torch.Generator().set_state(state)
    run.weak.pictures(rows, random)
    drawn_B = torch.randint(0, len(data.strong_class_M), (5,), generator=random)
    assert made.weak_class_B[4:].tolist() == data.strong_class_M[drawn_B.numpy()].tolist()
    assert made.weak_class_B[:4].tolist() == plain.weak_class_B.tolist() == data.weak_class_N[:4].tolist()
    assert math.isfinite(run.step(rows, 0))


def test_without_pictures_there_is_nothing_to_train() -> None:
    with pytest.raises(TrainingError, match="pictures of both modalities"):
        fit_adaptation(colours(with_strong=False), recipe("joint-training"))


def test_the_published_recipe_has_the_papers_batch_and_rate() -> None:
    published = paper()
    assert (published.batch, published.encoder.kind, published.encoder.learning_rate) == (512, "sgd", 0.005)
