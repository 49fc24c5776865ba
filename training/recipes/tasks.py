"""Methods of `fit` that train one network for three tasks: how it is branched, exported and measured. Galleries are made anew.

Shapes: N pictures, C people who are known.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.calibration import PHOTO, Calibration
from models.documents import sha256_hex
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.labels import labels_json, parse_labels
from models.runtime import Session
from models.space import Space
from models.split import Part, SplitRule
from training.data.encoders import Encoder
from training.data.modalities import ModalityParts
from training.errors import TrainingError
from training.evaluation.cross_modal import AmongPhotos, among_photos
from training.evaluation.tasks import ClosedSetFigures, TaskFigures, accuracy, task_figures
from training.export.parity import check_parity
from training.recipes.adapted import merit_of
from training.recipes.encoders import PARITY_PICTURES
from training.recipes.modal_pictures import PARITY, ModalPictures
from training.recipes.modalities import calibrate_sides, measured_photos, own_photos, photo_metrics
from training.recipes.multi_task import VARIANTS, small
from training.recipes.shares import best_share
from training.recipes.translators import load
from training.trainers.fitted import Workplace
from training.trainers.multi_task_recipe import MultiTaskRecipe
from training.trainers.weak_strong import EncodedPictures

METHODS = tuple(VARIANTS)
OF_AN_ENCODER = tuple(name for name, variant in VARIANTS.items() if variant(small()).given[0] > 0)
"""Those that train the first branch, which is the encoder."""
IntArray = npt.NDArray[np.int64]
CARICATURE = "caricature"
"""The modality of which more can be made of photos."""
HELD = 0.1
"""Of the pictures of people who are learned from, those that are kept apart, by which it is told how well these are known."""
LEFT = ("learned", "held", "validation", "test", "gallery", "checkpoint.npz", "checkpoint.draft")
"""What an interrupted training leaves in its folder."""
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class TaskExtras:
    """What they take besides features."""

    pictures: ModalPictures
    recipe: Callable[[], MultiTaskRecipe] = small
    workplace: Workplace = field(default_factory=Workplace)
    held: float = HELD


@dataclass(frozen=True, slots=True)
class Classifier:
    """A closed-set classifier as it is exported."""

    graph: bytes
    labels: tuple[str, ...]
    space: Space
    """How pictures are prepared for it; nothing is compared there."""
    modality: str


@dataclass(frozen=True, slots=True)
class LearnedTasks:
    """Rows of the training people: what is learned from, and what is kept apart to tell how well they are known."""

    learned: FeatureSet
    held: FeatureSet | None
    num_of_one: int
    """People of whom there is one modality alone."""


@dataclass(frozen=True, slots=True)
class MeasuredTasks:
    """Weak pictures of people whom it has not seen, and photos; by the encoder as it was trained, and untouched as it came."""

    among_all: TaskFigures | None
    """Photos of everybody: those whom it was trained on it may tell from strangers by that alone. None where verification was not
    trained, as the next.
    """
    among_own: TaskFigures | None
    """Photos of those same people."""
    untouched_among_all: TaskFigures
    untouched_among_own: TaskFigures


@dataclass(frozen=True, slots=True)
class FittedNetwork:
    """The encoder and the classifiers, how they do, and how the training went."""

    method: str
    encoder: Encoder
    """Of the first branch, whether that was trained or not."""
    weak: Classifier | None
    """None of a task that was not trained, as the next."""
    photo: Classifier | None
    hyperparameters: dict[str, JsonValue]
    loss_ET: FloatArray
    """Of every task in every step, `nan` where it had none."""
    weight_ET: FloatArray
    num_learned: int
    """Pictures."""
    num_people: int
    num_of_one: int
    part: Part
    """Whose pictures are measured: test people's, or validation people's where there are no others."""
    measured: MeasuredTasks
    known: ClosedSetFigures
    calibration: Calibration
    photos: AmongPhotos | None

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundles' manifests say of it."""
        return {
            "part": self.part,
            **asdict(self.measured),
            "known": asdict(self.known),
            "num_people_of_one_modality": self.num_of_one,
            **photo_metrics(self.photos),
        }


