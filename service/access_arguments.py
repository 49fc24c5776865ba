"""What `facebridge keys` and `facebridge audit` take."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service.access.keys import DEFAULT_TENANT, SCOPES, USUAL_SCOPES
from service.settings import PREFIX

_KEEP_HOURS = 24.0

Run = Callable[[dict[str, Any]], int]


def add(subparsers: Any, run: Run) -> None:
    """Declare both commands; `run` is called with what was parsed."""
    text = "make and end the keys that a service asks for"
    parser = subparsers.add_parser(
        "keys", help=text, description=text[0].upper() + text[1:] + ", beside it or without it."
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = _action(actions, "create", "make a key, and tell its secret, this once", run)
    create.add_argument("name", metavar="NAME", help="for people")
    create.add_argument(
        "--scopes", nargs="+", choices=SCOPES, default=list(USUAL_SCOPES), metavar="SCOPE", help=_scopes()
    )
    create.add_argument("--tenant", default=DEFAULT_TENANT, help="whose galleries it is for (default: %(default)s)")
    create.add_argument("--days", type=float, help="for how long (default: until it is revoked)")
    per_second = "most requests a second (default: as the service's setting says)"
    create.add_argument("--requests-per-second", type=float, metavar="NUMBER", help=per_second)
    per_day = "most probes that are compared in a day (default: as the service's setting says)"
    create.add_argument("--probes-per-day", type=int, metavar="NUMBER", help=per_day)
    _action(actions, "list", "show all keys, without their secrets", run)
    rotate = _action(actions, "rotate", "give a key another secret; that before opens for a while", run)
    rotate.add_argument("key_id", metavar="KEY", help="its id")
    hours = "for how long the secret before opens; 0 ends all of them now (default: %(default)g)"
    rotate.add_argument("--keep-hours", type=float, default=_KEEP_HOURS, metavar="HOURS", help=hours)
    revoke = _action(actions, "revoke", "end a key: it opens nothing within seconds", run)
    revoke.add_argument("key_id", metavar="KEY", help="its id")
    _add_audit(subparsers, run)


def _action(actions: Any, name: str, text: str, run: Run) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    where = parser.add_mutually_exclusive_group()
    # As the service is told them, so that it is the same keys in a container of its own.
    where.add_argument(
        "--data", type=Path, default=None, help=f"data folder of the service (default: {PREFIX}DATA, or data)"
    )
    where.add_argument("--keys", type=Path, metavar="FILE", help=f"or its file of keys (default: {PREFIX}KEYS)")
    parser.set_defaults(run=run, command_name="keys")
    return parser


def _add_audit(subparsers: Any, run: Run) -> None:
    text = "read who did what"
    parser = subparsers.add_parser("audit", help=text, description="Read the audit log of a service.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    described = {
        "verify": "whether nothing of it was changed, left out or moved; 2 where something was",
        "show": "its entries, one line of JSON each",
    }
    for name, told in described.items():
        one = actions.add_parser(name, help=told, description=told[0].upper() + told[1:] + ".")
        one.add_argument("--data", type=Path, help=f"data folder of the service (default: {PREFIX}DATA, or data)")
        one.add_argument("--tenant", default=DEFAULT_TENANT, help="whose (default: %(default)s)")
        if name == "verify":
            kept = "of an entry, as it was told or shown before: it must still be there"
            one.add_argument("--digest", metavar="HEX", help=kept)
        else:
            one.add_argument("--after", type=int, default=0, metavar="NUMBER", help="only entries after that one")
        one.set_defaults(run=run, command_name="audit")


def _scopes() -> str:
    return f"what it may do, of {', '.join(SCOPES)} (default: {' '.join(USUAL_SCOPES)})"
