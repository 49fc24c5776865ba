"""A linear map as an ONNX graph: `source_feature` (N, S) to `target_feature` (N, T), normalisation inside."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.linear import LinearMap
from training.export.opset import IR_VERSION, OPSET

SMALLEST_NORM = 1e-12


def linear_graph(model: LinearMap, num_source: int) -> bytes:
    """The map from `num_source` dimensions as a serialised ONNX model."""
    num_target = model.weight_ST.shape[1]
    nodes = [
        helper.make_node("ReduceL2", ["source_feature", "last_axis"], ["source_norm"], keepdims=1),
        helper.make_node("Max", ["source_norm", "smallest_norm"], ["source_scale"]),
        helper.make_node("Div", ["source_feature", "source_scale"], ["unit_source"]),
        helper.make_node("Gemm", ["unit_source", "weight", "bias"], ["raw_target"]),
        helper.make_node("ReduceL2", ["raw_target", "last_axis"], ["target_norm"], keepdims=1),
        helper.make_node("Max", ["target_norm", "smallest_norm"], ["target_scale"]),
        helper.make_node("Div", ["raw_target", "target_scale"], ["target_feature"]),
    ]
    weights = [
        numpy_helper.from_array(model.weight_ST, "weight"),
        numpy_helper.from_array(model.bias_T, "bias"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "last_axis"),
        numpy_helper.from_array(np.array(SMALLEST_NORM, dtype=np.float32), "smallest_norm"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear-translator",
        [helper.make_tensor_value_info("source_feature", TensorProto.FLOAT, ["batch", num_source])],
        [helper.make_tensor_value_info("target_feature", TensorProto.FLOAT, ["batch", num_target])],
        weights,
    )
    opset = helper.make_opsetid("", OPSET)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()
    return data
