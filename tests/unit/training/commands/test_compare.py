"""Every method side by side, as a user compares them in process."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.recipes import comparison, r3an
from training.recipes.comparison import QUICK, WITH_PICTURES
from training.recipes.translators import fit_methods
from training.trainers import r3an as trainers_r3an
from training.trainers import student

Run = Callable[..., str]
Fails = Callable[..., str]
Files = dict[str, Path]

pytestmark = pytest.mark.usefixtures("short_training", "short_r3an", "short_timing")


@pytest.fixture
def short_r3an(monkeypatch: pytest.MonkeyPatch) -> None:
    """One epoch of the small recipe."""
    small = r3an.small
    monkeypatch.setitem(r3an.RECIPES, "small", lambda paths: replace(small(paths), epochs=1, batch=32))


@pytest.fixture
def short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """R3AN takes seconds for as many rows as it is timed with."""
    monkeypatch.setattr(comparison, "_ROWS_A_RUN", 32)
    monkeypatch.setattr(comparison, "_SECONDS", 0.1)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for i, colour in enumerate(np.random.default_rng(0).integers(0, 256, size=(240, 3)).tolist()):
        Image.new("RGB", (112, 112), tuple(colour)).save(folder / f"{i:04d}.png")
    return folder


def sets(files: Files, kind: str = "") -> tuple[object, ...]:
    return ("--source", files[f"{kind}source"], "--target", files[f"{kind}target"])


def read(folder: Path) -> Any:
    return json.loads((folder / "comparison.json").read_text())


def test_everything_is_compared_where_there_are_pictures(
    run: Run, files: Files, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = trainers_r3an.fit_r3an
    trained: list[int] = []

    def counted(*given: Any, **more: Any) -> Any:
        trained.append(1)
        return fit(*given, **more)

    for module in (trainers_r3an, student):
        monkeypatch.setattr(module, "fit_r3an", counted)
    printed = run("compare", *sets(files), "--images", pictures, "--out", tmp_path / "compared")
    found = read(tmp_path / "compared")
    assert [row["method"] for row in found["methods"]] == [*QUICK, *WITH_PICTURES]
    assert (found["source"], found["target"], found["measured_on"]) == ("space-a", "space-b", "test subjects")
    assert set(found["baselines"]) == {"native source", "native target"}
    assert found["subjects"]["num_probes"] > 0
    for row in found["methods"]:
        assert row["method"] in printed
        assert 0 <= row["probes"]["rank1"] <= 1
        assert 0 <= row["gallery"]["rank1"] <= 1
        assert min(row["vectors_per_second"], row["num_bytes"]) > 0
    # The student has learned from the one beside it.
    own_trainings = [name for name in WITH_PICTURES if name != "r3an-student"]
    assert len(trained) == len(own_trainings)
    by_name = {row["method"]: row for row in found["methods"]}
    assert by_name["ridge"]["probes"]["mean_cosine"] > 0.9
    assert f"{by_name['ridge']['probes']['rank1']:.4f} / {by_name['ridge']['gallery']['rank1']:.4f}" in printed
    # R3AN's student is as small as the residual network it is; R3AN itself is larger and slower.
    assert by_name["r3an"]["num_bytes"] > by_name["r3an-student"]["num_bytes"]
    assert by_name["r3an"]["vectors_per_second"] < by_name["r3an-student"]["vectors_per_second"]
    with Image.open(tmp_path / "compared" / "comparison.png") as plot:
        assert plot.format == "PNG"
        assert np.asarray(plot.convert("L")).std() > 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compared"]


def test_without_pictures_or_subjects_the_rest_is_compared(run: Run, files: Files, tmp_path: Path) -> None:
    run("compare", *sets(files, "unlabelled_"), "--out", tmp_path / "compared")
    found = read(tmp_path / "compared")
    assert [row["method"] for row in found["methods"]] == list(QUICK)
    assert found["measured_on"] == "test images"
    assert all(row["probes"]["rank1"] is None for row in found["methods"])
    assert (tmp_path / "compared" / "comparison.png").is_file()


def test_methods_can_be_chosen(run: Run, files: Files, tmp_path: Path) -> None:
    run("compare", *sets(files), "--methods", "cca", "ridge", "ridge", "--test", 0, "--out", tmp_path / "compared")
    found = read(tmp_path / "compared")
    assert [row["method"] for row in found["methods"]] == ["cca", "ridge"]
    assert found["measured_on"] == "validation subjects"


def test_a_student_learns_from_the_r3an_beside_it_wherever_it_stands(
    run: Run, files: Files, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it does learn is seen where everything is compared; here a closed form stands for all that takes long."""
    fit, teachers = fit_methods, {}

    def quick(parts: Any, method: str, seed: int, *, extras: Any) -> Any:
        (fitted,) = fit(parts, "ridge", seed)
        teachers[method] = extras.teacher
        return [replace(fitted, method=method)]

    monkeypatch.setattr(comparison, "fit_methods", quick)
    methods = ("--methods", "r3an-student", "procrustes", "r3an")
    run("compare", *sets(files), *methods, "--images", pictures, "--out", tmp_path / "compared")
    assert [row["method"] for row in read(tmp_path / "compared")["methods"]] == ["r3an-student", "procrustes", "r3an"]
    assert list(teachers) == ["procrustes", "r3an", "r3an-student"]
    assert teachers["r3an-student"] is not None
    assert teachers["procrustes"] is teachers["r3an"] is None


