"""Thresholds on pictures or scores of one's own, as a user measures them in process."""

import csv
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.bundle import read_bundle, write_bundle
from models.confidence import ConfidenceModel, NormEstimate, NormScale
from models.feature_set import FeatureSet
from models.features import unit_features
from tests.api.world import COLOURS_TO_A, A, encoder_graph, write
from tests.by_hand import confidence_model
from training.commands import calibrate as command
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.pairs import Pairs, join_by_image
from training.evaluation.calibration import calibrate, calibrate_native
from training.export.loaded import LoadedTranslator

Run = Callable[..., str]
Fails = Callable[..., str]
Files = dict[str, Path]


@pytest.fixture
def own(files: Files, tmp_path: Path) -> Files:
    """A hundred people the bundle knows nothing of, three pictures each, in both of its spaces."""
    made = {}
    for side in ("source", "target"):
        space = load_feature_set(files[side]).space
        random = np.random.default_rng(space.dimension)
        identity = np.repeat(np.random.default_rng(9).normal(size=(100, 6)), 3, axis=0)
        feature = identity @ random.normal(size=(6, space.dimension)) + 0.4 * random.normal(size=(300, space.dimension))
        columns = {
            "feature": feature.astype(np.float32),
            "image": np.array([f"own/{row:03d}.png" for row in range(300)]),
            "subject": np.array([f"own-{row // 3}" for row in range(300)]),
        }
        made[side] = tmp_path / f"own-{side}.npz"
        save_feature_set(FeatureSet.build(space, columns), made[side])
    return made


def words(files: Files, own: Files, out: Path, *more: object) -> list[object]:
    return ["calibrate", "--bundle", files["bundle"], "--source", own["source"], "--target", own["target"],
            "--out", out, *more]  # fmt: skip


def test_the_same_model_gets_thresholds_of_other_people(run: Run, files: Files, own: Files, tmp_path: Path) -> None:
    printed = run(*words(files, own, tmp_path / "ours", "--subjects", "all"))
    old, new = read_bundle(files["bundle"]), read_bundle(tmp_path / "ours")
    assert new.model == old.model
    assert new.manifest.name == "ours"
    assert new.manifest.metrics == old.manifest.metrics
    pairs = join_by_image(load_feature_set(own["source"]), load_feature_set(own["target"]))
    assert new.calibration == calibrate(pairs, LoadedTranslator(old, "cpu")(pairs.source.feature))
    assert [point.num_impostors for point in new.calibration.points["translated"]] == [4950]
    digests = new.manifest.provenance.data_digests
    assert digests["source"] == old.manifest.provenance.data_digests["source"]
    assert digests["calibration target"] == pairs.target.digest
    assert (tmp_path / "ours" / "MODEL_CARD.md").read_bytes() == (files["bundle"] / "MODEL_CARD.md").read_bytes()
    (threshold,) = (point.threshold for point in new.calibration.points["translated"])
    assert f"{threshold:.3f}" in printed
    assert "ours: from 100 people" in printed


