"""Confidence in translations: what is measured, learned and stored for it in a bundle's `stats.npz`.

Source of the idea to learn how well a face will be recognised from its recogniser's scores: Hernandez-Ortega et al., FaceQnet
(ICB 2019); here the input is the feature alone, as there may be no picture.

Shapes: N pictures of people the translator has not seen, S source and T target dimension, C centres.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.calibration import PHOTO, Calibration
from models.confidence import (
    NUM_SIGNALS,
    ConfidenceModel,
    Estimate,
    Meaning,
    NormEstimate,
    NormScale,
    Signals,
    inputs,
)
from models.features import FloatArray, unit_features
from training.data.pairs import Pairs
from training.evaluation.calibration import HeldOut
from training.evaluation.isotonic import pool_adjacent_violators
from training.evaluation.references import RARE, SLACK, directions, fit_reference
from training.recipes.translators import SplitPairs, subjects
from training.trainers.confidence import fit_estimator
from training.trainers.fitted import TrainingData
from training.trainers.linear import fit_ridge

FMRS = (1e-3, 1e-2)
"""Confidence is told for the first of them that has a threshold."""
MOST_CENTRES = 256
MOST_STEPS = 100
FEWEST_OF_CENTRE = 16
FEWEST = 200
"""Pictures of people the translator has not seen."""
FEWEST_MATED = 50
"""People; and people with two of them or more, for what is told of genuine comparisons."""
FEWEST_OF_STEP = 20
"""People in a step of confidence."""
COSINE_SLACK = 0.02
SMALLEST_NORM_SD = 0.01
"""Of logarithms of norms; norms that are all alike tell nothing."""

_IntArray = npt.NDArray[np.int64]


def fit_confidence(
    parts: SplitPairs, held: Sequence[HeldOut], calibration: Calibration, seed: int, *, watches_target: bool = True
) -> ConfidenceModel | None:
    """From `held`, people whom the translators at work had not seen; None where they, or those trained on, are too few.

    Photos alone count: thresholds of drawings are others. Signals of training people are taken by what was measured without
    them, as their translations are. Without `watches_target` nothing says what features of the target space look like.
    """
    held = [photos for one in held if (photos := _photos(one)) is not None]
    known = [_photos_of(parts.train.originals()), _photos_of(parts.validation)]
    if any(one is None for one in known) or sum(len(one.pairs) for one in held) < FEWEST:
        return None
    seen, validation = (one for one in known if one is not None)
    code_N = _codes([one.pairs for one in held])
    if code_N.max() + 1 < FEWEST_MATED:
        return None
    everybody_N = _codes([seen, validation])
    source, target = (
        fit_reference(np.concatenate(features), everybody_N, seed) if is_wanted else None
        for features, is_wanted in (
            ([seen.source.feature, validation.source.feature], True),
            ([seen.target.feature, validation.target.feature], watches_target),
        )
    )
    if source is None or (watches_target and target is None):
        return None
    source_NS, translated_NT, target_NT = (
        np.concatenate(sides)
        for sides in zip(
            *((one.pairs.source.feature, one.translated_NT, one.pairs.target.feature) for one in held), strict=True
        )
    )
    signal_N4 = np.concatenate(
        [
            _signals(_without(seen, one.pairs), validation, seed)(one.pairs.source.feature, one.translated_NT)
            for one in held
        ]
    )
    wanted_NY, found_N, meaning, fmr = _wanted(translated_NT, target_NT, code_N, calibration)
    mean_4, sd_4 = signal_N4.mean(axis=0), np.maximum(signal_N4.std(axis=0), 1e-6)
    measured = _Known(inputs(source_NS, translated_NT, (signal_N4 - mean_4) / sd_4), wanted_NY, found_N, code_N)
    return ConfidenceModel(
        meaning,
        fmr,
        source,
        target,
        _signals(seen, validation, seed),
        mean_4,
        sd_4,
        _limits(signal_N4),
        measured.estimate(seed),
        _with_norm(measured, np.concatenate([one.pairs.source.norms for one in held]), seed),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Inputs of the estimator, and what came of them."""

    input_NF: FloatArray
    wanted_NY: FloatArray
    found_N: FloatArray
    code_N: _IntArray

    def estimate(self, seed: int) -> Estimate:
        weight_N = (1 / np.sqrt(np.bincount(self.code_N)[self.code_N])).astype(np.float32)
        estimator = fit_estimator(self.input_NF, self.wanted_NY, weight_N, self.code_N, seed)
        steps = _steps(estimator.unseen_N, self.found_N, self.code_N)
        return Estimate(estimator.weight_F, estimator.bias_1, *steps)

    def anew(self, estimate: Estimate) -> Estimate:
        step_K, confidence_K = _steps(estimate.value(self.input_NF), self.found_N, self.code_N)
        return replace(estimate, step_K=step_K, confidence_K=confidence_K)

    def of_norms(self, scaled_N1: FloatArray) -> "_Known | None":
        """Those whose norm is known, with it as one more input; None where they are too few."""
        is_known_N = np.isfinite(scaled_N1[:, 0])
        if not _is_enough(self.found_N[is_known_N], self.code_N[is_known_N]):
            return None
        input_NF = np.concatenate([self.input_NF[is_known_N], scaled_N1[is_known_N]], axis=1)
        code_N = np.unique(self.code_N[is_known_N], return_inverse=True)[1]
        return _Known(input_NF, self.wanted_NY[is_known_N], self.found_N[is_known_N], code_N)


