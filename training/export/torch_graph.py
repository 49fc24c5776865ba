"""A torch translator as an ONNX graph: `source_feature` (N, S) to `target_feature` (N, T), dynamic batch."""

import logging
import warnings
from typing import Protocol

import torch
from torch import nn

from training.export.opset import OPSET


class HasNetwork(Protocol):
    """A translator that is a torch network."""

    @property
    def network(self) -> nn.Module:
        """The network."""


def torch_graph(model: HasNetwork, num_source: int) -> bytes:
    """Export the network, whose forward takes (N, S) float32, as a serialised ONNX model in one file."""
    # The exporter reports its stages on the root logger; what matters to a user is the parity gate after it.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # About the inside of torch's exporter, and nothing that a user could change.
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        program = torch.onnx.export(
            model.network.eval(),
            (torch.zeros(2, num_source),),
            input_names=["source_feature"],
            output_names=["target_feature"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            verbose=False,
        )
    assert program is not None
    data: bytes = program.model_proto.SerializeToString()
    return data
