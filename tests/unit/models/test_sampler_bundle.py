"""Bundles of kind sampler, and such as are for one modality: what they must say, and what no other may."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Manifest, Provenance, Sampling, read_bundle, write_bundle
from models.calibration import Calibration
from models.documents import readable_json
from models.errors import BundleError, GraphError
from models.graph import check_graph
from models.runtime import InferenceError, Session
from models.samples import draw_noise, rows_of
from models.space import Space

NUM_NOISE = 3
MANIFEST = Manifest(
    name="sketches",
    kind="sampler",
    method="wsgan",
    source=Space("weak", 4, "external:weak"),
    target=Space("strong", 4, "external:strong"),
    input_name="weak_feature",
    output_name="strong_feature",
    opset=18,
    licence="MIT",
    provenance=Provenance(created_at="2026-01-01T00:00:00Z", code_version="0", libraries={}),
    modality="sketch",
    sampling=Sampling(NUM_NOISE, 10, 0.3),
)


def graph(noise: str = "noise", width: int = NUM_NOISE) -> bytes:
    """Adds the sum of the noise to every number of the feature."""
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
        for name, size in (("weak_feature", 4), (noise, width), ("strong_feature", 4))
    ]
    nodes = [
        helper.make_node("ReduceSum", [noise, "axis"], ["sum"], keepdims=1),
        helper.make_node("Add", ["weak_feature", "sum"], ["strong_feature"]),
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "adds", values[:2], values[2:], [numpy_helper.from_array(np.array([1]), "axis")]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    data: bytes = model.SerializeToString()
    return data


def write(folder: Path, manifest: Manifest, data: bytes) -> Manifest:
    files = {"model.onnx": data, "calibration.json": readable_json(Calibration().to_json())}
    return write_bundle(folder, manifest, files)


def test_a_sampler_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = write(tmp_path / "sketches", MANIFEST, graph())
    bundle = read_bundle(tmp_path / "sketches")
    assert bundle.manifest == written
    assert bundle.manifest.sampling == Sampling(NUM_NOISE, 10, 0.3)
    assert bundle.graph.noise_shape == (None, NUM_NOISE)


def test_other_bundles_do_not_name_what_only_samplers_have(tmp_path: Path) -> None:
    plain = replace(MANIFEST, kind="encoder", source=None, modality=None, sampling=None)
    assert not {"modality", "sampling"} & plain.to_json().keys()
    assert {"modality", "sampling"} <= MANIFEST.to_json().keys()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampling": None}, "says how it is sampled"),
        ({"modality": None}, "of which modality"),
        ({"modality": "photo"}, "a modality other than photos"),
        ({"source": None}, "needs a source space"),
        ({"sampling": Sampling(NUM_NOISE + 1, 10, 0.3)}, "disagree on the noise"),
    ],
)
def test_a_sampler_that_leaves_something_out_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        write(tmp_path / "sketches", replace(MANIFEST, **changes), graph())
    assert not (tmp_path / "sketches").exists()


@pytest.mark.parametrize(
    "sampling",
    [Sampling(0, 10, 0.3), Sampling(3, 0, 0.3), Sampling(3, 10, 0.0), Sampling(3, 10, -1.0), Sampling(3, 9999, 1.0)],
)
def test_numbers_that_cannot_be_are_refused(tmp_path: Path, sampling: Sampling) -> None:
    with pytest.raises(BundleError, match="sampling"):
        write(tmp_path / "sketches", replace(MANIFEST, sampling=sampling), graph())


def test_a_translator_may_be_of_a_modality_and_an_encoder_may_not(tmp_path: Path, linear_model: Any) -> None:
    one_input = linear_model.SerializeToString()
    signature = check_graph(one_input)
    names: dict[str, Any] = {"input_name": signature.input_name, "output_name": signature.output_name, "sampling": None}
    target = Space("strong", 3, "external:strong")
    translator = replace(MANIFEST, kind="translator", target=target, **names)
    assert write(tmp_path / "translator", translator, one_input).modality == "sketch"
    with pytest.raises(BundleError, match="samplers and translators"):
        write(tmp_path / "encoder", replace(translator, kind="encoder", source=None), one_input)
    with pytest.raises(BundleError, match="says how it is sampled"):
        write(tmp_path / "sampled", replace(translator, sampling=Sampling(3, 10, 0.3)), one_input)


def test_a_graph_takes_noise_where_it_is_to_and_nowhere_else() -> None:
    assert check_graph(graph(), takes_noise=True).noise_shape == (None, NUM_NOISE)
    with pytest.raises(GraphError, match="one input and one output, has 2"):
        check_graph(graph())
    with pytest.raises(GraphError, match="an input named 'noise'"):
        check_graph(graph("other"), takes_noise=True)


def test_a_session_runs_with_noise() -> None:
    session = Session(graph(), device="cpu", noise_name="noise")
    weak, noise = np.ones((2, 4), dtype=np.float32), np.array([[1, 2, 3], [0, 0, 0]], dtype=np.float32)
    assert session.run(weak, noise).tolist() == [[7.0] * 4, [1.0] * 4]
    with pytest.raises(InferenceError, match="must take one"):
        Session(graph(), device="cpu")
    with pytest.raises(InferenceError, match="no input named 'other'"):
        Session(graph(), device="cpu", noise_name="other")


def test_noise_is_standard_normal_and_its_own_for_every_seed() -> None:
    noise = draw_noise(500, 16, seed=3)
    assert noise.dtype == np.float32
    assert abs(float(noise.mean())) < 0.05
    assert abs(float(noise.std()) - 1) < 0.05
    assert not np.allclose(noise, draw_noise(500, 16, seed=4))


def test_rows_are_the_samples_of_a_probe_one_after_the_other() -> None:
    weak, noise = np.array([[1.0], [2.0]], dtype=np.float32), np.array([[5.0], [6.0], [7.0]], dtype=np.float32)
    rows, with_noise = rows_of(weak, noise)
    assert rows[:, 0].tolist() == [1, 1, 1, 2, 2, 2]
    assert with_noise[:, 0].tolist() == [5, 6, 7, 5, 6, 7]
