"""People of whom some pictures are worse than others, and what is learned of that."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from models.calibration import Calibration
from models.confidence import ConfidenceModel, read_confidence
from models.feature_set import FeatureSet
from models.features import FloatArray, unit_features
from models.npy import read_arrays
from models.space import Space
from models.split import SplitRule
from training.data.pairs import Pairs
from training.evaluation.calibration import HeldOut, calibrate
from training.recipes import confidence
from training.recipes.confidence import fit_confidence
from training.recipes.cross_fitting import cross_fitted
from training.recipes.translators import SplitPairs, fit_methods
from training.trainers.confidence import Estimator, fit_estimator

NUM_PEOPLE, PICTURES, SOURCE, TARGET = 400, 4, 16, 12


def world(*, keys: bool = True, seed: int = 0, fading: bool = False) -> tuple[Pairs, FloatArray]:
    """Both spaces see an identity, and how bad a picture is: bad ones have little of it, and much of what bad ones share.

    With `fading` features of bad pictures are short as well.
    """
    random = np.random.default_rng(seed)
    identity = np.repeat(random.normal(size=(NUM_PEOPLE, 10)), PICTURES, axis=0)
    bad = random.beta(0.7, 2.0, size=len(identity)).astype(np.float32)
    maps = random.normal(size=(10, SOURCE)), random.normal(size=(10, TARGET))
    common = random.normal(size=SOURCE), random.normal(size=TARGET)
    sides = [
        (1 - bad[:, None]) * (identity @ one) + 3 * bad[:, None] * shared + random.normal(size=(len(bad), len(shared)))
        for one, shared in zip(maps, common, strict=True)
    ]
    if fading:
        sides = [unit_features(side).astype(np.float64) * np.exp(-3 * bad[:, None]) for side in sides]
    columns = {
        "image": np.array([f"{row:05d}" for row in range(len(bad))]),
        "subject": np.repeat([f"s{number}" if keys else "" for number in range(NUM_PEOPLE)], PICTURES),
    }
    sets = [
        FeatureSet.build(Space(name, side.shape[1], f"external:{name}"), columns | {"feature": side})
        for name, side in zip("ab", sides, strict=True)
    ]
    return Pairs(*sets), bad


@dataclass(frozen=True)
class World:
    """A fitted model, the test subjects, and how bad their pictures are."""

    model: ConfidenceModel
    calibration: Calibration
    parts: SplitPairs
    test: Pairs
    translated: FloatArray
    bad: FloatArray

    @property
    def confidence(self) -> FloatArray:
        """Of the test subjects' pictures."""
        return self.model(self.test.source.feature, self.translated)


@functools.cache
def fitted(*, keys: bool = True, calibrated: bool = True, seed: int = 0, fading: bool = False) -> World:
    pairs, bad = world(keys=keys, seed=seed, fading=fading)
    parts = SplitPairs.of(pairs, SplitRule("subject" if keys else "image", 0, 0.3, 0.2))
    (best,) = fit_methods(parts, "ridge", 0)
    unseen = HeldOut(parts.validation, best.translate(parts.validation.source.feature))
    crossed = cross_fitted(parts, "ridge", 0)
    calibration = calibrate(unseen.pairs, unseen.translated_NT, crossed) if calibrated else Calibration()
    model = fit_confidence(parts, [unseen, *crossed], calibration, 0)
    assert model is not None
    assert parts.test is not None
    row = {key: place for place, key in enumerate(pairs.source.image.tolist())}
    bad_of_test = bad[[row[key] for key in parts.test.source.image.tolist()]]
    return World(model, calibration, parts, parts.test, best.translate(parts.test.source.feature), bad_of_test)


