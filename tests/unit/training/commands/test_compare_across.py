"""Methods across modalities side by side, as a user compares them in process."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.bundle import read_bundle
from training.commands import fit_across
from training.recipes import adaptation, modal_comparison, wsgan
from training.recipes.adapted import OF_ONE_ENCODER
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.rule import Rule
from training.trainers.wsgan_recipe import WSGANRecipe

Run = Callable[..., str]
Fails = Callable[..., str]

SHARES = ("--validation", "0.2", "--test", "0.2")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of a second."""
    whole, both = wsgan.small(), adaptation.small()

    def tiny() -> WSGANRecipe:
        few = replace(whole, num_hidden=16, num_noise=3, epochs=6, batch=16, fewest_steps=0)
        return replace(few, generator=Rule("adamw", 1e-2, 0.1))

    def of_encoders() -> AdaptationRecipe:
        return replace(both, batch=8, epochs=2, num_drawings=0, is_mirrored=False)

    shared = replace(tiny(), epochs=4, shares_encoder=True, contrasts_strong=True)
    monkeypatch.setitem(wsgan.RECIPES, "small", tiny)
    monkeypatch.setitem(adaptation.RECIPES, "small", of_encoders)
    monkeypatch.setattr(fit_across, "small_end_to_end", tiny)
    monkeypatch.setattr(fit_across, "small_shared", lambda: shared)


@pytest.fixture
def both(run: Run, drawn_folder: Path, encoder_file: Path, tmp_path: Path) -> Path:
    path = tmp_path / "both.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", path)
    return path


def compare(run: Run, both: Path, out: Path, *more: object) -> tuple[str, Any]:
    sets = ("--source", both, "--target", both, "--modality", "sketch", "--out", out, *SHARES)
    printed = run("compare", *sets, *more)
    return printed, json.loads((out / "comparison.json").read_text())


def test_features_alone_are_compared_without_pictures(run: Run, both: Path, tmp_path: Path) -> None:
    printed, found = compare(run, both, tmp_path / "compared")
    assert [row["method"] for row in found["rows"]] == list(modal_comparison.WITHOUT_PICTURES)
    assert not found["is_end_to_end"]
    assert found["measured_on"] == "test people"
    assert "wsgan, 1 sample" in printed
    assert (tmp_path / "compared" / "comparison.png").stat().st_size > 1000


def test_with_pictures_and_an_encoder_everything_is_compared(
    run: Run, both: Path, drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    more = ("--images", drawn_folder, "--encoder", encoder_file)
    _, found = compare(run, both, tmp_path / "compared", *more)
    assert [row["method"] for row in found["rows"]] == list(modal_comparison.METHODS)
    assert found["is_end_to_end"]
    by_method = {row["method"]: row["figures"] for row in found["rows"]}
    # Sketch and photo of a person are the same picture here.
    assert by_method["none"]["rank1"] == 1.0
    assert all(0.0 <= figures["rank1"] <= 1.0 for figures in by_method.values())
    assert not (tmp_path / "compared.partial").exists()


@pytest.mark.parametrize("method", OF_ONE_ENCODER)
def test_an_encoder_of_both_modalities_is_written_as_a_bundle(
    run: Run, both: Path, drawn_folder: Path, encoder_file: Path, tmp_path: Path, method: str
) -> None:
    sets = ("--source", both, "--target", both, "--images", drawn_folder, "--encoder", encoder_file)
    printed = run("fit", "--method", method, *sets, "--out", tmp_path / "mine", *SHARES)
    manifest = read_bundle(tmp_path / "mine").manifest
    assert (manifest.kind, manifest.target.name, manifest.target.dimension) == ("encoder", "mine", 4)
    assert manifest.provenance.hyperparameters["method"] == method
    assert "galleries are enrolled in it anew" in printed


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--methods", "sdt"), "give --images and --encoder"),
        (("--methods", "ridge"), "across modalities there are"),
        (("--encoder", "x.json"), "give --images and --encoder, or neither"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    fails: Fails, both: Path, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    sets = ("--source", both, "--target", both, "--modality", "sketch", "--out", tmp_path / "compared")
    assert says in fails("compare", *sets, *more)


def test_options_of_modalities_are_refused_without_one(fails: Fails, both: Path, tmp_path: Path) -> None:
    sets = ("--source", both, "--target", both, "--out", tmp_path / "compared")
    assert "give --modality too" in fails("compare", *sets, "--epochs", "3")
    assert "give --modality too" in fails("compare", *sets, "--methods", "sdt")


def test_baselines_that_train_an_encoder_need_pictures(fails: Fails, both: Path, tmp_path: Path) -> None:
    said = fails("fit", "--method", "dann-s", "--source", both, "--target", both, "--out", tmp_path / "mine")
    assert "give --images and --encoder" in said


def test_an_encoder_is_shared_where_one_is_trained(
    fails: Fails, both: Path, drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    words = ("compare", "--source", both, "--target", both, "--out", tmp_path / "x", "--shared-encoder")
    assert "give --images and --encoder" in fails(*words, "--modality", "sketch")
    assert "give --modality too" in fails(*words)
    pictures = ("--images", drawn_folder, "--encoder", encoder_file)
    simple = fails(*words, "--modality", "sketch", *pictures, "--methods", "none", "shrunken-ridge")
    assert "give --images and --encoder, and one of them" in simple


def test_wsgans_encoder_may_be_of_photos_too_as_that_of_fine_tuning_is(
    run: Run, both: Path, drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    more = ("--images", drawn_folder, "--encoder", encoder_file, "--methods", "wsgan")
    own, shared = (
        compare(run, both, tmp_path / f"compared-{len(given)}", *more, *given) for given in ((), ("--shared-encoder",))
    )
    assert [found["is_shared"] for _, found in (own, shared)] == [False, True]
    assert "photos by these too" in " ".join(shared[0].split())
    (row,), (other,) = (found["rows"] for _, found in (own, shared))
    assert row["real"] is None
    assert own[1]["real"] == shared[1]["real"] != other["real"]