def test_people_of_the_training_part_do_not_count_unless_told(
    fails: Fails, files: Files, own: Files, tmp_path: Path
) -> None:
    line = fails(*words(files, own, tmp_path / "ours"))
    rule = read_bundle(files["bundle"]).manifest.provenance.split
    assert rule is not None
    known = np.unique(load_feature_set(own["source"]).subject)
    num = sum(rule.part_of(name) != "train" for name in known.tolist())
    assert line.startswith(
        f"facebridge-train calibrate: {num} people are too few to state any threshold: 0.01 takes 78"
    )
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("num_people", [240, 260])
def test_what_the_spaces_look_like_is_measured_anew_where_people_are_enough(
    run: Run, files: Files, tmp_path: Path, num_people: int
) -> None:
    folder = tmp_path / "telling"
    old = read_bundle(files["bundle"])
    contents = {name: (files["bundle"] / name).read_bytes() for name in old.manifest.files}
    stats = confidence_model(12, 10)
    scale = NormScale(0.0, 1.0, -1.0, 1.0)
    by_norm = replace(stats.plain, weight_F=np.append(stats.plain.weight_F, np.float32(1)))
    stats = replace(stats, with_norm=NormEstimate(scale, by_norm))
    manifest = replace(old.manifest, name="telling", files={}, digest="")
    write_bundle(folder, manifest, contents | {"stats.npz": stats.to_bytes()})
    random, sets = np.random.default_rng(0), {}
    for side in ("source", "target"):
        space = load_feature_set(files[side]).space
        columns = {
            "feature": unit_features(random.normal(size=(2 * num_people, space.dimension))),
            "image": np.array([f"{row:03d}" for row in range(2 * num_people)]),
            "subject": np.array([f"own-{row // 2}" for row in range(2 * num_people)]),
        }
        sets[side] = tmp_path / f"many-{side}.npz"
        save_feature_set(FeatureSet.build(space, columns), sets[side])
    printed = run(*words(files | {"bundle": folder}, sets, tmp_path / "ours", "--subjects", "all"))
    new = read_bundle(tmp_path / "ours").confidence
    assert new is not None
    # The estimator and its signals stay; what comes of its estimates is of these people.
    assert new.plain.weight_F.tobytes() == stats.plain.weight_F.tobytes()
    assert new.signals_of.basis_SS.tobytes() == stats.signals_of.basis_SS.tobytes()
    assert "what confidence in translations says: measured anew too" in printed
    assert new.with_norm is None
    assert "confidence by norms: left out, as too few of these features come with norms" in printed
    pairs = join_by_image(*(load_feature_set(sets[side]) for side in ("source", "target")))
    translator = LoadedTranslator(old, "cpu")
    confidence = new(pairs.source.feature, translator(pairs.source.feature))
    (point,) = (one for one in read_bundle(tmp_path / "ours").calibration.points["translated"] if one.fmr == new.fmr)
    # Noise: as many genuine comparisons reach the threshold as others, and every picture is like the others.
    assert confidence.mean() == pytest.approx(1 - point.fnmr, abs=0.02)
    if num_people < 250:
        assert "what features of its spaces look like: as it was: that takes 250 people" in printed
        assert new.source.basis_DD.tobytes() == stats.source.basis_DD.tobytes()
    else:
        assert "what features of its spaces look like: measured anew too" in printed
        assert np.square(new.source.whitened(pairs.source.feature)).mean() == pytest.approx(1, abs=0.01)
        assert new.target is not None
        assert np.square(new.target.whitened(pairs.target.feature)).mean() == pytest.approx(1, abs=0.01)


def write_encoder(folder: Path) -> Path:
    """An encoder bundle that nobody knows the training people of."""
    write(folder, encoder_graph(COLOURS_TO_A), None, A)
    return folder


def test_an_encoders_own_thresholds_are_measured_on_people_it_does_not_know(
    run: Run, fails: Fails, tmp_path: Path
) -> None:
    encoder = write_encoder(tmp_path / "encoder")
    space, random = read_bundle(encoder).manifest.target, np.random.default_rng(0)
    identity = np.repeat(random.normal(size=(90, 8)), 2, axis=0)
    columns = {
        "feature": (identity + 0.4 * random.normal(size=identity.shape)).astype(np.float32),
        "image": np.array([f"{row:03d}" for row in range(180)]),
        "subject": np.array([f"s{row // 2}" for row in range(180)]),
    }
    made = FeatureSet.build(space, columns)
    save_feature_set(made, tmp_path / "own.npz")
    asked = ("calibrate", "--bundle", encoder, "--target", tmp_path / "own.npz", "--out", tmp_path / "ours")
    assert "does not say whom it was trained on" in fails(*asked)
    run(*asked, "--subjects", "all")
    assert read_bundle(tmp_path / "ours").calibration == calibrate_native(made)


