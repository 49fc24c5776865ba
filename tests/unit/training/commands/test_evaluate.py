"""Measuring, translating and selecting with a bundle, as a user runs them in process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import Bundle, read_bundle
from models.feature_set import FeatureSet
from models.runtime import Session
from training import cli
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.evaluation.protocols import accuracy_by_fold
from training.export.loaded import GraphTranslator

Run = Callable[..., str]
Fails = Callable[..., str]
MakeSet = Callable[..., FeatureSet]
Files = dict[str, Path]


def fit(source: Path, target: Path, out: Path, *more: str) -> list[str]:
    return ["fit", "--source", str(source), "--target", str(target), "--out", str(out), *more]


def evaluate(files: Files, *more: object) -> list[object]:
    return ["evaluate", "--bundle", files["bundle"], "--source", files["source"], "--target", files["target"], *more]


def test_evaluate_measures_the_held_out_subjects_by_default(run: Run, files: Files, tmp_path: Path) -> None:
    manifest = read_bundle(files["bundle"]).manifest
    recorded: Any = manifest.metrics["test"]
    printed = run(*evaluate(files, "--json", tmp_path / "figures.json"))
    document = json.loads((tmp_path / "figures.json").read_text())
    assert document["bundle"] == "a-to-b"
    assert document["digest"] == manifest.digest
    assert document["subjects"] == "held-out"
    assert document["evaluation"]["num_pictures"] == recorded["num_pictures"]
    assert document["evaluation"]["num_probes"] == recorded["num_probes"]
    for name, row in recorded["rows"].items():
        for figure, value in row.items():
            assert document["evaluation"]["rows"][name][figure] == pytest.approx(value, abs=1e-6), (name, figure)
    assert f"a-to-b: {recorded['num_pictures']} of 240 pictures (held-out)" in printed
    assert f"{recorded['rows']['translated probes']['mean_cosine']:.4f}" in printed
    detail = document["details"]["translated probes"]
    assert detail["rank1"] is None  # Of 19 people.
    assert f"{detail['eer']:.4f}" in printed
    assert f"{detail['num_non_mated']} people who are not is taken for somebody" in " ".join(printed.split())


def test_evaluate_compares_the_pairs_of_a_list(run: Run, fails: Fails, files: Files, tmp_path: Path) -> None:
    source = load_feature_set(files["source"])
    image, subject = source.image.tolist(), source.subject.tolist()
    lines = ["a,b,same,fold"]
    for row in range(120):
        lines += [
            f"{image[row]},{image[other]},{int(subject[row] == subject[other])},{row % 3}"
            for other in (row + 1, row + 60)
        ]
    lines.append("nobody.png,nowhere.png,1,0")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    asked = ("--pairs", tmp_path / "pairs.csv", "--json", tmp_path / "figures.json")
    printed = run(*evaluate(files, "--subjects", "all", *asked))
    assert "240 of the list's 241 pairs" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())["pairs"]["figures"]
    translator = GraphTranslator(read_bundle(files["bundle"]).model)
    target = load_feature_set(files["target"])
    scores, same, fold = [], [], []
    for line in lines[1:-1]:
        a, b, is_same, number = line.split(",")
        translated = translator(source.feature[[image.index(a)]])[0]
        scores.append(float(translated @ target.feature[target.image.tolist().index(b)]))
        same.append(is_same == "1")
        fold.append(int(number))
    expected = accuracy_by_fold(np.array(scores), np.array(same), np.array(fold))
    assert expected is not None
    assert figures["translated"]["accuracy"]["mean"] == pytest.approx(expected.mean, abs=0.01)
    assert f"{figures['translated']['accuracy']['mean']:.4f}" in printed
    (tmp_path / "none.csv").write_text("a,b,same\nnobody.png,nowhere.png,1\n")
    assert "of none of its pairs" in fails(*evaluate(files, "--pairs", tmp_path / "none.csv"))


def test_evaluate_measures_one_person_without_a_word_on_strangers(run: Run, files: Files, tmp_path: Path) -> None:
    few = load_feature_set(files["source"]).take(np.arange(240) < 4)
    save_feature_set(few, tmp_path / "one.npz")
    sets = ("--source", tmp_path / "one.npz", "--target", files["target"])
    run("evaluate", "--bundle", files["bundle"], *sets, "--subjects", "all", "--json", tmp_path / "figures.json")
    details = json.loads((tmp_path / "figures.json").read_text())["details"]
    assert details["translated probes"]["eer"] is None


def test_evaluate_measures_everybody_where_asked(run: Run, files: Files, tmp_path: Path) -> None:
    printed = run(*evaluate(files, "--subjects", "all", "--json", tmp_path / "figures.json"))
    document = json.loads((tmp_path / "figures.json").read_text())
    evaluation, detail = document["evaluation"], document["details"]["translated probes"]
    assert detail["rank1"]["low"] <= evaluation["rows"]["translated probes"]["rank1"] <= detail["rank1"]["high"]
    assert f"{detail['rank1']['low']:.4f}-{detail['rank1']['high']:.4f}" in printed
    assert (evaluation["num_pictures"], evaluation["num_gallery_subjects"], evaluation["num_probes"]) == (240, 60, 180)


def test_evaluate_holds_out_the_same_people_on_a_set_of_fewer_pictures(run: Run, files: Files, tmp_path: Path) -> None:
    source, target = load_feature_set(files["source"]), load_feature_set(files["target"])
    few = source.take(np.arange(0, 240, 2))
    save_feature_set(few, tmp_path / "few.npz")
    run(
        *("evaluate", "--bundle", files["bundle"], "--source", tmp_path / "few.npz", "--target", files["target"]),
        *("--json", tmp_path / "figures.json"),
    )
    rule = read_bundle(files["bundle"]).manifest.provenance.split
    assert rule is not None
    evaluation = json.loads((tmp_path / "figures.json").read_text())["evaluation"]
    assert evaluation["num_pictures"] == (rule.parts(target)[::2] == "test").sum()


def test_nobody_passes_as_held_out_where_it_is_not_known_who_is_on_the_pictures(
    run: Run, fails: Fails, files: Files, tmp_path: Path
) -> None:
    """The empty name belongs to some part too: with a seed that makes it `test`, all would count as held out."""
    for seed in range(50):
        rule = read_bundle(files["bundle"]).manifest.provenance.split
        assert rule is not None
        if type(rule)("subject", seed, rule.validation, rule.test).part_of("") == "test":
            break
    out = tmp_path / "fitted"
    run(*fit(files["source"], files["target"], out, "--method", "ridge", "--seed", str(seed)))
    sets = ["--source", files["unlabelled_source"], "--target", files["unlabelled_target"]]
    assert "was split by subject" in fails("evaluate", "--bundle", out, *sets)
    select = ["select", "--in", files["unlabelled_source"], "--bundle", out, "--out", tmp_path / "x.npz"]
    assert "was split by subject" in fails(*select)


def test_evaluate_says_when_none_of_the_pictures_was_kept_apart(
    run: Run, fails: Fails, files: Files, tmp_path: Path
) -> None:
    select = [
        "select",
        "--in",
        files["source"],
        "--bundle",
        files["bundle"],
        "--part",
        "train",
        "--out",
        tmp_path / "x.npz",
    ]
    run(*select)
    line = fails("evaluate", "--bundle", files["bundle"], "--source", tmp_path / "x.npz", "--target", files["target"])
    assert "keeps none of these pictures apart" in line


@pytest.mark.parametrize("place", ["missing/x.json", "."])
def test_a_place_where_no_figures_can_be_is_refused_before_any_work(
    fails: Fails, files: Files, tmp_path: Path, place: str
) -> None:
    assert "its folder does not exist" in fails(*evaluate(files, "--json", tmp_path / place))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_figures_that_do_not_fit_on_the_disk_are_said_so(capsys: pytest.CaptureFixture[str], files: Files) -> None:
    assert cli.run([str(argument) for argument in evaluate(files, "--json", "/dev/full")]) == 2
    printed = capsys.readouterr()
    assert "translated probes" in printed.out
    assert printed.err == "facebridge-train evaluate: /dev/full: cannot be written (No space left on device)\n"


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_translate_gives_the_same_pictures_in_the_target_space(
    run: Run, files: Files, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"translated.{ending}"
    printed = run("translate", "--bundle", files["bundle"], "--in", files["source"], "--out", out)
    source, translated = load_feature_set(files["source"]), load_feature_set(out)
    assert translated.space == load_feature_set(files["target"]).space
    assert translated.image.tolist() == source.image.tolist()
    assert translated.subject.tolist() == source.subject.tolist()
    assert translated.is_translated
    assert set(translated.labels["translated_by"].tolist()) == {files["bundle"].name}
    expected = Session(read_bundle(files["bundle"]).model, device="cpu").run(source.feature)
    np.testing.assert_allclose(translated.feature, expected, atol=1e-6)
    assert printed == f"{out}: 240 features in the space space-b\n"


@pytest.mark.parametrize("part", ["train", "validation", "test", ""])
def test_select_takes_a_part_of_the_bundles_split(run: Run, files: Files, tmp_path: Path, part: str) -> None:
    out = tmp_path / "part.npz"
    more = ["--part", part] if part else []
    run("select", "--in", files["source"], "--bundle", files["bundle"], "--out", out, *more)
    rule = read_bundle(files["bundle"]).manifest.provenance.split
    assert rule is not None
    source = load_feature_set(files["source"])
    expected = source.image[rule.parts(source) == (part or "test")]
    assert load_feature_set(out).image.tolist() == expected.tolist()


def test_sets_of_the_wrong_space_are_refused_by_name(
    fails: Fails, files: Files, planted: MakeSet, tmp_path: Path
) -> None:
    translate = ["translate", "--bundle", files["bundle"], "--in", files["target"], "--out", tmp_path / "x.npz"]
    line = fails(*translate)
    assert "is of the space 'space-b'" in line
    assert "the bundle translates from 'space-a'" in line
    swapped = ["evaluate", "--bundle", files["bundle"], "--source", files["target"], "--target", files["source"]]
    assert "the bundle translates from 'space-a'" in fails(*swapped)
    save_feature_set(planted("space-c", 10), tmp_path / "c.npz")
    wrong = ["evaluate", "--bundle", files["bundle"], "--source", files["source"], "--target", tmp_path / "c.npz"]
    assert "is not of the bundle's target space 'space-b'" in fails(*wrong)


@pytest.mark.parametrize("command", ["evaluate", "translate"])
def test_cuda_that_is_not_there_is_refused(
    fails: Fails, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setattr("models.runtime.ort.get_available_providers", lambda: ["CPUExecutionProvider"])
    translate = ["translate", "--bundle", files["bundle"], "--in", files["source"], "--out", tmp_path / "x.npz"]
    arguments = evaluate(files) if command == "evaluate" else translate
    assert "CUDA was asked for" in fails(*arguments, "--device", "cuda")


def test_an_encoder_bundle_translates_nothing(
    run: Run, fails: Fails, files: Files, encoder_file: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "tiny"
    run("package", "--encoder", encoder_file, "--out", bundle)
    translate = ["translate", "--bundle", bundle, "--in", files["source"], "--out", tmp_path / "x.npz"]
    assert "is of kind encoder, not a translator" in fails(*translate)
    sets = ["--source", files["source"], "--target", files["target"]]
    assert "is of kind encoder" in fails("evaluate", "--bundle", bundle, *sets)
    select = ["select", "--bundle", bundle, "--in", files["source"], "--out", tmp_path / "x.npz"]
    assert "does not say what it was fitted on" in fails(*select)


def test_a_bundle_translates_rows_alone_as_it_does_together(files: Files) -> None:
    bundle: Bundle = read_bundle(files["bundle"])
    rows = load_feature_set(files["source"]).feature
    session = Session(bundle.model, device="cpu")
    alone = np.concatenate([session.run(rows[i : i + 1]) for i in range(20)])
    np.testing.assert_allclose(session.run(rows)[:20], alone, atol=1e-6)


@pytest.mark.parametrize("value", ["0", "-3", "two"])
def test_select_refuses_a_number_of_subjects_that_is_none(
    fails: Fails, files: Files, tmp_path: Path, value: str
) -> None:
    arguments = ["select", "--in", files["source"], "--out", tmp_path / "x.npz", "--num-subjects", value]
    assert "whole number, 1 or more" in fails(*arguments)


@pytest.fixture
def by_picture(run: Run, files: Files, tmp_path: Path) -> Path:
    """A bundle fitted where nobody knew who is on the pictures."""
    out = tmp_path / "by-picture"
    run(*fit(files["unlabelled_source"], files["unlabelled_target"], out, "--method", "ridge"))
    return out


def test_of_a_split_by_picture_only_people_with_no_picture_in_training_are_held_out(
    run: Run, fails: Fails, files: Files, by_picture: Path, tmp_path: Path
) -> None:
    rule = read_bundle(by_picture).manifest.provenance.split
    assert rule is not None
    source = load_feature_set(files["source"])
    part = rule.parts(source)
    seen = set(source.subject[part != "test"].tolist())
    sets = ["--source", files["source"], "--target", files["target"], "--json", tmp_path / "figures.json"]
    assert seen == set(source.subject.tolist()), "with four pictures each, everybody has one that was seen"
    assert "use --subjects all" in fails("evaluate", "--bundle", by_picture, *sets)

    # Of some people only the pictures kept apart are left, of one of them a picture seen in training too.
    rows = part == "test"
    subjects, counts = np.unique(source.subject[rows], return_counts=True)
    leaked = subjects[np.argmax(counts)]
    rows[np.flatnonzero((part == "train") & (source.subject == leaked))[0]] = True
    save_feature_set(source.take(np.flatnonzero(rows)), tmp_path / "some.npz")
    sets[1] = tmp_path / "some.npz"
    printed = run("evaluate", "--bundle", by_picture, *sets)
    expected = int(counts.sum() - counts.max())
    assert f"by-picture: {expected} of {rows.sum()} pictures (held-out)" in printed
    assert json.loads((tmp_path / "figures.json").read_text())["evaluation"]["num_pictures"] == expected
    run("select", "--in", tmp_path / "some.npz", "--bundle", by_picture, "--out", tmp_path / "held-out.npz")
    assert leaked not in load_feature_set(tmp_path / "held-out.npz").subject


def test_without_subjects_it_is_pictures_that_are_held_out(run: Run, files: Files, by_picture: Path) -> None:
    sets = ["--source", files["unlabelled_source"], "--target", files["unlabelled_target"]]
    assert "of 240 pictures (held-out pictures)" in run("evaluate", "--bundle", by_picture, *sets)
    assert "of 240 pictures (all)" in run("evaluate", "--bundle", by_picture, *sets, "--subjects", "all")


def test_evaluate_identifies_by_a_list_and_by_modality(run: Run, fails: Fails, files: Files, tmp_path: Path) -> None:
    source = load_feature_set(files["source"])
    image, subject = source.image.tolist(), source.subject.tolist()
    roles = tmp_path / "roles.csv"
    # Four pictures of everybody: two in the gallery, two asked about; then the other way round.
    lines = [
        f"{key},{'gallery' if (row % 4 < 2) == (fold == 1) else 'probe'},{fold}"
        for fold in (1, 2)
        for row, key in enumerate(image)
    ]
    roles.write_text("image,role,fold\n" + "\n".join([*lines, "not-there.png,probe,1"]) + "\n")
    json_file = tmp_path / "figures.json"
    printed = run(*evaluate(files, "--roles", roles, "--subjects", "all", "--json", json_file))
    assert "480 of the list's 481 pictures, 2 fold(s)" in printed
    found = json.loads(json_file.read_text())["roles"]["figures"]["translated probes"]
    translated = GraphTranslator(read_bundle(files["bundle"]).model)(source.feature)
    target = load_feature_set(files["target"]).feature
    shares = []
    for is_gallery in (np.arange(240) % 4 < 2, np.arange(240) % 4 >= 2):
        score = translated[~is_gallery] @ target[is_gallery].T
        named = np.array(subject)[is_gallery][score.argmax(axis=1)]
        shares.append(np.mean(named == np.array(subject)[~is_gallery]))
    assert found["rank1"]["mean"] == pytest.approx(np.mean(shares))
    assert f"{np.mean(shares):.4f} ±" in printed
    drawn = {}
    for side in ("source", "target"):
        known = load_feature_set(files[side])
        modality = np.where(np.arange(240) % 4 == 0, "caricature", "photo")
        drawn[side] = tmp_path / f"drawn-{side}.npz"
        save_feature_set(FeatureSet.build(known.space, known.columns() | {"modality": modality}), drawn[side])
    by_modality = files | drawn
    for words, is_asked in (
        ("caricature-to-photo", np.arange(240) % 4 == 0),
        ("photo-to-caricature", np.arange(240) % 4 != 0),
    ):
        run(*evaluate(by_modality, "--roles", words, "--subjects", "all", "--json", json_file))
        given = json.loads(json_file.read_text())["roles"]
        assert (given["num_pictures"], given["num_folds"]) == (240, 1)
        asked, stored = np.flatnonzero(is_asked), np.flatnonzero(~is_asked)
        named = np.array(subject)[stored][(translated[asked] @ target[stored].T).argmax(axis=1)]
        rank1 = np.mean(named == np.array(subject)[asked])
        assert given["figures"]["translated probes"]["rank1"]["mean"] == pytest.approx(rank1)
    assert "do not say of which modality" in fails(*evaluate(files, "--roles", "caricature-to-photo"))
    assert "0 probes" in fails(*evaluate(by_modality, "--roles", "sketch-to-photo", "--subjects", "all"))
    assert "cannot be read" in fails(*evaluate(files, "--roles", tmp_path / "none.csv"))
    roles.write_text(f"image,role\n{image[0]},probe\n{image[0]},gallery\n{image[1]},gallery\n")
    twice = fails(*evaluate(files, "--roles", roles, "--subjects", "all"))
    assert f"fold 0 has '{image[0]}' as probe and in the gallery" in twice
