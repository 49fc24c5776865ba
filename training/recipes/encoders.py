"""Recipes of `fit --method encoder`, and the way from labelled pictures to a trained and measured encoder.

A recipe is a function of the backbone's name; variants change a base. Free of torch: trainer and exporter are loaded by
name when used. Shapes: N pictures, D feature dimension.
"""

import hashlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.calibration import Calibration
from models.documents import canonical_json, sha256_hex
from models.errors import PictureError
from models.feature_set import FeatureSet
from models.picture import prepare_picture
from models.runtime import Device
from models.space import InputPreparation, Space
from models.split import SplitRule
from training.data.encoders import Encoder
from training.data.extraction import ExtractionSettings, extract_features
from training.data.labelled import UNKNOWN, Labels, filled, read_labels
from training.data.picture_store import LabelledPictures, decode_pictures
from training.data.sources import ChosenPictures, PictureItem, PictureSource
from training.errors import SourceError, TrainingError
from training.evaluation.calibration import calibrate_native
from training.evaluation.cross_space import NativeEvaluation, evaluate_native
from training.export.half_weights import with_half_weights
from training.export.parity import check_parity
from training.trainers.encoder_recipe import EncoderRecipe, Report
from training.trainers.geometry_recipe import GeometryRecipe

BACKBONES = ("mobilenetv2-t6", "mobilenetv2-t10", "mobilenetv2-t16", "resnet-50", "resnet-101", "inception-resnet")
PREPARATION = InputPreparation(mean=(127.5, 127.5, 127.5), std=(79.6875, 79.6875, 79.6875))
"""Pixels in [-1.6, 1.6], as R3AN, Sec. 5.1."""
SMALLEST_SIDE, LARGEST_SIDE = 32, 448
PARITY_PICTURES = 16
_HASHED_AT_ONCE = 1024
Labeller = Callable[[PictureSource, list[PictureItem]], Labels]
"""Tells classes of pictures."""
ORIGIN = "neutral"
"""The label that comes first where it is one, from which the others are told."""


def paper(backbone: str) -> EncoderRecipe:
    """The prior models of R3AN (CVPR 2019), Sec. 5.1: for a GPU and millions of faces.

    Deviation: pictures of 112 x 112, not 224 x 224.

    Of `inception-resnet` the network for verification that the three tasks of Ming et al. (IJDAR 2021), Sec. 5.2, begin with.
    Deviations: 112 x 112, and a softmax of cosines. Its dimension, the scale, and how long it is trained after the last
    milestone it does not say.
    """
    if backbone == "inception-resnet":
        return EncoderRecipe(
            backbone=backbone,
            width=1.0,
            dimension=512,
            epochs=0,
            batch=90,
            learning_rate=0.1,
            schedule="steps",
            margin=0.0,
            scale=32.0,
            momentum=0.99,
            weight_decay=5e-5,
            iterations=90_000,
            milestones=(2 / 3, 8 / 9),
            optimiser="rmsprop",
            centre=0.1,
        )
    return EncoderRecipe(
        backbone=backbone,
        width=1.0,
        dimension=256,
        epochs=0,
        batch=512,
        learning_rate=0.1,
        schedule="steps",
        margin=0.5,
        scale=64.0,
        iterations=200_000,
    )


def small(backbone: str) -> EncoderRecipe:
    """A narrow network for some ten thousand faces on a CPU, in minutes."""
    width = 0.5 if backbone.startswith("mobilenet") else 0.25
    return replace(
        paper("resnet-50"),
        backbone=backbone,
        width=width,
        dimension=128,
        epochs=16,
        batch=128,
        schedule="cosine",
        margin=0.35,
        scale=32.0,
        iterations=0,
    )


RECIPES: Mapping[str, Callable[[str], EncoderRecipe]] = {"small": small, "paper": paper}


LEFT = ("pictures.npy", "pictures.json", "checkpoint.npz", "checkpoint.draft", "validation", "test")
"""What an interrupted training leaves in its folder."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom to tell of progress: pictures decoded, steps done."""

    on_decoded: Callable[[int], None] = lambda done: None
    on_step: Callable[[Report], None] = lambda report: None


@dataclass(frozen=True, slots=True)
class TrainedEncoder:
    """An encoder, and how it does on subjects that it has not seen."""

    encoder: Encoder
    digest: str
    """Of the training pictures."""
    num_pictures: int
    num_subjects: int
    parity: float
    validation: NativeEvaluation
    test: NativeEvaluation | None
    calibration: Calibration
    without: dict[str, int] = field(default_factory=dict)
    """Of each term that labels shape features by, how many batches had nothing that it looks at."""
    num_batches: int = 0
    """Of the whole training."""

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundle's manifest says of it."""
        return {
            "parity": self.parity,
            "num_training_pictures": self.num_pictures,
            "num_training_subjects": self.num_subjects,
            **({"num_batches": self.num_batches, "num_batches_without": dict(self.without)} if self.without else {}),
            "validation": self.validation.to_json(),
            "test": self.test.to_json() if self.test else None,
        }


