"""`fit` of one network that tells classes and attributes, as a user runs it in process."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.bundle import read_bundle
from models.runtime import Session
from models.split import SplitRule
from tests.unit.training.trainers.test_adaptation import SIDE, write_encoder
from training.data.sources import open_source
from training.export.bundles import CARD
from training.recipes import coupled
from training.recipes.attributes import METHODS
from training.recipes.encoders import prepared
from training.trainers.rule import Rule

Run = Callable[..., str]
Fails = Callable[..., str]

NUM_PEOPLE, PICTURES = 40, 6
SHARES = ("--validation", "0.3", "--test", "0.2")
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
ATTRIBUTES = ("warm", "cool")
"""Reds are warm, blues and greens are cool."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of seconds."""
    tiny = replace(coupled.small(), epochs=40, batch=20, encoder=Rule("adamw", 2e-2), head=Rule("adamw", 3e-2))
    monkeypatch.setitem(coupled.RECIPES, "small", lambda: tiny)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


def write_pictures(folder: Path, *, subjects: bool = True, both: bool = True, change: str = "") -> Path:
    """Pictures of a colour; of the even ones the colour is known, of the odd ones what it is like; of every fifth `both`."""
    folder.mkdir()
    random = np.random.default_rng(3)
    lines = ["image,subject,colour,warm,cool,modality"]
    for number in range(NUM_PEOPLE * PICTURES):
        name = str(random.choice(list(COLOURS)))
        pixels = np.clip(np.array(COLOURS[name]) + random.integers(-35, 35, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        is_all = both and number % 5 == 0
        colour = name if number % 2 == 0 or is_all else ""
        like = f"{int(name == 'red')},{int(name != 'red')}" if number % 2 == 1 or is_all else ","
        person = f"p{number // PICTURES}" if subjects else ""
        lines.append(f"{number}.png,{person},{colour},{like},photo")
    if change:
        lines[1] = change
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def words(pictures: Path, encoder: Path, out: Path, method: str = "coupled") -> list[object]:
    asked: list[object] = ["fit", "--method", method, "--images", pictures, "--encoder", encoder, "--out", out, *SHARES]
    if method != "single-attributes":
        asked += ["--label", "colour"]
    if method != "single-class":
        asked += ["--attributes", *ATTRIBUTES]
    return asked


@pytest.mark.parametrize("method", METHODS)
def test_every_method_becomes_a_bundle_that_tells(run: Run, encoder: Path, tmp_path: Path, method: str) -> None:
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "shown"
    printed = run(*words(pictures, encoder, out, method), "--report")
    bundle = read_bundle(out)
    assert (bundle.manifest.kind, bundle.manifest.method, bundle.manifest.target.name) == (
        "attributes",
        method,
        "shown",
    )
    table = bundle.attributes
    assert table is not None
    classes = () if method == "single-attributes" else ("blue", "green", "red")
    attributes = () if method == "single-class" else ATTRIBUTES
    assert [one.name for one in table.everything] == [*classes, *attributes]
    source = open_source(pictures)
    preparation = bundle.manifest.target.preparation
    assert preparation is not None
    told_NC = Session(bundle.model, device="cpu").run(prepared(source, source.items[:40], preparation))
    colours = [np.asarray(Image.open(pictures / item.key)).mean(axis=(0, 1)) for item in source.items[:40]]
    is_red_N = np.array([colour.argmax() == 0 for colour in colours])
    if classes:
        np.testing.assert_allclose(told_NC[:, :3].sum(axis=1), 1.0, atol=1e-5)
        assert np.mean((told_NC[:, :3].argmax(axis=1) == 2) == is_red_N) > 0.9
    if attributes:
        assert np.mean((told_NC[:, -2] > 0.5) == is_red_N) > 0.9
    assert "of 0 some attribute" not in printed
    assert ("F1" in printed, "validation" in printed, "test" in printed) == (True, True, True)
    page = (out / "report" / "index.html").read_text()
    assert ("<svg" in page, "Is the error what it is said to be?" in page) == (True, True)


def test_what_is_stated_is_measured_on_people_kept_apart(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "shown"
    run(*words(pictures, encoder, out))
    bundle = read_bundle(out)
    rule = bundle.manifest.provenance.split
    assert rule is not None
    assert rule.by == "subject"
    items = [item for item in open_source(pictures).items if rule.part_of(item.subject) == "validation"]
    assert bundle.attributes is not None
    warm = bundle.attributes.everything[bundle.attributes.places["warm"]]
    said = [item.labels["warm"] for item in items if item.labels["warm"]]
    assert (warm.num_with, warm.num_without) == (said.count("1"), said.count("0"))
    red = bundle.attributes.everything[bundle.attributes.places["red"]]
    named = [item.labels["colour"] for item in items if item.labels["colour"]]
    assert (red.num_with, red.num_without) == (named.count("red"), len(named) - named.count("red"))
    metrics = bundle.manifest.metrics
    assert isinstance(metrics["test"], dict)
    assert metrics["validation"] != metrics["test"]
    assert metrics["test"]["left_out"]


def test_pictures_of_nobody_known_are_split_by_themselves(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "pictures", subjects=False), tmp_path / "shown"
    run(*words(pictures, encoder, out))
    rule = read_bundle(out).manifest.provenance.split
    assert rule is not None
    assert rule.by == "image"


def test_relatedness_comes_from_a_file(run: Run, fails: Fails, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", both=False)
    assert "cannot be counted" in fails(*words(pictures, encoder, tmp_path / "counted"))
    known = {"classes": ["blue", "green", "red"], "attributes": ["cool", "warm"], "chances": [[1, 0], [1, 0], [0, 1]]}
    (tmp_path / "known.json").write_text(json.dumps(known))
    run(*words(pictures, encoder, tmp_path / "told"), "--relatedness", tmp_path / "known.json")
    (tmp_path / "known.json").write_text(json.dumps(known | {"chances": [[1, 0], [1, 0]]}))
    printed = fails(*words(pictures, encoder, tmp_path / "short"), "--relatedness", tmp_path / "known.json")
    assert "weights of relatedness are (2, 2); of these classes and attributes they are (3, 2)" in printed
    (tmp_path / "known.json").write_text(json.dumps(known | {"weights": []}))
    printed = fails(*words(pictures, encoder, tmp_path / "empty"), "--relatedness", tmp_path / "known.json")
    assert "weights of relatedness are (0,); of these classes and attributes they are (3, 2)" in printed
    (tmp_path / "known.json").write_text(json.dumps(known | {"chances": [[1, 0], [1], [0, 1]]}))
    printed = fails(*words(pictures, encoder, tmp_path / "ragged"), "--relatedness", tmp_path / "known.json")
    assert "the rows of relatedness must be of one length" in printed
    (tmp_path / "known.json").write_text(json.dumps(known | {"classes": ["blue", "green", "rot"]}))
    printed = fails(*words(pictures, encoder, tmp_path / "other"), "--relatedness", tmp_path / "known.json")
    assert "nothing is known of the class 'red'; known: blue, green, rot" in printed
    assert "cannot be read" in fails(
        *words(pictures, encoder, tmp_path / "none"), "--relatedness", tmp_path / "none.json"
    )
    assert "nothing is known of the class 'blue'" in fails(
        *words(pictures, encoder, tmp_path / "study"), "--relatedness", "study"
    )


@pytest.mark.parametrize(
    ("method", "more", "says"),
    [
        ("coupled", ["--source", "x.npz"], "--source and --target have no effect on --method coupled"),
        ("coupled", ["--half-weights"], "--half-weights has no effect on --method coupled"),
        ("coupled", ["--no-confidence"], "--no-confidence has no effect on --method coupled"),
        ("coupled", ["--backbone", "resnet-50"], "--backbone is for --method encoder"),
        ("coupled", ["--geometry", "pdm=1"], "--geometry is for --method encoder"),
        ("coupled", ["--held", "0.1"], "--held is for three tasks"),
        ("coupled", ["--shared-encoder"], "--shared-encoder is for an --encoder that"),
        ("coupled", ["--recipe", "paper"], "--recipe paper is not of --method coupled, which has: small"),
        ("uncoupled", ["--relatedness", "study"], "has no effect on --method uncoupled"),
        ("single-class", ["--attributes", "warm"], "--attributes has no effect on --method single-class"),
        ("single-attributes", ["--label", "colour"], "--label has no effect on --method single-attributes"),
        ("coupled", ["--attributes", "warm", "warm"], "--attributes names one twice"),
        ("coupled", ["--attributes", "warm", "warm=1"], "--attributes names one twice"),
        ("coupled", ["--attributes", "warm", "cool=maybe"], "of no picture cool is 'maybe'; it is: 0, 1"),
        ("coupled", ["--classes", "red", "gren"], "of no picture colour is 'gren'; it is: blue, green, red"),
        ("coupled", ["--classes", "red", "red"], "--classes names one twice"),
        ("single-attributes", ["--classes", "red", "blue"], "--classes has no effect on --method single-attributes"),
        ("soft-co-annotation", ["--match", "printed"], "--match is of distribution matching, and has no effect"),
        ("distribution-matching", ["--label-target"], "--label-target is of co-annotation, and has no effect"),
        ("procrustes", ["--label-target"], "--label-target is for coupled"),
        ("coupled", ["--attributes", "warm", "tall"], "no picture has a label 'tall'"),
        ("coupled", ["--label", "modality"], "no picture has a label 'modality'; there are: colour, cool, warm"),
        ("coupled", ["--attributes", "colour"], "which is no number from 0 to 1"),
        ("procrustes", ["--attributes", "warm"], "--attributes is for coupled"),
        ("coupled", ["--attributes", ""], "--attributes names nothing"),
        ("coupled", ["--modality", "sketch"], "none of the pictures is of the modality 'sketch'"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    fails: Fails, encoder: Path, tmp_path: Path, method: str, more: list[str], says: str
) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    base = words(pictures, encoder, tmp_path / "shown", method)
    if method == "procrustes":
        base = ["fit", "--method", method, "--source", "x.npz", "--target", "y.npz", "--out", tmp_path / "shown"]
    assert says in fails(*base, *more)
    assert not (tmp_path / "shown").exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0.png,p0,red,2,0,photo", "0.png: warm is '2', which is no number from 0 to 1"),
        ("0.png,p0,dark red,1,0,photo", "'dark red' cannot be the name of a class"),
        ("0.png,p0,warm,1,0,photo", "a class and an attribute are named alike"),
    ],
)
def test_labels_that_cannot_be_are_refused(fails: Fails, encoder: Path, tmp_path: Path, line: str, says: str) -> None:
    pictures = write_pictures(tmp_path / "pictures", change=line)
    assert says in fails(*words(pictures, encoder, tmp_path / "shown"))


def test_what_is_asked_of_a_training_is_heeded_and_kept(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "shown"
    changes = ("--epochs", "2", "--batch", "15", "--learning-rate", "0.005", "--modality", "photo", "--licence", "MIT")
    run(*words(pictures, encoder, out), *changes)
    manifest = read_bundle(out).manifest
    kept: Any = manifest.provenance.hyperparameters
    assert (kept["epochs"], kept["batch"], kept["encoder"]["learning_rate"]) == (2, 15, 0.005)
    assert (manifest.modality, kept["relatedness"], manifest.licence) == ("photo", "counted", "MIT")
    assert "Tells of a photo of a face" in (out / CARD).read_text()
    more: Any = manifest.metrics
    run(*words(pictures, encoder, tmp_path / "longer"), *changes[2:])
    assert read_bundle(tmp_path / "longer").manifest.digest != manifest.digest
    assert more["num_with_class"] < more["num_training_pictures"]


def test_only_pictures_of_a_modality_are_learned_from(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    listing = (pictures / "labels.csv").read_text().splitlines()
    drawn = [line.replace(",photo", ",sketch") if number % 3 == 0 else line for number, line in enumerate(listing)]
    (pictures / "labels.csv").write_text("\n".join(drawn) + "\n")
    run(*words(pictures, encoder, tmp_path / "photos"), "--epochs", "1", "--modality", "photo")
    run(*words(pictures, encoder, tmp_path / "all"), "--epochs", "1")
    photos, both = (read_bundle(tmp_path / name).manifest for name in ("photos", "all"))
    numbers: list[Any] = [one.metrics["num_training_pictures"] for one in (photos, both)]
    assert numbers[0] < 0.8 * numbers[1]


def test_a_picture_that_cannot_be_read_is_named_before_anything_is_learned(
    fails: Fails, encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    rule = SplitRule("subject", 0, 0.3, 0.2)
    person = next(number for number in range(NUM_PEOPLE) if rule.part_of(f"p{number}") == "test")
    (pictures / f"{person * PICTURES}.png").write_bytes(b"no picture")
    monkeypatch.setattr("training.trainers.coupled.fit_coupled", lambda *_: pytest.fail("it was trained"))
    assert f"picture {person * PICTURES}.png: " in fails(*words(pictures, encoder, tmp_path / "shown"))


def test_where_nothing_of_test_people_is_known_validation_people_are_shown(
    run: Run, encoder: Path, tmp_path: Path
) -> None:
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "shown"
    rule, lines = SplitRule("subject", 0, 0.3, 0.2), (pictures / "labels.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        name, person = line.split(",")[:2]
        if rule.part_of(person) == "test":
            lines[number] = f"{name},{person},,,,photo"
    (pictures / "labels.csv").write_text("\n".join(lines) + "\n")
    run(*words(pictures, encoder, out), "--report")
    bundle = read_bundle(out)
    assert bundle.manifest.metrics["test"] is None
    page = (out / "report" / "index.html").read_text()
    assert "Of validation people, whom this training has not seen, but by which its thresholds were chosen" in page
    assert "it is right on the class" in (out / "MODEL_CARD.md").read_text()


def test_both_are_needed(fails: Fails, encoder: Path, tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "pictures"), tmp_path / "shown"
    base = ("fit", "--method", "coupled", "--images", pictures, "--out", out)
    assert "starting with an --encoder" in fails(*base, "--label", "colour", "--attributes", "warm")
    assert "needs --label" in fails(*base, "--encoder", encoder, "--attributes", "warm")
    assert "needs --attributes" in fails(*base, "--encoder", encoder, "--label", "colour")


def test_a_class_of_which_nothing_is_learned_is_told_of(run: Run, encoder: Path, tmp_path: Path) -> None:
    # Nobody else shows it, and who does is kept apart.
    pictures = write_pictures(tmp_path / "pictures", change="0.png,p0,violet,,,photo")
    printed = run(*words(pictures, encoder, tmp_path / "shown"), "--seed", _seed_of_validation("p0"))
    assert "no picture that was learned from tells of violet" in " ".join(printed.split())


def test_classes_may_be_chosen_and_an_attribute_turned_round(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    asked = words(pictures, encoder, tmp_path / "shown")
    printed = run(*asked[: asked.index("--attributes")], "--attributes", "warm=0", "cool", "--classes", "red", "blue")
    bundle = read_bundle(tmp_path / "shown")
    assert bundle.attributes is not None
    assert [one.name for one in bundle.attributes.everything] == ["red", "blue", "warm", "cool"]
    lines = printed.splitlines()
    assert any(
        line.startswith("colour is not known of pictures of classes that --classes leaves out: green ")
        for line in lines
    )
    assert any(line.startswith("colour: blue ") and ", red " in line for line in lines)
    assert "how classes and attributes hang together: counted" in lines
    kept: Any = bundle.manifest.provenance.hyperparameters
    assert (kept["attributes"], kept["classes_left_out"]) == (["warm=0", "cool"], ["green"])
    assert "whether it shows: warm (warm=0), cool" in (tmp_path / "shown" / CARD).read_text()
    # Both are said of the same pictures now.
    warm, cool = bundle.attributes.attributes
    assert (warm.num_with, warm.num_without) == (cool.num_with, cool.num_without)


def test_an_attribute_that_nobody_has_is_told_of(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    listing = pictures / "labels.csv"
    rows = [line.split(",") for line in listing.read_text().splitlines()]
    listing.write_text("\n".join(",".join([*row[:3], row[3].replace("1", "0"), *row[4:]]) for row in rows) + "\n")
    printed = run(*words(pictures, encoder, tmp_path / "shown"), "--epochs", "1")
    line = "all pictures that were learned from have warm, or none has: nothing tells what it looks like"
    assert line in printed.splitlines()


def test_the_printed_losses_can_be_had(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures")
    asked = ("--epochs", "2", "--match", "printed", "--label-target")
    run(*words(pictures, encoder, tmp_path / "printed"), *asked)
    run(*words(pictures, encoder, tmp_path / "mutual"), *asked[:2])
    printed, mutual = (read_bundle(tmp_path / name).manifest for name in ("printed", "mutual"))
    kept: Any = printed.provenance.hyperparameters
    assert (kept["match"], kept["is_label_target"]) == ("printed", True)
    assert printed.digest != mutual.digest


def _seed_of_validation(subject: str) -> int:
    return next(seed for seed in range(100) if SplitRule("subject", seed, 0.3, 0.2).part_of(subject) == "validation")
