"""Weights of tasks against closed forms, and their rivals against their formulas written out.

Source: Ming et al., Cross-modal photo-caricature face recognition based on dynamic multi-task learning (IJDAR 2021).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from models.mtl import DynamicWeights
from training.losses.centre import CentreLoss
from training.losses.task_weights import (
    LEAST_LOSS,
    dynamic_weights_loss,
    gradient_norm_loss,
    uncertainty_loss,
)
from training.recipes.multi_task import VARIANTS, small
from training.trainers.multi_task_recipe import MultiTaskRecipe
from training.trainers.task_weights import Asked, TaskWeights, weights_of

ALL = torch.tensor([True, True, True])
Z = torch.tensor([[0.5, -1.0, 2.0]])


def stepped(weights: nn.Module, loss: Tensor, rate: float = 1.0) -> None:
    """One step of plain gradient descent, Eq. 4."""
    for parameter, gradient in zip(
        weights.parameters(), torch.autograd.grad(loss, list(weights.parameters())), strict=True
    ):
        parameter.data -= rate * gradient


def after(losses: Sequence[float], steps: int, *, shared: Tensor = Z) -> Tensor:
    """Weights after steps of Eq. 12 with losses that stay as they are."""
    loss_T, is_there_T = torch.tensor(losses), torch.ones(len(losses), dtype=torch.bool)
    weights = DynamicWeights(shared.shape[1], len(losses))
    for _ in range(steps):
        stepped(weights, dynamic_weights_loss(weights(shared, is_there_T), loss_T, is_there_T))
    found: Tensor = weights(shared, is_there_T).detach()
    return found


def test_at_first_all_tasks_weigh_the_same() -> None:
    torch.testing.assert_close(after([1.0, 5.0, 0.1], 0), torch.full((3,), 1 / 3))


@pytest.mark.parametrize(("first", "second"), [(2.0, 0.5), (0.5, 2.0), (1.0, 1.0), (4.0, 3.5)])
def test_after_a_step_two_weights_are_in_the_ratio_of_equation_15(first: float, second: float) -> None:
    """Eq. 13 leaves out what the weight of a task does to that of the other, and the bias: with both, the exponent is twice as
    large, and Z Z^T, which is one here, one more.
    """
    weight_T = after([first, second], 1)
    squared = 1.0
    ratio = math.exp(2 * (1 / second - 1 / first) * 0.25 * (squared + 1))
    assert float(weight_T[0] / weight_T[1]) == pytest.approx(ratio, rel=1e-4)
    published = math.exp((1 / second - 1 / first) * 0.25 * squared)
    assert (float(weight_T[0] / weight_T[1]) > 1) == (published > 1)


def test_after_a_window_the_order_of_weights_is_that_of_losses() -> None:
    losses = [0.7, 2.5, 1.1]
    shared = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    weight_T = after(losses, 20, shared=shared)
    assert weight_T.argsort().tolist() == torch.tensor(losses).argsort().tolist()
    assert float(weight_T.sum()) == pytest.approx(1)


def test_the_weight_goes_where_it_becomes_hard() -> None:
    weights, is_there_T = DynamicWeights(3, 2), torch.tensor([True, True])
    shares = []
    for losses in ([3.0, 1.0], [0.5, 1.0]):
        for _ in range(30):
            own = dynamic_weights_loss(weights(Z, is_there_T), torch.tensor(losses), is_there_T)
            stepped(weights, own, rate=0.5)
        shares.append(float(weights(Z, is_there_T)[0].detach()))
    assert shares[0] > 0.9
    assert shares[1] < 0.5


def test_a_loss_of_zero_moves_no_weight_to_where_it_is_no_number() -> None:
    weight_T = after([0.0, 1.0], 3)
    assert torch.isfinite(weight_T).all()
    assert float(weight_T[0]) < 1e-6
    loss = dynamic_weights_loss(torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0]), torch.tensor([True, True]))
    assert float(loss) == pytest.approx(0.5 / LEAST_LOSS + 0.5)


def test_a_task_of_which_there_is_nothing_has_no_weight_and_teaches_none() -> None:
    weights = DynamicWeights(3, 3)
    is_there_T = torch.tensor([True, False, True])
    weight_T = weights(Z, is_there_T)
    torch.testing.assert_close(weight_T, torch.tensor([0.5, 0.0, 0.5]))
    loss = dynamic_weights_loss(weight_T, torch.tensor([2.0, math.nan, 1.0]), is_there_T)
    assert float(loss.detach()) == pytest.approx(0.75)
    stepped(weights, loss)
    assert torch.isfinite(weights.linear.weight).all()
    assert not weights.linear.weight[1].any()


def test_losses_are_constants_to_the_weights() -> None:
    loss_T = torch.tensor([1.0, 2.0], requires_grad=True)
    weight_T = torch.tensor([0.5, 0.5], requires_grad=True)
    dynamic_weights_loss(weight_T, loss_T, torch.tensor([True, True])).backward()
    assert loss_T.grad is None


def test_uncertainty_as_published() -> None:
    found = uncertainty_loss(
        torch.tensor([0.0, 1.0, -1.0]),
        torch.tensor([2.0, 3.0, math.nan]),
        torch.tensor([True, True, False]),
    )
    assert float(found.detach()) == pytest.approx(2.0 + 3.0 * math.exp(-1.0) + 0.5)


def test_gradient_norms_as_published() -> None:
    weight_T = torch.tensor([0.5, 0.25, 0.25], requires_grad=True)
    norm_T, share_T = torch.tensor([2.0, 4.0, 8.0]), torch.tensor([0.5, 1.0, 0.75])
    found = gradient_norm_loss(weight_T, norm_T, share_T, ALL, power=1.5)
    own = [1.0, 1.0, 2.0]
    mean, rates = sum(own) / 3, [0.5 / 0.75, 1.0 / 0.75, 1.0]
    assert float(found.detach()) == pytest.approx(
        sum(abs(one - mean * rate**1.5) for one, rate in zip(own, rates, strict=True)), rel=1e-5
    )
    found.backward()
    assert weight_T.grad is not None
    # Where the own norm is above what it should be, the weight is to fall.
    assert [bool(one > 0) for one in weight_T.grad] == [True, False, True]


def recipe(name: str) -> MultiTaskRecipe:
    return VARIANTS[name](replace(small(), power=1.5))


def asked(losses: Sequence[float], parameter: nn.Parameter, is_there_T: Tensor = ALL) -> Asked:
    loss_T = torch.stack([factor * parameter.square().sum() for factor in losses])
    return Asked(loss_T, loss_T, is_there_T, Z, [parameter])


@pytest.mark.parametrize("name", list(VARIANTS))
def test_weights_sum_to_one_and_the_total_is_theirs(name: str) -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    plain = torch.tensor([5.0, 10.0, 15.0])
    found = weights_of(recipe(name), 3)(asked([1.0, 2.0, 3.0], parameter))
    assert float(found.weight_T.detach().sum()) == pytest.approx(1)
    assert (found.weight_T >= 0).all()
    if name != "uncertainty-mtl":
        assert float(found.loss.detach()) == pytest.approx(float((found.weight_T.detach() * plain).sum()))


@pytest.mark.parametrize("name", [name for name in VARIANTS if recipe(name).weighting != "static"])
def test_weights_and_network_are_each_learned_by_a_loss_of_their_own(name: str) -> None:
    weights, parameter = weights_of(recipe(name), 3), nn.Parameter(torch.ones(2))
    found = weights(asked([1.0, 2.0, 3.0], parameter))
    assert found.own_loss is not None
    learned = torch.autograd.grad(found.loss, list(weights.parameters()), allow_unused=True, retain_graph=True)
    assert all(gradient is None for gradient in learned)
    (of_network,) = torch.autograd.grad(found.own_loss, [parameter], allow_unused=True)
    assert of_network is None


@pytest.mark.parametrize("name", [name for name in VARIANTS if recipe(name).weighting != "static"])
def test_weights_are_learned_by_the_published_losses_whatever_a_recipe_adds(name: str) -> None:
    parameter, made = nn.Parameter(torch.ones(2)), []
    for added in (0.0, 5.0):
        weights = weights_of(recipe(name), 3)
        one = asked([1.0, 2.0, 3.0], parameter)
        found = weights(replace(one, loss_T=one.loss_T + torch.tensor([added, 0.0, 0.0])))
        assert found.own_loss is not None
        stepped(weights, found.own_loss, rate=0.2)
        made.append(weights(one).weight_T.detach())
    torch.testing.assert_close(made[0], made[1])


def trained(name: str, losses: Sequence[float], steps: int = 30) -> Tensor:
    """Weights after steps in which losses stay as they are."""
    weights: TaskWeights = weights_of(recipe(name), 3)
    parameter = nn.Parameter(torch.ones(2))
    for _ in range(steps):
        found = weights(asked(losses, parameter))
        assert found.own_loss is not None
        stepped(weights, found.own_loss, rate=0.2)
    last: Tensor = weights(asked(losses, parameter)).weight_T.detach()
    return last


def test_the_naive_weight_goes_to_the_easy_task_and_the_dynamic_one_to_the_hard() -> None:
    losses = [0.3, 1.5, 0.6]
    assert int(trained("dynamic-mtl", losses).argmax()) == 1
    assert int(trained("naive-dynamic-mtl", losses).argmax()) == 0
    torch.testing.assert_close(trained("static-mtl", losses, 0), torch.full((3,), 1 / 3))


def test_uncertain_tasks_weigh_less() -> None:
    weight_T = trained("uncertainty-mtl", [0.3, 1.5, 0.6])
    assert weight_T.argsort(descending=True).tolist() == [0, 2, 1]


def test_norms_of_gradients_become_alike() -> None:
    """Losses that all stay as they were: each is to pull as hard."""
    weight_T = trained("gradnorm-mtl", [1.0, 2.0, 4.0], steps=400)
    norm_T = weight_T * torch.tensor([1.0, 2.0, 4.0])
    assert float(norm_T.max() / norm_T.min()) < 1.3


@pytest.mark.parametrize("name", list(VARIANTS))
def test_a_batch_without_a_task_is_no_nan(name: str) -> None:
    weights, parameter = weights_of(recipe(name), 3), nn.Parameter(torch.ones(2))
    is_there_T = torch.tensor([given > 0 for given in recipe(name).given])
    one = int(is_there_T.nonzero()[-1])
    for there_T in (is_there_T & ~torch.eye(3, dtype=torch.bool)[one], is_there_T):
        if not there_T.any():
            continue
        found = weights(asked([1.0, 2.0, 0.0], parameter, there_T))
        assert torch.isfinite(found.loss)
        assert torch.isfinite(found.weight_T).all()
        assert not found.weight_T[~there_T].any()


def test_centre_loss_is_the_distance_and_centres_follow() -> None:
    centres = CentreLoss(3, 2, rate=0.5)
    feature_ND = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]])
    centres.start_from(feature_ND, torch.tensor([0, 0, 2]))
    torch.testing.assert_close(centres.get_buffer("centre_CD"), torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 2.0]]))
    feature_BD = torch.tensor([[2.0, 4.0], [2.0, 0.0], [3.0, 6.0]], requires_grad=True)
    class_B = torch.tensor([0, 0, 2])
    loss = centres(feature_BD, class_B)
    assert float(loss.detach()) == pytest.approx((4.0 + 0.0 + 5.0) / 3)
    loss.backward()
    assert feature_BD.grad is not None
    assert torch.isfinite(feature_BD.grad).all()
    centres.follow(feature_BD.detach(), class_B)
    # Wen et al., Eq. 4: c + rate * sum(x - c) / (1 + n).
    expected = torch.tensor([[2.0, 0.5 * 4.0 / 3], [0.0, 0.0], [0.5 * 3.0 / 2, 2.0 + 0.5 * 4.0 / 2]])
    torch.testing.assert_close(centres.get_buffer("centre_CD"), expected)