def _is_enough(found_N: FloatArray, code_N: _IntArray) -> bool:
    return len(found_N) >= FEWEST and len(np.unique(code_N[~np.isnan(found_N)])) >= FEWEST_MATED


def _with_norm(measured: _Known, norm_N: FloatArray, seed: int) -> NormEstimate | None:
    log_N = np.log(norm_N[np.isfinite(norm_N)])
    if not len(log_N):
        return None
    low, high = np.quantile(log_N, RARE, method="higher"), np.quantile(log_N, 1 - RARE, method="lower")
    log_N = log_N.clip(low, high)
    if log_N.std() < SMALLEST_NORM_SD:
        return None
    scale = NormScale(*(float(np.float32(number)) for number in (log_N.mean(), log_N.std(), low, high)))
    of_norms = measured.of_norms(scale(norm_N))
    return None if of_norms is None else NormEstimate(scale, of_norms.estimate(seed))


def _norm_anew(by_norm: NormEstimate, measured: _Known, norm_N: FloatArray) -> NormEstimate | None:
    of_norms = measured.of_norms(by_norm.scale(norm_N))
    return None if of_norms is None else replace(by_norm, estimate=of_norms.anew(by_norm.estimate))


def measured_anew(
    model: ConfidenceModel,
    pairs: Pairs,
    translated_NT: FloatArray,
    calibration: Calibration,
    *,
    is_told_of_these: bool = True,
) -> ConfidenceModel:
    """The same estimates, and what comes of them on other people: limits, steps, and what their features look like.

    What these are too few for stays as it is, but for the estimate by norms, which is left out where theirs are not known or
    hardly of the scale that was seen. Photos alone count. Without `is_told_of_these` it is told of comparisons with another
    space, and stays as it is but for what features look like.
    """
    photos = _photos(HeldOut(pairs, translated_NT))
    if photos is None:
        return model
    pairs, translated_NT = photos.pairs, photos.translated_NT
    code_N = _codes([pairs])
    source = fit_reference(pairs.source.feature, code_N, 0)
    target = fit_reference(pairs.target.feature, code_N, 0) if model.target else None
    if source and bool(target) == bool(model.target):
        model = replace(model, source=source, target=target)
    if len(code_N) < FEWEST or not is_told_of_these:
        return model
    wanted_NY, found_N, meaning, fmr = _wanted(translated_NT, pairs.target.feature, code_N, calibration)
    if meaning != "tar":
        return model
    signal_N4 = model.signals_of(pairs.source.feature, translated_NT)
    measured = _Known(model.inputs(pairs.source.feature, translated_NT, signal_N4), wanted_NY, found_N, code_N)
    return replace(
        model,
        meaning=meaning,
        fmr=fmr,
        signal_limit_4=_limits(signal_N4),
        plain=measured.anew(model.plain),
        with_norm=_norm_anew(model.with_norm, measured, pairs.source.norms) if model.with_norm else None,
    )