def test_common_spaces_alone_are_shown_between_the_natives(run: Run, files: Files, tmp_path: Path) -> None:
    printed = run("compare", *sets(files), "--methods", "cca", "--out", tmp_path / "compared")
    assert "native source" in printed
    assert re.search(r"none\W+-\W+-\W+-", printed)
    assert set(read(tmp_path / "compared")["baselines"]) == {"native source", "native target"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--methods", "r3an"), "--methods r3an needs the pictures that the features were made from: --images"),
        (("--methods", "ridge", "--images", "."), "--images has no effect on these methods"),
        (("--methods", "magic"), "invalid choice"),
        (("--validation", 0), "--validation must be above 0"),
        (("--images", "nowhere"), "there is no such file or folder"),
    ],
)
def test_bad_input_is_said_in_one_line(
    fails: Fails, files: Files, tmp_path: Path, words: tuple[object, ...], says: str
) -> None:
    line = fails("compare", *sets(files), *words, "--out", tmp_path / "compared")
    assert says in line
    assert not any(tmp_path.iterdir())


def test_other_methods_may_follow_an_interrupted_comparison(run: Run, files: Files, tmp_path: Path) -> None:
    (tmp_path / "compared.partial" / "r3an").mkdir(parents=True)
    run("compare", *sets(files), "--methods", "ridge", "--out", tmp_path / "compared")
    assert [path.name for path in tmp_path.iterdir()] == ["compared"]


def test_a_folder_in_the_way_is_found_at_once(fails: Fails, files: Files, tmp_path: Path) -> None:
    assert "exists already" in fails("compare", *sets(files), "--out", tmp_path)


def test_a_method_that_diverges_is_named(
    fails: Fails, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = r3an.small
    wild = replace(small(r3an.ARCHITECTURES["fc"]), learning_rate=100.0, epochs=20)
    monkeypatch.setitem(r3an.RECIPES, "small", lambda paths: wild)
    line = fails("compare", *sets(files), "--methods", "ridge", "fc", "--out", tmp_path / "compared")
    assert re.search(
        r"fc: the training diverged: .*fit --learning-rate 25, .*; or compare without it: --methods$", line
    )
    assert not (tmp_path / "compared").exists()


def test_a_name_that_looks_like_markup_is_printed_as_it_is(run: Run, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "weird[" / "b] [red] :smile:"
    printed = run("compare", *sets(files), "--methods", "ridge", "--out", out)
    assert str(out / "comparison.json") in printed.replace("\n", "")
