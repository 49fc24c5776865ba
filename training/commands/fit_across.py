"""The part of `fit` that brings a weak modality, such as sketches, to photos: translators, samplers, and encoders with them."""

import argparse
import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.bundle import Manifest
from models.split import SplitRule
from training.commands.terminal import (
    StepWatch,
    cross_modal_table,
    out,
    progress_bar,
    tell_lonely,
    tell_photos,
    thresholds_line,
)
from training.data.encoders import find_encoder
from training.data.feature_set_files import load_feature_set
from training.data.modalities import Modalities, ModalityParts, join_by_subject
from training.data.partial import sole_partial
from training.data.sources import open_sources
from training.data.views import ViewSource
from training.errors import TrainingError
from training.export.bundles import all_or_none, check_bundle_path, write_encoder_bundle
from training.export.cross_modal_bundle import write_cross_modal_bundle
from training.export.cross_modal_page import CrossModalPlots, cross_modal_page
from training.export.manifest import provenance
from training.recipes.modal_pictures import ModalPictures
from training.recipes.modalities import LEFT, TRANSLATORS, Extras, FittedAcross, fit_across, photo_metrics
from training.recipes.wsgan import RECIPES, small_end_to_end, small_shared
from training.trainers.fitted import Workplace
from training.trainers.wsgan_recipe import WSGANRecipe

ENCODER = "{}-encoder"
"""The folder of the encoder of weak pictures, by the folder of the sampler."""
HEEDED = ("--images", "--modality", "--recipe", "--device", "--epochs", "--batch", "--learning-rate")
_OF_TRAINING = ("images", "recipe", "epochs", "batch", "learning_rate", "device")


def run(options: argparse.Namespace) -> None:
    """Fit, measure, write."""
    found = joined(options)
    rule = SplitRule("subject", options.seed, options.validation, options.test)
    parts = ModalityParts.of(found, rule)
    with sole_partial(options.out, LEFT) as partial:
        fitted = _fit(options, parts, partial)
        digests = {"source": found.weak.digest, "target": found.strong.digest}
        with all_or_none() as written:
            if fitted.encoder:
                written.append(_write_encoder(options, fitted, digests, rule))
            manifest = write_cross_modal_bundle(
                options.out,
                kind="sampler" if fitted.sampling else "translator",
                method=fitted.method,
                spaces=(fitted.source, fitted.target),
                graph=fitted.graph,
                modality=parts.modality,
                sampling=fitted.sampling,
                calibration=fitted.calibration,
                licence=options.licence,
                training=provenance(
                    data_digests=digests, seed=options.seed, split=rule, hyperparameters=fitted.hyperparameters
                ),
                metrics=fitted.metrics(),
                report=(lambda manifest: _page(manifest, fitted)) if options.report else None,
            )
    _tell(options, parts, fitted, manifest, found.num_lonely)


def joined(options: argparse.Namespace) -> Modalities:
    """Both sets by subject. Raises `TrainingError`."""
    if options.source is None or options.target is None:
        raise TrainingError(f"--method {options.method} is fitted on --source, with a weak modality, and --target")
    return join_by_subject(load_feature_set(options.source), load_feature_set(options.target), options.modality)


def with_pictures(options: argparse.Namespace) -> tuple[Modalities, ModalityParts]:
    """Both sets by subject, and by part, for a method that trains an encoder of both. Raises `TrainingError`."""
    if options.images is None or options.encoder is None:
        raise TrainingError(f"--method {options.method} trains an encoder on pictures: give --images and --encoder")
    found = joined(options)
    return found, ModalityParts.of(found, SplitRule("subject", options.seed, options.validation, options.test))


def _fit(options: argparse.Namespace, parts: ModalityParts, partial: Path) -> FittedAcross:
    if options.method in TRANSLATORS:
        given = [name for name in (*_OF_TRAINING, "encoder") if getattr(options, name) is not None]
        if given:
            raise TrainingError(f"--{given[0].replace('_', '-')} has no effect on --method {options.method}")
        with out().status(f"fitting {options.method}"):
            return fit_across(parts, options.method, options.seed)
    pictures = modal_pictures(options, parts, _encoder_folder(options.out), partial)
    if pictures:
        check_bundle_path(_encoder_folder(options.out))
    # By name: whoever asks for help need not wait for torch.
    device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device or "auto")
    recipe = wsgan_recipe(options, is_end_to_end=pictures is not None)
    with progress_bar() as progress:
        decoding = progress.add_task("decoding", total=len(parts.train.weak), rate="", visible=pictures is not None)
        training = progress.add_task("training", total=None, rate="")
        watch = StepWatch(progress, training, recipe().batch)
        workplace = Workplace(device, partial / "checkpoint.npz", watch)
        if pictures:
            pictures = replace(pictures, on_decoded=lambda done: progress.advance(decoding, done))
        extras = Extras(recipe, workplace, pictures)
        return fit_across(parts, options.method, options.seed, extras)


