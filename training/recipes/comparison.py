"""Every method on one pair of spaces, side by side: accuracy both ways, speed, size.

Shapes: N rows, S source dimension.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from models.bundle import COMMON_SPACE_METHODS
from models.features import unit_features
from models.runtime import Device, Session
from models.split import SplitRule
from training.data.pairs import Pairs
from training.errors import TrainingError
from training.evaluation.cross_space import CrossSpaceEvaluation, Figures
from training.recipes.common_space import make_common_space
from training.recipes.translators import METHODS, STUDENT, Extras, FittedMethod, SplitPairs, fit_methods
from training.trainers.fitted import Workplace

LINEAR = ("procrustes", "ridge", "low-rank")
QUICK = (*LINEAR, "residual-mlp", "cca", "two-sided", "fc")
"""What needs no pictures, in the order of the table."""
WITH_PICTURES = ("r3an", STUDENT)
_ROWS_A_RUN = 1024
_SECONDS = 0.5
_RUNS = 5


@dataclass(frozen=True, slots=True)
class ComparedMethod:
    """A row of the table."""

    method: str
    probes: Figures
    """Source features brought to a native gallery of the target space."""
    gallery: Figures
    """Native probes of the target space in a gallery of source features brought there."""
    vectors_per_second: float
    """Of source features through ONNX Runtime, 1,024 at once, the median of several runs."""
    num_bytes: int
    """Of the model that source features go through."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, and what they were measured on."""

    source: str
    target: str
    measured_on: str
    evaluation: CrossSpaceEvaluation
    """Of any method: native and untranslated rows are the same for all."""
    methods: list[ComparedMethod]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        document = asdict(self)
        evaluation = document.pop("evaluation")
        kept = {name: row for name, row in evaluation.pop("rows").items() if not name.startswith("translated")}
        return document | {"subjects": evaluation, "baselines": kept}


def compare_methods(
    pairs: Pairs,
    parts: SplitPairs,
    methods: Sequence[str],
    extras: Extras,
    *,
    device: Device = "auto",
    folder: Path,
    on_method: Callable[[str], None] = lambda name: None,
) -> Comparison:
    """Fit each method on the training part of `pairs`, and measure it on the test part, or validation where there is none.

    What is trained for long keeps its checkpoints below `folder`. Raises `TrainingError`.
    """
    found: list[ComparedMethod] = []
    teacher: FittedMethod | None = None
    baseline: CrossSpaceEvaluation | None = None
    # A student learns from the R3AN that is compared with it, wherever either stands.
    for method in sorted(methods, key=lambda name: name == STUDENT):
        on_method(method)
        if method in COMMON_SPACE_METHODS:
            evaluation, graph = _fit_common(pairs, parts.rule, method)
        else:
            own = replace(extras, workplace=_workplace(extras.workplace, folder / method))
            if method == STUDENT and teacher is not None:
                own = replace(own, teacher=teacher.translate)
            try:
                (fitted,) = fit_methods(parts, method, parts.rule.seed, extras=own)
            except TrainingError as failure:
                raise TrainingError(f"{method}: {failure}; or compare without it: --methods") from None
            teacher = fitted if method == "r3an" else teacher
            evaluation, graph = fitted.test or fitted.validation, fitted.graph
            baseline = baseline or evaluation
        rows = evaluation.rows
        speed = vectors_per_second(graph, parts.train.source.space.dimension, device)
        gallery = rows.get("translated gallery", Figures())
        found.append(ComparedMethod(method, rows["translated probes"], gallery, speed, len(graph)))
    if baseline is None:
        (fitted,) = fit_methods(parts, LINEAR[0], parts.rule.seed)
        baseline = fitted.test or fitted.validation
    found.sort(key=lambda row: methods.index(row.method))
    part = "validation" if parts.test is None else "test"
    spaces = (parts.train.source.space.name, parts.train.target.space.name)
    return Comparison(*spaces, f"{part} {parts.rule.by}s", baseline, found)


def vectors_per_second(graph: bytes, num_source: int, device: Device = "auto") -> float:
    """How many features a second go through the graph."""
    session = Session(graph, device=device)
    rows_NS = unit_features(np.random.default_rng(0).normal(size=(_ROWS_A_RUN, num_source)).astype(np.float32))
    session.run(rows_NS)
    rates = []
    for _ in range(_RUNS):
        started, num_rows = time.perf_counter(), 0
        while num_rows == 0 or time.perf_counter() - started < _SECONDS / _RUNS:
            session.run(rows_NS)
            num_rows += _ROWS_A_RUN
        rates.append(num_rows / (time.perf_counter() - started))
    return median(rates)


def _fit_common(pairs: Pairs, rule: SplitRule, method: str) -> tuple[CrossSpaceEvaluation, bytes]:
    common = make_common_space([pairs.source, pairs.target], rule, f"{method}-space", method)
    of_source = common.projections[0]
    (evaluation,) = (of_source.test or of_source.validation).values()
    return evaluation, of_source.graph


def _workplace(workplace: Workplace, folder: Path) -> Workplace:
    folder.mkdir(parents=True, exist_ok=True)
    return replace(workplace, checkpoint=folder / "checkpoint.npz")


def needs_pictures(method: str) -> bool:
    """Whether the method learns from the pictures that the features were made from."""
    paths = METHODS[method].paths if method in METHODS else None
    return paths is not None and paths.need_pictures
