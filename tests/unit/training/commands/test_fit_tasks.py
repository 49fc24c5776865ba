"""`fit` of one network for three tasks, as a user runs it in process: from pictures to an encoder and two classifiers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from models.bundle import Bundle, read_bundle
from models.calibration import PHOTO
from models.runtime import Session
from models.split import SplitRule
from tests.unit.training.trainers.test_adaptation import SIDE, write_encoder
from training.data.feature_set_files import load_feature_set
from training.data.modalities import ModalityParts, join_by_subject
from training.data.sources import open_source
from training.evaluation.tasks import task_figures
from training.recipes import multi_task
from training.recipes.encoders import prepared
from training.recipes.tasks import HELD, learned_of
from training.trainers.rule import Rule

Run = Callable[..., str]
Fails = Callable[..., str]

NUM_PEOPLE, PHOTOS, DRAWN = 80, 3, 2
SHARES = ("--validation", "0.2", "--test", "0.2")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of seconds."""
    tiny = replace(multi_task.small(), num_branch=1, epochs=2, num_people=8, num_pictures=2, num_caricatures=4)
    tiny = replace(tiny, encoder=Rule("adamw", 3e-3), head=Rule("adamw", 3e-3))
    monkeypatch.setitem(multi_task.RECIPES, "small", lambda: tiny)


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_encoder(tmp_path / "encoder")


