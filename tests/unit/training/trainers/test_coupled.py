"""Training classes and attributes together, on a network of three layers and pictures of one colour."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.space import InputPreparation
from tests.unit.training.trainers.test_adaptation import SIDE, KilledError, network_graph
from training.data.relatedness import Relatedness
from training.errors import TrainingError
from training.recipes.coupled import VARIANTS, small
from training.trainers.coupled import LOSSES, CoupledPictures, Taught, _least_norm, _Run, fit_coupled
from training.trainers.coupled_recipe import CoupledRecipe
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace
from training.trainers.rule import Rule
from training.trainers.weak_strong import EncodedPictures

NUM = 36
CLASSES, ATTRIBUTES = ("red", "green", "blue"), ("warm", "cold", "plain")
CHANCE = np.array([[1, 0, 0], [0, 0.5, 0], [0, 1, 0]], dtype=np.float32)
CLASS, ATTRIBUTE = range(2)


def colours(workplace: Workplace | None = None, *, seed: int = 0) -> CoupledPictures:
    """Pictures of three colours: of every other one the colour is known, of the others what it is like."""
    random = np.random.default_rng(1)
    colour = random.integers(0, 3, NUM)
    pixels = np.full((NUM, 3), 60)
    pixels[np.arange(NUM), colour] = 200
    pixels += random.integers(-20, 20, (NUM, 3))
    picture = np.broadcast_to(pixels[:, None, None], (NUM, SIDE, SIDE, 3)).astype(np.uint8)
    has = np.stack([colour == 0, colour == 2, np.zeros(NUM, dtype=bool)], axis=1)
    is_of_class = np.arange(NUM) % 2 == 0
    known = np.repeat(~is_of_class[:, None], 3, axis=1)
    known[:, 2] = False
    preparation = InputPreparation(
        size=(SIDE, SIDE), crop=(0, 0, SIDE, SIDE), resize=(SIDE, SIDE), mean=(127.5,) * 3, std=(127.5,) * 3
    )
    return CoupledPictures(
        EncodedPictures(np.ascontiguousarray(picture), preparation, network_graph()),
        np.where(is_of_class, colour, -1),
        has,
        known,
        Relatedness(CLASSES, ATTRIBUTES, CHANCE, CHANCE),
        seed,
        workplace or Workplace(),
    )


def recipe(name: str = "coupled", **changes: object) -> CoupledRecipe:
    quick = replace(small(), epochs=2, batch=12, encoder=Rule("adamw", 3e-3), head=Rule("adamw", 3e-3))
    return replace(VARIANTS[name](quick), **changes)  # type: ignore[arg-type]


def weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.detach().clone()
        for name, network in networks.items()
        for key, value in network.named_parameters()
    }


def moved(name: str, data: CoupledPictures | None = None) -> set[str]:
    """What a step changes."""
    run = _Run(data or colours(), recipe(name))
    before = weights(run.state.networks)
    run.step(torch.arange(12), 1)
    after = weights(run.state.networks)
    return {key for key in before if not torch.equal(before[key], after[key])}


def prepared(data: CoupledPictures) -> np.ndarray:
    return ((data.pictures.picture_NHW3.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_comes_to_probabilities_and_features(name: str) -> None:
    data = colours()
    fitted = fit_coupled(data, recipe(name))
    found = fitted.classifier(prepared(data)[:5])
    num_classes, num_attributes = len(CLASSES), len(ATTRIBUTES)
    wanted = {"single-class": num_classes, "single-attributes": num_attributes}
    assert found.shape == (5, wanted.get(name, num_classes + num_attributes))
    if name != "single-attributes":
        np.testing.assert_allclose(found[:, :num_classes].sum(axis=1), 1.0, atol=1e-5)
    assert ((found > 0) & (found < 1)).all()
    np.testing.assert_allclose(np.linalg.norm(fitted.encoder(prepared(data)[:5]), axis=1), 1.0, atol=1e-5)
    assert fitted.loss_EL.shape == (2 * NUM // 12, len(LOSSES))


def test_a_task_alone_leaves_the_other_head_as_it_is() -> None:
    heads = {"head/classes.weight", "head/attributes.weight"}
    assert moved("single-class") & heads == {"head/classes.weight"}
    assert moved("single-attributes") & heads == {"head/attributes.weight"}
    assert moved("uncoupled") & heads == heads


def test_what_couples_them_teaches_a_head_of_which_nothing_is_known() -> None:
    data = colours()
    without_classes = replace(data, class_N=np.full(NUM, -1))
    assert "head/classes.weight" not in moved("uncoupled", without_classes)
    assert "head/classes.weight" in moved("soft-co-annotation", without_classes)
    without_attributes = replace(data, is_known_NM=np.zeros_like(data.is_known_NM))
    assert "head/attributes.weight" not in moved("uncoupled", without_attributes)
    assert "head/attributes.weight" in moved("distribution-matching", without_attributes)


def test_an_attribute_of_no_class_that_nobody_knows_is_left_as_it_is() -> None:
    run = _Run(colours(), recipe())
    head = run.heads.attributes
    assert isinstance(head, nn.Linear)
    before = head.weight.detach().clone()
    run.step(torch.arange(12), 1)
    after = head.weight.detach()
    assert [bool((one != other).any()) for one, other in zip(before, after, strict=True)] == [True, True, False]


def test_training_tells_classes_and_attributes() -> None:
    data = colours()
    fitted = fit_coupled(data, recipe("coupled", epochs=120))
    found = fitted.classifier(prepared(data))
    colour = data.pictures.picture_NHW3[:, 0, 0].argmax(axis=1)
    # Of half the pictures the class was known, of the other half the attributes.
    assert np.mean(found[:, :3].argmax(axis=1) == colour) > 0.9
    assert np.mean((found[:, 3:5] > 0.5) == data.has_NM[:, :2]) > 0.9


def test_a_teacher_tells_what_is_not_known() -> None:
    data = colours()
    fitted = fit_coupled(data, recipe("student-teacher", epochs=60))
    assert fitted.hyperparameters["is_taught"] is True
    # Half of the classes were never told but by the teacher.
    found = fitted.classifier(prepared(data))[:, :3].argmax(axis=1)
    assert np.mean(found == data.pictures.picture_NHW3[:, 0, 0].argmax(axis=1)) > 0.9


def test_what_is_told_counts_where_it_is_not_known_alone() -> None:
    random = np.random.default_rng(3)
    told = Taught(random.dirichlet(np.ones(3), NUM).astype(np.float32), random.random((NUM, 3)).astype(np.float32))
    run = _Run(replace(colours(), taught=told), recipe("uncoupled"))
    rows = torch.arange(12)
    class_BK, attribute_BM = torch.randn(12, 3), torch.randn(12, 3)
    known = [one.item() for one in _Run(colours(), recipe("uncoupled"))._losses(rows, class_BK, attribute_BM)[:2]]
    found = [one.item() for one in run._losses(rows, class_BK, attribute_BM)[:2]]
    log_class, probability = torch.log_softmax(class_BK, dim=1).tolist(), torch.sigmoid(attribute_BM).tolist()
    of_class, of_attribute = [], []
    for row in range(12):
        if row % 2:
            of_class.append(-sum(p * log for p, log in zip(told.class_NK[row], log_class[row], strict=True)))
        for m in range(3):
            if row % 2 == 0 or m == 2:
                p, q = float(told.attribute_NM[row, m]), probability[row][m]
                of_attribute.append(-p * math.log(q) - (1 - p) * math.log(1 - q))
    wanted = [known[0] + sum(of_class) / len(of_class), known[1] + sum(of_attribute) / len(of_attribute)]
    assert found == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1.0, 0.0], [0.0, 1.0], 0.5),
        ([2.0, 0.0], [0.0, 1.0], 0.2),
        ([1.0, 0.0], [3.0, 0.0], 1.0),
        ([1.0, 1.0], [1.0, 1.0], 0.5),
    ],
)
def test_the_shortest_gradient_between_two(one: list[float], other: list[float], wanted: float) -> None:
    feature = torch.zeros(1, 2, requires_grad=True)
    losses = [(feature * torch.tensor([of])).sum() for of in (one, other)]
    share, rest = _least_norm(losses, feature)
    assert [share, rest] == pytest.approx([wanted, 1 - wanted])
    steps = [k / 1000 for k in range(1001)]
    lengths = [math.dist([a * k + b * (1 - k) for a, b in zip(one, other, strict=True)], [0, 0]) for k in steps]
    mixed = [a * share + b * rest for a, b in zip(one, other, strict=True)]
    assert math.dist(mixed, [0, 0]) == pytest.approx(min(lengths), abs=1e-3)


def test_of_a_batch_that_knows_nothing_of_a_task_the_other_is_learned() -> None:
    feature = torch.ones(1, 2, requires_grad=True)
    there, absent = (feature * torch.tensor([3.0, -1.0])).sum(), feature.sum() * 0.0
    assert _least_norm([there, absent], feature) == (1.0, 0.0)
    assert _least_norm([absent, there], feature) == (0.0, 1.0)
    assert _least_norm([absent, absent], feature) == (0.0, 0.0)


@pytest.mark.parametrize("name", ["coupled", "student-teacher"])
def test_an_interrupted_training_comes_to_the_same(name: str, tmp_path: Path) -> None:
    whole = fit_coupled(colours(), recipe(name, epochs=3))

    def killed(report: Report) -> None:
        if report.step == report.num_steps - 1:
            raise KilledError

    kept = Workplace("cpu", tmp_path / "checkpoint.npz", killed)
    with pytest.raises(KilledError):
        fit_coupled(colours(kept), recipe(name, epochs=3))
    again = Workplace("cpu", tmp_path / "checkpoint.npz")
    fitted = fit_coupled(colours(again), recipe(name, epochs=3))
    np.testing.assert_array_equal(fitted.loss_EL, whole.loss_EL)
    picture = prepared(colours())
    np.testing.assert_array_equal(fitted.classifier(picture), whole.classifier(picture))


def test_labels_that_are_none_are_refused() -> None:
    data = colours()
    with pytest.raises(TrainingError, match="numbered from 0 to 2, and -1"):
        replace(data, class_N=np.full(NUM, 3))
    with pytest.raises(TrainingError, match=r"attributes are \(36, 2\)"):
        replace(data, has_NM=data.has_NM[:, :2])
    nothing = replace(data, class_N=np.full(NUM, -1), is_known_NM=np.zeros_like(data.is_known_NM))
    with pytest.raises(TrainingError, match="no picture is labelled"):
        fit_coupled(nothing, recipe())
    with pytest.raises(TrainingError, match="no picture is labelled"):
        fit_coupled(replace(data, class_N=np.full(NUM, -1)), recipe("single-class"))
