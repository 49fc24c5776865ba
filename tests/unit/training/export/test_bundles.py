from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from models.bundle import read_bundle
from models.errors import BundleError
from models.features import unit_features
from models.runtime import Session
from training.data.encoders import Encoder, find_encoder
from training.errors import EncoderError, TrainingError
from training.export.bundles import check_bundle_path, write_encoder_bundle
from training.export.manifest import provenance

FloatArray = npt.NDArray[np.float32]
TinyModel = Callable[..., onnx.ModelProto]


@pytest.fixture
def encoder(encoder_file: Path) -> Encoder:
    return find_encoder(str(encoder_file), None)


def pictures(num: int, side: int = 112) -> FloatArray:
    return np.random.default_rng(0).uniform(-1, 1, (num, 3, side, side)).astype(np.float32)


@pytest.mark.parametrize("opset", [9, 11, 13, 17, 18, 20])
def test_the_bundle_gives_the_encoders_features_at_length_one(
    encoder: Encoder, tmp_path: Path, tiny_model: TinyModel, opset: int
) -> None:
    encoder = replace(encoder, model=tiny_model(opset=opset).SerializeToString())
    manifest = write_encoder_bundle(tmp_path / "packed", encoder)
    bundle = read_bundle(tmp_path / "packed")
    onnx.checker.check_model(onnx.load_model_from_string(bundle.model), full_check=True)
    assert bundle.manifest == manifest
    assert (manifest.kind, manifest.opset, manifest.source) == ("encoder", opset, None)
    assert (manifest.input_name, manifest.output_name) == ("picture", "feature")
    assert manifest.target == encoder.space
    for num in (1, 2, 7):
        raw = Session(encoder.model, device="cpu").run(pictures(num))
        feature = Session(bundle.model, device="cpu").run(pictures(num))
        np.testing.assert_allclose(feature, unit_features(raw), atol=1e-6)


def test_an_encoder_of_an_old_format_can_be_packaged(encoder: Encoder, tmp_path: Path, tiny_model: TinyModel) -> None:
    """Before IR version 4 a weight had to be an input too."""
    model = tiny_model(opset=9, ir_version=3)
    for tensor in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    old = replace(encoder, model=model.SerializeToString())
    write_encoder_bundle(tmp_path / "packed", old)
    feature = Session(read_bundle(tmp_path / "packed").model, device="cpu").run(pictures(3))
    np.testing.assert_allclose(np.linalg.norm(feature, axis=1), 1.0, atol=1e-6)


def test_an_encoder_whose_output_is_called_feature_already_can_be_packaged(
    encoder: Encoder, tmp_path: Path, tiny_model: TinyModel
) -> None:
    named = replace(encoder, model=tiny_model(output="feature").SerializeToString())
    manifest = write_encoder_bundle(tmp_path / "packed", named)
    assert manifest.output_name == "facebridge_feature"
    raw = Session(named.model, device="cpu").run(pictures(2))
    feature = Session(read_bundle(tmp_path / "packed").model, device="cpu").run(pictures(2))
    np.testing.assert_allclose(feature, unit_features(raw), atol=1e-6)


def test_a_packaged_encoder_can_be_packaged_again(encoder: Encoder, tmp_path: Path) -> None:
    write_encoder_bundle(tmp_path / "one", encoder)
    write_encoder_bundle(tmp_path / "two", find_encoder(str(tmp_path / "one"), None))
    one, two = (Session(read_bundle(tmp_path / name).model, device="cpu") for name in ("one", "two"))
    np.testing.assert_allclose(two.run(pictures(2)), one.run(pictures(2)), atol=1e-6)
    assert read_bundle(tmp_path / "two").manifest.target == encoder.space


def test_the_card_says_what_goes_in_and_what_comes_out(encoder: Encoder, tmp_path: Path) -> None:
    write_encoder_bundle(tmp_path / "packed", encoder)
    card = (tmp_path / "packed" / "MODEL_CARD.md").read_text()
    for fact in ("# packed", "112 x 112", "4 numbers", "`tiny`", encoder.space.fingerprint, "Licence: unknown"):
        assert fact in card


def refused(encoder: Encoder, folder: Path, match: str) -> None:
    with pytest.raises((EncoderError, BundleError), match=match) as failure:
        write_encoder_bundle(folder, encoder)
    assert "\n" not in str(failure.value)
    assert not folder.exists()


def test_weights_that_are_no_model_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    refused(replace(encoder, model=b"words"), tmp_path / "x", "encoder tiny: not an ONNX model")


def test_another_dimension_than_described_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    five = replace(encoder, space=replace(encoder.space, dimension=5))
    refused(five, tmp_path / "x", "puts out 4 numbers for a picture, its description says 5")


def test_another_input_size_than_described_is_refused(encoder: Encoder, tmp_path: Path, tiny_model: TinyModel) -> None:
    smaller = replace(encoder, model=tiny_model(side=64).SerializeToString())
    refused(smaller, tmp_path / "x", "encoder tiny: .*compare its input with 'resize'")


def test_an_encoder_for_one_picture_at_a_time_becomes_one_for_any_number(
    encoder: Encoder, tmp_path: Path, tiny_model: TinyModel
) -> None:
    fixed = replace(encoder, model=tiny_model(batch=1).SerializeToString())
    write_encoder_bundle(tmp_path / "fixed", fixed)
    write_encoder_bundle(tmp_path / "free", encoder)
    pictures = np.random.default_rng(0).uniform(0, 255, (5, 3, 112, 112)).astype(np.float32)
    features = [Session(read_bundle(tmp_path / name).model, device="cpu").run(pictures) for name in ("fixed", "free")]
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)


@pytest.mark.parametrize("name", ["A", "with space", "-x", ".hidden", "x" * 64, "zoë", ".."])
def test_a_folder_whose_name_no_bundle_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="the folder's name is the bundle's"):
        check_bundle_path(tmp_path / name)


def test_a_folder_that_exists_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(BundleError, match="exists already; bundles are immutable"):
        check_bundle_path(tmp_path / "there")
    with pytest.raises(BundleError, match="exists already; bundles are immutable"):
        write_encoder_bundle(tmp_path / "there", encoder)


def test_a_place_below_a_file_cannot_be_written(encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="cannot be written"):
        write_encoder_bundle(tmp_path / "file" / "packed", encoder)


def test_source_date_epoch_fixes_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    assert provenance().created_at == "1970-01-02T00:00:00+00:00"


@pytest.mark.parametrize("epoch", ["yesterday", "1e9", "9" * 30])
def test_a_source_date_epoch_that_is_no_time_is_refused(monkeypatch: pytest.MonkeyPatch, epoch: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(TrainingError, match="SOURCE_DATE_EPOCH must be a number of seconds"):
        provenance()