def fit_network(parts: ModalityParts, method: str, seed: int, extras: TaskExtras) -> FittedNetwork:
    """Train, choose how far to go, export, encode both modalities anew, and measure. Raises `TrainingError`."""
    pictures = extras.pictures
    if not parts.train.is_one_space:
        raise TrainingError(f"--method {method} trains one encoder: both sets must be of it")
    pictures.check(parts, with_strong=True)
    recipe = for_modality(VARIANTS[method](extras.recipe()), parts.modality)
    chosen = learned_of(parts, extras.held, seed)
    # Long before they are written.
    parse_labels(labels_json(np.unique(chosen.learned.subject).tolist()), what="subjects")
    names, data = _task_pictures(chosen.learned, parts, seed, extras)
    trainer = importlib.import_module("training.trainers.multi_task")
    fitted = trainer.fit_tasks(data, recipe)
    share = best_share(fitted.encoder_at, *merit_of(parts, pictures, is_threshold_asked=True))
    encoder = pictures.exported(fitted.encoder_at(share), parts.validation)
    few = chosen.learned.take(np.arange(min(len(chosen.learned), PARITY_PICTURES)))
    exported = _Exporter(pictures, names, few)
    is_trained, *are_known = (given > 0 for given in recipe.given)
    of_weak, of_photos = (
        exported(model, known_C, modality) if is_known else None
        for model, known_C, modality, is_known in zip(
            fitted.classifiers, fitted.known, (parts.modality, PHOTO), are_known, strict=True
        )
    )
    gallery = pictures.encoded(parts.gallery, encoder, "gallery")
    validation = pictures.encoded(parts.validation, encoder, "validation")
    asked, before = (validation, parts.validation)
    if parts.test is not None:
        asked, before = pictures.encoded(parts.test, encoder, "test"), parts.test
    return FittedNetwork(
        method=method,
        encoder=encoder,
        weak=of_weak,
        photo=of_photos,
        hyperparameters=fitted.hyperparameters | {"encoder_share": share, "held": extras.held},
        loss_ET=fitted.history.loss_ET,
        weight_ET=fitted.history.weight_ET,
        num_learned=len(chosen.learned),
        num_people=len(names),
        num_of_one=chosen.num_of_one,
        part="validation" if parts.test is None else "test",
        measured=_measured((before, parts.gallery), (asked, gallery), is_trained=is_trained),
        known=_known(chosen.held, of_weak, of_photos, pictures),
        calibration=calibrate_sides(validation, own_photos(replace(parts, gallery=gallery), validation)),
        photos=among_photos(parts.gallery, gallery, measured_photos(parts)),
    )


def for_modality(recipe: MultiTaskRecipe, modality: str) -> MultiTaskRecipe:
    """Without what is for caricatures alone, where these are none."""
    return recipe if modality == CARICATURE else replace(recipe, num_caricatures=0)


def _measured(
    before: tuple[FeatureSet, FeatureSet], after: tuple[FeatureSet, FeatureSet], *, is_trained: bool
) -> MeasuredTasks:
    """Weak pictures and everybody's photos, by the encoder as it came and as it was trained."""
    is_own = np.isin(before[1].subject, np.unique(before[0].subject))
    return MeasuredTasks(
        among_all=task_figures(*after) if is_trained else None,
        among_own=task_figures(after[0], after[1].take(is_own)) if is_trained else None,
        untouched_among_all=task_figures(*before),
        untouched_among_own=task_figures(before[0], before[1].take(is_own)),
    )


