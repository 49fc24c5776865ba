"""Methods of `facebridge-train fit`: how each is trained and exported, and how `auto` chooses among them.

Methods are named by module and function and loaded when used: the closed-form ones need no torch, whose import takes
longer than their fit.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from models.split import SplitRule
from training.data.pairs import Pairs
from training.errors import TrainingError
from training.evaluation.cross_space import CrossSpaceEvaluation, evaluate_translation
from training.export.half_weights import with_half_weights
from training.export.loaded import GraphTranslator
from training.export.parity import check_parity
from training.recipes.r3an import ARCHITECTURES, small
from training.trainers.fitted import Fitted, TrainingData, Translate, Workplace
from training.trainers.r3an_recipe import Paths, R3ANRecipe

MIN_TRAINING_PAIRS = 32
PARITY_ROWS = 512
_GENERATOR_EXPORTER = "training.export.torch_graph:generator_torch_graph"


@dataclass(frozen=True, slots=True)
class TranslatorRecipe:
    """A trainer (`TrainingData` to `Fitted`) and an exporter (model and source dimension to ONNX bytes)."""

    trainer: str
    exporter: str
    paths: Paths | None = None
    """Of R3AN, for those that are trained as it is; they take a recipe too."""
    is_candidate: bool = True
    """Of `auto`, which fits what takes a minute and no pictures."""


METHODS: dict[str, TranslatorRecipe] = {
    "procrustes": TranslatorRecipe(
        "training.trainers.linear:fit_procrustes", "training.export.linear_graph:linear_graph"
    ),
    "ridge": TranslatorRecipe("training.trainers.linear:fit_ridge", "training.export.linear_graph:linear_graph"),
    "low-rank": TranslatorRecipe("training.trainers.linear:fit_low_rank", "training.export.linear_graph:linear_graph"),
    "residual-mlp": TranslatorRecipe(
        "training.trainers.residual_mlp:fit_residual_mlp", "training.export.torch_graph:torch_graph"
    ),
    "contrastive-mlp": TranslatorRecipe(
        "training.trainers.residual_mlp:fit_contrastive_mlp",
        "training.export.torch_graph:torch_graph",
        is_candidate=False,
    ),
    "r3an-student": TranslatorRecipe(
        "training.trainers.student:fit_r3an_student",
        "training.export.torch_graph:torch_graph",
        ARCHITECTURES["r3an"],
        is_candidate=False,
    ),
    **{
        name: TranslatorRecipe(
            f"training.trainers.r3an:{'fit_fully_connected' if name == 'fc' else 'fit_r3an'}",
            "training.export.torch_graph:torch_graph",
            paths,
            is_candidate=False,
        )
        for name, paths in ARCHITECTURES.items()
    },
}
STUDENT = "r3an-student"
AUTO = "auto"
CANDIDATES = tuple(name for name, recipe in METHODS.items() if recipe.is_candidate)
"""Of `auto`."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What the methods that are trained as R3AN take besides pairs."""

    recipe: Callable[[Paths], R3ANRecipe] = small
    picture_NHW3: npt.NDArray[np.uint8] | None = None
    """Of the training pairs, in their order."""
    workplace: Workplace = field(default_factory=Workplace)
    with_generator: bool = False
    """Export the reconstruction path too, where it is taught to paint."""
    teacher: Translate | None = None
    """Of a student, where it is trained already."""


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
        check_enough(pairs.source, part)
        train, validation, test = (part == name for name in ("train", "validation", "test"))
        measured = [pairs.take(rows).originals() if rows.any() else None for rows in (validation, test)]
        assert measured[0] is not None
        return cls(rule, pairs.take(train), measured[0], measured[1])


@dataclass(frozen=True, slots=True)
class FittedMethod:
    """One method's result: the model, its exported graph, and how it did on subjects it was not fitted to."""

    method: str
    fitted: Fitted[Translate]
    graph: bytes
    translate: Translate
    """The graph, as it will be served."""
    parity: float
    validation: CrossSpaceEvaluation
    test: CrossSpaceEvaluation | None
    generator: bytes | None = None
    """The graph of the reconstruction path, where it was asked for."""

    @property
    def rank1(self) -> float:
        """Mean of both sides on validation subjects; 0 where these are not known."""
        sides = (self.validation.rows.get(name) for name in ("translated probes", "translated gallery"))
        return sum((side and side.rank1) or 0.0 for side in sides) / 2

    @property
    def mean_cosine(self) -> float:
        """On validation pictures."""
        return self.validation.rows["translated probes"].mean_cosine or 0.0


