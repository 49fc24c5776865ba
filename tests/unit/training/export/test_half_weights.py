"""Weights as float16 on graphs made by hand; numpy's own rounding to half is the oracle."""

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import GraphError
from models.graph import check_graph
from models.linear import LinearMap
from models.runtime import Session
from training.export.half_weights import SMALLEST, with_half_weights
from training.export.linear_graph import linear_graph

FloatArray = npt.NDArray[np.float32]

LARGEST_HALF = 65504.0


def random_weight(rows: int, columns: int, seed: int = 0) -> FloatArray:
    weight: FloatArray = np.random.default_rng(seed).normal(scale=rows**-0.5, size=(rows, columns)).astype(np.float32)
    return weight


def graph(weight: FloatArray, bias: FloatArray) -> bytes:
    """`feature` (N, rows) times the weight and a bias, reshaped by a tensor of whole numbers."""
    rows, columns = weight.shape
    made = helper.make_graph(
        [
            helper.make_node("Gemm", ["feature", "weight", "bias"], ["wide"]),
            helper.make_node("Reshape", ["wide", "shape"], ["out"]),
        ],
        "by-hand",
        [helper.make_tensor_value_info("feature", TensorProto.FLOAT, ["batch", rows])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", columns])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([-1, columns], dtype=np.int64), "shape"),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def stored(data: bytes) -> dict[str, npt.NDArray[np.generic]]:
    return {
        tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load_model_from_string(data).graph.initializer
    }


def run(data: bytes, rows: FloatArray) -> FloatArray:
    return Session(data, device="cpu").run(rows)


@pytest.fixture
def weight() -> FloatArray:
    return random_weight(64, 48)


@pytest.fixture
def bias() -> FloatArray:
    return np.linspace(-1, 1, 48, dtype=np.float32)


def test_the_file_is_half_as_large_and_allowed_in_a_bundle(weight: FloatArray, bias: FloatArray) -> None:
    whole = graph(weight, bias)
    halved = with_half_weights(whole)
    # 64 x 48 numbers of two bytes less; a little for the names.
    assert len(whole) - len(halved) == pytest.approx(2 * 64 * 48, abs=100)
    assert check_graph(halved) == check_graph(whole)
    onnx.checker.check_model(onnx.load_model_from_string(halved), full_check=True)


def test_it_computes_in_float32_with_the_rounded_weights(weight: FloatArray, bias: FloatArray) -> None:
    rows = random_weight(64, 7, seed=1).T.copy()
    answer = run(with_half_weights(graph(weight, bias)), rows)
    assert answer.dtype == np.float32
    expected = rows.astype(np.float64) @ weight.astype(np.float16).astype(np.float64) + bias
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    assert np.abs(answer - run(graph(weight, bias), rows)).max() < 2e-3


def test_small_tensors_and_whole_numbers_are_not_touched(weight: FloatArray, bias: FloatArray) -> None:
    whole, halved = stored(graph(weight, bias)), stored(with_half_weights(graph(weight, bias)))
    assert {tensor.dtype for tensor in halved.values()} == {np.dtype(t) for t in (np.float16, np.float32, np.int64)}
    for name in ("bias", "shape"):
        np.testing.assert_array_equal(halved[name], whole[name])
        assert halved[name].dtype == whole[name].dtype


@pytest.mark.parametrize(("columns", "is_halved"), [(15, False), (16, True)])
def test_a_tensor_is_large_from_so_many_numbers_on(columns: int, *, is_halved: bool) -> None:
    assert SMALLEST == 256 == 16 * 16
    halved = stored(with_half_weights(graph(random_weight(16, columns), np.zeros(columns, dtype=np.float32))))
    assert (np.float16 in {tensor.dtype.type for tensor in halved.values()}) is is_halved


@pytest.mark.parametrize("value", [65505.0, 70_000.0, -1e30, np.inf, -np.inf])
def test_a_tensor_with_a_number_that_no_half_holds_stays_as_it_is(
    weight: FloatArray, bias: FloatArray, value: float
) -> None:
    weight[3, 5] = value
    assert stored(with_half_weights(graph(weight, bias))).keys() == {"weight", "bias", "shape"}
    np.testing.assert_array_equal(stored(with_half_weights(graph(weight, bias)))["weight"], weight)


@pytest.mark.parametrize("value", [LARGEST_HALF, -LARGEST_HALF])
def test_the_largest_half_is_one(weight: FloatArray, bias: FloatArray, value: float) -> None:
    weight[3, 5] = value
    (half,) = (t for t in stored(with_half_weights(graph(weight, bias))).values() if t.dtype == np.float16)
    assert half[3, 5] == value


def test_doing_it_twice_changes_nothing_more(weight: FloatArray, bias: FloatArray) -> None:
    once = with_half_weights(graph(weight, bias))
    assert stored(with_half_weights(once)).keys() == stored(once).keys()
    rows = random_weight(64, 3, seed=2).T.copy()
    np.testing.assert_array_equal(run(with_half_weights(once), rows), run(once, rows))


def test_a_translators_features_stay_within_two_thousandths_and_of_length_one() -> None:
    linear = linear_graph(LinearMap(random_weight(128, 96), np.zeros(96, dtype=np.float32)), 128)
    halved = with_half_weights(linear)
    rows = random_weight(128, 20, seed=1).T.copy()
    assert len(halved) < 0.52 * len(linear)
    answer = run(halved, rows)
    assert np.abs(answer - run(linear, rows)).max() < 2e-3
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1.0, atol=1e-6)


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="not an ONNX model"):
        with_half_weights(b"words")


def test_a_tensor_that_holds_nan_stays_as_it_is() -> None:
    weight = random_weight(32, 16)
    weight[0, 0] = np.nan
    model = onnx.load_model_from_string(with_half_weights(graph(weight, np.zeros(16, dtype=np.float32))))
    assert {tensor.name for tensor in model.graph.initializer} == {"weight", "bias", "shape"}
