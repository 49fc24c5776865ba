"""Whether a threshold keeps its false-match rate on people whom neither translator nor threshold has seen."""

from dataclasses import dataclass
from itertools import permutations
from statistics import mean, median

import numpy as np

from benchmarks.cores import on_all_cores
from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from benchmarks.translation import SEEDS, SIDES, TEST, VALIDATION
from models.calibration import ScoreScale
from models.features import FloatArray
from models.operating_point import fmr_for_fpir
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.evaluation.calibration import calibrate
from training.evaluation.cross_space import comparisons
from training.evaluation.open_set import open_set_layout, search
from training.recipes.cross_fitting import NUM_FOLDS, cross_fitted
from training.recipes.translators import SplitPairs, fit_methods

METHOD = "ridge"
RATES = (1e-2, 1e-3, 1e-4)
FPIRS = (0.1, 0.01)
SIZES = (100, 1000)
"""Of galleries."""
NUM_GALLERIES = 10
FPIR = 0.01
WANTED = 1.5

Realised = dict[float, tuple[float, float]]
"""By the rate asked for, what it came to as a multiple of it: over pairs of people, and over pairs of pictures."""


@dataclass(frozen=True, slots=True)
class _Found:
    realised: Realised
    fpir: dict[tuple[int, float], float | None]
    """By size of the gallery and rate asked for, what it came to as a multiple of it; None where no threshold was stated."""
    fnir: dict[str, float]


def measure(faces: Faces) -> str:
    """All ordered pairs, every seed: splits, translators and thresholds all change with it."""
    for name in ENCODERS:
        faces.features(name)
    found = on_all_cores(_one, [(faces, pair, seed) for pair in permutations(ENCODERS, 2) for seed in SEEDS])
    rows, every = [], {rate: [one.realised[rate] for one in found] for rate in RATES}
    for place, pair in enumerate(permutations(ENCODERS, 2)):
        of_pair = found[place * len(SEEDS) : (place + 1) * len(SEEDS)]
        cells = [" / ".join(f"{one.realised[rate][0]:.2f}" for one in of_pair) for rate in RATES]
        missed = " / ".join(f"{mean(one.fnir[side] for one in of_pair):.4f}" for side in SIDES)
        rows.append([*pair, *cells, missed])
    header = ["source", "target", *(f"{rate:g}" for rate in RATES), f"FNIR at FPIR {FPIR:.0%}"]
    return (
        f"`{METHOD}`, its thresholds as `fit` measures them, from validation subjects ({VALIDATION:.0%} of all) and, by "
        f"{NUM_FOLDS} "
        f"translators that have not seen a share of them, from training subjects; on test subjects ({TEST:.0%}): the false-match "
        f"rate there as a multiple of the rate asked for, for seeds {', '.join(map(str, SEEDS))}, so that every two people count "
        f"alike. {_within(every)}\n\nGalleries of test subjects, one template each, drawn {NUM_GALLERIES} times, asked "
        f"for all others "
        f"at an FPIR as `/identify` takes it: {_of_galleries(found)}\n\nLast column: of translated probes / of a "
        f"translated gallery, the "
        f"share of people who are enrolled that is missed where {FPIR:.0%} of those who are not find somebody (half of "
        f"the people "
        f"with several pictures are not enrolled), mean over seeds.\n\n{table(header, rows)}"
    )


def _within(every: dict[float, list[tuple[float, float]]]) -> str:
    parts = []
    for rate, found in every.items():
        for way, words in enumerate(("people", "pictures")):
            off = [max(one[way], 1 / max(one[way], 1e-9)) for one in found]
            parts.append(
                f"{rate:g}, by {words}: **{sum(factor <= WANTED for factor in off)}** of {len(off)} within a factor of {WANTED}, "
                f"the worst {max(off):.2f}"
            )
    return "; ".join(parts) + "."


def _of_galleries(found: list[_Found]) -> str:
    parts = []
    for size in SIZES:
        for fpir in FPIRS:
            stated = [rate for one in found if (rate := one.fpir[size, fpir]) is not None]
            words = f"{size:,} templates, FPIR {fpir:g}: "
            if stated:
                words += (
                    f"median **{median(stated):.2f}** times the rate asked for, {min(stated):.2f} to {max(stated):.2f}"
                )
            if len(stated) < len(found):
                words += f"{'; ' if stated else ''}refused in {len(found) - len(stated)} of {len(found)}"
            parts.append(words)
    return "; ".join(parts) + "."


def _one(faces: Faces, pair: tuple[str, str], seed: int) -> _Found:
    pairs = join_by_image(*(faces.features(name) for name in pair))
    parts = SplitPairs.of(pairs, SplitRule("subject", seed, VALIDATION, TEST))
    (fitted,) = fit_methods(parts, METHOD, seed)
    crossed = cross_fitted(parts, METHOD, seed)
    scale = calibrate(parts.validation, fitted.translate(parts.validation.source.feature), crossed).scales["translated"]
    assert parts.test is not None
    translated_NT = fitted.translate(parts.test.source.feature)
    realised = {}
    for rate in RATES:
        point = scale.point_at(rate)
        assert point is not None
        realised[rate] = _realised(parts.test, translated_NT, point.threshold, rate)
    fpir = {(size, rate): _fpir(parts.test, translated_NT, scale, size, rate) for size in SIZES for rate in FPIRS}
    return _Found(realised, fpir, _fnir(parts.test, translated_NT, seed))


def _realised(test: Pairs, translated_NT: FloatArray, threshold: float, rate: float) -> tuple[float, float]:
    is_match_NN = translated_NT @ test.target.feature.T >= threshold
    _, code_N, num = np.unique(test.source.subject, return_inverse=True, return_counts=True)
    is_impostor_NN = code_N[:, None] != code_N
    weight_N = 1 / num[code_N]
    people = weight_N @ (is_match_NN & is_impostor_NN) @ weight_N / (len(num) * (len(num) - 1))
    pictures = is_match_NN[is_impostor_NN].mean()
    return float(people) / rate, float(pictures) / rate


def _fpir(test: Pairs, translated_NT: FloatArray, scale: ScoreScale, size: int, rate: float) -> float | None:
    point = scale.point_at(fmr_for_fpir(rate, size))
    if point is None:
        return None
    _, first = np.unique(test.source.subject, return_index=True)
    is_match_UU = translated_NT[first] @ test.target.feature[first].T >= point.threshold
    random, found = np.random.default_rng(size), []
    for _ in range(NUM_GALLERIES):
        order = random.permutation(len(first))
        found.append(is_match_UU[np.ix_(order[size:], order[:size])].any(axis=1).mean())
    return float(np.mean(found)) / rate


def _fnir(test: Pairs, translated_NT: FloatArray, seed: int) -> dict[str, float]:
    subject = test.source.subject
    enrolled, mated, strangers = open_set_layout(subject, seed)
    asked = np.concatenate([mated, strangers])
    found = {}
    for side in SIDES:
        probe, stored = comparisons(test, translated_NT)[side]
        fnir = search(probe[asked], subject[asked], stored[enrolled], subject[enrolled]).fnir_at_fpir(FPIR)
        assert fnir is not None
        found[side] = fnir
    return found
