"""Fitting, as a user runs it in process."""

import json
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import read_bundle
from models.feature_set import FeatureSet
from models.runtime import Session
from tests.unit.training.recipes.test_confidence import world
from training import cli
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.recipes import translators
from training.trainers.linear import fit_ridge

Run = Callable[..., str]
Fails = Callable[..., str]
MakeSet = Callable[..., FeatureSet]
Files = dict[str, Path]

LINEAR = ("procrustes", "ridge", "low-rank")


def fit(source: Path, target: Path, out: Path, *more: str) -> list[str]:
    return ["fit", "--source", str(source), "--target", str(target), "--out", str(out), *more]


def unrelated(data: Any) -> Any:
    """A translator fitted to pairs that do not belong together."""
    turned = type(data)(
        data.source_NS, data.target_NT[::-1].copy(), data.validation_source_VS, data.validation_target_VT, data.seed
    )
    return fit_ridge(turned)


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("method", [*LINEAR, "residual-mlp", "contrastive-mlp"])
def test_fit_writes_a_bundle_that_says_where_it_came_from(run: Run, files: Files, tmp_path: Path, method: str) -> None:
    out = tmp_path / "fitted"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        printed = run(
            *fit(files["source"], files["target"], out, "--method", method, "--seed", "3", "--licence", "MIT")
        )
    bundle = read_bundle(out)
    manifest = bundle.manifest
    source, target = load_feature_set(files["source"]), load_feature_set(files["target"])
    assert (manifest.name, manifest.kind, manifest.method) == ("fitted", "translator", method)
    assert (manifest.source, manifest.target, manifest.licence) == (source.space, target.space, "MIT")
    assert manifest.provenance.data_digests == {"source": source.digest, "target": target.digest}
    assert manifest.provenance.seed == 3
    assert manifest.provenance.split is not None
    assert (manifest.provenance.split.by, manifest.provenance.split.seed) == ("subject", 3)
    assert f"{out}: {method} " in printed
    assert manifest.digest[:16] in printed
    card = (out / "MODEL_CARD.md").read_text()
    assert f"Method: {method}. Licence: MIT." in card
    assert re.search(r"Measured on \d+ pictures of test subjects \(\d+ in the gallery, \d+ probes\):\n", card)


def test_the_figures_of_the_bundle_are_those_of_its_graph_on_the_test_subjects(files: Files) -> None:
    bundle = read_bundle(files["bundle"])
    rule = bundle.manifest.provenance.split
    assert rule is not None
    source, target = load_feature_set(files["source"]), load_feature_set(files["target"])
    test = rule.parts(source) == "test"
    translated = Session(bundle.model, device="cpu").run(source.feature[test])
    expected = float(np.mean(np.sum(translated.astype(np.float64) * target.feature[test], axis=1)))
    figures: Any = bundle.manifest.metrics["test"]
    assert figures["num_pictures"] == test.sum() > 20
    assert figures["rows"]["translated probes"]["mean_cosine"] == pytest.approx(expected, abs=1e-6)
    assert bundle.manifest.metrics["num_training_pairs"] == (rule.parts(source) == "train").sum()


def test_fit_learns_nothing_from_the_test_subjects(run: Run, files: Files, tmp_path: Path) -> None:
    rule = read_bundle(files["bundle"]).manifest.provenance.split
    assert rule is not None
    target = load_feature_set(files["target"])
    spoilt = target.feature.copy()
    spoilt[rule.parts(target) == "test"] = np.eye(10, dtype=np.float32)[0]
    save_feature_set(FeatureSet.build(target.space, target.columns() | {"feature": spoilt}), tmp_path / "spoilt.npz")
    run(*fit(files["source"], tmp_path / "spoilt.npz", tmp_path / "a-to-b", "--method", "ridge"))
    assert read_bundle(tmp_path / "a-to-b").model == read_bundle(files["bundle"]).model


