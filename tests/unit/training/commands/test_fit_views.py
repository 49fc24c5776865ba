"""Views and blends of pictures, from `extract` to `fit`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import read_bundle
from models.feature_set import BLEND_MARK, VIEW_MARK, FeatureSet, picture_of
from models.space import Space
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.recipes.translators import subjects

Run = Callable[..., str]


def viewed(feature_set: FeatureSet, folder: Path, name: str) -> Path:
    """The set with one view of each picture besides, whose feature is the picture's own, turned around."""
    columns = feature_set.columns()
    doubled = {key: np.concatenate([column, column]) for key, column in columns.items()}
    doubled["image"] = np.concatenate([feature_set.image, np.char.add(feature_set.image, f"{VIEW_MARK}1")])
    path = folder / name
    save_feature_set(FeatureSet.build(feature_set.space, doubled), path)
    return path


@pytest.mark.parametrize("subjects", [True, False])
def test_views_are_learned_from_and_never_measured_on(
    run: Run, planted: Callable[..., FeatureSet], tmp_path: Path, subjects: bool
) -> None:
    source, target = planted("a", 12, subjects=subjects), planted("b", 10, subjects=subjects)
    plain = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for feature_set, path in zip((source, target), plain, strict=True):
        save_feature_set(feature_set, path)
    wide = [viewed(source, tmp_path, "av.npz"), viewed(target, tmp_path, "bv.npz")]
    for (a, b), name in ((plain, "plain"), (wide, "wide")):
        run("fit", "--source", a, "--target", b, "--method", "procrustes", "--out", tmp_path / name)
    metrics: list[Any] = [read_bundle(tmp_path / name).manifest.metrics for name in ("plain", "wide")]
    assert metrics[1]["num_training_pairs"] == 2 * metrics[0]["num_training_pairs"]
    # The views are the pictures once more: the same map, and the same figures on the pictures themselves.
    for part in ("validation", "test"):
        assert metrics[1][part]["num_pictures"] == metrics[0][part]["num_pictures"]
        figures = [m[part]["rows"]["translated probes"]["mean_cosine"] for m in metrics]
        assert figures[1] == pytest.approx(figures[0], abs=1e-5)
    run(
        "evaluate",
        "--bundle",
        tmp_path / "wide",
        "--source",
        wide[0],
        "--target",
        wide[1],
        "--json",
        tmp_path / "f.json",
    )
    run("select", "--in", wide[0], "--bundle", tmp_path / "wide", "--out", tmp_path / "test.npz")
    assert len(load_feature_set(tmp_path / "test.npz")) == metrics[0]["test"]["num_pictures"]


def test_extract_makes_views_and_blends_and_fit_finds_their_pictures(
    run: Run, encoder_file: Path, tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    folder = tmp_path / "faces"
    for i in range(120):
        path = folder / f"person{i // 3}" / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(i))
    run(
        "extract",
        "--encoder",
        encoder_file,
        "--images",
        folder,
        "--views",
        3,
        "--blends",
        2,
        "--out",
        tmp_path / "a.npz",
    )
    a = load_feature_set(tmp_path / "a.npz")
    assert len(a) == 120 * (3 + 2)
    assert len(a.originals()) == 120
    other = planted_from(a)
    save_feature_set(other, tmp_path / "b.npz")
    sets = ("--source", tmp_path / "a.npz", "--target", tmp_path / "b.npz")
    run("fit", *sets, "--method", "arch4", "--images", folder, "--epochs", 1, "--batch", 32, "--out", tmp_path / "f")
    metrics: Any = read_bundle(tmp_path / "f").manifest.metrics
    rule = read_bundle(tmp_path / "f").manifest.provenance.split
    assert rule is not None
    part = rule.parts(a)
    assert metrics["num_training_pairs"] == (part == "train").sum()
    assert 0 < (part == "").sum() < 120 * 2


def planted_from(a: FeatureSet) -> FeatureSet:
    """The same pictures in another space, turned."""
    turn = np.random.default_rng(1).normal(size=(a.feature.shape[1], 6)).astype(np.float32)
    return FeatureSet.build(Space("turned", 6, "external:turned"), a.columns() | {"feature": a.feature @ turn})


