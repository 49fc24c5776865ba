import json
import os
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.errors import GraphError
from models.graph import MAX_NODES, GraphSignature, check_graph, parse_model

REPOSITORY = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("FACEBRIDGE_SHARED") or REPOSITORY.parent / "shared")
ENCODERS = ("mobilefacenet-128", "mobileface-v2-256", "mobileface-v3-256", "reid-retail-0095-256", "edgeface-xxs-512")


def refused(model: onnx.ModelProto, match: str) -> str:
    with pytest.raises(GraphError, match=match) as failure:
        check_graph(model.SerializeToString())
    message = str(failure.value)
    assert message.startswith("model.onnx: ")
    assert message.isprintable()
    return message


def external(tensor: TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"


def branch() -> onnx.GraphProto:
    return helper.make_graph(
        [helper.make_node("Identity", ["x"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )


def test_a_plain_graph_passes_with_its_signature(linear_model: onnx.ModelProto) -> None:
    assert check_graph(linear_model.SerializeToString()) == GraphSignature(18, "x", (None, 4), "y", (None, 3))


def test_the_opset_is_that_of_the_standard_domain_under_both_its_names(linear_model: onnx.ModelProto) -> None:
    linear_model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 99))
    assert check_graph(linear_model.SerializeToString()).opset == 18
    linear_model.opset_import[0].domain = "ai.onnx"
    linear_model.graph.node[0].domain = "ai.onnx"
    assert check_graph(linear_model.SerializeToString()).opset == 18


def test_weights_that_are_inputs_too_are_not_counted_as_inputs(linear_model: onnx.ModelProto) -> None:
    linear_model.graph.input.append(helper.make_tensor_value_info("W", TensorProto.FLOAT, [4, 3]))
    assert check_graph(linear_model.SerializeToString()).input_name == "x"


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "evil\nline", "AI.ONNX"])
def test_a_custom_domain_is_refused(linear_model: onnx.ModelProto, domain: str) -> None:
    linear_model.graph.node[0].domain = domain
    linear_model.opset_import.append(helper.make_opsetid(domain, 1))
    refused(linear_model, "outside the ONNX standard")


@pytest.mark.parametrize("operator", ["Loop", "If", "Scan"])
def test_control_flow_is_refused(linear_model: onnx.ModelProto, operator: str) -> None:
    linear_model.graph.node.append(helper.make_node(operator, ["x"], ["z"], body=branch()))
    refused(linear_model, f"not allowed .{operator}.")


def test_a_graph_hidden_in_an_attribute_of_an_allowed_operator_is_refused(linear_model: onnx.ModelProto) -> None:
    linear_model.graph.node.append(helper.make_node("Relu", ["x"], ["z"], body=branch()))
    refused(linear_model, "control flow")


def test_graphs_hidden_in_a_list_attribute_are_refused(linear_model: onnx.ModelProto) -> None:
    linear_model.graph.node.append(helper.make_node("Relu", ["x"], ["z"], bodies=[branch(), branch()]))
    refused(linear_model, "control flow")


@pytest.mark.parametrize(
    "operator",
    ["RandomNormal", "NonZero", "StringNormalizer", "TfIdfVectorizer", "SequenceInsert", "relu", "", "Rélu\n"],
)
def test_an_operator_that_is_not_on_the_list_is_refused(linear_model: onnx.ModelProto, operator: str) -> None:
    linear_model.graph.node[0].op_type = operator
    refused(linear_model, "operator that is not allowed")


def test_a_refused_operators_name_is_cut(linear_model: onnx.ModelProto) -> None:
    linear_model.graph.node[0].op_type = "A" * 10_000
    assert len(refused(linear_model, "operator that is not allowed")) < 150


def test_external_data_of_an_initialiser_is_refused(linear_model: onnx.ModelProto) -> None:
    external(linear_model.graph.initializer[0])
    assert "passwd" not in refused(linear_model, "weights outside the file")


def test_an_external_location_without_the_flag_is_refused(linear_model: onnx.ModelProto) -> None:
    external(linear_model.graph.initializer[0])
    linear_model.graph.initializer[0].data_location = TensorProto.DEFAULT
    refused(linear_model, "weights outside the file")


@pytest.mark.parametrize("as_list", [False, True])
def test_external_data_of_a_constant_is_refused(linear_model: onnx.ModelProto, *, as_list: bool) -> None:
    tensor = numpy_helper.from_array(np.zeros(3, dtype=np.float32), "c")
    external(tensor)
    node = helper.make_node("Constant", [], ["c"])
    attribute = node.attribute.add()
    attribute.name = "value"
    attribute.type = onnx.AttributeProto.TENSORS if as_list else onnx.AttributeProto.TENSOR
    if as_list:
        attribute.tensors.append(tensor)
    else:
        attribute.t.CopyFrom(tensor)
    linear_model.graph.node.append(node)
    refused(linear_model, "weights outside the file")


@pytest.mark.parametrize("as_list", [False, True])
def test_external_data_of_a_sparse_constant_is_refused(linear_model: onnx.ModelProto, *, as_list: bool) -> None:
    values = numpy_helper.from_array(np.ones(1, dtype=np.float32), "v")
    external(values)
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.zeros(1, dtype=np.int64)), [4])
    node = helper.make_node("Constant", [], ["c"])
    attribute = node.attribute.add()
    attribute.name = "sparse_value"
    attribute.type = onnx.AttributeProto.SPARSE_TENSORS if as_list else onnx.AttributeProto.SPARSE_TENSOR
    if as_list:
        attribute.sparse_tensors.append(sparse)
    else:
        attribute.sparse_tensor.CopyFrom(sparse)
    linear_model.graph.node.append(node)
    refused(linear_model, "sparse")


