"""`facebridge`: the operator's command. Errors of use are one line on stderr and exit code 2."""

import argparse
import gc
import importlib
import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from models.bundle import read_bundle
from models.command_line import OneLineParser
from models.errors import ContractError
from service import access_arguments, migrate_arguments
from service.api.deps import Services
from service.app import create_app, keys_of
from service.errors import FacebridgeError, InvalidInputError, StartupError
from service.observability import logs
from service.server import Server, allow_connections, bound_memory
from service.settings import PREFIX, Settings, load_settings
from service.usecases.receipts import check_receipts, check_sealed, is_verdict

_LOG_WIDTH = 160
_BACKLOG = 2048


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the flags of `serve` are the settings."""
    parser = OneLineParser(
        prog="facebridge", description="Translate face features between encoders, and serve galleries."
    )
    parser.add_argument("--version", action="version", version=metadata.version("facebridge"))
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve_parser = subparsers.add_parser("serve", help="run the service", description="Run the service.")
    for name, field in Settings.model_fields.items():
        _add_flag(serve_parser, name, field)
    serve_parser.set_defaults(run=serve)
    verify_parser = subparsers.add_parser("check-bundle", help="verify bundles", description="Verify bundles.")
    verify_parser.add_argument("bundles", nargs="+", type=Path, metavar="BUNDLE", help="a bundle's folder")
    verify_parser.set_defaults(run=check_bundles)
    _add_gallery_commands(subparsers)
    migrate_arguments.add(subparsers, _run_migrate_command)
    access_arguments.add(subparsers, _run_access_command)
    receipt_parser = subparsers.add_parser(
        "check-receipt",
        help="verify the receipt of an erasure, or the verdict on a migration",
        description="Verify the receipt of an erasure, that it is as it was signed and of whom; or the verdict on a migration.",
    )
    receipt_parser.add_argument(
        "receipt", type=Path, metavar="FILE", help="a receipt or a verdict as JSON, or the answer to an erasure"
    )
    receipt_parser.add_argument("--subject", metavar="NAME", help="the subject of whom it must be")
    text = "the key that it must be signed by: that of all receipts of a service, as this command tells it"
    receipt_parser.add_argument("--public-key", metavar="HEX", help=text)
    receipt_parser.set_defaults(run=print_receipt)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = vars(build_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        code = options.pop("run")(options)
    except (FacebridgeError, ContractError) as failure:
        print(f"facebridge {command}: {failure}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as failure:
        where = f"{failure.filename}: " if failure.filename and failure.strerror else ""
        print(f"facebridge {command}: {where}{failure.strerror or failure}", file=sys.stderr)  # noqa: T201
        return 2
    return code or 0


def serve(flags: dict[str, object]) -> None:
    """Run the service until it is told to stop."""
    settings = load_settings(flags)
    _check_bind(settings)
    logs.configure(settings.log_format, settings.log_level)
    bound_memory()
    allow_connections()
    with _bind(settings) as listener:
        app = create_app(settings)
        _announce(app.state.services)
        # Before the address is told: who connects from then on waits for an answer and is not refused.
        listener.listen(_BACKLOG)
        host, port = listener.getsockname()[:2]
        Console(highlight=False, markup=False).print(
            f"serving on http://{f'[{host}]' if ':' in host else host}:{port} (documentation: /docs)", soft_wrap=True
        )
        # What is there now stays: looking through it again and again for garbage takes a tenth of the time of small requests.
        gc.collect()
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn drains, then sends itself the signal again for whoever handled it before: being told to stop is no
            # failure.
            signal.signal(number, _leave)
        services = app.state.services
        Server(app, settings, services.traffic, services.metrics).run(sockets=[listener])


def check_bundles(options: dict[str, object]) -> None:
    """Verify each bundle. Raises `BundleError` for the first that is not sound."""
    folders = options["bundles"]
    assert isinstance(folders, list)
    for folder in folders:
        manifest = read_bundle(folder).manifest
        source = f"{manifest.source.name} to " if manifest.source else ""
        Console(highlight=False, markup=False).print(
            f"{folder}: sound; {manifest.kind} {manifest.method}, {source}{manifest.target.name}, {manifest.digest[:16]}",
            soft_wrap=True,
        )


def print_receipt(options: dict[str, Any]) -> None:
    """Verify receipts, or a verdict, and say what they say. Raises `InvalidInputError` where one is not as it was signed."""
    data = options["receipt"].read_bytes()
    if is_verdict(data):
        if options["subject"]:
            raise InvalidInputError("a verdict is on a gallery, and of nobody")
        _print_verdict(check_sealed(data, "verdict", options["public_key"]))
        return
    of_whom = f" of {options['subject']}" if options["subject"] else ""
    for document in check_receipts(data, options["subject"], options["public_key"]):
        Console(highlight=False, markup=False).print(
            f"sound: erasure{of_whom} from gallery {document['gallery']} at {document['erased_at']}; "
            f"{document['num_files']} files looked through; signed by {document['public_key']}",
            soft_wrap=True,
        )


def _print_verdict(document: dict[str, Any]) -> None:
    plan = document["plan"]
    judged = f" at {document['judged_at']}" if "judged_at" in document else ""
    Console(highlight=False, markup=False).print(
        f"sound: verdict{judged} on job {document['job']}, gallery {document['gallery']} from {plan['source']['name']} to "
        f"{plan['target']['name']}: {'passed' if document['is_passed'] else 'not passed'}; signed by {document['public_key']}",
        soft_wrap=True,
    )


def _add_gallery_commands(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "gallery", help="look after galleries on disk", description="Look after galleries while no service uses them."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    described = {
        "list": "what galleries there are",
        "check": "whether record, projection, counts and snapshots are as they were written and agree; 1 where not",
        "export": "write the original features as Parquet feature sets, one for each space that they came from",
        "import": "enrol feature sets of the gallery's own space",
    }
    for action, text in described.items():
        one = actions.add_parser(action, help=text, description=text[0].upper() + text[1:] + ".")
        one.add_argument("--data", type=Path, default=Path("data"), help="folder of the galleries (default: data)")
        one.set_defaults(run=_run_gallery_command)
        if action == "check":
            one.add_argument("gallery", nargs="?", metavar="GALLERY", help="only this one")
        elif action != "list":
            one.add_argument("gallery", metavar="GALLERY")
        if action == "export":
            one.add_argument("folder", type=Path, metavar="FOLDER", help="where to; made if missing")
        if action == "import":
            one.add_argument("files", nargs="+", type=Path, metavar="FILE", help="feature sets, .npz or .parquet")
            one.add_argument("--replace", action="store_true", help="in place of templates of the same keys")
            which = "which labels (and modality) are kept as metadata, site,year; all if this is not given"
            one.add_argument("--metadata", type=_names, metavar="LABELS", help=which)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _run_gallery_command(options: dict[str, Any]) -> int:
    # By name, as it brings what reads Parquet, which a service has no need of.
    code: int = importlib.import_module("service.gallery_commands").run(options)
    return code


def _run_migrate_command(options: dict[str, Any]) -> int:
    code: int = importlib.import_module("service.migrate_commands").run(options)
    return code


def _run_access_command(options: dict[str, Any]) -> int:
    code: int = importlib.import_module("service.access_commands").run(options)
    return code


def _add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    default = "off" if field.default is False else field.default
    text = f"{field.description} (default: {default}; {PREFIX}{name.upper()})".replace("%", "%%")
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
    else:
        parser.add_argument(flag, default=argparse.SUPPRESS, metavar=name.upper(), help=text)


def _check_bind(settings: Settings) -> None:
    has_keys = keys_of(settings).is_file()
    if settings.keys is not None and not has_keys:
        raise StartupError(
            f"setting keys: {settings.keys}: there is no such file; make it with facebridge keys create --keys"
        )
    if has_keys and settings.insecure_bind:
        raise StartupError(
            f"setting insecure_bind: {keys_of(settings)} has keys, which are asked for; leave out one of them"
        )
    if has_keys or settings.insecure_bind or settings.host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise StartupError(
            "setting host: without keys it listens on this machine only; make one with facebridge keys create, or behind a "
            "proxy that authenticates give --insecure-bind"
        )


def _leave(signal_number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _bind(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it every answer on a kept connection
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except (OSError, UnicodeError) as failure:
        listener.close()
        reason = getattr(failure, "strerror", None) or "not an address"
        raise StartupError(f"setting port: cannot listen on {settings.host}:{settings.port} ({reason})") from None
    return listener


def _announce(services: Services) -> None:
    """Print what is served and on which device."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_LOG_WIDTH)
    table = Table("bundle", "kind", "method", "source", "target", "device")
    loaded = services.inference.loaded
    for entry in loaded.served:
        manifest = entry.bundle.manifest
        source = manifest.source.name if manifest.source else "pictures"
        target = {"generator": "pictures", "classifier": f"{len(entry.bundle.labels)} people"}.get(
            manifest.kind, manifest.target.name
        )
        table.add_row(manifest.name, manifest.kind, manifest.method, source, target, entry.engine.device)
    console.print(table)
    for rejected in loaded.rejected:
        console.print(
            f"not loaded: {rejected.folder}: {rejected.reason}", style="bold red", markup=False, soft_wrap=True
        )