@dataclass(frozen=True, slots=True)
class PictureParts:
    """Labelled pictures by part of the split."""

    rule: SplitRule
    source: PictureSource
    train: list[PictureItem]
    validation: list[PictureItem]
    test: list[PictureItem]

    @classmethod
    def of(cls, source: PictureSource, rule: SplitRule, modality: str | None) -> "PictureParts":
        """Split by subject; only pictures of one modality where one is named. Raises `TrainingError`."""
        items = [item for item in source.items if modality is None or item.modality == modality]
        if not items:
            raise TrainingError(f"none of the pictures is of the modality {modality!r}")
        if not items[0].subject:
            raise TrainingError("an encoder learns who is who: the pictures need a labels.csv or a folder a subject")
        parts: dict[str, list[PictureItem]] = {"train": [], "validation": [], "test": []}
        for item in items:
            parts[rule.part_of(item.subject)].append(item)
        validation = parts["validation"]
        has_probes = len({item.subject for item in validation}) < len(validation)
        if len({item.subject for item in parts["train"]}) < 2 or not has_probes:
            raise TrainingError("too few subjects: at least two to train on and one with two pictures to validate on")
        return cls(rule, source, parts["train"], parts["validation"], parts["test"])


def train_encoder(
    parts: PictureParts,
    recipe: EncoderRecipe,
    name: str,
    *,
    licence: str,
    device: Device,
    half_weights: bool,
    partial: Path,
    hooks: Hooks,
    labeller: Labeller | None = None,
) -> TrainedEncoder:
    """Train, export and measure. What an interrupted call left in the folder `partial` is taken up. `labeller` tells the labels
    that shape features, where they are not known.

    Raises `TrainingError`.
    """
    trainer = importlib.import_module("training.trainers.encoder")
    torch_device = trainer.choose_torch_device(device)
    partial.mkdir(parents=True, exist_ok=True)
    # Before what takes minutes.
    labels = _labels(parts, recipe.geometry, labeller)
    preparation = replace(PREPARATION, resize=(recipe.side, recipe.side))
    pictures = _labelled(parts, preparation, partial, hooks, labels)
    fitted = trainer.fit_encoder(
        recipe,
        pictures,
        preparation,
        seed=parts.rule.seed,
        device=torch_device,
        checkpoint=partial / "checkpoint.npz",
        on_step=hooks.on_step,
    )
    model = fitted.encoder
    exported: bytes = importlib.import_module("training.export.torch_graph").encoder_torch_graph(
        model, preparation.resize
    )
    some = parts.validation[:PARITY_PICTURES]
    parity = check_parity(exported, model, prepared(parts.source, some, preparation))
    graph = with_half_weights(exported) if half_weights else exported
    space = Space(name, recipe.dimension, f"sha256:{sha256_hex(graph)}", preparation)
    encoder = Encoder(space, preparation, graph, licence)
    settings = ExtractionSettings(device)
    validation = _features(encoder, parts, parts.validation, settings, partial / "validation")
    test = _features(encoder, parts, parts.test, settings, partial / "test") if parts.test else None
    return TrainedEncoder(
        encoder,
        pictures.digest,
        len(pictures.class_N),
        pictures.num_classes,
        parity,
        evaluate_native(validation),
        evaluate_native(test) if test is not None else None,
        calibrate_native(validation),
        fitted.without,
        fitted.num_batches,
    )


def _labels(parts: PictureParts, geometry: GeometryRecipe | None, labeller: Labeller | None) -> Labels | None:
    """Of the training pictures; None where nothing looks at them. Raises `TrainingError` where all are alike."""
    if geometry is None or not geometry.needs_labels:
        return None
    labels = read_labels(parts.train, geometry.label, ())
    if labeller is not None:
        told = labeller(parts.source, parts.train)
        labels = filled(labels, told)
    if len(np.unique(labels.class_N[labels.class_N >= 0])) < 2:
        raise TrainingError(
            f"{labels.num_known} of the pictures are labelled, and all of them alike: there is no shape to give"
        )
    return labels


def _labelled(
    parts: PictureParts, preparation: InputPreparation, partial: Path, hooks: Hooks, labels: Labels | None
) -> LabelledPictures:
    decoded = decode_pictures(parts.source, parts.train, preparation, partial, hooks.on_decoded)
    subjects, class_N = np.unique([item.subject for item in parts.train], return_inverse=True)
    people = [item.subject for item in parts.train]
    if labels is None:
        return LabelledPictures(decoded, class_N.astype(np.int64), len(subjects), _digest(decoded, people))
    # The first is where the others are told from.
    order = sorted(range(len(labels.classes)), key=lambda place: labels.classes[place] != ORIGIN)
    label_N = np.argsort([*order, len(order)])[labels.class_N]
    label_N[labels.class_N < 0] = UNKNOWN
    said = [*people, *(str(one) for one in label_N.tolist())]
    digest = _digest(decoded, said)
    return LabelledPictures(decoded, class_N.astype(np.int64), len(subjects), digest, label_N, len(labels.classes))


def _digest(decoded_NHW3: npt.NDArray[np.uint8], subjects: list[str]) -> str:
    digest = hashlib.sha256(canonical_json(subjects))
    for start in range(0, len(decoded_NHW3), _HASHED_AT_ONCE):
        digest.update(np.ascontiguousarray(decoded_NHW3[start : start + _HASHED_AT_ONCE]).data)
    return digest.hexdigest()


def prepared(source: PictureSource, items: list[PictureItem], preparation: InputPreparation) -> npt.NDArray[np.float32]:
    """Pictures as an encoder takes them, (N, 3, H, W). Raises `SourceError`, which names the picture."""

    def one(item: PictureItem) -> npt.NDArray[np.float32]:
        try:
            return prepare_picture(source.read(item), preparation, landmarks=item.landmarks)
        except (PictureError, SourceError) as failure:
            raise SourceError(f"picture {item.key}: {failure}") from None

    return np.stack([one(item) for item in items])


def _features(
    encoder: Encoder, parts: PictureParts, items: list[PictureItem], settings: ExtractionSettings, partial: Path
) -> FeatureSet:
    return extract_features(encoder, ChosenPictures(parts.source, items), partial, settings).feature_set
