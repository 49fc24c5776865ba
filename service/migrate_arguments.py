"""What `facebridge migrate` takes."""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8000"
KEY_VARIABLE = "FACEBRIDGE_API_KEY"
"""Of the environment, as what stands on a command line is seen by everybody on the machine."""
_DAY_SECONDS = 24 * 3600.0
_ORDERS = {
    "watch": "show how far a job has come until it is ready",
    "status": "show a job and its gates",
    "pause": "stop a job after the chunk that is under way",
    "resume": "go on with a paused job",
    "cancel": "give a job up that is not cut over; what it made goes",
    "cutover": "make the new generation the active one, in one step",
    "rollback": "make the generation before the active one again, in one step",
}


def add(subparsers: Any, run: Callable[[dict[str, Any]], int]) -> None:
    """Declare the command; `run` is called with what was parsed."""
    text = "migrate galleries, or feature sets, to another encoder's space"
    parser = subparsers.add_parser("migrate", help=text, description=text[0].upper() + text[1:] + ", without pictures.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    start = _action(actions, "start", "start a migration and show it until it is ready; 1 where a gate failed", run)
    _add_start(start)
    for name, described in _ORDERS.items():
        order = _action(actions, name, described, run)
        order.add_argument("job", metavar="JOB")
        if name == "cutover":
            order.add_argument("--force", action="store_true", help="whatever its gates say")
        if name == "rollback":
            missing = "also where templates that came since would not be found"
            order.add_argument("--accept-missing", action="store_true", help=missing)
    listed = _action(actions, "list", "list jobs, the newest first", run)
    listed.add_argument("gallery", nargs="?", metavar="GALLERY", help="only of this one")
    verdict = _action(actions, "verdict", "write the verdict on a job: a page (.html), or signed JSON", run)
    verdict.add_argument("job", metavar="JOB")
    verdict.add_argument("--out", type=Path, required=True, metavar="FILE")
    probes = _action(actions, "probes", "judge a job that is ready by labelled probes too; they are not kept", run)
    probes.add_argument("job", metavar="JOB")
    probes.add_argument("probes", type=Path, metavar="SET", help="feature set with subjects, .npz or .parquet")
    files = actions.add_parser("files", help="translate feature sets, and write them as Parquet")
    files.add_argument("files", nargs="+", type=Path, metavar="SET", help="feature sets, .npz or .parquet")
    files.add_argument("--target", required=True, metavar="SPACE")
    files.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to; made if missing")
    _add_bundles(files)
    files.set_defaults(run=run)


def _action(actions: Any, name: str, text: str, run: Callable[[dict[str, Any]], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    where = parser.add_mutually_exclusive_group()
    key = f"with the key in {KEY_VARIABLE}, if it needs one"
    where.add_argument("--url", default=DEFAULT_URL, help=f"the service, {key} (default: %(default)s)")
    where.add_argument("--data", type=Path, metavar="FOLDER", help="or a data folder that no service uses")
    _add_bundles(parser)
    parser.set_defaults(run=run)
    return parser


def _add_bundles(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--bundles", type=Path, default=Path("bundles"), help="without a service (default: %(default)s)"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="without a service")


def _add_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("gallery", metavar="GALLERY")
    parser.add_argument("--target", required=True, metavar="SPACE", help="where the gallery is to go")
    modes = "translate templates, or probes back, or both (default: %(default)s)"
    parser.add_argument("--mode", choices=("gallery", "probe", "mixed"), default="gallery", help=modes)
    route = "translators, in order, for templates of the gallery's space (default: the best route)"
    parser.add_argument("--route", type=_names, metavar="BUNDLES", help=route)
    gates = "what must be reached, as JSON or a file of it; see POST /galleries/{gallery}/migrations"
    parser.add_argument("--gates", type=_gates, default={}, metavar="JSON", help=gates)
    parser.add_argument("--cutover", action="store_true", help="cut over as soon as all gates are passed")
    keep = "how long the generation before is kept (default: 7)"
    parser.add_argument("--keep-days", dest="keep_seconds", type=_days, metavar="DAYS", help=keep)
    natives = "translated templates stay where native ones of their subject come"
    parser.add_argument("--keep-translated", action="store_true", help=natives)
    left = "leave out templates from which no route leads to the target"
    parser.add_argument("--leave-out", action="store_true", help=left)
    parser.add_argument("--no-wait", action="store_true", help="do not wait until it is ready")


def _names(text: str) -> list[str]:
    names = text.split(",")
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of bundles, separated by commas")
    return names


def _days(text: str) -> float:
    try:
        seconds = float(text) * _DAY_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return seconds


def _gates(text: str) -> dict[str, Any]:
    is_json = text.lstrip().startswith("{")
    try:
        document = json.loads(text if is_json else Path(text).read_text(encoding="utf-8"))
        # What no request can carry is none of JSON either.
        json.dumps(document, allow_nan=False)
    except OSError as failure:
        raise argparse.ArgumentTypeError(f"{text}: {failure.strerror}") from None
    except (ValueError, RecursionError) as failure:
        raise argparse.ArgumentTypeError(f"{'this' if is_json else text} is no JSON ({failure})") from None
    if not isinstance(document, dict):
        raise argparse.ArgumentTypeError(f"{text}: gates are a JSON object")
    return document
