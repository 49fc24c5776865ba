"""Whether a threshold keeps its false-match rate on people whom neither translator nor threshold has seen."""

import os
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from multiprocessing import get_context
from statistics import mean

import numpy as np

from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from benchmarks.translation import SEEDS, SIDES, TEST, VALIDATION
from models.features import FloatArray
from models.operating_point import point_at
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.evaluation.calibration import calibrate
from training.evaluation.cross_space import comparisons
from training.evaluation.open_set import open_set_layout, search
from training.recipes.translators import SplitPairs, fit_methods

METHOD = "ridge"
RATES = (1e-2, 1e-3)
FPIR = 0.01
WANTED = 1.5

Realised = dict[float, tuple[float, float]]
"""By the rate asked for, what it came to as a multiple of it: over pairs of people, and over pairs of pictures."""


def measure(faces: Faces) -> str:
    """All ordered pairs, every seed: splits, translators and thresholds all change with it."""
    for name in ENCODERS:
        faces.features(name)
    # One process and one thread a core: closed forms gain little from more threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    work = [(pair, seed) for pair in permutations(ENCODERS, 2) for seed in SEEDS]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(_one, [faces] * len(work), *zip(*work, strict=True)))
    rows, every = [], {rate: [realised[rate] for realised, _ in found] for rate in RATES}
    for place, pair in enumerate(permutations(ENCODERS, 2)):
        of_pair = found[place * len(SEEDS) : (place + 1) * len(SEEDS)]
        cells = [
            " / ".join(f"{realised[rate][way]:.2f}" for realised, _ in of_pair) for rate in RATES for way in range(2)
        ]
        missed = " / ".join(f"{mean(fnir[side] for _, fnir in of_pair):.4f}" for side in SIDES)
        rows.append([*pair, *cells, missed])
    header = ["source", "target", *(f"{rate:g}, {way}" for rate in RATES for way in ("people", "pictures")), "FNIR"]
    return (
        f"`{METHOD}`, its thresholds from validation subjects ({VALIDATION:.0%} of all), on test subjects ({TEST:.0%}): "
        "the false-match rate there as a multiple of the rate asked for, for seeds "
        f"{', '.join(map(str, SEEDS))}; once so that every two people count alike, once every two pictures, of which one person "
        f"may have hundreds. {_within(every)} Last: of translated probes / of a translated gallery, the share of people who are "
        f"enrolled that is missed where {FPIR:.0%} of those who are not find somebody (half of the people with several pictures "
        f"are not enrolled), mean over seeds.\n\n{table(header, rows)}"
    )


def _within(every: dict[float, list[tuple[float, float]]]) -> str:
    parts = []
    for rate, found in every.items():
        for way, words in enumerate(("people", "pictures")):
            off = [max(one[way], 1 / max(one[way], 1e-9)) for one in found]
            parts.append(
                f"{rate:g}, {words}: **{sum(factor <= WANTED for factor in off)}** of {len(off)} within a factor of {WANTED}, "
                f"the worst {max(off):.2f}"
            )
    return "; ".join(parts) + "."


def _one(faces: Faces, pair: tuple[str, str], seed: int) -> tuple[Realised, dict[str, float]]:
    pairs = join_by_image(*(faces.features(name) for name in pair))
    parts = SplitPairs.of(pairs, SplitRule("subject", seed, VALIDATION, TEST))
    (fitted,) = fit_methods(parts, METHOD, seed)
    points = calibrate(parts.validation, fitted.translate(parts.validation.source.feature)).points["translated"]
    assert parts.test is not None
    translated_NT = fitted.translate(parts.test.source.feature)
    realised = {}
    for rate in RATES:
        point = point_at(points, rate)
        assert point is not None
        realised[rate] = _realised(parts.test, translated_NT, point.threshold, rate)
    return realised, _fnir(parts.test, translated_NT, seed)


def _realised(test: Pairs, translated_NT: FloatArray, threshold: float, rate: float) -> tuple[float, float]:
    is_match_NN = translated_NT @ test.target.feature.T >= threshold
    _, code_N, num = np.unique(test.source.subject, return_inverse=True, return_counts=True)
    is_impostor_NN = code_N[:, None] != code_N
    weight_N = 1 / num[code_N]
    people = weight_N @ (is_match_NN & is_impostor_NN) @ weight_N / (len(num) * (len(num) - 1))
    pictures = is_match_NN[is_impostor_NN].mean()
    return float(people) / rate, float(pictures) / rate


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
