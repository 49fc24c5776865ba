"""The part of `fit` that trains R3AN, its parts, and the naive model beside them."""

import argparse
import importlib
from dataclasses import replace
from pathlib import Path

from models.bundle import PICTURE_INSIDE_METHODS, Manifest, read_bundle
from training.commands.terminal import StepWatch, progress_bar
from training.errors import TrainingError
from training.export.bundles import check_bundle_path, write_generator_bundle
from training.export.loaded import LoadedTranslator
from training.recipes.r3an import RECIPES, PicturesOfPairs
from training.recipes.translators import METHODS, STUDENT, Extras, FittedMethod, SplitPairs, fit_methods
from training.trainers.fitted import Workplace
from training.trainers.r3an_recipe import Paths, R3ANRecipe

RECONSTRUCTION = "{}-reconstruction"
"""The folder of the bundle that paints, by the folder of the one that translates."""
HEEDED_BY_R3AN = ("recipe", "epochs", "batch", "learning_rate")
HEEDED = ("--images", "--recipe", "--device", "--epochs", "--batch", "--learning-rate")


def run(options: argparse.Namespace, parts: SplitPairs, partial: Path) -> list[FittedMethod]:
    """Find the pictures, train, measure; `partial` keeps what an interrupted training goes on from."""
    paths = METHODS[options.method].paths
    assert paths is not None
    _check_reconstruction(options, paths)
    teacher = _teacher(options, parts) if options.teacher else None
    pictures = _pictures(options, Paths() if teacher else paths, parts)
    # By name: whoever asks for help need not wait for torch.
    device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device or "auto")

    def recipe(paths: Paths) -> R3ANRecipe:
        return _recipe(options, paths)

    with progress_bar() as progress:
        decoding = progress.add_task("decoding", total=len(parts.train), rate="", visible=pictures is not None)
        training = progress.add_task("training", total=None, rate="")
        decoded = pictures.read(partial, lambda done: progress.advance(decoding, done)) if pictures else None
        watch = StepWatch(progress, training, recipe(paths).batch)
        workplace = Workplace(device, partial / "checkpoint.npz", watch)
        extras = Extras(recipe, decoded, workplace, options.with_reconstruction, teacher)
        return fit_methods(parts, options.method, options.seed, half_weights=options.half_weights, extras=extras)


def write_generator(out: Path, translator: Manifest, fitted: FittedMethod) -> Path | None:
    """Write the bundle that paints beside the one that translates, where it was asked for. Raises `BundleError`."""
    if fitted.generator is None:
        return None
    folder = _generator_folder(out)
    write_generator_bundle(folder, translator, fitted.generator)
    return folder


def _generator_folder(out: Path) -> Path:
    return out.with_name(RECONSTRUCTION.format(out.name))


def _check_reconstruction(options: argparse.Namespace, paths: Paths) -> None:
    if not options.with_reconstruction:
        return
    if options.method == STUDENT or not paths.paint:
        raise TrainingError(f"--with-reconstruction: --method {options.method} does not learn to paint faces")
    check_bundle_path(_generator_folder(options.out))


def _teacher(options: argparse.Namespace, parts: SplitPairs) -> LoadedTranslator:
    """A translator of the same spaces that has seen nobody whom the student is measured on."""
    for name in HEEDED_BY_R3AN:
        if getattr(options, name) is not None:
            raise TrainingError(
                f"--{name.replace('_', '-')} has no effect on a student whose --teacher is trained already"
            )
    folder = options.teacher
    bundle = read_bundle(folder)
    teacher = LoadedTranslator(bundle)
    if bundle.manifest.method not in PICTURE_INSIDE_METHODS:
        raise TrainingError(
            f"{folder}: is of --method {bundle.manifest.method}, and teaches what the pairs do; give an R3AN"
        )
    teacher.check_source(parts.train.source.space, what="the source set")
    if bundle.manifest.target.fingerprint != parts.train.target.space.fingerprint:
        raise TrainingError(f"{folder}: translates into another space than the target set's")
    if bundle.manifest.provenance.split != parts.rule:
        raise TrainingError(
            f"{folder}: was fitted on another split, and may have seen whom the student is measured on; give its --seed, "
            "--validation and --test"
        )
    return teacher


def _pictures(options: argparse.Namespace, paths: Paths, parts: SplitPairs) -> PicturesOfPairs | None:
    if not paths.need_pictures:
        if options.images is not None:
            if options.teacher:
                raise TrainingError("--images has no effect with a --teacher: it has looked at its own")
            raise TrainingError(f"--images has no effect on --method {options.method}, which looks at features alone")
        return None
    if options.images is None:
        raise TrainingError(f"--method {options.method} needs the pictures that the features were made from: --images")
    return PicturesOfPairs.find(parts.train, options.images)


def _recipe(options: argparse.Namespace, paths: Paths) -> R3ANRecipe:
    names = ("epochs", "batch", "learning_rate")
    changes = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if "epochs" in changes:
        changes["iterations"] = 0
    return replace(RECIPES[options.recipe or "small"](paths), **changes)
