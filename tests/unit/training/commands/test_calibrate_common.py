"""What scores mean in a common space, measured anew on other people, as a user measures it in process."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import read_bundle, write_bundle
from models.calibration import Calibration, strictest
from models.feature_set import FeatureSet
from models.features import unit_features
from models.space import Space
from tests.by_hand import confidence_model
from tests.unit.training.commands.test_calibrate import own_scores, write_scores
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.pairs import Pairs, join_by_image
from training.evaluation.common_space import against, calibrate_projection, measured_anew_against
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
    assert (digests["calibration source"], digests["calibration target"]) == (
        native.source.digest,
        native.target.digest,
    )
    assert "ours: from 90 people" in printed


def told(folder: Path, name: str) -> Path:
    """The same bundle with confidence."""
    bundle = read_bundle(folder / name)
    contents = {file: (folder / name / file).read_bytes() for file in bundle.manifest.files}
    model = replace(confidence_model(bundle.manifest.source.dimension if bundle.manifest.source else 0,
                                     bundle.manifest.target.dimension), target=None)  # fmt: skip
    manifest = replace(bundle.manifest, name=f"told-{name}", files={}, digest="")
    write_bundle(folder / f"told-{name}", manifest, contents | {"stats.npz": model.to_bytes()})
    return folder / f"told-{name}"


def test_confidence_is_measured_anew_where_there_is_one_other_alone(
    run: Run, common: Path, known: dict[str, Path], own: dict[str, Path], tmp_path: Path
) -> None:
    two = tmp_path / "two"
    two.mkdir()
    fit(run, known, two / "x", "ab")
    for folder, is_new in ((two, True), (common, False)):
        old = told(folder, "x-a")
        printed = run(*words(folder, own, "--bundle", old))
        before, after = read_bundle(old).confidence, read_bundle(folder / "ours").confidence
        assert before is not None
        assert after is not None
        assert after.target is None
        assert (after.plain.confidence_K.tobytes() != before.plain.confidence_K.tobytes()) == is_new
        assert f"says: {'measured anew too' if is_new else 'as it was'}" in printed
        # Ninety people are too few for what features look like; of several spaces it is not asked.
        wanted = "that takes 250 people" if is_new else "it is of several other spaces"
        assert f"look like: as it was: {wanted}" in printed


def test_what_features_look_like_is_measured_anew_without_a_target(
    run: Run, known: dict[str, Path], tmp_path: Path
) -> None:
    fit(run, known, tmp_path / "x", "ab")
    many = people(tmp_path, "many", 260, 0.25)
    old = told(tmp_path, "x-a")
    printed = run(*words(tmp_path, many, "--bundle", old))
    after = read_bundle(tmp_path / "ours").confidence
    assert after is not None
    assert after.target is None
    native = load_feature_set(many["a"])
    assert np.square(after.source.whitened(native.feature)).mean() == pytest.approx(1, abs=0.01)
    assert "what features of its spaces look like: measured anew too" in printed


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
    run(*given, "--comparison", "both-translated", "--out", common / "both")
    both = read_bundle(common / "both").calibration
    assert both.against == old.against
    assert both.points["translated"] == old.points["translated"]
    assert both.points["both-translated"] == new.against[b.fingerprint]


def test_nothing_is_kept_of_what_counted_pictures() -> None:
    folder_free = Calibration(counted="pictures", points={}, against={"f" * 8: ()})
    measured = Calibration(counted="people")
    assert measured_anew_against(folder_free, "g", measured) == Calibration(counted="people")
    assert against(folder_free, "f" * 8).points == {"translated": ()}


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
    assert not (common / "no").exists()
