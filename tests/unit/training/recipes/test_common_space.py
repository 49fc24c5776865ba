"""What a common space tells of its scores and of its projections, on people whom these have not seen."""

import functools

import numpy as np
import pytest

from models.calibration import Calibration
from models.feature_set import FeatureSet
from models.features import FloatArray, unit_features
from models.space import Space
from models.split import SplitRule
from tests.unit.training.recipes.test_confidence import TARGET, world
from training.data.pairs import Pairs, join_all
from training.evaluation.calibration import HeldOut
from training.evaluation.common_space import calibrate_projection, of_all
from training.export.loaded import GraphTranslator
from training.recipes import common_space
from training.recipes.common_space import CommonSpace, _Fitter, _turn, make_common_space
from training.trainers.fitted import FittedSides, Translate

RULE = SplitRule("subject", 0, 0.3, 0.2)


@functools.cache
def made(*, crossed: bool) -> CommonSpace:
    pairs, _ = world()
    folds = 5 if crossed else 0
    return make_common_space([pairs.source, pairs.target], RULE, "common", num_folds=folds, with_confidence=crossed)


def rates(of: Calibration, name: str = "translated") -> list[float]:
    return [point.fmr for point in of.points[name]]


def test_thresholds_are_of_training_people_too_and_the_projections_are_the_same() -> None:
    crossed, plain = made(crossed=True), made(crossed=False)
    for one, other in zip(crossed.projections, plain.projections, strict=True):
        assert one.graph == other.graph
        assert one.calibration.scales["translated"].lowest_fmr < other.calibration.scales["translated"].lowest_fmr
        assert rates(one.calibration, "native-source") == rates(other.calibration, "native-source")
    assert plain.num_people == [crossed.num_people[0]]
    assert len(crossed.num_people) == 6
    pairs, _ = world()
    assert sum(crossed.num_people) == len(np.unique(pairs.source.subject[RULE.parts(pairs.source) != "test"]))


def test_on_people_nobody_saw_thresholds_keep_their_rate_and_confidence_is_what_comes() -> None:
    common = made(crossed=True)
    pairs, bad = world()
    sides = join_all([pairs.source, pairs.target])
    is_test = RULE.parts(sides[0]) == "test"
    row = {key: place for place, key in enumerate(pairs.source.image.tolist())}
    bad_of_test = bad[[row[key] for key in sides[0].image[is_test].tolist()]]
    native = [side.feature[is_test] for side in sides]
    projected = [GraphTranslator(one.graph)(side) for one, side in zip(common.projections, native, strict=True)]
    code = np.unique(sides[0].subject[is_test], return_inverse=True)[1]
    is_same = code[:, None] == code
    for number, one in enumerate(common.projections):
        score = projected[number] @ projected[1 - number].T
        point = one.calibration.scales["translated"].point_at(1e-2)
        assert point is not None
        assert (score[~is_same] >= point.threshold).mean() == pytest.approx(1e-2, rel=0.5)
        assert one.confidence is not None
        assert one.confidence.target is None
        told = one.confidence(native[number], projected[number])
        assert np.corrcoef(told, bad_of_test)[0, 1] < -0.3
        (threshold,) = (at.threshold for at in one.calibration.points["translated"] if at.fmr == one.confidence.fmr)
        is_other = is_same & ~np.eye(len(code), dtype=bool)
        came = (is_other & (score >= threshold)).sum(axis=1) / is_other.sum(axis=1)
        assert told.mean() == pytest.approx(came.mean(), abs=0.06)


def test_without_being_asked_for_there_is_no_confidence() -> None:
    assert [one.confidence for one in made(crossed=False).projections] == [None, None]


def test_a_fold_is_turned_onto_the_served_space_and_scores_stay() -> None:
    random = np.random.default_rng(0)
    feature = unit_features(random.normal(size=(60, TARGET)))
    rotation = np.linalg.qr(random.normal(size=(TARGET, TARGET)))[0].astype(np.float32)
    turn = _turn(feature @ rotation, feature)
    np.testing.assert_allclose(feature @ rotation @ turn, feature, atol=1e-5)
    shorter = _turn(feature[:, :8], feature)
    assert shorter.shape == (8, TARGET)
    np.testing.assert_allclose(shorter @ shorter.T, np.eye(8), atol=1e-5)


