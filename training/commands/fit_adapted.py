"""The part of `fit` that trains one encoder for two modalities, from an encoder that one has."""

import argparse
import importlib
from collections.abc import Callable
from dataclasses import replace

from training.commands.fit_across import modal_pictures, with_pictures
from training.commands.terminal import (
    StepWatch,
    cross_modal_table,
    out,
    progress_bar,
    tell_lonely,
    tell_photos,
    thresholds_line,
)
from training.data.modalities import ModalityParts
from training.data.partial import sole_partial
from training.evaluation.cross_modal import real_variance
from training.export.bundles import write_encoder_bundle
from training.export.manifest import provenance
from training.recipes.adaptation import RECIPES
from training.recipes.adapted import AdaptationExtras, FittedEncoders, fit_adapted
from training.recipes.modalities import LEFT
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.fitted import Workplace


def run(options: argparse.Namespace) -> None:
    """Train, measure, write an encoder in a space of its own: its gallery is enrolled anew."""
    found, parts = with_pictures(options)
    with sole_partial(options.out, LEFT) as partial:
        pictures = modal_pictures(options, parts, options.out, partial)
        assert pictures is not None
        # By name: whoever asks for help need not wait for torch.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device or "auto")
        recipe = _recipe(options)
        with progress_bar() as progress:
            training = progress.add_task("training", total=None, rate="")
            workplace = Workplace(device, partial / "checkpoint.npz", StepWatch(progress, training, recipe().batch))
            fitted = fit_adapted(parts, options.method, options.seed, AdaptationExtras(pictures, recipe, workplace))
        manifest = write_encoder_bundle(
            options.out,
            replace(fitted.weak, licence=options.licence if options.licence != "unknown" else fitted.weak.licence),
            training=provenance(
                data_digests={"source": found.weak.digest, "target": found.strong.digest},
                seed=options.seed,
                split=parts.rule,
                hyperparameters={"method": options.method, **fitted.hyperparameters},
            ),
            metrics=fitted.metrics(),
            calibration=fitted.calibration,
        )
    tell_lonely(found.num_lonely)
    _tell(options, parts, fitted, f"{manifest.target.name} ({manifest.target.fingerprint})")


def _recipe(options: argparse.Namespace) -> Callable[[], AdaptationRecipe]:
    names = ("epochs", "batch")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}

    def recipe() -> AdaptationRecipe:
        found = replace(RECIPES[options.recipe or "small"](), **changes)
        rate = options.learning_rate
        return found if rate is None else replace(found, encoder=replace(found.encoder, learning_rate=rate))

    return recipe


def _tell(options: argparse.Namespace, parts: ModalityParts, fitted: FittedEncoders, space: str) -> None:
    console = out()
    measured, part = (fitted.test, "test") if fitted.test else (fitted.validation, "validation")
    title = (
        f"{parts.modality} to photo: {measured.num_probes} probes of {part} people among {len(parts.gallery)} photos"
    )
    console.print(cross_modal_table(title, options.method, measured, real_variance(parts.gallery)))
    console.print(
        f"{options.out}: {options.method}, trained on {len(parts.train.weak)} pictures and {len(parts.train.strong)} photos, "
        f"space {space}; galleries are enrolled in it anew",
        soft_wrap=True,
    )
    if fitted.strong is fitted.weak:
        tell_photos(fitted.photos, fitted.calibration)
    stated = fitted.calibration.points.get(f"native-target/{parts.modality}", ())
    console.print(thresholds_line(stated, [parts.num_validation]), soft_wrap=True)
