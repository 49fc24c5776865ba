"""What scores mean in a common space, measured anew on other people, as a user measures it in process."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import read_bundle, write_bundle
from models.calibration import Calibration, strictest
from models.documents import canonical_json
from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from service.entities import Side
from service.inference.thresholds import Thresholds
from tests.by_hand import confidence_model
from tests.unit.training.commands.test_calibrate import own_scores, write_scores
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.pairs import Pairs, join_by_image
from training.evaluation.common_space import against, calibrate_projection
from training.export.loaded import LoadedTranslator

Run = Callable[..., str]
Fails = Callable[..., str]
DIMENSIONS = {"a": 12, "b": 10, "c": 14}


def people(folder: Path, kind: str, num: int, noise: float) -> dict[str, Path]:
    """Three pictures each of people seen by three encoders."""
    identity = np.repeat(np.random.default_rng(len(kind)).normal(size=(num, 6)), 3, axis=0)
    files = {}
    for name, dimension in DIMENSIONS.items():
        random = np.random.default_rng(dimension)
        seen = unit_features(identity @ random.normal(size=(6, dimension)))
        columns = {
            "feature": unit_features(seen + noise * random.normal(size=seen.shape)),
            "image": np.array([f"{kind}/{row:04d}" for row in range(len(seen))]),
            "subject": np.array([f"{kind}-{row // 3}" for row in range(len(seen))]),
        }
        files[name] = folder / f"{kind}-{name}.npz"
        save_feature_set(FeatureSet.build(Space(name, dimension, f"external:{name}"), columns), files[name])
    return files


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    return people(tmp_path, "own", 90, 0.25)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return people(tmp_path_factory.mktemp("known"), "known", 200, 0.1)


def fit(run: Run, known: dict[str, Path], out: Path, names: str) -> None:
    first, second, *more = (known[name] for name in names)
    also = ("--also", *more) if more else ()
    run("fit", "--method", "cca", "--source", first, "--target", second, *also, "--validation", 0.5, "--test", 0,
        "--no-confidence", "--calibration-folds", 0, "--out", out)  # fmt: skip


@pytest.fixture
def common(run: Run, known: dict[str, Path], tmp_path: Path) -> Path:
    """`x-a`, `x-b` and `x-c`."""
    fit(run, known, tmp_path / "x", "abc")
    return tmp_path


def words(folder: Path, own: dict[str, Path], *more: object) -> list[object]:
    return ["calibrate", "--bundle", folder / "x-a", "--other", folder / "x-b", "--source", own["a"],
            "--target", own["b"], "--subjects", "all", "--out", folder / "ours", *more]  # fmt: skip


def by_hand(folder: Path, own: dict[str, Path]) -> Calibration:
    one, other = (LoadedTranslator(read_bundle(folder / f"x-{name}"), "cpu") for name in "ab")
    native = join_by_image(*(load_feature_set(own[name]) for name in "ab"))
    pairs = Pairs(native.source, other.translate_set(native.target, what="b"))
    return calibrate_projection(pairs, one(pairs.source.feature))


def test_a_projection_is_measured_with_one_other_and_stays_as_it_was_with_the_rest(
    run: Run, common: Path, own: dict[str, Path]
) -> None:
    printed = run(*words(common, own))
    old, new = read_bundle(common / "x-a"), read_bundle(common / "ours")
    measured = by_hand(common, own)
    b, c = (read_bundle(common / f"x-{name}").manifest.source for name in "bc")
    assert b is not None
    assert c is not None
    found = new.calibration
    assert found.against[b.fingerprint] == measured.points["translated"] != old.calibration.against[b.fingerprint]
    assert found.scales_against[b.fingerprint] == measured.scales["translated"]
    assert found.against[c.fingerprint] == old.calibration.against[c.fingerprint]
    assert found.scales_against[c.fingerprint] == old.calibration.scales_against[c.fingerprint]
    assert found.points["native-source"] == measured.points["native-source"]
    assert not any(name.startswith("native-target") for name in found.points)
    assert found.scales["translated"] == strictest([*found.scales_against.values()])
    (both,) = found.points["translated"]
    assert both.threshold == max(point.threshold for points in found.against.values() for point in points[:1])
    assert new.manifest.target == old.manifest.target
    native = join_by_image(*(load_feature_set(own[name]) for name in "ab"))
    digests = new.manifest.provenance.data_digests
    assert digests["calibration source with b"] == native.source.digest
    assert digests["calibration target with b"] == native.target.digest
    run(*words(common, own, "--bundle", common / "ours", "--other", common / "x-c", "--target", own["c"],
               "--out", common / "both"))  # fmt: skip
    both_digests = read_bundle(common / "both").manifest.provenance.data_digests
    assert both_digests.items() >= digests.items()
    assert len(both_digests) == len(digests) + 2
    assert "ours: from 90 people" in printed


def told(folder: Path, name: str, of: str) -> Path:
    """The same bundle with confidence that is told of comparisons with that space."""
    bundle = read_bundle(folder / name)
    contents = {file: (folder / name / file).read_bytes() for file in bundle.manifest.files}
    model = replace(confidence_model(bundle.manifest.source.dimension if bundle.manifest.source else 0,
                                     bundle.manifest.target.dimension), target=None)  # fmt: skip
    metrics = bundle.manifest.metrics | {"hardest": of}
    manifest = replace(bundle.manifest, name=f"told-of-{of}", files={}, digest="", metrics=metrics)
    write_bundle(folder / f"told-of-{of}", manifest, contents | {"stats.npz": model.to_bytes()})
    return folder / f"told-of-{of}"


def test_confidence_is_measured_anew_with_the_space_that_it_is_told_of(
    run: Run, common: Path, own: dict[str, Path], tmp_path: Path
) -> None:
    many = people(tmp_path, "many", 260, 0.25)
    for of, is_new in (("b", True), ("c", False)):
        for sets, is_enough in ((own, False), (many, True)):
            old, out = told(common, "x-a", of), common / f"ours-{of}-{int(is_enough)}"
            printed = run(*words(common, sets, "--bundle", old, "--out", out))
            before, after = read_bundle(old).confidence, read_bundle(out).confidence
            assert before is not None
            assert after is not None
            assert after.target is None
            assert (after.plain.confidence_K.tobytes() != before.plain.confidence_K.tobytes()) == is_new
            as_it_was = "says: as it was, of comparisons with c"
            assert ("says: measured anew too" if is_new else as_it_was) in printed
            # What features look like is the same whatever they are compared with.
            wanted = "measured anew too" if is_enough else "as it was: that takes 250 people"
            assert f"look like: {wanted}" in printed
            shutil.rmtree(old)


def test_what_features_look_like_is_measured_anew_without_a_target(
    run: Run, known: dict[str, Path], tmp_path: Path
) -> None:
    fit(run, known, tmp_path / "x", "ab")
    many = people(tmp_path, "many", 260, 0.25)
    old = told(tmp_path, "x-a", "b")
    printed = run(*words(tmp_path, many, "--bundle", old))
    after = read_bundle(tmp_path / "ours").confidence
    assert after is not None
    assert after.target is None
    native = load_feature_set(many["a"])
    assert np.square(after.source.whitened(native.feature)).mean() == pytest.approx(1, abs=0.01)
    assert "what features of its spaces look like: measured anew too" in printed


def test_people_of_the_training_part_do_not_count_unless_told(run: Run, common: Path, known: dict[str, Path]) -> None:
    printed = run("calibrate", "--bundle", common / "x-a", "--other", common / "x-b", "--source", known["a"],
                  "--target", known["b"], "--out", common / "ours")  # fmt: skip
    rule = read_bundle(common / "x-a").manifest.provenance.split
    assert rule is not None
    who = np.unique(load_feature_set(known["a"]).subject).tolist()
    num = sum(rule.part_of(name) != "train" for name in who)
    assert 78 <= num < 150
    assert f"ours: from {num} people" in printed


def test_scores_with_another_encoder_and_among_ones_own_are_enough(run: Run, common: Path, tmp_path: Path) -> None:
    path = write_scores(tmp_path / "scores.csv", own_scores())
    given = ("calibrate", "--bundle", common / "x-a", "--scores", path)
    run(*given, "--comparison", "translated", "--other", common / "x-b", "--out", common / "with-b")
    old, new = (read_bundle(common / name).calibration for name in ("x-a", "with-b"))
    b = read_bundle(common / "x-b").manifest.source
    assert b is not None
    (point,) = new.against[b.fingerprint]
    assert (point.num_genuine, point.num_impostors) == (90, 4005)
    assert new.points["native-source"] == old.points["native-source"]
    assert sum(new.against[key] != old.against[key] for key in old.against) == 1
    assert "calibration scores of translated with b" in read_bundle(common / "with-b").manifest.provenance.data_digests
    run(*given, "--comparison", "both-translated", "--out", common / "both")
    both = read_bundle(common / "both").calibration
    assert both.against == old.against
    assert both.points["translated"] == old.points["translated"]
    assert both.points["both-translated"] == new.against[b.fingerprint]


def test_nothing_is_kept_of_what_counted_pictures(run: Run, common: Path, own: dict[str, Path]) -> None:
    bundle = read_bundle(common / "x-a")
    pictures = replace(bundle.calibration, counted="pictures")
    contents = {file: (common / "x-a" / file).read_bytes() for file in bundle.manifest.files}
    old = replace(bundle.manifest, name="old", files={}, digest="")
    write_bundle(common / "old", old, contents | {"calibration.json": canonical_json(pictures.to_json())})
    printed = run(*words(common, own, "--bundle", common / "old"))
    new = read_bundle(common / "ours").calibration
    b, c = (read_bundle(common / f"x-{name}").manifest.source for name in "bc")
    assert b is not None
    assert c is not None
    assert new.counted == "people"
    assert set(new.against) == {b.fingerprint}
    # With c nothing was measured that counts like this, so nothing is stated that would hold with it.
    assert "translated" not in new.points
    assert f"gone, as they count pictures and not people: translated, with the space {c.fingerprint}" in printed
    assert against(pictures, c.fingerprint).points["translated"] == pictures.against[c.fingerprint]


def test_what_was_measured_with_one_of_several_alone_is_not_stated_for_all(
    run: Run, known: dict[str, Path], own: dict[str, Path], tmp_path: Path
) -> None:
    few = people(tmp_path, "fewer", 60, 0.1)
    fit(run, few, tmp_path / "x", "abc")
    assert not read_bundle(tmp_path / "x-a").calibration.points
    run(*words(tmp_path, own))
    new = read_bundle(tmp_path / "ours")
    assert len(new.calibration.against) == 1
    assert set(new.calibration.points) == {"native-source", "both-translated"}
    b, c = (read_bundle(tmp_path / f"x-{name}") for name in "bc")
    thresholds = Thresholds([new, b, c])
    a, with_b, with_c = (
        Side(bundle.manifest.source.fingerprint, (bundle.manifest.name,))
        for bundle in (new, b, c)
        if bundle.manifest.source
    )
    assert thresholds.between(a, with_b).points
    assert thresholds.between(a, with_c).points == ()


def test_what_does_not_belong_together_is_one_line(
    run: Run, fails: Fails, common: Path, known: dict[str, Path], own: dict[str, Path], tmp_path: Path
) -> None:
    plain = ("calibrate", "--bundle", common / "x-a", "--source", own["a"], "--subjects", "all", "--out", common / "no")
    assert "give that one's projection as --other" in fails(*plain, "--target", own["b"])
    assert "is of the space 'c'" in fails(*plain, "--target", own["c"], "--other", common / "x-b")
    run("fit", "--method", "ridge", "--source", known["a"], "--target", known["b"], "--out", tmp_path / "ridge")
    assert "--other is for two projections" in fails(*plain, "--target", own["b"], "--other", tmp_path / "ridge")
    fit(run, known, tmp_path / "elsewhere", "abc"[:2])
    mixed = fails(*plain, "--target", own["b"], "--other", tmp_path / "elsewhere-b")
    assert "both must be of one fit" in mixed
    ridge = ("calibrate", "--bundle", tmp_path / "ridge", *plain[3:])
    assert "has no use for --other here" in fails(*ridge, "--target", own["b"], "--other", common / "x-b")
    scores = write_scores(tmp_path / "scores.csv", own_scores())
    of_scores = ("calibrate", "--bundle", common / "x-a", "--scores", scores, "--out", common / "no")
    assert "with the other encoder's own bundle" in fails(*of_scores, "--comparison", "native-target")
    assert "give that one's projection as --other" in fails(*of_scores, "--comparison", "translated/sketch")
    other = fails(*of_scores, "--comparison", "native-source", "--other", common / "x-b")
    assert "has no use for --other here" in other
    assert "projects the same encoder's features" in fails(
        *of_scores, "--comparison", "translated", "--other", common / "x-a"
    )
    assert "both must be of one fit" in fails(
        *of_scores, "--comparison", "translated", "--other", tmp_path / "elsewhere-b"
    )
    assert not (common / "no").exists()
