"""An encoder's ONNX graph with its output flattened and L2-normalised inside: `feature` (N, D), dynamic batch.

An encoder that uses the name `feature` itself keeps it; the output is then called otherwise, and the manifest says how.
"""

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from models.errors import ContractError
from models.features import unit_features
from models.graph import check_graph, parse_model
from models.runtime import InferenceError, Session
from training.data.encoders import Encoder
from training.errors import EncoderError, ExportError

_AXES_AS_INPUT_SINCE = 18
_SMALLEST_NORM = 1e-12


def encoder_graph(encoder: Encoder) -> bytes:
    """The encoder with normalisation appended, checked against the encoder itself.

    Raises `EncoderError` where it cannot run or puts out another dimension, `ExportError` where the numbers differ.
    """
    where = f"encoder {encoder.space.name}"
    try:
        signature = check_graph(encoder.model, what=where)
    except ContractError as failure:
        raise EncoderError(str(failure)) from None
    model = parse_model(encoder.model)
    graph = model.graph
    taken = _names(graph)
    prefix = "facebridge_"
    while any(name.startswith(prefix) for name in taken):
        prefix = "_" + prefix
    output = "feature" if "feature" not in taken else prefix + "feature"
    raw = graph.output[0].name
    axis_input = [prefix + "last_axis"] if signature.opset >= _AXES_AS_INPUT_SINCE else []
    norm = helper.make_node("ReduceL2", [prefix + "flat", *axis_input], [prefix + "norm"], keepdims=1)
    if not axis_input:
        norm.attribute.append(helper.make_attribute("axes", [-1]))
    graph.node.extend(
        [
            helper.make_node("Flatten", [raw], [prefix + "flat"], axis=1),
            norm,
            helper.make_node("Max", [prefix + "norm", prefix + "smallest_norm"], [prefix + "scale"]),
            helper.make_node("Div", [prefix + "flat", prefix + "scale"], [output]),
        ]
    )
    graph.initializer.append(
        numpy_helper.from_array(np.array(_SMALLEST_NORM, dtype=np.float32), prefix + "smallest_norm")
    )
    if axis_input:
        graph.initializer.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), prefix + "last_axis"))
    # A graph made for one batch size often runs with any once it no longer says so; the check below tells.
    inputs = [value for value in graph.input if value.name == signature.input_name]
    inputs[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", encoder.space.dimension]))
    data: bytes = model.SerializeToString()
    _check(data, encoder, where)
    return data


def _names(graph: GraphProto) -> set[str]:
    of_nodes = (name for node in graph.node for name in (*node.input, *node.output))
    return {*of_nodes, *(value.name for value in graph.input), *(tensor.name for tensor in graph.initializer)}


def _check(data: bytes, encoder: Encoder, where: str) -> None:
    width, height = encoder.preparation.resize
    pictures = np.random.default_rng(0).uniform(0, 255, (3, 3, height, width)).astype(np.float32)
    pictures -= np.array(encoder.preparation.mean, dtype=np.float32)[:, None, None]
    pictures /= np.array(encoder.preparation.std, dtype=np.float32)[:, None, None]
    try:
        original = Session(encoder.model, device="cpu")
        one_by_one = original.fixed_batch == 1
        raw = np.stack([original.run(row[None]) for row in pictures]) if one_by_one else original.run(pictures)
        feature = Session(data, device="cpu").run(pictures)
    except InferenceError as failure:
        raise EncoderError(
            f"{where}: {failure}; compare its input with 'resize', and export it for batches of any size"
        ) from None
    if feature.shape != (3, encoder.space.dimension):
        raise EncoderError(
            f"{where}: puts out {raw.size // 3} numbers for a picture, its description says {encoder.space.dimension}"
        )
    difference = float(np.abs(unit_features(raw.reshape(3, -1)) - feature).max())
    if not difference <= 1e-5:
        raise ExportError(f"{where}: normalised in the graph it differs by {difference:.1e}")