def test_bad_pictures_are_trusted_less_and_confidence_is_what_comes_of_them() -> None:
    correlations, told_of_groups, came_of_groups = [], [], []
    for seed in range(4):
        found = fitted(seed=seed)
        assert found.model.meaning == "tar"
        told = found.confidence
        correlations.append(np.corrcoef(told, found.bad)[0, 1])
        threshold = max(point.threshold for point in found.calibration.points["translated"] if point.fmr >= 1e-3)
        code = np.unique(found.test.source.subject, return_inverse=True)[1]
        score = found.translated @ found.test.target.feature.T
        same = (code[:, None] == code) & ~np.eye(len(code), dtype=bool)
        came = np.array([(score[row][same[row]] >= threshold).mean() for row in range(len(score))])
        groups = np.array_split(np.argsort(told), 3)
        told_of_groups.append([told[group].mean() for group in groups])
        came_of_groups.append([came[group].mean() for group in groups])
        assert came_of_groups[-1][-1] > came_of_groups[-1][0] + 0.05
    assert np.mean(correlations) < -0.3
    lowest, *_, highest = np.mean(came_of_groups, axis=0)
    assert highest > lowest + 0.15
    # Of 107 pictures in a group, one world says little.
    np.testing.assert_allclose(np.mean(told_of_groups, axis=0), np.mean(came_of_groups, axis=0), atol=0.05)


def test_no_feature_of_anybody_is_stored() -> None:
    found = fitted()
    parts = found.parts
    for array in read_arrays(found.model.to_bytes()).values():
        for side in (parts.train.source, parts.train.target, parts.validation.source, parts.validation.target):
            if array.ndim == 2 and array.shape[1] == side.feature.shape[1]:
                rows = array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9)
                assert (rows @ side.feature.T).max() < 0.9999


def test_it_can_be_read_again_and_says_the_same() -> None:
    found = fitted()
    again = read_confidence(found.model.to_bytes(), SOURCE, TARGET)
    np.testing.assert_array_equal(found.confidence, again(found.test.source.feature, found.translated))


def test_where_nobody_knows_who_they_are_it_is_the_cosine_that_is_told() -> None:
    found = fitted(keys=False)
    assert found.model.meaning == "cosine"
    cosine = np.sum(found.translated * found.test.target.feature, axis=1)
    assert found.confidence.mean() == pytest.approx(np.clip(cosine, 0, 1).mean(), abs=0.05)
    assert np.corrcoef(found.confidence, cosine)[0, 1] > 0.05


@pytest.mark.parametrize("seed", [0, 1])
def test_a_feature_of_nothing_like_a_face_is_not_trusted(seed: int) -> None:
    found = fitted(calibrated=False)
    noise, other = (unit_features(np.random.default_rng(seed).normal(size=(50, size))) for size in (SOURCE, TARGET))
    assert found.model(noise, other).mean() < 0.2


def test_of_too_few_people_nothing_is_told() -> None:
    pairs, _ = world()
    parts = SplitPairs.of(pairs.take(np.arange(600)), SplitRule("subject", 0, 0.3, 0.2))
    (best,) = fit_methods(parts, "ridge", 0)
    unseen = HeldOut(parts.validation, best.translate(parts.validation.source.feature))
    assert fit_confidence(parts, [unseen], Calibration(), 0) is None


def test_every_centre_is_of_many_people() -> None:
    random = np.random.default_rng(0)
    # One person with as many pictures as all others together, and three who are each other's neighbours and nobody else's.
    identity = unit_features(random.normal(size=(300, 24)))
    identity[:3] = unit_features(random.normal(size=(1, 24)) + 0.01 * random.normal(size=(3, 24)))
    code = np.concatenate([np.repeat(np.arange(300), 3), np.full(900, 7)])
    feature = unit_features(identity[code] + 0.05 * random.normal(size=(len(code), 24)))
    centres = confidence._centres(feature, code, 0)
    people = unit_features(np.stack([feature[code == number].mean(axis=0) for number in range(300)]))
    nearest = (people @ centres.T).argmax(axis=1)
    assert len(centres) > 3
    for number, centre in enumerate(centres):
        # The mean of at least as many people: not much like any of them.
        assert np.sort(people @ centre)[-confidence.FEWEST_OF_CENTRE :].min() > 0
        assert (people @ centre).max() < 0.9, number
    assert np.bincount(nearest, minlength=len(centres)).min() >= confidence.FEWEST_OF_CENTRE


def test_of_too_few_people_the_centre_is_everybodys() -> None:
    feature = unit_features(np.random.default_rng(0).normal(size=(40, 6)) + 1)
    centres = confidence._centres(feature, np.repeat(np.arange(10), 4), 0)
    assert centres.shape == (1, 6)


