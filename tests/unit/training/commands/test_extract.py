"""Extracting and packaging, as a user runs them in process."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.data.feature_set_files import load_feature_set

Picture = Callable[..., bytes]
Run = Callable[..., str]
Fails = Callable[..., str]
Files = dict[str, Path]


def test_extract_writes_the_set_and_says_what_is_in_it(
    run: Run, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "set.parquet"
    printed = run("extract", "--encoder", encoder_file, "--images", picture_folder, "--out", out)
    written = load_feature_set(out)
    assert printed == (f"{out}: 12 features of 4 numbers, 6 subjects, space tiny ({written.space.fingerprint})\n")
    assert [path.name for path in out.parent.iterdir()] == ["set.parquet"]


def test_extract_finds_a_name_in_the_environment(
    run: Run,
    encoder_file: Path,
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACEBRIDGE_ENCODERS", str(encoder_file))
    run("extract", "--encoder", "tiny", "--images", picture_folder, "--out", tmp_path / "set.npz")
    assert load_feature_set(tmp_path / "set.npz").space.name == "tiny"


def test_extract_says_what_it_left_out(
    run: Run, fails: Fails, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    (picture_folder / "person1" / "02.png").write_bytes(b"words")
    arguments = ["extract", "--encoder", encoder_file, "--images", picture_folder, "--out", tmp_path / "set.npz"]
    assert "picture person1/02.png: not a picture" in fails(*arguments)
    assert "1 unreadable pictures were left out, person1/02.png first" in run(*arguments, "--skip-unreadable")
    assert len(load_feature_set(tmp_path / "set.npz")) == 11


def test_package_makes_an_encoder_that_extract_takes(
    run: Run, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiny-bundle"
    printed = run("package", "--encoder", encoder_file, "--out", bundle)
    assert printed.startswith(f"{bundle}: encoder of the space tiny (")
    for encoder, name in ((encoder_file, "1.npz"), (bundle, "2.npz")):
        run("extract", "--encoder", encoder, "--images", picture_folder, "--out", tmp_path / name)
    one, two = load_feature_set(tmp_path / "1.npz"), load_feature_set(tmp_path / "2.npz")
    assert one.space == two.space
    np.testing.assert_allclose(one.feature, two.feature, atol=1e-6)


@pytest.mark.parametrize(
    ("flag", "value", "match"),
    [
        ("--batch-size", "-1", "whole number, 0 or more"),
        ("--workers", "-1", "whole number, 0 or more"),
        ("--workers", "many", "whole number, 0 or more"),
        ("--device", "tpu", "invalid choice: 'tpu'"),
        ("--device", "cuda", "CUDA was asked for"),
        ("--encoder", "tinny", "neither a file nor a folder"),
        ("--encoder", "tinny.json", "cannot be read"),
        ("--images", "not-there", "no such file or folder"),
        ("--out", "set.csv", r"ends in \.npz or \.parquet"),
        ("--encoders", "not-there.json", ""),
    ],
)
def test_extract_refuses_options_that_make_no_sense(
    fails: Fails,
    *,
    encoder_file: Path,
    picture_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flag: str,
    value: str,
    match: str,
) -> None:
    monkeypatch.setattr("models.runtime.ort.get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.chdir(tmp_path)
    arguments = ["extract", "--encoder", encoder_file, "--images", picture_folder, "--out", tmp_path / "x.npz"]
    if flag == "--encoders":
        arguments[2] = "tiny"
        match = r"not-there\.json: cannot be read"
    assert re.search(match, fails(*arguments, flag, value))
    assert not list(tmp_path.glob("x.npz*"))


def test_a_picture_that_is_called_like_a_blend_is_refused_with_or_without_views(
    fails: Fails, encoder_file: Path, tmp_path: Path, picture: Picture
) -> None:
    """Every later command would take it for one, and leave it out of what is measured."""
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "a.png#blend-b.png").write_bytes(picture(0))
    (folder / "b.png").write_bytes(picture(1))
    for more in ((), ("--views", 2)):
        line = fails("extract", "--encoder", encoder_file, "--images", folder, "--out", tmp_path / "x.npz", *more)
        assert "marks a view or blend of another; rename it" in line


def test_pictures_that_are_none_are_refused(fails: Fails, encoder_file: Path, tmp_path: Path, picture: Picture) -> None:
    arguments: list[object] = ["extract", "--encoder", encoder_file, "--out", tmp_path / "x.npz", "--images"]
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    assert "holds no pictures" in fails(*arguments, tmp_path / "empty.zip")
    (tmp_path / "words.zip").write_text("words")
    assert "not a readable zip archive" in fails(*arguments, tmp_path / "words.zip")
    folder = tmp_path / "cut"
    folder.mkdir()
    (folder / "a.png").write_bytes(picture(0)[:80])
    assert "picture a.png: the picture is truncated" in fails(*arguments, folder)
    assert "none of the pictures could be read" in fails(*arguments, folder, "--skip-unreadable")
    (folder / "a.png").write_bytes(b"")
    assert "picture a.png: not a picture" in fails(*arguments, folder)


def test_an_encoder_that_is_not_as_described_is_refused(
    fails: Fails, encoder_file: Path, picture_folder: Path, tmp_path: Path
) -> None:
    description = json.loads(encoder_file.read_text())
    for changes, match in (
        ({"dim": 5}, "puts out 4 numbers for a picture, its description says 5"),
        ({"resize": [64, 64]}, "compare its input with 'resize'"),
        ({"file": "gone.onnx"}, "the encoder's file cannot be read"),
        ({"std": [0, 0, 0]}, "greater than 0"),
    ):
        encoder_file.write_text(json.dumps(description | changes))
        extracting = ["extract", "--encoder", encoder_file, "--images", picture_folder, "--out", tmp_path / "x.npz"]
        assert match in fails(*extracting)
        assert match in fails("package", "--encoder", encoder_file, "--out", tmp_path / "x")


def test_a_translator_bundle_encodes_nothing(fails: Fails, files: Files, picture_folder: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "x.npz"]
    line = fails("extract", "--encoder", files["bundle"], "--images", picture_folder, *out)
    assert "is a bundle of kind translator, not an encoder" in line
