"""ONNX Runtime, in one place for both halves: sessions that run where they were asked to run, or say so and refuse.

ONNX Runtime falls back to the CPU in silence; here the provider obtained is compared with the one asked for.
"""

from collections.abc import Sequence
from importlib import metadata
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnx import TensorProto, helper
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

Device = Literal["auto", "cpu", "cuda"]
FloatArray = npt.NDArray[np.float32]

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_FAULTS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
    ort_state.EPFail,
)
_EXCLUSIVE = (("onnxruntime", "onnxruntime-gpu"), ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs"))
_ERRORS_ONLY = 3
_FLOATS = "tensor(float)"
_OPSET, _IR_VERSION = 10, 5
LARGEST_FACTOR = 63
"""Of what `ByteProducts` multiplies by: processors without instructions for it add two products in 16 bits."""
BYTE_ZERO = 128
"""The byte that stands for zero."""


class InferenceError(RuntimeError):
    """The model cannot be run here, or failed; the message is one line."""


class DeviceError(InferenceError):
    """The asked device is not to be had."""


def conflicting_packages() -> tuple[str, ...]:
    """Installed distributions that overwrite each other's files; empty when all is well."""
    for family in _EXCLUSIVE:
        present = tuple(name for name in family if _installed(name))
        if len(present) > 1:
            return present
    return ()


def choose_device(asked: Device) -> Literal["cpu", "cuda"]:
    """The device to use for `asked`. Raises `DeviceError` where CUDA was asked for and the runtime has none."""
    has_cuda = _PROVIDERS["cuda"] in ort.get_available_providers()
    if asked == "cuda" and not has_cuda:
        raise DeviceError("CUDA was asked for, and the installed ONNX Runtime has none; install facebridge[gpu]")
    return "cuda" if asked != "cpu" and has_cuda else "cpu"


class Session:
    """One loaded model, from one float32 input, and perhaps another of noise, to one output. Safe to run from several threads at
    once.
    """

    def __init__(
        self, model: bytes, *, device: Device = "auto", num_threads: int = 0, noise_name: str | None = None
    ) -> None:
        """`num_threads` 0 lets ONNX Runtime use every core for each run; 1 runs on the calling thread alone. `noise_name` is that
        of a second input.

        Raises `DeviceError`, and `InferenceError` for a model that does not load, or has other inputs and outputs.
        """
        chosen = choose_device(device)
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = num_threads
        # Its threads spin while they wait for the next run, and keep cores from what comes between: BLAS, FAISS, other models.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self._session = ort.InferenceSession(model, options, providers=_provider_order(chosen))
        except _FAULTS as failure:
            raise InferenceError(f"ONNX Runtime cannot load the model: {_first_line(failure)}") from None
        self.device: Literal["cpu", "cuda"] = (
            "cuda" if self._session.get_providers()[0] == _PROVIDERS["cuda"] else "cpu"
        )
        if device == "cuda" and self.device != "cuda":
            raise DeviceError(
                "CUDA was asked for, and ONNX Runtime fell back to the CPU; check driver and CUDA libraries"
            )
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._noise = noise_name
        num_wanted = 1 if noise_name is None else 2
        has_noise = noise_name is None or noise_name in [value.name for value in inputs]
        if {value.type for value in (*inputs, *outputs)} != {_FLOATS} or len(inputs) != num_wanted or len(outputs) != 1:
            wanted = f"one {_FLOATS}" if noise_name is None else f"two of {_FLOATS}"
            raise InferenceError(
                f"the model takes {_types(inputs)} and gives {_types(outputs)}; it must take {wanted} and give one"
            )
        if not has_noise:
            raise InferenceError(f"the model has no input named {noise_name!r}")
        (own_input,) = (value for value in inputs if value.name != noise_name)
        self._input = own_input.name
        self.fixed_batch: int | None = own_input.shape[0] if isinstance(own_input.shape[0], int) else None
        """The one batch size that the model takes; None where it takes any."""

    def run(self, rows: FloatArray, noise: FloatArray | None = None) -> FloatArray:
        """Run one batch, (N, ...) to (N, ...), with noise (N, Z) where the model takes any. Raises `InferenceError`."""
        inputs = {self._input: rows}
        if (self._noise is None) != (noise is None):
            raise InferenceError("the model takes noise" if noise is None else "the model takes no noise")
        if self._noise is not None and noise is not None:
            inputs[self._noise] = noise
        try:
            output: FloatArray = self._session.run(None, inputs)[0]
        except (*_FAULTS, ValueError) as failure:
            raise InferenceError(f"the model failed: {_first_line(failure)}") from None
        return output


class ByteProducts:
    """Products of vectors of bytes with vectors of small integers, exact, on the calling thread."""

    def __init__(self) -> None:
        inputs = [
            helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["G", "D"]),
            helper.make_tensor_value_info("factors", TensorProto.INT8, ["D", "B"]),
        ]
        output = helper.make_tensor_value_info("products", TensorProto.INT32, ["G", "B"])
        zero = helper.make_tensor("zero", TensorProto.UINT8, [], [BYTE_ZERO])
        node = helper.make_node("MatMulInteger", ["bytes", "factors", "zero"], ["products"])
        graph = helper.make_graph([node], "byte_products", inputs, [output], [zero])
        opset = helper.make_opsetid("", _OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(model.SerializeToString(), options, providers=[_PROVIDERS["cpu"]])

    def __call__(self, bytes_GD: npt.NDArray[np.uint8], factors_DB: npt.NDArray[np.int8]) -> npt.NDArray[np.int32]:
        """The products (G, B) of bytes less `BYTE_ZERO` with factors from -`LARGEST_FACTOR` to `LARGEST_FACTOR`."""
        product_GB: npt.NDArray[np.int32] = self._session.run(None, {"bytes": bytes_GD, "factors": factors_DB})[0]
        return product_GB


def _provider_order(chosen: Literal["cpu", "cuda"]) -> list[str]:
    return [_PROVIDERS["cuda"], _PROVIDERS["cpu"]] if chosen == "cuda" else [_PROVIDERS["cpu"]]


def _types(values: Sequence[ort.NodeArg]) -> str:
    return ", ".join(value.type for value in values) or "nothing"


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def _first_line(failure: BaseException) -> str:
    lines = str(failure).strip().splitlines()
    return lines[0][:300] if lines else type(failure).__name__