def modal_pictures(
    options: argparse.Namespace, parts: ModalityParts, name: Path, partial: Path
) -> ModalPictures | None:
    """The pictures and the encoder that are named, None where there are none; `name` is that of the space to be made.

    Raises `TrainingError`.
    """
    if options.images is None and options.encoder is None:
        return None
    if options.images is None or options.encoder is None:
        raise TrainingError(
            "an encoder is trained with the pictures of --source: give --images and --encoder, or neither"
        )
    encoder = find_encoder(options.encoder, options.encoders)
    if encoder.space.fingerprint != parts.train.weak.space.fingerprint:
        raise TrainingError(f"--encoder {options.encoder}: did not make the features of {options.source}")
    return ModalPictures(ViewSource(open_sources(options.images)), encoder, name.name, partial)


def wsgan_recipe(options: argparse.Namespace, *, is_end_to_end: bool) -> Callable[[], WSGANRecipe]:
    """As options name and change it."""
    name = options.recipe or "small"
    base = RECIPES[name]
    if is_end_to_end and name == "small":
        base = small_shared if options.shared_encoder else small_end_to_end
    names = ("epochs", "batch")
    changes = {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}

    def recipe() -> WSGANRecipe:
        found = replace(base(), **changes)
        learning_rate = getattr(options, "learning_rate", None)
        if learning_rate is None:
            return found
        return replace(
            found,
            generator=replace(found.generator, learning_rate=learning_rate),
            encoder=replace(found.encoder, learning_rate=learning_rate),
        )

    return recipe


def _encoder_folder(folder: Path) -> Path:
    return folder.with_name(ENCODER.format(folder.name))


def _write_encoder(options: argparse.Namespace, fitted: FittedAcross, digests: dict[str, str], rule: SplitRule) -> Path:
    assert fitted.encoder is not None
    folder = _encoder_folder(options.out)
    trained = provenance(data_digests=digests, seed=options.seed, split=rule, hyperparameters=fitted.hyperparameters)
    write_encoder_bundle(
        folder,
        fitted.encoder,
        training=trained,
        metrics={"sampler": options.out.name} | (photo_metrics(fitted.photos) if fitted.is_of_photos else {}),
        calibration=fitted.encoder_calibration,
    )
    return folder


def _page(manifest: Manifest, fitted: FittedAcross) -> bytes:
    # By name: whoever asks for help need not wait for matplotlib.
    plots = importlib.import_module("training.commands.cross_modal_plots")
    measured = fitted.test or fitted.validation
    drawn = CrossModalPlots(
        plots.recall(measured.by_samples) if measured.by_samples else "",
        plots.feature_map(fitted.feature_map) if fitted.feature_map else "",
    )
    return cross_modal_page(manifest, fitted.calibration, drawn)


def _tell(
    options: argparse.Namespace, parts: ModalityParts, fitted: FittedAcross, manifest: Manifest, num_lonely: int
) -> None:
    console = out()
    tell_lonely(num_lonely)
    measured, part = (fitted.test, "test") if fitted.test else (fitted.validation, "validation")
    assert measured is not None
    title = (
        f"{parts.modality} to photo: {measured.num_probes} probes of {part} people among {len(parts.gallery)} photos"
    )
    console.print(cross_modal_table(title, fitted.method, measured, fitted.real))
    chosen = f"{fitted.method} {json.dumps(fitted.hyperparameters)}" if not fitted.sampling else fitted.method
    anew = "; it is of photos too, and galleries are enrolled with it anew" if fitted.is_of_photos else ""
    beside = f", with the encoder {_encoder_folder(options.out)}" if fitted.encoder else ""
    console.print(
        f"{options.out}: {chosen}, fitted on {len(parts.train.weak)} pictures and {len(parts.train.strong)} photos, digest "
        f"{manifest.digest[:16]}{beside}{anew}",
        soft_wrap=True,
    )
    if fitted.is_of_photos:
        tell_photos(fitted.photos, fitted.encoder_calibration)
    comparison = f"translated/{parts.modality}"
    console.print(
        thresholds_line(fitted.calibration.points.get(comparison, ()), [parts.num_validation]), soft_wrap=True
    )
