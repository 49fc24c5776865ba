"""Training one network for three tasks, on a network of three layers and pictures of one colour."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from models.errors import GraphError
from models.mtl import Branches
from models.onnx_network import read_network
from models.space import InputPreparation
from tests.unit.training.trainers.test_adaptation import DIMENSION, SIDE, KilledError, network_graph, unit
from training.errors import TrainingError
from training.losses.contrastive import contrastive_regression, pooled_contrast
from training.recipes.multi_task import VARIANTS, small
from training.trainers import picture_encoder
from training.trainers.balanced import BalancedBatches
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace
from training.trainers.multi_task import TaskPictures, _Run, fit_tasks
from training.trainers.multi_task_recipe import TASKS, MultiTaskRecipe
from training.trainers.rule import Rule
from training.trainers.weak_strong import EncodedPictures

NUM_PEOPLE, PHOTOS, DRAWINGS = 6, 3, 2
VERIFICATION, WEAK, PHOTO = range(len(TASKS))


def people(
    workplace: Workplace | None = None,
    *,
    only_photos: tuple[int, ...] = (),
    only_weak: tuple[int, ...] = (),
    seed: int = 0,
) -> TaskPictures:
    """Three photos and two weak pictures of six people, each of a colour of their own."""
    random = np.random.default_rng(1)
    colour = random.integers(40, 215, (NUM_PEOPLE, 3))
    rows = [
        (one, is_weak, colour[one] + random.integers(-20, 20, 3))
        for one in range(NUM_PEOPLE)
        for is_weak, num in ((False, PHOTOS), (True, DRAWINGS))
        for _ in range(num)
        if not (is_weak and one in only_photos) and (is_weak or one not in only_weak)
    ]
    picture = np.stack([np.broadcast_to(made, (SIDE, SIDE, 3)) for _, _, made in rows]).astype(np.uint8)
    preparation = InputPreparation(
        size=(SIDE, SIDE), crop=(0, 0, SIDE, SIDE), resize=(SIDE, SIDE), mean=(127.5,) * 3, std=(127.5,) * 3
    )
    return TaskPictures(
        EncodedPictures(np.ascontiguousarray(picture), preparation, network_graph()),
        unit(random.normal(size=(len(rows), DIMENSION))),
        np.array([one for one, _, _ in rows]),
        np.array([is_weak for _, is_weak, _ in rows]),
        NUM_PEOPLE,
        seed,
        workplace or Workplace(),
    )


def recipe(name: str = "dynamic-mtl", **changes: Any) -> MultiTaskRecipe:
    base: MultiTaskRecipe = changes.pop("base", small)()
    quick = replace(base, epochs=2, num_branch=1, num_people=3, num_pictures=2, num_caricatures=0, is_mirrored=False)
    return replace(VARIANTS[name](quick), **changes)


def weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach().clone()
        for name, network in networks.items()
        for key, value in network.named_parameters()
    }


def moved(name: str, data: TaskPictures | None = None, **changes: Any) -> set[str]:
    """What a step changes."""
    run = _Run(data or people(), recipe(name, **changes))
    before = weights(run.state.networks)
    run.step(torch.arange(3), 1)
    after = weights(run.state.networks)
    return {key for key in before if not torch.equal(before[key], after[key])}


def branch_of(task: int) -> set[str]:
    run = _Run(people(), recipe())
    return {f"encoder/networks.{task}.{name}" for name in run.branches.network(task).layers[-1].weights}


def trunk() -> set[str]:
    run = _Run(people(), recipe())
    return {f"encoder/networks.0.{name}" for layer in run.branches.network(0).layers[:-1] for name in layer.weights}


@pytest.mark.parametrize("name", ["dynamic-mtl", "naive-dynamic-mtl", "static-mtl", "uncertainty-mtl", "gradnorm-mtl"])
def test_a_step_trains_what_is_shared_every_branch_and_every_head(name: str) -> None:
    changed = moved(name)
    assert trunk() <= changed
    for task in range(len(TASKS)):
        assert branch_of(task) <= changed
        assert f"head/heads.{task}.centre_CD" in changed
    # Where losses are learned from at all, their weights have moved.
    assert any(key.startswith("weights/") for key in changed) is (name != "static-mtl")


@pytest.mark.parametrize(("name", "task"), [("single-verification", 0), ("single-weak", 1), ("single-photo", 2)])
def test_a_single_task_trains_its_own_branch_alone(name: str, task: int) -> None:
    changed = moved(name)
    assert trunk() | branch_of(task) <= changed
    for other in {0, 1, 2} - {task}:
        assert not branch_of(other) & changed
        assert f"head/heads.{other}.centre_CD" not in changed


def test_as_much_of_what_is_shared_is_trained_as_is_said() -> None:
    first = {f"encoder/networks.0.{name}" for name in _Run(people(), recipe()).branches.network(0).layers[0].weights}
    changed = moved("dynamic-mtl", num_layers=1)
    assert not first & changed
    assert trunk() - first <= changed
    assert not trunk() & moved("dynamic-mtl", num_layers=0)


def test_branches_begin_alike_and_share_what_is_before() -> None:
    network = read_network(network_graph(), (SIDE, SIDE)).eval()
    branches = Branches(network, 1, 3)
    picture = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = network(picture)
        shared = branches.shared(picture)
        for task in range(3):
            torch.testing.assert_close(branches.branch(task, shared), expected)
            torch.testing.assert_close(branches.network(task)(picture), expected)
        some = shared.take(torch.tensor([False, True, False, True]))
        torch.testing.assert_close(branches.branch(1, some), expected[[1, 3]])
        first, *_, last = branches.network(0).layers
        branches.network(2).get_parameter(last.weights[0]).add_(1.0)
        torch.testing.assert_close(branches.branch(0, shared), expected)
        assert not torch.allclose(branches.branch(2, shared), expected)
        branches.network(0).get_parameter(first.weights[0]).mul_(2.0)
        torch.testing.assert_close(
            branches.network(2).get_parameter(first.weights[0]), branches.network(0).get_parameter(first.weights[0])
        )


@pytest.mark.parametrize("num_layers", [0, 3, 7])
def test_a_branch_is_of_some_layers_and_not_of_all(num_layers: int) -> None:
    with pytest.raises(GraphError, match="at least one, and not all"):
        Branches(read_network(network_graph(), (SIDE, SIDE)), num_layers, 3)


def losses_of(run: _Run, rows: list[int]) -> tuple[Tensor, Tensor]:
    asked = run._asked(torch.tensor(rows))
    return asked.loss_T.detach(), asked.is_there_T


def test_a_batch_without_weak_pictures_has_no_task_of_them() -> None:
    run = _Run(people(only_photos=(0, 1)), recipe())
    loss_T, is_there_T = losses_of(run, [0, 1])
    assert is_there_T.tolist() == [True, False, True]
    assert torch.isfinite(loss_T).all()
    before = weights({"encoder": run.branches})
    assert math.isfinite(run.step(torch.tensor([0, 1]), 0))
    after = weights({"encoder": run.branches})
    assert not any(not torch.equal(before[key], after[key]) for key in branch_of(WEAK))
    assert run.history.get_buffer("loss_ET")[0].tolist()[WEAK] == -1
    assert run.history.get_buffer("weight_ET")[0].tolist()[WEAK] == 0


def test_a_contrast_is_learned_from_and_makes_no_task_harder() -> None:
    found = []
    for contrast in (0.0, 2.0):
        asked = _Run(people(), recipe(contrast=contrast))._asked(torch.arange(3))
        found.append((asked.loss_T.detach(), asked.published_T.detach()))
    (plain_T, plain_published_T), (loss_T, published_T) = found
    torch.testing.assert_close(plain_T, plain_published_T)
    torch.testing.assert_close(published_T, plain_published_T)
    assert float(loss_T[VERIFICATION]) > float(published_T[VERIFICATION]) + 0.1
    torch.testing.assert_close(loss_T[1:], published_T[1:])


def test_a_contrast_is_of_each_by_itself_and_of_all_together() -> None:
    run = _Run(people(), recipe(contrast=1.0))
    feature = nn.functional.normalize(torch.randn(6, DIMENSION), dim=1)
    class_B, is_weak = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([True] * 3 + [False] * 3)
    weak, photo, temperature = feature[:3], feature[3:], 1 / run.recipe.scale
    each = contrastive_regression(weak, photo, class_B[:3], temperature=temperature)
    together = pooled_contrast(weak @ photo.T, torch.eye(3, dtype=torch.bool), temperature=temperature)
    assert together > 0.1
    torch.testing.assert_close(run._contrast(feature, class_B, is_weak), each + together)


def test_people_of_one_modality_are_learned_from_where_they_can_be() -> None:
    run = _Run(people(only_photos=(0,), only_weak=(1,)), recipe())
    assert losses_of(run, [0])[1].tolist() == [True, False, True]
    assert losses_of(run, [1])[1].tolist() == [True, True, False]
    assert losses_of(run, [0, 1, 2])[1].tolist() == [True, True, True]


def test_caricatures_are_made_of_photos_and_are_weak_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def draw(picture_BHW3: npt.NDArray[np.uint8], random: torch.Generator) -> npt.NDArray[np.uint8]:
        made.append(picture_BHW3)
        return 255 - picture_BHW3

    monkeypatch.setattr(picture_encoder, "caricatured", draw)
    run = _Run(people(only_photos=(0, 1)), recipe(num_caricatures=3))
    loss_T, is_there_T = losses_of(run, [0, 1])
    assert is_there_T.tolist() == [True, True, True]
    assert float(loss_T[WEAK]) > 0
    assert [len(lot) for lot in made] == [3]


def test_what_is_shared_is_not_taught_by_the_weights() -> None:
    asked = _Run(people(), recipe())._asked(torch.arange(3))
    assert not asked.shared_BZ.requires_grad
    assert asked.loss_T.requires_grad


def test_centres_follow_and_count_as_much_as_is_said() -> None:
    run = _Run(people(), recipe())
    before = run.heads.centre.get_buffer("centre_CD").clone()
    asked = run._asked(torch.arange(3))
    assert not torch.equal(run.heads.centre.get_buffer("centre_CD")[:3], before[:3])
    torch.testing.assert_close(run.heads.centre.get_buffer("centre_CD")[3:], before[3:])
    without = _Run(people(), recipe(centre=0.0))._asked(torch.arange(3))
    assert float(asked.published_T[VERIFICATION].detach()) > float(without.published_T[VERIFICATION].detach()) + 0.01


def test_classifiers_look_at_a_picture_and_its_mirror_image_where_they_are_to() -> None:
    picture = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    for is_mirrored in (True, False):
        classify = fit_tasks(people(), recipe(is_mirrored=is_mirrored)).classifiers[0]
        is_same = np.allclose(classify(picture), classify(np.ascontiguousarray(picture[..., ::-1])), atol=1e-5)
        assert is_same is is_mirrored


def test_history_is_nothing_where_there_was_no_task() -> None:
    fitted = fit_tasks(people(), recipe("single-photo"))
    assert np.isnan(fitted.history.loss_ET[:, :PHOTO]).all()
    assert (fitted.history.loss_ET[:, PHOTO] > 0).all()
    np.testing.assert_array_equal(fitted.history.weight_ET, np.tile([0, 0, 1], (len(fitted.history.weight_ET), 1)))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_comes_to_an_encoder_and_two_classifiers(name: str) -> None:
    fitted = fit_tasks(people(), recipe(name))
    picture = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(fitted.encoder_at(1.0)(picture), axis=1), 1.0, atol=1e-5)
    for classify in fitted.classifiers:
        assert classify(picture).shape == (3, NUM_PEOPLE)
        np.testing.assert_allclose(classify(picture).sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(fitted.history.weight_ET.sum(axis=1), 1.0, atol=1e-5)


def test_an_encoder_of_no_share_is_the_one_that_came() -> None:
    fitted = fit_tasks(people(), recipe(encoder=Rule("adamw", 1e-2)))
    picture = np.random.default_rng(0).normal(size=(3, 3, SIDE, SIDE)).astype(np.float32)
    with torch.no_grad():
        came = read_network(network_graph(), (SIDE, SIDE)).eval()(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(fitted.encoder_at(0.0)(picture), unit(came), atol=1e-5)
    assert not np.allclose(fitted.encoder_at(1.0)(picture), unit(came), atol=1e-3)


def test_training_tells_people_apart() -> None:
    data = people()
    # A contrast beside them would take most of what an encoder of five numbers has to give.
    changes = {"epochs": 200, "contrast": 0.0, "encoder": Rule("adamw", 3e-3), "head": Rule("adamw", 3e-3)}
    long = recipe("static-mtl", **changes)
    fitted = fit_tasks(data, long)
    prepared = ((data.pictures.picture_NHW3.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
    for classify, is_of in zip(fitted.classifiers, (data.is_weak_N, ~data.is_weak_N), strict=True):
        found = classify(np.ascontiguousarray(prepared[is_of])).argmax(axis=1)
        # By chance it would be a sixth.
        assert np.mean(found == data.class_N[is_of]) > 0.7


def test_dropout_is_of_training_alone() -> None:
    run = _Run(people(), recipe(dropout=0.5))
    picture = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        features = [run.branches.branch(0, run.branches.shared(picture)) for _ in range(2)]
        assert not torch.allclose(features[0], features[1])
        run.branches.eval()
        features = [run.branches.branch(0, run.branches.shared(picture)) for _ in range(2)]
        torch.testing.assert_close(features[0], features[1])


def test_an_interrupted_training_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    whole = fit_tasks(people(), recipe(epochs=3))

    def stop_after(step: int) -> Callable[[Report], None]:
        def hear(report: Report) -> None:
            if report.step == step:
                raise KilledError

        return hear

    checkpoint = tmp_path / "checkpoint.npz"
    steps = len(whole.history.loss_ET)
    with pytest.raises(KilledError):
        fit_tasks(people(Workplace("cpu", checkpoint, stop_after(steps - 1))), recipe(epochs=3))
    resumed = fit_tasks(people(Workplace("cpu", checkpoint)), recipe(epochs=3))
    np.testing.assert_array_equal(resumed.history.loss_ET, whole.history.loss_ET)
    picture = np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    np.testing.assert_array_equal(resumed.encoder_at(1.0)(picture), whole.encoder_at(1.0)(picture))
    with pytest.raises(TrainingError, match="other options"):
        fit_tasks(people(Workplace("cpu", checkpoint)), recipe("static-mtl", epochs=3))


def test_a_rate_that_is_too_high_is_told() -> None:
    with pytest.raises(TrainingError, match="lower --learning-rate"):
        fit_tasks(people(), recipe(epochs=40, encoder=Rule("sgd", 1e30), head=Rule("sgd", 1e30)))


def batches(**changes: int) -> BalancedBatches:
    class_N = np.array([0] * 50 + [1, 1, 2, 2, 2, 3])
    is_weak_N = np.zeros(len(class_N), dtype=bool)
    is_weak_N[[0, 1, 2, 50, 52, 53, 54]] = True
    return BalancedBatches(class_N, is_weak_N, **({"num_people": 2, "num_pictures": 2} | changes))


def test_everybody_is_seen_as_often_whatever_there_is_of_them() -> None:
    found = batches()
    order = torch.cat([found.order(torch.Generator().manual_seed(seed)) for seed in range(200)])
    torch.testing.assert_close(torch.bincount(order) / len(order), torch.full((4,), 0.25), atol=0.03, rtol=0)


def mixed(num_both: int, num_photos: int, num_people: int) -> tuple[BalancedBatches, Tensor]:
    """Batches of people with one picture of either modality, and others with one photo; and the people of many epochs."""
    class_N = np.array([*np.repeat(np.arange(num_both), 2), *range(num_both, num_both + num_photos)])
    is_weak_N = np.array([True, False] * num_both + [False] * num_photos)
    made = BalancedBatches(class_N, is_weak_N, num_people=num_people, num_pictures=1)
    order = torch.cat([made.order(torch.Generator().manual_seed(seed)) for seed in range(100)])
    return made, order.view(-1, made.batch)


def test_where_most_have_one_modality_half_of_a_batch_has_both() -> None:
    _, order = mixed(3, 20, 4)
    assert ((order < 3).sum(dim=1) == 2).all()
    made, order = mixed(3, 20, 1)
    assert made.batch == 1
    assert set(order.flatten().tolist()) == set(range(23))


def test_somebody_of_one_modality_comes_as_often_as_anybody() -> None:
    _, order = mixed(20, 1, 8)
    share = torch.bincount(order.flatten()) / order.numel()
    torch.testing.assert_close(share, torch.full((21,), 1 / 21), atol=0.02, rtol=0)


def test_of_people_alike_everybody_is_seen_as_often() -> None:
    both = BalancedBatches(np.repeat(np.arange(5), 2), np.tile([True, False], 5), num_people=3, num_pictures=1)
    assert both.steps_an_epoch == 2
    order = torch.cat([both.order(torch.Generator().manual_seed(seed)) for seed in range(200)])
    torch.testing.assert_close(torch.bincount(order) / len(order), torch.full((5,), 0.2), atol=0.03, rtol=0)


def test_of_each_person_so_many_pictures_of_each_modality_are_taken() -> None:
    found, random = batches(), torch.Generator().manual_seed(0)
    everybody = torch.arange(4)
    weak, photos = found.weak(everybody, random).tolist(), found.photos(everybody, random).tolist()
    assert sorted(len([row for row in weak if row in rows]) for rows in ({0, 1, 2}, {50}, {52, 53, 54})) == [1, 2, 2]
    assert len(set(weak)) == len(weak)
    assert 51 in photos
    assert 55 in photos
    assert len([row for row in photos if 3 <= row < 50]) == 2
    assert found.weak(torch.tensor([3]), random).tolist() == []


def test_an_epoch_has_about_as_many_weak_pictures_as_there_are() -> None:
    assert batches().steps_an_epoch == 2
    assert batches(num_people=9).batch == 4
    assert batches(num_people=9).steps_an_epoch == 1
