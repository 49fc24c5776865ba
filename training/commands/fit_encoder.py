"""The part of `fit` that trains encoders."""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path

from rich.progress import Progress

from models.bundle import read_bundle
from models.space import MAX_DIMENSION
from models.split import SplitRule
from training.commands.arguments import positive
from training.commands.terminal import StepWatch, native_table, out, progress_bar, thresholds_line
from training.data.partial import sole_partial
from training.data.sources import open_sources
from training.errors import TrainingError
from training.export.bundles import write_encoder_bundle
from training.export.manifest import provenance
from training.recipes.attributes import labeller_of
from training.recipes.encoders import (
    BACKBONES,
    LARGEST_SIDE,
    LEFT,
    RECIPES,
    SMALLEST_SIDE,
    Hooks,
    PictureParts,
    train_encoder,
)
from training.trainers.encoder_recipe import EncoderRecipe
from training.trainers.geometry_recipe import GeometryRecipe

_WIDEST = 16.0
_CHANGED = ("width", "dimension", "side", "epochs", "batch", "learning_rate", "margin", "scale")
_SHAPING = ("geometry", "label", "label_by", "base", "euclidean", "basis_length")
TERMS = {"pdm": "minimization", "pdp": "preservation", "fbv": "basis", "ce": "composition", "mtl": "joint"}
"""By their names in the paper."""
_NAMES = {field: name for name, field in TERMS.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of --method encoder, of which R3AN heeds some."""
    group = parser.add_argument_group(
        "--method encoder",
        "R3AN and what is built on it heed --images, --recipe, --epochs, --batch, --learning-rate, --device",
    )
    group.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="DIR|ZIP|CSV",
        help="labelled pictures; for r3an those that the features are of",
    )
    group.add_argument("--modality", help="only pictures of this modality (default: all)")
    group.add_argument("--backbone", choices=BACKBONES, help=f"default: {BACKBONES[0]}")
    group.add_argument("--recipe", choices=tuple(RECIPES), help="default: small")
    group.add_argument("--width", type=_width, help="of the published numbers of channels (default: the recipe's)")
    group.add_argument("--dimension", type=_dimension, help="of the features (default: the recipe's, as all below)")
    group.add_argument("--side", type=_side, help="pixels that aligned crops are resized to, in both directions")
    group.add_argument("--epochs", type=positive, help="times that every picture is seen")
    group.add_argument("--batch", type=_batch, help="pictures a step, 2 or more")
    group.add_argument("--learning-rate", type=_above_zero, help="the highest, after the warm-up")
    group.add_argument("--margin", type=_angle, help="ArcFace's m, in radians, up to a right angle")
    group.add_argument("--scale", type=_above_zero, help="ArcFace's s")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), help="default: auto")
    group = parser.add_argument_group(
        "labels that shape an encoder",
        "after Ramakrishnan et al. (2021); PDM: pictures of one person with one label lie together; PDP: two labels are as far "
        "apart on everybody; FBV: and in the same direction; CE: a network finds one from the other; MTL: the label is told",
    )
    group.add_argument(
        "--geometry",
        nargs="+",
        type=_term,
        metavar="TERM=WEIGHT",
        help=f"beside telling people apart: {', '.join(TERMS)}, each with how much it counts",
    )
    group.add_argument("--label", metavar="COLUMN", help="of labels.csv, such as expression; an empty one is not known")
    group.add_argument(
        "--label-by",
        type=Path,
        metavar="BUNDLE",
        help="that tells classes (--method coupled): it labels pictures whose label is not known",
    )
    group.add_argument(
        "--base", choices=("arcface", "triplet"), help="what people are told apart by (default: arcface)"
    )
    group.add_argument(
        "--euclidean",
        action="store_const",
        const=True,
        help="where losses see features these have any length, as FBV is published with; they are compared by cosine",
    )
    group.add_argument(
        "--basis-length",
        type=_above_zero,
        help="of each label from the first, for fbv (default: 1, as published; features of length one are nearer)",
    )


def given(options: argparse.Namespace) -> list[str]:
    """The flags that encoders heed and most translators do not, as far as they were given."""
    names = ("images", "recipe", "backbone", "device", "modality", *_SHAPING, *_CHANGED)
    return [f"--{name.replace('_', '-')}" for name in names if getattr(options, name) is not None]


def run(options: argparse.Namespace) -> None:
    """Train, measure, write."""
    if options.images is None or options.source is not None or options.target is not None:
        raise TrainingError("an encoder is trained on --images; --source and --target are for translators")
    recipe = _recipe(options)
    teller = read_bundle(options.label_by) if options.label_by else None
    source = open_sources(options.images)
    rule = SplitRule("subject", options.seed, options.validation, options.test)
    parts = PictureParts.of(source, rule, options.modality)
    with sole_partial(options.out, LEFT) as partial:
        with progress_bar() as progress:
            trained = train_encoder(
                parts,
                recipe,
                options.out.name,
                licence=options.licence,
                device=options.device or "auto",
                half_weights=options.half_weights,
                partial=partial,
                hooks=_hooks(progress, len(parts.train), recipe.batch),
                labeller=labeller_of(teller) if teller else None,
            )
        rows = {"validation": trained.validation} | ({"test": trained.test} if trained.test else {})
        manifest = write_encoder_bundle(
            options.out,
            trained.encoder,
            training=provenance(
                data_digests={"pictures": trained.digest} | ({"labels": teller.manifest.digest} if teller else {}),
                seed=rule.seed,
                split=rule,
                hyperparameters=asdict(recipe) | {"modality": options.modality},
            ),
            metrics=trained.metrics(),
            measured=rows,
            calibration=trained.calibration,
        )
    console = out()
    console.print(native_table(f"{options.out.name}: subjects it has not seen", rows))
    console.print(
        f"{options.out}: {recipe.backbone}, trained on {trained.num_pictures} pictures of {trained.num_subjects} "
        f"subjects, space {manifest.target.name} ({manifest.target.fingerprint})",
        soft_wrap=True,
    )
    for term, num in trained.without.items():
        if num:
            so = ", so it did nothing" if num == trained.num_batches else ""
            told = f"{num} of {trained.num_batches} batches had nothing for {_NAMES[term]} to look at{so}"
            console.print(told, soft_wrap=True)
    stated = trained.calibration.points.get("native-target", ())
    console.print(thresholds_line(stated, [trained.validation.num_gallery_subjects]), soft_wrap=True)


def _hooks(progress: Progress, num_pictures: int, batch: int) -> Hooks:
    """A bar for decoding and one for training."""
    decoding = progress.add_task("decoding", total=num_pictures, rate="")
    training = progress.add_task("training", total=None, rate="")
    return Hooks(lambda done: progress.advance(decoding, done), StepWatch(progress, training, batch))


def _recipe(options: argparse.Namespace) -> EncoderRecipe:
    changes = {name: getattr(options, name) for name in _CHANGED if getattr(options, name) is not None}
    if "epochs" in changes:
        changes["iterations"] = 0
    recipe = RECIPES[options.recipe or "small"](options.backbone or BACKBONES[0])
    return replace(recipe, **changes, geometry=_geometry(options))


def _geometry(options: argparse.Namespace) -> GeometryRecipe | None:
    """None where nothing of it was asked. Raises `TrainingError` for options without effect."""
    if all(getattr(options, name) is None for name in _SHAPING):
        return None
    terms = dict(options.geometry or ())
    if len(terms) != len(options.geometry or ()):
        raise TrainingError("--geometry names a term twice")
    if bool(terms) != bool(options.label or options.label_by):
        raise TrainingError("--geometry needs a --label or --label-by to look at, and these a --geometry")
    if options.euclidean and not terms and options.base != "triplet":
        raise TrainingError("--euclidean has no effect on ArcFace without --geometry: it is of angles")
    if options.base == "triplet" and (options.margin is not None or options.scale is not None):
        raise TrainingError("--margin and --scale are ArcFace's, and have no effect on --base triplet")
    if options.basis_length is not None and "fbv" not in terms:
        raise TrainingError("--basis-length is fbv's, and has no effect without it: --geometry fbv=WEIGHT")
    return GeometryRecipe(
        base=options.base or "arcface",
        label=options.label or "",
        is_spherical=not options.euclidean,
        basis_length=options.basis_length or GeometryRecipe().basis_length,
        **{TERMS[name]: weight for name, weight in terms.items()},
    )


def _term(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    if name not in TERMS:
        raise argparse.ArgumentTypeError(f"{text!r}: give TERM=WEIGHT, of {', '.join(TERMS)}")
    return name, _above_zero(weight)


def _dimension(text: str) -> int:
    value = positive(text)
    if value > MAX_DIMENSION:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_DIMENSION}")
    return value


def _side(text: str) -> int:
    value = positive(text)
    if not SMALLEST_SIDE <= value <= LARGEST_SIDE:
        raise argparse.ArgumentTypeError(f"must be {SMALLEST_SIDE} to {LARGEST_SIDE}")
    return value


def _batch(text: str) -> int:
    value = positive(text)
    if value < 2:
        raise argparse.ArgumentTypeError(
            "must be a whole number, 2 or more: normalisation needs others beside a picture"
        )
    return value


def _width(text: str) -> float:
    value = _above_zero(text)
    if value > _WIDEST:
        raise argparse.ArgumentTypeError(f"must be at most {_WIDEST:g}: no machine holds a wider network")
    return value


def _angle(text: str) -> float:
    value = _above_zero(text)
    if value > math.pi / 2:
        raise argparse.ArgumentTypeError("must be at most a right angle, 1.57")
    return value


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be a number above 0")
    return value