def _photos(one: HeldOut) -> HeldOut | None:
    """Those of them, None where there are none."""
    modality = one.pairs.source.modality
    if modality is None:
        return one
    is_photo_N = modality == PHOTO
    return HeldOut(one.pairs.take(is_photo_N), one.translated_NT[is_photo_N]) if is_photo_N.any() else None


def _photos_of(pairs: Pairs) -> Pairs | None:
    photos = _photos(HeldOut(pairs, pairs.target.feature))
    return None if photos is None else photos.pairs


def _without(seen: Pairs, held: Pairs) -> Pairs:
    """Those of whom none is among `held`."""
    keys = held.source.subject if held.source.has_subjects else held.source.image
    own = seen.source.subject if seen.source.has_subjects else seen.source.image
    return seen.take(~np.isin(own, keys))


def _signals(seen: Pairs, validation: Pairs, seed: int) -> Signals:
    back = fit_ridge(
        TrainingData(
            seen.target.feature, seen.source.feature, validation.target.feature, validation.source.feature, seed
        )
    ).model
    return Signals(
        *directions(seen.source.feature),
        *directions(seen.target.feature),
        _centres(seen.source.feature, subjects(seen.source), seed),
        back.weight_ST,
        back.bias_T,
    )


def _codes(pairs: Sequence[Pairs]) -> _IntArray:
    """Whose each picture is, over all of them: parts share nobody."""
    codes: list[_IntArray] = []
    for one in pairs:
        codes.append(subjects(one.source) + (int(codes[-1].max()) + 1 if codes else 0))
    return np.concatenate(codes)


def _wanted(
    translated_NT: FloatArray, target_NT: FloatArray, code_N: _IntArray, calibration: Calibration
) -> tuple[FloatArray, FloatArray, Meaning, float]:
    """What to estimate, (N, Y): the cosine with the native feature, and the mean score with the person's other pictures, NaN
    where there is none, unless hardly anybody has two. And what came of each, (N,): the share of those scores that reach the
    threshold at the rate that is told; where that cannot be told the cosine.
    """
    order = np.argsort(code_N, kind="stable")
    genuine_N, found_N = (np.full(len(code_N), np.nan, dtype=np.float32) for _ in range(2))
    points = {point.fmr: point for point in calibration.points.get("translated", ())}
    fmr = next((rate for rate in FMRS if rate in points), 0.0)
    threshold = points[fmr].threshold if fmr else None
    for rows in np.split(order, np.flatnonzero(np.diff(code_N[order])) + 1):
        if len(rows) > 1:
            score = translated_NT[rows] @ target_NT[rows].T
            others = score[~np.eye(len(rows), dtype=bool)].reshape(len(rows), -1)
            genuine_N[rows] = others.mean(axis=1)
            found_N[rows] = np.nan if threshold is None else (others >= threshold).mean(axis=1)
    own_N = np.einsum("nt,nt->n", translated_NT, target_NT)
    if len(np.unique(code_N[~np.isnan(genuine_N)])) < FEWEST_MATED:
        return own_N[:, None], np.clip(own_N, 0, 1), "cosine", 0.0
    wanted_N2 = np.stack([own_N, genuine_N], axis=1)
    if threshold is None:
        return wanted_N2, np.clip(own_N, 0, 1), "cosine", 0.0
    return wanted_N2, found_N, "tar", fmr


