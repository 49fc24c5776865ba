"""How well each method translates between all ordered pairs of the five real encoders, on subjects it has not seen."""

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from multiprocessing import get_context
from statistics import mean

from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from models.split import SplitRule
from training.data.pairs import join_by_image
from training.evaluation.cross_space import CrossSpaceEvaluation
from training.recipes.translators import CANDIDATES, SplitPairs, fit_methods

SEEDS = (0, 1, 2)
VALIDATION, TEST = 0.10, 0.38
NAMED = (
    ("mobilefacenet-128", "edgeface-xxs-512"),
    ("edgeface-xxs-512", "mobilefacenet-128"),
    ("mobileface-v2-256", "reid-retail-0095-256"),
)
SIDES = ("translated probes", "translated gallery")

Results = dict[str, dict[int, CrossSpaceEvaluation]]
"""By method and seed."""


def measure(faces: Faces) -> str:
    """All ordered pairs, every method, every seed: splits and training both change with it."""
    for name in ENCODERS:
        faces.features(name)
    # One process and one thread a core: small networks gain nothing from more threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    every = list(permutations(ENCODERS, 2))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        results = dict(zip(every, pool.map(_pair, [faces] * len(every), *zip(*every, strict=True)), strict=True))
    return "\n\n".join(
        [
            f"Subjects of `lfw112.zip` split {1 - VALIDATION - TEST:.0%} / {VALIDATION:.0%} / {TEST:.0%}; each seed is another "
            f"split and another training run (seeds {', '.join(map(str, SEEDS))}). Gallery: one picture of each test "
            "subject; probes: all their other pictures; subjects with one picture are distractors.",
            "Named directions, rank-1 by seed, and the mean:",
            _named(results),
            "All 20 ordered pairs, mean over seeds, rank-1 of translated probes / of a translated gallery:",
            _all(results, "rank1"),
            "The same, TAR at FAR 1e-3:",
            _all(results, "tar_far_1e3"),
        ]
    )


def _pair(faces: Faces, source: str, target: str) -> Results:
    pairs = join_by_image(faces.features(source), faces.features(target))
    results: Results = {method: {} for method in CANDIDATES}
    for seed in SEEDS:
        parts = SplitPairs.of(pairs, SplitRule("subject", seed, VALIDATION, TEST))
        for method in CANDIDATES:
            (fitted,) = fit_methods(parts, method, seed)
            assert fitted.test is not None
            results[method][seed] = fitted.test
    return results


def _figure(results: Results, method: str, row: str, name: str) -> list[float]:
    return [float(getattr(evaluation.rows[row], name)) for evaluation in results[method].values()]


def _named(results: Mapping[tuple[str, str], Results]) -> str:
    rows: list[list[str]] = []
    for pair in NAMED:
        rows += [
            [" to ".join(pair), row, *_by_seed(_figure(results[pair], "ridge", row, "rank1"))]
            for row in ("native source", "native target")
        ]
        for method in CANDIDATES:
            for side in SIDES:
                figures = _figure(results[pair], method, side, "rank1")
                rows.append([" to ".join(pair), f"{method}, {side}", *_by_seed(figures)])
    return table(["direction", "comparison", *(f"seed {seed}" for seed in SEEDS), "mean"], rows)


def _by_seed(figures: list[float]) -> list[str]:
    return [*(f"{figure:.4f}" for figure in figures), f"**{mean(figures):.4f}**"]


def _all(results: Mapping[tuple[str, str], Results], name: str) -> str:
    rows = []
    for pair, of_pair in results.items():
        natives = [f"{mean(_figure(of_pair, 'ridge', row, name)):.4f}" for row in ("native source", "native target")]
        sides = [
            " / ".join(f"{mean(_figure(of_pair, method, side, name)):.4f}" for side in SIDES) for method in CANDIDATES
        ]
        rows.append([*pair, *natives, *sides])
    return table(["source", "target", "native source", "native target", *CANDIDATES], rows)