def test_sparse_initialisers_are_refused(linear_model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, dtype=np.float32), "v")
    indices = numpy_helper.from_array(np.zeros(1, dtype=np.int64))
    linear_model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4]))
    refused(linear_model, "sparse")


def test_local_functions_are_refused(linear_model: onnx.ModelProto) -> None:
    function = helper.make_function(
        "local", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    linear_model.functions.append(function)
    refused(linear_model, "functions")


def test_a_training_graph_is_refused(linear_model: onnx.ModelProto) -> None:
    linear_model.training_info.add().algorithm.CopyFrom(branch())
    refused(linear_model, "training")


def test_two_inputs_or_two_outputs_or_none_are_refused(linear_model: onnx.ModelProto) -> None:
    graph = linear_model.graph
    graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, ["B", 4]))
    refused(linear_model, "has 2 and 1")
    del graph.input[:]
    refused(linear_model, "has 0 and 1")
    graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4]))
    graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 4]))
    refused(linear_model, "has 1 and 2")
    del graph.output[:]
    refused(linear_model, "has 1 and 0")


def test_a_model_without_nodes_is_refused(linear_model: onnx.ModelProto) -> None:
    del linear_model.graph.node[:]
    refused(linear_model, "empty")


def test_too_many_nodes_are_refused(linear_model: onnx.ModelProto) -> None:
    linear_model.graph.node.extend(helper.make_node("Relu", ["x"], ["z"]) for _ in range(MAX_NODES))
    refused(linear_model, "more than 20000 nodes")


def test_a_model_that_states_no_opset_is_refused(linear_model: onnx.ModelProto) -> None:
    del linear_model.opset_import[:]
    refused(linear_model, "opset")
    linear_model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    refused(linear_model, "opset")


def test_names_that_are_not_utf8_are_refused(linear_model: onnx.ModelProto) -> None:
    data = linear_model.SerializeToString()
    for good, bad in ((b"MatMul", b"Mat\xfful"), (b"\x0a\x01x", b"\x0a\x01\xff"), (b"\x0a\x01y", b"\x0a\x01\xff")):
        assert good in data
        with pytest.raises(GraphError):
            check_graph(data.replace(good, bad))


def test_every_truncation_is_refused(linear_model: onnx.ModelProto) -> None:
    data = linear_model.SerializeToString()
    for length in range(len(data)):
        with pytest.raises(GraphError):
            check_graph(data[:length])


def test_every_single_bit_flip_gives_a_signature_or_graph_error(linear_model: onnx.ModelProto) -> None:
    data = linear_model.SerializeToString()
    num_refused = 0
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            try:
                signature = check_graph(bytes(damaged))
            except GraphError:
                num_refused += 1
            else:
                assert isinstance(signature.input_name, str)
                assert isinstance(signature.output_name, str)
    assert num_refused > len(data)


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 100, b"PK\x03\x04", b"{}", b"\x0a" * 5000])
def test_what_is_not_a_model_is_refused(data: bytes) -> None:
    with pytest.raises(GraphError, match=r"^upload: not an ONNX model"):
        parse_model(data, what="upload")


def test_random_bytes_are_refused() -> None:
    dice = random.Random(0)
    for _ in range(300):
        with pytest.raises(GraphError):
            check_graph(dice.randbytes(dice.randrange(200)))


def test_deep_nesting_is_refused(linear_model: onnx.ModelProto) -> None:
    def field(number: int, payload: bytes) -> bytes:
        length, varint = len(payload), bytearray()
        while length > 127:
            varint.append(length & 127 | 128)
            length >>= 7
        return bytes([number << 3 | 2]) + bytes([*varint, length]) + payload

    graph = linear_model.graph.SerializeToString()
    for _ in range(400):  # graph > node (1) > attribute (5) > graph (6)
        graph = field(1, field(5, field(6, graph)))
    with pytest.raises(GraphError):
        check_graph(field(7, graph))


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "encoders").is_dir(), reason="the real encoders are not on this machine")
@pytest.mark.parametrize("name", ENCODERS)
def test_the_real_encoders_are_allowed(name: str) -> None:
    entries = json.loads((SHARED / "encoders" / "encoders.json").read_text())["encoders"]
    (entry,) = (entry for entry in entries if entry["name"] == name)
    data = (SHARED / "encoders" / entry["file"]).read_bytes()
    signature = check_graph(data, what=entry["file"])
    width, height = entry["resize"]
    model = onnx.load_model_from_string(data)
    assert signature.opset == max(opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx"))
    assert all(known in (None, said) for known, said in zip(signature.input_shape[1:], (3, height, width), strict=True))
    assert signature.output_shape[-1] in (None, entry["dim"])


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "encoders").is_dir(), reason="the real encoders are not on this machine")
def test_encoders_json_names_the_five_that_are_tested() -> None:
    entries = json.loads((SHARED / "encoders" / "encoders.json").read_text())["encoders"]
    assert sorted(entry["name"] for entry in entries) == sorted(ENCODERS)
