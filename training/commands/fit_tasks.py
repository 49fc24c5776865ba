"""The part of `fit` that trains one network for three tasks, from an encoder that one has."""

import argparse
import importlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from models.bundle import Manifest
from models.calibration import MODALITY_PATTERN
from training.commands.fit_across import modal_pictures, with_pictures
from training.commands.task_tables import known_table, tasks_table
from training.commands.terminal import (
    StepWatch,
    out,
    progress_bar,
    tell_photos,
    thresholds_line,
)
from training.data.modalities import Modalities, ModalityParts
from training.data.partial import sole_partial
from training.errors import TrainingError
from training.export.bundles import all_or_none, check_bundle_path, write_classifier_bundle, write_encoder_bundle
from training.export.manifest import provenance
from training.export.task_page import task_page
from training.recipes.multi_task import RECIPES
from training.recipes.tasks import HELD, LEFT, Classifier, FittedNetwork, TaskExtras, fit_network, for_modality
from training.trainers.fitted import Workplace
from training.trainers.multi_task_recipe import MultiTaskRecipe


def run(options: argparse.Namespace) -> None:
    """Train, measure, write an encoder in a space of its own, and two classifiers."""
    found, parts = with_pictures(options)
    if not re.fullmatch(MODALITY_PATTERN, parts.modality):
        raise TrainingError(f"--modality {parts.modality}: a bundle's modality is of small letters, digits and '-'")
    for modality in (parts.modality, "photo"):
        check_bundle_path(_folder(options.out, modality))
    with sole_partial(options.out, LEFT) as partial:
        pictures = modal_pictures(options, parts, options.out, partial)
        assert pictures is not None
        # By name: whoever asks for help need not wait for torch.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device or "auto")
        recipe = task_recipe(options, parts.modality)
        with progress_bar() as progress:
            training = progress.add_task("training", total=None, rate="")
            watch = StepWatch(progress, training, recipe().num_people * recipe().num_pictures)
            workplace = Workplace(device, partial / "checkpoint.npz", watch)
            held = HELD if options.held is None else options.held
            fitted = fit_network(parts, options.method, options.seed, TaskExtras(pictures, recipe, workplace, held))
        _write(options, found, parts, fitted)
    _tell(options, parts, fitted)


def task_recipe(options: argparse.Namespace, modality: str) -> Callable[[], MultiTaskRecipe]:
    """As options name and change it; `TrainingError` where a batch would not hold two people."""

    def recipe() -> MultiTaskRecipe:
        found = for_modality(RECIPES[options.recipe or "small"](), modality)
        if options.epochs is not None:
            found = replace(found, epochs=options.epochs)
        batch, rate = getattr(options, "batch", None), getattr(options, "learning_rate", None)
        if batch is not None:
            made = found.num_caricatures / found.num_people
            each = 2 * found.num_pictures + made
            if batch < 2 * each:
                raise TrainingError(
                    f"--batch {batch} does not hold two people, of each of whom it takes {each:g} pictures"
                )
            num_people = int(batch / each)
            found = replace(found, num_people=num_people, num_caricatures=round(made * num_people))
        return found if rate is None else replace(found, encoder=replace(found.encoder, learning_rate=rate))

    return recipe


def _folder(out: Path, modality: str) -> Path:
    return out.with_name(f"{out.name}-{modality}")


def _write(options: argparse.Namespace, found: Modalities, parts: ModalityParts, fitted: FittedNetwork) -> None:
    licence = options.licence if options.licence != "unknown" else fitted.encoder.licence
    training = provenance(
        data_digests={"source": found.weak.digest, "target": found.strong.digest},
        seed=options.seed,
        split=parts.rule,
        hyperparameters={"method": options.method, **fitted.hyperparameters},
    )

    def page(manifest: Manifest) -> bytes:
        plots = importlib.import_module("training.commands.task_plots")
        plot: str = plots.history(fitted.loss_ET, fitted.weight_ET, parts.modality)
        return task_page(manifest, fitted.calibration, parts.modality, plot)

    def write_classifier(classifier: Classifier) -> None:
        folder = _folder(options.out, classifier.modality)
        write_classifier_bundle(
            folder,
            classifier.graph,
            classifier.space,
            classifier.labels,
            modality=classifier.modality,
            method=options.method,
            licence=licence,
            training=training,
            metrics={"known": fitted.metrics()["known"], "encoder": options.out.name},
        )
        written.append(folder)

    with all_or_none() as written:
        write_encoder_bundle(
            options.out,
            replace(fitted.encoder, licence=licence),
            training=training,
            metrics=fitted.metrics(),
            calibration=fitted.calibration,
            report=page if options.report else None,
        )
        written.append(options.out)
        for classifier in _classifiers(fitted):
            write_classifier(classifier)


def _classifiers(fitted: FittedNetwork) -> list[Classifier]:
    return [one for one in (fitted.weak, fitted.photo) if one is not None]


def _tell(options: argparse.Namespace, parts: ModalityParts, fitted: FittedNetwork) -> None:
    console = out()
    console.print(tasks_table(parts.modality, options.method, fitted))
    if fitted.known.num_weak or fitted.known.num_photos:
        console.print(known_table(parts.modality, fitted.known))
    alone = f", {fitted.num_of_one} of whom have one modality alone" if fitted.num_of_one else ""
    console.print(
        f"{options.out}: {options.method}, trained on {fitted.num_learned} pictures of {fitted.num_people} people{alone}; "
        "galleries are enrolled in its space anew",
        soft_wrap=True,
    )
    for classifier in _classifiers(fitted):
        console.print(
            f"{_folder(options.out, classifier.modality)}: who of {len(classifier.labels)} people is on a {classifier.modality}",
            soft_wrap=True,
        )
    tell_photos(fitted.photos, fitted.calibration)
    stated = fitted.calibration.points.get(f"native-target/{parts.modality}", ())
    console.print(thresholds_line(stated, [parts.num_validation]), soft_wrap=True)
