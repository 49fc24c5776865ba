"""Methods `cca` and `two-sided`: a common space for several encoders, and one projection each, a bundle of its own.

Shapes: N pictures, D dimension of an encoder's space, K dimension of the common space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.calibration import Calibration
from models.confidence import ConfidenceModel
from models.documents import sha256_hex
from models.feature_set import FeatureSet
from models.features import FloatArray, unit_features
from models.space import Space
from models.split import SplitRule
from training.data.pairs import Pairs, join_all
from training.evaluation.calibration import HeldOut
from training.evaluation.common_space import calibrate_projection, of_all
from training.evaluation.cross_space import CrossSpaceEvaluation, evaluate_translation, in_common_space
from training.export.half_weights import with_half_weights
from training.export.loaded import GraphTranslator
from training.export.parity import check_parity
from training.recipes.confidence import fit_confidence
from training.recipes.cross_fitting import folds
from training.recipes.translators import SplitPairs, TranslatorRecipe, check_enough, load, subjects
from training.trainers.fitted import CommonData, FittedSides, Translate

COMMON_METHODS: Mapping[str, TranslatorRecipe] = {
    "cca": TranslatorRecipe("training.trainers.common_space:fit_cca", "training.export.linear_graph:linear_graph"),
    "two-sided": TranslatorRecipe(
        "training.trainers.two_sided:fit_two_sided", "training.export.torch_graph:torch_graph"
    ),
}
"""Trainers take `CommonData` and give `FittedSides`."""
_PARITY_ROWS = 512


@dataclass(frozen=True, slots=True)
class Projection:
    """One encoder's way into the common space, and how its features compare there with each other encoder's."""

    source: FeatureSet
    """All of its features that were there, seen in training or not."""
    graph: bytes
    parity: float
    validation: dict[str, CrossSpaceEvaluation]
    """By the name of the other space: probes and gallery of either side."""
    test: dict[str, CrossSpaceEvaluation]
    calibration: Calibration
    confidence: ConfidenceModel | None
    """In what comes of comparisons with the space against which it does worst."""
    compared: Pairs
    """With that space's projections, test pictures, or those of validation where there are none."""
    project: Translate

    @property
    def hardest(self) -> str:
        """The name of the other space against which it does worst on validation pictures."""
        return _hardest(self.validation)


def _hardest(validation: Mapping[str, CrossSpaceEvaluation]) -> str:
    return min(validation, key=lambda name: validation[name].rows["translated probes"].mean_cosine or 0.0)


@dataclass(frozen=True, slots=True)
class CommonSpace:
    """The space and everybody's projection into it."""

    space: Space
    projections: list[Projection]
    num_training_pictures: int
    hyperparameters: dict[str, JsonValue]
    num_people: list[int]
    """On whom thresholds were measured: of validation, then of each fold of training."""


@dataclass(frozen=True, slots=True)
class _Projected:
    """The same pictures seen by each encoder, and projected."""

    native: list[FeatureSet]
    common: list[FeatureSet]

    @classmethod
    def by(cls, models: Sequence[Translate], sides: list[FeatureSet], space: Space) -> "_Projected":
        common = [side.moved(space, model(side.feature)) for side, model in zip(sides, models, strict=True)]
        return cls(sides, common)

    def held_out(self, one: int, other: int) -> HeldOut:
        """What encoder `one` made of the pictures, to compare with what the other made of them."""
        return HeldOut(Pairs(self.native[one], self.common[other]), self.common[one].feature)


@dataclass(frozen=True, slots=True)
class _Fitter:
    """How the projections are fitted, to whomever."""

    method: str
    validation: list[FeatureSet]
    seed: int
    on_step: Callable[[str], None]

    def fit(self, train: list[FeatureSet], prefix: str = "") -> FittedSides[Translate]:
        """One projection a side; `prefix` stands before what `on_step` hears."""
        data = CommonData(
            [side.space.name for side in train],
            [side.feature for side in train],
            [side.feature for side in self.validation],
            self.seed,
            subjects(train[0]),
            self.validation[0].subject if self.validation[0].has_subjects else None,
            lambda what: self.on_step(prefix + what),
        )
        fitted: FittedSides[Translate] = load(COMMON_METHODS[self.method].trainer)(data)
        return fitted