def write_pictures(folder: Path, modality: str = "caricature", *, lonely: int = 0) -> Path:
    """Photos and drawings of a colour of one's own; of the last few people one or the other alone."""
    folder.mkdir()
    random = np.random.default_rng(3)
    lines = ["image,subject,modality"]
    for person in range(NUM_PEOPLE):
        colour = random.integers(30, 225, 3)
        for of, num in (("photo", PHOTOS), (modality, DRAWN)):
            if person >= NUM_PEOPLE - lonely and (person % 2 == 0) == (of == "photo"):
                continue
            for number in range(num):
                pixels = np.full((SIDE, SIDE, 3), np.clip(colour + random.integers(-15, 15, 3), 0, 255), dtype=np.uint8)
                name = f"{of}-{person}-{number}.png"
                Image.fromarray(pixels).save(folder / name)
                lines.append(f"{name},p{person},{of}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder


def fit(run: Run, pictures: Path, encoder: Path, out: Path, *more: object, method: str = "dynamic-mtl") -> str:
    features = out.with_suffix(".npz")
    run("extract", "--images", pictures, "--encoder", encoder, "--out", features)
    words = ("--images", pictures, "--encoder", encoder, "--source", features, "--target", features)
    return run("fit", "--method", method, *words, "--out", out, *SHARES, *more)


def bundles(out: Path, modality: str = "caricature") -> tuple[Bundle, Bundle, Bundle]:
    encoder, drawn, photo = (
        read_bundle(out.with_name(name)) for name in (out.name, f"{out.name}-{modality}", f"{out.name}-photo")
    )
    return encoder, drawn, photo


def test_one_network_becomes_an_encoder_and_two_classifiers(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "faces")
    printed = fit(run, pictures, encoder, tmp_path / "one", "--report")
    made, drawn, photo = bundles(tmp_path / "one")
    assert (made.manifest.kind, made.manifest.target.name) == ("encoder", "one")
    for one, modality in ((drawn, "caricature"), (photo, "photo")):
        assert (one.manifest.kind, one.manifest.modality, one.manifest.method) == (
            "classifier",
            modality,
            "dynamic-mtl",
        )
        prepared = np.random.default_rng(0).normal(size=(4, 3, SIDE, SIDE)).astype(np.float32)
        probability = Session(one.model, device="cpu").run(prepared)
        assert probability.shape == (4, len(one.labels))
        np.testing.assert_allclose(probability.sum(axis=1), 1.0, atol=1e-5)
    # Nobody of validation or the test is known.
    rule = made.manifest.provenance.split
    assert rule is not None
    assert {rule.part_of(name) for name in drawn.labels} == {"train"}
    assert drawn.labels == photo.labels
    assert "galleries are enrolled in its space anew" in printed
    page = (tmp_path / "one" / "report" / "index.html").read_text()
    assert "Losses and weights of the tasks" in page
    assert "<svg" in page
    assert f"{len(drawn.labels)} people is on a caricature" in " ".join(printed.split())


def test_pictures_of_known_people_are_kept_apart_to_measure_on(run: Run, encoder: Path, tmp_path: Path) -> None:
    fit(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "one", "--held", 0.2)
    made, drawn, _ = bundles(tmp_path / "one")
    known: Any = made.manifest.metrics["known"]
    assert 0.1 < known["num_weak"] / (DRAWN * len(drawn.labels)) < 0.35
    assert 0.1 < known["num_photos"] / (PHOTOS * len(drawn.labels)) < 0.3
    assert all(0 <= known[name] <= 1 for name in ("photo", "weak", "weak_by_photo", "photo_by_weak"))
    assert drawn.manifest.metrics["known"] == known


def test_the_manifest_says_what_the_bundles_do(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures, out = write_pictures(tmp_path / "faces", lonely=20), tmp_path / "one"
    fit(run, pictures, encoder, out)
    made, drawn, photo = bundles(out)
    run("extract", "--images", pictures, "--encoder", out, "--out", tmp_path / "anew.npz")
    before, after = (load_feature_set(path) for path in (out.with_suffix(".npz"), tmp_path / "anew.npz"))
    rule = made.manifest.provenance.split
    assert rule is not None
    metrics: Any = made.manifest.metrics
    ranks = {}
    for name, features in (("untouched_among_own", before), ("among_own", after)):
        parts = ModalityParts.of(join_by_subject(features, features), rule)
        assert parts.test is not None
        of_them = parts.gallery.take(np.isin(parts.gallery.subject, parts.test.subject))
        found = task_figures(parts.test, of_them)
        ranks[name] = found.weak_to_photo.rank1
        assert metrics[name]["weak_to_photo"]["rank1"] == pytest.approx(found.weak_to_photo.rank1)
        assert metrics[name]["auc"] == pytest.approx(found.auc, abs=1e-4)
        assert metrics[name]["num_weak"] == len(parts.test)
    assert len(set(ranks.values())) == 2
    held = learned_of(ModalityParts.of(join_by_subject(before, before), rule), HELD, 0).held
    assert held is not None
    assert held.modality is not None
    source, known = open_source(pictures), metrics["known"]
    item_of = {item.key: item for item in source.items}
    preparation = made.manifest.target.preparation
    assert preparation is not None
    shares = {}
    for of, is_of_N in (("photo", held.modality == PHOTO), ("weak", held.modality != PHOTO)):
        side = held.take(is_of_N)
        x = prepared(source, [item_of[name] for name in side.image.tolist()], preparation)
        for by, classifier in (("photo", photo), ("weak", drawn)):
            is_known = np.isin(side.subject, classifier.labels)
            guessed = np.array(classifier.labels)[Session(classifier.model, device="cpu").run(x).argmax(axis=1)]
            shares[of, by] = float(np.mean(guessed[is_known] == side.subject[is_known]))
    found_known = {("photo", "photo"): "photo", ("weak", "weak"): "weak", ("weak", "photo"): "weak_by_photo"}
    for sides, name in (found_known | {("photo", "weak"): "photo_by_weak"}).items():
        assert known[name] == pytest.approx(shares[sides])
    assert len(set(shares.values())) == 4


def test_people_of_one_modality_are_learned_from_counted_and_known_by_that(
    run: Run, encoder: Path, tmp_path: Path
) -> None:
    printed = fit(run, write_pictures(tmp_path / "faces", lonely=20), encoder, tmp_path / "one")
    made, drawn, photo = bundles(tmp_path / "one")
    count = made.manifest.metrics["num_people_of_one_modality"]
    assert isinstance(count, int)
    assert count > 0
    assert f"{count} of whom have one modality alone" in " ".join(printed.split())
    assert len(set(drawn.labels) ^ set(photo.labels)) == count
    lonely = {f"p{person}" for person in range(NUM_PEOPLE - 20, NUM_PEOPLE)}
    assert set(drawn.labels) ^ set(photo.labels) <= lonely


@pytest.mark.parametrize("method", ["static-mtl", "naive-dynamic-mtl", "uncertainty-mtl", "gradnorm-mtl"])
def test_rivals_are_fitted_in_the_same_way(run: Run, encoder: Path, tmp_path: Path, method: str) -> None:
    fit(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "one", method=method)
    made, _, _ = bundles(tmp_path / "one")
    assert made.manifest.provenance.hyperparameters["method"] == method


def test_a_batch_is_as_large_as_was_asked_with_the_caricatures_that_are_made(
    run: Run, encoder: Path, tmp_path: Path
) -> None:
    fit(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "one", "--batch", 20)
    made, _, _ = bundles(tmp_path / "one")
    recipe = made.manifest.provenance.hyperparameters
    # Eight people with two pictures of each modality and four that are made of photos come to 4.5 a person.
    assert (recipe["num_people"], recipe["num_caricatures"]) == (4, 2)


def test_without_caricatures_that_are_made_a_batch_holds_more_people(
    run: Run, fails: Fails, encoder: Path, tmp_path: Path
) -> None:
    pictures = write_pictures(tmp_path / "faces", "sketch")
    fit(run, pictures, encoder, tmp_path / "one", "--batch", 20)
    made, _, _ = bundles(tmp_path / "one", "sketch")
    recipe = made.manifest.provenance.hyperparameters
    assert (recipe["num_people"], recipe["num_caricatures"]) == (5, 0)
    features = tmp_path / "one.npz"
    words = ("fit", "--method", "dynamic-mtl", "--source", features, "--target", features, "--out", tmp_path / "two")
    said = fails(*words, "--images", pictures, "--encoder", encoder, "--batch", 7, *SHARES)
    assert "--batch 7 does not hold two people, of each of whom it takes 4 pictures" in said


def test_without_pictures_kept_apart_all_are_learned_from(run: Run, encoder: Path, tmp_path: Path) -> None:
    printed = fit(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "one", "--held", 0, "--report")
    made, drawn, _ = bundles(tmp_path / "one")
    known: Any = made.manifest.metrics["known"]
    assert (known["num_weak"], known["num_photos"], known["weak"]) == (0, 0, None)
    assert f"trained on {len(drawn.labels) * (PHOTOS + DRAWN)} pictures" in " ".join(printed.split())
    assert "of those who are known" not in printed
    page = (tmp_path / "one" / "report" / "index.html").read_text()
    assert "Who is it, of those who are known" not in page


def test_what_is_kept_apart_is_of_three_tasks(fails: Fails, tmp_path: Path) -> None:
    words = ("fit", "--source", "a.npz", "--target", "b.npz", "--out", tmp_path / "x")
    assert "--held is for three tasks" in fails(*words, "--method", "wsgan", "--held", "0.1")
    assert "from 0 to below 1" in fails(*words, "--method", "dynamic-mtl", "--held", "1")


def test_of_verification_alone_there_is_an_encoder_and_no_classifier(run: Run, encoder: Path, tmp_path: Path) -> None:
    fit(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "one", "--report", method="single-verification")
    known: Any = read_bundle(tmp_path / "one").manifest.metrics["known"]
    assert [known[name] for name in ("photo", "weak", "weak_by_photo", "photo_by_weak")] == [None] * 4
    assert not (tmp_path / "one-photo").exists()
    assert not (tmp_path / "one-caricature").exists()


def test_views_of_a_picture_are_kept_apart_with_it(run: Run, encoder: Path, tmp_path: Path) -> None:
    pictures, features = write_pictures(tmp_path / "faces"), tmp_path / "views.npz"
    run("extract", "--images", pictures, "--encoder", encoder, "--views", 3, "--out", features)
    both = load_feature_set(features)
    parts = ModalityParts.of(join_by_subject(both, both), SplitRule("subject", 0, 0.2, 0.2))
    chosen = learned_of(parts, HELD, 0)
    assert chosen.held is not None
    assert len(chosen.held) > 20
    assert not set(chosen.held.image.tolist()) & set(chosen.learned.picture.tolist())
    assert (chosen.held.image == chosen.held.picture).all()
    # Of nobody all pictures of a modality.
    for one in np.unique(chosen.learned.subject):
        assert chosen.learned.modality is not None
        assert set(chosen.learned.modality[chosen.learned.subject == one].tolist()) == {"photo", "caricature"}


def test_what_labels_may_not_be_is_told_before_the_training(
    run: Run, fails: Fails, encoder: Path, tmp_path: Path
) -> None:
    pictures = write_pictures(tmp_path / "faces")
    listed = (pictures / "labels.csv").read_text()
    (pictures / "labels.csv").write_text(listed.replace(",p3,", f",{'x' * 129},"))
    features = tmp_path / "all.npz"
    run("extract", "--images", pictures, "--encoder", encoder, "--out", features)
    words = ("fit", "--method", "dynamic-mtl", "--source", features, "--target", features, "--out", tmp_path / "one")
    said = fails(*words, "--images", pictures, "--encoder", encoder, "--validation", "0.01", "--test", "0")
    assert "subjects: " in said
    assert not (tmp_path / "one").exists()


def test_caricatures_are_made_of_photos_for_caricatures_alone(run: Run, encoder: Path, tmp_path: Path) -> None:
    fit(run, write_pictures(tmp_path / "faces", "sketch"), encoder, tmp_path / "one")
    made, drawn, _ = bundles(tmp_path / "one", "sketch")
    assert drawn.manifest.modality == "sketch"
    assert made.manifest.provenance.hyperparameters["num_caricatures"] == 0


def test_without_pictures_or_where_a_bundle_stands_it_says_so(
    run: Run, fails: Fails, encoder: Path, tmp_path: Path
) -> None:
    pictures, features = write_pictures(tmp_path / "faces"), tmp_path / "all.npz"
    run("extract", "--images", pictures, "--encoder", encoder, "--out", features)
    words = ("fit", "--method", "dynamic-mtl", "--source", features, "--target", features, "--out", tmp_path / "one")
    assert "give --images and --encoder" in fails(*words)
    (tmp_path / "one-photo").mkdir()
    said = fails(*words, "--images", pictures, "--encoder", encoder, *SHARES)
    assert "one-photo: exists already" in said
    assert not (tmp_path / "one.partial").exists()


def compare(run: Run, pictures: Path, encoder: Path, out: Path, *methods: str) -> tuple[str, Any]:
    features = out.with_suffix(".npz")
    run("extract", "--images", pictures, "--encoder", encoder, "--out", features)
    words = ("--images", pictures, "--encoder", encoder, "--source", features, "--target", features)
    printed = run("compare", "--modality", "caricature", *words, "--out", out, *SHARES, "--methods", *methods)
    return printed, json.loads((out / "comparison.json").read_text())


def test_ways_to_weigh_tasks_are_compared_on_the_same_people(run: Run, encoder: Path, tmp_path: Path) -> None:
    methods = ("dynamic-mtl", "static-mtl", "single-photo")
    printed, found = compare(run, write_pictures(tmp_path / "faces"), encoder, tmp_path / "compared", *methods)
    assert [row["method"] for row in found["rows"]] == list(methods)
    words = " ".join(printed.split())
    assert all(method in words for method in methods)
    assert "as it came" in words
    by_method = {row["method"]: row for row in found["rows"]}
    dynamic, alone = by_method["dynamic-mtl"], by_method["single-photo"]
    assert all(dynamic["known"][name] is not None for name in ("photo", "weak", "weak_by_photo", "photo_by_weak"))
    # Of a task that was not trained there are no figures.
    assert (alone["among_own"], alone["known"]["weak"], alone["known"]["photo_by_weak"]) == (None, None, None)
    assert alone["known"]["photo"] is not None
    assert dynamic["among_own"]["num_photos"] < dynamic["among_all"]["num_photos"]
    assert found["untouched_among_own"]["num_photos"] == dynamic["among_own"]["num_photos"]
    with Image.open(tmp_path / "compared" / "comparison.png") as image:
        assert image.size[0] > image.size[1]
    assert not (tmp_path / "compared.partial").exists()


def test_what_is_compared_by_other_figures_is_refused_together(
    fails: Fails, run: Run, encoder: Path, tmp_path: Path
) -> None:
    pictures, features = write_pictures(tmp_path / "faces"), tmp_path / "all.npz"
    run("extract", "--images", pictures, "--encoder", encoder, "--out", features)
    words = (
        "compare",
        "--source",
        features,
        "--target",
        features,
        "--out",
        tmp_path / "x",
        *SHARES,
        "--methods",
        "dynamic-mtl",
    )
    both = ("--images", pictures, "--encoder", encoder)
    assert "is not compared with those of three tasks" in fails(*words, "wsgan", "--modality", "caricature", *both)
    assert "give --images and --encoder" in fails(*words, "--modality", "caricature")
    assert "give --modality too" in fails(*words)
