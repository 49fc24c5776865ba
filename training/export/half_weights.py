"""An ONNX graph whose weights are stored as float16 and computed with as float32: half the file, the same speed.

ONNX Runtime widens the weights once, when the model is loaded. A bundle's figures are of the stored file; its `parity` alone
is of the graph before this step, which is what it guards.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from models.graph import parse_model

SMALLEST = 256
"""Tensors of fewer numbers stay as they are: they weigh nothing."""


def with_half_weights(data: bytes) -> bytes:
    """The same graph, its large float32 weights rounded to float16. Others than finite halves stay as they are."""
    model = parse_model(data)
    graph = model.graph
    kept, casts = [], []
    for tensor in graph.initializer:
        weight = numpy_helper.to_array(tensor) if tensor.data_type == TensorProto.FLOAT else np.empty(0)
        if weight.size < SMALLEST or not np.abs(weight).max() <= np.finfo(np.float16).max:
            kept.append(tensor)
            continue
        stored = f"{tensor.name}_float16"
        kept.append(numpy_helper.from_array(weight.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(kept)
    graph.node.extend([*casts, *nodes])
    result: bytes = model.SerializeToString()
    return result
