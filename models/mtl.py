"""One network for several tasks: what they share, a branch for each, and how much each counts.

Source: Ming et al., Cross-modal photo-caricature face recognition based on dynamic multi-task learning (IJDAR 2021),
Sec. 3 and 4.

Shapes: B batch, H W picture, D feature dimension, Z what is shared, T tasks.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from models.errors import GraphError
from models.onnx_network import OnnxNetwork


@dataclass(frozen=True, slots=True)
class Shared:
    """What pictures have become where branches begin."""

    values: dict[str, Tensor]
    last_B: Tensor
    """The last hidden layer that is shared, (B, ...)."""

    def take(self, rows: Tensor) -> "Shared":
        """Of these pictures alone."""
        return Shared({name: value[rows] for name, value in self.values.items()}, self.last_B[rows])


class Branches(nn.Module):
    """A network of which every task has the last layers for itself, and all share those before.

    All branches begin as the network's own last layers, as the paper's branches 2 and 3 begin as branch 1.
    """

    def __init__(self, network: OnnxNetwork, num_layers: int, num_tasks: int) -> None:
        """`num_layers` is how many of the last layers a task has for itself, at least one, and fewer than there are.

        Raises `GraphError`.
        """
        super().__init__()
        if not 0 < num_layers < len(network.layers):
            raise GraphError(
                f"a branch takes {num_layers} layers of an encoder that has {len(network.layers)}: at least one, and not all"
            )
        self._num_layers = num_layers
        self.networks = nn.ModuleList(
            [network, *(_sharing(network, num_layers) for _ in range(num_tasks - 1))],
        )

    def shared(self, picture_B3HW: Tensor) -> Shared:
        """What all tasks have in common."""
        return Shared(*self.network(0).until(picture_B3HW, self._num_layers))

    def branch(self, task: int, shared: Shared) -> Tensor:
        """Features (B, D) of one task, as the graph gives them."""
        return self.network(task).after(shared.values, self._num_layers)

    def network(self, task: int) -> OnnxNetwork:
        """Of one task alone, with what is shared."""
        found = self.networks[task]
        assert isinstance(found, OnnxNetwork)
        return found

    def train_last(self, num_layers: int) -> None:
        """Train the branches, and of what is shared the last so many layers."""
        for task in range(len(self.networks)):
            self.network(task).train_last(self._num_layers + num_layers)

    def drop(self, share: float) -> None:
        """Drop so much of what comes to the last layer of every branch, in training."""
        for task in range(len(self.networks)):
            self.network(task).dropout = share

    @property
    def last_shared(self) -> Sequence[nn.Parameter]:
        """The weights of the last layer that is shared."""
        network = self.network(0)
        layer = network.layers[len(network.layers) - self._num_layers - 1]
        return [network.get_parameter(name) for name in layer.weights]


class DynamicWeights(nn.Module):
    """Weights of tasks from what they share: a linear map without a ReLU, which begins with zeros, and a softmax.

    Source: Eq. 10 and 11. A batch has one weight a task, the mean of those of its pictures. Deviation: what is shared is
    taken at length one, so that a step moves the weights of any encoder as far; as it is, a few steps leave all weight on one.
    """

    def __init__(self, num_shared: int, num_tasks: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_shared, num_tasks)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, shared_BZ: Tensor, is_there_T: Tensor) -> Tensor:
        """Weights (T,) that sum to one; of tasks of which nothing is there they are zero."""
        logits_BT = self.linear(functional.normalize(shared_BZ, dim=-1)).masked_fill(~is_there_T, float("-inf"))
        return functional.softmax(logits_BT, dim=-1).mean(dim=0)


def _sharing(network: OnnxNetwork, num_layers: int) -> OnnxNetwork:
    """A copy that has all but the last layers in common with the network."""
    other = copy.deepcopy(network)
    own = {name for layer in network.layers[len(network.layers) - num_layers :] for name in layer.weights}
    for name, _ in list(network.named_parameters()):
        owner, _, _ = name.rpartition(".")
        if name in own:
            continue
        if owner:
            # With its statistics.
            setattr(other, owner, network.get_submodule(owner))
        else:
            setattr(other, name, network.get_parameter(name))
    return other
