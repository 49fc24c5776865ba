"""Encoders of real sketches, trained once each: what they came to is kept under docs/measured/sketches, one file each.

On two cores each takes ten minutes or so. To train all of them again, delete the folder's files of FS2K.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.faces import KEPT, ROOT, Faces
from benchmarks.kept import Measured, kept_or_measured
from models.feature_set import FeatureSet
from models.split import SplitRule
from training.data.encoders import Encoder
from training.data.extraction import ExtractionSettings, discard_partial, extract_features
from training.data.modalities import ModalityParts, join_by_subject
from training.data.views import ViewSource
from training.evaluation.cross_modal import SIGMAS, CrossModalFigures, figures_of, mean_figures, score_samples
from training.export.loaded import GraphSampler, GraphTranslator
from training.recipes import adaptation, adapted, wsgan
from training.recipes.adapted import AdaptationExtras, FittedEncoders, fit_adapted
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import NUM_SAMPLES, ROUNDS, Extras, FittedAcross, fit_across
from training.recipes.shares import SHARES
from training.trainers import adaptation as adaptation_trainer
from training.trainers import wsgan as wsgan_trainer
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace
from training.trainers.wsgan_recipe import WSGANRecipe

MEASURED = ROOT / "docs" / "measured" / "sketches"
ENCODER = "mobilefacenet-128"
VALIDATION, TEST = 0.15, 0.2
DRAWN, OTHERS = "fs2k112", "cuhk112"
HALVES = (0, 1)
"""Of the people of OTHERS: what learned from one is asked about the other."""
RECIPES: dict[str, Callable[[], WSGANRecipe]] = {
    "wsgan": wsgan.small_end_to_end,
    "wsgan-shared": wsgan.small_shared,
}
TRAININGS = ("fine-tuning", "joint-training", *RECIPES)


@dataclass(frozen=True, slots=True)
class Trained:
    """An encoder and what samples from its features, or nothing where sketches are compared as they are encoded."""

    encoder: Encoder
    sampler: FittedAcross | None
    is_of_photos: bool
    """Whether photos are encoded by it too."""

    def figures(self, pictures: ModalPictures, sketches: FeatureSet, photos: FeatureSet) -> CrossModalFigures:
        """Of sketches and photos, whose features are by the encoder as it came."""
        drawn = pictures.encoded(sketches, self.encoder, "asked")
        known = pictures.encoded(photos, self.encoder, "known") if self.is_of_photos else photos
        return asked(self.sampler, drawn, known)


class SketchTrainings:
    """What is trained once, and its figures on test people of FS2K, and on CUHK."""

    def __init__(self, faces: Faces, seed: int) -> None:
        self._faces, self._seed = faces, seed
        self._device = choose_torch_device("auto")
        self._console = Console(stderr=True)
        self._found: dict[str, Measured] = {}

    def measured(self, name: str) -> Measured:
        """Of one of TRAININGS: `test` with all photos, `own` with those of test people alone, `others` of CUHK, and `share`."""
        return self._kept(name, lambda: self._trained_on_one(name))

    def half(self, half: int) -> CrossModalFigures:
        """Half of CUHK asked about among all of it, by what was trained on FS2K and the other half."""
        name = f"wsgan-shared-{half}"
        return figures_from(self._kept(name, lambda: self._trained_on_both(half))["others"])

    @property
    def machines(self) -> list[str]:
        """Where and when what was asked for was measured."""
        return sorted({found["measured"] for found in self._found.values()})

    def _kept(self, name: str, measure: Callable[[], Measured]) -> Measured:
        if name not in self._found:
            path = MEASURED / f"fs2k-{name}-seed-{self._seed}.json"
            self._found[name] = kept_or_measured(path, self._plan(name), self._device, measure)
        return self._found[name]

    def _plan(self, name: str) -> Measured:
        is_adapted = name in adapted.METHODS
        recipe: Any = adaptation.VARIANTS[name](adaptation.small()) if is_adapted else RECIPES[name.rstrip("-01")]()
        return {
            "training": name,
            "seed": self._seed,
            "version": (adaptation_trainer if is_adapted else wsgan_trainer).VERSION,
            "recipe": asdict(recipe),
            "encoder": self._faces.encoder(ENCODER).space.fingerprint,
            "split": [VALIDATION, TEST],
            "measured by": [list(SHARES), list(SIGMAS), NUM_SAMPLES, ROUNDS],
        }

    def _trained_on_one(self, name: str) -> Measured:
        own = features_of(self._faces, DRAWN)
        parts = parts_of(own, self._seed, TEST)
        assert parts.test is not None
        with _workshop(f"fs2k-{name}") as folder:
            pictures = self._pictures(folder, DRAWN)
            trained, measured = self._trained(name, parts, pictures)
            is_test = np.isin(parts.gallery.subject, np.unique(parts.test.subject))
            among_own = trained.figures(pictures, parts.test, parts.gallery.take(is_test))
            sketches, photos = by_modality(features_of(self._faces, OTHERS))
            others = trained.figures(self._pictures(folder, OTHERS), sketches, photos)
        return measured | {"own": asdict(among_own), "others": asdict(others)}

    def _trained_on_both(self, half: int) -> Measured:
        both = features_of(self._faces, DRAWN, OTHERS)
        is_other = np.char.startswith(both.subject, f"{OTHERS}/")
        is_left_out = np.isin(both.subject, np.unique(both.subject[is_other])[half :: len(HALVES)])
        parts = parts_of(both.take(~is_left_out), self._seed, 0.0)
        with _workshop(f"fs2k-wsgan-shared-{half}") as folder:
            pictures = self._pictures(folder, DRAWN, OTHERS)
            trained, _ = self._trained("wsgan-shared", parts, pictures)
            sketches, photos = by_modality(both)
            own_half, everybody = (
                rows.take(np.isin(rows.subject, np.unique(both.subject[chosen])))
                for rows, chosen in ((sketches, is_left_out), (photos, is_other))
            )
            return {"others": asdict(trained.figures(pictures, own_half, everybody))}

    def _trained(self, name: str, parts: ModalityParts, pictures: ModalPictures) -> tuple[Trained, Measured]:
        self._console.print(f"training {name} on sketches")
        workplace = Workplace(self._device, pictures.folder / "checkpoint.npz")
        fitted: FittedEncoders | FittedAcross
        if name in adapted.METHODS:
            fitted = fit_adapted(parts, name, self._seed, AdaptationExtras(pictures, workplace=workplace))
            trained = Trained(fitted.weak, None, is_of_photos=True)
        else:
            fitted = fit_across(parts, "wsgan", self._seed, Extras(RECIPES[name], workplace, pictures))
            assert fitted.encoder is not None
            trained = Trained(fitted.encoder, fitted, is_of_photos=fitted.is_of_photos)
        found = fitted.test or fitted.validation
        return trained, {
            "share": fitted.hyperparameters["encoder_share"],
            "test": asdict(found.figures),
            "one_sample": asdict(found.by_samples[1]) if found.by_samples else None,
            "intra_sim": found.generated.intra_sim if found.generated else None,
        }

    def _pictures(self, folder: Path, *names: str) -> ModalPictures:
        place = folder / "-".join(names)
        place.mkdir(exist_ok=True)
        return ModalPictures(ViewSource(self._faces.sets(*names)), self._faces.encoder(ENCODER), "sketches", place)


@contextmanager
def _workshop(name: str) -> Iterator[Path]:
    """A folder for unfinished work, which is left where it is interrupted, so that it goes on there."""
    folder = KEPT / "sketches" / name
    folder.mkdir(parents=True, exist_ok=True)
    yield folder
    shutil.rmtree(folder)


def figures_from(kept: dict[str, Any]) -> CrossModalFigures:
    """Figures as they were kept."""
    return CrossModalFigures(**kept)


def parts_of(both: FeatureSet, seed: int, test: float) -> ModalityParts:
    """Sketches and photos of one set, split by subject."""
    return ModalityParts.of(join_by_subject(both, both), SplitRule("subject", seed, VALIDATION, test))


def by_modality(both: FeatureSet) -> tuple[FeatureSet, FeatureSet]:
    """Sketches and photos."""
    assert both.modality is not None
    return both.take(both.modality == "sketch"), both.take(both.modality == "photo")


def asked(fitted: FittedAcross | None, sketches: FeatureSet, photos: FeatureSet) -> CrossModalFigures:
    """Sketches among photos, as they are, translated or sampled."""
    if fitted is None:
        scores: Sequence[np.ndarray] = [sketches.feature @ photos.feature.T]
    elif fitted.sampling is None:
        scores = [GraphTranslator(fitted.graph)(sketches.feature) @ photos.feature.T]
    else:
        sampler = GraphSampler(fitted.graph, fitted.sampling.num_noise, fitted.sampling.num_samples)
        scores = [
            score_samples(sampler(sketches.feature, seed), photos.feature, fitted.sampling.sigma)
            for seed in range(ROUNDS)
        ]
    return mean_figures([figures_of(score_PG, sketches.subject, photos.subject) for score_PG in scores])


def features_of(faces: Faces, *names: str) -> FeatureSet:
    """Of the pictures of these sets, by the encoder as it came."""
    with tempfile.TemporaryDirectory() as folder:
        partial = Path(folder) / "partial"
        found = extract_features(faces.encoder(ENCODER), faces.sets(*names), partial, ExtractionSettings()).feature_set
        discard_partial(partial)
    return found