def _centres(feature_NS: FloatArray, code_N: _IntArray, seed: int, num_rounds: int = 10) -> FloatArray:
    """Means of people who are neighbours, of length one (k-means on the sphere), (C, S); each of FEWEST_OF_CENTRE people or more,
    so that none says who was there.

    Source: Dhillon and Modha, Concept decompositions for large sparse text data using clustering (Machine Learning 2001).
    """
    sum_PS = _sums(feature_NS, code_N, int(code_N.max()) + 1)
    person_PS = unit_features(sum_PS[np.linalg.norm(sum_PS, axis=1) > 1e-3])
    random = np.random.default_rng(seed)
    num = max(1, min(MOST_CENTRES, len(person_PS) // (2 * FEWEST_OF_CENTRE)))
    centre_CS: FloatArray = person_PS[random.choice(len(person_PS), num, replace=False)]
    for _ in range(num_rounds):
        nearest_P = (person_PS @ centre_CS.T).argmax(axis=1)
        sum_CS = _sums(person_PS, nearest_P, num)
        centre_CS = unit_features(np.where(np.linalg.norm(sum_CS, axis=1, keepdims=True) > 1e-3, sum_CS, centre_CS))
    nearest_P = (person_PS @ centre_CS.T).argmax(axis=1)
    # The last means are of exactly these people.
    sum_CS = _sums(person_PS, nearest_P, num)
    is_kept_C = np.bincount(nearest_P, minlength=len(centre_CS)) >= FEWEST_OF_CENTRE
    return unit_features(sum_CS[is_kept_C] if is_kept_C.any() else person_PS.mean(axis=0, keepdims=True))


def _sums(feature_NS: FloatArray, code_N: _IntArray, num: int) -> npt.NDArray[np.float64]:
    """The sum of the features of each code below `num`, (num, S)."""
    order = np.argsort(code_N, kind="stable")
    code, start = np.unique(code_N[order], return_index=True)
    sums = np.zeros((num, feature_NS.shape[1]))
    sums[code] = np.add.reduceat(feature_NS[order], start, axis=0, dtype=np.float64)
    return sums


def _limits(signal_N4: FloatArray) -> FloatArray:
    """Distances hardly anything is above, cosines hardly anything is below."""
    high, low = np.quantile(signal_N4, [1 - RARE, RARE], axis=0)
    half = NUM_SIGNALS // 2
    return np.concatenate([SLACK * high[:half], low[half:] - COSINE_SLACK]).astype(np.float32)


def _steps(estimate_N: FloatArray, found_N: FloatArray, code_N: _IntArray) -> tuple[FloatArray, FloatArray]:
    """What came of features by their estimate, in steps that rise with it; each person counts once."""
    known = np.flatnonzero(~np.isnan(found_N))
    weight_N = 1 / np.bincount(code_N)[code_N]
    order = known[np.argsort(estimate_N[known], kind="stable")]
    bins = _bins(order, weight_N, code_N)
    weight_K = np.array([weight_N[rows].sum() for rows in bins])
    value_K = np.array([np.average(found_N[rows], weights=weight_N[rows]) for rows in bins])
    runs = pool_adjacent_violators(value_K, weight_K)
    steps = [estimate_N[bins[run.start][0]] for run in runs]
    means = [np.average(value_K[run], weights=weight_K[run]) for run in runs]
    return np.array(steps, dtype=np.float32), np.maximum.accumulate(np.array(means, dtype=np.float32))


def _bins(order: _IntArray, weight_N: npt.NDArray[np.float64], code_N: _IntArray) -> list[_IntArray]:
    """Runs of rows of about the same weight, that of FEWEST_OF_STEP people or more and of as many of them; one of all where there
    are no more. All pictures of a person weigh one together.
    """
    upto_N = np.cumsum(weight_N[order])
    num = min(MOST_STEPS, max(1, int(upto_N[-1] + 1e-6) // FEWEST_OF_STEP))
    edges = np.searchsorted(upto_N, upto_N[-1] * np.arange(1, num) / num)
    bins, pending = [], order[:0]
    for rows in np.split(order, edges):
        pending = np.concatenate([pending, rows])
        if len(np.unique(code_N[pending])) >= FEWEST_OF_STEP:
            bins.append(pending)
            pending = order[:0]
    if len(pending):
        bins[-1:] = [np.concatenate([*bins[-1:], pending])]
    return bins
