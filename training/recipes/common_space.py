"""Methods `cca` and `two-sided`: a common space for several encoders, and one projection each, a bundle of its own.

Shapes: N pictures, D dimension of an encoder's space.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.calibration import Calibration, strictest
from models.documents import sha256_hex
from models.feature_set import FeatureSet
from models.space import Space
from models.split import SplitRule
from training.data.pairs import Pairs, join_all
from training.evaluation.calibration import calibrate
from training.evaluation.cross_space import CrossSpaceEvaluation, evaluate_translation, in_common_space
from training.export.half_weights import with_half_weights
from training.export.loaded import GraphTranslator
from training.export.parity import check_parity
from training.recipes.translators import TranslatorRecipe, check_enough, load, subjects
from training.trainers.fitted import CommonData, FittedSides, Translate

COMMON_METHODS: Mapping[str, TranslatorRecipe] = {
    "cca": TranslatorRecipe("training.trainers.common_space:fit_cca", "training.export.linear_graph:linear_graph"),
    "two-sided": TranslatorRecipe(
        "training.trainers.two_sided:fit_two_sided", "training.export.torch_graph:torch_graph"
    ),
}
"""Trainers take `CommonData` and give `FittedSides`."""
_PARITY_ROWS = 512
_CROSS = "translated"
"""The comparison with the other side."""


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

    @property
    def hardest(self) -> str:
        """The name of the other space against which it does worst on validation pictures."""
        return min(self.validation, key=lambda name: self.validation[name].rows["translated probes"].mean_cosine or 0.0)


@dataclass(frozen=True, slots=True)
class CommonSpace:
    """The space and everybody's projection into it."""

    space: Space
    projections: list[Projection]
    num_training_pictures: int
    hyperparameters: dict[str, JsonValue]


def make_common_space(
    feature_sets: Sequence[FeatureSet],
    rule: SplitRule,
    name: str,
    method: str = "cca",
    *,
    half_weights: bool = False,
    on_step: Callable[[str], None] = lambda what: None,
) -> CommonSpace:
    """Fit on the training part, measure and calibrate on the others. The space is defined by the projections' weights.

    Raises `TrainingError` where too little is left to train or validate on, `JoinError`.
    """
    joined = join_all(feature_sets)
    train, parts = _split(joined, rule.parts(joined[0]))
    graphs, parities, chosen = _fit(method, train, parts["validation"], rule.seed, on_step, half_weights=half_weights)
    digest = sha256_hex(b"".join(sha256_hex(graph).encode() for graph in graphs))
    dimension = GraphTranslator(graphs[0])(train[0].feature[:1]).shape[1]
    space = Space(name, dimension, f"sha256:{digest}")
    compared = {name: _compare(sides, graphs, space) for name, sides in parts.items()}
    projections = []
    for i, (side, graph, parity) in enumerate(zip(joined, graphs, parities, strict=True)):
        evaluations = {
            name: {other: evaluation for other, (evaluation, _) in sides[i].items()} for name, sides in compared.items()
        }
        measured = compared["validation"][i]
        others = [other.space for other in joined if other.space.name in measured]
        calibration = _of_all({other.fingerprint: measured[other.name][1] for other in others})
        projections.append(
            Projection(side, graph, parity, evaluations["validation"], evaluations.get("test", {}), calibration)
        )
    settings: dict[str, JsonValue] = {"dimension": dimension, "spaces": [side.space.name for side in joined]}
    return CommonSpace(space, projections, len(train[0]), settings | chosen)


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


def _fit(
    method: str,
    train: list[FeatureSet],
    validation: list[FeatureSet],
    seed: int,
    on_step: Callable[[str], None],
    *,
    half_weights: bool,
) -> tuple[list[bytes], list[float], dict[str, JsonValue]]:
    """Each side's graph, its parity with the model that it was made from, and the hyperparameters."""
    recipe = COMMON_METHODS[method]
    data = CommonData(
        [side.space.name for side in train],
        [side.feature for side in train],
        [side.feature for side in validation],
        seed,
        subjects(train[0]),
        validation[0].subject if validation[0].has_subjects else None,
        on_step,
    )
    fitted: FittedSides[Translate] = load(recipe.trainer)(data)
    graphs, parities = [], []
    for side, model in zip(validation, fitted.models, strict=True):
        graph: bytes = load(recipe.exporter)(model, side.space.dimension)
        parities.append(check_parity(graph, model, side.feature[:_PARITY_ROWS]))
        graphs.append(with_half_weights(graph) if half_weights else graph)
    return graphs, parities, fitted.hyperparameters


def _compare(
    sides: list[FeatureSet], graphs: list[bytes], space: Space
) -> dict[int, dict[str, tuple[CrossSpaceEvaluation, Calibration]]]:
    """Each side against each other one, by the number of the first and the name of the second."""
    translators = [GraphTranslator(graph) for graph in graphs]
    projected = [
        FeatureSet.build(space, side.columns() | {"feature": translate(side.feature)})
        for side, translate in zip(sides, translators, strict=True)
    ]
    found: dict[int, dict[str, tuple[CrossSpaceEvaluation, Calibration]]] = {}
    for i, (side, translate) in enumerate(zip(sides, translators, strict=True)):
        found[i] = {}
        for j, other in enumerate(sides):
            if i != j:
                pairs = Pairs(side, projected[j])
                evaluation = in_common_space(evaluate_translation(pairs, translate))
                found[i][other.space.name] = evaluation, _without_native_target(calibrate(pairs, projected[i].feature))
    return found


def _without_native_target(calibration: Calibration) -> Calibration:
    return replace(
        calibration,
        points={name: points for name, points in calibration.points.items() if not name.startswith("native-target")},
        scales={name: scale for name, scale in calibration.scales.items() if not name.startswith("native-target")},
    )


def _of_all(calibrations: Mapping[str, Calibration]) -> Calibration:
    """What was measured with each other space, by its fingerprint, and what holds with any of them.

    That is the highest threshold at each rate that all state, so that no comparison is above its rate. What this
    encoder's own features are compared with among themselves is the same whatever the other space is.
    """
    of_any = next(iter(calibrations.values()))
    against = {other: found.points[_CROSS] for other, found in calibrations.items() if _CROSS in found.points}
    scales_against = {other: found.scales[_CROSS] for other, found in calibrations.items() if _CROSS in found.scales}
    points = {name: found for name, found in of_any.points.items() if name != _CROSS}
    scales = {name: scale for name, scale in of_any.scales.items() if name != _CROSS}
    if len(against) == len(calibrations):
        points[_CROSS] = tuple(
            max(at_one_rate, key=lambda point: (point.threshold, point.fnmr))
            for at_one_rate in zip(*against.values(), strict=False)
        )
    if len(scales_against) == len(calibrations):
        scales[_CROSS] = strictest(list(scales_against.values()))
    stated = {name: found for name, found in points.items() if found}
    return Calibration(stated, against, of_any.counted, scales, scales_against)
