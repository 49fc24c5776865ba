from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.bundle import Sampling
from models.features import FloatArray
from models.runtime import DeviceError
from service.errors import EngineError, StartupError, ZeroNormVectorError
from service.inference.engine import Picture
from service.inference.loading import LoadedBundles, OnnxEngines, load_bundles
from tests.api.world import (
    A_TO_B,
    COLOURS_TO_A,
    A,
    B,
    C,
    FakeEngines,
    by_hand,
    encoded_by_hand,
    encoder_graph,
    features,
    picture_bytes,
    write,
    write_translator,
    write_world,
)

ENGINES = OnnxEngines("cpu", 40_000_000)


def names(loaded: LoadedBundles) -> list[str]:
    return [entry.bundle.manifest.name for entry in (*loaded.encoders, *loaded.translators)]


def reasons(loaded: LoadedBundles) -> dict[str, str]:
    return {rejected.folder: rejected.reason for rejected in loaded.rejected}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_world(tmp_path / "bundles")


def test_every_sound_bundle_is_loaded_and_does_its_work(folder: Path) -> None:
    loaded = load_bundles(folder, ENGINES)
    assert names(loaded) == ["encode-a", "encode-d", "a-to-b", "b-to-c", "c-to-a"]
    assert loaded.rejected == ()
    engine = loaded.translators[0].engine
    assert engine.device == "cpu"
    rows: FloatArray = features(3).astype(np.float32)
    answer = engine.finish(engine.run(engine.prepare(rows)))
    np.testing.assert_allclose(answer, by_hand(rows, A_TO_B), atol=1e-6)
    encoder = loaded.encoders[0].engine
    picture = picture_bytes((10, 200, 30))
    answer = encoder.finish(encoder.run(encoder.prepare(Picture(picture))))
    np.testing.assert_allclose(answer[0], encoded_by_hand(picture), atol=1e-5)


@pytest.mark.parametrize("file", ["model.onnx", "bundle.json", "calibration.json", "MODEL_CARD.md"])
def test_a_bundle_with_a_flipped_byte_is_named_and_the_rest_is_served(folder: Path, file: str) -> None:
    data = bytearray((folder / "b-to-c" / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "b-to-c" / file).write_bytes(data)
    loaded = load_bundles(folder, ENGINES)
    assert names(loaded) == ["encode-a", "encode-d", "a-to-b", "c-to-a"]
    assert list(reasons(loaded)) == ["b-to-c"]
    assert file in reasons(loaded)["b-to-c"]


def test_what_is_no_bundle_is_named_and_files_and_hidden_folders_are_passed_over(folder: Path) -> None:
    (folder / "notes").mkdir()
    (folder / ".draft").mkdir()
    (folder / "README.md").write_text("about these bundles")
    loaded = load_bundles(folder, ENGINES)
    assert list(reasons(loaded)) == ["notes"]
    assert len(names(loaded)) == 5


def test_of_two_bundles_with_one_name_the_first_by_folder_is_served(folder: Path) -> None:
    write_translator(folder / "z-copy", A_TO_B, A, B, name="a-to-b")
    loaded = load_bundles(folder, ENGINES)
    assert len(names(loaded)) == 5
    assert reasons(loaded) == {"z-copy": "another bundle has the name a-to-b already"}


def sampler_graph(mixed: str) -> bytes:
    """Feature and noise, mixed by one operator: `weak_feature` (N, 8) and `noise` (N, 8) to `strong_feature` (N, 8)."""
    nodes = {
        "sound": [helper.make_node("Add", ["weak_feature", "noise"], ["strong_feature"])],
        "deaf": [
            helper.make_node("Sub", ["noise", "noise"], ["nothing"]),
            helper.make_node("Add", ["weak_feature", "nothing"], ["strong_feature"]),
        ],
        "social": [
            helper.make_node("ReduceMean", ["weak_feature", "axis"], ["everybody"], keepdims=1),
            helper.make_node("Add", ["everybody", "noise"], ["strong_feature"]),
        ],
        "nan": [
            helper.make_node("Sub", ["noise", "noise"], ["nothing"]),
            helper.make_node("Div", ["weak_feature", "nothing"], ["strong_feature"]),
        ],
    }[mixed]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 8])
        for name in ("weak_feature", "noise", "strong_feature")
    ]
    axis = [numpy_helper.from_array(np.array([0]), "axis")] if mixed == "social" else []
    graph = helper.make_graph(nodes, "mixes", values[:2], values[2:], axis)
    opset = helper.make_opsetid("", 18)
    data: bytes = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    return data