def test_signals_of_training_people_are_taken_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or distances of people who were seen would be shorter, and unseen ones look odd."""
    taken: list[tuple[set[str], set[str]]] = []
    real = confidence._without

    def watched(seen: Pairs, held: Pairs) -> Pairs:
        left = real(seen, held)
        taken.append((set(left.source.subject.tolist()), set(held.source.subject.tolist())))
        return left

    monkeypatch.setattr(confidence, "_without", watched)
    found = fitted.__wrapped__()
    everybody = set(found.parts.train.source.subject.tolist())
    assert len(taken) == 6
    assert all(not left & held for left, held in taken)
    assert set().union(*(held for _, held in taken[1:])) == everybody
    # Nobody is odd: as many of the test subjects as of those it was measured on.
    assert (found.confidence == 0).mean() < 0.02


def test_confidence_measured_anew_is_what_came_of_those_people() -> None:
    found = fitted()
    worse = unit_features(found.translated + 0.25 * np.random.default_rng(0).normal(size=found.translated.shape))
    before = found.model(found.test.source.feature, worse)
    anew = confidence.measured_anew(found.model, found.test, worse, found.calibration)
    after = anew(found.test.source.feature, worse)
    threshold = next(p.threshold for p in found.calibration.points["translated"] if p.fmr == anew.fmr)
    code = np.unique(found.test.source.subject, return_inverse=True)[1]
    score = worse @ found.test.target.feature.T
    same = (code[:, None] == code) & ~np.eye(len(code), dtype=bool)
    came = np.mean([(score[row][same[row]] >= threshold).mean() for row in range(len(score))])
    assert after.mean() == pytest.approx(came, abs=0.03)
    assert abs(before.mean() - came) > abs(after.mean() - came)


def test_norms_tell_of_bad_pictures_what_features_of_length_one_do_not() -> None:
    found = fitted(fading=True)
    assert found.model.with_norm is not None
    known = found.model(found.test.source.feature, found.translated, found.test.source.norms)
    assert np.corrcoef(known, found.bad)[0, 1] < np.corrcoef(found.confidence, found.bad)[0, 1] - 0.1
    told, came = calibrated_means(found, known)
    np.testing.assert_allclose(told, came, atol=0.12)


def calibrated_means(found: World, told_N: FloatArray) -> tuple[list[float], list[float]]:
    """Of three groups of the test subjects' pictures by confidence, what was told of them and what came."""
    threshold = next(p.threshold for p in found.calibration.points["translated"] if p.fmr == found.model.fmr)
    came = genuine_found(HeldOut(found.test, found.translated), threshold)
    groups = np.array_split(np.argsort(told_N), 3)
    return [float(told_N[group].mean()) for group in groups], [float(np.nanmean(came[group])) for group in groups]


def with_norms(pairs: Pairs, norm_N: FloatArray | None) -> Pairs:
    return Pairs(replace(pairs.source, norm=norm_N), pairs.target)


def test_norms_that_are_not_known_or_all_alike_are_not_looked_at() -> None:
    found = fitted()
    parts, calibration = found.parts, found.calibration
    for few in (None, np.full(len(parts.validation), 20.0, np.float32)):
        held = HeldOut(with_norms(parts.validation, few), parts.validation.target.feature)
        model = fit_confidence(parts, [held], calibration, 0)
        assert model is not None
        assert model.with_norm is None
    known = parts.validation.source.norms
    for num, is_enough in ((199, False), (300, True)):
        some = np.where(np.arange(len(known)) < num, known, np.float32(np.nan))
        held = HeldOut(with_norms(parts.validation, some), parts.validation.target.feature)
        model = fit_confidence(parts, [held], calibration, 0)
        assert model is not None
        assert (model.with_norm is not None) == is_enough


