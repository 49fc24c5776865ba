"""An optimiser for each of several networks, and steps of some of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.trainers.rule import Rule

_LARGEST_GRADIENT = 5.0
_MOMENTUM = 0.9


class Optimisers:
    """One a network, by its name."""

    def __init__(self, networks: Mapping[str, nn.Module], rules: Mapping[str, Rule]) -> None:
        self._rules = rules
        self._parameters = {
            name: [parameter for parameter in network.parameters() if parameter.requires_grad]
            for name, network in networks.items()
        }
        self.by_name: dict[str, Optimizer] = {
            name: _optimiser(parameters, rules[name]) for name, parameters in self._parameters.items()
        }

    def set_rate(self, share: float) -> None:
        """Make every learning rate this share of its rule's."""
        for name, optimiser in self.by_name.items():
            for group in optimiser.param_groups:
                group["lr"] = self._rules[name].learning_rate * share

    def step(self, names: Sequence[str], loss: Tensor) -> None:
        """One step of each of some networks against one loss; the others get no gradient."""
        parameters = [parameter for name in names for parameter in self._parameters[name]]
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        for name in names:
            nn.utils.clip_grad_norm_(self._parameters[name], _LARGEST_GRADIENT)
            self.by_name[name].step()


def _optimiser(parameters: list[nn.Parameter], rule: Rule) -> Optimizer:
    if rule.kind == "sgd":
        return torch.optim.SGD(parameters, rule.learning_rate, momentum=_MOMENTUM, weight_decay=rule.weight_decay)
    if rule.kind == "rmsprop":
        return torch.optim.RMSprop(parameters, rule.learning_rate, weight_decay=rule.weight_decay)
    return torch.optim.AdamW(parameters, rule.learning_rate, weight_decay=rule.weight_decay)
