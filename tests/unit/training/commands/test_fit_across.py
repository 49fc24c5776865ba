"""`fit` across modalities, as a user runs it in process: from sketches and photos to bundles."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import Bundle, read_bundle
from models.feature_set import FeatureSet
from models.samples import draw_noise, rows_of
from models.space import Space
from training.commands import fit_across
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.modalities import join_by_subject
from training.evaluation.cross_modal import SIGMAS, score_samples
from training.export.loaded import GraphSampler, GraphTranslator
from training.recipes import modalities, wsgan
from training.trainers.rule import Rule
from training.trainers.wsgan_recipe import WSGANRecipe

Run = Callable[..., str]
Fails = Callable[..., str]

NUM_PEOPLE = 90
SHARES = ("--validation", "0.2", "--test", "0.2")


def people(
    name: str,
    dimension: int,
    *,
    modality: str,
    num: int,
    noise: float = 0.3,
    seed: int = 0,
    num_people: int = NUM_PEOPLE,
) -> FeatureSet:
    """People in six dimensions, seen through a random linear map and noise; of each so many pictures."""
    identity = np.repeat(np.random.default_rng(0).normal(size=(num_people, 6)), num, axis=0)
    random = np.random.default_rng(seed)
    feature = identity @ random.normal(size=(6, dimension)) + noise * random.normal(size=(len(identity), dimension))
    keys = [f"{modality}-{row:04d}.png" for row in range(len(identity))]
    columns = {
        "feature": feature.astype(np.float32),
        "image": np.array(keys),
        "subject": np.array([f"p{row // num}" for row in range(len(identity))]),
        "modality": np.full(len(identity), modality),
    }
    return FeatureSet.build(Space(name, dimension, f"external:{name}"), columns)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of seconds."""
    whole = wsgan.small()

    def tiny() -> WSGANRecipe:
        few = replace(whole, num_hidden=32, num_noise=4, epochs=12, batch=16, fewest_steps=0)
        return replace(few, generator=Rule("adamw", 1e-2, 0.1))

    monkeypatch.setitem(wsgan.RECIPES, "small", tiny)
    end_to_end = replace(tiny(), epochs=6, num_drawings=2, is_mirrored=True)
    shared = replace(end_to_end, shares_encoder=True, contrasts_strong=True)
    monkeypatch.setattr(fit_across, "small_end_to_end", lambda: end_to_end)
    monkeypatch.setattr(fit_across, "small_shared", lambda: shared)
    monkeypatch.setattr(modalities, "COUNTS", (1, 10))


@pytest.fixture
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """Sketches of one space and photos of another."""
    weak, strong = tmp_path / "weak.npz", tmp_path / "strong.npz"
    save_feature_set(people("weak", 8, modality="sketch", num=1, seed=1), weak)
    save_feature_set(people("strong", 10, modality="photo", num=2, seed=2), strong)
    return weak, strong


def fit(run: Run, sets: tuple[Path, Path], method: str, out: Path, *more: object) -> tuple[str, Bundle]:
    printed = run("fit", "--method", method, "--source", sets[0], "--target", sets[1], "--out", out, *SHARES, *more)
    return printed, read_bundle(out)


def test_wsgan_writes_a_sampler_that_draws_from_weak_features_and_noise(
    run: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    printed, bundle = fit(run, sets, "wsgan", tmp_path / "sampler")
    manifest, weak = bundle.manifest, load_feature_set(sets[0])
    assert (manifest.kind, manifest.method, manifest.modality) == ("sampler", "wsgan", "sketch")
    assert (manifest.input_name, manifest.output_name) == ("weak_feature", "strong_feature")
    assert manifest.source is not None
    assert (manifest.source.name, manifest.target.name) == ("weak", "strong")
    assert manifest.sampling is not None
    sampler = GraphSampler(bundle.model, manifest.sampling.num_noise, 3)
    drawn = sampler(weak.feature[:2], seed=5)
    assert drawn.shape == (2, 3, 10)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=2), 1.0, atol=1e-5)
    rows, noise = rows_of(weak.feature[:2], draw_noise(3, manifest.sampling.num_noise, 5))
    assert not np.allclose(drawn[0, 0], drawn[0, 1], atol=1e-3)
    np.testing.assert_allclose(sampler._session.run(rows, noise).reshape(2, 3, 10), drawn, atol=1e-6)
    assert "wsgan" in printed
    assert "10 samples" in printed