@pytest.mark.parametrize(("num_people", "is_enough"), [(49, False), (50, True)])
def test_of_few_people_with_many_pictures_norms_tell_nothing(num_people: int, is_enough: bool) -> None:
    random = np.random.default_rng(0)
    code = np.repeat(np.arange(num_people), 10)
    known = confidence._Known(
        random.normal(size=(len(code), 3)).astype(np.float32),
        random.normal(size=(len(code), 1)).astype(np.float32),
        random.random(len(code)).astype(np.float32),
        code,
    )
    norm = np.exp(random.normal(size=len(code))).astype(np.float32)
    assert (confidence._with_norm(known, norm, 0) is not None) == is_enough


@pytest.mark.parametrize("one_longer", [False, True])
def test_norms_that_are_all_alike_tell_nothing(one_longer: bool) -> None:
    norm = np.full(600, 64.0, dtype=np.float32) + np.random.default_rng(0).uniform(-1e-3, 1e-3, 600).astype(np.float32)
    norm[0] *= 10 if one_longer else 1
    known = confidence._Known(
        np.zeros((600, 2), np.float32), np.zeros((600, 1), np.float32), np.zeros(600, np.float32), np.arange(600) // 2
    )
    assert confidence._with_norm(known, norm, 0) is None


def test_one_norm_beyond_all_others_does_not_make_the_scale() -> None:
    found = fitted(fading=True)
    validation = found.parts.validation
    far = validation.source.norms.copy()
    far[0] = 1e6
    held = [
        HeldOut(with_norms(validation, norm_N), validation.target.feature) for norm_N in (validation.source.norms, far)
    ]
    scales = []
    for one in held:
        model = fit_confidence(found.parts, [one], found.calibration, 0)
        assert model is not None
        assert model.with_norm is not None
        scales.append(model.with_norm.scale)
    before, after = scales
    assert (after.low, after.high) == pytest.approx((before.low, before.high), abs=0.05)
    assert (after.mean, after.sd) == pytest.approx((before.mean, before.sd), abs=0.05)


def test_what_norms_tell_is_measured_anew_or_left_out() -> None:
    found = fitted(fading=True)
    worse = unit_features(found.translated + 0.25 * np.random.default_rng(0).normal(size=found.translated.shape))
    anew = confidence.measured_anew(found.model, found.test, worse, found.calibration)
    assert anew.with_norm is not None
    assert found.model.with_norm is not None
    assert anew.with_norm.scale == found.model.with_norm.scale
    assert np.array_equal(anew.with_norm.estimate.weight_F, found.model.with_norm.estimate.weight_F)
    after = anew(found.test.source.feature, worse, found.test.source.norms).mean()
    told, came = calibrated_means(replace(found, translated=worse), anew(found.test.source.feature, worse))
    assert after == pytest.approx(np.mean(came), abs=0.04)
    before = found.model(found.test.source.feature, worse, found.test.source.norms).mean()
    assert before > after + 0.04, (before, told)
    without = confidence.measured_anew(found.model, with_norms(found.test, None), worse, found.calibration)
    assert without.with_norm is None
    assert np.array_equal(without.plain.confidence_K, anew.plain.confidence_K)


def genuine_found(found: HeldOut, threshold: float) -> FloatArray:
    """Of each picture the share of the person's others whose score reaches the threshold; NaN where there are none."""
    code = np.unique(found.pairs.source.subject, return_inverse=True)[1]
    score = found.translated_NT @ found.pairs.target.feature.T
    is_other = (code[:, None] == code) & ~np.eye(len(code), dtype=bool)
    with np.errstate(invalid="ignore"):
        return np.asarray((is_other & (score >= threshold)).sum(axis=1) / is_other.sum(axis=1), dtype=np.float32)


