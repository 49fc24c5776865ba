import json
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data.feature_set_files import load_feature_set
from training.data.sources import open_source
from training.data.synthetic import files

Run = Callable[..., str]
Fails = Callable[..., str]

SMALL = ["--size", 48, "--images-per-subject", 2, "--workers", 1]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "world"


def labelled(out: Path, column: str) -> set[str]:
    return {item.labels[column] for item in open_source(out).items}


def test_synth_writes_a_world_and_says_what_is_in_it(run: Run, out: Path) -> None:
    printed = run("synth", "--subjects", 3, "--out", out, *SMALL)
    digest = json.loads((out / "manifest.json").read_text())["sha256_of_pictures"]
    assert printed == (
        f"{out}: 6 pictures of 3 subjects (of each: photo 2), SHA-256 {digest[:16]}\n"
        f"{out}/contact-sheet.png: to look at\n"
    )
    assert [item.subject for item in open_source(out).items] == [f"w0-00000{i // 2}" for i in range(6)]


def test_the_sheet_of_an_archive_lies_beside_it(run: Run, tmp_path: Path) -> None:
    printed = run("synth", "--subjects", 1, "--out", tmp_path / "world.zip", *SMALL)
    assert printed.splitlines()[1] == f"{tmp_path}/world.contact-sheet.png: to look at"
    assert (tmp_path / "world.contact-sheet.png").is_file()


def test_modalities_may_have_numbers_of_their_own(run: Run, out: Path) -> None:
    printed = run("synth", "--subjects", 1, "--out", out, *SMALL, "--modalities", "photo", "caricature=3", "sketch=1")
    assert "6 pictures of 1 subjects (of each: photo 2, caricature 3, sketch 1)" in printed
    modalities = [item.modality for item in open_source(out).items]
    assert modalities == ["photo"] * 2 + ["sketch"] + ["caricature"] * 3


def test_expressions_and_shares_are_as_asked_for(run: Run, out: Path) -> None:
    shares = ["--attribute", "hat=1", "--attribute", "eyeglasses=0"]
    run("synth", "--subjects", 4, "--out", out, *SMALL, "--expressions", "fear", "disgust", *shares)
    assert labelled(out, "expression") == {"fear", "disgust"}
    assert labelled(out, "hat") == {"1"}
    assert labelled(out, "eyeglasses") == {"0"}


def test_the_seed_makes_the_world(run: Run, tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        run("synth", "--subjects", 1, "--out", tmp_path / name, "--seed", seed, *SMALL)
        digests.append(json.loads((tmp_path / name / "manifest.json").read_text())["sha256_of_pictures"])
    assert digests[0] == digests[1] != digests[2]


def test_an_interrupted_command_goes_on_and_says_so(
    run: Run, fails: Fails, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_CHUNK", 2)
    make_chunk = files._make_chunk

    def full_after_the_first(order: files.Order, chunk: files._Chunk) -> int:
        if chunk.start:
            raise OSError(28, "No space left on device")
        return make_chunk(order, chunk)

    monkeypatch.setattr(files, "_make_chunk", full_after_the_first)
    arguments = ["synth", "--subjects", 3, "--out", out, *SMALL]
    assert fails(*arguments) == "facebridge-train synth: No space left on device"
    monkeypatch.setattr(files, "_make_chunk", make_chunk)
    assert run(*arguments).startswith("2 were taken over from an interrupted run\n")


def test_extract_reads_what_synth_made(run: Run, out: Path, tmp_path: Path, encoder_file: Path) -> None:
    run("synth", "--subjects", 2, "--out", out, *SMALL, "--modalities", "photo", "sketch")
    run("extract", "--encoder", encoder_file, "--images", out, "--out", tmp_path / "set.npz")
    found = load_feature_set(tmp_path / "set.npz")
    assert found.subject.tolist() == ["w0-000000"] * 4 + ["w0-000001"] * 4
    assert found.modality is not None
    assert found.modality.tolist() == ["photo", "photo", "sketch", "sketch"] * 2
    assert set(found.labels["style"][2:4].tolist()) <= {"pencil", "contour", "charcoal"}
    assert set(found.labels["smile"].tolist()) <= {"0", "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", 0], "argument --subjects: must be a whole number, 1 or more"),
        (["--images-per-subject", 0], "argument --images-per-subject: must be a whole number, 1 or more"),
        (["--workers", -1], "argument --workers: must be a whole number, 0 or more"),
        (["--seed", 2**63], "argument --seed: must be at most 9223372036854775807"),
        (["--size", 47], "the size of a picture must lie between 48 and 512 pixels"),
        (["--size", 513], "the size of a picture must lie between 48 and 512 pixels"),
        (["--modalities", "x-ray"], "there is no modality 'x-ray'; there are: photo, sketch, caricature"),
        (["--modalities", "photo=0"], "argument --modalities: must be a whole number, 1 or more"),
        (["--modalities", "photo=many"], "argument --modalities: must be a whole number, 1 or more"),
        (["--expressions", "joy"], "there is no expression 'joy'; there are: neutral, happiness, sadness,"),
        (["--attribute", "monocle=0.5"], "there is no attribute 'monocle'; these can be set: eyeglasses, hat,"),
        (["--attribute", "smile=0.5"], "attribute 'smile' follows from face and expression; these can be set:"),
        (["--attribute", "hat=1.5"], "attribute 'hat': its share of pictures must lie between 0 and 1"),
        (["--attribute", "hat=-0.5"], "attribute 'hat': its share of pictures must lie between 0 and 1"),
        (["--attribute", "hat=nan"], "attribute 'hat': its share of pictures must lie between 0 and 1"),
        (["--attribute", "hat=often"], "'hat=often': give NAME=SHARE, for example eyeglasses=0.3"),
        (["--attribute", "hat"], "'hat': give NAME=SHARE, for example eyeglasses=0.3"),
    ],
)
def test_what_cannot_be_made_is_one_line(fails: Fails, out: Path, arguments: list[object], message: str) -> None:
    assert message in fails("synth", "--subjects", 2, "--out", out, *SMALL, *arguments)
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("missing", ["--subjects", "--out"])
def test_what_has_no_default_must_be_given(fails: Fails, out: Path, missing: str) -> None:
    given = {"--subjects": 2, "--out": out}
    del given[missing]
    arguments = [part for pair in given.items() for part in pair]
    assert f"the following arguments are required: {missing}" in fails("synth", *arguments)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taken", "taken: exists already; choose another name or delete it"),
        ("missing/world", "missing: there is no such folder"),
        ("world.tar", "world.tar: give a folder without an ending, or a .zip"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_one_line(
    fails: Fails, tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "taken").mkdir()
    assert message in fails("synth", "--subjects", 2, "--out", tmp_path / name, *SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--modalities", "photo", "photo=3"], "'photo'"),
        (["--attribute", "hat=0.2", "--attribute", "hat=0.9"], "'hat'"),
        (["--expressions", "fear", "neutral", "fear"], "'fear'"),
    ],
)
def test_what_is_named_twice_is_refused(fails: Fails, out: Path, words: list[str], named: str) -> None:
    line = fails("synth", "--subjects", 1, "--out", out, *words)
    assert line == f"facebridge-train synth: {named} is named more than once"
