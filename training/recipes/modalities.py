"""Methods of `fit` across modalities: how each is trained, exported and measured.

Shapes: N rows, P probes, M samples of each, G gallery pictures, W weak and S strong dimension.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.bundle import Sampling
from models.calibration import Calibration
from models.feature_set import FeatureSet
from models.features import FloatArray
from models.samples import draw_noise, rows_of
from models.space import Space
from training.data.encoders import Encoder
from training.data.modalities import ModalityParts
from training.errors import TrainingError
from training.evaluation.calibration import calibrate_across, calibrate_native, fewer_of
from training.evaluation.cross_modal import (
    SIGMAS,
    AmongPhotos,
    CrossModalFigures,
    CrossModalMap,
    Sample,
    Variance,
    among_photos,
    best_sigma,
    figures_of,
    map_of,
    mean_figures,
    mean_reciprocal_rank,
    real_variance,
    recall_by_samples,
    score_samples,
    variance_of,
)
from training.export.loaded import GraphSampler, GraphTranslator
from training.export.parity import check_parity, check_sampler_parity
from training.recipes import modal_pictures
from training.recipes.modal_pictures import ModalPictures
from training.recipes.shares import best_share, some_of
from training.recipes.translators import PARITY_ROWS, load
from training.recipes.wsgan import VARIANTS, small
from training.trainers.fitted import Translate, Workplace
from training.trainers.weak_strong import EncodedPictures, WeakStrong
from training.trainers.wsgan_recipe import WSGANRecipe

NUM_SAMPLES = 10
"""Of a probe. Source: Weak-Strong GAN (AAAI 2019): beyond 10 there is little to gain."""
ROUNDS = 5
"""Of noise, over which figures are the mean. Source: Weak-Strong GAN (AAAI 2019), Results."""
COUNTS = (1, 2, 5, 10, 20, 50)
"""Of samples, over which recall is drawn."""
SKETCH = "sketch"
"""The modality of which more can be made of photos."""
NOTHING = "none"
"""What compares weak features as they are."""
TRANSLATORS: Mapping[str, tuple[str, str]] = {
    "shrunken-ridge": (
        "training.trainers.weak_linear:fit_shrunken_ridge",
        "training.export.linear_graph:linear_graph",
    ),
    "contrastive-head": (
        "training.trainers.contrastive_head:fit_contrastive_head",
        "training.export.torch_graph:torch_graph",
    ),
}
"""Trainer and exporter of methods that give one feature of each."""
METHODS = (*TRANSLATORS, *VARIANTS)
LEFT = (*modal_pictures.LEFT, "checkpoint.npz", "checkpoint.draft")
"""What an interrupted training leaves in its folder."""


@dataclass(frozen=True, slots=True)
class Extras:
    """What Weak-Strong GAN takes besides features."""

    recipe: Callable[[], WSGANRecipe] = small
    workplace: Workplace = field(default_factory=Workplace)
    pictures: ModalPictures | None = None
    """Where the encoder of weak pictures is to be trained too."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures on the people of one part, and how many probes they are of."""

    num_probes: int
    figures: CrossModalFigures
    untouched: CrossModalFigures | None
    """Of weak features as they are, where they can be compared."""
    by_samples: dict[int, CrossModalFigures]
    """By the number of samples, of a sampler."""
    generated: Variance | None


@dataclass(frozen=True, slots=True)
class FittedAcross:
    """A translator or sampler of a weak modality, and how it does on people whom it has not seen."""

    method: str
    graph: bytes
    source: Space
    target: Space
    """Of photos: that of a trained encoder where it is shared, and then galleries are enrolled anew."""
    sampling: Sampling | None
    """None for a translator."""
    encoder: Encoder | None
    """Of weak pictures, where one was trained: it makes the features of `source`."""
    encoder_calibration: Calibration
    """Of its own features, where it is of photos too."""
    hyperparameters: dict[str, JsonValue]
    parity: float
    validation: Measured
    test: Measured | None
    real: Variance
    calibration: Calibration
    feature_map: CrossModalMap | None
    photos: AmongPhotos | None
    """What an encoder that is of photos too makes of these, where somebody has two."""

    def metrics(self) -> dict[str, JsonValue]:
        """What the bundle's manifest says of it."""
        parts = {"validation": self.validation, "test": self.test}
        return {
            "parity": self.parity,
            **{name: asdict(part) if part else None for name, part in parts.items()},
            "real_variance": asdict(self.real),
            **(photo_metrics(self.photos) if self.is_of_photos else {}),
        }

    @property
    def is_of_photos(self) -> bool:
        """Whether an encoder was trained that photos are encoded by too."""
        return self.encoder is not None and self.source == self.target


def photo_metrics(photos: AmongPhotos | None) -> dict[str, JsonValue]:
    """What the manifest of an encoder of both says of photos among themselves: nothing where nobody has two."""
    return {"photos": asdict(photos) if photos else None}


