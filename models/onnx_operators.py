"""ONNX operators as torch functions: those that face encoders are made of.

A function takes a node's inputs as tensors (None where one is left out, plain numbers where they are sizes or limits) and its
attributes; it gives one tensor, or one for each output. What it does is the ONNX specification's, of opset 7 to 20, to float32's
error; nothing here knows of graphs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from models.errors import GraphError

Attributes: TypeAlias = Mapping[str, Any]
Operator: TypeAlias = Callable[[Sequence[Tensor], Attributes], Tensor | Sequence[Tensor]]

_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
"""Of ONNX's `TensorProto.DataType`."""


def _ints(numbers: Tensor | int | Sequence[int]) -> list[int]:
    if isinstance(numbers, Tensor):
        numbers = numbers.tolist()
    return [numbers] if isinstance(numbers, int) else [int(number) for number in numbers]


def _axes(inputs: Sequence[Tensor], attributes: Attributes, place: int = 1) -> list[int] | None:
    """They are an attribute in older opsets, and an input in newer ones."""
    if len(inputs) > place and inputs[place] is not None:
        return _ints(inputs[place])
    axes = attributes.get("axes")
    return None if axes is None else [int(axis) for axis in axes]


def _padded(x: Tensor, attributes: Attributes, size: Sequence[int], value: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input padded where that is not the same on both sides, and the padding that is left to the operator."""
    num = len(size)
    how = attributes.get("auto_pad", b"NOTSET")
    pads = [int(number) for number in attributes.get("pads", [0] * (2 * num))]
    if how == b"VALID":
        pads = [0] * (2 * num)
    elif how != b"NOTSET":
        strides = attributes.get("strides", [1] * num)
        dilations = attributes.get("dilations", [1] * num)
        pads = _same_pads(x.shape[-num:], size, strides, dilations, is_upper=how == b"SAME_UPPER")
    if pads[:num] == pads[num:]:
        return x, pads[:num]
    both = [number for axis in reversed(range(num)) for number in (pads[axis], pads[num + axis])]
    return functional.pad(x, both, value=value), [0] * num


def _same_pads(
    extents: Sequence[int], size: Sequence[int], strides: Sequence[int], dilations: Sequence[int], *, is_upper: bool
) -> list[int]:
    begins, ends = [], []
    for extent, kernel, stride, dilation in zip(extents, size, strides, dilations, strict=True):
        total = max(0, (-(-int(extent) // stride) - 1) * stride + dilation * (kernel - 1) + 1 - int(extent))
        fewer, more = total // 2, total - total // 2
        begins.append(fewer if is_upper else more)
        ends.append(more if is_upper else fewer)
    return begins + ends


def _conv(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *rest = inputs
    num = weight.dim() - 2
    x, padding = _padded(x, attributes, weight.shape[2:])
    strides, dilations = attributes.get("strides", [1] * num), attributes.get("dilations", [1] * num)
    conv = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[num]
    is_thinned = tuple(strides) == (2, 2) and _is_slow_backward(x, weight)
    found = conv(
        x,
        weight,
        rest[0] if rest else None,
        stride=(1, 1) if is_thinned else tuple(strides),
        padding=tuple(padding),
        dilation=tuple(dilations),
        groups=attributes.get("group", 1),
    )
    if is_thinned:
        found = found[:, :, :: strides[0], :: strides[1]].contiguous(memory_format=torch.channels_last)
    return found


def _is_slow_backward(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN would go back through this strided convolution several times as long as through one at every place: a
    channel by itself, with a kernel of three, in training on a CPU in bfloat16.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled() or not (x.requires_grad or weight.requires_grad):
        return False
    computed = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
    return computed == torch.bfloat16 and weight.shape[1] == 1 < x.shape[1] and tuple(weight.shape[2:]) == (3, 3)


def _gemm(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    a, b, *rest = inputs
    a = a.transpose(0, 1) if attributes.get("transA", 0) else a
    b = b.transpose(0, 1) if attributes.get("transB", 0) else b
    product = (a @ b) * float(attributes.get("alpha", 1.0))
    return product + rest[0] * float(attributes.get("beta", 1.0)) if rest and rest[0] is not None else product


def _layer_norm(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, scale, *rest = inputs
    axis = attributes.get("axis", -1) % x.dim()
    return functional.layer_norm(x, x.shape[axis:], scale, rest[0] if rest else None, attributes.get("epsilon", 1e-5))


def _pool(inputs: Sequence[Tensor], attributes: Attributes, *, is_mean: bool) -> Tensor:
    size = attributes["kernel_shape"]
    if len(size) != 2 or any(number != 1 for number in attributes.get("dilations", [1, 1])):
        raise GraphError("a pool that is not of pictures, or has gaps, cannot be trained here")
    strides, rounds_up = tuple(attributes.get("strides", [1, 1])), bool(attributes.get("ceil_mode", 0))
    counts_padding = bool(attributes.get("count_include_pad", 0))
    if is_mean:
        x, padding = _padded(inputs[0], attributes, size)
        if padding == [0, 0] and x.shape != inputs[0].shape and not counts_padding:
            raise GraphError("a mean over one-sided padding cannot be trained here")
        return functional.avg_pool2d(x, tuple(size), strides, tuple(padding), rounds_up, counts_padding)
    x, padding = _padded(inputs[0], attributes, size, -torch.inf)
    return functional.max_pool2d(x, tuple(size), strides, tuple(padding), 1, rounds_up)


def _slice(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, *rest = inputs
    if rest:
        starts, ends = _ints(rest[0]), _ints(rest[1])
        axes = _ints(rest[2]) if len(rest) > 2 and rest[2] is not None else list(range(len(starts)))
        steps = _ints(rest[3]) if len(rest) > 3 and rest[3] is not None else [1] * len(starts)
    else:
        starts, ends = list(attributes["starts"]), list(attributes["ends"])
        axes, steps = list(attributes.get("axes", range(len(starts)))), [1] * len(starts)
    where: list[slice] = [slice(None)] * x.dim()
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 0:
            raise GraphError("a slice that goes backwards cannot be trained here")
        where[axis] = slice(start, end, step)
    return x[tuple(where)]


def _split(inputs: Sequence[Tensor], attributes: Attributes) -> Sequence[Tensor]:
    axis = attributes.get("axis", 0)
    sizes = _ints(inputs[1]) if len(inputs) > 1 and inputs[1] is not None else attributes.get("split")
    if sizes is None:
        extent, num = inputs[0].shape[axis], attributes["num_outputs"]
        sizes = -(-extent // num)
    return torch.split(inputs[0], sizes, axis)


def _squeeze(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    axes = _axes(inputs, attributes)
    return inputs[0].squeeze() if axes is None else inputs[0].squeeze(tuple(axes))


def _unsqueeze(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    axes = _axes(inputs, attributes) or []
    x = inputs[0]
    num = x.dim() + len(axes)
    for axis in sorted(axis % num for axis in axes):
        x = x.unsqueeze(axis)
    return x


def _reshape(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, shape = inputs[0], _ints(inputs[1])
    if not attributes.get("allowzero", 0):
        shape = [x.shape[axis] if number == 0 else number for axis, number in enumerate(shape)]
    return x.reshape(shape)


def _flatten(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, axis = inputs[0], attributes.get("axis", 1)
    return x.reshape(1, -1) if axis == 0 else x.flatten(0, axis - 1).flatten(1) if axis > 1 else x.flatten(1)


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Operator:
    def reduced(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
        axes = _axes(inputs, attributes)
        if axes is None and attributes.get("noop_with_empty_axes", 0):
            return inputs[0]
        return function(inputs[0], axes or list(range(inputs[0].dim())), bool(attributes.get("keepdims", 1)))

    return reduced


def _clip(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, *limits = inputs
    low, high = (limits[place] if len(limits) > place else None for place in (0, 1))
    low = attributes.get("min") if low is None else low
    high = attributes.get("max") if high is None else high
    if low is None and high is None:
        return x
    # Tensors or numbers, both of a kind.
    if low is not None and high is not None and float(low) < float(high) and x.is_floating_point():
        # The same, with a gradient of one operation in place of four.
        return functional.hardtanh(x, float(low), float(high))
    return torch.clamp(x, None if low is None else float(low), None if high is None else float(high))


def _gather(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, places = inputs
    axis = attributes.get("axis", 0) % x.dim()
    places = torch.where(places < 0, places + x.shape[axis], places)
    found = x.index_select(axis, places.reshape(-1))
    return found.reshape([*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]])


def _constant_of_shape(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    value: Tensor = attributes.get("value", torch.zeros(1))
    return value.reshape(()).expand(_ints(inputs[0])).clone()


def _expand(inputs: Sequence[Tensor], _: Attributes) -> Tensor:
    x, shape = inputs[0], _ints(inputs[1])
    num = max(x.dim(), len(shape))
    mine = [1] * (num - x.dim()) + list(x.shape)
    wanted = [1] * (num - len(shape)) + shape
    return x.expand(
        [-1 if other in (1, -1) else other for other in wanted]
        if num == x.dim()
        else [own if other in (1, -1) else other for own, other in zip(mine, wanted, strict=True)]
    )


def _pad(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x = inputs[0]
    pads = _ints(inputs[1]) if len(inputs) > 1 else [int(number) for number in attributes["pads"]]
    value = float(inputs[2]) if len(inputs) > 2 and inputs[2] is not None else float(attributes.get("value", 0.0))
    mode = {b"constant": "constant", b"reflect": "reflect", b"edge": "replicate"}[attributes.get("mode", b"constant")]
    if len(inputs) > 3 and inputs[3] is not None:
        raise GraphError("padding along named axes cannot be trained here")
    num = len(pads) // 2
    both = [number for axis in reversed(range(num)) for number in (pads[axis], pads[num + axis])]
    while mode != "constant" and both[-2:] == [0, 0]:
        both = both[:-2]
    return functional.pad(x, both, mode, value) if mode == "constant" else functional.pad(x, both, mode)


def _prelu(inputs: Sequence[Tensor], _: Attributes) -> Tensor:
    x, slope = inputs
    return torch.where(x < 0, x * slope, x)


def _gelu(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    return functional.gelu(inputs[0], approximate=attributes.get("approximate", b"none").decode())


def _each(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda inputs, _: function(inputs[0])


def _both(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, _: function(inputs[0], inputs[1])


def _all(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda inputs, _: reduce(function, inputs)


def _divide(x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


OPERATORS: Mapping[str, Operator] = {
    "Abs": _each(torch.abs),
    "Add": _both(torch.add),
    "AveragePool": lambda inputs, attributes: _pool(inputs, attributes, is_mean=True),
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Ceil": _each(torch.ceil),
    "Clip": _clip,
    "Concat": lambda inputs, attributes: torch.cat(list(inputs), attributes["axis"]),
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Cos": _each(torch.cos),
    "CumSum": _both(lambda x, axis: torch.cumsum(x, int(axis))),
    "Div": _both(_divide),
    "Dropout": _each(lambda x: x),
    "Elu": lambda inputs, attributes: functional.elu(inputs[0], attributes.get("alpha", 1.0)),
    "Equal": _both(torch.eq),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _each(torch.floor),
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _each(lambda x: x.mean(tuple(range(2, x.dim())), keepdim=True)),
    "GlobalMaxPool": _each(lambda x: x.amax(tuple(range(2, x.dim())), keepdim=True)),
    "Greater": _both(torch.gt),
    "HardSigmoid": lambda inputs, attributes: torch.clamp(
        attributes.get("alpha", 0.2) * inputs[0] + attributes.get("beta", 0.5), 0.0, 1.0
    ),
    "HardSwish": _each(functional.hardswish),
    "Identity": _each(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda inputs, attributes: functional.leaky_relu(inputs[0], attributes.get("alpha", 0.01)),
    "Less": _both(torch.lt),
    "Log": _each(torch.log),
    "LogSoftmax": lambda inputs, attributes: torch.log_softmax(inputs[0], attributes.get("axis", -1)),
    "LpNormalization": lambda inputs, attributes: (
        inputs[0]
        / torch.linalg.vector_norm(inputs[0], attributes.get("p", 2), attributes.get("axis", -1), keepdim=True)
    ),
    "MatMul": _both(torch.matmul),
    "Max": _all(torch.maximum),
    "MaxPool": lambda inputs, attributes: _pool(inputs, attributes, is_mean=False),
    "Min": _all(torch.minimum),
    "Mul": _both(torch.mul),
    "Neg": _each(torch.neg),
    "Not": _each(torch.logical_not),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _both(torch.pow),
    "Reciprocal": _each(torch.reciprocal),
    "ReduceL2": _reduced(lambda x, axes, keeps: torch.linalg.vector_norm(x, 2, axes, keepdim=keeps)),
    "ReduceMax": _reduced(lambda x, axes, keeps: x.amax(axes, keeps)),
    "ReduceMean": _reduced(lambda x, axes, keeps: x.mean(axes, keeps)),
    "ReduceMin": _reduced(lambda x, axes, keeps: x.amin(axes, keeps)),
    "ReduceSum": _reduced(lambda x, axes, keeps: x.sum(axes, keeps)),
    "ReduceSumSquare": _reduced(lambda x, axes, keeps: (x * x).sum(axes, keeps)),
    "Relu": _each(torch.relu),
    "Reshape": _reshape,
    "Selu": _each(torch.selu),
    "Shape": lambda inputs, attributes: torch.tensor(
        list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")]
    ),
    "Sigmoid": _each(torch.sigmoid),
    "Sin": _each(torch.sin),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: torch.softmax(inputs[0], attributes.get("axis", -1)),
    "Softplus": _each(functional.softplus),
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _both(torch.sub),
    "Sum": _all(torch.add),
    "Tanh": _each(torch.tanh),
    "Tile": _both(lambda x, repeats: x.repeat(_ints(repeats))),
    "Transpose": lambda inputs, attributes: inputs[0].permute(
        attributes.get("perm", list(reversed(range(inputs[0].dim()))))
    ),
    "Unsqueeze": _unsqueeze,
    "Where": lambda inputs, _: torch.where(inputs[0], inputs[1], inputs[2]),
}
"""All but `BatchNormalization`, which keeps state, and `Constant`."""
