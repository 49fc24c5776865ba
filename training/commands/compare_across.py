"""The part of `compare` that sets methods across modalities side by side."""

import argparse
import importlib
from collections.abc import Sequence
from dataclasses import replace

from models.split import SplitRule
from training.commands.comparison_files import write_comparison
from training.commands.fit_across import modal_pictures, wsgan_recipe
from training.commands.terminal import StepWatch, compared_across_table, out, progress_bar
from training.data.feature_set_files import load_feature_set
from training.data.modalities import ModalityParts, join_by_subject
from training.data.partial import sole_partial
from training.errors import TrainingError
from training.recipes import adaptation, adapted
from training.recipes.adapted import AdaptationExtras
from training.recipes.modal_comparison import METHODS, WITHOUT_PICTURES, compare_across
from training.recipes.modalities import Extras
from training.recipes.wsgan import VARIANTS
from training.trainers.adaptation_recipe import AdaptationRecipe
from training.trainers.fitted import Workplace


def run(options: argparse.Namespace) -> None:
    """Train, measure, print, draw."""
    methods = _methods(options)
    found = join_by_subject(load_feature_set(options.source), load_feature_set(options.target), options.modality)
    parts = ModalityParts.of(found, SplitRule("subject", options.seed, options.validation, options.test))
    with sole_partial(options.out, METHODS) as partial:
        pictures = modal_pictures(options, parts, options.out, partial)
        if options.shared_encoder and (pictures is None or not any(name in VARIANTS for name in methods)):
            wanted = f"that {', '.join(VARIANTS)} train: give --images and --encoder, and one of them"
            raise TrainingError(f"--shared-encoder is for an encoder {wanted}")
        # By name: whoever asks for help need not wait for torch and matplotlib.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device)
        with progress_bar() as progress:
            fitting = progress.add_task("", total=None, rate="")
            recipe = wsgan_recipe(options, is_end_to_end=pictures is not None)
            workplace = Workplace(device, on_step=StepWatch(progress, fitting, recipe().batch))
            extras = Extras(recipe, workplace, pictures)
            trained = AdaptationExtras(pictures, lambda: _adaptation(options), workplace) if pictures else None
            comparison = compare_across(
                parts,
                methods,
                extras,
                trained,
                seed=options.seed,
                on_method=lambda name: progress.update(fitting, description=name, completed=0, total=None, rate=""),
            )
        out().print(compared_across_table(comparison))
        draw = importlib.import_module("training.commands.plot").draw_modal_comparison
        write_comparison(options.out, comparison.to_json(), lambda path: draw(comparison, path))


def _methods(options: argparse.Namespace) -> Sequence[str]:
    if options.methods is None:
        return METHODS if options.images is not None else WITHOUT_PICTURES
    methods = list(dict.fromkeys(options.methods))
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise TrainingError(f"--methods {unknown[0]}: across modalities there are {', '.join(METHODS)}")
    blind = [name for name in methods if name in adapted.METHODS]
    if blind and options.images is None:
        raise TrainingError(f"--methods {blind[0]} trains an encoder on pictures: give --images and --encoder")
    return methods


def _adaptation(options: argparse.Namespace) -> AdaptationRecipe:
    recipe = adaptation.RECIPES[options.recipe]()
    return replace(recipe, epochs=options.epochs) if options.epochs is not None else recipe
