"""The updates that a mini-batch takes in turn, each with momentum of its own."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.trainers.r3an_recipe import R3ANRecipe

_LARGEST_GRADIENT = 5.0
_BETAS = (0.9, 0.99)


class Update:
    """Steps of some networks against a loss of their own.

    Two losses that pull at the same network must not share an optimiser: Adam divides by the size of past gradients, and
    where every second one is of another loss, ten times smaller, the steps of both are out of proportion.
    """

    def __init__(
        self, networks: Sequence[nn.Module], recipe: R3ANRecipe, *, weight: float, decaying: Sequence[nn.Module]
    ) -> None:
        """`weight` is how much the losses given to `step` are weighted, all together.

        Adam does not see the scale of a loss, so that there the weight is one of the step. Each network decays in one of
        its updates: here those in `decaying`.
        """
        self._parameters = [parameter for network in networks for parameter in network.parameters()]
        groups = [
            {"params": list(network.parameters()), "weight_decay": recipe.weight_decay if network in decaying else 0.0}
            for network in networks
        ]
        if recipe.optimiser == "sgd":
            self._rate = recipe.learning_rate
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(groups, lr=self._rate, momentum=recipe.momentum)
        else:
            self._rate = recipe.learning_rate * weight
            self.optimiser = torch.optim.AdamW(groups, lr=self._rate, betas=_BETAS)

    def set_rate(self, share: float) -> None:
        """Make the learning rate this share of the recipe's."""
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate * share

    def step(self, loss: Tensor) -> float:
        """One step against the loss, where it is a number; its value before."""
        gradients = torch.autograd.grad(loss, self._parameters)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
        value = float(loss.detach())
        if math.isfinite(value):
            self.optimiser.step()
        return value