def fit_across(parts: ModalityParts, method: str, seed: int, extras: Extras | None = None) -> FittedAcross:
    """Train one method, export it, choose sigma on validation people, measure and calibrate what was exported.

    Raises `TrainingError`.
    """
    extras = extras or Extras()
    if method in TRANSLATORS:
        return _fit_translator(parts, method, weak_strong(parts, seed, extras))
    recipe = VARIANTS[method](extras.recipe())
    if extras.pictures:
        if recipe.shares_encoder and not parts.train.is_one_space:
            raise TrainingError("one encoder of both modalities is trained: both sets must be of it")
        extras.pictures.check(parts, with_strong=recipe.shares_encoder)
    recipe = replace(recipe, num_drawings=num_drawings(recipe.num_drawings, parts, extras.pictures))
    data = weak_strong(parts, seed, extras, with_strong=recipe.sees_strong_pictures)
    trainer = importlib.import_module("training.trainers.wsgan")
    start_WS = importlib.import_module("training.trainers.weak_linear").start_of(data)
    fitted = trainer.fit_wsgan(data, recipe, start_WS)
    encoder, hyperparameters, before = None, fitted.hyperparameters, parts
    if extras.pictures:
        # What is trained as it was published stays as it was trained.
        share = (
            1.0
            if recipe.trains_on_strong
            else _best_share(parts, extras.pictures, fitted, seed, is_of_both=recipe.shares_encoder)
        )
        hyperparameters |= {"encoder_share": share}
        encoder = extras.pictures.exported(fitted.encoder_at(share), parts.validation)
        parts = _encoded(parts, extras.pictures, encoder, with_strong=recipe.shares_encoder)
    encoder_calibration, photos = Calibration(), None
    if encoder is not None and recipe.shares_encoder:
        encoder_calibration = calibrate_sides(parts.validation, own_photos(parts, parts.validation))
        photos = among_photos(before.gallery, parts.gallery, measured_photos(parts))
    graph: bytes = load("training.export.torch_graph:sampler_torch_graph")(
        fitted.sampler, parts.validation.space.dimension, recipe.num_noise
    )
    weak_NW = parts.validation.feature[:PARITY_ROWS]
    noise_NZ = draw_noise(len(weak_NW), recipe.num_noise, seed)
    parity = check_sampler_parity(graph, fitted.sampler, weak_NW, noise_NZ)
    few, many = (GraphSampler(graph, recipe.num_noise, num) for num in (NUM_SAMPLES, max(COUNTS)))
    sigma = best_sigma(few(parts.validation.feature, seed), parts.validation, parts.known)
    measure = _Measure(parts, few, sigma, many, before)
    return FittedAcross(
        method,
        graph,
        parts.validation.space,
        parts.gallery.space,
        Sampling(recipe.num_noise, NUM_SAMPLES, sigma),
        encoder,
        encoder_calibration,
        hyperparameters,
        parity,
        *measure.parts(),
        real_variance(parts.gallery),
        measure.calibration(),
        measure.feature_map(),
        photos,
    )


def num_drawings(asked: int, parts: ModalityParts, pictures: ModalPictures | None) -> int:
    """As many as are asked for; none where weak pictures are no sketches, or photos are not among the pictures."""
    return asked if parts.modality == SKETCH and pictures and pictures.has(parts.train.strong) else 0


def _best_share(parts: ModalityParts, pictures: ModalPictures, fitted: Any, seed: int, *, is_of_both: bool) -> float:
    """By how well what is sampled of validation people's features finds them: their photos as they are, or by the encoder too."""
    probes, photos = some_of(parts.validation), parts.known
    noise_MZ = draw_noise(NUM_SAMPLES, fitted.sampler.num_noise, seed)
    if is_of_both:
        probes, photos = validation_sides(parts)

    def merit(feature_ND: FloatArray) -> float:
        weak_PW, photo_GS = feature_ND[: len(probes)], feature_ND[len(probes) :]
        sample_PMS = fitted.sampler(*rows_of(weak_PW, noise_MZ)).reshape(len(weak_PW), NUM_SAMPLES, -1)
        score_PG = score_samples(sample_PMS, photo_GS if is_of_both else photos.feature, SIGMAS[-1])
        return mean_reciprocal_rank(score_PG, probes, photos)

    looked_at = [probes, photos] if is_of_both else [probes]
    return best_share(fitted.encoder_at, np.concatenate([pictures.prepared(side) for side in looked_at]), merit)


def validation_sides(parts: ModalityParts) -> tuple[FeatureSet, FeatureSet]:
    """As many weak pictures of validation people as are looked at, and photos, and of the former those of whom there is one."""
    probes = some_of(parts.validation)
    photos = some_of(own_photos(parts, probes))
    return probes.take(np.isin(probes.subject, photos.subject)), photos


def calibrate_sides(probes: FeatureSet, photos: FeatureSet) -> Calibration:
    """Of both modalities in one space, each named, photos among themselves and with the others."""
    shared = probes.columns().keys() & photos.columns().keys()
    columns = {name: np.concatenate([side.columns()[name] for side in (probes, photos)]) for name in shared}
    return calibrate_native(FeatureSet.build(probes.space, columns))


def own_photos(parts: ModalityParts, probes: FeatureSet) -> FeatureSet:
    """Of those who are on weak pictures."""
    return parts.gallery.take(np.isin(parts.gallery.subject, np.unique(probes.subject)))