@pytest.mark.parametrize("method", LINEAR)
def test_the_same_command_gives_the_same_bytes(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    outs = [tmp_path / side / "bundle" for side in ("one", "two")]
    for out in outs:
        run(*fit(files["source"], files["target"], out, "--method", method, "--report"))
    one, two = (
        {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in outs
    )
    assert one == two
    assert set(one) == {"bundle.json", "model.onnx", "calibration.json", "MODEL_CARD.md", "report/index.html"}
    assert json.loads(one["bundle.json"])["provenance"]["created_at"] == "2023-11-14T22:13:20+00:00"


@pytest.mark.usefixtures("short_training")
def test_auto_records_every_method_and_takes_the_best(run: Run, files: Files, tmp_path: Path) -> None:
    printed = run(*fit(files["source"], files["target"], tmp_path / "best"))
    manifest = read_bundle(tmp_path / "best").manifest
    compared: Any = manifest.metrics["compared"]
    assert set(compared) == set(translators.CANDIDATES)

    def rank1(method: str) -> float:
        rows = compared[method]["validation"]["rows"]
        return float(rows["translated probes"]["rank1"] + rows["translated gallery"]["rank1"]) / 2

    def cosine(method: str) -> float:
        return float(compared[method]["validation"]["rows"]["translated probes"]["mean_cosine"])

    best = max(map(rank1, compared))
    lowest = best - (best * (1 - best) / compared["ridge"]["validation"]["num_probes"]) ** 0.5
    assert manifest.method == max((method for method in compared if rank1(method) >= lowest), key=cosine)
    assert manifest.metrics["validation"] == compared[manifest.method]["validation"]
    assert manifest.metrics["test"] == compared[manifest.method]["test"]
    assert all(f" {method} " in printed for method in compared)


def test_auto_takes_the_best_also_where_it_comes_last(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ridge = translators.METHODS["ridge"]
    bad = translators.TranslatorRecipe(f"{__name__}:unused", ridge.exporter)
    monkeypatch.setattr(translators, "METHODS", {"bad": bad, "good": ridge})
    monkeypatch.setattr(translators, "CANDIDATES", ("bad", "good"))
    load = translators.load
    monkeypatch.setattr(translators, "load", lambda place: unrelated if place == bad.trainer else load(place))
    run(*fit(files["source"], files["target"], tmp_path / "best"))
    manifest = read_bundle(tmp_path / "best").manifest
    compared: Any = manifest.metrics["compared"]
    assert manifest.method == "good"
    assert compared["bad"]["validation"]["rows"]["translated probes"]["mean_cosine"] < 0.9


def test_without_subjects_pictures_are_split_and_only_the_cosine_is_measured(
    run: Run, files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "unlabelled"
    printed = run(*fit(files["unlabelled_source"], files["unlabelled_target"], out, "--method", "ridge"))
    bundle = read_bundle(out)
    assert bundle.manifest.provenance.split is not None
    assert bundle.manifest.provenance.split.by == "image"
    assert bundle.calibration.points == {}
    assert "test images" in printed
    num_pictures = (
        bundle.manifest.provenance.split.parts(load_feature_set(files["unlabelled_source"])) == "test"
    ).sum()
    assert f"Measured on {num_pictures} test pictures:\n" in (out / "MODEL_CARD.md").read_text()
    evaluated = run(
        "evaluate", "--bundle", out, "--source", files["unlabelled_source"], "--target", files["unlabelled_target"]
    )
    assert "translated probes" in evaluated
    more = ("--method", "ridge", "--test", "0")
    run(*fit(files["unlabelled_source"], files["unlabelled_target"], tmp_path / "no-test", *more))
    assert "not measured on pictures kept apart" in (tmp_path / "no-test" / "MODEL_CARD.md").read_text()


def test_no_test_share_reports_the_validation_subjects(run: Run, fails: Fails, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "no-test"
    printed = run(*fit(files["source"], files["target"], out, "--method", "ridge", "--test", "0"))
    assert "validation subjects" in printed
    assert read_bundle(out).manifest.metrics["test"] is None
    assert "not measured on subjects kept apart" in (out / "MODEL_CARD.md").read_text()
    line = fails("evaluate", "--bundle", out, "--source", files["source"], "--target", files["target"])
    assert "use --subjects all on new ones" in line


@pytest.mark.parametrize(
    ("flag", "value", "match"),
    [
        ("--seed", "-1", "whole number, 0 or more"),
        ("--seed", "1.5", "whole number, 0 or more"),
        ("--seed", str(2**63), "at most 9223372036854775807"),
        ("--method", "magic", "invalid choice: 'magic'"),
        *(
            (flag, value, "--validation")
            for flag in ("--validation", "--test")
            for value in ("1", "nan", "-0.1", "inf")
        ),
        ("--validation", "0", "--validation must be above 0"),
        ("--validation", "0.8", "both together below 1"),
        ("--test", "half", "invalid float value"),
        ("--validation", "0.000001", "for training and 0 for validation; .* keep a larger share for --validation"),
        ("--test", "0.88", "at least 32 and 2 are needed: bring more pictures of more people, or keep smaller shares"),
    ],
)
def test_fit_refuses_numbers_that_make_no_sense(
    fails: Fails, files: Files, tmp_path: Path, *, flag: str, value: str, match: str
) -> None:
    line = fails(*fit(files["source"], files["target"], tmp_path / "x", "--method", "ridge", flag, value))
    assert re.search(match, line)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("seed", ["0", str(2**63 - 1)])
@pytest.mark.usefixtures("short_training")
def test_fit_takes_every_seed_it_allows(run: Run, files: Files, tmp_path: Path, seed: str) -> None:
    run(*fit(files["source"], files["target"], tmp_path / "x", "--method", "residual-mlp", "--seed", seed))
    assert read_bundle(tmp_path / "x").manifest.provenance.seed == int(seed)


def test_fit_refuses_sets_that_do_not_belong_together(
    fails: Fails, files: Files, planted: MakeSet, tmp_path: Path
) -> None:
    save_feature_set(planted("space-c", 9, keys="other/{i}.png"), tmp_path / "other.npz")
    out = tmp_path / "x"
    assert "no picture is in both" in fails(*fit(files["source"], tmp_path / "other.npz", out))
    assert "nothing to translate" in fails(*fit(files["source"], files["source"], out))


def test_fit_refuses_too_few_pairs(fails: Fails, files: Files, tmp_path: Path) -> None:
    save_feature_set(load_feature_set(files["source"]).take(np.arange(30)), tmp_path / "few.npz")
    line = fails(*fit(tmp_path / "few.npz", files["target"], tmp_path / "x"))
    assert re.search(r"30 common pictures of \d+ people leave", line)
    assert "bring more pictures" in line


def test_one_person_alone_leaves_nobody_to_validate_on(fails: Fails, files: Files, tmp_path: Path) -> None:
    for side in ("source", "target"):
        whole = load_feature_set(files[side])
        save_feature_set(replace(whole, subject=np.full(len(whole), "only")), tmp_path / f"{side}.npz")
    line = fails(*fit(tmp_path / "source.npz", tmp_path / "target.npz", tmp_path / "x", "--method", "ridge"))
    assert "common pictures of one person leave" in line
    assert "bring more pictures of more people" in line


@pytest.mark.parametrize("method", ["ridge", "cca", "fc"])
def test_a_folder_that_nothing_can_be_written_to_is_found_before_fitting(
    fails: Fails, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    line = fails(*fit(files["source"], files["target"], tmp_path / "file" / "x", "--method", method))
    assert f"{tmp_path / 'file'} is no folder" in line
    monkeypatch.setattr("training.data.partial.os.access", lambda *_: False)
    for place in ("fit.fit_methods", "fit_r3an.fit_methods", "fit_common.make_common_space"):
        monkeypatch.setattr(f"training.commands.{place}", lambda *_, **__: pytest.fail("began to work"))
    assert "cannot be written" in fails(*fit(files["source"], files["target"], tmp_path / "x", "--method", method))


def test_a_bad_source_date_epoch_is_one_line(
    fails: Fails, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    line = fails(*fit(files["source"], files["target"], tmp_path / "x", "--method", "ridge"))
    assert "SOURCE_DATE_EPOCH" in line


def test_every_method_is_known_to_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.run(["fit", "--help"])
    printed = capsys.readouterr().out
    assert all(method in printed for method in (*translators.METHODS, translators.AUTO, "cca", "encoder"))


@pytest.mark.parametrize("given", [(), ("--source",), ("--target",), ("--images",)])
@pytest.mark.parametrize("method", [*translators.METHODS, translators.AUTO])
def test_a_translator_needs_a_source_and_a_target(
    fails: Fails, files: Files, tmp_path: Path, given: tuple[str, ...], method: str
) -> None:
    values = {"--source": files["source"], "--target": files["target"], "--images": tmp_path}
    options = [part for flag in given for part in (flag, values[flag])]
    line = fails("fit", "--method", method, "--out", tmp_path / "x", *options)
    assert line == (
        "facebridge-train fit: a translator is fitted on --source and --target; --images alone is for --method encoder"
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("method", [*translators.CANDIDATES, translators.AUTO])
def test_a_translator_that_looks_at_no_pictures_takes_none(
    fails: Fails, files: Files, tmp_path: Path, method: str
) -> None:
    sets = ("--source", files["source"], "--target", files["target"], "--images", tmp_path)
    line = fails("fit", "--method", method, "--out", tmp_path / "x", *sets)
    assert line == (
        f"facebridge-train fit: --images is for --method encoder or r3an and has no effect on --method {method}"
    )


def test_half_weights_are_stored_measured_and_served(run: Run, planted: MakeSet, tmp_path: Path) -> None:
    """A map of 40 x 30 numbers: large enough to be halved, its bias of 30 is not."""
    source, target = planted("wide-a", 40), planted("wide-b", 30)
    save_feature_set(source, tmp_path / "a.npz")
    save_feature_set(target, tmp_path / "b.npz")
    sides = (tmp_path / "a.npz", tmp_path / "b.npz")
    run(*fit(*sides, tmp_path / "whole", "--method", "ridge"))
    run(*fit(*sides, tmp_path / "half", "--method", "ridge", "--half-weights"))
    whole, half = read_bundle(tmp_path / "whole"), read_bundle(tmp_path / "half")
    assert len(whole.model) - len(half.model) == pytest.approx(2 * 40 * 30, abs=100)
    rule = half.manifest.provenance.split
    assert rule is not None
    test = rule.parts(source) == "test"
    translated, exact = (Session(b.model, device="cpu").run(source.feature[test]) for b in (half, whole))
    assert 0 < np.abs(translated - exact).max() < 2e-3
    cosine = float(np.mean(np.sum(translated.astype(np.float64) * target.feature[test], axis=1)))
    figures: Any = half.manifest.metrics["test"]
    assert figures["rows"]["translated probes"]["mean_cosine"] == pytest.approx(cosine, abs=1e-7)


@pytest.mark.parametrize(
    ("flag", "methods"),
    [("--width", "encoder"), ("--epochs", "encoder or r3an"), ("--learning-rate", "encoder or r3an")],
)
def test_an_option_of_encoders_is_refused_for_a_translator(
    fails: Callable[..., str], files: dict[str, Path], tmp_path: Path, flag: str, methods: str
) -> None:
    sets = ("--source", files["source"], "--target", files["target"], "--out", tmp_path / "x")
    line = fails("fit", *sets, "--method", "ridge", flag, "1")
    assert line == f"facebridge-train fit: {flag} is for --method {methods} and has no effect on --method ridge"


def test_confidence_is_learned_unless_told_otherwise_and_too_few_people_are_said(
    run: Run, files: Files, tmp_path: Path
) -> None:
    pairs, _ = world()
    for side, feature_set in (("source", pairs.source), ("target", pairs.target)):
        save_feature_set(feature_set, tmp_path / f"{side}.npz")
    own = (tmp_path / "source.npz", tmp_path / "target.npz")
    words = ("--method", "ridge", "--no-report")
    told = run(*fit(*own, tmp_path / "telling", *words))
    assert "no confidence" not in told
    found = read_bundle(tmp_path / "telling").confidence
    assert found is not None
    assert found.with_norm is not None
    silent = run(*fit(*own, tmp_path / "silent", *words, "--no-confidence"))
    assert "no confidence" not in silent
    assert read_bundle(tmp_path / "silent").confidence is None
    few = run(*fit(files["source"], files["target"], tmp_path / "few", *words))
    assert "no confidence in translations: that takes photos of 250 people, and features of 8 numbers or more" in few
    assert read_bundle(tmp_path / "few").confidence is None
