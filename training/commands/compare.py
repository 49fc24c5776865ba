"""Fit methods side by side on a pair of feature sets, and print and draw how they compare.

Native is each encoder alone, none the two side by side without any translation; then each method, with translated
probes against a native gallery and native probes against a translated gallery. Without --images, the methods that learn
from pictures are left out. Long trainings go on where they were interrupted.

With --modality, methods across modalities: pictures of it in --source against photos in --target, joined by subject. With
--images and --encoder the encoder is trained too, by WSGAN and by its published baselines; or, with --methods dynamic-mtl
static-mtl and the others, one network for three tasks, whose ways to weigh these are compared.
"""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from models.bundle import COMMON_SPACE_METHODS
from models.split import SplitRule
from training.commands import compare_across, compare_tasks
from training.commands.arguments import add_registry_argument, add_split_arguments, check_shares, positive
from training.commands.comparison_files import FIGURES, PLOT, write_comparison
from training.commands.terminal import StepWatch, comparison_table, out, progress_bar
from training.data.feature_set_files import load_feature_set
from training.data.pairs import join_by_image
from training.data.partial import sole_partial
from training.errors import TrainingError
from training.recipes import modal_comparison, tasks
from training.recipes.comparison import QUICK, WITH_PICTURES, compare_methods, needs_pictures
from training.recipes.r3an import ARCHITECTURES, LEFT, RECIPES, PicturesOfPairs
from training.recipes.translators import METHODS, Extras, SplitPairs
from training.trainers.fitted import Workplace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--source", required=True, type=Path, metavar="SET", help="features to translate from")
    parser.add_argument("--target", required=True, type=Path, metavar="SET", help="features to translate to")
    parser.add_argument(
        "--images", nargs="+", type=Path, metavar="DIR|ZIP|CSV", help="the pictures that the features are of"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=tuple(dict.fromkeys((*METHODS, *COMMON_SPACE_METHODS, *modal_comparison.METHODS, *tasks.METHODS))),
        metavar="METHOD",
        help=f"default: {' '.join(QUICK)}, and with --images {' '.join(WITH_PICTURES)}",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help=f"new folder for {FIGURES} and {PLOT}")
    parser.add_argument("--recipe", choices=tuple(RECIPES), default="small", help="of R3AN (default: %(default)s)")
    add_split_arguments(parser)
    group = parser.add_argument_group("across modalities")
    group.add_argument("--modality", help="that is asked about, such as sketch")
    group.add_argument("--encoder", metavar="ENCODER", help="to be trained, as `extract` takes it")
    group.add_argument(
        "--shared-encoder", action="store_true", help="WSGAN's is of photos too, as those of fine-tuning are"
    )
    add_registry_argument(group)
    group.add_argument("--epochs", type=positive, help="of all that train an encoder (default: the recipe's)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")


def run(options: argparse.Namespace) -> None:
    """Fit, measure, print, draw."""
    if options.out.exists():
        raise TrainingError(f"{options.out}: exists already; choose another name or delete it")
    check_shares(options)
    is_of_tasks = any(name in tasks.METHODS for name in options.methods or ())
    if options.modality is not None:
        (compare_tasks if is_of_tasks else compare_across).run(options)
        return
    across = [
        f"--{name.replace('_', '-')}"
        for name in ("encoder", "epochs", "shared_encoder")
        if getattr(options, name) not in (None, False)
    ]
    if across:
        raise TrainingError(f"{across[0]} is for a comparison across modalities: give --modality too")
    methods = _methods(options)
    pairs = join_by_image(load_feature_set(options.source), load_feature_set(options.target))
    by = "subject" if pairs.source.has_subjects else "image"
    parts = SplitPairs.of(pairs, SplitRule(by, options.seed, options.validation, options.test))  # type: ignore[arg-type]
    pictures = PicturesOfPairs.find(parts.train, options.images) if any(map(needs_pictures, methods)) else None
    with sole_partial(options.out, (*LEFT, *METHODS)) as partial:
        # By name: whoever asks for help need not wait for torch and matplotlib.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device)
        recipe = RECIPES[options.recipe]
        with progress_bar() as progress:
            fitting = progress.add_task("", total=None, rate="")
            decoded = pictures.read(partial) if pictures else None
            watch = StepWatch(progress, fitting, recipe(ARCHITECTURES["r3an"]).batch)
            comparison = compare_methods(
                pairs,
                parts,
                methods,
                Extras(recipe, decoded, Workplace(device, on_step=watch)),
                device=options.device,
                folder=partial,
                on_method=lambda name: progress.update(fitting, description=name, completed=0, total=None, rate=""),
            )
        out().print(comparison_table(comparison))
        draw = importlib.import_module("training.commands.plot").draw_comparison
        write_comparison(options.out, comparison.to_json(), lambda path: draw(comparison, path))


def _methods(options: argparse.Namespace) -> Sequence[str]:
    if options.methods is None:
        return QUICK if options.images is None else (*QUICK, *WITH_PICTURES)
    unknown = [method for method in options.methods if method not in (*METHODS, *COMMON_SPACE_METHODS)]
    if unknown:
        raise TrainingError(f"--methods {unknown[0]} is across modalities: give --modality too")
    blind = [method for method in options.methods if needs_pictures(method)]
    if blind and options.images is None:
        raise TrainingError(f"--methods {blind[0]} needs the pictures that the features were made from: --images")
    if options.images is not None and not blind:
        raise TrainingError("--images has no effect on these methods, which look at features alone")
    methods: Sequence[str] = list(dict.fromkeys(options.methods))
    return methods
