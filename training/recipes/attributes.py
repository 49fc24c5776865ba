"""The way from pictures that are labelled in part to a network that tells classes and attributes, exported and measured.

Free of torch: trainer and exporter are loaded by name when used. Shapes: N pictures, K classes, M attributes.
"""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.attributes import AttributeTable, is_name
from models.bundle import Bundle
from models.documents import sha256_hex
from models.features import FloatArray
from models.runtime import Session
from models.space import InputPreparation, Space
from models.split import Part, SplitRule
from training.data.encoders import Encoder
from training.data.labelled import UNKNOWN, Labels, read_labels
from training.data.picture_store import decode_pictures
from training.data.relatedness import Relatedness, relatedness_of, unrelated
from training.data.sources import PictureItem, PictureSource
from training.errors import TrainingError
from training.evaluation.labels import (
    AttributeFigures,
    ClassFigures,
    attribute_figures,
    class_figures,
    left_out,
    measured_table,
)
from training.export.parity import check_parity
from training.recipes.coupled import VARIANTS, small
from training.recipes.encoders import PARITY_PICTURES, Labeller, prepared
from training.recipes.modal_pictures import PARITY
from training.recipes.translators import load
from training.trainers.coupled_recipe import CoupledRecipe
from training.trainers.fitted import Workplace
from training.trainers.weak_strong import EncodedPictures

METHODS = tuple(VARIANTS)
COUPLING = tuple(name for name, variant in VARIANTS.items() if variant(small()).is_coupled)
"""Those that need to know how classes and attributes hang together."""
LEFT = (
    "pictures.npy",
    "pictures.json",
    "checkpoint.npz",
    "checkpoint.draft",
    "teacher-checkpoint.npz",
    "student-checkpoint.npz",
)
"""What an interrupted training leaves in its folder."""
_AT_ONCE = 64
_SURE = 0.5


@dataclass(frozen=True, slots=True)
class LabelledParts:
    """Pictures by part of the split, and what is known of them."""

    rule: SplitRule
    source: PictureSource
    items: dict[Part, list[PictureItem]]
    labels: dict[Part, Labels]
    label: str
    """What classes are called together; nothing where there are none."""

    @classmethod
    def of(
        cls,
        source: PictureSource,
        rule: SplitRule,
        label: str,
        attributes: tuple[str, ...],
        modality: str | None = None,
    ) -> "LabelledParts":
        """Split by subject, or by picture where nobody knows who is on them; only pictures of one modality where one is named.

        Raises `TrainingError` where there is nothing to learn or to measure on, and for labels that cannot be read.
        """
        items = [item for item in source.items if modality is None or item.modality == modality]
        if not items:
            raise TrainingError(f"none of the pictures is of the modality {modality!r}")
        wrong = [name for name in attributes if not is_name(name)]
        if wrong:
            raise TrainingError(
                f"{wrong[0]!r} cannot be the name of an attribute: up to 48 letters, digits, '_' and '-'"
            )
        labels = read_labels(items, label, attributes)
        wrong = [name for name in labels.classes if not is_name(name)]
        if wrong:
            raise TrainingError(f"{wrong[0]!r} cannot be the name of a class: up to 48 letters, digits, '_' and '-'")
        if len(labels.classes) == 1:
            raise TrainingError(
                f"all pictures whose {label} is known are {labels.classes[0]}: there is nothing to tell apart"
            )
        if set(labels.classes) & set(attributes):
            raise TrainingError("a class and an attribute are named alike")
        by_subject = bool(items[0].subject)
        rule = replace(rule, by="subject" if by_subject else "image")
        part_N = np.array([rule.part_of(item.subject if by_subject else item.key) for item in items])
        rows: dict[Part, npt.NDArray[np.int64]] = {
            part: np.flatnonzero(part_N == part) for part in ("train", "validation", "test")
        }
        for part in ("train", "validation"):
            if not len(rows[part]):
                raise TrainingError(f"no {rule.by} falls to {part}: there are too few of them")
        return cls(
            rule,
            source,
            {part: [items[row] for row in of_part.tolist()] for part, of_part in rows.items()},
            {part: labels.take(of_part) for part, of_part in rows.items()},
            label,
        )


@dataclass(frozen=True, slots=True)
class AttributeExtras:
    """What is needed besides pictures."""

    encoder: Encoder
    """To begin with."""
    name: str
    """Of the bundle."""
    folder: Path
    """For unfinished work."""
    relatedness: str | None = None
    recipe: Callable[[], CoupledRecipe] = small
    workplace: Workplace = field(default_factory=Workplace)
    on_decoded: Callable[[int], None] = lambda done: None


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """How well classes and attributes of pictures are told that were not learned from."""

    classes: ClassFigures | None
    attributes: AttributeFigures | None
    left_out: dict[str, float] = field(default_factory=dict)
    """By the error that thresholds state, the share of pictures that they left out though these were meant, in the mean over
    classes and attributes. Of validation pictures, by which they were chosen, there is none.
    """


