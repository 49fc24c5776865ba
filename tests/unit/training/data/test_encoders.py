import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from models.documents import sha256_hex
from models.space import InputPreparation
from training.data.encoders import find_encoder
from training.errors import EncoderError
from training.export.bundles import write_encoder_bundle

TinyModel = Callable[..., onnx.ModelProto]


def refused(spec: str | Path, registry: Path | None, match: str) -> None:
    with pytest.raises(EncoderError, match=match) as failure:
        find_encoder(str(spec), registry)
    assert "\n" not in str(failure.value)


def described(path: Path, **changes: Any) -> dict[str, Any]:
    description: dict[str, Any] = json.loads(path.read_text())
    return description | changes


def registry_of(path: Path, *descriptions: dict[str, Any]) -> Path:
    registry = path.with_name("encoders.json")
    registry.write_text(json.dumps({"about": "for people", "encoders": descriptions, "detector": {"name": "x"}}))
    return registry


def test_every_way_to_name_an_encoder_finds_the_same_one(encoder_file: Path, tmp_path: Path) -> None:
    registry = registry_of(encoder_file, described(encoder_file), described(encoder_file, name="other", colour="BGR"))
    found = find_encoder(str(encoder_file), None)
    assert find_encoder("tiny", registry) == found
    assert find_encoder(f"{registry}#tiny", None) == found
    assert find_encoder(f"{encoder_file}#tiny", None) == found
    assert find_encoder("other", registry).preparation == replace(found.preparation, colour="BGR")


def test_an_encoder_carries_its_space_preparation_and_licence(encoder_file: Path) -> None:
    encoder_file.write_text(json.dumps(described(encoder_file, licence="MIT", note="for people")))
    encoder = find_encoder(str(encoder_file), None)
    weights = encoder_file.with_name("tiny.onnx").read_bytes()
    assert (encoder.space.name, encoder.space.dimension) == ("tiny", 4)
    assert encoder.space.encoder == f"sha256:{sha256_hex(weights)}"
    assert encoder.preparation == InputPreparation(mean=(127.5,) * 3, std=(127.5,) * 3)
    assert encoder.space.preparation == encoder.preparation
    assert (encoder.model, encoder.licence) == (weights, "MIT")


def test_whole_numbers_stand_for_the_same_space_as_their_decimals(encoder_file: Path) -> None:
    spaces = set()
    for mean in ([127, 0, 0], [127.0, 0.0, -0.0]):
        encoder_file.write_text(json.dumps(described(encoder_file, mean=mean)))
        spaces.add(find_encoder(str(encoder_file), None).space.fingerprint)
    assert len(spaces) == 1


def test_a_bundle_folder_is_an_encoder_of_the_same_space(encoder_file: Path, tmp_path: Path) -> None:
    encoder = find_encoder(str(encoder_file), None)
    write_encoder_bundle(tmp_path / "packed", encoder)
    found = find_encoder(str(tmp_path / "packed"), None)
    assert (found.space, found.preparation, found.licence) == (encoder.space, encoder.preparation, encoder.licence)
    assert found.model != encoder.model


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, None, r"bundle\.json: missing")


def test_a_damaged_bundle_is_refused(encoder_file: Path, tmp_path: Path) -> None:
    write_encoder_bundle(tmp_path / "packed", find_encoder(str(encoder_file), None))
    model = tmp_path / "packed" / "model.onnx"
    model.write_bytes(model.read_bytes()[:-1])
    refused(tmp_path / "packed", None, r"model\.onnx: its SHA-256")


def test_a_name_without_a_registry_says_what_to_give(encoder_file: Path) -> None:
    refused("tiny", None, r"'tiny' is neither a file nor a folder.*--encoders FILE.*FACEBRIDGE_ENCODERS")


def test_an_unknown_name_lists_the_known_ones(encoder_file: Path) -> None:
    registry = registry_of(encoder_file, described(encoder_file), described(encoder_file, name="other"))
    refused("tinny", registry, "name one of its encoders: tiny, other")
    refused(f"{registry}#tinny", None, "name one of its encoders: tiny, other")
    refused(f"{encoder_file}#other", None, "name one of its encoders: tiny")


def test_a_file_of_several_encoders_needs_a_name(encoder_file: Path) -> None:
    registry = registry_of(encoder_file, described(encoder_file), described(encoder_file, name="other"))
    refused(registry, None, "name one of its encoders: tiny, other")


def test_a_file_of_one_encoder_in_a_list_needs_no_name(encoder_file: Path) -> None:
    registry = registry_of(encoder_file, described(encoder_file))
    assert find_encoder(str(registry), None).space.name == "tiny"


@pytest.mark.parametrize("missing", ["not-there.json", "not-there.json#tiny"])
def test_a_description_that_is_not_there_is_refused(tmp_path: Path, missing: str) -> None:
    refused(tmp_path / missing, None, "cannot be read .No such file")


def test_a_registry_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    refused("tiny", tmp_path, "cannot be read .Is a directory")


def test_weights_that_are_not_there_are_refused(encoder_file: Path) -> None:
    encoder_file.with_name("tiny.onnx").unlink()
    refused(encoder_file, None, r"tiny\.onnx: the encoder's file cannot be read .No such file")


def test_the_weights_given_in_place_of_their_description_get_a_hint(encoder_file: Path) -> None:
    refused(encoder_file.with_name("tiny.onnx"), None, "give the JSON file that describes this encoder")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("[]", "should be an object"),
        ("null", "should be an object"),
        ('{"encoders": []}', "at least 1 item"),
        ('{"encoders": {}}', "valid array"),
        ('{"encoders": [{"name": "a", "file": "x"}]}', r"Field required \(at .*encoders/0/dim\)"),
        ('{"name": "a", "dim": 4}', r"Field required \(at encoder/file\)"),
    ],
)
def test_a_description_that_is_not_one_is_refused(encoder_file: Path, text: str, match: str) -> None:
    encoder_file.write_text(text)
    refused(encoder_file, None, f"tiny.json: .*{match}")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Tiny One"},
        {"dim": 0},
        {"dim": "4"},
        {"colour": "GRAY"},
        {"std": [0, 1, 1]},
        {"std": [-1, 1, 1]},
        {"std": [1, 1]},
        {"mean": [float("nan"), 0, 0]},
        {"mean": [float("inf"), 0, 0]},
        {"mean": 127.5},
        {"crop": [0, 0, 113, 112]},
        {"crop": [50, 0, 50, 112]},
        {"crop": [-1, 0, 112, 112]},
        {"resize": [0, 0]},
        {"resize": [1 << 20, 1 << 20]},
        {"size": [64, 64]},
    ],
)
def test_a_description_that_cannot_be_is_refused(encoder_file: Path, changes: dict[str, Any]) -> None:
    encoder_file.write_text(json.dumps(described(encoder_file, **changes)))
    refused(encoder_file, None, r"tiny\.json: ")
