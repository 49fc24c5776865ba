"""The part of `compare` that sets ways to weigh three tasks side by side."""

import argparse
import importlib
from collections.abc import Sequence

from models.split import SplitRule
from training.commands.comparison_files import write_comparison
from training.commands.fit_across import joined, modal_pictures
from training.commands.fit_tasks import task_recipe
from training.commands.task_tables import task_comparison_tables
from training.commands.terminal import StepWatch, out, progress_bar
from training.data.modalities import ModalityParts
from training.data.partial import sole_partial
from training.errors import TrainingError
from training.recipes.task_comparison import compare_tasks
from training.recipes.tasks import METHODS, TaskExtras
from training.trainers.fitted import Workplace


def run(options: argparse.Namespace) -> None:
    """Train, measure, print, draw."""
    methods = _methods(options)
    parts = ModalityParts.of(joined(options), SplitRule("subject", options.seed, options.validation, options.test))
    with sole_partial(options.out, METHODS) as partial:
        pictures = modal_pictures(options, parts, options.out, partial)
        assert pictures is not None
        # By name: whoever asks for help need not wait for torch and matplotlib.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device)
        recipe = task_recipe(options, parts.modality)
        with progress_bar() as progress:
            fitting = progress.add_task("", total=None, rate="")
            watch = StepWatch(progress, fitting, recipe().num_people * recipe().num_pictures)
            comparison = compare_tasks(
                parts,
                methods,
                TaskExtras(pictures, recipe, Workplace(device, on_step=watch)),
                seed=options.seed,
                on_method=lambda name: progress.update(fitting, description=name, completed=0, total=None, rate=""),
            )
        for table in task_comparison_tables(comparison):
            out().print(table)
        draw = importlib.import_module("training.commands.task_plots").draw_task_comparison
        write_comparison(options.out, comparison.to_json(), lambda path: draw(comparison, path))


def _methods(options: argparse.Namespace) -> Sequence[str]:
    methods = list(dict.fromkeys(options.methods))
    others = [name for name in methods if name not in METHODS]
    if others:
        raise TrainingError(f"--methods {others[0]} is not compared with those of three tasks: {', '.join(METHODS)}")
    if options.images is None or options.encoder is None:
        raise TrainingError(f"--methods {methods[0]} trains an encoder on pictures: give --images and --encoder")
    if options.shared_encoder:
        raise TrainingError("--shared-encoder has no effect here: the encoder is of both modalities")
    return methods