def learned_of(parts: ModalityParts, held: float, seed: int) -> LearnedTasks:
    """The training people's pictures of both modalities, those without a photo too. Which are kept apart a hash of their keys
    says, and of nobody all of one modality.
    """
    sides = [parts.train.weak, parts.train.strong]
    if parts.train.lonely is not None:
        sides.append(parts.train.lonely)
    everything = _together(sides)
    assert everything.modality is not None
    rule = SplitRule("image", seed, held, 0.0)
    # A view goes with its picture.
    is_held_N = rule.parts(everything) == "validation"
    is_weak_N = everything.modality != PHOTO
    for subject in np.unique(everything.subject):
        for is_of_N in (is_weak_N, ~is_weak_N):
            rows = np.flatnonzero((everything.subject == subject) & is_of_N)
            if len(rows) and is_held_N[rows].all():
                is_held_N[rows[everything.picture[rows] == everything.picture[rows[0]]]] = False
    learned = everything.take(~is_held_N)
    of_weak, of_photos = (np.unique(everything.subject[is_of_N]) for is_of_N in (is_weak_N, ~is_weak_N))
    return LearnedTasks(
        learned,
        everything.take(is_held_N).originals() if is_held_N.any() else None,
        len(np.setxor1d(of_weak, of_photos)),
    )


def _together(sides: list[FeatureSet]) -> FeatureSet:
    shared = set.intersection(*(set(side.columns()) for side in sides))
    columns = {name: np.concatenate([side.columns()[name] for side in sides]) for name in sorted(shared)}
    return FeatureSet.build(sides[0].space, columns)


def _task_pictures(
    learned: FeatureSet, parts: ModalityParts, seed: int, extras: TaskExtras
) -> tuple[npt.NDArray[np.str_], Any]:
    """The names of the classes, and what a trainer takes."""
    names, class_N = np.unique(learned.subject, return_inverse=True)
    pictures = extras.pictures
    decoded = pictures.decoded(learned, "learned")
    assert learned.modality is not None
    data = importlib.import_module("training.trainers.multi_task").TaskPictures(
        EncodedPictures(decoded, pictures.encoder.preparation, pictures.encoder.model),
        learned.feature,
        class_N.astype(np.int64),
        learned.modality == parts.modality,
        len(names),
        seed,
        extras.workplace,
    )
    return names, data


@dataclass(frozen=True, slots=True)
class _Exporter:
    """Turns trained classifiers into what a bundle is made of."""

    pictures: ModalPictures
    names: npt.NDArray[np.str_]
    few: FeatureSet
    """By whose pictures graphs are compared with what they came of."""

    def __call__(self, model: Callable[[FloatArray], FloatArray], known_C: IntArray, modality: str) -> Classifier:
        """Raises `ExportError`."""
        preparation = self.pictures.encoder.preparation
        graph: bytes = load("training.export.torch_graph:classifier_torch_graph")(model, preparation.resize)
        check_parity(graph, model, self.pictures.prepared(self.few), tolerance=PARITY)
        space = Space(f"{self.pictures.space}-{modality}", len(known_C), f"sha256:{sha256_hex(graph)}", preparation)
        return Classifier(graph, tuple(self.names[known_C].tolist()), space, modality)


def _known(
    held: FeatureSet | None, of_weak: Classifier | None, of_photos: Classifier | None, pictures: ModalPictures
) -> ClosedSetFigures:
    """How well people are known who were learned from, on their pictures that were not."""
    if held is None or held.modality is None:
        return ClosedSetFigures(None, None, None, None, 0, 0)
    weak, photos = (_some(held, is_of) for is_of in (held.modality != PHOTO, held.modality == PHOTO))

    def share(classifier: Classifier | None, side: FeatureSet | None) -> float | None:
        if classifier is None or side is None:
            return None
        return accuracy(_probabilities(classifier, side, pictures), side.subject, classifier.labels)

    return ClosedSetFigures(
        photo=share(of_photos, photos),
        weak=share(of_weak, weak),
        weak_by_photo=share(of_photos, weak),
        photo_by_weak=share(of_weak, photos),
        num_photos=0 if photos is None else len(photos),
        num_weak=0 if weak is None else len(weak),
    )


def _some(feature_set: FeatureSet, is_of_N: npt.NDArray[np.bool_]) -> FeatureSet | None:
    return feature_set.take(is_of_N) if is_of_N.any() else None


def _probabilities(classifier: Classifier, side: FeatureSet, pictures: ModalPictures) -> FloatArray:
    session = Session(classifier.graph, device="cpu")
    blocks = [side.take(np.arange(start, min(start + _AT_ONCE, len(side)))) for start in range(0, len(side), _AT_ONCE)]
    return np.concatenate([session.run(pictures.prepared(block)) for block in blocks])