@pytest.mark.parametrize("method", ["shrunken-ridge", "contrastive-head", "wsgan", "wsgan-c", "wsgan-ac"])
def test_every_method_finds_people_whom_it_has_not_seen(
    run: Run, sets: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    _, bundle = fit(run, sets, method, tmp_path / "bundle")
    test = bundle.manifest.metrics["test"]
    assert isinstance(test, dict)
    figures = test["figures"]
    assert isinstance(figures, dict)
    # By chance 5 of 90 would be.
    assert float(str(figures["rank5"])) > 0.3
    assert test["untouched"] is None
    is_sampler = method.startswith("wsgan")
    assert (bundle.manifest.kind == "sampler") is is_sampler
    assert bool(test["by_samples"]) is is_sampler


def test_the_bundle_states_thresholds_of_its_modality_where_there_are_people_enough(run: Run, tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak.npz", tmp_path / "strong.npz"
    save_feature_set(people("weak", 8, modality="sketch", num=1, seed=1, num_people=240), weak)
    save_feature_set(people("strong", 10, modality="photo", num=2, seed=2, num_people=240), strong)
    _, bundle = fit(run, (weak, strong), "contrastive-head", tmp_path / "bundle", "--validation", "0.4")
    assert set(bundle.calibration.scales) == {"translated/sketch"}
    assert bundle.calibration.counted == "people"
    (point,) = bundle.calibration.points["translated/sketch"]
    assert point.fmr == 0.01


def test_sigma_is_one_of_those_that_were_tried(run: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    _, bundle = fit(run, sets, "wsgan", tmp_path / "bundle")
    assert bundle.manifest.sampling is not None
    assert bundle.manifest.sampling.sigma in SIGMAS
    assert bundle.manifest.sampling.num_samples == 10


def test_one_encoder_of_both_is_measured_beside_its_features_as_they_are(run: Run, tmp_path: Path) -> None:
    both = tmp_path / "both.npz"
    parts = [people("one", 8, modality=kind, num=1, seed=1, noise=0.4) for kind in ("sketch", "photo")]
    columns = {name: np.concatenate([part.columns()[name] for part in parts]) for name in parts[0].columns()}
    columns["image"] = np.array([f"{row}.png" for row in range(2 * NUM_PEOPLE)])
    save_feature_set(FeatureSet.build(parts[0].space, columns), both)
    printed, bundle = fit(run, (both, both), "shrunken-ridge", tmp_path / "bundle")
    assert "as it is" in printed
    assert bundle.manifest.source == bundle.manifest.target


def test_the_report_draws_recall_variance_and_a_map(run: Run, sets: tuple[Path, Path], tmp_path: Path) -> None:
    fit(run, sets, "wsgan", tmp_path / "bundle", "--report")
    page = (tmp_path / "bundle" / "report" / "index.html").read_text()
    for words in ("Number of samples", "Variance of generated features", "Features of a few people", "found first"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")


def test_pictures_of_people_without_a_photo_are_left_out_and_told(
    run: Run, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    strong = load_feature_set(sets[1])
    fewer = tmp_path / "fewer.npz"
    save_feature_set(strong.take(np.flatnonzero(strong.subject != "p7")), fewer)
    printed, _ = fit(run, (sets[0], fewer), "shrunken-ridge", tmp_path / "bundle")
    assert "1 pictures were left out: of whoever is on them there is no photo" in printed


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--method", "shrunken-ridge", "--epochs", "3"), "--epochs has no effect on --method shrunken-ridge"),
        (("--method", "wsgan", "--encoder", "x.json"), "give --images and --encoder, or neither"),
        (("--method", "wsgan", "--modality", "caricature"), "no picture of the modality 'caricature'"),
        (("--method", "wsgan", "--backbone", "resnet-50"), "--backbone is for --method encoder"),
        (("--method", "ridge", "--encoder", "x.json"), "--encoder is for weak pictures"),
    ],
)
def test_what_cannot_be_meant_is_one_line(
    fails: Fails, sets: tuple[Path, Path], tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    assert says in fails("fit", "--source", sets[0], "--target", sets[1], "--out", tmp_path / "bundle", *more)
    assert not (tmp_path / "bundle").exists()


def test_with_pictures_and_an_encoder_this_is_trained_too_and_written_beside(
    run: Run, fails: Fails, drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", both)
    end_to_end = ("--images", drawn_folder, "--encoder", encoder_file)
    _, bundle = fit(run, (both, both), "wsgan", tmp_path / "sketches", *end_to_end)
    encoder = read_bundle(tmp_path / "sketches-encoder")
    assert (encoder.manifest.kind, encoder.manifest.target.name) == ("encoder", "sketches-encoder")
    assert bundle.manifest.source == encoder.manifest.target
    assert bundle.manifest.target == load_feature_set(both).space
    # What it was trained from is another space by now.
    assert encoder.manifest.target.fingerprint != bundle.manifest.target.fingerprint
    again = tmp_path / "again.npz"
    run("extract", "--encoder", tmp_path / "sketches-encoder", "--images", drawn_folder, "--out", again)
    assert load_feature_set(again).space.fingerprint == bundle.manifest.source.fingerprint
    assert "exists already" in fails(
        "fit", "--method", "wsgan", "--source", both, "--target", both, "--out", tmp_path / "sketches", *end_to_end
    )


@pytest.mark.parametrize(
    ("modality", "has_photos", "expected"), [("sketch", True, 2), ("sketch", False, 0), ("caricature", True, 0)]
)
def test_sketches_alone_are_made_of_photos_where_these_are_there(
    run: Run,
    drawn_folder: Path,
    encoder_file: Path,
    tmp_path: Path,
    *,
    modality: str,
    has_photos: bool,
    expected: int,
) -> None:
    labels = drawn_folder / "labels.csv"
    labels.write_text(labels.read_text().replace(",sketch", f",{modality}"))
    both = tmp_path / "both.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", both)
    if not has_photos:
        lines = labels.read_text().splitlines()
        labels.write_text("\n".join(line for line in lines if not line.endswith(",photo")) + "\n")
    end_to_end = ("--images", drawn_folder, "--encoder", encoder_file)
    _, bundle = fit(run, (both, both), "wsgan", tmp_path / "drawn-sampler", *end_to_end)
    assert bundle.manifest.provenance.hyperparameters["num_drawings"] == expected
    assert bundle.manifest.modality == modality


def test_an_encoder_of_both_modalities_is_that_of_galleries_too(
    run: Run, fails: Fails, drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", both)
    shared = ("--images", drawn_folder, "--encoder", encoder_file, "--shared-encoder")
    printed, bundle = fit(run, (both, both), "wsgan", tmp_path / "one", *shared, "--report")
    encoder = read_bundle(tmp_path / "one-encoder").manifest.target
    assert bundle.manifest.source == bundle.manifest.target == encoder
    assert "galleries are enrolled with it anew" in printed
    assert "nobody has two photos" in printed
    assert "Nobody has two" in (tmp_path / "one" / "report" / "index.html").read_text()
    assert read_bundle(tmp_path / "one-encoder").manifest.metrics == {"sampler": "one", "photos": None}
    # With a second photo of everybody.
    listed = (drawn_folder / "labels.csv").read_text()
    for number in range(NUM_PEOPLE):
        shutil.copy(drawn_folder / f"photo-{number}.png", drawn_folder / f"again-{number}.png")
        listed += f"again-{number}.png,p{number},photo\n"
    (drawn_folder / "labels.csv").write_text(listed)
    twice = tmp_path / "twice.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", twice)
    printed, bundle = fit(run, (twice, twice), "wsgan", tmp_path / "two", *shared, "--report")
    assert "photos among themselves, 21 among 21: rank-1 1.000 before" in " ".join(printed.split())
    found = bundle.manifest.metrics["photos"]
    assert isinstance(found, dict)
    assert found == read_bundle(tmp_path / "two-encoder").manifest.metrics["photos"]
    page = (tmp_path / "two" / "report" / "index.html").read_text()
    assert "21 further photos of people whom it has not seen, among the 21 first ones" in page
    assert bundle.manifest.provenance.hyperparameters["contrasts_strong"] is True
    assert bundle.manifest.provenance.hyperparameters["trains_on_strong"] is False
    labels = drawn_folder / "labels.csv"
    labels.write_text("\n".join(line for line in labels.read_text().splitlines() if not line.endswith(",photo")) + "\n")
    said = fails("fit", "--method", "wsgan", "--source", both, "--target", both, "--out", tmp_path / "other", *shared)
    assert "90 of the pictures that the features were made from are not there" in said


@pytest.mark.parametrize("method", ["wsgan", "shrunken-ridge", "fine-tuning"])
def test_an_encoder_is_shared_where_wsgan_trains_one(
    fails: Fails, sets: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    words = ("fit", "--method", method, "--source", sets[0], "--target", sets[1], "--out", tmp_path / "x")
    assert "--shared-encoder is for an --encoder that" in fails(*words, "--shared-encoder")


def test_photos_of_a_set_that_tells_no_modalities_are_learned_from(
    run: Run, drawn_folder: Path, picture_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    joined, alone = tmp_path / "joined.npz", tmp_path / "alone.npz"
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, picture_folder, "--out", joined)
    run("extract", "--encoder", encoder_file, "--images", drawn_folder, "--out", alone)
    found, without = (join_by_subject(one, one) for one in map(load_feature_set, (joined, alone)))
    assert len(found.weak) == len(without.weak) == 90
    assert len(found.strong) == len(without.strong) + 12


def test_an_encoder_that_did_not_make_the_features_is_refused(
    fails: Fails, sets: tuple[Path, Path], drawn_folder: Path, encoder_file: Path, tmp_path: Path
) -> None:
    said = fails(
        "fit", "--method", "wsgan", "--source", sets[0], "--target", sets[1], "--out", tmp_path / "bundle",
        "--images", drawn_folder, "--encoder", encoder_file,
    )  # fmt: skip
    assert "did not make the features" in said


@pytest.mark.parametrize("method", ["wsgan", "contrastive-head"])
def test_what_scores_mean_is_measured_on_sketches_of_ones_own(
    run: Run, fails: Fails, sets: tuple[Path, Path], tmp_path: Path, method: str
) -> None:
    _, bundle = fit(run, sets, method, tmp_path / "bundle")
    assert not bundle.calibration.points
    own = tmp_path / "own-weak.npz", tmp_path / "own-strong.npz"
    save_feature_set(people("weak", 8, modality="sketch", num=1, seed=1, num_people=240), own[0])
    save_feature_set(people("strong", 10, modality="photo", num=2, seed=2, num_people=240), own[1])
    words = ("calibrate", "--bundle", tmp_path / "bundle", "--source", own[0], "--target", own[1])
    printed = run(*words, "--subjects", "all", "--out", tmp_path / "ours")
    ours = read_bundle(tmp_path / "ours")
    assert "from 240 people" in printed
    assert ours.model == bundle.model
    assert ours.manifest.sampling == bundle.manifest.sampling
    (point,) = ours.calibration.points["translated/sketch"]
    assert point.fmr == 0.01
    # By hand: over all rounds, the share of strangers and of the same people whose score reaches the threshold.
    weak, photos = (load_feature_set(path) for path in own)
    sampling = bundle.manifest.sampling
    scores = [GraphTranslator(bundle.model)(weak.feature) @ photos.feature.T] if sampling is None else []
    for seed in range(modalities.ROUNDS if sampling else 0):
        assert sampling is not None
        sampler = GraphSampler(bundle.model, sampling.num_noise, sampling.num_samples)
        scores.append(score_samples(sampler(weak.feature, seed), photos.feature, sampling.sigma))
    is_stranger = weak.subject[:, None] != photos.subject
    reached = np.array(scores) >= point.threshold
    assert reached[:, is_stranger].mean() == pytest.approx(0.01, abs=1e-4)
    assert reached[:, ~is_stranger].mean() == pytest.approx(1 - point.fnmr, abs=0.005)
    unlabelled = tmp_path / "unlabelled.npz"
    save_feature_set(replace(weak, modality=None), unlabelled)
    untold = ("calibrate", "--bundle", tmp_path / "bundle", "--source", unlabelled, "--target", own[1])
    assert "does not say which of its pictures" in fails(*untold, "--out", tmp_path / "x")
    few = ("calibrate", "--bundle", tmp_path / "bundle", "--source", sets[0], "--target", sets[1])
    assert "too few to state any threshold" in fails(*few, "--out", tmp_path / "x")
    assert "part of no route" in fails(*words, "--after", tmp_path / "bundle", "--out", tmp_path / "x")
    turned = ("calibrate", "--bundle", tmp_path / "bundle", "--source", own[1], "--target", own[0])
    assert "holds no picture of the modality 'sketch'" in fails(*turned, "--out", tmp_path / "x")
    others = tmp_path / "others.npz"
    save_feature_set(people("other", 8, modality="sketch", num=1, seed=1, num_people=240), others)
    wrong = ("calibrate", "--bundle", tmp_path / "bundle", "--source", others, "--target", own[1])
    assert "is not of the space 'weak'" in fails(*wrong, "--out", tmp_path / "x")
    listed = ("calibrate", "--bundle", tmp_path / "bundle", "--scores", others, "--comparison", "translated")
    assert "there is translated/sketch alone" in fails(*listed, "--out", tmp_path / "x")


def test_a_route_that_is_calibrated_holds_no_bundle_of_a_modality(
    run: Run, fails: Fails, sets: tuple[Path, Path], tmp_path: Path
) -> None:
    fit(run, sets, "shrunken-ridge", tmp_path / "drawn")
    third = tmp_path / "third.npz"
    save_feature_set(people("third", 12, modality="photo", num=2, seed=3), third)
    run("fit", "--method", "ridge", "--source", sets[1], "--target", third, "--out", tmp_path / "on",
        "--no-confidence", "--calibration-folds", 0, *SHARES)  # fmt: skip
    words = ("calibrate", "--bundle", tmp_path / "on", "--after", tmp_path / "drawn", "--out", tmp_path / "x")
    said = fails(*words, "--source", sets[0], "--target", third)
    assert "bundle drawn: is of sketch pictures alone, and part of no route" in said
    scores = tmp_path / "scores.csv"
    scores.write_text("a,b,score\nann,ann,0.5\n")
    assert "bundle drawn: is of" in fails(*words, "--scores", scores, "--comparison", "translated")


@pytest.mark.parametrize("method", ["wsgan", "contrastive-head", "fine-tuning", "dynamic-mtl"])
@pytest.mark.parametrize("given", [("--half-weights",), ("--calibration-folds", "0"), ("--no-confidence",)])
def test_what_is_of_translators_between_encoders_alone_is_refused(
    fails: Fails, sets: tuple[Path, Path], tmp_path: Path, method: str, given: tuple[str, ...]
) -> None:
    words = ("fit", "--method", method, "--source", sets[0], "--target", sets[1], "--out", tmp_path / "x")
    assert f"{given[0]} has no effect on --method {method}" in fails(*words, *given)
