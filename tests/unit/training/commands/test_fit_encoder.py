"""`fit --method encoder`, as a user runs it in process, on a small world of procedural faces."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.attributes import Attribute, AttributeTable
from models.bundle import Bundle, read_bundle
from models.feature_set import FeatureSet
from models.split import SplitRule
from tests.api.test_attributes import by_hand, write_attributes
from training import cli
from training.data.feature_set_files import load_feature_set
from training.data.sources import open_source
from training.recipes.attributes import labeller_of
from training.recipes.encoders import PREPARATION
from training.trainers import checkpoint, encoder
from training.trainers.encoder_recipe import EncoderRecipe

Run = Callable[..., str]
Fails = Callable[..., str]

NUM_SUBJECTS, NUM_EACH = 12, 6
RULE = SplitRule("subject", 0, 0.2, 0.2)
"""Of the twelve subjects two or three fall into each of validation and test."""
TRAINING = ("--width", "0.1", "--dimension", "16", "--epochs", "6", "--batch", "8", "--device", "cpu")
SHARES = ("--validation", "0.2")


def fit(images: Path, out: Path, *more: str) -> list[str]:
    return ["fit", "--method", "encoder", "--images", str(images), "--out", str(out), *TRAINING, *SHARES, *more]


@dataclass(frozen=True)
class Trained:
    images: Path
    out: Path

    @property
    def bundle(self) -> Bundle:
        return read_bundle(self.out)

    def parts(self) -> dict[str, list[str]]:
        """The keys of the pictures of each part."""
        found: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
        for item in open_source(self.images).items:
            found[RULE.part_of(item.subject)].append(item.key)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos and sketches of twelve people."""
    path = tmp_path_factory.mktemp("world") / "faces.zip"
    counts = ["--subjects", str(NUM_SUBJECTS), "--modalities", "photo=4", "sketch=2"]
    assert cli.run(["synth", *counts, "--workers", "1", "--out", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def trained(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    out = tmp_path_factory.mktemp("trained") / "mine"
    assert cli.run(fit(world, out, "--licence", "MIT")) == 0
    return Trained(world, out)


@pytest.fixture
def extracted(run: Run, trained: Trained, tmp_path: Path) -> FeatureSet:
    run("extract", "--encoder", trained.out, "--images", trained.images, "--out", tmp_path / "set.npz")
    return load_feature_set(tmp_path / "set.npz")


def test_the_bundle_says_what_it_was_trained_on_and_how(trained: Trained) -> None:
    manifest = trained.bundle.manifest
    assert (manifest.name, manifest.kind, manifest.method, manifest.licence) == ("mine", "encoder", "encoder", "MIT")
    assert (manifest.source, manifest.target.name, manifest.target.dimension) == (None, "mine", 16)
    assert manifest.target.preparation == PREPARATION
    expected = EncoderRecipe("mobilenetv2-t6", 0.1, 16, 6, 8, 0.1, "cosine", 0.35, 32.0)
    assert manifest.provenance.hyperparameters == json.loads(json.dumps(asdict(expected))) | {"modality": None}
    assert (manifest.provenance.seed, manifest.provenance.split) == (0, RULE)
    assert re.fullmatch("[0-9a-f]{64}", manifest.provenance.data_digests["pictures"])
    num_training = len(trained.parts()["train"])
    assert manifest.metrics["num_training_pictures"] == num_training
    assert manifest.metrics["num_training_subjects"] == num_training // NUM_EACH


def test_nothing_but_the_bundle_is_left(trained: Trained) -> None:
    assert [path.name for path in trained.out.parent.iterdir()] == ["mine"]
    names = {path.name for path in trained.out.iterdir()}
    assert names == {"bundle.json", "model.onnx", "calibration.json", "MODEL_CARD.md"}


def rank1(features: FeatureSet, keys: list[str]) -> float:
    """By a loop: the first picture of each subject is in the gallery, a tie counts against the probe."""
    rows = [row for row, key in enumerate(features.image.tolist()) if key in keys]
    gallery = {features.subject[row]: row for row in reversed(rows)}
    hits, probes = 0, [row for row in rows if row not in gallery.values()]
    for probe in probes:
        scores = {who: float(features.feature[probe] @ features.feature[row]) for who, row in gallery.items()}
        own = scores.pop(features.subject[probe])
        hits += own > max(scores.values())
    return hits / len(probes)


def test_the_figures_are_those_of_the_features_that_the_bundle_gives(trained: Trained, extracted: FeatureSet) -> None:
    metrics: Any = trained.bundle.manifest.metrics
    for part in ("validation", "test"):
        keys = trained.parts()[part]
        assert metrics[part]["num_pictures"] == len(keys)
        assert metrics[part]["num_gallery_subjects"] == len(keys) // NUM_EACH
        assert metrics[part]["num_probes"] == len(keys) // NUM_EACH * (NUM_EACH - 1)
        assert metrics[part]["figures"]["rank1"] == pytest.approx(rank1(extracted, keys))
    card = (trained.out / "MODEL_CARD.md").read_text()
    assert f"| {metrics['test']['figures']['rank1']:.4f} |" in card
    assert "Licence: MIT" in card


def test_extract_runs_the_bundle_on_every_picture(trained: Trained, extracted: FeatureSet) -> None:
    assert extracted.space == trained.bundle.manifest.target
    assert len(extracted) == NUM_SUBJECTS * NUM_EACH
    np.testing.assert_allclose(np.linalg.norm(extracted.feature, axis=1), 1.0, atol=1e-6)
    assert len(np.unique(extracted.feature.round(3), axis=0)) > NUM_SUBJECTS


def test_select_takes_the_encoders_own_test_subjects(
    run: Run, trained: Trained, extracted: FeatureSet, tmp_path: Path
) -> None:
    run("select", "--bundle", trained.out, "--in", tmp_path / "set.npz", "--out", tmp_path / "kept.npz")
    assert set(load_feature_set(tmp_path / "kept.npz").image.tolist()) == set(trained.parts()["test"])


def interrupting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as the first epoch's checkpoint has been written."""

    def save(path: Path, state: checkpoint.State) -> None:
        checkpoint.save_checkpoint(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "save_checkpoint", save)


def test_interrupted_the_same_command_goes_on_to_the_same_bundle(
    run: Run, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = fit(trained.images, tmp_path / "mine", "--licence", "MIT")
    with monkeypatch.context() as patch:
        interrupting(patch)
        assert cli.run(command) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["mine.partial"]
    epochs: list[int] = []

    def heard(path: Path, state: checkpoint.State) -> None:
        checkpoint.save_checkpoint(path, state)
        epochs.append(len(state.rates))

    monkeypatch.setattr(encoder, "save_checkpoint", heard)
    printed = run(*command)
    assert epochs == [2, 3, 4, 5, 6]
    assert re.search(
        rf"{tmp_path / 'mine'}: mobilenetv2-t6, trained on \d+ pictures of \d+ subjects, space mine", printed
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    again, whole = read_bundle(tmp_path / "mine"), trained.bundle
    assert again.model == whole.model
    assert again.manifest.target == whole.manifest.target
    assert again.manifest.metrics == whole.manifest.metrics


def test_options_change_the_recipe_and_one_modality_can_be_asked_for(run: Run, world: Path, tmp_path: Path) -> None:
    more = ("--backbone", "resnet-50", "--epochs", "1", "--margin", "0.2", "--scale", "20", "--learning-rate", "0.05")
    kept = ("--side", "64", "--modality", "photo", "--test", "0", "--half-weights", "--seed", "5")
    printed = run(*fit(world, tmp_path / "other", *more, *kept))
    manifest = read_bundle(tmp_path / "other").manifest
    recipe = EncoderRecipe("resnet-50", 0.1, 16, 1, 8, 0.05, "cosine", 0.2, 20.0, side=64)
    assert manifest.target.preparation is not None
    assert manifest.target.preparation.resize == (64, 64)
    assert manifest.provenance.hyperparameters == json.loads(json.dumps(asdict(recipe))) | {"modality": "photo"}
    assert manifest.provenance.split == SplitRule("subject", 5, 0.2, 0.0)
    assert manifest.metrics["test"] is None
    # Four photos of each, in training and in validation.
    num_training, validation = manifest.metrics["num_training_pictures"], manifest.metrics["validation"]
    assert isinstance(num_training, int)
    assert isinstance(validation, dict)
    assert num_training + int(str(validation["num_pictures"])) == 4 * NUM_SUBJECTS
    assert re.findall(r"^\W+(validation|test)\W", printed, re.MULTILINE) == ["validation"]
    model = (tmp_path / "other" / "model.onnx").read_bytes()
    assert b"_float16" in model


@pytest.mark.parametrize(
    ("flag", "value", "match"),
    [
        *((flag, value, "must be a number above 0") for flag in ("--width", "--scale") for value in ("0", "-1", "nan")),
        *((flag, "inf", "must be a number above 0") for flag in ("--learning-rate", "--margin")),
        *((flag, value, "whole number, 1 or more") for flag in ("--epochs", "--batch") for value in ("0", "1.5")),
        ("--dimension", "-3", "whole number, 1 or more"),
        ("--dimension", "70000", "must be at most 65536"),
        ("--batch", "1", "whole number, 2 or more"),
        *(("--side", value, "must be 32 to 448") for value in ("31", "449")),
        ("--margin", "1.6", "at most a right angle"),
        ("--width", "wide", "must be a number above 0"),
        ("--backbone", "resnet-18", "invalid choice: 'resnet-18'"),
        ("--recipe", "large", "invalid choice: 'large'"),
        ("--device", "tpu", "invalid choice: 'tpu'"),
        ("--modality", "video", "none of the pictures is of the modality 'video'"),
        ("--validation", "0", "--validation must be above 0"),
        ("--validation", "0.0001", "too few subjects"),
        ("--test", "0.75", "too few subjects"),
        ("--source", "a.npz", "--source and --target are for translators"),
        ("--target", "a.npz", "--source and --target are for translators"),
        ("--images", "not-there", "not-there: there is no such file or folder"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    fails: Fails, world: Path, tmp_path: Path, *, flag: str, value: str, match: str
) -> None:
    assert re.search(match, fails(*fit(world, tmp_path / "x", flag, value)))
    assert list(tmp_path.iterdir()) == []


SHAPED = tuple("--geometry pdp=0.5 fbv=0.1 --label expression --base triplet --euclidean --basis-length 0.3".split())


def test_labels_shape_an_encoder(run: Run, world: Path, tmp_path: Path) -> None:
    quickly = ("--modality", "photo", "--epochs", "2")
    printed = run(*fit(world, tmp_path / "shaped", *quickly, *SHAPED))
    manifest = read_bundle(tmp_path / "shaped").manifest
    recipe: Any = manifest.provenance.hyperparameters["geometry"]
    asked = ("base", "label", "preservation", "basis", "minimization", "is_spherical", "basis_length")
    assert [recipe[name] for name in asked] == ["triplet", "expression", 0.5, 0.1, 0.0, False, 0.3]
    without: Any = manifest.metrics["num_batches_without"]
    assert set(without) == {"preservation", "basis"}
    for term, name in (("preservation", "pdp"), ("basis", "fbv")):
        told = f"{without[term]} of {manifest.metrics['num_batches']} batches had nothing for {name} to look at"
        assert (told in printed) == (without[term] > 0)
    # Of another column another encoder comes.
    run(*fit(world, tmp_path / "other", *quickly, *SHAPED[:3], "--label", "eyeglasses", *SHAPED[5:]))
    assert read_bundle(tmp_path / "other").manifest.digest != manifest.digest


def test_a_term_that_never_found_anything_is_told_of(run: Run, world: Path, tmp_path: Path) -> None:
    # No two pictures have their five points alike.
    term = ("--geometry", "pdp=1", "--label", "five_points")
    printed = run(*fit(world, tmp_path / "shaped", "--modality", "photo", "--epochs", "1", *term))
    num = read_bundle(tmp_path / "shaped").manifest.metrics["num_batches"]
    assert f"{num} of {num} batches had nothing for pdp to look at, so it did nothing" in printed.splitlines()


def test_a_bundle_tells_labels_that_are_not_known(run: Run, fails: Fails, world: Path, tmp_path: Path) -> None:
    teller = write_attributes(tmp_path / "shown")
    quickly = ("--modality", "photo", "--epochs", "1", "--geometry", "mtl=1")
    run(*fit(world, tmp_path / "told", *quickly, "--label-by", str(teller)))
    digests = read_bundle(tmp_path / "told").manifest.provenance.data_digests
    assert digests["labels"] == read_bundle(teller).manifest.digest
    line = fails(*fit(world, tmp_path / "x", *quickly, "--label-by", str(teller), "--label", "expression"))
    assert "'anger' is no class that is told; these are: dark, light" in line
    only_attributes = AttributeTable("", (), tuple(Attribute(f"a{place}") for place in range(5)))
    untold = write_attributes(tmp_path / "untold", only_attributes)
    assert "bundle untold tells no classes" in fails(*fit(world, tmp_path / "x", *quickly, "--label-by", str(untold)))


def test_a_class_is_told_where_it_is_more_probable_than_all_others(world: Path, tmp_path: Path) -> None:
    source = open_source(world)
    told = labeller_of(read_bundle(write_attributes(tmp_path / "shown")))(source, source.items[:20])
    expected = [by_hand(source.read(item)) for item in source.items[:20]]
    shades = ["dark" if one["dark"] > 0.5 else "light" for one in expected]
    assert [told.classes[one] for one in told.class_N.tolist()] == shades


def test_what_tells_of_drawings_labels_no_photo(world: Path, tmp_path: Path) -> None:
    source = open_source(world)
    items = [replace(item, modality=name) for item, name in zip(source.items, ("sketch", "photo", ""), strict=False)]
    told = labeller_of(read_bundle(write_attributes(tmp_path / "shown", modality="sketch")))(source, items)
    assert [one >= 0 for one in told.class_N.tolist()] == [True, False, True]


def test_triplets_alone_need_no_label(run: Run, world: Path, tmp_path: Path) -> None:
    run(*fit(world, tmp_path / "three", "--base", "triplet", "--epochs", "1"))
    assert "num_batches_without" not in read_bundle(tmp_path / "three").manifest.metrics


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--geometry", "pdp=1"), "--geometry needs a --label or --label-by to look at"),
        (("--label", "expression"), "and these a --geometry"),
        (("--label-by", "shown"), "and these a --geometry"),
        (("--euclidean",), "--euclidean has no effect on ArcFace"),
        (("--base", "triplet", "--scale", "30"), "--margin and --scale are ArcFace's"),
        (("--geometry", "pdx=1", "--label", "expression"), "'pdx=1': give TERM=WEIGHT, of pdm, pdp, fbv, ce, mtl"),
        (("--geometry", "pdp=1", "--label", "expression", "--basis-length", "2"), "has no effect without it"),
        (("--geometry", "pdp=1", "pdp=2", "--label", "expression"), "--geometry names a term twice"),
        (("--geometry", "pdp", "--label", "expression"), "must be a number above 0"),
        (("--geometry", "pdp=1", "--label", "mood"), "no picture has a label 'mood'; there are: "),
        (("--modality", "photo", "--geometry", "pdp=1", "--label", "style"), "0 of the pictures are labelled"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(
    fails: Fails, world: Path, tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    assert line in fails(*fit(world, tmp_path / "x", *options))
    assert not (tmp_path / "x").exists()


def test_other_methods_have_no_use_for_shapes(fails: Fails, tmp_path: Path) -> None:
    words = ("fit", "--method", "ridge", "--source", "a.npz", "--target", "b.npz", "--out", tmp_path / "x")
    assert "--geometry is for --method encoder" in fails(*words, "--geometry", "pdp=1", "--label", "expression")


def test_an_encoder_needs_pictures(fails: Fails, tmp_path: Path) -> None:
    line = fails("fit", "--method", "encoder", "--out", tmp_path / "x")
    assert line == (
        "facebridge-train fit: an encoder is trained on --images; --source and --target are for translators"
    )


def test_pictures_of_nobody_are_refused(fails: Fails, picture_folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(picture_folder / "person0", alone)
    assert "an encoder learns who is who" in fails(*fit(alone, tmp_path / "x"))
    assert not (tmp_path / "x.partial").exists()


def test_a_bundle_that_is_there_already_is_refused_before_any_work(
    fails: Fails, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(path: list[Path]) -> None:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("training.commands.fit_encoder.open_sources", opened)
    (tmp_path / "there").mkdir()
    assert "exists already; bundles are immutable" in fails(*fit(world, tmp_path / "there"))
    assert "the folder's name is the bundle's" in fails(*fit(world, tmp_path / "Upper"))
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_picture_that_cannot_be_read_is_named(fails: Fails, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    for subject in range(12):
        for number in range(2):
            path = tmp_path / "faces" / f"s{subject}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(2 * subject + number))
    training = next(f"s{subject}" for subject in range(12) if RULE.part_of(f"s{subject}") == "train")
    (tmp_path / "faces" / training / "1.png").write_bytes(b"words")
    line = fails(*fit(tmp_path / "faces", tmp_path / "x"))
    assert f"picture {training}/1.png: not a picture" in line
    assert not (tmp_path / "x").exists()
