"""What scores mean at the end of a route of several translators, as a user measures it and a service reads it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.bundle import read_bundle, write_bundle
from models.calibration import Calibration
from models.documents import canonical_json
from service.entities import Side
from service.inference.thresholds import NOTHING, Thresholds
from tests.unit.training.commands.test_calibrate import own_scores, write_scores
from tests.unit.training.commands.test_calibrate_common import Fails, Run, people
from training.data.feature_set_files import load_feature_set, save_feature_set
from training.data.pairs import join_by_image
from training.evaluation.calibration import calibrate
from training.export.loaded import LoadedTranslator


@pytest.fixture
def known(tmp_path: Path) -> dict[str, Path]:
    return people(tmp_path, "known", 300, 0.1)


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    return people(tmp_path, "own", 90, 0.25)


def fit(run: Run, known: dict[str, Path], route: str, out: Path, *, seed: int = 0) -> None:
    source, target = (known[name] for name in route)
    run("fit", "--method", "ridge", "--source", source, "--target", target, "--validation", 0.3, "--test", 0.3,
        "--calibration-folds", 0, "--no-confidence", "--seed", seed, "--out", out)  # fmt: skip


@pytest.fixture
def bundles(run: Run, known: dict[str, Path], tmp_path: Path) -> Path:
    """`a-to-b` and `b-to-c`."""
    for route in ("ab", "bc"):
        fit(run, known, route, tmp_path / "-to-".join(route))
    return tmp_path


def words(folder: Path, own: dict[str, Path], *more: object) -> list[object]:
    return ["calibrate", "--bundle", folder / "b-to-c", "--after", folder / "a-to-b", "--source", own["a"],
            "--target", own["c"], "--out", folder / "ours", *more]  # fmt: skip


def by_hand(folder: Path, sets: dict[str, Path]) -> Calibration:
    pairs = join_by_image(load_feature_set(sets["a"]), load_feature_set(sets["c"]))
    first, last = (LoadedTranslator(read_bundle(folder / name), "cpu") for name in ("a-to-b", "b-to-c"))
    return calibrate(pairs, last(first(pairs.source.feature)))


def test_a_route_of_two_has_thresholds_of_its_own_and_nothing_else_changes(
    run: Run, bundles: Path, own: dict[str, Path]
) -> None:
    printed = run(*words(bundles, own, "--subjects", "all"))
    old, new = read_bundle(bundles / "b-to-c").calibration, read_bundle(bundles / "ours").calibration
    measured = by_hand(bundles, own)
    ((_, chain),) = new.after.items()
    assert set(chain.points) == set(chain.scales) == {"translated", "both-translated"}
    for name in chain.points:
        assert chain.points[name] == measured.points[name]
        assert chain.scales[name] == measured.scales[name]
    assert (new.points, new.scales) == (old.points, old.scales)
    assert new.points["translated"] != chain.points["translated"]
    assert "of the route through a-to-b; all else is as it was" in printed


def test_a_service_reads_them_for_exactly_that_route(
    run: Run, bundles: Path, own: dict[str, Path], known: dict[str, Path]
) -> None:
    run(*words(bundles, own, "--subjects", "all"))
    fit(run, known, "ab", bundles / "elsewhere", seed=7)
    run("calibrate", "--bundle", bundles / "a-to-b", "--source", own["a"], "--target", own["b"], "--subjects", "all",
        "--out", bundles / "again")  # fmt: skip
    read = {name: read_bundle(bundles / name) for name in ("a-to-b", "ours", "elsewhere", "again")}
    thresholds, measured = Thresholds(read.values()), by_hand(bundles, own)
    spaces = {name: load_feature_set(own[name]).space.fingerprint for name in "abc"}
    native = Side(spaces["c"])
    # Another bundle of the same model is the same translator.
    for first in ("a-to-b", "again"):
        through = Side(spaces["a"], (first, "ours"))
        for pair in ((through, native), (native, through)):
            assert thresholds.between(*pair).points == measured.points["translated"]
        assert thresholds.between(through, through).scale == measured.scales["both-translated"]
        assert thresholds.between(through, native, "sketch") == NOTHING
    assert thresholds.between(Side(spaces["a"], ("elsewhere", "ours")), native) == NOTHING
    assert thresholds.between(Side(spaces["a"], ("a-to-b", "ours")), Side(spaces["b"], ("ours",))) == NOTHING
    assert (
        thresholds.between(Side(spaces["b"], ("ours",)), native).points == read["ours"].calibration.points["translated"]
    )


def test_only_people_count_whom_neither_was_trained_on(
    run: Run, bundles: Path, known: dict[str, Path], tmp_path: Path
) -> None:
    fit(run, known, "ab", tmp_path / "other-split", seed=7)
    both = {"a": known["a"], "c": known["c"]}
    subjects = np.unique(load_feature_set(known["a"]).subject).tolist()
    counted, expected = {}, {}
    for name in ("a-to-b", "other-split"):
        run(*words(bundles, both, "--after", tmp_path / name, "--out", tmp_path / f"by-{name}"))
        chain = next(iter(read_bundle(tmp_path / f"by-{name}").calibration.after.values()))
        counted[name] = chain.points["translated"][0].num_genuine
        rules = [read_bundle(tmp_path / one).manifest.provenance.split for one in (name, "b-to-c")]
        expected[name] = sum(all(rule and rule.part_of(who) != "train" for rule in rules) for who in subjects)
    assert counted == expected
    assert counted["other-split"] < counted["a-to-b"] - 50


def test_a_route_of_three_is_told_in_its_order(
    run: Run, bundles: Path, own: dict[str, Path], known: dict[str, Path]
) -> None:
    fit(run, known, "ca", bundles / "c-to-a")
    run("calibrate", "--bundle", bundles / "b-to-c", "--after", bundles / "c-to-a", bundles / "a-to-b",
        "--scores", write_scores(bundles / "scores.csv", own_scores()), "--comparison", "translated",
        "--out", bundles / "ours")  # fmt: skip
    thresholds = Thresholds(read_bundle(bundles / name) for name in ("a-to-b", "c-to-a", "ours"))
    c = load_feature_set(own["c"]).space.fingerprint
    assert thresholds.between(Side(c, ("c-to-a", "a-to-b", "ours")), Side(c)).points
    assert thresholds.between(Side(c, ("a-to-b", "c-to-a", "ours")), Side(c)) == NOTHING
    assert thresholds.between(Side(c, ("a-to-b", "ours")), Side(c)) == NOTHING


def test_a_bundle_that_counts_pictures_is_calibrated_by_itself_first(
    fails: Fails, bundles: Path, own: dict[str, Path]
) -> None:
    bundle = read_bundle(bundles / "b-to-c")
    contents = {file: (bundles / "b-to-c" / file).read_bytes() for file in bundle.manifest.files}
    pictures = replace(bundle.calibration, counted="pictures")
    old = replace(bundle.manifest, name="old", files={}, digest="")
    write_bundle(bundles / "old", old, contents | {"calibration.json": canonical_json(pictures.to_json())})
    line = fails(*words(bundles, own, "--bundle", bundles / "old", "--subjects", "all"))
    assert "calibrate it without --after first" in line


def test_where_every_one_was_trained_on_by_one_or_the_other_that_is_said(
    run: Run, fails: Fails, bundles: Path, own: dict[str, Path], known: dict[str, Path]
) -> None:
    fit(run, known, "ab", bundles / "other-split", seed=7)
    rules = [read_bundle(bundles / name).manifest.provenance.split for name in ("other-split", "b-to-c")]
    sets = {}
    for name in "ac":
        everybody = load_feature_set(known[name])
        parts = [rule.parts(everybody) for rule in rules if rule]
        seen_by_one = (parts[0] == "train") ^ (parts[1] == "train")
        sets[name] = bundles / f"seen-{name}.npz"
        save_feature_set(everybody.take(seen_by_one), sets[name])
    line = fails(*words(bundles, sets, "--after", bundles / "other-split"))
    assert "none of these people is kept apart by the splits of all translators" in line


def test_scores_are_enough_and_stand_beside_what_was_there(run: Run, bundles: Path, own: dict[str, Path]) -> None:
    run(*words(bundles, own, "--subjects", "all"))
    path = write_scores(bundles / "scores.csv", own_scores())
    run("calibrate", "--bundle", bundles / "ours", "--after", bundles / "a-to-b", "--scores", path,
        "--comparison", "translated/sketch", "--out", bundles / "sketches")  # fmt: skip
    ((_, old),) = read_bundle(bundles / "ours").calibration.after.items()
    ((_, new),) = read_bundle(bundles / "sketches").calibration.after.items()
    assert {name: new.points[name] for name in old.points} == old.points
    (point,) = new.points["translated/sketch"]
    assert (point.num_genuine, point.num_impostors) == (90, 4005)
    assert "sketch" in Thresholds([read_bundle(bundles / "sketches")]).modalities


def test_what_does_not_belong_together_is_one_line(
    run: Run, fails: Fails, bundles: Path, own: dict[str, Path], known: dict[str, Path]
) -> None:
    everybody = ("--subjects", "all")
    turned = ("--bundle", bundles / "a-to-b", "--after", bundles / "b-to-c")
    assert "does not go on where bundle b-to-c ends, in 'c'" in fails(*words(bundles, own, *turned, *everybody))
    assert "is of the space 'b'" in fails(*words(bundles, own, "--source", own["b"], *everybody))
    assert "is not of the bundle's target space 'c'" in fails(*words(bundles, own, "--target", own["b"], *everybody))
    unnamed = load_feature_set(own["a"])
    save_feature_set(
        type(unnamed).build(unnamed.space, unnamed.columns() | {"subject": np.full(len(unnamed), "")}),
        bundles / "unnamed.npz",
    )
    alone = load_feature_set(own["c"])
    save_feature_set(
        type(alone).build(alone.space, alone.columns() | {"subject": np.full(len(alone), "")}), bundles / "alone.npz"
    )
    nobody = ("--source", bundles / "unnamed.npz", "--target", bundles / "alone.npz")
    assert "does not say who is on its pictures" in fails(*words(bundles, own, *nobody, *everybody))
    scores = write_scores(bundles / "scores.csv", own_scores())
    plain = ("calibrate", "--bundle", bundles / "b-to-c", "--scores", scores, "--out", bundles / "ours")
    line = fails(*plain, "--comparison", "native-source", "--after", bundles / "a-to-b")
    assert "--after is for translators at the end of a route of several" in line
    run("fit", "--method", "cca", "--source", known["a"], "--target", known["b"], "--validation", 0.3,
        "--calibration-folds", 0, "--no-confidence", "--out", bundles / "x")  # fmt: skip
    common = words(bundles, own, "--bundle", bundles / "x-a", "--other", bundles / "x-b", *everybody)
    assert "--after is for translators at the end of a route of several" in fails(*common)
    assert not (bundles / "ours").exists()
