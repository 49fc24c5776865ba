"""The way from pictures that are labelled in part to a network that tells classes and attributes, exported and measured.

Free of torch: trainer and exporter are loaded by name when used. Shapes: N pictures, K classes, M attributes.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.attributes import MAX_LABEL, AttributeTable, is_name
from models.bundle import Bundle
from models.documents import sha256_hex
from models.features import FloatArray
from models.runtime import Session
from models.space import InputPreparation, Space
from models.split import Part, SplitRule
from training.data.encoders import Encoder
from training.data.labelled import UNKNOWN, Labels, read_labels
from training.data.picture_store import decode_pictures, normalised
from training.data.relatedness import Relatedness, relatedness_of, unrelated
from training.data.sources import PictureItem, PictureSource
from training.errors import TrainingError
from training.evaluation.labels import (
    AttributeFigures,
    ClassFigures,
    LeftOut,
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
    "train",
    "validation",
    "test",
    *(f"{whose}checkpoint.{kind}" for whose in ("", "teacher-", "student-") for kind in ("npz", "draft")),
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
    unnamed: Mapping[str, int] = field(default_factory=dict)
    """Classes that were not asked for, and of how many pictures to learn from, of which the class is not known then."""
    asked: tuple[str, ...] = ()
    """Attributes, as they were asked for."""

    def subjects(self, part: Part) -> npt.NDArray[np.str_] | None:
        """Who is on the pictures of a part; None where nobody knows."""
        return np.array([item.subject for item in self.items[part]]) if self.rule.by == "subject" else None

    @classmethod
    def of(
        cls,
        source: PictureSource,
        rule: SplitRule,
        label: str,
        attributes: tuple[str, ...],
        modality: str | None = None,
        *,
        classes: tuple[str, ...] = (),
    ) -> "LabelledParts":
        """Split by subject, or by picture where nobody knows who is on them; only pictures of one modality where one is named,
        and only `classes` where any are named. Attributes are asked for as `read_labels` takes them.

        Raises `TrainingError` where there is nothing to learn or to measure on, and for labels that cannot be read.
        """
        items = [item for item in source.items if modality is None or item.modality == modality]
        if not items:
            raise TrainingError(f"none of the pictures is of the modality {modality!r}")
        wrong = [name for name in (one.partition("=")[0] for one in attributes) if not is_name(name)]
        if wrong:
            raise TrainingError(
                f"{wrong[0]!r} cannot be the name of an attribute: up to 48 letters, digits, '_' and '-'"
            )
        if len(label) > MAX_LABEL:
            raise TrainingError(
                f"{label!r} is too long for what classes are called together: up to {MAX_LABEL} characters"
            )
        labels = read_labels(items, label, attributes, classes)
        wrong = [name for name in labels.classes if not is_name(name)]
        if wrong:
            raise TrainingError(f"{wrong[0]!r} cannot be the name of a class: up to 48 letters, digits, '_' and '-'")
        if len(labels.classes) == 1:
            raise TrainingError(
                f"all pictures whose {label} is known are {labels.classes[0]}: there is nothing to tell apart"
            )
        if set(labels.classes) & set(labels.attributes):
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
        unnamed = Counter(items[row].labels.get(label, "") for row in rows["train"].tolist() if label)
        for name in ("", *labels.classes):
            unnamed.pop(name, None)
        return cls(
            rule,
            source,
            {part: [items[row] for row in of_part.tolist()] for part, of_part in rows.items()},
            {part: labels.take(of_part) for part, of_part in rows.items()},
            label,
            unnamed,
            attributes,
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
    left_out: tuple[LeftOut, ...] = ()
    """What thresholds left out; nothing of validation pictures, by which they were chosen."""

    @property
    def is_measured(self) -> bool:
        """Whether anything of the pictures was known."""
        return self.classes is not None or self.attributes is not None


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
    alike: tuple[str, ...]
    """Attributes that all pictures have that were learned from and tell of them, or none."""
    validation: LabelFigures
    test: LabelFigures | None
    """None where nobody is of that part, or nothing of their pictures is known."""

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundle's manifest says of it."""
        return {
            "num_training_pictures": self.num_learned,
            "num_with_class": self.num_with_class,
            "num_with_attributes": self.num_with_attributes,
            "unseen": list(self.unseen),
            "uncoupled": list(self.uncoupled),
            "alike": list(self.alike),
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
    decoded = _decoded(parts, extras)
    data = trainer.CoupledPictures(
        EncodedPictures(decoded["train"], encoder.preparation, encoder.model),
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
    few = normalised(decoded["validation"][:PARITY_PICTURES], encoder.preparation)
    check_parity(graph, fitted.classifier, few, tolerance=PARITY)
    there: list[Part] = ["validation", "test"] if parts.items["test"] else ["validation"]
    told = {part: _told(graph, _blocks(decoded[part], encoder.preparation)) for part in there}
    tells = recipe.tells(*related.weight_KM.shape)
    table = measured_table(told["validation"], parts.labels["validation"], parts.subjects("validation"), tells=tells)
    table = replace(table, label=parts.label if tells[0] else "")
    figures = {
        part: _figures(told_NC, parts.labels[part], table, is_test=part == "test") for part, told_NC in told.items()
    }
    return FittedAttributes(
        method=method,
        graph=graph,
        space=Space(extras.name, len(table.everything), f"sha256:{sha256_hex(graph)}", encoder.preparation),
        table=table,
        licence=encoder.licence,
        hyperparameters={
            **fitted.hyperparameters,
            **({"relatedness": related.origin} if method in COUPLING else {}),
            **({"attributes": [*parts.asked]} if parts.asked else {}),
            **({"classes_left_out": [*sorted(parts.unnamed)]} if parts.unnamed else {}),
        },
        loss_EL=fitted.loss_EL,
        num_learned=len(learned.class_N),
        num_with_class=learned.num_known,
        num_with_attributes=int(learned.is_known_NM.any(axis=1).sum()),
        digest=data.digest,
        unseen=learned.unseen,
        uncoupled=related.uncoupled if method in COUPLING else (),
        alike=learned.alike,
        validation=figures["validation"],
        test=figures["test"] if "test" in figures and figures["test"].is_measured else None,
    )


def _related(method: str, source: str | None, learned: Labels) -> Relatedness:
    """Of the labels of training pictures. Raises `TrainingError`."""
    if method in COUPLING:
        return relatedness_of(source, learned)
    return unrelated(learned.classes, learned.attributes)


def labeller_of(bundle: Bundle) -> Labeller:
    """Tells the class of a picture, where that is more probable than all others together; of a bundle that is for pictures of one
    modality, of these alone, and of those whose modality nobody says.

    Raises `TrainingError` where the bundle tells no classes.
    """
    table, preparation = bundle.attributes, bundle.manifest.target.preparation
    if table is None or not table.classes or preparation is None:
        raise TrainingError(f"bundle {bundle.manifest.name} tells no classes of pictures")
    classes, modality = tuple(one.name for one in table.classes), bundle.manifest.modality

    def label(source: PictureSource, items: list[PictureItem]) -> Labels:
        blocks = (
            prepared(source, items[start : start + _AT_ONCE], preparation) for start in range(0, len(items), _AT_ONCE)
        )
        told_NK = _told(bundle.model, blocks)[:, : len(classes)]
        is_told_N = (told_NK.max(axis=1) > _SURE) & [one.modality in ("", modality or one.modality) for one in items]
        class_N = np.where(is_told_N, told_NK.argmax(axis=1), UNKNOWN).astype(np.int64)
        nothing_N0 = np.zeros((len(items), 0), dtype=bool)
        return Labels(classes, (), class_N, nothing_N0, nothing_N0)

    return label


def _decoded(parts: LabelledParts, extras: AttributeExtras) -> dict[Part, npt.NDArray[np.uint8]]:
    """Pictures of every part (N, H, W, 3), so that one that cannot be read is found before the training."""
    found: dict[Part, npt.NDArray[np.uint8]] = {}
    for part, items in parts.items.items():
        folder = extras.folder / part
        folder.mkdir(parents=True, exist_ok=True)
        if items:
            found[part] = decode_pictures(parts.source, items, extras.encoder.preparation, folder, extras.on_decoded)
    return found


def _blocks(decoded_NHW3: npt.NDArray[np.uint8], preparation: InputPreparation) -> Iterator[FloatArray]:
    """Some pictures at a time, as a network takes them."""
    for start in range(0, len(decoded_NHW3), _AT_ONCE):
        yield normalised(decoded_NHW3[start : start + _AT_ONCE], preparation)


def _told(graph: bytes, blocks: Iterable[FloatArray]) -> FloatArray:
    """What the graph says of pictures, (N, K + M)."""
    session = Session(graph, device="cpu")
    return np.concatenate([session.run(block) for block in blocks])


def _figures(told_NC: FloatArray, labels: Labels, table: AttributeTable, *, is_test: bool) -> LabelFigures:
    num_classes = len(table.classes)
    return LabelFigures(
        class_figures(told_NC[:, :num_classes], labels) if num_classes else None,
        attribute_figures(told_NC[:, num_classes:], labels) if table.attributes else None,
        left_out(told_NC, labels, table) if is_test else (),
    )