def measured_photos(parts: ModalityParts) -> npt.NDArray[np.bool_]:
    """Which photos (N,) of the gallery are of people who are measured: those of the test, or validation where there is none."""
    part = "validation" if parts.test is None else "test"
    is_of: npt.NDArray[np.bool_] = parts.rule.parts(parts.gallery) == part
    return is_of


def _encoded(parts: ModalityParts, pictures: ModalPictures, encoder: Encoder, *, with_strong: bool) -> ModalityParts:
    """The same, measured features by another encoder."""
    again = pictures.encoded
    test = again(parts.test, encoder, "test") if parts.test is not None else None
    gallery = again(parts.gallery, encoder, "gallery") if with_strong else parts.gallery
    return replace(parts, validation=again(parts.validation, encoder, "validation"), test=test, gallery=gallery)


def weak_strong(parts: ModalityParts, seed: int, extras: Extras, *, with_strong: bool = False) -> WeakStrong:
    """What a trainer takes; `with_strong` the pictures of strong features too."""
    train = parts.train
    names, strong_class_M = np.unique(train.strong.subject, return_inverse=True)
    assert np.isin(train.weak.subject, names).all()
    pictures, strong_pictures = None, None
    if extras.pictures:
        encoder = extras.pictures.encoder
        decoded = extras.pictures.decoded(train.weak, "weak")
        pictures = EncodedPictures(decoded, encoder.preparation, encoder.model)
        strong_pictures = extras.pictures.decoded(train.strong, "strong") if with_strong else None
    return WeakStrong(
        train.weak.feature,
        np.searchsorted(names, train.weak.subject).astype(np.int64),
        train.strong.feature,
        strong_class_M.astype(np.int64),
        len(names),
        train.is_one_space,
        seed,
        pictures,
        strong_pictures,
        extras.workplace,
    )


def _fit_translator(parts: ModalityParts, method: str, data: WeakStrong) -> FittedAcross:
    trainer, exporter = (load(place) for place in TRANSLATORS[method])

    photos = parts.known

    def merit(translate: Translate) -> float:
        score_PG = translate(parts.validation.feature) @ photos.feature.T
        return mean_reciprocal_rank(score_PG, parts.validation, photos)

    fitted = trainer(data, merit) if method == "shrunken-ridge" else trainer(data)
    graph: bytes = exporter(fitted.model, data.weak_NW.shape[1])
    parity = check_parity(graph, fitted.model, parts.validation.feature[:PARITY_ROWS])
    translate = GraphTranslator(graph)
    measure = _Measure(parts, lambda weak_NW, seed: translate(weak_NW)[:, None], sigma=1.0, many=None, before=parts)
    return FittedAcross(
        method,
        graph,
        parts.validation.space,
        parts.gallery.space,
        None,
        None,
        Calibration(),
        fitted.hyperparameters,
        parity,
        *measure.parts(),
        real_variance(parts.gallery),
        measure.calibration(),
        measure.feature_map(),
        None,
    )


@dataclass(frozen=True, slots=True)
class _Measure:
    people: ModalityParts
    sample: Sample
    sigma: float
    many: Sample | None
    """More samples than are asked for, of a sampler."""
    before: ModalityParts
    """With features as they were before an encoder was trained."""

    def parts(self) -> tuple[Measured, Measured | None]:
        """On validation and test people."""
        test = self.people.test
        validation = self._of(self.people.validation, self.before.validation)
        return validation, self._of(test, self.before.test) if test is not None else None

    def _of(self, probes: FeatureSet, before: FeatureSet | None) -> Measured:
        gallery = self.people.gallery
        seeds = range(ROUNDS) if self.many else range(1)
        scores = [score_samples(self.sample(probes.feature, seed), gallery.feature, self.sigma) for seed in seeds]
        untouched, photos = None, self.before.gallery
        if before is not None and before.space.fingerprint == photos.space.fingerprint:
            untouched = figures_of(before.feature @ photos.feature.T, before.subject, photos.subject)
        by_samples, generated = {}, None
        if self.many:
            by_samples = recall_by_samples(self.many, probes, gallery, self.sigma, nums=COUNTS, seeds=seeds)
            generated = variance_of(self.many(probes.feature, 0), probes.subject)
        figures = mean_figures([figures_of(one, probes.subject, gallery.subject) for one in scores])
        return Measured(len(probes), figures, untouched, by_samples, generated)

    def feature_map(self) -> CrossModalMap | None:
        """Of test people, or validation people where there are no others."""
        probes = self.people.test or self.people.validation
        return map_of(self.sample(probes.feature, 0), probes, self.people.gallery)

    def calibration(self) -> Calibration:
        """Of validation people's weak pictures against their photos, over several rounds of noise."""
        probes = self.people.validation
        probes, own = fewer_of(probes, own_photos(self.people, probes))
        seeds = range(ROUNDS) if self.many else range(1)
        scores = [score_samples(self.sample(probes.feature, seed), own.feature, self.sigma) for seed in seeds]
        return calibrate_across(scores, probes, own, self.people.modality)
