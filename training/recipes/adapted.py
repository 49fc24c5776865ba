"""Methods of `fit` that train the encoder of both modalities: how each is exported and measured. Galleries are made anew."""

import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from pydantic import JsonValue

from models.calibration import Calibration
from models.feature_set import FeatureSet
from models.features import FloatArray
from training.data.encoders import Encoder
from training.data.modalities import ModalityParts
from training.errors import TrainingError
from training.evaluation.cross_modal import (
    AmongPhotos,
    CrossModalFigures,
    among_photos,
    figures_of,
    mean_reciprocal_rank,
)
from training.recipes.adaptation import VARIANTS, small
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import (
    Extras,
    Measured,
    calibrate_sides,
    measured_photos,
    num_drawings,
    own_photos,
    photo_metrics,
    validation_sides,
    weak_strong,
)
from training.recipes.shares import best_share
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.fitted import Workplace

METHODS = tuple(VARIANTS)
OF_ONE_ENCODER = tuple(name for name in METHODS if not name.startswith("cross-modal"))
"""Those that come to one encoder of both modalities, which can be a bundle."""


@dataclass(frozen=True, slots=True)
class AdaptationExtras:
    """What they take besides features."""

    pictures: ModalPictures
    recipe: Callable[[], AdaptationRecipe] = small
    workplace: Workplace = field(default_factory=Workplace)


@dataclass(frozen=True, slots=True)
class FittedEncoders:
    """The encoders, and how they do on people whom they have not seen."""

    method: str
    weak: Encoder
    strong: Encoder | None
    """The same one, another, or None where photos are encoded as before."""
    hyperparameters: dict[str, JsonValue]
    validation: Measured
    test: Measured | None
    calibration: Calibration
    photos: AmongPhotos | None
    """What one encoder of both makes of photos, where somebody has two."""

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundle's manifest says of it."""
        parts = {"validation": self.validation, "test": self.test}
        return {name: asdict(part) if part else None for name, part in parts.items()} | (
            photo_metrics(self.photos) if self.strong is self.weak else {}
        )


def fit_adapted(parts: ModalityParts, method: str, seed: int, extras: AdaptationExtras) -> FittedEncoders:
    """Train, export, encode both modalities anew, and measure. Raises `TrainingError`."""
    pictures = extras.pictures
    if not parts.train.is_one_space:
        raise TrainingError(f"--method {method} trains one encoder: both sets must be of it")
    pictures.check(parts, with_strong=True)
    data = weak_strong(parts, seed, Extras(workplace=extras.workplace, pictures=pictures), with_strong=True)
    trainer = importlib.import_module("training.trainers.adaptation")
    recipe = VARIANTS[method](extras.recipe())
    recipe = replace(recipe, num_drawings=num_drawings(recipe.num_drawings, parts, pictures))
    fitted = trainer.fit_adaptation(data, recipe)
    share = best_share(fitted.weak_at, *merit_of(parts, pictures)) if fitted.is_one else 1.0
    weak = pictures.exported(fitted.weak_at(share), parts.validation)
    strong = weak if fitted.is_one else None
    if fitted.strong is not None:
        strong = replace(pictures, space=f"{pictures.space}-strong").exported(fitted.strong, parts.gallery)
    gallery = pictures.encoded(parts.gallery, strong, "gallery") if strong else parts.gallery

    def measured(probes: FeatureSet, encoded: FeatureSet) -> Measured:
        return Measured(len(probes), _figures(encoded, gallery), _figures(probes, parts.gallery), {}, None)

    validation = pictures.encoded(parts.validation, weak, "validation")
    test = measured(parts.test, pictures.encoded(parts.test, weak, "test")) if parts.test is not None else None
    calibration, photos = Calibration(), None
    if strong is weak:
        calibration = calibrate_sides(validation, own_photos(replace(parts, gallery=gallery), validation))
        photos = among_photos(parts.gallery, gallery, measured_photos(parts))
    hyperparameters = fitted.hyperparameters | {"encoder_share": share}
    return FittedEncoders(
        method, weak, strong, hyperparameters, measured(parts.validation, validation), test, calibration, photos
    )


def merit_of(
    parts: ModalityParts, pictures: ModalPictures, *, is_threshold_asked: bool = False
) -> tuple[FloatArray, Callable[[FloatArray], float]]:
    """Pictures of validation people of both modalities, and how well one finds the other; where it is asked, together with how
    many of the right ones are above a threshold that a hundredth of the wrong ones are.
    """
    probes, photos = validation_sides(parts)

    def merit(feature_ND: FloatArray) -> float:
        score_PG = feature_ND[: len(probes)] @ feature_ND[len(probes) :].T
        found = mean_reciprocal_rank(score_PG, probes, photos)
        if is_threshold_asked:
            found += figures_of(score_PG, probes.subject, photos.subject).tar_far_1e2 or 0.0
        return found

    return np.concatenate([pictures.prepared(probes), pictures.prepared(photos)]), merit


def _figures(probes: FeatureSet, gallery: FeatureSet) -> CrossModalFigures:
    return figures_of(probes.feature @ gallery.feature.T, probes.subject, gallery.subject)