def fit_methods(
    parts: SplitPairs,
    method: str,
    seed: int,
    *,
    half_weights: bool = False,
    extras: Extras | None = None,
    on_method: Callable[[str], None] = lambda name: None,
) -> list[FittedMethod]:
    """Fit one method, or all for `auto`, the best first. `on_method` hears each name before its fit."""
    names = CANDIDATES if method == AUTO else (method,)
    results = []
    for name in names:
        on_method(name)
        results.append(_fit(name, parts, seed, extras or Extras(), half_weights=half_weights))
    return best_first(results)


def best_first(results: list[FittedMethod]) -> list[FittedMethod]:
    """The method to choose, then the others by rank-1 and mean cosine.

    Methods whose rank-1 p is within one standard error sqrt(p (1 - p) / probes) of the best's cannot be told apart by
    so few probes; of these the one with the highest mean cosine comes first. Without subjects every p is 0, and the
    mean cosine decides alone.

    Source: Breiman et al., Classification and Regression Trees (1984), Sec. 3.4.3, the 1-SE rule. Deviation: the
    highest mean cosine in place of the simplest model.
    """
    best = max(result.rank1 for result in results)
    error = math.sqrt(best * (1 - best) / max(1, results[0].validation.num_probes))
    chosen = max((result for result in results if result.rank1 >= best - error), key=lambda result: result.mean_cosine)
    others = [result for result in results if result is not chosen]
    return [chosen, *sorted(others, key=lambda result: (result.rank1, result.mean_cosine), reverse=True)]


def _fit(method: str, parts: SplitPairs, seed: int, extras: Extras, *, half_weights: bool) -> FittedMethod:
    recipe = METHODS[method]
    data = training_data(parts.train, parts.validation, seed, extras)
    settings = () if recipe.paths is None else (extras.recipe(recipe.paths),)
    fitted: Fitted[Translate] = load(recipe.trainer)(data, *settings)
    num_source = data.source_NS.shape[1]
    graph: bytes = load(recipe.exporter)(fitted.model, num_source)
    parity = check_parity(graph, fitted.model, _parity_rows(parts))
    graph = with_half_weights(graph) if half_weights else graph
    translate = GraphTranslator(graph)
    test = evaluate_translation(parts.test, translate) if parts.test is not None else None
    generator = load(_GENERATOR_EXPORTER)(fitted.model, num_source) if extras.with_generator else None
    validation = evaluate_translation(parts.validation, translate)
    return FittedMethod(method, fitted, graph, translate, parity, validation, test, generator)


def training_data(train: Pairs, validation: Pairs, seed: int, extras: Extras | None = None) -> TrainingData:
    """What a trainer takes."""
    extras = extras or Extras()
    return TrainingData(
        train.source.feature,
        train.target.feature,
        validation.source.feature,
        validation.target.feature,
        seed,
        extras.picture_NHW3,
        subjects(train.source),
        extras.workplace,
        extras.teacher,
    )


def check_enough(feature_set: FeatureSet, part: npt.NDArray[np.str_]) -> None:
    """Raises `TrainingError` where too few pictures, views aside, are left to train or validate on."""
    part = part[feature_set.picture == feature_set.image]
    num_train, num_validation = int((part == "train").sum()), int((part == "validation").sum())
    if num_train < MIN_TRAINING_PAIRS or num_validation < 2:
        num_people = len(np.unique(feature_set.subject)) if feature_set.has_subjects else 0
        people = {0: "", 1: " of one person"}.get(num_people, f" of {num_people} people")
        remedy = "keep smaller shares" if num_train < MIN_TRAINING_PAIRS else "keep a larger share for --validation"
        raise TrainingError(
            f"{len(part)} common pictures{people} leave {num_train} for training and {num_validation} for validation; at "
            f"least {MIN_TRAINING_PAIRS} and 2 are needed: bring more pictures{' of more people' * bool(people)}, or {remedy}"
        )


def subjects(train: FeatureSet) -> npt.NDArray[np.int64]:
    """A number for whoever is on each picture; where that is not known, for the picture that a view is of.

    A blend of two faces is nobody else's.
    """
    known = train.subject if train.has_subjects else train.picture
    keys = np.where(train.is_blend, train.image, known)
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def _parity_rows(parts: SplitPairs) -> FloatArray:
    return parts.validation.source.feature[:PARITY_ROWS]


def load(place: str) -> Callable[..., Any]:
    """The function at `module:name`."""
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function
