"""Torch networks as ONNX graphs of dynamic batch."""

import copy
import logging
import warnings
from typing import Protocol

import numpy as np
import torch
from onnx import ModelProto
from torch import nn

from models.features import FloatArray
from models.graph import NOISE
from models.r3an import Painter, R3ANTranslator
from training.export.opset import OPSET
from training.export.parity import check_parity

_CHECKED = 16
_GREY_LEVELS = 0.05


class HasNetwork(Protocol):
    """An encoder or translator that is a torch network."""

    @property
    def network(self) -> nn.Module:
        """The network."""


def torch_graph(model: HasNetwork, num_source: int) -> bytes:
    """Export a translator, whose forward takes (N, S) float32, as a serialised ONNX model in one file."""
    return _exported(model.network, (torch.zeros(2, num_source),), ("source_feature", "target_feature"))


def generator_torch_graph(model: HasNetwork, num_source: int) -> bytes:
    """Export the generator inside of R3AN: `source_feature` (N, S) to `picture` (N, 3, H, W), RGB in [0, 255].

    Raises `ExportError` where the graph does not paint what the network does, to a twentieth of a grey level.
    """
    assert isinstance(model.network, R3ANTranslator)
    painter = Painter(model.network.generator).eval()
    graph = _exported(painter, (torch.zeros(2, num_source),), ("source_feature", "picture"))

    def paint(source_NS: FloatArray) -> FloatArray:
        with torch.inference_mode():
            picture_NCHW: FloatArray = painter(torch.from_numpy(source_NS)).numpy()
        return picture_NCHW

    some_NS = np.random.default_rng(0).normal(size=(_CHECKED, num_source)).astype(np.float32)
    check_parity(graph, paint, some_NS, tolerance=_GREY_LEVELS)
    return graph


def sampler_torch_graph(model: HasNetwork, num_weak: int, num_noise: int) -> bytes:
    """Export a sampler: `weak_feature` (N, W) and `noise` (N, Z) to `strong_feature` (N, S)."""
    examples = (torch.zeros(2, num_weak), torch.zeros(2, num_noise))
    return _exported(model.network, examples, ("weak_feature", NOISE, "strong_feature"))


def encoder_torch_graph(model: HasNetwork, size: tuple[int, int]) -> bytes:
    """Export an encoder of pictures of this width and height: `picture` (N, 3, H, W) to `feature` (N, D)."""
    return _of_pictures(model, size, "feature")


def classifier_torch_graph(model: HasNetwork, size: tuple[int, int]) -> bytes:
    """Export a classifier of pictures of this width and height: `picture` (N, 3, H, W) to `probability` (N, C)."""
    return _of_pictures(model, size, "probability")


def _of_pictures(model: HasNetwork, size: tuple[int, int], output: str) -> bytes:
    width, height = size
    network = copy.deepcopy(model.network).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    # What is faster in training is no part of the graph.
    network.requires_grad_(requires_grad=False)
    return _exported(network, (torch.zeros(2, 3, height, width),), ("picture", output))


def _exported(network: nn.Module, examples: tuple[torch.Tensor, ...], names: tuple[str, ...]) -> bytes:
    """The graph of a network: the names of its inputs, and last that of its output."""
    # The exporter reports its stages on the root logger; what matters to a user is the parity gate after it.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # About the inside of torch's exporter, and nothing that a user could change.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "# The axis name", UserWarning)
        program = torch.onnx.export(
            network.eval(),
            examples,
            input_names=names[:-1],
            output_names=names[-1:],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=tuple({0: batch} for _ in examples),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    _forget_where_it_was_made(model)
    data: bytes = model.SerializeToString()
    return data


def _forget_where_it_was_made(model: ModelProto) -> None:
    """Remove what the exporter notes about its own run: stack traces with this machine's paths, in every node.

    They would make the same weights another file, and so another space, in another folder.
    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