@dataclass(frozen=True, slots=True)
class FittedAttributes:
    """The network as it is exported, what it tells, and how well."""

    method: str
    graph: bytes
    space: Space
    """How pictures are prepared for it; nothing is compared there."""
    table: AttributeTable
    licence: str
    hyperparameters: dict[str, JsonValue]
    loss_EL: FloatArray
    """Of every step, as the trainer names them."""
    num_learned: int
    """Pictures."""
    num_with_class: int
    num_with_attributes: int
    digest: str
    """Of what was learned from."""
    unseen: tuple[str, ...]
    """Classes and attributes of which no picture that was learned from tells."""
    uncoupled: tuple[str, ...]
    """Attributes of which classes say nothing."""
    validation: LabelFigures
    test: LabelFigures | None

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundle's manifest says of it."""
        return {
            "num_training_pictures": self.num_learned,
            "num_with_class": self.num_with_class,
            "num_with_attributes": self.num_with_attributes,
            "unseen": list(self.unseen),
            "uncoupled": list(self.uncoupled),
            "validation": asdict(self.validation),
            "test": asdict(self.test) if self.test else None,
        }


def fit_attributes(parts: LabelledParts, method: str, seed: int, extras: AttributeExtras) -> FittedAttributes:
    """Train, export, and measure: thresholds on validation pictures, figures on those and on test pictures.

    Raises `TrainingError`, `SourceError`, `ExportError`.
    """
    recipe = VARIANTS[method](extras.recipe())
    learned = parts.labels["train"]
    related = _related(method, extras.relatedness, learned)
    encoder, trainer = extras.encoder, importlib.import_module("training.trainers.coupled")
    decoded = decode_pictures(parts.source, parts.items["train"], encoder.preparation, extras.folder, extras.on_decoded)
    data = trainer.CoupledPictures(
        EncodedPictures(decoded, encoder.preparation, encoder.model),
        learned.class_N,
        learned.has_NM,
        learned.is_known_NM,
        related,
        seed,
        extras.workplace,
    )
    fitted = trainer.fit_coupled(data, recipe)
    graph: bytes = load("training.export.torch_graph:classifier_torch_graph")(
        fitted.classifier, encoder.preparation.resize
    )
    few = prepared(parts.source, parts.items["validation"][:PARITY_PICTURES], encoder.preparation)
    check_parity(graph, fitted.classifier, few, tolerance=PARITY)
    there: list[Part] = ["validation", "test"] if parts.items["test"] else ["validation"]
    told = {part: _told(graph, parts.source, parts.items[part], encoder.preparation) for part in there}
    table = replace(
        measured_table(told["validation"], parts.labels["validation"], tells=recipe.tells(*related.weight_KM.shape)),
        label=parts.label,
    )
    figures = {
        part: _figures(told_NC, parts.labels[part], table, is_test=part == "test") for part, told_NC in told.items()
    }
    return FittedAttributes(
        method=method,
        graph=graph,
        space=Space(extras.name, len(table.everything), f"sha256:{sha256_hex(graph)}", encoder.preparation),
        table=table,
        licence=encoder.licence,
        hyperparameters=fitted.hyperparameters,
        loss_EL=fitted.loss_EL,
        num_learned=len(learned.class_N),
        num_with_class=learned.num_known,
        num_with_attributes=int(learned.is_known_NM.any(axis=1).sum()),
        digest=data.digest,
        unseen=learned.unseen,
        uncoupled=related.uncoupled if method in COUPLING else (),
        validation=figures["validation"],
        test=figures.get("test"),
    )


def _related(method: str, source: str | None, learned: Labels) -> Relatedness:
    """Of the labels of training pictures. Raises `TrainingError`."""
    if method in COUPLING:
        return relatedness_of(source, learned)
    return unrelated(learned.classes, learned.attributes)


def labeller_of(bundle: Bundle) -> Labeller:
    """Tells the class of a picture, where that is more probable than all others together.

    Raises `TrainingError` where the bundle tells no classes.
    """
    table, preparation = bundle.attributes, bundle.manifest.target.preparation
    if table is None or not table.classes or preparation is None:
        raise TrainingError(f"bundle {bundle.manifest.name} tells no classes of pictures")
    classes = tuple(one.name for one in table.classes)

    def label(source: PictureSource, items: list[PictureItem]) -> Labels:
        told_NK = _told(bundle.model, source, items, preparation)[:, : len(classes)]
        class_N = np.where(told_NK.max(axis=1) > _SURE, told_NK.argmax(axis=1), UNKNOWN).astype(np.int64)
        nothing_N0 = np.zeros((len(items), 0), dtype=bool)
        return Labels(classes, (), class_N, nothing_N0, nothing_N0)

    return label


def _told(graph: bytes, source: PictureSource, items: list[PictureItem], preparation: InputPreparation) -> FloatArray:
    """What the graph says of pictures, (N, K + M)."""
    session = Session(graph, device="cpu")
    return np.concatenate(
        [
            session.run(prepared(source, items[start : start + _AT_ONCE], preparation))
            for start in range(0, len(items), _AT_ONCE)
        ]
    )


def _figures(told_NC: FloatArray, labels: Labels, table: AttributeTable, *, is_test: bool) -> LabelFigures:
    num_classes = len(table.classes)
    return LabelFigures(
        class_figures(told_NC[:, :num_classes], labels) if num_classes else None,
        attribute_figures(told_NC[:, num_classes:], labels) if table.attributes else None,
        left_out(told_NC, labels, table) if is_test else {},
    )
