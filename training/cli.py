"""`facebridge-train`: from pictures to bundles. Errors of use are one line on stderr and exit code 2."""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from models.command_line import OneLineParser
from models.errors import ContractError
from models.runtime import InferenceError
from training.commands import (
    calibrate,
    compare,
    evaluate,
    extract,
    fit,
    label,
    package,
    privacy,
    report,
    select,
    synth,
    translate,
)
from training.errors import TrainingError

COMMANDS = {
    "synth": synth,
    "label": label,
    "extract": extract,
    "fit": fit,
    "compare": compare,
    "evaluate": evaluate,
    "calibrate": calibrate,
    "report": report,
    "translate": translate,
    "select": select,
    "privacy": privacy,
    "package": package,
}
_INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = OneLineParser(prog="facebridge-train", description="Train, prove and ship translators of face features.")
    parser.add_argument("--version", action="version", version=metadata.version("facebridge"))
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary = (command.__doc__ or "").strip().partition("\n")[0]
        subparser = subparsers.add_parser(
            name, help=summary, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (TrainingError, ContractError, InferenceError) as failure:
        print(f"facebridge-train {options.command}: {failure}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print(f"facebridge-train {options.command}: interrupted", file=sys.stderr)  # noqa: T201
        return _INTERRUPTED
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename else ""
        print(f"facebridge-train {options.command}: {where}{failure.strerror or failure}", file=sys.stderr)  # noqa: T201
        return 2
    return 0