def make_common_space(
    feature_sets: Sequence[FeatureSet],
    rule: SplitRule,
    name: str,
    method: str = "cca",
    *,
    half_weights: bool = False,
    num_folds: int = 0,
    with_confidence: bool = False,
    on_step: Callable[[str], None] = lambda what: None,
) -> CommonSpace:
    """Fit on the training part, measure and calibrate on the others. The space is defined by the projections' weights.

    With `num_folds`, thresholds are measured on training people too, by projections that have not seen a share of them.

    Raises `TrainingError` where too little is left to train or validate on, `JoinError`.
    """
    joined = join_all(feature_sets)
    train, parts = _split(joined, rule.parts(joined[0]))
    fitter = _Fitter(method, parts["validation"], rule.seed, on_step)
    fitted = fitter.fit(train)
    exported = [
        _export(method, side, model, half_weights=half_weights)
        for side, model in zip(parts["validation"], fitted.models, strict=True)
    ]
    digest = sha256_hex(b"".join(sha256_hex(graph).encode() for graph, _ in exported))
    models = [GraphTranslator(graph) for graph, _ in exported]
    space = Space(name, models[0](train[0].feature[:1]).shape[1], f"sha256:{digest}")
    measured = {part: _Projected.by(models, sides, space) for part, sides in parts.items()}
    crossed = _cross_fitted(fitter, train, models, space, num_folds)
    seen = _Projected.by(models, train, space) if with_confidence else None
    projections = []
    for one, (side, (graph, parity)) in enumerate(zip(joined, exported, strict=True)):
        on_step(f"measuring {side.space.name}")
        evaluated = {part: _evaluate(one, projected, models[one]) for part, projected in measured.items()}
        calibrations = _calibrate(one, measured["validation"], crossed)
        hardest = [other.space.name for other in joined].index(_hardest(evaluated["validation"]))
        confidence = None
        if seen:
            of_pair = [part.held_out(one, hardest) for part in (seen, measured["validation"], *crossed)]
            confidence = _fit_confidence(rule, of_pair, calibrations[joined[hardest].space.fingerprint])
        projections.append(
            Projection(
                side,
                graph,
                parity,
                evaluated["validation"],
                evaluated.get("test", {}),
                of_all(calibrations),
                confidence,
                measured.get("test", measured["validation"]).held_out(one, hardest).pairs,
                models[one],
            )
        )
    settings: dict[str, JsonValue] = {"dimension": space.dimension, "spaces": [side.space.name for side in joined]}
    people = [len(np.unique(one.native[0].subject)) for one in (measured["validation"], *crossed)]
    return CommonSpace(space, projections, len(train[0]), settings | fitted.hyperparameters, people)


def _split(
    joined: list[FeatureSet], part: npt.NDArray[np.str_]
) -> tuple[list[FeatureSet], dict[str, list[FeatureSet]]]:
    """What to train on, and what to measure on: validation, and test where there is one."""
    check_enough(joined[0], part)
    measured = {
        name: [side.take(part == name).originals() for side in joined]
        for name in ("validation", "test")
        if (part == name).any()
    }
    return [side.take(part == "train") for side in joined], measured


def _export(method: str, validation: FeatureSet, model: Translate, *, half_weights: bool) -> tuple[bytes, float]:
    """The graph, and its parity with the model that it was made from."""
    graph: bytes = load(COMMON_METHODS[method].exporter)(model, validation.space.dimension)
    parity = check_parity(graph, model, validation.feature[:_PARITY_ROWS])
    return with_half_weights(graph) if half_weights else graph, parity


def _cross_fitted(
    fitter: _Fitter, train: list[FeatureSet], models: Sequence[Translate], space: Space, num_folds: int
) -> list[_Projected]:
    """The training people by fold, projected by what has not seen them, and turned onto the common space of `models`: each
    fold's is another one, where the same is told in other directions. Scores stay as they are.
    """
    crossed = []
    for number, fold in enumerate(folds(train[0], fitter.seed, num_folds)):
        seen, unseen = ([side.take(rows) for side in train] for rows in (fold.is_seen_N, fold.is_measured_N))
        own = fitter.fit(seen, f"fold {number + 1}, ").models
        turn_KK = _turn(
            *(
                np.concatenate([model(side.feature) for side, model in zip(seen, fitted, strict=True)])
                for fitted in (own, models)
            )
        )
        turned = [_Turned(model, turn_KK) for model in own]
        crossed.append(_Projected.by(turned, unseen, space))
    return crossed


def _turn(feature_NK: FloatArray, onto_NK: FloatArray) -> FloatArray:
    """The rotation, or reflection, that brings features nearest to others; where these have fewer numbers it cuts.

    Source: Schönemann, A generalized solution of the orthogonal Procrustes problem (Psychometrika 1966).
    """
    u, _, vt = np.linalg.svd(feature_NK.T.astype(np.float64) @ onto_NK, full_matrices=False)
    turn_KK: FloatArray = (u @ vt).astype(np.float32)
    return turn_KK


@dataclass(frozen=True, slots=True)
class _Turned:
    """A projection, and a turn behind it."""

    model: Translate
    turn_KK: FloatArray

    def __call__(self, source_NS: FloatArray) -> FloatArray:
        return unit_features(self.model(source_NS) @ self.turn_KK)


def _evaluate(one: int, measured: _Projected, model: Translate) -> dict[str, CrossSpaceEvaluation]:
    """An encoder against each other one, by the other's name."""
    return {
        other.space.name: in_common_space(evaluate_translation(measured.held_out(one, number).pairs, model))
        for number, other in enumerate(measured.native)
        if number != one
    }


def _calibrate(one: int, validation: _Projected, crossed: Sequence[_Projected]) -> dict[str, Calibration]:
    """An encoder against each other one, by the fingerprint of the other's space."""
    found = {}
    for number, other in enumerate(validation.native):
        if number != one:
            unseen, *others = (part.held_out(one, number) for part in (validation, *crossed))
            found[other.space.fingerprint] = calibrate_projection(unseen.pairs, unseen.translated_NT, others)
    return found


def _fit_confidence(rule: SplitRule, of_pair: list[HeldOut], calibration: Calibration) -> ConfidenceModel | None:
    """From those trained on, those of validation, and the folds of those trained on."""
    seen, unseen, *crossed = of_pair
    parts = SplitPairs(rule, seen.pairs, unseen.pairs, None)
    return fit_confidence(parts, [unseen, *crossed], calibration, rule.seed, watches_target=False)
