"""What each idea adds to a translator, alone and together, on one pair of encoders, both directions and both sides."""

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from statistics import mean

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.routes import VIEWS
from benchmarks.translation import SEEDS, SIDES, TEST, VALIDATION
from models.bundle import COMMON_SPACE_METHODS
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.pairs import join_by_image
from training.evaluation.cross_space import CrossSpaceEvaluation
from training.recipes.common_space import make_common_space
from training.recipes.translators import SplitPairs, fit_methods

PAIR = ("mobilefacenet-128", "edgeface-xxs-512")
BLENDS = 3
DATA = {
    "plain": "as they are",
    "views": f"`--views {VIEWS}`",
    "blends": f"`--views {VIEWS} --blends {BLENDS}`",
    "others": f"`--views {VIEWS}`, photos of other sets besides",
}
ROWS = (
    ("ridge", "plain"),
    ("ridge", "views"),
    ("cca", "plain"),
    ("cca", "views"),
    ("residual-mlp", "plain"),
    ("residual-mlp", "views"),
    ("residual-mlp", "blends"),
    ("residual-mlp", "others"),
    ("contrastive-mlp", "plain"),
    ("contrastive-mlp", "views"),
    ("two-sided", "plain"),
    ("two-sided", "views"),
    ("two-sided", "blends"),
    ("two-sided", "others"),
)
FIELDS = ("rank1", "tar_far_1e3")
Row = tuple[str, str]
Figure = tuple[tuple[str, str], str, str]
"""Direction, side and field."""


def measure(faces: Faces) -> str:
    """Every row on every seed."""
    for name in PAIR:
        faces.features(name, VIEWS, BLENDS)
        faces.photo_features(name, VIEWS)
    # One process and one thread a core: small networks gain nothing from more threads.
    os.environ["OMP_NUM_THREADS"] = "1"
    work = [(faces, seed, row) for row in reversed(ROWS) for seed in SEEDS]
    found: dict[Row, list[dict[Figure, float]]] = defaultdict(list)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for (_, _, row), figures in zip(work, pool.map(_row, *zip(*work, strict=True)), strict=True):
            found[row].append(figures)
    directions = (PAIR, PAIR[::-1])
    columns = [(direction, side, field) for direction in directions for side in SIDES for field in FIELDS]
    rows = []
    for row in ROWS:
        values = [mean(figures[column] for figures in found[row]) for column in columns]
        pairs = [f"{rank1:.4f} / {tar:.4f}" for rank1, tar in zip(values[::2], values[1::2], strict=True)]
        rows.append([row[0], DATA[row[1]], *pairs, f"**{mean(values):.4f}**"])
    natives = [
        " / ".join(f"{mean(one[(PAIR, native, field)] for one in found[ROWS[0]]):.4f}" for field in FIELDS)
        for native in ("native source", "native target")
    ]
    header = ["method", "fitted on faces", *(f"{' to '.join(d)}, {s}" for d in directions for s in SIDES), "mean"]
    return (
        f"Rank-1 / TAR at FAR 1e-3, mean over seeds {', '.join(map(str, SEEDS))}, split and protocol as above; native "
        f"{PAIR[0]} {natives[0]}, native {PAIR[1]} {natives[1]}.\n\n{table(header, rows)}"
    )


def _row(faces: Faces, seed: int, row: Row) -> dict[Figure, float]:
    method, data = row
    rule = SplitRule("subject", seed, VALIDATION, TEST)
    sides = [_features(faces, name, data, rule) for name in PAIR]
    if method in COMMON_SPACE_METHODS:
        common = make_common_space(sides, rule, "common", method)
        evaluations = [next(iter(projection.test.values())) for projection in common.projections]
    else:
        evaluations = [_translated(ordered, rule, method) for ordered in (sides, sides[::-1])]
    return {
        (direction, side, field): float(getattr(figures, field))
        for direction, evaluation in zip((PAIR, PAIR[::-1]), evaluations, strict=True)
        for side, figures in evaluation.rows.items()
        for field in FIELDS
    }


def _translated(sides: Sequence[FeatureSet], rule: SplitRule, method: str) -> CrossSpaceEvaluation:
    (fitted,) = fit_methods(SplitPairs.of(join_by_image(*sides), rule), method, rule.seed)
    assert fitted.test is not None
    return fitted.test


def _features(faces: Faces, name: str, data: str, rule: SplitRule) -> FeatureSet:
    features = faces.features(name, VIEWS, BLENDS)
    if data == "blends":
        return features
    features = features.take(~features.is_blend)
    if data == "plain":
        return features.originals()
    if data == "views":
        return features
    others = faces.photo_features(name, VIEWS)
    # Only to learn from, so that all rows are measured on the same people.
    others = others.take(rule.parts(others) == "train")
    joined = {
        key: np.concatenate([features.columns()[key], others.columns()[key]]) for key in ("feature", "image", "subject")
    }
    return FeatureSet.build(features.space, joined)
