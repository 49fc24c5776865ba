import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import numpy_helper

from models.features import unit_features
from models.graph import check_graph
from models.linear import LinearMap
from models.runtime import Session
from training.errors import ExportError
from training.export.linear_graph import linear_graph
from training.export.parity import TOLERANCE, check_parity
from training.export.torch_graph import torch_graph
from training.trainers import residual_mlp
from training.trainers.fitted import TrainingData
from training.trainers.linear import fit_low_rank, fit_procrustes, fit_ridge
from training.trainers.residual_mlp import fit_residual_mlp

FloatArray = npt.NDArray[np.float32]

NUM_SOURCE, NUM_TARGET = 24, 17


def unit_rows(num: int, dimension: int = NUM_SOURCE, seed: int = 0) -> FloatArray:
    return unit_features(np.random.default_rng(seed).normal(size=(num, dimension)))


@dataclass(frozen=True)
class Exported:
    model: Callable[[FloatArray], FloatArray]
    graph: bytes


@pytest.fixture(scope="module")
def exports() -> dict[str, Exported]:
    """Every method fitted to the same noise, and exported, with every warning an error."""
    data = TrainingData(unit_rows(200), unit_rows(200, NUM_TARGET, 1), unit_rows(20), unit_rows(20, NUM_TARGET, 1), 0)
    exported = {}
    for name, fit in (("procrustes", fit_procrustes), ("ridge", fit_ridge), ("low-rank", fit_low_rank)):
        model = fit(data).model
        exported[name] = Exported(model, linear_graph(model, NUM_SOURCE))
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("error")
        patch.setattr(residual_mlp, "EPOCHS", 1)
        network = fit_residual_mlp(data).model
        exported["residual-mlp"] = Exported(network, torch_graph(network, NUM_SOURCE))
    return exported


@pytest.fixture(params=["procrustes", "ridge", "low-rank", "residual-mlp"])
def exported(request: pytest.FixtureRequest, exports: dict[str, Exported]) -> Exported:
    return exports[str(request.param)]


@pytest.mark.parametrize("batch", [1, 2, 7, 513])
def test_the_graph_gives_the_numbers_of_the_model_at_every_batch_size(exported: Exported, batch: int) -> None:
    rows = unit_rows(batch, seed=batch)
    answer = Session(exported.graph, device="cpu").run(rows)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, exported.model(rows), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1.0, atol=1e-6)


def test_a_row_does_not_depend_on_its_neighbours(exported: Exported) -> None:
    rows, session = unit_rows(7), Session(exported.graph, device="cpu")
    alone = np.concatenate([session.run(row[None]) for row in rows])
    np.testing.assert_allclose(session.run(rows), alone, atol=1e-6)


def test_the_graph_states_opset_18_names_and_a_free_batch(exported: Exported) -> None:
    signature = check_graph(exported.graph)
    assert (signature.opset, signature.input_name, signature.output_name) == (18, "source_feature", "target_feature")
    assert signature.input_shape == (None, NUM_SOURCE)
    assert signature.output_shape == (None, NUM_TARGET)
    onnx.checker.check_model(onnx.load_model_from_string(exported.graph), full_check=True)


@pytest.mark.parametrize("length", [1e-3, 37.0, 1e6])
def test_normalisation_is_inside_the_graph(exported: Exported, length: float) -> None:
    rows, session = unit_rows(5), Session(exported.graph, device="cpu")
    np.testing.assert_allclose(session.run(rows * np.float32(length)), session.run(rows), atol=1e-6)


def test_a_zero_vector_gives_finite_numbers(exported: Exported) -> None:
    rows = unit_rows(3)
    rows[1] = 0.0
    answer = Session(exported.graph, device="cpu").run(rows)
    assert np.isfinite(answer).all()
    np.testing.assert_allclose(answer[[0, 2]], exported.model(rows[[0, 2]]), atol=1e-6)


def test_parity_is_the_largest_difference(exported: Exported) -> None:
    rows = unit_rows(40)
    assert check_parity(exported.graph, exported.model, rows) <= 1e-6
    off = check_parity(exported.graph, lambda source: exported.model(source) + np.float32(5e-6), rows)
    assert off == pytest.approx(5e-6, rel=0.2)


def changed_weight(graph: bytes, by: float) -> bytes:
    """The graph with one number of its first matrix changed."""
    model = onnx.load_model_from_string(graph)
    index, tensor = next((i, t) for i, t in enumerate(model.graph.initializer) if len(t.dims) == 2)
    weight = numpy_helper.to_array(tensor).copy()
    weight[0, 0] += by
    model.graph.initializer[index].CopyFrom(numpy_helper.from_array(weight, tensor.name))
    tampered: bytes = model.SerializeToString()
    return tampered


def test_a_tampered_graph_is_refused(exported: Exported) -> None:
    with pytest.raises(ExportError, match=f"differs from its model by .*; at most {TOLERANCE}"):
        check_parity(changed_weight(exported.graph, 0.1), exported.model, unit_rows(40))


def test_a_graph_that_gives_nan_is_refused(exports: dict[str, Exported]) -> None:
    ridge = exports["ridge"]
    with pytest.raises(ExportError, match="differs from its model by nan"):
        check_parity(changed_weight(ridge.graph, float("nan")), ridge.model, unit_rows(4))


def test_a_graph_of_another_shape_is_refused(exports: dict[str, Exported]) -> None:
    ridge = exports["ridge"]
    with pytest.raises(ExportError, match=r"gives the shape \(4, 17\), the model \(4, 16\)"):
        check_parity(ridge.graph, lambda source: ridge.model(source)[:, :16], unit_rows(4))


def test_a_graph_of_a_fixed_batch_size_is_refused(exports: dict[str, Exported]) -> None:
    ridge = exports["ridge"]
    model = onnx.load_model_from_string(ridge.graph)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(ExportError, match="does not take batches of every size"):
        check_parity(model.SerializeToString(), ridge.model, unit_rows(4))


def test_the_linear_graph_normalises_a_known_row() -> None:
    from_graph = Session(linear_graph(known_map(), 2), device="cpu").run(np.array([[30, 40]], dtype=np.float32))
    # (0.6, 0.8) maps to (0.6, 1.6) + (0, -0.8) = (0.6, 0.8), which has length one already.
    np.testing.assert_allclose(from_graph, [[0.6, 0.8]], atol=1e-7)


def known_map() -> LinearMap:
    return LinearMap(np.array([[1, 0], [0, 2]], dtype=np.float32), np.array([0, -0.8], dtype=np.float32))