def test_drawings_have_thresholds_with_each_other_space_too() -> None:
    pairs, _ = world()
    kinds = np.where(np.arange(len(pairs)) % 4 == 3, "sketch", "photo")
    drawn = [
        type(side).build(side.space, side.columns() | {"modality": kinds}) for side in (pairs.source, pairs.target)
    ]
    common = make_common_space(drawn, RULE, "common")
    for one, other in zip(common.projections, drawn[::-1], strict=True):
        fingerprint = other.space.fingerprint
        assert {fingerprint, f"{fingerprint}/sketch"} == set(one.calibration.against)
        assert one.calibration.against[f"{fingerprint}/sketch"] == one.calibration.points["translated/sketch"]
        assert set(one.calibration.scales_against) == set(one.calibration.against)
        scales = one.calibration.scales_against
        assert scales[f"{fingerprint}/sketch"].threshold != scales[fingerprint].threshold


def test_what_one_of_several_lacks_is_not_told_for_all() -> None:
    full = made(crossed=True).projections[0].calibration
    scale = full.scales["translated"]
    one = Calibration({"translated/sketch": full.points["translated"]}, scales={"translated/sketch": scale})
    for measured in ({"b": one, "c": Calibration()}, {"c": Calibration(), "b": one}):
        found = of_all(measured)
        assert not found.points
        assert not found.scales
        assert set(found.against) == set(found.scales_against) == {"b/sketch"}


def test_folds_are_projected_by_what_has_not_seen_them_and_lie_beside_the_served_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[list[HeldOut]] = []

    def watched(pairs: Pairs, translated: FloatArray, crossed: list[HeldOut]) -> Calibration:
        taken.append(crossed)
        return calibrate_projection(pairs, translated, crossed)

    fitted_to: list[set[str]] = []
    fit = common_space._Fitter.fit

    def fitting(self: _Fitter, train: list[FeatureSet], prefix: str = "") -> FittedSides[Translate]:
        fitted_to.append(set(train[0].subject.tolist()))
        return fit(self, train, prefix)

    monkeypatch.setattr(common_space, "calibrate_projection", watched)
    monkeypatch.setattr(common_space._Fitter, "fit", fitting)
    pairs, _ = world()
    common = make_common_space([pairs.source, pairs.target], RULE, "common", num_folds=5)
    assert len(fitted_to) == 6
    for one, folds in zip(common.projections, taken, strict=True):
        served = GraphTranslator(one.graph)
        for fold, seen in zip(folds, fitted_to[1:], strict=True):
            assert not set(fold.pairs.source.subject.tolist()) & seen
            by_served = served(fold.pairs.source.feature)
            cosine = np.sum(by_served * fold.translated_NT, axis=1)
            # Near, as it was turned; not the same, as it was fitted to others.
            assert cosine.mean() > 0.95
            assert cosine.max() < 1 - 1e-4
            assert fold.pairs.target.space == common.space


def test_of_three_encoders_confidence_is_in_what_comes_with_the_worst() -> None:
    pairs, _ = world()
    noise = np.random.default_rng(3).normal(size=pairs.target.feature.shape)
    blurred = FeatureSet.build(
        Space("c", TARGET, "external:c"), pairs.target.columns() | {"feature": pairs.target.feature + 0.4 * noise}
    )
    common = make_common_space([pairs.source, pairs.target, blurred], RULE, "common", num_folds=5, with_confidence=True)
    a, b, _ = common.projections
    assert [one.hardest for one in (a, b)] == ["c", "c"]
    for one in (a, b):
        assert one.confidence is not None
        with_worst = one.calibration.against[blurred.space.fingerprint]
        (fnmr,) = (point.fnmr for point in with_worst if point.fmr == one.confidence.fmr)
        is_validation = RULE.parts(one.source) == "validation"
        native = one.source.feature[is_validation]
        told = one.confidence(native, GraphTranslator(one.graph)(native)).mean()
        assert told == pytest.approx(1 - fnmr, abs=0.08)
