"""Graphs as networks that can be trained: every operator beside ONNX Runtime, and real encoders there and back."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from models.errors import GraphError
from models.onnx_network import OnnxNetwork, read_network
from models.onnx_operators import OPERATORS
from models.runtime import Session
from training.export.torch_graph import encoder_torch_graph
from training.trainers.encoder import TorchEncoder

SIZE = (8, 8)
RNG = np.random.default_rng(0)


def rows(*shape: int) -> npt.NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*numbers: int) -> npt.NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def graph(nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], opset: int = 18) -> bytes:
    """From `x` (N, 3, 8, 8) to `y`."""
    ends = (
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    weights = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model = helper.make_model(
        helper.make_graph(list(nodes), "g", *ends, initializer=weights), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    data: bytes = model.SerializeToString()
    return data


def chain(*steps: tuple[Any, ...], opset: int = 18, **constants: Any) -> bytes:
    """One operator after the other; a step is its name, its other inputs and its attributes."""
    nodes, before = [], "x"
    for place, (operator, others, attributes) in enumerate(steps):
        after = "y" if place == len(steps) - 1 else f"v{place}"
        nodes.append(helper.make_node(operator, [before, *others], [after], **attributes))
        before = after
    return graph(nodes, constants, opset)


def assert_alike(data: bytes, network: OnnxNetwork | None = None) -> None:
    network = (network or read_network(data, SIZE)).eval()
    session = Session(data, device="cpu")
    for num in (1, 2, 5):
        x = 2.0 * rows(num, 3, 8, 8)
        with torch.no_grad():
            found = network(torch.from_numpy(x)).numpy()
        expected = session.run(x)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, atol=2e-5, rtol=1e-4)


@dataclass(frozen=True)
class Case:
    """A graph of a few operators."""

    steps: tuple[tuple[Any, ...], ...]
    constants: dict[str, Any]
    opset: int = 18


def case(*steps: tuple[Any, ...], opset: int = 18, **constants: Any) -> Case:
    return Case(steps, constants, opset)


POSITIVE: tuple[Any, ...] = ("Exp", (), {})
CASES = {
    "conv": case(("Conv", ("w", "b"), {"pads": [1, 1, 1, 1], "strides": [2, 2]}), w=rows(4, 3, 3, 3), b=rows(4)),
    "conv padded on one side": case(("Conv", ("w",), {"pads": [0, 1, 1, 0]}), w=rows(4, 3, 3, 3)),
    "conv same": case(("Conv", ("w",), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}), w=rows(4, 3, 3, 3)),
    "conv same lower": case(("Conv", ("w",), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}), w=rows(4, 3, 3, 3)),
    "conv of groups": case(("Conv", ("w",), {"group": 3, "dilations": [2, 2]}), w=rows(6, 1, 3, 3)),
    "gemm": case(
        ("Flatten", (), {}),
        ("Gemm", ("w", "b"), {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        w=rows(5, 192),
        b=rows(5),
    ),
    "norm": case(
        ("BatchNormalization", ("s", "b", "m", "v"), {"epsilon": 1e-3}),
        s=rows(3),
        b=rows(3),
        m=rows(3),
        v=np.exp(rows(3)),
    ),
    "layer norm": case(("LayerNormalization", ("s", "b"), {"axis": -1}), s=rows(8), b=rows(8)),
    "means": case(("AveragePool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]})),
    "means with padding": case(
        ("AveragePool", (), {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1})
    ),
    "largest": case(("MaxPool", (), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]})),
    "global": case(("GlobalAveragePool", (), {}), ("Flatten", (), {})),
    "global largest": case(("GlobalMaxPool", (), {}), ("Flatten", (), {})),
    "prelu": case(("PRelu", ("s",), {}), s=rows(3, 1, 1)),
    "clip": case(("Clip", ("low", "high"), {}), low=np.float32(-0.5), high=np.float32(0.5)),
    "clip above": case(("Clip", ("", "high"), {}), high=np.float32(0.5)),
    "clip of old": case(("Clip", (), {"min": -0.5, "max": 0.5}), opset=7),
    "reshape": case(("Reshape", ("s",), {}), s=ints(0, -1)),
    "transpose": case(("Transpose", (), {"perm": [0, 2, 3, 1]})),
    "slice": case(("Slice", ("a", "b", "c", "d"), {}), a=ints(1, -3), b=ints(3, 2**40), c=ints(1, 3), d=ints(1, 2)),
    "gather": case(("Gather", ("i",), {"axis": 1}), i=ints(2, 0, -1)),
    "gather one": case(("Gather", ("i",), {"axis": 1}), i=np.int64(1)),
    "squeeze": case(("Gather", ("i",), {"axis": 1}), ("Squeeze", ("a",), {}), i=ints(1), a=ints(1)),
    "unsqueeze": case(("Unsqueeze", ("a",), {}), a=ints(-1, 1)),
    "expand": case(("GlobalAveragePool", (), {}), ("Expand", ("s",), {}), s=ints(3, 4, 4)),
    "tile": case(("Tile", ("r",), {}), r=ints(1, 2, 1, 1)),
    "pad": case(("Pad", ("p", "v"), {}), p=ints(0, 0, 1, 2, 0, 0, 0, 1), v=np.float32(0.5)),
    "pad mirrored": case(("Pad", ("p",), {"mode": "reflect"}), p=ints(0, 0, 1, 2, 0, 0, 0, 1)),
    "mean over": case(("ReduceMean", ("a",), {"keepdims": 0}), a=ints(2, 3)),
    "mean over, old": case(("ReduceMean", (), {"axes": [1], "keepdims": 1}), opset=13),
    "length over": case(("ReduceL2", ("a",), {}), a=ints(1)),
    "sum over": case(("ReduceSum", ("a",), {"keepdims": 0}), a=ints(1, 2)),
    "squares over": case(("ReduceSumSquare", ("a",), {}), a=ints(1)),
    "largest over": case(("ReduceMax", ("a",), {}), a=ints(1)),
    "least over": case(("ReduceMin", ("a",), {}), a=ints(1)),
    "length one": case(("Flatten", (), {}), ("LpNormalization", (), {"axis": 1, "p": 2})),
    "softmax": case(("Softmax", (), {"axis": 1})),
    "log softmax": case(("LogSoftmax", (), {"axis": -1})),
    "gelu": case(("Gelu", (), {"approximate": "tanh"}), opset=20),
    "matmul": case(("MatMul", ("w",), {}), w=rows(8, 5)),
    "arithmetic": case(
        ("Mul", ("w",), {}),
        ("Sub", ("w",), {}),
        ("Div", ("e",), {}),
        ("Add", ("w",), {}),
        w=rows(3, 1, 1),
        e=np.exp(rows(8)),
    ),
    "limits": case(
        ("Max", ("a",), {}), ("Min", ("b",), {}), ("Sum", ("b",), {}), a=np.float32(-0.5), b=np.float32(0.5)
    ),
    "powers": case(POSITIVE, ("Sqrt", (), {}), ("Pow", ("p",), {}), ("Log", (), {}), p=np.float32(3.0)),
    "cumulative": case(("CumSum", ("a",), {}), a=np.int64(2)),
    "hard": case(("HardSigmoid", (), {"alpha": 0.3, "beta": 0.4}), ("HardSwish", (), {})),
    "leaky": case(("LeakyRelu", (), {"alpha": 0.2}), ("Elu", (), {"alpha": 0.7}), ("Selu", (), {})),
    "in float64": case(("Cast", (), {"to": TensorProto.DOUBLE}), ("Cast", (), {"to": TensorProto.FLOAT})),
}
CASES |= {
    name.lower(): case((name, (), {}))
    for name in "Abs Ceil Cos Dropout Erf Exp Floor Identity Neg Relu Sigmoid Sin Softplus Tanh".split()
}
CASES["reciprocal"] = case(POSITIVE, ("Reciprocal", (), {}))
ELSEWHERE = {"Concat", "ConstantOfShape", "Equal", "Greater", "Less", "Not", "Shape", "Split", "Where"}
"""Tested by graphs of their own."""


@pytest.mark.parametrize("name", CASES)
def test_a_network_does_what_onnx_runtime_does(name: str) -> None:
    one = CASES[name]
    assert_alike(chain(*one.steps, opset=one.opset, **one.constants))


def test_every_operator_is_among_them() -> None:
    used = {step[0] for one in CASES.values() for step in one.steps} | ELSEWHERE
    assert used - {"BatchNormalization"} == set(OPERATORS)


def test_a_picture_goes_several_ways() -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1),
        helper.make_node("Greater", ["b", "zero"], ["is_high"]),
        helper.make_node("Less", ["b", "one"], ["is_low"]),
        helper.make_node("Equal", ["is_high", "is_low"], ["is_between"]),
        helper.make_node("Not", ["is_between"], ["is_not"]),
        helper.make_node("Where", ["is_not", "a", "b"], ["c"]),
        helper.make_node("Concat", ["c", "x", "c"], ["y"], axis=1),
    ]
    constants = {"sizes": ints(1, 2), "zero": np.float32(0.0), "one": np.float32(1.0)}
    assert_alike(graph(nodes, constants))


def test_sizes_that_come_from_the_picture_are_worked_out_for_any_number_of_pictures() -> None:
    """As PyTorch exports `x.view(x.shape[0], -1)`, and what is added to each position."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["num"], axis=0),
        helper.make_node("Unsqueeze", ["num", "first_axis"], ["nums"]),
        helper.make_node("Concat", ["nums", "rest"], ["wanted"], axis=0),
        helper.make_node("Slice", ["shape", "two", "four"], ["extents"]),
        helper.make_node("Concat", ["nums", "single", "extents"], ["of_places"], axis=0),
        helper.make_node(
            "ConstantOfShape", ["of_places"], ["ones"], value=numpy_helper.from_array(np.ones(1, dtype=np.float32))
        ),
        helper.make_node("CumSum", ["ones", "axis"], ["places"]),
        helper.make_node("Add", ["x", "places"], ["placed"]),
        helper.make_node("Reshape", ["placed", "wanted"], ["y"]),
    ]
    constants = {"first": np.int64(0), "first_axis": ints(0), "rest": ints(-1), "two": ints(2), "four": ints(4)}
    data = graph(nodes, constants | {"single": ints(1), "axis": np.int64(3)})
    network = read_network(data, SIZE)
    assert_alike(data, network)
    assert not list(network.parameters()), "before the first layer nothing is trained"


