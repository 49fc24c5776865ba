"""A common space and a projection an encoder, as a user makes them in process."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, Manifest, read_bundle
from models.calibration import Calibration
from models.errors import BundleError
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.operating_point import OperatingPoint
from models.runtime import Session
from models.split import SplitRule
from training.commands import fit_common
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.evaluation.common_space import of_all
from training.export import bundles

Run = Callable[..., str]
Fails = Callable[..., str]
Planted = Callable[..., FeatureSet]


@pytest.fixture
def sets(planted: Planted, tmp_path: Path) -> dict[str, Path]:
    files = {}
    for name, dimension in (("a", 12), ("b", 10), ("c", 14)):
        files[name] = tmp_path / f"{name}.npz"
        save_feature_set(planted(name, dimension), files[name])
    return files


def projected(bundle: Bundle, feature_set: FeatureSet, part: str) -> FloatArray:
    rule = bundle.manifest.provenance.split
    assert rule is not None
    return Session(bundle.model, device="cpu").run(feature_set.feature[rule.parts(feature_set) == part])


def test_two_encoders_get_a_bundle_each_into_one_space(
    run: Run, sets: dict[str, Path], tmp_path: Path, planted: Planted
) -> None:
    words = ("--source", sets["a"], "--target", sets["b"], "--licence", "MIT", "--seed", 3)
    printed = run("fit", "--method", "cca", *words, "--out", tmp_path / "common")
    one, other = (read_bundle(tmp_path / f"common-{name}") for name in "ab")
    assert not (tmp_path / "common").exists()
    assert one.manifest.target == other.manifest.target
    assert one.manifest.target.name == "common"
    assert f"space common ({one.manifest.target.fingerprint})" in printed
    a, b = planted("a", 12), planted("b", 10)
    for bundle, native in ((one, a), (other, b)):
        manifest = bundle.manifest
        assert (manifest.kind, manifest.method, manifest.source, manifest.licence) == (
            "translator",
            "cca",
            native.space,
            "MIT",
        )
        assert manifest.provenance.data_digests == {"a": a.digest, "b": b.digest}
        assert manifest.provenance.seed == 3
        metrics: Any = manifest.metrics
        assert set(metrics["test"]["rows"]) == {
            "native source",
            "projected target",
            "translated probes",
            "translated gallery",
        }
    x, y = projected(one, a, "test"), projected(other, b, "test")
    figures: Any = one.manifest.metrics["test"]
    assert figures["rows"]["translated probes"]["mean_cosine"] == pytest.approx(
        float((x * y).sum(axis=1).mean()), abs=1e-5
    )
    assert figures["rows"]["translated probes"]["mean_cosine"] > 0.7


def test_several_encoders_need_one_projection_each_and_any_two_can_be_compared(
    run: Run, sets: dict[str, Path], tmp_path: Path, planted: Planted
) -> None:
    words = ("--source", sets["a"], "--target", sets["b"], "--also", sets["c"])
    run("fit", "--method", "cca", *words, "--out", tmp_path / "common")
    bundles = {name: read_bundle(tmp_path / f"common-{name}") for name in "abc"}
    assert len({bundle.manifest.target.fingerprint for bundle in bundles.values()}) == 1
    native = {"a": planted("a", 12), "b": planted("b", 10), "c": planted("c", 14)}
    common = {name: projected(bundle, native[name], "test") for name, bundle in bundles.items()}
    for one in "abc":
        metrics: Any = bundles[one].manifest.metrics
        assert set(metrics["against"]["test"]) == set("abc") - {one}
        assert metrics["hardest"] in metrics["against"]["test"]
        for other in set("abc") - {one}:
            cosine = metrics["against"]["test"][other]["rows"]["translated probes"]["mean_cosine"]
            assert cosine == pytest.approx(float((common[one] * common[other]).sum(axis=1).mean()), abs=1e-5)
            assert cosine > 0.6


def test_other_projections_are_another_space(run: Run, sets: dict[str, Path], tmp_path: Path) -> None:
    words = ("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"])
    run(*words, "--out", tmp_path / "one")
    run(*words, "--out", tmp_path / "same")
    run(*words, "--out", tmp_path / "other", "--seed", 1)
    prints = [read_bundle(tmp_path / f"{name}-a").manifest.target.fingerprint for name in ("one", "same", "other")]
    assert prints[0] == prints[1] != prints[2]


def test_people_need_not_be_known(run: Run, planted: Planted, tmp_path: Path) -> None:
    for name, dimension in (("a", 12), ("b", 10)):
        save_feature_set(planted(name, dimension, subjects=False), tmp_path / f"{name}.npz")
    run(
        "fit",
        "--method",
        "cca",
        "--source",
        tmp_path / "a.npz",
        "--target",
        tmp_path / "b.npz",
        "--out",
        tmp_path / "x",
    )
    manifest = read_bundle(tmp_path / "x-a").manifest
    assert manifest.provenance.hyperparameters["paired_by"] == "image"
    assert manifest.provenance.split is not None
    assert manifest.provenance.split.by == "image"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("--source", "a"), "a common space is fitted on --source and --target"),
        (("--source", "a", "--target", "a"), "both feature sets are of the space 'a'"),
        (("--source", "a", "--target", "b", "--also", "b"), "two of the feature sets are of the same space"),
        (("--source", "a", "--target", "b", "--width", "1"), "--width is for --method encoder"),
    ],
)
def test_what_makes_no_common_space_is_refused(
    fails: Fails, sets: dict[str, Path], tmp_path: Path, words: tuple[str, ...], match: str
) -> None:
    given = [sets.get(word, word) for word in words]
    assert match in fails("fit", "--method", "cca", *given, "--out", tmp_path / "x")
    assert not list(tmp_path.glob("x*"))


def test_two_spaces_of_one_name_are_refused(
    fails: Fails, planted: Planted, sets: dict[str, Path], tmp_path: Path
) -> None:
    other = planted("b", 10)
    renamed = replace(other, space=replace(other.space, name="a"))
    save_feature_set(renamed, tmp_path / "renamed.npz")
    words = ("--source", sets["a"], "--target", tmp_path / "renamed.npz")
    assert "two different spaces have the same name 'a'; rename one" in fails(
        "fit", "--method", "cca", *words, "--out", tmp_path / "x"
    )


def test_a_bundle_that_is_there_already_is_not_touched(
    run: Run, fails: Fails, sets: dict[str, Path], tmp_path: Path
) -> None:
    words = ("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "x")
    run(*words)
    assert f"{tmp_path / 'x-a'}: exists already" in fails(*words)


def test_a_common_space_cannot_take_an_encoders_name(fails: Fails, sets: dict[str, Path], tmp_path: Path) -> None:
    """A gallery of that name's space would then be a question of which."""
    words = ("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "b")
    assert "would name the common space 'b' as an encoder's own" in fails(*words)


def test_a_disk_that_is_full_after_the_first_bundle_leaves_none(
    run: Run, fails: Fails, sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first would be in the way of the same command, and of no use alone."""
    write = bundles.write_translator_bundle

    def full(folder: Path, **parts: Any) -> Manifest:
        if folder.name == "x-b":
            raise BundleError(f"{folder}: cannot be written (No space left on device)")
        return write(folder, **parts)

    words = ("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "x")
    before = set(tmp_path.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(fit_common, "write_translator_bundle", full)
        assert "No space left" in fails(*words)
    assert set(tmp_path.iterdir()) == before
    run(*words)


def test_one_person_alone_is_refused(fails: Fails, sets: dict[str, Path], tmp_path: Path, planted: Planted) -> None:
    files = []
    for name, dimension in (("a", 12), ("b", 10)):
        native = planted(name, dimension)
        part = SplitRule("subject", 0, 0.1, 0.1)
        everybody = np.array(["one" if part.part_of(s) == "train" else s for s in native.subject.tolist()])
        assert part.part_of("one") == "train"
        files.append(tmp_path / f"ann-{name}.npz")
        save_feature_set(FeatureSet.build(native.space, native.columns() | {"subject": everybody}), files[-1])
    words = ("--source", files[0], "--target", files[1], "--validation", 0.1, "--test", 0.1)
    line = fails("fit", "--method", "cca", *words, "--out", tmp_path / "x")
    assert "bring pictures of more subjects" in line


def test_features_that_are_all_the_same_are_refused(fails: Fails, sets: dict[str, Path], tmp_path: Path) -> None:
    """Of blank pictures, or a broken encoder."""
    one = load_feature_set(sets["a"])
    path = tmp_path / "same.npz"
    same = np.repeat(one.feature[:1], len(one), axis=0)
    save_feature_set(FeatureSet.build(one.space, one.columns() | {"feature": same}), path)
    line = fails("fit", "--method", "cca", "--source", path, "--target", sets["b"], "--out", tmp_path / "x")
    assert "all features of a set are the same" in line


def test_further_sets_are_for_a_common_space(fails: Fails, sets: dict[str, Path], tmp_path: Path) -> None:
    words = ("--source", sets["a"], "--target", sets["b"], "--also", sets["c"])
    line = fails("fit", "--method", "ridge", *words, "--out", tmp_path / "x")
    assert (
        line
        == "facebridge-train fit: --also is for --method cca or two-sided: a translator has one source and one target"
    )


def test_of_several_thresholds_the_strictest_holds_for_all_and_each_is_kept() -> None:
    def measured(fnmr: float, *thresholds: float) -> Calibration:
        rates = (1e-2, 1e-3)
        points = tuple(OperatingPoint(r, t, fnmr, 10, 10_000) for r, t in zip(rates, thresholds, strict=False))
        native = (OperatingPoint(1e-2, 0.7, 0.01, 10, 10_000),)
        return Calibration({"native-source": native, "translated": points} if points else {"native-source": native})

    found = of_all({"b": measured(0.2, 0.3, 0.6), "c": measured(0.1, 0.4, 0.5)})
    assert [(point.threshold, point.fnmr) for point in found.points["translated"]] == [(0.4, 0.1), (0.6, 0.2)]
    assert [(point.threshold, point.fnmr) for point in found.against["b"]] == [(0.3, 0.2), (0.6, 0.2)]
    assert [point.threshold for point in found.points["native-source"]] == [0.7]
    shorter = of_all({"b": measured(0.2, 0.3, 0.6), "c": measured(0.1, 0.4)})
    assert [point.threshold for point in shorter.points["translated"]] == [0.4]
    partly = of_all({"b": measured(0.2, 0.3), "c": measured(0.1)})
    assert set(partly.points) == {"native-source"}
    assert set(partly.against) == {"b"}


def test_common_space_figures_are_of_people_not_seen(
    run: Run, sets: dict[str, Path], tmp_path: Path, planted: Planted
) -> None:
    """With the test subjects' features replaced by noise the projections stay what they were."""
    run("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "one")
    bundle = read_bundle(tmp_path / "one-a")
    rule = bundle.manifest.provenance.split
    assert rule is not None
    noisy = {}
    for name, dimension in (("a", 12), ("b", 10)):
        native = planted(name, dimension)
        test = rule.parts(native) == "test"
        feature = native.feature.copy()
        feature[test] = np.random.default_rng(5).normal(size=(int(test.sum()), dimension))
        noisy[name] = tmp_path / f"noisy-{name}.npz"
        save_feature_set(FeatureSet.build(native.space, native.columns() | {"feature": feature}), noisy[name])
    run("fit", "--method", "cca", "--source", noisy["a"], "--target", noisy["b"], "--out", tmp_path / "two")
    assert read_bundle(tmp_path / "two-a").model == bundle.model


def test_evaluate_measures_two_projections_together(run: Run, sets: dict[str, Path], tmp_path: Path) -> None:
    run("fit", "--method", "cca", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "x")
    sides = ("--source", sets["a"], "--target", sets["b"], "--json", tmp_path / "figures.json")
    run("evaluate", "--bundle", tmp_path / "x-a", "--other", tmp_path / "x-b", *sides)
    measured = json.loads((tmp_path / "figures.json").read_text())["evaluation"]
    metrics: Any = read_bundle(tmp_path / "x-a").manifest.metrics
    assert measured["num_pictures"] == metrics["test"]["num_pictures"]
    for name, row in metrics["test"]["rows"].items():
        assert measured["rows"][name] == pytest.approx(row, abs=1e-6)


def test_evaluate_refuses_projections_that_do_not_belong_together(
    run: Run, fails: Fails, sets: dict[str, Path], tmp_path: Path
) -> None:
    for seed in (0, 1):
        words = ("--source", sets["a"], "--target", sets["b"], "--seed", seed)
        run("fit", "--method", "cca", *words, "--out", tmp_path / f"fit{seed}")
    run("fit", "--method", "ridge", "--source", sets["a"], "--target", sets["b"], "--out", tmp_path / "ridge")
    sides = ("--source", sets["a"], "--target", sets["b"])
    one = ("evaluate", "--bundle", tmp_path / "fit0-a", *sides)
    assert "both must be of one fit" in fails(*one, "--other", tmp_path / "fit1-b")
    assert "--other is for two projections" in fails(*one, "--other", tmp_path / "ridge")
    assert "give the other side's projection as --other" in fails(*one)
    assert "projects the same encoder's features" in fails(*one, "--other", tmp_path / "fit0-a")
    turned = ("evaluate", "--bundle", tmp_path / "fit0-a", "--source", sets["b"], "--target", sets["a"])
    assert "is of the space 'b'" in fails(*turned, "--other", tmp_path / "fit0-b")


def test_two_sided_writes_a_bundle_each_that_compare_better_than_chance(
    run: Run, sets: dict[str, Path], tmp_path: Path, planted: Planted
) -> None:
    words = ("--source", sets["a"], "--target", sets["b"], "--also", sets["c"], "--seed", 3)
    run("fit", "--method", "two-sided", *words, "--calibration-folds", 2, "--out", tmp_path / "common")
    bundles = [read_bundle(tmp_path / f"common-{name}") for name in "abc"]
    assert len({bundle.manifest.target.fingerprint for bundle in bundles}) == 1
    assert bundles[0].manifest.target.dimension == 12 + 10 + 14
    for bundle in bundles:
        assert bundle.manifest.method == "two-sided"
        weights: Any = bundle.manifest.provenance.hyperparameters["weights"]
        assert set(weights) == set("abc")
        assert sum(weights.values()) == pytest.approx(1.0, abs=1e-3)
    x, y = projected(bundles[0], planted("a", 12), "test"), projected(bundles[1], planted("b", 10), "test")
    # Four pictures of everybody, in order.
    assert np.mean((x @ y.T).argmax(axis=1) // 4 == np.arange(len(x)) // 4) > 0.8
    printed = run(
        "evaluate",
        "--bundle",
        tmp_path / "common-a",
        "--other",
        tmp_path / "common-c",
        "--source",
        sets["a"],
        "--target",
        sets["c"],
    )
    assert "two-sided" in printed
