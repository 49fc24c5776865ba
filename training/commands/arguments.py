"""Arguments that more than one command takes. argparse turns `ArgumentTypeError` into one line."""

import argparse
import math
import os
from pathlib import Path

from training.errors import TrainingError

_LARGEST_SEED = 2**63 - 1


def natural(text: str) -> int:
    """A whole number, 0 or more."""
    return _whole(text, at_least=0)


def positive(text: str) -> int:
    """A whole number, 1 or more."""
    return _whole(text, at_least=1)


def seed(text: str) -> int:
    """A seed that numpy and torch take alike."""
    value = _whole(text, at_least=0)
    if value > _LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"must be at most {_LARGEST_SEED}")
    return value


def share(text: str) -> float:
    """From 0 up to, and without, 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError("must be a number from 0 to below 1")
    return value


def add_split_arguments(parser: argparse.ArgumentParser) -> None:
    """`--seed`, `--validation` and `--test`; see `check_shares`."""
    parser.add_argument("--seed", type=seed, default=0, help="of the split and of training (default: %(default)s)")
    parser.add_argument("--validation", type=float, default=0.1, help="share of subjects (default: %(default)s)")
    parser.add_argument("--test", type=float, default=0.2, help="share of subjects (default: %(default)s)")


def check_shares(options: argparse.Namespace) -> None:
    """Raises `TrainingError` where the shares leave nothing to train or validate on."""
    if not (0 < options.validation < 1 and 0 <= options.test < 1 and options.validation + options.test < 1):
        raise TrainingError("--validation must be above 0, --test 0 or more, and both together below 1")


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """`--encoder`, and the file in which its NAME is looked up."""
    parser.add_argument(
        "--encoder", required=True, metavar="ENCODER", help="NAME, FILE.json, FILE.json#NAME, or a bundle's folder"
    )
    add_registry_argument(parser)


def add_registry_argument(parser: argparse._ActionsContainer) -> None:
    """`--encoders`."""
    parser.add_argument(
        "--encoders",
        type=Path,
        metavar="FILE",
        default=os.environ.get("FACEBRIDGE_ENCODERS"),
        help="JSON file in which a NAME is looked up (default: $FACEBRIDGE_ENCODERS)",
    )


def _whole(text: str, *, at_least: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = at_least - 1
    if value < at_least:
        raise argparse.ArgumentTypeError(f"must be a whole number, {at_least} or more")
    return value