def write_sampler(folder: Path, mixed: str, num_samples: int = 10) -> None:
    sampling = Sampling(8, num_samples, 0.3)
    write(folder / mixed, sampler_graph(mixed), A, C, kind="sampler", modality="sketch", sampling=sampling)


def test_a_sampler_that_is_sound_is_served(folder: Path) -> None:
    write_sampler(folder, "sound")
    loaded = load_bundles(folder, ENGINES)
    assert [entry.bundle.manifest.name for entry in loaded.samplers] == ["sound"]
    assert loaded.rejected == ()


@pytest.mark.parametrize(
    ("mixed", "says"),
    [("deaf", "whatever the noise"), ("social", "depends on the others in the batch"), ("nan", "tried on features")],
)
def test_a_sampler_is_tried_and_named_where_it_is_not_sound(folder: Path, mixed: str, says: str) -> None:
    write_sampler(folder, mixed)
    found = reasons(load_bundles(folder, ENGINES))
    assert list(found) == [mixed]
    assert says in found[mixed]


def test_a_sampler_that_draws_more_than_may_be_is_named(folder: Path) -> None:
    write_sampler(folder, "sound", num_samples=65)
    found = reasons(load_bundles(folder, ENGINES, max_samples=64))
    assert found == {"sound": "it draws 65 samples of a probe, --max-samples is 64"}
    assert len(load_bundles(folder, ENGINES, max_samples=65).samplers) == 1


def test_an_encoder_that_does_not_say_how_pictures_are_prepared_is_named(folder: Path) -> None:
    write(folder / "blind", encoder_graph(COLOURS_TO_A), None, type(A)("blind", 8, "external:blind"))
    assert reasons(load_bundles(folder, ENGINES)) == {
        "blind": "a bundle that takes pictures must say how they are prepared"
    }


def test_engines_of_a_tests_own_need_no_weights(folder: Path) -> None:
    engines = FakeEngines()
    loaded = load_bundles(folder, engines)
    assert sorted(engines.by_name) == sorted(names(loaded))


def test_a_missing_folder_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"missing: the folder of bundles does not exist.*--bundles") as failure:
        load_bundles(tmp_path / "missing", ENGINES)
    assert "\n" not in str(failure.value)


def test_an_empty_folder_is_an_empty_service(tmp_path: Path) -> None:
    assert load_bundles(tmp_path, ENGINES) == LoadedBundles()


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this runtime has CUDA")
def test_cuda_that_is_not_there_stops_the_start(folder: Path) -> None:
    with pytest.raises(StartupError, match="CUDA was asked for") as failure:
        load_bundles(folder, OnnxEngines("cuda", 1))
    assert "\n" not in str(failure.value)


def test_a_device_that_a_bundle_did_not_get_stops_the_start(folder: Path) -> None:
    def refuse(engine: object) -> None:
        raise DeviceError("ONNX Runtime fell back to the CPU")

    with pytest.raises(StartupError, match="fell back"):
        load_bundles(folder, FakeEngines(change=refuse))


def test_output_without_direction_is_the_items_fault_and_output_that_is_no_number_the_models(folder: Path) -> None:
    engine = load_bundles(folder, ENGINES).translators[0].engine
    with pytest.raises(ZeroNormVectorError):
        engine.finish(np.zeros((1, 16), dtype=np.float32))
    with pytest.raises(EngineError):
        engine.finish(np.full((1, 16), np.nan, dtype=np.float32))


def test_rows_that_a_model_cannot_take_are_its_failure(folder: Path) -> None:
    engine = load_bundles(folder, ENGINES).translators[0].engine
    with pytest.raises(EngineError, match="bundle a-to-b") as failure:
        engine.run(np.ones((1, 9), dtype=np.float32))
    assert "\n" not in str(failure.value)