def test_it_is_of_photos_alone() -> None:
    """Drawings are recognised less, and would drag down what is told of photos."""
    pairs, _ = world()
    is_drawn = np.arange(len(pairs)) % PICTURES >= 2
    random = np.random.default_rng(1)
    kinds = np.where(is_drawn, "sketch", "photo")
    sides = []
    for side in (pairs.source, pairs.target):
        noise = 0.5 * random.normal(size=side.feature.shape) * is_drawn[:, None]
        sides.append(
            FeatureSet.build(side.space, side.columns() | {"feature": side.feature + noise, "modality": kinds})
        )
    drawn = Pairs(*sides)
    parts = SplitPairs.of(drawn, SplitRule("subject", 0, 0.3, 0.2))
    (best,) = fit_methods(parts, "ridge", 0)
    held = [
        HeldOut(parts.validation, best.translate(parts.validation.source.feature)),
        *cross_fitted(parts, "ridge", 0),
    ]
    calibration = calibrate(held[0].pairs, held[0].translated_NT, held[1:])
    model = fit_confidence(parts, held, calibration, 0)
    assert model is not None
    assert parts.test is not None
    (threshold,) = (point.threshold for point in calibration.points["translated"] if point.fmr == model.fmr)
    everybody = HeldOut(parts.test, best.translate(parts.test.source.feature))
    photos = confidence._photos(everybody)
    assert photos is not None
    assert len(photos.pairs) == len(parts.test) // 2
    told = model(photos.pairs.source.feature, photos.translated_NT).mean()
    came, with_drawings = (genuine_found(one, threshold).mean() for one in (photos, everybody))
    assert told == pytest.approx(came, abs=0.06)
    assert came > with_drawings + 0.1


def test_what_hardly_anybody_has_two_pictures_for_is_the_cosine() -> None:
    pairs, _ = world()
    has_two = np.unique(pairs.source.subject)[:: NUM_PEOPLE // 40]
    is_first = np.arange(len(pairs)) % PICTURES == 0
    some = pairs.take(is_first | np.isin(pairs.source.subject, has_two))
    parts = SplitPairs.of(some, SplitRule("subject", 0, 0.3, 0.2))
    (best,) = fit_methods(parts, "ridge", 0)
    held = [
        HeldOut(parts.validation, best.translate(parts.validation.source.feature)),
        *cross_fitted(parts, "ridge", 0),
    ]
    model = fit_confidence(parts, held, fitted().calibration, 0)
    assert model is not None
    assert (model.meaning, model.fmr) == ("cosine", 0.0)


def test_a_step_is_of_twenty_people_or_more() -> None:
    code = np.repeat(np.arange(95), 3)
    estimate = np.random.default_rng(0).normal(size=len(code)).astype(np.float32)
    steps, told = confidence._steps(estimate, (estimate / 10).astype(np.float32), code)
    assert 2 <= len(steps) == len(told) <= 4
    assert (np.diff(told) > 0).all()


def test_one_person_with_many_pictures_makes_no_step() -> None:
    code = np.concatenate([np.zeros(1000, dtype=np.int64), np.repeat(np.arange(1, 100), 2)])
    random = np.random.default_rng(0)
    estimate = np.concatenate([random.normal(-5, 0.01, 1000), random.normal(0, 1, 198)]).astype(np.float32)
    order = np.argsort(estimate, kind="stable")
    weight = 1 / np.bincount(code)[code]
    bins = confidence._bins(order, weight, code)
    assert np.concatenate(bins).tolist() == order.tolist()
    assert min(len(np.unique(code[rows])) for rows in bins) >= confidence.FEWEST_OF_STEP
    assert len(bins) >= 2
    few = confidence._bins(np.arange(10), np.ones(10), np.arange(10))
    assert [rows.tolist() for rows in few] == [list(range(10))]


def test_of_one_person_with_many_pictures_nothing_is_told() -> None:
    found = fitted()
    one = found.parts.validation.source.subject[0]
    own = np.resize(np.flatnonzero(found.parts.validation.source.subject == one), 300)
    names = {"image": np.array([f"x{row:03d}" for row in range(300)])}
    repeated = Pairs(
        *(
            FeatureSet.build(side.space, {key: column[own] for key, column in side.columns().items()} | names)
            for side in (found.parts.validation.source, found.parts.validation.target)
        )
    )
    held = HeldOut(repeated, repeated.target.feature)
    assert fit_confidence(found.parts, [held], found.calibration, 0) is None


def test_the_steps_are_of_estimates_by_what_has_not_seen_the_person(monkeypatch: pytest.MonkeyPatch) -> None:
    def elsewhere(*arguments: Any) -> Estimator:
        found = fit_estimator(*arguments)
        return replace(found, unseen_N=found.unseen_N + 100)

    monkeypatch.setattr(confidence, "fit_estimator", elsewhere)
    assert fitted.__wrapped__().model.plain.step_K.min() > 50
