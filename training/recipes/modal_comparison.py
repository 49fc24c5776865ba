"""Every method across modalities on the same people, side by side: Tables 1 and 3 of Weak-Strong GAN (AAAI 2019)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.data.modalities import ModalityParts
from training.errors import TrainingError
from training.evaluation.cross_modal import CrossModalFigures, Variance, figures_of, real_variance
from training.recipes import adapted, modalities
from training.recipes.adapted import AdaptationExtras, fit_adapted
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import NOTHING, TRANSLATORS, Extras, Measured, fit_across
from training.trainers.fitted import Workplace

WITHOUT_PICTURES = (NOTHING, *modalities.METHODS)
"""Methods that look at features alone, in the order of the table; WSGAN and its parts train an encoder too where they can."""
METHODS = (NOTHING, *TRANSLATORS, *adapted.METHODS, *(name for name in modalities.METHODS if name not in TRANSLATORS))
"""All of them."""


@dataclass(frozen=True, slots=True)
class ComparedAcross:
    """A row of the table."""

    method: str
    figures: CrossModalFigures
    one_sample: CrossModalFigures | None
    """Of a sampler that draws one of each."""
    generated: Variance | None
    real: Variance | None
    """Of photos by the encoder that a sampler's features are of, where one was trained of both."""
    seconds: float


@dataclass(frozen=True, slots=True)
class ModalComparison:
    """All rows, and what they were measured on."""

    modality: str
    space: str
    measured_on: str
    num_probes: int
    num_photos: int
    is_end_to_end: bool
    """Whether samplers' encoders were trained too."""
    is_shared: bool
    """Whether these encode photos too."""
    real: Variance
    rows: list[ComparedAcross]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return asdict(self)


def compare_across(
    parts: ModalityParts,
    methods: Sequence[str],
    extras: Extras,
    adaptation: AdaptationExtras | None,
    *,
    seed: int,
    on_method: Callable[[str], None] = lambda name: None,
) -> ModalComparison:
    """Train each method on the same people, and measure it on those of the test part, or validation where there is none.

    What is trained for long keeps its checkpoints below the folders of `extras`. Raises `TrainingError`.
    """
    rows = []
    for method in methods:
        on_method(method)
        started = time.monotonic()
        try:
            measured, real = _measured(parts, method, extras, adaptation, seed)
        except TrainingError as failure:
            raise TrainingError(f"{method}: {failure}; or compare without it: --methods") from None
        rows.append(
            ComparedAcross(
                method,
                measured.figures,
                measured.by_samples.get(1),
                measured.generated,
                real,
                time.monotonic() - started,
            )
        )
    probes = parts.test or parts.validation
    return ModalComparison(
        parts.modality,
        parts.gallery.space.name,
        "test people" if parts.test else "validation people",
        len(probes),
        len(parts.gallery),
        extras.pictures is not None,
        extras.pictures is not None and extras.recipe().shares_encoder,
        real_variance(parts.gallery),
        rows,
    )


def _measured(
    parts: ModalityParts, method: str, extras: Extras, adaptation: AdaptationExtras | None, seed: int
) -> tuple[Measured, Variance | None]:
    if method == NOTHING:
        return _nothing(parts), None
    if method in adapted.METHODS:
        if adaptation is None:
            raise TrainingError("it trains an encoder on pictures: give --images and --encoder")
        pictures, workplace = _of_method(method, adaptation.pictures, adaptation.workplace)
        own = replace(adaptation, pictures=pictures, workplace=workplace)
        encoders = fit_adapted(parts, method, seed, own)
        return encoders.test or encoders.validation, None
    if extras.pictures and method not in TRANSLATORS:
        pictures, workplace = _of_method(method, extras.pictures, extras.workplace)
        extras = replace(extras, pictures=pictures, workplace=workplace)
    elif method in TRANSLATORS:
        extras = replace(extras, pictures=None)
    fitted = fit_across(parts, method, seed, extras)
    return fitted.test or fitted.validation, fitted.real if fitted.is_of_photos else None


def _of_method(method: str, pictures: ModalPictures, workplace: Workplace) -> tuple[ModalPictures, Workplace]:
    """A folder of its own for what a method leaves when it is interrupted."""
    folder: Path = pictures.folder / method
    folder.mkdir(parents=True, exist_ok=True)
    return replace(pictures, folder=folder), replace(workplace, checkpoint=folder / "checkpoint.npz")


def _nothing(parts: ModalityParts) -> Measured:
    probes, gallery = parts.test or parts.validation, parts.gallery
    if probes.space.fingerprint != gallery.space.fingerprint:
        raise TrainingError("features of two encoders cannot be compared as they are")
    figures = figures_of(probes.feature @ gallery.feature.T, probes.subject, gallery.subject)
    return Measured(len(probes), figures, figures, {}, None)
