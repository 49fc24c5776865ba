"""Arguments that more than one command takes. argparse turns `ArgumentTypeError` into one line."""

import argparse
import os
from pathlib import Path

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


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """`--encoder`, and the file in which its NAME is looked up."""
    parser.add_argument(
        "--encoder", required=True, metavar="ENCODER", help="NAME, FILE.json, FILE.json#NAME, or a bundle's folder"
    )
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
