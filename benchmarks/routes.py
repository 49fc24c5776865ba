"""How much of what a linear map loses the common spaces win back, over all pairs of the five real encoders, both sides."""

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, permutations
from multiprocessing import get_context
from statistics import mean

from benchmarks.document import table
from benchmarks.faces import ENCODERS, Faces
from benchmarks.translation import SEEDS, SIDES, TEST, VALIDATION
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.evaluation.cross_space import Figures
from training.recipes.common_space import make_common_space
from training.recipes.translators import SplitPairs, fit_methods

VIEWS = 4
METHODS = ("ridge", "cca", "two-sided", "two-sided with views")
FIELDS = {"rank1": "rank-1", "tar_far_1e3": "TAR at FAR 1e-3"}
NATIVES = ("native source", "native target")

OneSeed = dict[tuple[str, str], dict[str, dict[str, Figures]]]
"""By direction and method the figures of each row; natives under ridge."""


def measure(faces: Faces) -> str:
    """All pairs, every seed: splits and training both change with it."""
    for name in ENCODERS:
        faces.features(name, VIEWS)
    # One process and one thread a core: small networks gain nothing from more threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    work = [(faces, a, b, seed) for a, b in combinations(ENCODERS, 2) for seed in SEEDS]
    found: dict[tuple[str, str], list[dict[str, dict[str, Figures]]]] = {pair: [] for pair in permutations(ENCODERS, 2)}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for one_seed in pool.map(_pair, *zip(*work, strict=True)):
            for direction, methods in one_seed.items():
                found[direction].append(methods)
    text = (
        f"Subjects of `lfw112.zip` split {1 - VALIDATION - TEST:.0%} / {VALIDATION:.0%} / {TEST:.0%}, gallery and probes as "
        f"above, mean over seeds {', '.join(map(str, SEEDS))}. `with views`: fitted on features of "
        f"`extract --views {VIEWS}`. The last columns: which share of the gap between ridge and the smaller native `two-sided "
        "with views` closes; a dash where ridge leaves no gap of 0.002 or more."
    )
    return "\n\n".join([text, *(part for field in FIELDS for part in _tables(found, field))])


def _pair(faces: Faces, a: str, b: str, seed: int) -> OneSeed:
    with_views = faces.features(a, VIEWS), faces.features(b, VIEWS)
    plain = with_views[0].originals(), with_views[1].originals()
    rule = SplitRule("subject", seed, VALIDATION, TEST)
    found: OneSeed = {(a, b): {}, (b, a): {}}
    for names, sides in (((a, b), plain), ((b, a), plain[::-1])):
        (fitted,) = fit_methods(SplitPairs.of(join_by_image(*sides), rule), "ridge", seed)
        assert fitted.test is not None
        found[names]["ridge"] = fitted.test.rows
    found_in: tuple[tuple[str, str, tuple[FeatureSet, FeatureSet]], ...] = (
        ("cca", "cca", plain),
        ("two-sided", "two-sided", plain),
        ("two-sided with views", "two-sided", with_views),
    )
    for name, method, sides in found_in:
        pairs: Pairs = join_by_image(*sides)
        common = make_common_space([pairs.source, pairs.target], rule, "common", method)
        for side, direction in zip(common.projections, ((a, b), (b, a)), strict=True):
            (evaluation,) = side.test.values()
            found[direction][name] = evaluation.rows
    return found


def _tables(found: dict[tuple[str, str], list[dict[str, dict[str, Figures]]]], field: str) -> list[str]:
    def figure(direction: tuple[str, str], method: str, row: str) -> float:
        return mean(float(getattr(one[method][row], field)) for one in found[direction])

    rows = []
    closed: list[float] = []
    for direction in found:
        natives = [figure(direction, "ridge", row) for row in NATIVES]
        cells = [" / ".join(f"{figure(direction, method, side):.4f}" for side in SIDES) for method in METHODS]
        shares = [_share(figure, direction, side, min(natives)) for side in SIDES]
        closed += [share for share in shares if share is not None]
        words = ["-" if share is None else f"{share:.0%}" for share in shares]
        rows.append([*direction, *(f"{native:.4f}" for native in natives), *cells, *words])
    header = ["source", "target", *NATIVES, *METHODS, "closed, probes", "closed, gallery"]
    half = sum(share >= 0.5 for share in closed)
    summary = (
        f"{FIELDS[field]}, translated probes / translated gallery; of {len(closed)} gaps, **{half}** are closed by half or more "
        f"(median {sorted(closed)[len(closed) // 2]:.0%}):"
    )
    return [summary, table(header, rows)]


def _share(
    figure: Callable[[tuple[str, str], str, str], float], direction: tuple[str, str], side: str, native: float
) -> float | None:
    ridge = figure(direction, "ridge", side)
    gap = native - ridge
    return (figure(direction, METHODS[-1], side) - ridge) / gap if gap >= 0.002 else None