@pytest.mark.parametrize("method", ["procrustes", "residual-mlp", "cca"])
def test_no_fit_learns_from_a_blend_with_a_face_that_is_kept_apart(
    run: Run, planted: Callable[..., FeatureSet], tmp_path: Path, method: str
) -> None:
    """Whatever their features are, the bundle is the same; those of training faces do change it."""

    def fit(name: str, spoilt: np.ndarray) -> bytes:
        for feature_set, side in zip(sides, "ab", strict=True):
            columns = feature_set.columns() | {"feature": feature_set.feature.copy()}
            columns["feature"][spoilt] = np.eye(feature_set.feature.shape[1], dtype=np.float32)[0]
            save_feature_set(FeatureSet.build(feature_set.space, columns), tmp_path / f"{side}.npz")
        sets = ("--source", tmp_path / "a.npz", "--target", tmp_path / "b.npz", "--test", 0.3)
        run("fit", *sets, "--method", method, "--calibration-folds", 0, "--out", tmp_path / name)
        made = tmp_path / (f"{name}-a" if method == "cca" else name)
        rules.append(read_bundle(made).manifest.provenance.split)
        return read_bundle(made).model

    rules: list[Any] = []
    sides = [blended(planted("a", 12)), blended(planted("b", 10))]
    nobody = np.zeros(len(sides[0]), dtype=bool)
    plain = fit("plain", nobody)
    part = rules[0].parts(sides[0])
    assert (part == "").sum() > 20
    is_blend = np.array([BLEND_MARK in key for key in sides[0].image.tolist()])
    assert fit("apart", part == "") == plain
    assert fit("seen", is_blend & (part == "train")) != plain


def test_views_do_not_make_up_for_pictures_that_are_too_few(
    fails: Callable[..., str], planted: Callable[..., FeatureSet], tmp_path: Path
) -> None:
    files = []
    for name, dimension in (("a", 12), ("b", 10)):
        feature_set = planted(name, dimension).take(np.arange(40))
        columns = {key: np.concatenate([column] * 4) for key, column in feature_set.columns().items()}
        keys = [feature_set.image, *(np.char.add(feature_set.image, f"{VIEW_MARK}{number}") for number in (1, 2, 3))]
        files.append(tmp_path / f"{name}.npz")
        save_feature_set(FeatureSet.build(feature_set.space, columns | {"image": np.concatenate(keys)}), files[-1])
    for method in ("ridge", "cca"):
        sets = ("--source", files[0], "--target", files[1], "--test", 0.5)
        assert "40 common pictures" in fails("fit", *sets, "--method", method, "--out", tmp_path / "x")


def blended(feature_set: FeatureSet) -> FeatureSet:
    """The set with a blend of each picture and the next one besides, whose feature lies between theirs."""
    columns = feature_set.columns()
    following = np.roll(np.arange(len(feature_set)), -7)
    more = {key: np.concatenate([column, column]) for key, column in columns.items()}
    more["feature"] = np.concatenate([feature_set.feature, feature_set.feature + feature_set.feature[following]])
    keys = [f"{a}{BLEND_MARK}{feature_set.image[b]}" for a, b in zip(feature_set.image, following, strict=True)]
    more["image"] = np.concatenate([feature_set.image, np.array(keys)])
    return FeatureSet.build(feature_set.space, more)


def test_a_blend_is_nobody_elses_picture(planted: Callable[..., FeatureSet]) -> None:
    """Contrast and canonical correlation go by who is on a picture: two faces in one are no third picture of either."""
    made = blended(planted("a", 12))
    number = subjects(made)
    for row, key in enumerate(made.image.tolist()):
        alike = number == number[row]
        if BLEND_MARK in key:
            assert alike.sum() == 1
        else:
            assert set(made.subject[alike]) == {made.subject[row]}
            assert all(picture_of(other) == other for other in made.image[alike].tolist())
