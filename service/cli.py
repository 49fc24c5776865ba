"""`facebridge`: the operator's command. Errors of use are one line on stderr and exit code 2."""

import argparse
import ipaddress
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table

from models.bundle import read_bundle
from models.command_line import OneLineParser
from models.errors import ContractError
from service.api.deps import Services
from service.app import create_app
from service.errors import FacebridgeError, StartupError
from service.settings import PREFIX, Settings, load_settings
from service.usecases.receipts import check_receipt

_SHUTDOWN_SECONDS = 20
"""For requests in progress; ten more are left of the thirty that orchestrators give."""
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
    receipt_parser = subparsers.add_parser(
        "check-receipt",
        help="verify the receipt of an erasure",
        description="Verify the receipt of an erasure: that it is as it was signed, and of whom.",
    )
    receipt_parser.add_argument("receipt", type=Path, metavar="FILE", help="one receipt as JSON")
    receipt_parser.add_argument("--subject", metavar="NAME", help="the subject of whom it must be")
    receipt_parser.set_defaults(run=print_receipt)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    options = vars(build_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        options.pop("run")(options)
    except (FacebridgeError, ContractError) as failure:
        print(f"facebridge {command}: {failure}", file=sys.stderr)  # noqa: T201
        return 2
    except OSError as failure:
        print(f"facebridge {command}: {failure.strerror or failure}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def serve(flags: dict[str, object]) -> None:
    """Run the service until it is told to stop."""
    settings = load_settings(flags)
    _check_bind(settings)
    # Other libraries stay at warnings: at debug, decoders of pictures log what pictures hold.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("facebridge").setLevel(settings.log_level.upper())
    with _bind(settings) as listener:
        app = create_app(settings)
        _announce(app.state.services)
        # Before the address is told: who connects from then on waits for an answer and is not refused.
        listener.listen(_BACKLOG)
        host, port = listener.getsockname()[:2]
        Console(highlight=False, markup=False).print(
            f"serving on http://{host}:{port} (documentation: /docs)", soft_wrap=True
        )
        config = uvicorn.Config(
            app,
            log_level=settings.log_level,
            access_log=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            server_header=False,
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn drains, then sends itself the signal again for whoever handled it before: being told to stop is no
            # failure.
            signal.signal(number, _leave)
        uvicorn.Server(config).run(sockets=[listener])


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
    """Verify a receipt and say what it says. Raises `InvalidInputError` where it is not as it was signed."""
    document = check_receipt(options["receipt"].read_bytes(), options["subject"])
    of_whom = f" of {options['subject']}" if options["subject"] else ""
    Console(highlight=False, markup=False).print(
        f"sound: erasure{of_whom} from gallery {document['gallery']} at {document['erased_at']}; "
        f"{document['num_files']} files looked through; signed by {document['public_key']}",
        soft_wrap=True,
    )


def _add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    default = "off" if field.default is False else field.default
    text = f"{field.description} (default: {default}; {PREFIX}{name.upper()})".replace("%", "%%")
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=text)
    else:
        parser.add_argument(flag, default=argparse.SUPPRESS, metavar=name.upper(), help=text)


def _check_bind(settings: Settings) -> None:
    if settings.insecure_bind or settings.host == "localhost":
        return
    try:
        is_loopback = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise StartupError(
            "setting host: this version has no keys, so it listens on this machine only; behind a proxy that "
            "authenticates, give --insecure-bind"
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
        target = "pictures" if manifest.kind == "generator" else manifest.target.name
        table.add_row(manifest.name, manifest.kind, manifest.method, source, target, entry.engine.device)
    console.print(table)
    for rejected in loaded.rejected:
        console.print(
            f"not loaded: {rejected.folder}: {rejected.reason}", style="bold red", markup=False, soft_wrap=True
        )
