"""What an ONNX graph may hold before it is run: plain arithmetic, inside one file, from one input to one output; of a sampler
from a feature and noise.

No control flow (a `Loop` may never return), no custom domains, no local functions, no data outside the file.
"""

from dataclasses import dataclass

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, ModelProto, TensorProto

from models.errors import GraphError

ALLOWED_OPERATORS = frozenset(
    "Abs Add ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv "
    "ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Dropout Elu Equal Erf Exp Expand Flatten Floor Gather "
    "Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GroupNormalization HardSigmoid HardSwish Identity "
    "InstanceNormalization LayerNormalization LeakyRelu Less Log LogSoftmax LpNormalization MatMul Max MaxPool Min "
    "Mul Neg Not Pad Pow PRelu QuantizeLinear Reciprocal ReduceL2 ReduceMax ReduceMean ReduceMin ReduceSum "
    "ReduceSumSquare Relu Reshape Resize Selu Shape Sigmoid Sin Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Swish Tanh "
    "Tile Transpose Unsqueeze Where".split()
)
MAX_NODES = 20_000
NOISE = "noise"
"""The name of a sampler's second input."""


@dataclass(frozen=True, slots=True)
class GraphSignature:
    """The one input and the one output of a checked graph, besides noise."""

    opset: int
    input_name: str
    input_shape: tuple[int | None, ...]
    """None where an extent is free."""
    output_name: str
    output_shape: tuple[int | None, ...]
    noise_shape: tuple[int | None, ...] | None = None
    """Of the input `noise`, where the graph takes any."""


def check_graph(data: bytes, *, what: str = "model.onnx", takes_noise: bool = False) -> GraphSignature:
    """Parse and check a model; with `takes_noise` of two inputs, `noise` the second. Raises `GraphError` saying what is not
    allowed.
    """
    model = parse_model(data, what=what)
    graph = model.graph
    if model.functions or model.training_info:
        raise GraphError(f"{what}: defines functions or a training graph of its own, which are not allowed")
    if len(graph.node) > MAX_NODES:
        raise GraphError(f"{what}: has more than {MAX_NODES} nodes")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise GraphError(f"{what}: uses an operator outside the ONNX standard, which is not allowed")
        if node.op_type not in ALLOWED_OPERATORS:
            raise GraphError(f"{what}: uses an operator that is not allowed ({_printable(node.op_type)})")
        _check_attributes(list(node.attribute), what)
    for tensor in graph.initializer:
        _check_tensor(tensor, what)
    if graph.sparse_initializer:
        raise GraphError(f"{what}: uses sparse initialisers, which are not allowed")
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < 1:
        raise GraphError(f"{what}: states no opset; it was cut short, or export it again")
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    noise = [value for value in inputs if takes_noise and value.name == NOISE]
    inputs = [value for value in inputs if value not in noise]
    if takes_noise and len(noise) != 1:
        raise GraphError(f"{what}: must have an input named {NOISE!r}")
    if len(inputs) != 1 or len(graph.output) != 1:
        raise GraphError(f"{what}: must have one input and one output, has {len(inputs)} and {len(graph.output)}")
    if not (_is_text(inputs[0].name) and _is_text(graph.output[0].name)):
        raise GraphError(f"{what}: the names of its input and output must be UTF-8")
    noise_shape = _shape(noise[0]) if noise else None
    output = graph.output[0]
    return GraphSignature(opset, inputs[0].name, _shape(inputs[0]), output.name, _shape(output), noise_shape)


def parse_model(data: bytes, *, what: str = "model.onnx") -> ModelProto:
    """The model in `data`, nothing fetched from anywhere else. Raises `GraphError`."""
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise GraphError(f"{what}: not an ONNX model, or cut short") from None
    if not model.graph.node:
        raise GraphError(f"{what}: not an ONNX model, or an empty one")
    return model


def _check_attributes(attributes: list[AttributeProto], what: str) -> None:
    for attribute in attributes:
        if attribute.HasField("g") or attribute.graphs:
            raise GraphError(f"{what}: uses control flow, which is not allowed")
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
            raise GraphError(f"{what}: uses sparse tensors, which are not allowed")
        for tensor in (attribute.t, *attribute.tensors):
            _check_tensor(tensor, what)


def _check_tensor(tensor: TensorProto, what: str) -> None:
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise GraphError(f"{what}: keeps weights outside the file, which is not allowed; save it as one file")


def _shape(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    extents = value.type.tensor_type.shape.dim
    return tuple(extent.dim_value if extent.HasField("dim_value") else None for extent in extents)


def _is_text(name: object) -> bool:
    """Protobuf gives a string that is not UTF-8 as bytes."""
    return isinstance(name, str)


def _printable(name: object) -> str:
    return "".join(character for character in str(name) if character.isalnum())[:40]
