"""Weights of tasks while they are trained together, by a way a class. Shapes: T tasks, B batch, Z what tasks share."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.mtl import DynamicWeights
from training.losses.task_weights import LEAST_LOSS, dynamic_weights_loss, gradient_norm_loss, uncertainty_loss
from training.trainers.multi_task_recipe import TASKS, MultiTaskRecipe


@dataclass(frozen=True, slots=True)
class Asked:
    """What weights are made from."""

    loss_T: Tensor
    """Of the tasks, with gradients, and with what a recipe adds to one of them."""
    published_T: Tensor
    """Without that, with gradients: by these weights are learned, in all ways alike."""
    is_there_T: Tensor
    """Whether a batch has pictures of a task that is trained; weights of others are zero."""
    shared_BZ: Tensor
    """Without gradients."""
    last_shared: Sequence[nn.Parameter]


@dataclass(frozen=True, slots=True)
class Weighted:
    """What is minimised in one step."""

    weight_T: Tensor
    """That sum to one."""
    loss: Tensor
    """Over the network; weights are constants in it."""
    own_loss: Tensor | None
    """Over what makes the weights, where they are learned; the tasks' losses are constants in it."""


class TaskWeights(nn.Module):
    """Some way to weigh tasks."""

    def forward(self, asked: Asked) -> Weighted:
        """The weights of one step."""
        raise NotImplementedError


class StaticWeights(TaskWeights):
    """As given. Source: Ming et al. (IJDAR 2021), Eq. 1."""

    def __init__(self, given: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("given_T", torch.tensor(given))

    def forward(self, asked: Asked) -> Weighted:
        """The weights of one step."""
        weight_T = _to_one(self.get_buffer("given_T"), asked.is_there_T)
        return Weighted(weight_T, _total(weight_T, asked.loss_T, asked), None)


class LearnedWeights(TaskWeights):
    """From what tasks share, by a loss of their own; or, naively, by the total loss.

    Source: Ming et al. (IJDAR 2021), Eq. 2 to 4, 10 to 12, and its reference [28], Yin and Liu (TIP 2018), there called naive or
    primitive.
    """

    def __init__(self, num_shared: int, *, is_naive: bool) -> None:
        super().__init__()
        self.learned = DynamicWeights(num_shared, len(TASKS))
        self._is_naive = is_naive

    def forward(self, asked: Asked) -> Weighted:
        """The weights of one step."""
        weight_T = self.learned(asked.shared_BZ, asked.is_there_T)
        published_T = asked.published_T.detach()
        if self._is_naive:
            own_loss = _total(weight_T, published_T, asked)
        else:
            own_loss = dynamic_weights_loss(weight_T, published_T, asked.is_there_T)
        return Weighted(weight_T, _total(weight_T.detach(), asked.loss_T, asked), own_loss)


class UncertaintyWeights(TaskWeights):
    """Source: Kendall et al. (CVPR 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_variance_T = nn.Parameter(torch.zeros(len(TASKS)))

    def forward(self, asked: Asked) -> Weighted:
        """The weights of one step."""
        own_loss = uncertainty_loss(self.log_variance_T, asked.published_T.detach(), asked.is_there_T)
        precision_T = torch.exp(-self.log_variance_T).detach()
        return Weighted(_to_one(precision_T, asked.is_there_T), _total(precision_T, asked.loss_T, asked), own_loss)


class GradNormWeights(TaskWeights):
    """Source: Chen et al., GradNorm (ICML 2018), Algorithm 1."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.weight_T = nn.Parameter(torch.ones(len(TASKS)))
        self.register_buffer("first_T", torch.zeros(len(TASKS)))
        self._power = power

    def forward(self, asked: Asked) -> Weighted:
        """The weights of one step."""
        first_T = self.get_buffer("first_T")
        published_T = asked.published_T.detach()
        first_T[:] = torch.where((first_T == 0) & asked.is_there_T, published_T, first_T)
        weight_T = _to_one(self.weight_T.clamp(min=LEAST_LOSS), asked.is_there_T)
        norms = [
            _norm(loss, asked.last_shared) if is_there else torch.zeros_like(published_T[0])
            for loss, is_there in zip(asked.published_T, asked.is_there_T.tolist(), strict=True)
        ]
        share_T = published_T / first_T.clamp(min=LEAST_LOSS)
        own_loss = gradient_norm_loss(weight_T, torch.stack(norms), share_T, asked.is_there_T, power=self._power)
        return Weighted(weight_T, _total(weight_T.detach(), asked.loss_T, asked), own_loss)


def weights_of(recipe: MultiTaskRecipe, num_shared: int) -> TaskWeights:
    """By the recipe's way; `num_shared` is Z."""
    if recipe.weighting == "static":
        return StaticWeights(recipe.given)
    if recipe.weighting == "uncertainty":
        return UncertaintyWeights()
    if recipe.weighting == "gradnorm":
        return GradNormWeights(recipe.power)
    return LearnedWeights(num_shared, is_naive=recipe.weighting == "naive")


def _total(weight_T: Tensor, loss_T: Tensor, asked: Asked) -> Tensor:
    """Source: Ming et al. (IJDAR 2021), Eq. 1 and 2."""
    return (weight_T[asked.is_there_T] * loss_T[asked.is_there_T]).sum()


def _to_one(weight_T: Tensor, is_there_T: Tensor) -> Tensor:
    kept_T = torch.where(is_there_T, weight_T, torch.zeros_like(weight_T))
    return kept_T / kept_T.sum()


def _norm(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        return torch.zeros_like(loss.detach())
    gradients = torch.autograd.grad(loss, trained, retain_graph=True, allow_unused=True)
    squares = [gradient.square().sum() for gradient in gradients if gradient is not None]
    return torch.stack(squares).sum().sqrt()
