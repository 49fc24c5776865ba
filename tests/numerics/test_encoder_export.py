"""Trained encoders as ONNX graphs: the numbers of the network, and with half weights nearly so."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from models.backbones import BACKBONES
from models.graph import check_graph
from models.runtime import Session
from training.export.half_weights import with_half_weights
from training.export.parity import TOLERANCE, check_parity
from training.export.torch_graph import encoder_torch_graph
from training.trainers.encoder import TorchEncoder

FloatArray = npt.NDArray[np.float32]

SIDE, DIMENSION = 64, 24


@dataclass(frozen=True)
class Exported:
    model: TorchEncoder
    graph: bytes


def pictures(num: int) -> FloatArray:
    return np.random.default_rng(num).uniform(-1.6, 1.6, (num, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture(scope="module")
def exported() -> Exported:
    """A network with statistics as training leaves them, exported with every warning an error."""
    torch.manual_seed(0)
    network = BACKBONES["resnet-50"](0.125, DIMENSION, SIDE)
    with torch.no_grad():
        for batch in range(4):
            network(torch.from_numpy(pictures(8 + batch)))
    model = TorchEncoder(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Exported(model, encoder_torch_graph(model, (SIDE, SIDE)))


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_graph_gives_the_features_of_the_network_at_every_batch_size(exported: Exported, batch: int) -> None:
    answer = Session(exported.graph, device="cpu").run(pictures(batch))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, exported.model(pictures(batch)), atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1.0, atol=1e-6)


def test_the_graph_passes_the_gate_and_states_names_and_a_free_batch(exported: Exported) -> None:
    assert check_parity(exported.graph, exported.model, pictures(5)) <= TOLERANCE
    signature = check_graph(exported.graph)
    assert (signature.opset, signature.input_name, signature.output_name) == (18, "picture", "feature")
    assert signature.input_shape == (None, 3, SIDE, SIDE)
    assert signature.output_shape == (None, DIMENSION)
    onnx.checker.check_model(onnx.load_model_from_string(exported.graph), full_check=True)


def weight_bytes(graph: bytes) -> int:
    return sum(len(tensor.raw_data) for tensor in onnx.load_model_from_string(graph).graph.initializer)


def test_with_half_weights_the_file_is_half_as_large_and_features_stay_within_two_thousandths(
    exported: Exported,
) -> None:
    halved = with_half_weights(exported.graph)
    assert weight_bytes(halved) == pytest.approx(weight_bytes(exported.graph) / 2, rel=0.02)
    # The rest of the file, which is about the nodes, grows by the names of the casts.
    saved = weight_bytes(exported.graph) - weight_bytes(halved)
    assert len(exported.graph) - len(halved) == pytest.approx(saved, rel=0.05)
    assert check_graph(halved) == check_graph(exported.graph)
    difference = np.abs(Session(halved, device="cpu").run(pictures(6)) - exported.model(pictures(6)))
    assert 0 < difference.max() < 2e-3


def test_a_network_in_training_is_exported_as_it_will_be_used(exported: Exported) -> None:
    """`TorchEncoder` turns off what only training does: batch statistics would make pictures depend on each other."""
    assert not any(module.training for module in exported.model.network.modules())
    session = Session(exported.graph, device="cpu")
    alone = np.concatenate([session.run(row[None]) for row in pictures(4)])
    np.testing.assert_allclose(session.run(pictures(4)), alone, atol=TOLERANCE)


def test_the_graph_tells_nothing_of_the_machine_and_folder_it_was_made_in(exported: Exported) -> None:
    """Else the same weights would be another space elsewhere."""
    model = onnx.load_model_from_string(exported.graph)
    assert not any(part.metadata_props or part.doc_string for part in (model, model.graph))
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    root = Path(__file__).parents[2]
    assert [word for word in (str(root), ".py", "site-packages") if word.encode() in exported.graph] == []