def small(**changes: Any) -> bytes:
    weights = {
        "w": rows(4, 3, 3, 3),
        "m": rows(4),
        "v": np.exp(rows(4)),
        "s": rows(4),
        "u": rows(5, 4),
        "p": rows(4, 1, 1),
    }
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["a"]),
        helper.make_node("Conv", ["a", "w"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "s", "m", "m", "v"], ["c"]),
        helper.make_node("PRelu", ["c", "p"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "u"], ["y"], transB=1),
    ]
    return graph(nodes, {**weights, "mean": rows(3, 1, 1), **changes})


class TestTraining:
    def test_weights_lie_in_layers_and_what_prepares_a_picture_in_none(self) -> None:
        network = read_network(small(), SIZE)
        assert [(layer.operator, len(layer.weights), layer.is_head) for layer in network.layers] == [
            ("Conv", 4, False),
            ("Gemm", 1, True),
        ]
        assert network.num_head == 1
        named = [name for layer in network.layers for name in layer.weights]
        assert sorted(named) == sorted(name for name, _ in network.named_parameters())

    def test_a_step_makes_the_loss_smaller(self) -> None:
        network = read_network(small(), SIZE).train()
        x, wanted = torch.from_numpy(rows(16, 3, 8, 8)), torch.from_numpy(rows(16, 5))
        optimiser = torch.optim.SGD(network.parameters(), 0.05)
        losses = []
        for _ in range(20):
            loss = (network(x) - wanted).pow(2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    @pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 1, 1, 0)])
    @pytest.mark.parametrize("times", [1, 2])
    def test_in_bfloat16_a_strided_channelwise_convolution_is_learned_as_torch_learns_it(
        self, pads: tuple[int, ...], times: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        strides: list[tuple[int, ...]] = []

        def convolve(*inputs: Any, stride: tuple[int, ...], **more: Any) -> Any:
            strides.append(stride)
            return conv2d(*inputs, stride=stride, **more)

        conv2d: Any = torch.nn.functional.conv2d
        monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
        weight, bias = rows(3 * times, 1, 3, 3), rows(3 * times)
        step = ("Conv", ["w", "b"], {"strides": [2, 2], "pads": pads, "group": 3, "kernel_shape": [3, 3]})
        network = read_network(chain(step, ("Flatten", [], {}), w=weight, b=bias), SIZE).train()
        x = torch.from_numpy(rows(4, 3, 8, 8)).requires_grad_()
        kernel, shift = (torch.from_numpy(one).requires_grad_() for one in (weight, bias))
        top, left, bottom, right = pads
        strides.clear()
        with torch.autocast("cpu", torch.bfloat16):
            found = network(x)
            around = torch.nn.functional.pad(x, (left, right, top, bottom))
            wanted = conv2d(around, kernel, shift, stride=2, groups=3).flatten(1)
        # At every place, of which every second is taken.
        assert strides == [(1, 1)]
        torch.testing.assert_close(found, wanted)
        learned = [network.get_parameter(name) for name in network.layers[0].weights]
        inputs = {one.shape: one for one in (kernel, shift)}
        of_network = torch.autograd.grad(found.float().square().sum(), [x, *learned])
        of_torch = torch.autograd.grad(wanted.float().square().sum(), [x, *(inputs[one.shape] for one in learned)])
        for one, other in zip(of_network, of_torch, strict=True):
            torch.testing.assert_close(one, other, rtol=0.05, atol=0.1)

    def test_what_is_exported_has_the_strides_that_came(self) -> None:
        step = ("Conv", ["w"], {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": 3, "kernel_shape": [3, 3]})
        network = read_network(chain(step, ("Flatten", [], {}), w=rows(3, 1, 3, 3)), SIZE).train()
        with torch.autocast("cpu", torch.bfloat16):
            network(torch.zeros(2, 3, 8, 8)).sum().backward()
        nodes = onnx.load_from_string(encoder_torch_graph(TorchEncoder(network), SIZE)).graph.node
        (conv,) = [node for node in nodes if node.op_type == "Conv"]
        assert helper.get_node_attr_value(conv, "strides") == [2, 2]
        assert "Slice" not in {node.op_type for node in nodes}

    @pytest.mark.parametrize(
        ("strides", "pads", "size"), [((2, 2), (1, 1, 1, 1), 3), ((2, 1), (0, 1, 1, 0), 3), ((3, 2), (0, 0, 0, 0), 2)]
    )
    def test_a_strided_channelwise_convolution_is_learned_as_torch_learns_it(
        self, strides: tuple[int, int], pads: tuple[int, ...], size: int
    ) -> None:
        weight = rows(3, 1, size, size)
        step = ("Conv", ["w"], {"strides": strides, "pads": pads, "group": 3, "kernel_shape": [size, size]})
        network = read_network(chain(step, ("Flatten", [], {}), w=weight), SIZE).train()
        kernel, x = torch.from_numpy(weight).requires_grad_(), torch.from_numpy(rows(4, 3, 8, 8))
        top, left, bottom, right = pads
        around = torch.nn.functional.pad(x, (left, right, top, bottom))
        wanted = torch.nn.functional.conv2d(around, kernel, stride=strides, groups=3).flatten(1)
        found = network(x)
        torch.testing.assert_close(found, wanted)
        found.square().sum().backward()
        wanted.square().sum().backward()
        torch.testing.assert_close(network.get_parameter(network.layers[0].weights[0]).grad, kernel.grad)

    def test_the_layers_before_those_that_are_trained_stay_as_they_are(self) -> None:
        network = read_network(small(), SIZE).train()
        network.train_last(1)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        optimiser = torch.optim.SGD(network.parameters(), 0.1)
        network(torch.from_numpy(rows(16, 3, 8, 8))).pow(2).mean().backward()
        optimiser.step()
        changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == set(network.layers[-1].weights)

    def test_statistics_are_learnt_where_their_layer_is(self) -> None:
        network = read_network(small(), SIZE).train()
        mean = network.get_buffer("norm_0.running_mean").clone()
        network(torch.from_numpy(rows(16, 3, 8, 8)))
        assert not torch.equal(network.get_buffer("norm_0.running_mean"), mean)
        mean = network.get_buffer("norm_0.running_mean").clone()
        network.eval()(torch.from_numpy(rows(16, 3, 8, 8)))
        assert torch.equal(network.get_buffer("norm_0.running_mean"), mean)

    def test_two_networks_of_one_graph_share_nothing(self) -> None:
        data = small()
        one, other = read_network(data, SIZE), read_network(data, SIZE)
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.zero_()
        assert_alike(data, other)


class TestWhatCannotBeTrained:
    def test_an_unknown_operator_is_named(self) -> None:
        with pytest.raises(GraphError, match=r"cannot be trained here, as it uses DepthToSpace, Resize"):
            read_network(
                chain(
                    ("DepthToSpace", (), {"blocksize": 1}),
                    ("Resize", ("", "s"), {}),
                    s=np.array([1.0, 1.0, 2.0, 2.0], dtype=np.float32),
                ),
                SIZE,
            )

    def test_sizes_that_depend_on_what_is_in_the_picture_are_refused(self) -> None:
        nodes = [
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["num"], to=TensorProto.INT64),
            helper.make_node("Abs", ["num"], ["positive"]),
            helper.make_node("Unsqueeze", ["positive", "zero"], ["wanted"]),
            helper.make_node("Sub", ["wanted", "wanted"], ["nothing"]),
            helper.make_node("Add", ["nothing", "extents"], ["sizes"]),
            helper.make_node("Reshape", ["x", "sizes"], ["y"]),
        ]
        with pytest.raises(GraphError, match="Reshape takes sizes from what is in the picture"):
            read_network(graph(nodes, {"zero": ints(0), "extents": ints(-1, 3, 8, 8)}), SIZE)

    def test_what_differs_with_the_number_of_pictures_is_refused(self) -> None:
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Cast", ["shape"], ["extents"], to=TensorProto.FLOAT),
            helper.make_node("Gather", ["extents", "first"], ["num"], axis=0),
            helper.make_node("Mul", ["x", "num"], ["y"]),
        ]
        with pytest.raises(GraphError, match="Mul does something else with more pictures"):
            read_network(graph(nodes, {"first": ints(0)}), SIZE)

    def test_what_does_not_look_at_the_picture_is_refused(self) -> None:
        nodes = [helper.make_node("Shape", ["x"], ["shape"]), helper.make_node("Cast", ["shape"], ["y"], to=1)]
        with pytest.raises(GraphError, match="does not depend on the picture"):
            read_network(graph(nodes, {}), SIZE)

    def test_a_size_that_does_not_fit_is_told(self) -> None:
        data = chain(("Flatten", (), {}), ("Gemm", ("w",), {}), w=rows(192, 5))
        with pytest.raises(GraphError, match="Gemm cannot be trained here"):
            read_network(data, (16, 16))


ENCODERS = {
    "mobilefacenet-128": (51, 2),
    "mobileface-v2-256": (38, 1),
    "mobileface-v3-256": (18, 1),
    "reid-retail-0095-256": (80, 2),
    "edgeface-xxs-512": (50, 1),
}
"""Layers, and how many of them are the head."""


@dataclass(frozen=True)
class _Trained:
    """What is exported."""

    network: OnnxNetwork


@pytest.mark.real
@pytest.mark.parametrize("name", ENCODERS)
def test_a_real_encoder_becomes_a_network_and_a_graph_again(name: str, shared: Path) -> None:
    entries = json.loads((shared / "encoders" / "encoders.json").read_text())["encoders"]
    entry = next(one for one in entries if one["name"] == name)
    data = (shared / "encoders" / entry["file"]).read_bytes()
    (width, height), num = entry["resize"], 3
    network = read_network(data, (width, height), what=name).eval()
    assert (len(network.layers), network.num_head) == ENCODERS[name]
    pixels = np.random.default_rng(1).uniform(0, 255, (num, 3, height, width))
    mean, std = (np.array(entry[part])[:, None, None] for part in ("mean", "std"))
    x = ((pixels - mean) / std).astype(np.float32)
    expected = unit(Session(data, device="cpu").run(x))
    assert np.abs(features_of(network, x) - expected).max() < 1e-4
    # One step of the head, and back.
    network.train_last(network.num_head)
    optimiser = torch.optim.SGD([one for one in network.parameters() if one.requires_grad], 1e-3)
    network.train()(torch.from_numpy(x)).pow(2).mean().backward()
    optimiser.step()
    network.eval()
    again = Session(encoder_torch_graph(_Trained(network), (width, height)), device="cpu")
    trained = features_of(network, x)
    assert np.abs(trained - expected).max() > 0
    assert np.abs(unit(again.run(x)) - trained).max() < 1e-4
    assert np.abs(unit(again.run(x[:1])) - trained[:1]).max() < 1e-4


def unit(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    normed: npt.NDArray[np.float32] = features / np.linalg.norm(features, axis=1, keepdims=True)
    return normed


def features_of(network: OnnxNetwork, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    with torch.no_grad():
        return unit(network(torch.from_numpy(x)).numpy())
