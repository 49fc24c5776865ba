"""R3AN, its parts and the naive model, as a user trains them in process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.bundle import read_bundle
from models.runtime import Session
from training import cli
from training.data.feature_set_files import load_feature_set
from training.trainers.checkpoint import save_checkpoint
from training.trainers.student import SHARES

Run = Callable[..., str]
Fails = Callable[..., str]
Files = dict[str, Path]
NUM = 240


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of one colour for each row of the planted sets."""
    folder = tmp_path_factory.mktemp("pictures")
    colours = np.random.default_rng(0).integers(0, 256, size=(NUM, 3))
    for i, colour in enumerate(colours.tolist()):
        Image.new("RGB", (112, 112), tuple(colour)).save(folder / f"{i:04d}.png")
    return folder


FEW_TO_TRAIN_ON = ("--validation", 0.4, "--test", 0.4)


@pytest.fixture
def command(files: Files, tmp_path: Path) -> Callable[..., list[object]]:
    def made(method: str, *more: object, epochs: int = 1) -> list[object]:
        sets = ("--source", files["source"], "--target", files["target"], "--out", tmp_path / "fitted")
        return ["fit", *sets, *FEW_TO_TRAIN_ON, "--method", method, "--epochs", epochs, "--batch", 16, *more]

    return made


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("method", ["r3an", "arch1", "arch3", "fc", "r3an-student"])
def test_fit_trains_exports_and_leaves_nothing_behind(
    run: Run, command: Callable[..., list[object]], pictures: Path, files: Files, tmp_path: Path, method: str
) -> None:
    images = ("--images", pictures) if method in ("r3an", "arch1", "r3an-student") else ()
    printed = run(*command(method, *images, "--seed", 2))
    bundle = read_bundle(tmp_path / "fitted")
    manifest = bundle.manifest
    assert (manifest.kind, manifest.method, manifest.provenance.seed) == ("translator", method, 2)
    assert f"{tmp_path / 'fitted'}: {method} " in printed
    settings: Any = manifest.provenance.hyperparameters
    if method != "r3an-student":
        assert (settings["epochs"], settings["batch"]) == (1, 16)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fitted"]
    card = (tmp_path / "fitted" / "MODEL_CARD.md").read_text()
    assert ("can cut the network there and see a face" in card) == (method not in ("fc", "r3an-student"))
    source, target = load_feature_set(files["source"]), load_feature_set(files["target"])
    rule = manifest.provenance.split
    assert rule is not None
    test = rule.parts(source) == "test"
    translated = Session(bundle.model, device="cpu").run(source.feature[test])
    cosine = float(np.mean(np.sum(translated.astype(np.float64) * target.feature[test], axis=1)))
    figures: Any = manifest.metrics["test"]
    assert figures["rows"]["translated probes"]["mean_cosine"] == pytest.approx(cosine, abs=1e-6)


