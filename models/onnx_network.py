"""A network that comes as an ONNX graph, as a torch module that can be trained: what users have is an encoder as a file.

What does not depend on the picture is worked out when it is read: the module holds weights, and the operators that a picture goes
through. It takes any number of pictures. Weights are grouped into layers, in the order in which a picture comes to them, so that
the last few can be trained and the others left as they are.

Shapes: B batch, H W picture, D feature dimension. Input (B, 3, H, W), output (B, D), as the graph has it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from models.errors import GraphError
from models.graph import check_graph, parse_model
from models.onnx_operators import OPERATORS

_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})
"""Operators with whose weights a layer begins."""
_WEIGHTED = _LAYERS | {"Add", "Div", "LayerNormalization", "Mul", "PRelu", "Sub"}
_NUMBERS = {
    "Clip": (1, 2),
    "CumSum": (1,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "ReduceL2": (1,),
    "ReduceMax": (1,),
    "ReduceMean": (1,),
    "ReduceMin": (1,),
    "ReduceSum": (1,),
    "ReduceSumSquare": (1,),
    "Reshape": (1,),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "Unsqueeze": (1,),
}
"""Inputs that are sizes, places and limits, and not features."""
_BATCHES = (1, 2, 3)
_NUM_COLOURS = 3


@dataclass(frozen=True, slots=True)
class Layer:
    """Weights that belong together."""

    operator: str
    weights: tuple[str, ...]
    """Names of the module's parameters."""
    is_head: bool
    """Whether what it makes has no places any more: of the last layers those that make a feature of a picture's map."""


@dataclass(frozen=True, slots=True)
class _Node:
    """An operator that a picture goes through."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    numbers: Mapping[int, Any]
    """Inputs that are numbers, by place."""
    last_used: tuple[str, ...]
    """Values of which nobody has any use afterwards."""


class OnnxNetwork(nn.Module):
    """Made by `read_network`."""

    def __init__(
        self,
        nodes: Sequence[_Node],
        constants: Mapping[str, Tensor],
        norms: Mapping[str, "ImportedNorm"],
        names: tuple[str, str],
        layers: Sequence[Layer],
    ) -> None:
        super().__init__()
        self._nodes = tuple(nodes)
        self._input, self._output = names
        self.layers = tuple(layers)
        """In the order in which a picture comes to them."""
        self.dropout = 0.0
        """How much is dropped in training of what comes to the last layer."""
        trained = {name for layer in layers for name in layer.weights}
        for name, value in constants.items():
            if name in trained:
                self.register_parameter(name, nn.Parameter(value.clone()))
            else:
                self.register_buffer(name, value.clone())
        for name, norm in norms.items():
            self.add_module(name, norm)

    def forward(self, picture_B3HW: Tensor) -> Tensor:
        """Features (B, D), as the graph gives them."""
        values = {self._input: picture_B3HW}
        self._run(values, self._nodes)
        return values[self._output]

    def until(self, picture_B3HW: Tensor, num_layers: int) -> tuple[dict[str, Tensor], Tensor]:
        """What pictures have become before the last so many layers, fewer than there are: all values that those take, and of
        these the one that was made last.
        """
        place = self._place_of(num_layers)
        values = {self._input: picture_B3HW}
        self._run(values, self._nodes[:place])
        return values, values[self._nodes[place - 1].outputs[0]]

    def after(self, values: Mapping[str, Tensor], num_layers: int) -> Tensor:
        """Features (B, D) of what `until` came to, here or in another module of the same graph."""
        found = dict(values)
        self._run(found, self._nodes[self._place_of(num_layers) :])
        return found[self._output]

    def _place_of(self, num_layers: int) -> int:
        """Of the first node that takes weights of the last layers."""
        last = {name for layer in self.layers[len(self.layers) - num_layers :] for name in layer.weights}
        norms = {name.rpartition(".")[0] for name in last if "." in name}
        return next(
            place
            for place, node in enumerate(self._nodes)
            if last & set(node.inputs) or node.attributes.get("module") in norms
        )

    def _run(self, values: dict[str, Tensor], nodes: Sequence[_Node]) -> None:
        """Add what these nodes make of the values, and leave out what nobody takes afterwards."""
        for node in nodes:
            inputs: list[Any] = [
                node.numbers[place] if place in node.numbers else self._value(values, name)
                for place, name in enumerate(node.inputs)
            ]
            if self.dropout and node.operator in _LAYERS and set(self.layers[-1].weights) & set(node.inputs):
                inputs[0] = functional.dropout(inputs[0], self.dropout, self.training)
            if node.operator == "BatchNormalization":
                found: Any = self.get_submodule(node.attributes["module"])(inputs[0])
            else:
                found = OPERATORS[node.operator](inputs, node.attributes)
            values.update(zip(node.outputs, [found] if isinstance(found, Tensor) else found, strict=False))
            for name in node.last_used:
                values.pop(name, None)

    def train_last(self, num_layers: int) -> None:
        """Train the last so many layers, and leave the weights and the statistics of those before as they are, and what a
        picture is prepared by.
        """
        for parameter in self.parameters():
            parameter.requires_grad = False
        for place, layer in enumerate(self.layers):
            is_trained = place >= len(self.layers) - num_layers
            for name in layer.weights:
                self.get_parameter(name).requires_grad_(is_trained)

    @property
    def num_head(self) -> int:
        """How many of the last layers are the head."""
        return sum(layer.is_head for layer in self.layers)

    def _value(self, values: Mapping[str, Tensor], name: str) -> Tensor | None:
        if not name:
            return None
        if name in values:
            return values[name]
        found: Tensor = getattr(self, name)
        return found


class ImportedNorm(nn.Module):
    """Batch normalisation that keeps its statistics where its weights are not trained."""

    def __init__(self, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(scale.clone())
        self.bias = nn.Parameter(shift.clone())
        self.register_buffer("running_mean", mean.clone())
        self.register_buffer("running_var", variance.clone())
        self._epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same."""
        # Of one value there is no spread to learn.
        learns = self.training and self.weight.requires_grad and x.numel() > x.shape[1]
        mean, variance = self.get_buffer("running_mean"), self.get_buffer("running_var")
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, learns, 0.1, self._epsilon)


