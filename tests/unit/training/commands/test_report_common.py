"""The report of a projection into a common space, as a user makes it."""

import json
from pathlib import Path

import pytest

from models.bundle import read_bundle
from tests.unit.training.commands.test_calibrate_common import DIMENSIONS, Fails, Run, people
from tests.unit.training.commands.test_report import Page
from training import cli
from training.data.feature_set_files import load_feature_set
from training.data.pairs import Pairs, join_by_image
from training.evaluation.cross_space import evaluate_translation
from training.export.loaded import LoadedTranslator, held_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `known-a.npz` and so on, from which `x-a`, `x-b` and `x-c` were fitted."""
    folder = tmp_path_factory.mktemp("common")
    files = people(folder, "known", 400, 0.15)
    words = ("--source", files["a"], "--target", files["b"], "--also", files["c"], "--out", folder / "x")
    shares = ("--validation", 0.3, "--test", 0.3)
    assert cli.run([str(word) for word in ("fit", "--method", "cca", *words, *shares)]) == 0
    return folder


@pytest.fixture
def common(folder: Path) -> dict[str, Path]:
    return {name: folder / f"known-{name}.npz" for name in DIMENSIONS}


def page_of(path: Path) -> Page:
    page = Page(path.read_text(encoding="utf-8"))
    assert [what for what in page.loads if not what.startswith("data:")] == []
    return page


def test_it_is_of_two_projections_and_says_what_evaluate_says(
    run: Run, common: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    words = ("--source", common["a"], "--target", common["c"], "--other", folder / "x-c")
    run("report", "--bundle", folder / "x-a", *words, "--out", tmp_path / "page.html")
    page = page_of(tmp_path / "page.html")
    bundle = read_bundle(folder / "x-a")
    one, other = (LoadedTranslator(read_bundle(folder / f"x-{name}"), "cpu") for name in "ac")
    native = join_by_image(*(load_feature_set(common[name]) for name in "ac"))
    chosen = held_out(bundle, Pairs(native.source, other.translate_set(native.target, what="c")))
    evaluation = evaluate_translation(chosen, one)
    shown = {row[0]: row[1:] for row in page.rows if row}
    assert f"Projects features of a ({DIMENSIONS['a']} numbers" in page.text
    assert f"{evaluation.rows['translated probes'].rank1:.4f} rank-1, projected probes" in page.text
    assert f"{evaluation.rows['native target'].rank1:.4f} rank-1, the other encoder's own there" in page.text
    for name in ("translated probes", "translated gallery"):
        assert shown[f"with c, {name}"][0] == f"{evaluation.rows[name].rank1:.4f}"
    assert "with b, projected target" in shown
    assert "native target" not in page.text
    stated = bundle.calibration.against[native.target.space.fingerprint]
    cells = shown["translated"][: len(stated)]
    assert list(cells) == [f"{point.threshold:.4f} ({point.fnmr:.4f})" for point in stated]
    assert shown["native source"][0] == f"{evaluation.rows['native source'].rank1:.4f}"
    assert "the other encoder's (dots)" in page.text


def test_confidence_is_shown_with_the_space_that_it_is_told_of(
    run: Run, common: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    hardest = read_bundle(folder / "x-a").manifest.metrics["hardest"]
    for name in "bc":
        words = ("--source", common["a"], "--target", common[name], "--other", folder / f"x-{name}")
        run("report", "--bundle", folder / "x-a", *words, "--out", tmp_path / f"{name}.html")
        text = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        # Curves, scores and the map; and confidence.
        assert text.count("<svg") == (5 if name == hardest else 4)
        assert ("<h2>Confidence</h2>" in text) == (name == hardest)


def test_fit_puts_one_into_each_bundle_with_the_encoder_against_which_it_does_worst(
    common: dict[str, Path], folder: Path
) -> None:
    for name in common:
        bundle = read_bundle(folder / f"x-{name}")
        metrics = bundle.manifest.metrics
        page = page_of(folder / f"x-{name}" / "report" / "index.html")
        assert f"test subjects of its split, beside {metrics['hardest']}" in page.text
        hardest = read_bundle(folder / f"x-{metrics['hardest']}").manifest.source
        assert hardest is not None
        stated = bundle.calibration.against[hardest.fingerprint]
        shown = {row[0]: row[1:] for row in page.rows if row}
        assert list(shown["translated"][: len(stated)]) == [f"{p.threshold:.4f} ({p.fnmr:.4f})" for p in stated]
        rows = json.loads(json.dumps(metrics))["test"]["rows"]
        assert f"{rows['translated probes']['rank1']:.4f} rank-1, projected probes" in page.text
        assert "<h2>Confidence</h2>" in (folder / f"x-{name}" / "report" / "index.html").read_text(encoding="utf-8")


def test_no_confidence_is_shown_on_people_that_it_was_learned_from(run: Run, tmp_path: Path) -> None:
    files = people(tmp_path, "known", 500, 0.15)
    words = ("--source", files["a"], "--target", files["b"], "--validation", 0.4, "--test", 0, "--report")
    run("fit", "--method", "cca", *words, "--calibration-folds", 2, "--out", tmp_path / "x")
    assert read_bundle(tmp_path / "x-a").confidence is not None
    text = (tmp_path / "x-a" / "report" / "index.html").read_text(encoding="utf-8")
    assert "validation subjects of its split" in text
    assert "<h2>Confidence</h2>" not in text


def test_without_the_other_projection_it_is_refused(
    fails: Fails, common: dict[str, Path], folder: Path, tmp_path: Path
) -> None:
    words = ("report", "--bundle", folder / "x-a", "--source", common["a"], "--target", common["b"])
    line = fails(*words, "--out", tmp_path / "page.html")
    assert "give the other side's projection as --other" in line
    assert not (tmp_path / "page.html").exists()
