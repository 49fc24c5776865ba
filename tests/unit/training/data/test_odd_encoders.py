"""Models that load, and are no encoders: one line says why, whether pictures are extracted or the model packaged."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from training.data.encoders import Encoder, find_encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.sources import open_source
from training.errors import EncoderError
from training.export.encoder_graph import encoder_graph

CPU = ExtractionSettings("cpu", batch_size=3, num_workers=2)


@pytest.fixture
def encoder(encoder_file: Path) -> Encoder:
    return find_encoder(str(encoder_file), None)


def refused(encoder: Encoder, folder: Path, partial: Path, match: str) -> None:
    with pytest.raises(EncoderError, match=match) as failure:
        extract_features(encoder, open_source(folder), partial, CPU)
    assert "\n" not in str(failure.value)


def _of_float(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3, 112, 112])


def encoder_of(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], outputs: list[tuple[str, int]]) -> bytes:
    values = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs]
    graph = helper.make_graph(nodes, "odd", inputs, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


FLATTEN = helper.make_node("Flatten", ["picture"], ["raw"])
WORDS = helper.make_node("Constant", [], ["words"], value_strings=["a", "b"])
ODD_ENCODERS = {
    "two inputs": (
        encoder_of(
            [helper.make_node("Add", ["picture", "more"], ["raw"])],
            [_of_float("picture"), _of_float("more")],
            [("raw", 1)],
        ),
        r"takes tensor\(float\), tensor\(float\) and gives tensor\(float\)",
    ),
    "no input": (
        encoder_of([helper.make_node("Constant", [], ["raw"], value_floats=[1.0])], [], [("raw", 1)]),
        "takes nothing",
    ),
    "two outputs": (
        encoder_of(
            [FLATTEN, helper.make_node("Neg", ["raw"], ["less"])], [_of_float("picture")], [("raw", 1), ("less", 1)]
        ),
        r"gives tensor\(float\), tensor\(float\)",
    ),
    "whole numbers": (
        encoder_of(
            [helper.make_node("Shape", ["picture"], ["raw"])], [_of_float("picture")], [("raw", TensorProto.INT64)]
        ),
        r"gives tensor\(int64\); it must take one tensor\(float\) and give one",
    ),
    "words": (encoder_of([WORDS], [_of_float("picture")], [("words", TensorProto.STRING)]), r"gives tensor\(string\)"),
    "one number": (
        encoder_of(
            [helper.make_node("ReduceMean", ["picture"], ["raw"], keepdims=0)], [_of_float("picture")], [("raw", 1)]
        ),
        "puts out 0 numbers for a picture, its description says 4",
    ),
}


@pytest.mark.parametrize("kind", ODD_ENCODERS)
def test_a_model_that_is_no_encoder_is_refused_in_one_line(
    encoder: Encoder, picture_folder: Path, tmp_path: Path, kind: str
) -> None:
    model, match = ODD_ENCODERS[kind]
    refused(replace(encoder, model=model), picture_folder, tmp_path / "partial", f"encoder tiny: .*{match}")
    with pytest.raises(EncoderError, match="encoder tiny: ") as failure:
        encoder_graph(replace(encoder, model=model))
    assert "\n" not in str(failure.value)


def test_a_fault_that_the_runtime_calls_a_wrong_value_is_the_encoders(
    encoder: Encoder, picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise ValueError("Required inputs are missing\nand more")

    monkeypatch.setattr("models.runtime.ort.InferenceSession.run", run)
    refused(
        encoder, picture_folder, tmp_path / "partial", "encoder tiny: the model failed: Required inputs are missing;"
    )
