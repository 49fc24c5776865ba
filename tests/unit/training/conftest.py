"""Tiny encoders, pictures, feature sets and a bundle, made on the spot, and one thread for all of it."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.feature_set import FeatureSet
from models.space import Space
from tests.exporting import one_registry  # noqa: F401
from training import cli
from training.data.feature_set_files import save_feature_set
from training.trainers import residual_mlp

FloatArray = npt.NDArray[np.float32]

TINY_WEIGHT = np.array([[1.0, 0.0, 0.5, -1.0], [0.0, 1.0, 0.5, 0.25], [0.5, -0.5, 0.0, 1.0]], dtype=np.float32)
TINY_BIAS = np.array([0.5, 0.25, -0.5, 1.0], dtype=np.float32)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_weight() -> FloatArray:
    return TINY_WEIGHT


@pytest.fixture
def tiny_bias() -> FloatArray:
    return TINY_BIAS


def _tiny_model(
    *, opset: int = 18, ir_version: int = 8, batch: int | str = "batch", output: str = "raw", side: int = 112
) -> onnx.ModelProto:
    """The mean colour (3) of a picture times a matrix plus a bias (4)."""
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["picture"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["colour"]),
            helper.make_node("Gemm", ["colour", "weight", "bias"], [output]),
        ],
        "tiny-encoder",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(TINY_WEIGHT, "weight"), numpy_helper.from_array(TINY_BIAS, "bias")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


TinyModel = Callable[..., onnx.ModelProto]


@pytest.fixture
def tiny_model() -> TinyModel:
    """Makes the tiny encoder: keywords opset, ir_version, batch, output, side."""
    return _tiny_model


@pytest.fixture
def encoder_file(tmp_path: Path) -> Path:
    """A JSON file that describes the tiny encoder, beside its ONNX file."""
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(_tiny_model().SerializeToString())
    description = {"name": "tiny", "file": "tiny.onnx", "dim": 4, "mean": [127.5] * 3, "std": [127.5] * 3}
    path = folder / "tiny.json"
    path.write_text(json.dumps(description))
    return path


def _picture(seed: int, *, side: int = 112) -> bytes:
    """A PNG whose left half has one colour and whose right half has another."""
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(colours[None], side // 2, axis=1), side, axis=0)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes the bytes of a picture from a seed."""
    return _picture


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    """Twelve pictures of six people, each in a folder named after the subject."""
    folder = tmp_path / "pictures"
    for i in range(12):
        path = folder / f"person{i // 2}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_picture(i))
    return folder


@pytest.fixture
def drawn_folder(tmp_path: Path) -> Path:
    """A sketch and a photo of ninety people, alike, with a list that tells them apart."""
    folder = tmp_path / "drawn"
    folder.mkdir()
    lines = ["image,subject,modality"]
    for number in range(90):
        for modality in ("sketch", "photo"):
            (folder / f"{modality}-{number}.png").write_bytes(_picture(number))
            lines.append(f"{modality}-{number}.png,p{number},{modality}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def _feature_set(
    name: str = "a", dimension: int = 4, num: int = 6, *, seed: int = 0, subjects: bool = True
) -> FeatureSet:
    columns = {
        "feature": np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32),
        "image": np.array([f"{i:03d}.png" for i in range(num)]),
        "subject": np.array([f"s{i // 2}" if subjects else "" for i in range(num)]),
    }
    return FeatureSet.build(Space(name, dimension, f"external:{name}"), columns)


@pytest.fixture
def feature_set() -> Callable[..., FeatureSet]:
    """Makes a feature set of random features, two pictures a subject."""
    return _feature_set


def _planted(name: str, dimension: int, *, subjects: bool = True, keys: str = "{i:04d}.png") -> FeatureSet:
    """Sixty identities in six dimensions, four pictures each, seen through a random linear map and noise."""
    identity = np.repeat(np.random.default_rng(0).normal(size=(60, 6)), 4, axis=0)
    random = np.random.default_rng(dimension)
    feature = identity @ random.normal(size=(6, dimension)) + 0.4 * random.normal(size=(240, dimension))
    columns = {
        "feature": feature.astype(np.float32),
        "image": np.array([keys.format(i=i) for i in range(240)]),
        "subject": np.array([f"person{i // 4:02d}" if subjects else "" for i in range(240)]),
    }
    return FeatureSet.build(Space(name, dimension, f"external:{name}"), columns)


@pytest.fixture
def planted() -> Callable[..., FeatureSet]:
    """Makes a feature set of the same 240 pictures in another space."""
    return _planted


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two feature sets of the same 240 pictures, the same without subjects, and a ridge bundle from one to the other."""
    folder = tmp_path_factory.mktemp("files")
    names = {
        "source": "a.npz",
        "target": "b.parquet",
        "unlabelled_source": "a0.npz",
        "unlabelled_target": "b0.npz",
        "bundle": "a-to-b",
    }
    made = {role: folder / name for role, name in names.items()}
    save_feature_set(_planted("space-a", 12), made["source"])
    save_feature_set(_planted("space-b", 10), made["target"])
    save_feature_set(_planted("space-a", 12, subjects=False), made["unlabelled_source"])
    save_feature_set(_planted("space-b", 10, subjects=False), made["unlabelled_target"])
    sets = ["--source", str(made["source"]), "--target", str(made["target"])]
    assert cli.run(["fit", *sets, "--out", str(made["bundle"]), "--method", "ridge"]) == 0
    return made


@pytest.fixture
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residual_mlp, "EPOCHS", 2)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that should succeed, and returns what it printed. `fit` draws a report only where --report is said."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        undrawn = ["--no-report"] if arguments[0] == "fit" and "--report" not in arguments else []
        code = cli.run([*map(str, arguments), *undrawn])
        printed = capsys.readouterr()
        assert code == 0, printed.err
        assert not printed.err
        return printed.out

    return call


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that should fail with 2 and one line on stderr, and returns the line."""

    def call(*arguments: object) -> str:
        capsys.readouterr()
        try:
            code: object = cli.run([str(argument) for argument in arguments])
        except SystemExit as left:  # argparse leaves by itself
            code = left.code
        printed = capsys.readouterr()
        assert (code, printed.out) == (2, "")
        assert printed.err.endswith("\n")
        line = printed.err.removesuffix("\n")
        assert line.startswith("facebridge-train")
        assert line.isprintable(), line
        return line

    return call