def read_network(data: bytes, size: tuple[int, int], *, what: str = "model.onnx") -> OnnxNetwork:
    """The network of a graph that takes pictures of this width and height.

    Raises `GraphError` for a graph that may not be run, for an operator that cannot be trained here, which it names, and for one
    that does something else with more pictures.
    """
    signature = check_graph(data, what=what)
    return _Reader(data, signature.input_name, signature.output_name, size, what).network()


class _Reader:
    """Reads one graph."""

    def __init__(self, data: bytes, input_name: str, output_name: str, size: tuple[int, int], what: str) -> None:
        graph = parse_model(data, what=what).graph
        self._what, self._ends = what, (input_name, output_name)
        self._nodes = [node for node in graph.node if node.op_type != "Constant"]
        self._attributes = [{one.name: _attribute(one) for one in node.attribute} for node in self._nodes]
        known = OPERATORS.keys() | {"BatchNormalization"}
        unknown = sorted({node.op_type for node in self._nodes} - known)
        if unknown:
            raise GraphError(f"{what}: cannot be trained here, as it uses {', '.join(unknown)}")
        self._given = {tensor.name: _tensor(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant":
                self._given[node.output[0]] = _constant(node)
        self._seen = self._with_the_picture()
        self._constants: dict[str, Tensor] = {}
        """Of the module, by their names there."""
        self._names: dict[str, str] = {}
        """In the module, by those in the graph."""
        width, height = size
        pictures = torch.randn(max(_BATCHES), _NUM_COLOURS, height, width, generator=torch.Generator().manual_seed(0))
        self._values = {num: self._run(pictures[:num]) for num in _BATCHES}

    def network(self) -> OnnxNetwork:
        """As a module."""
        norms: dict[str, ImportedNorm] = {}
        nodes: list[_Node] = []
        wanted = self._wanted()
        last_used = {name: place for place in wanted for name in self._nodes[place].input}
        for place in wanted:
            node, attributes = self._nodes[place], self._attributes[place]
            free = tuple(
                sorted(
                    {name for name in node.input if name in self._seen and last_used[name] == place} - {self._ends[1]}
                )
            )
            outputs = tuple(node.output)
            if node.op_type == "BatchNormalization":
                module = f"norm_{len(norms)}"
                norms[module] = self._norm(node, attributes)
                nodes.append(_Node(node.op_type, (node.input[0],), outputs[:1], {"module": module}, {}, free))
                continue
            numbers = {at: self._number(node, at) for at in _NUMBERS.get(node.op_type, ()) if _is_there(node, at)}
            inputs = tuple(
                name if at in numbers or name in self._seen or not name else self._constant(node, at)
                for at, name in enumerate(node.input)
            )
            nodes.append(_Node(node.op_type, inputs, outputs, attributes, numbers, free))
        return OnnxNetwork(nodes, self._constants, norms, self._ends, self._layers(nodes))

    def _with_the_picture(self) -> set[str]:
        """Names of the values that depend on what is in the picture, and not on its size alone."""
        seen = {self._ends[0]}
        for node in self._nodes:
            if node.op_type != "Shape" and seen & set(node.input):
                seen |= set(node.output)
        if self._ends[1] not in seen:
            raise GraphError(f"{self._what}: what it gives does not depend on the picture")
        return seen

    def _wanted(self) -> list[int]:
        """The places of the nodes that a picture goes through on its way to the feature."""
        needed, wanted = {self._ends[1]}, []
        for place in reversed(range(len(self._nodes))):
            node = self._nodes[place]
            if needed & set(node.output) and self._seen & set(node.output):
                wanted.append(place)
                needed |= {name for name in node.input if name in self._seen}
        return wanted[::-1]

    @torch.no_grad()
    def _run(self, pictures: Tensor) -> dict[str, Tensor]:
        """All values that there are for some pictures."""
        values = {**self._given, self._ends[0]: pictures}
        for node, attributes in zip(self._nodes, self._attributes, strict=True):
            inputs: list[Any] = [values[name] if name else None for name in node.input]
            try:
                if node.op_type == "BatchNormalization":
                    x, scale, shift, mean, variance = inputs
                    epsilon = attributes.get("epsilon", 1e-5)
                    found: Any = ImportedNorm(scale, shift, mean, variance, epsilon).eval()(x)
                else:
                    found = OPERATORS[node.op_type](inputs, attributes)
            except GraphError as failure:
                raise GraphError(f"{self._what}: {failure}") from None
            except (RuntimeError, IndexError, ValueError, TypeError) as failure:
                first = str(failure).partition("\n")[0]
                raise GraphError(f"{self._what}: {node.op_type} cannot be trained here ({first})") from None
            values.update(zip(node.output, [found] if isinstance(found, Tensor) else found, strict=False))
        return values

    def _number(self, node: NodeProto, place: int) -> Any:
        """An input that is numbers: the same for any batch, or a size of which the batch's is left open."""
        name = node.input[place]
        if name in self._seen:
            raise GraphError(f"{self._what}: {node.op_type} takes sizes from what is in the picture")
        two, three = (self._values[num][name] for num in (2, 3))
        if two.shape == three.shape and torch.equal(two, three):
            return two.tolist()
        if node.op_type in ("Reshape", "Expand") and place == 1 and two.shape == three.shape:
            found = [one if one == other else -1 for one, other in zip(two.tolist(), three.tolist(), strict=True)]
            if node.op_type == "Expand":
                return found
            # As many as come in at that place, where that is so; else as many as are left.
            extents = [self._values[num][node.input[0]].shape for num in (2, 3)]
            for axis, (one, other) in enumerate(zip(two.tolist(), three.tolist(), strict=True)):
                if one != other and all(axis < len(shape) for shape in extents):
                    is_as_it_comes = (extents[0][axis], extents[1][axis]) == (one, other)
                    found[axis] = 0 if is_as_it_comes else -1
            if found.count(-1) <= 1:
                return found
        raise GraphError(f"{self._what}: {node.op_type} does something else with more pictures")

    def _constant(self, node: NodeProto, place: int) -> str:
        """An input that is a tensor: the same for any batch, or of each picture the same; its name in the module."""
        name = node.input[place]
        if name not in self._names:
            one, two, three = (self._values[num][name] for num in _BATCHES)
            is_same = two.shape == three.shape and torch.equal(two, three)
            if not is_same and not (one.shape[1:] == two.shape[1:] and torch.equal(one.expand_as(two), two)):
                raise GraphError(f"{self._what}: {node.op_type} does something else with more pictures")
            self._names[name] = f"value_{len(self._names)}"
            self._constants[self._names[name]] = two if is_same else one
        return self._names[name]

    def _norm(self, node: NodeProto, attributes: Mapping[str, Any]) -> ImportedNorm:
        if any(name in self._seen for name in node.input[1:]) or attributes.get("training_mode", 0):
            raise GraphError(f"{self._what}: a BatchNormalization that learns by itself cannot be trained here")
        scale, shift, mean, variance = (self._values[1][name] for name in node.input[1:5])
        return ImportedNorm(scale, shift, mean, variance, attributes.get("epsilon", 1e-5))

    def _layers(self, nodes: Sequence[_Node]) -> list[Layer]:
        """A layer begins with its convolution or product; what is scaled, shifted and normalised after it belongs to it."""
        begun: list[tuple[_Node, list[str]]] = []
        taken: set[str] = set()
        for node in nodes:
            weights = [name for at, name in enumerate(node.inputs) if at not in node.numbers and self._is_weight(name)]
            if node.operator in _LAYERS and weights:
                begun.append((node, []))
            if not begun:
                # What a picture is prepared by stays as it is.
                continue
            if node.operator == "BatchNormalization":
                weights = [f"{node.attributes['module']}.{kind}" for kind in ("weight", "bias")]
            elif node.operator not in _WEIGHTED:
                continue
            begun[-1][1].extend(name for name in weights if name not in taken)
            taken.update(weights)
        places = [place for place, (node, _) in enumerate(begun) if self._has_places(node)]
        first_of_head = places[-1] + 1 if places else 0
        return [
            Layer(node.operator, tuple(weights), place >= first_of_head) for place, (node, weights) in enumerate(begun)
        ]

    def _is_weight(self, name: str) -> bool:
        constant = self._constants.get(name)
        return constant is not None and constant.is_floating_point() and constant.numel() > 1

    def _has_places(self, node: _Node) -> bool:
        shape = self._values[2][node.outputs[0]].shape
        return math.prod(shape[2:]) > 1


def _is_there(node: NodeProto, place: int) -> bool:
    return place < len(node.input) and bool(node.input[place])


def _attribute(attribute: AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    return _tensor(value) if isinstance(value, TensorProto) else value


def _tensor(tensor: TensorProto) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(tensor)))


def _constant(node: NodeProto) -> Tensor:
    (attribute,) = node.attribute
    value = _attribute(attribute)
    if isinstance(value, Tensor):
        return value
    return torch.tensor(value, dtype=torch.float32 if "float" in attribute.name else torch.int64)
