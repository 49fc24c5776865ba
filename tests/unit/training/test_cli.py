"""The command line as a whole: what every command refuses, each time in one line."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training import __main__, cli
from training.commands import extract

Fails = Callable[..., str]
Files = dict[str, Path]

COMMANDS = ("extract", "fit", "evaluate", "translate", "select", "package")


def fit(source: Path, target: Path, out: Path, *more: str) -> list[str]:
    return ["fit", "--source", str(source), "--target", str(target), "--out", str(out), *more]


Column = npt.NDArray[Any]


def spoilt(feature: Column, value: float) -> Column:
    feature = feature.copy()
    feature[7] = value
    return feature


BAD_COLUMNS: dict[str, tuple[Callable[[Column], dict[str, Column]], str]] = {
    "NaN": (lambda feature: {"feature": spoilt(feature, np.nan)}, "feature 7 holds NaN or infinity"),
    "infinity": (lambda feature: {"feature": spoilt(feature, np.inf)}, "feature 7 holds NaN or infinity"),
    "zero": (lambda feature: {"feature": spoilt(feature, 0.0)}, "feature 7 is a zero vector"),
    "dimension": (
        lambda feature: {"feature": feature[:, :11]},
        "features have 11 numbers, its space 'space-a' says 12",
    ),
    "fewer rows": (lambda feature: {"feature": feature[1:]}, "must have one entry for each of 239 features"),
    "duplicate": (lambda feature: {"image": np.array(["same.png"] * 240)}, "keys must be unique"),
    "space": (lambda feature: {"space": np.array("{}")}, "space: Field required"),
    "stray": (lambda feature: {"extra": np.zeros(240)}, "unknown column 'extra'"),
}


def copied(bundle: Path, to: Path) -> Path:
    shutil.copytree(bundle, to)
    return to


def raising(failure: BaseException) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> None:
        raise failure

    return call


@pytest.mark.parametrize(
    "command", [(), ("frobnicate",), *((name,) for name in COMMANDS), ("fit", "--frobnicate"), ("--frobnicate",)]
)
def test_a_command_line_that_is_none_is_answered_in_one_line(fails: Fails, command: tuple[str, ...]) -> None:
    assert "--help)" in fails(*command)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_flag_is_refused(fails: Fails, files: Files, command: str) -> None:
    required: dict[str, list[object]] = {
        "extract": ["--encoder", "e", "--images", "i", "--out", "o.npz"],
        "fit": ["--source", "s", "--target", "t", "--out", "o"],
        "evaluate": ["--bundle", "b", "--source", "s", "--target", "t"],
        "translate": ["--bundle", "b", "--in", "s", "--out", "o"],
        "select": ["--in", "s", "--out", "o"],
        "package": ["--encoder", "e", "--out", "o"],
    }
    assert "unrecognized arguments: --frobnicate" in fails(command, *required[command], "--frobnicate")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS), ["--version"]])
def test_help_and_version_are_answers(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.run(arguments)
    assert left.value.code == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("kind", BAD_COLUMNS)
@pytest.mark.parametrize("command", ["fit", "evaluate", "translate", "select"])
def test_a_bad_feature_set_is_refused_by_every_command(
    fails: Fails, files: Files, tmp_path: Path, command: str, kind: str
) -> None:
    columns, match = BAD_COLUMNS[kind]
    bad, out = tmp_path / "bad.npz", tmp_path / "out.npz"
    whole = dict(np.load(files["source"]))
    with bad.open("wb") as stream:
        np.savez(stream, **(whole | columns(whole["feature"])))
    arguments: dict[str, list[object]] = {
        "fit": [*fit(bad, files["target"], tmp_path / "out")],
        "evaluate": ["evaluate", "--bundle", files["bundle"], "--source", bad, "--target", files["target"]],
        "translate": ["translate", "--bundle", files["bundle"], "--in", bad, "--out", out],
        "select": ["select", "--in", bad, "--out", out],
    }
    line = fails(*arguments[command])
    assert f"{bad}: " in line
    assert match in line
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize("kind", ["missing", "folder", "words", "ending"])
def test_a_feature_set_that_is_none_is_refused(fails: Fails, files: Files, tmp_path: Path, kind: str) -> None:
    path = tmp_path / ("set.csv" if kind == "ending" else "set.npz")
    if kind == "folder":
        path.mkdir()
    elif kind == "words":
        path.write_text("words")
    for arguments in (
        fit(path, files["target"], tmp_path / "x"),
        fit(files["source"], path, tmp_path / "x"),
        ["select", "--in", path, "--out", tmp_path / "out.npz"],
        ["translate", "--bundle", files["bundle"], "--in", path, "--out", tmp_path / "out.npz"],
    ):
        line = fails(*arguments)
        assert str(path) in line
        assert {"missing": "No such file", "folder": "is a folder", "words": "not a complete", "ending": "ends in"}[
            kind
        ] in line


@pytest.mark.parametrize("name", ["Upper", "with space", "-dash", ".hidden", "x" * 64])
def test_a_bad_name_for_a_bundle_is_refused_before_any_work(
    fails: Fails, encoder_file: Path, tmp_path: Path, name: str
) -> None:
    missing = tmp_path / "missing.npz"
    assert "the folder's name is the bundle's" in fails(*fit(missing, missing, tmp_path / name))
    packaged = fails("package", "--encoder", encoder_file, "--out", tmp_path / name)
    assert "the folder's name is the bundle's" in packaged


@pytest.mark.parametrize("is_file", [True, False])
def test_a_bundle_is_never_written_over_anything(
    fails: Fails, files: Files, encoder_file: Path, tmp_path: Path, is_file: bool
) -> None:
    there = tmp_path / "there"
    there.touch() if is_file else there.mkdir()
    assert "exists already" in fails(*fit(files["source"], files["target"], there))
    assert "exists already" in fails("package", "--encoder", encoder_file, "--out", there)


def test_a_set_is_not_written_over_a_folder(
    fails: Fails, files: Files, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    out.mkdir()
    for arguments in (
        ["extract", "--encoder", encoder_file, "--images", picture_folder, "--out", out],
        ["translate", "--bundle", files["bundle"], "--in", files["source"], "--out", out],
        ["select", "--in", files["source"], "--out", out],
    ):
        assert "is a folder" in fails(*arguments)


def test_a_set_is_not_overwritten_by_what_is_made_from_it(fails: Fails, files: Files, tmp_path: Path) -> None:
    own = tmp_path / "own.npz"
    own.write_bytes(files["source"].read_bytes())
    (tmp_path / "link.npz").symlink_to(own)
    for out in (own, tmp_path / "link.npz", tmp_path / ".." / tmp_path.name / "own.npz"):
        translate = ["translate", "--bundle", files["bundle"], "--in", own, "--out", out]
        assert "would be overwritten" in fails(*translate)
        assert "would be overwritten" in fails("select", "--in", own, "--out", out)
    assert own.read_bytes() == files["source"].read_bytes()


def test_a_place_that_cannot_be_written_is_said_so_by_every_command(
    fails: Fails, files: Files, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    below = tmp_path / "file"
    for arguments in (
        fit(files["source"], files["target"], below / "bundle", "--method", "ridge"),
        ["extract", "--encoder", encoder_file, "--images", picture_folder, "--out", below / "set.npz"],
        ["translate", "--bundle", files["bundle"], "--in", files["source"], "--out", below / "set.npz"],
        ["select", "--in", files["source"], "--out", below / "set.npz"],
        ["package", "--encoder", encoder_file, "--out", below / "bundle"],
    ):
        assert "cannot be written" in fails(*arguments)


@pytest.mark.parametrize(
    "name", ["bundle.json", "model.onnx", "calibration.json", "MODEL_CARD.md", "report/index.html"]
)
def test_a_bundle_with_a_flipped_bit_is_refused_by_every_command(
    fails: Fails, files: Files, tmp_path: Path, name: str
) -> None:
    bundle = copied(files["bundle"], tmp_path / "a-to-b")
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    for arguments in (
        ["evaluate", "--bundle", bundle, "--source", files["source"], "--target", files["target"]],
        ["translate", "--bundle", bundle, "--in", files["source"], "--out", tmp_path / "out.npz"],
        ["select", "--bundle", bundle, "--in", files["source"], "--out", tmp_path / "out.npz"],
    ):
        assert f"a-to-b/{name}" in fails(*arguments)


@pytest.mark.parametrize("kind", ["missing", "a file", "an empty folder"])
def test_a_bundle_that_is_none_is_refused(fails: Fails, files: Files, tmp_path: Path, kind: str) -> None:
    bundle = tmp_path / "bundle"
    if kind == "a file":
        bundle.touch()
    elif kind == "an empty folder":
        bundle.mkdir()
    arguments = ["translate", "--bundle", bundle, "--in", files["source"], "--out", tmp_path / "out.npz"]
    assert "bundle/bundle.json: missing" in fails(*arguments)


def test_ctrl_c_is_one_line_and_130(
    capsys: pytest.CaptureFixture[str],
    encoder_file: Path,
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extract, "extract_features", raising(KeyboardInterrupt()))
    out = str(tmp_path / "x.npz")
    arguments = ["extract", "--encoder", str(encoder_file), "--images", str(picture_folder), "--out", out]
    assert cli.run(arguments) == 130
    assert capsys.readouterr() == ("", "facebridge-train extract: interrupted\n")


def test_a_fault_of_the_system_is_one_line_too(
    fails: Fails, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = OSError(28, "No space left on device", "somewhere")
    monkeypatch.setattr("training.commands.select.load_feature_set", raising(failure))
    line = fails("select", "--in", files["source"], "--out", tmp_path / "x.npz")
    assert line == "facebridge-train select: somewhere: No space left on device"


@pytest.mark.parametrize("missing", ["threadpoolctl", "torch.nn", "onnxruntime"])
def test_where_the_extra_is_not_installed_it_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    failure = ModuleNotFoundError(f"No module named {missing!r}", name=missing)
    monkeypatch.setattr("training.__main__.importlib.import_module", raising(failure))
    with pytest.raises(SystemExit) as left:
        __main__.main()
    assert left.value.code == 2
    assert capsys.readouterr().err == "facebridge-train needs the extra train: pip install 'facebridge[cpu,train]'\n"


def test_a_module_of_our_own_that_is_missing_is_a_fault_and_no_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = ModuleNotFoundError("No module named 'training.gone'", name="training.gone")
    monkeypatch.setattr("training.__main__.importlib.import_module", raising(failure))
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


def test_without_an_extra_the_program_says_so_in_one_line() -> None:
    program = "import sys; sys.modules['threadpoolctl'] = None; from training.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "facebridge-train needs the extra train: pip install 'facebridge[cpu,train]'\n"