def write_scores(path: Path, pairs: list[tuple[str, str, float]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["a", "b", "score"])
        writer.writerows(pairs)
    return path


def own_scores(num_people: int = 90) -> list[tuple[str, str, float]]:
    """A score of every two people, the first two compared nine times; one of everybody with themselves."""
    random = np.random.default_rng(4)
    rows = [(f"p{a}", f"p{b}", float(random.normal(0, 0.2))) for a, b in combinations(range(num_people), 2)]
    rows += [("p1", "p0", 0.95)] * 9
    return rows + [(f"p{a}", f"p{a}", float(np.clip(random.normal(0.7, 0.1), -1, 1))) for a in range(num_people)]


def test_scores_of_ones_own_are_enough(run: Run, files: Files, tmp_path: Path) -> None:
    rows = own_scores()
    path = write_scores(tmp_path / "scores.csv", rows)
    run("calibrate", "--bundle", files["bundle"], "--scores", path, "--comparison", "translated/sketch",
        "--out", tmp_path / "ours")  # fmt: skip
    old, new = read_bundle(files["bundle"]).calibration, read_bundle(tmp_path / "ours").calibration
    assert {name: new.scales[name] for name in old.scales} == old.scales
    (point,) = new.points["translated/sketch"]
    assert (point.num_genuine, point.num_impostors) == (90, 4005)
    impostor: dict[tuple[str, ...], list[float]] = {}
    for a, b, score in rows:
        if a != b:
            impostor.setdefault(tuple(sorted((a, b))), []).append(score)
    share = np.mean([np.mean(np.array(scores) >= point.threshold) for scores in impostor.values()])
    assert 0.0095 < share <= 0.01
    assert point.fnmr == pytest.approx(np.mean([s < point.threshold for a, b, s in rows if a == b]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "needs a header line"),
        ("a,b\nx,y\n", "needs a header line"),
        ("a,b,score\n", "has no scores"),
        ("a,b,score\nx,y,0.5\nx,,0.5\n", "line 3: name the people"),
        ("a,b,score\nx,y,\n", "line 2: '' is no cosine"),
        ("a,b,score\nx,y,nan\n", "line 2: 'nan' is no cosine"),
        ("a,b,score\nx,y,7\n", "line 2: '7' is no cosine"),
        ("a,b,score\nx,y\n", "line 2: '' is no cosine"),
        ("a,b,score\nx,y,0.1\n", "2 people are too few to state any threshold: 0.01 takes 78"),
    ],
)
def test_scores_that_cannot_be_used_are_one_line(
    fails: Fails, files: Files, tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(content)
    line = fails("calibrate", "--bundle", files["bundle"], "--scores", path, "--comparison", "translated",
                 "--out", tmp_path / "ours")  # fmt: skip
    assert reason in line
    assert not (tmp_path / "ours").exists()


def test_what_does_not_belong_together_is_refused(fails: Fails, files: Files, own: Files, tmp_path: Path) -> None:
    out = ("--bundle", files["bundle"], "--out", tmp_path / "ours")
    scores = write_scores(tmp_path / "s.csv", own_scores())
    assert "belong together" in fails("calibrate", *out, "--scores", scores)
    assert "belong together" in fails("calibrate", *out, "--comparison", "translated")
    both = fails("calibrate", *out, "--scores", scores, "--comparison", "translated", "--target", own["target"])
    assert "either --scores or feature sets" in both
    assert "--source and --target" in fails("calibrate", *out, "--target", own["target"])
    assert "translates from" in fails("calibrate", *out, "--source", own["target"], "--target", own["source"])
    assert "no comparison" in fails("calibrate", *out, "--scores", scores, "--comparison", "translatd")
    nobody = load_feature_set(own["target"])
    path = tmp_path / "nobody.npz"
    save_feature_set(FeatureSet.build(nobody.space, nobody.columns() | {"subject": np.full(300, "")}), path)
    assert "does not say who is on" in fails("calibrate", *out, "--source", own["source"], "--target", path)
    encoder = write_encoder(tmp_path / "encoder")
    words_of = ("--scores", scores, "--comparison", "both-translated", "--out", tmp_path / "ours")
    assert "an encoder has native-target alone" in fails("calibrate", "--bundle", encoder, *words_of)
    exists = fails("calibrate", "--bundle", files["bundle"], "--out", files["bundle"], "--source", own["source"],
                   "--target", own["target"])  # fmt: skip
    assert "exists already" in exists


def test_confidence_is_measured_anew_on_people_it_was_not_learned_from(
    run: Run, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation people count for thresholds, and not here."""
    old = read_bundle(files["bundle"])
    contents = {name: (files["bundle"] / name).read_bytes() for name in old.manifest.files}
    folder, rule = tmp_path / "telling", old.manifest.provenance.split
    assert rule is not None
    write_bundle(
        folder,
        replace(old.manifest, name="telling", files={}, digest=""),
        contents | {"stats.npz": confidence_model(12, 10).to_bytes()},
    )
    sets = {}
    for side in ("source", "target"):
        space = load_feature_set(files[side]).space
        columns = {
            "feature": np.random.default_rng(0).normal(size=(800, space.dimension)).astype(np.float32),
            "image": np.array([f"{row:03d}" for row in range(800)]),
            "subject": np.array([f"own-{row // 2}" for row in range(800)]),
        }
        sets[side] = tmp_path / f"many-{side}.npz"
        save_feature_set(FeatureSet.build(space, columns), sets[side])
    measured: list[Pairs] = []

    def watched(model: ConfidenceModel, pairs: Pairs, *others: Any, **more: Any) -> ConfidenceModel:
        measured.append(pairs)
        return model

    monkeypatch.setattr(command, "measured_anew", watched)
    run(*words(files | {"bundle": folder}, sets, tmp_path / "ours"))
    (pairs,) = measured
    everybody = load_feature_set(sets["source"])
    assert set(pairs.source.subject.tolist()) == set(everybody.subject[rule.parts(everybody) == "test"].tolist())
    run(*words(files | {"bundle": folder}, sets, tmp_path / "all", "--subjects", "all"))
    assert len(measured[-1]) == 800