def interrupt(words: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command, with Ctrl-C as the first epoch's checkpoint has been written."""

    def killed(*given: Any) -> None:
        save_checkpoint(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.trainers.r3an.save_checkpoint", killed)
        assert cli.run([str(word) for word in words]) != 0


def test_an_interrupted_fit_goes_on_to_the_same_bundle(
    run: Run,
    command: Callable[..., list[object]],
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = command("r3an", "--images", pictures, epochs=2)
    run(*words)
    whole = (tmp_path / "fitted" / "model.onnx").read_bytes()
    (tmp_path / "fitted").rename(tmp_path / "whole")
    interrupt(words, monkeypatch)
    assert (tmp_path / "fitted.partial" / "checkpoint.npz").is_file()
    run(*words)
    assert (tmp_path / "fitted" / "model.onnx").read_bytes() == whole
    assert not (tmp_path / "fitted.partial").exists()


def test_after_an_interruption_other_options_are_refused_and_the_first_go_on(
    run: Run, fails: Fails, command: Callable[..., list[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(command("fc", epochs=2), monkeypatch)
    kept = (tmp_path / "fitted.partial" / "checkpoint.npz").read_bytes()
    line = fails(*command("fc", epochs=3))
    assert "fitted.partial/checkpoint.npz: was left by a training with other options" in line
    assert (tmp_path / "fitted.partial" / "checkpoint.npz").read_bytes() == kept
    run(*command("fc", "--learning-rate", 0.0005, epochs=2))
    settings: Any = read_bundle(tmp_path / "fitted").manifest.provenance.hyperparameters
    assert settings["learning_rates"] == [0.001, 0.0005]


def test_pictures_are_asked_for_where_the_method_needs_them(fails: Fails, command: Callable[..., list[object]]) -> None:
    assert fails(*command("r3an")) == (
        "facebridge-train fit: --method r3an needs the pictures that the features were made from: --images"
    )


def test_pictures_are_refused_where_the_method_does_not_look(
    fails: Fails, command: Callable[..., list[object]], pictures: Path
) -> None:
    line = fails(*command("arch3", "--images", pictures))
    assert line == "facebridge-train fit: --images has no effect on --method arch3, which looks at features alone"


def test_features_whose_pictures_are_missing_are_counted_and_the_first_named(
    fails: Fails, command: Callable[..., list[object]], pictures: Path, tmp_path: Path
) -> None:
    some = tmp_path / "some"
    some.mkdir()
    for path in sorted(pictures.iterdir())[:100]:
        (some / path.name).write_bytes(path.read_bytes())
    line = fails(*command("r3an", "--images", some))
    assert f"facebridge-train fit: {some}: " in line
    assert " pictures that the features were made from are not there, '01" in line
    assert not (tmp_path / "fitted.partial").exists()


@pytest.mark.parametrize("words", [("--width", "0.5"), ("--margin", "0.3"), ("--backbone", "resnet-50")])
def test_options_of_encoders_are_refused(
    fails: Fails, command: Callable[..., list[object]], words: tuple[str, str]
) -> None:
    line = fails(*command("arch3", *words))
    assert line == f"facebridge-train fit: {words[0]} is for --method encoder and has no effect on --method arch3"


@pytest.mark.parametrize("words", [("--recipe", "paper"), ("--device", "cpu"), ("--images", "x")])
def test_options_of_trained_methods_are_refused_for_closed_forms(
    fails: Fails, files: Files, words: tuple[str, str], tmp_path: Path
) -> None:
    sets = ("--source", files["source"], "--target", files["target"], "--out", tmp_path / "x")
    assert fails("fit", *sets, "--method", "ridge", *words).startswith(f"facebridge-train fit: {words[0]} ")


def test_with_reconstruction_writes_a_bundle_that_paints_and_the_translators_own_keeps_the_picture(
    run: Run, command: Callable[..., list[object]], pictures: Path, files: Files, tmp_path: Path
) -> None:
    printed = run(*command("r3an", "--images", pictures, "--with-reconstruction"))
    translator, painter = read_bundle(tmp_path / "fitted"), read_bundle(tmp_path / "fitted-reconstruction")
    assert "fitted-reconstruction: paints the faces" in printed.replace("\n", "")
    manifest = painter.manifest
    assert (manifest.kind, manifest.source) == ("generator", translator.manifest.source)
    assert manifest.metrics == {"translator": translator.manifest.digest}
    assert manifest.provenance == translator.manifest.provenance
    picture = Session(painter.model, device="cpu").run(load_feature_set(files["source"]).feature[:5])
    assert picture.shape == (5, 3, 56, 56)
    assert 0 <= picture.min() < picture.max() <= 255
    # One input, one output: no service can be asked for what is between them.
    graph = translator.graph
    assert (graph.input_name, graph.output_name) == ("source_feature", "target_feature")
    assert graph.output_shape[-1:] == (translator.manifest.target.dimension,)


@pytest.mark.parametrize(
    ("method", "says"),
    [
        ("arch3", "--method arch3 does not learn to paint faces"),
        ("arch7", "--method arch7 does not learn to paint faces"),
        ("fc", "--method fc does not learn to paint faces"),
        ("r3an-student", "--method r3an-student does not learn to paint faces"),
        ("ridge", "--with-reconstruction is for r3an"),
        ("encoder", "--with-reconstruction is for r3an"),
        ("cca", "--with-reconstruction is for r3an"),
    ],
)
def test_reconstruction_is_refused_where_nothing_learns_to_paint(
    fails: Fails, files: Files, pictures: Path, tmp_path: Path, method: str, says: str
) -> None:
    sets = ("--source", files["source"], "--target", files["target"], "--images", pictures)
    assert says in fails("fit", *sets, "--method", method, "--with-reconstruction", "--out", tmp_path / "fitted")
    assert not any(tmp_path.iterdir())


def test_a_folder_in_the_way_of_the_generator_is_found_before_the_training(
    fails: Fails, command: Callable[..., list[object]], pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "fitted-reconstruction").mkdir()
    assert "exists already" in fails(*command("r3an", "--images", pictures, "--with-reconstruction"))
    assert [path.name for path in tmp_path.iterdir()] == ["fitted-reconstruction"]


@pytest.mark.usefixtures("short_training")
def test_a_student_learns_from_a_teacher_that_is_there(
    run: Run, fails: Fails, files: Files, pictures: Path, tmp_path: Path
) -> None:
    """How much it is heard is tested with its trainer."""
    sets = ("--source", files["source"], "--target", files["target"], *FEW_TO_TRAIN_ON)
    run("fit", *sets, "--method", "arch3", "--epochs", 1, "--out", tmp_path / "teacher")
    run("fit", *sets, "--method", "ridge", "--out", tmp_path / "ridge")
    run("fit", *sets, "--method", "r3an-student", "--teacher", tmp_path / "teacher", "--out", tmp_path / "student")
    student = read_bundle(tmp_path / "student")
    assert student.manifest.provenance.hyperparameters["teacher_share"] in SHARES
    assert student.manifest.provenance.data_digests["teacher"] == read_bundle(tmp_path / "teacher").manifest.digest
    words = ("fit", *sets, "--method", "r3an-student", "--teacher", tmp_path / "teacher", "--out", tmp_path / "other")
    line = fails(*words, "--epochs", 3)
    assert line == "facebridge-train fit: --epochs has no effect on a student whose --teacher is trained already"
    assert "was fitted on another split" in fails(*words, "--seed", 7)
    assert "--images has no effect with a --teacher: it has looked" in fails(*words, "--images", pictures)
    swapped = ("fit", "--source", files["target"], "--target", files["source"], *words[5:])
    assert "the bundle translates from 'space-a'" in fails(*swapped)
    of_ridge = [tmp_path / "ridge" if word == tmp_path / "teacher" else word for word in words]
    assert "is of --method ridge, and teaches what the pairs do; give an R3AN" in fails(*of_ridge)


def test_a_teacher_is_for_a_student(fails: Fails, files: Files, tmp_path: Path) -> None:
    sets = ("--source", files["source"], "--target", files["target"])
    line = fails("fit", *sets, "--method", "ridge", "--teacher", tmp_path, "--out", tmp_path / "x")
    assert line == "facebridge-train fit: --teacher is for --method r3an-student"
