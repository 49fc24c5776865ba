"""The part of `fit` that trains one network to tell classes and attributes, from an encoder that one has."""

import argparse
import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
from rich.table import Table
from rich.text import Text

from models.bundle import Manifest
from models.split import SplitRule
from training.commands.terminal import StepWatch, number, out, progress_bar
from training.data.encoders import find_encoder
from training.data.labelled import counted_classes
from training.data.partial import sole_partial
from training.data.relatedness import AFF_WILD2, COUNTED, STUDY
from training.data.sources import open_sources
from training.errors import TrainingError
from training.export.attributes_page import attributes_page
from training.export.bundles import write_attributes_bundle
from training.export.manifest import provenance
from training.recipes.attributes import (
    COUPLING,
    LEFT,
    METHODS,
    AttributeExtras,
    FittedAttributes,
    LabelledParts,
    fit_attributes,
)
from training.recipes.coupled import RECIPES, VARIANTS, small
from training.trainers.coupled_recipe import CoupledRecipe, Match
from training.trainers.fitted import Workplace

HEEDED = (
    "--images",
    "--modality",
    "--recipe",
    "--device",
    "--epochs",
    "--batch",
    "--learning-rate",
    "--label",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of these methods."""
    group = parser.add_argument_group(
        "classes and attributes of pictures",
        f"--method {', '.join(METHODS)}, after Kollias et al. (2024): one network learns --label, such as expression, and "
        "--attributes, such as action units, from --images, of most of which one or the other is not known, starting with "
        "--encoder; they heed --recipe, --epochs, --batch, --learning-rate, --device too",
    )
    group.add_argument(
        "--attributes",
        nargs="+",
        metavar="COLUMN[=VALUE]",
        help="of labels.csv: above 0 where a picture has it, 0 where not, empty where that is not known; or what it says where a "
        "picture has it, as smile=0 where a list numbers smiles so",
    )
    group.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="of --label, those that are learned; of pictures of others it is not known (default: all there are)",
    )
    group.add_argument(
        "--relatedness",
        metavar="SOURCE",
        help=f"how attributes hang together with classes: {STUDY} or {AFF_WILD2} (expressions and action units), {COUNTED} from "
        f"the pictures that tell both, or a JSON file with classes, attributes and chances (default: {STUDY} where that knows "
        f"them all, else {COUNTED}, and {STUDY} again where no picture tells both)",
    )
    group.add_argument(
        "--match",
        choices=get_args(Match),
        help="classes and attributes: printed, as Eq. 3, that a class has what was found; two-sided, and lacks what was not; "
        "mutual, each the target of the other in turn (default: the recipe's, mutual)",
    )
    group.add_argument(
        "--label-target",
        action="store_const",
        const=True,
        help="of co-annotation: soft labels are the target, and not predictions, as Eq. 6 is printed",
    )


def run(options: argparse.Namespace) -> None:
    """Train, measure, write."""
    _check(options)
    recipe = _recipe(options)
    rule = SplitRule("subject", options.seed, options.validation, options.test)
    source = open_sources(options.images)
    parts = LabelledParts.of(
        source,
        rule,
        options.label or "",
        tuple(options.attributes or ()),
        options.modality,
        classes=tuple(options.classes or ()),
    )
    encoder = find_encoder(options.encoder, options.encoders)
    with sole_partial(options.out, LEFT) as partial:
        # By name: whoever asks for help need not wait for torch.
        device = importlib.import_module("training.trainers.encoder").choose_torch_device(options.device or "auto")
        with progress_bar() as progress:
            decoding = progress.add_task("decoding", total=len(parts.items["train"]), rate="")
            training = progress.add_task("training", total=None, rate="")
            fitted = fit_attributes(
                parts,
                options.method,
                options.seed,
                AttributeExtras(
                    encoder,
                    options.out.name,
                    partial,
                    options.relatedness,
                    recipe,
                    Workplace(device, partial / "checkpoint.npz", StepWatch(progress, training, recipe().batch)),
                    lambda done: progress.advance(decoding, done),
                ),
            )
        _write(options, parts, fitted)
    _tell(options, parts, fitted)


def _check(options: argparse.Namespace) -> None:
    """Raises `TrainingError` where what is needed is not there, or an option would have no effect."""
    method = options.method
    if options.images is None or options.encoder is None:
        raise TrainingError(f"--method {method} learns from labelled --images, starting with an --encoder")
    if options.source is not None or options.target is not None:
        raise TrainingError(f"--source and --target have no effect on --method {method}: it looks at pictures")
    wanted = given_to_classes, _ = VARIANTS[method](small()).given
    for name, given in zip(("label", "attributes"), wanted, strict=True):
        is_there = getattr(options, name) is not None
        if is_there and not all(getattr(options, name)):
            raise TrainingError(f"--{name} names nothing")
        if given > 0 and not is_there:
            raise TrainingError(f"--method {method} needs --{name}")
        if not given and is_there:
            raise TrainingError(f"--{name} has no effect on --method {method}")
    if options.relatedness is not None and method not in COUPLING:
        raise TrainingError(f"--relatedness is for {', '.join(COUPLING)}, and has no effect on --method {method}")
    if options.classes is not None and not given_to_classes:
        raise TrainingError(f"--classes has no effect on --method {method}")
    names = [one.partition("=")[0] for one in options.attributes or ()]
    for what, of in (("attributes", names), ("classes", options.classes or ())):
        if len(set(of)) < len(of):
            raise TrainingError(f"--{what} names one twice")
    recipe = VARIANTS[method](small())
    for name, weight, loss in (
        ("match", recipe.matching, "distribution matching"),
        ("label_target", recipe.annotation, "co-annotation"),
    ):
        if getattr(options, name) is not None and not weight:
            flag = name.replace("_", "-")
            raise TrainingError(f"--{flag} is of {loss}, and has no effect on --method {method}")


def _recipe(options: argparse.Namespace) -> Callable[[], CoupledRecipe]:
    name = options.recipe or "small"
    if name not in RECIPES:
        raise TrainingError(f"--recipe {name} is not of --method {options.method}, which has: {', '.join(RECIPES)}")
    asked = {
        "epochs": options.epochs,
        "batch": options.batch,
        "match": options.match,
        "is_label_target": options.label_target,
    }
    changes = {one: value for one, value in asked.items() if value is not None}

    def recipe() -> CoupledRecipe:
        found = replace(RECIPES[name](), **changes)
        rate = options.learning_rate
        return found if rate is None else replace(found, encoder=replace(found.encoder, learning_rate=rate))

    return recipe


def _write(options: argparse.Namespace, parts: LabelledParts, fitted: FittedAttributes) -> None:
    def page(manifest: Manifest) -> bytes:
        # By name: whoever asks for help need not wait for matplotlib.
        plots = importlib.import_module("training.commands.attributes_plots")
        return attributes_page(manifest, fitted.table, plots.losses(fitted.loss_EL))

    write_attributes_bundle(
        options.out,
        fitted.graph,
        fitted.space,
        fitted.table,
        modality=options.modality,
        method=fitted.method,
        licence=options.licence if options.licence != "unknown" else fitted.licence,
        training=provenance(
            data_digests={"pictures": fitted.digest},
            seed=options.seed,
            split=parts.rule,
            hyperparameters={"method": fitted.method, **fitted.hyperparameters},
        ),
        metrics=fitted.metrics(),
        report=page if options.report else None,
    )


def _tell(options: argparse.Namespace, parts: LabelledParts, fitted: FittedAttributes) -> None:
    console = out()
    console.print(figures_table(parts, fitted))
    known = [f"of {fitted.num_with_class} of which the class is known"] if fitted.table.classes else []
    known += [f"of {fitted.num_with_attributes} some attribute"] if fitted.table.attributes else []
    lines = [f"{options.out}: {fitted.method}, learned from {fitted.num_learned} pictures, {', and '.join(known)}"]
    learned = parts.labels["train"]
    if fitted.table.classes:
        num_K = np.bincount(learned.class_N[learned.class_N >= 0], minlength=len(learned.classes))
        lines.append(f"{parts.label}: {counted_classes(dict(zip(learned.classes, num_K.tolist(), strict=True)))}")
    if parts.unnamed:
        lines.append(
            f"{parts.label} is not known of pictures of classes that --classes leaves out: {counted_classes(parts.unnamed)}"
        )
    if "relatedness" in fitted.hyperparameters:
        lines.append(f"how classes and attributes hang together: {fitted.hyperparameters['relatedness']}")
    if fitted.unseen:
        lines.append(f"no picture that was learned from tells of {', '.join(fitted.unseen)}")
    if fitted.alike:
        lines.append(
            f"all pictures that were learned from have {', '.join(fitted.alike)}, or none has: nothing tells what it looks like"
        )
    if fitted.uncoupled:
        lines.append(f"no class says anything of {', '.join(fitted.uncoupled)}")
    for line in lines:
        console.print(line, soft_wrap=True)


def figures_table(parts: LabelledParts, fitted: FittedAttributes) -> Table:
    """How well classes and attributes are told, by part of the split."""
    of_whom = f"{parts.rule.by}s it has not seen"
    table = Table(title=Text(f"{fitted.space.name}: {of_whom}"), title_justify="left")
    table.add_column("")
    for column in ("pictures", "class: accuracy", "mean over classes", "F1", "attributes: accuracy", "F1", "AFA"):
        table.add_column(column, justify="right")
    for name, found in (("validation", fitted.validation), ("test", fitted.test)):
        if found is None:
            continue
        classes, told = found.classes, found.attributes
        of_classes = (classes.accuracy, classes.average_accuracy, classes.f1) if classes else (None, None, None)
        of_attributes = (told.accuracy, told.f1, told.afa) if told else (None, None, None)
        num = len(parts.items["validation" if name == "validation" else "test"])
        table.add_row(name, str(num), *map(number, (*of_classes, *of_attributes)))
    return table
