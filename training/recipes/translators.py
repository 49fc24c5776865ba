"""Methods of `facebridge-train fit`: how each is trained and exported, and how `auto` chooses among them.

Methods are named by module and function and loaded when used: the closed-form ones need no torch, whose import takes
longer than their fit.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from models.features import FloatArray
from models.split import SplitRule
from training.data.pairs import Pairs
from training.errors import TrainingError
from training.evaluation.cross_space import CrossSpaceEvaluation, evaluate_translation
from training.export.parity import check_parity
from training.trainers.fitted import Fitted, TrainingData, Translate

MIN_TRAINING_PAIRS = 32
PARITY_ROWS = 512


@dataclass(frozen=True, slots=True)
class TranslatorRecipe:
    """A trainer (`TrainingData` to `Fitted`) and an exporter (model and source dimension to ONNX bytes)."""

    trainer: str
    exporter: str


METHODS: dict[str, TranslatorRecipe] = {
    "procrustes": TranslatorRecipe(
        "training.trainers.linear:fit_procrustes", "training.export.linear_graph:linear_graph"
    ),
    "ridge": TranslatorRecipe("training.trainers.linear:fit_ridge", "training.export.linear_graph:linear_graph"),
    "low-rank": TranslatorRecipe("training.trainers.linear:fit_low_rank", "training.export.linear_graph:linear_graph"),
    "residual-mlp": TranslatorRecipe(
        "training.trainers.residual_mlp:fit_residual_mlp", "training.export.torch_graph:torch_graph"
    ),
}
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class SplitPairs:
    """Pairs by part; validation and test hold other subjects than training, and may be empty."""

    rule: SplitRule
    train: Pairs
    validation: Pairs
    test: Pairs | None

    @classmethod
    def of(cls, pairs: Pairs, rule: SplitRule) -> "SplitPairs":
        """Split by the rule. Raises `TrainingError` where too little is left to train or validate on."""
        part = rule.parts(pairs.source)
        train, validation, test = (part == name for name in ("train", "validation", "test"))
        if train.sum() < MIN_TRAINING_PAIRS or validation.sum() < 2:
            raise TrainingError(
                f"{len(pairs)} common pictures leave {int(train.sum())} for training and {int(validation.sum())} for "
                f"validation; at least {MIN_TRAINING_PAIRS} and 2 are needed: bring more pictures or keep smaller shares"
            )
        return cls(rule, pairs.take(train), pairs.take(validation), pairs.take(test) if test.any() else None)


@dataclass(frozen=True, slots=True)
class FittedMethod:
    """One method's result: the model, its exported graph, and how it did on subjects it was not fitted to."""

    method: str
    fitted: Fitted[Translate]
    graph: bytes
    parity: float
    validation: CrossSpaceEvaluation
    test: CrossSpaceEvaluation | None

    @property
    def merit(self) -> tuple[float, ...]:
        """What `auto` compares: identification on validation subjects, then verification, then mean cosine."""
        sides = [
            self.validation.rows[name]
            for name in ("translated probes", "translated gallery")
            if name in self.validation.rows
        ]
        rank1 = sum(side.rank1 or 0.0 for side in sides)
        tar = sum(side.tar_far_1e3 or 0.0 for side in sides)
        return (rank1, tar, sides[0].mean_cosine or 0.0)


def fit_methods(
    parts: SplitPairs, method: str, seed: int, on_method: Callable[[str], None] = lambda name: None
) -> list[FittedMethod]:
    """Fit one method, or all for `auto`, the best first. `on_method` hears each name before its fit."""
    names = list(METHODS) if method == AUTO else [method]
    results = []
    for name in names:
        on_method(name)
        results.append(_fit(name, parts, seed))
    return sorted(results, key=lambda result: result.merit, reverse=True)


def _fit(method: str, parts: SplitPairs, seed: int) -> FittedMethod:
    recipe = METHODS[method]
    data = TrainingData(
        parts.train.source.feature,
        parts.train.target.feature,
        parts.validation.source.feature,
        parts.validation.target.feature,
        seed,
    )
    fitted: Fitted[Translate] = _load(recipe.trainer)(data)
    graph: bytes = _load(recipe.exporter)(fitted.model, data.source_NS.shape[1])
    parity = check_parity(graph, fitted.model, _parity_rows(parts))
    test = evaluate_translation(parts.test, fitted.model) if parts.test is not None else None
    return FittedMethod(method, fitted, graph, parity, evaluate_translation(parts.validation, fitted.model), test)


def _parity_rows(parts: SplitPairs) -> FloatArray:
    return parts.validation.source.feature[:PARITY_ROWS]


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
