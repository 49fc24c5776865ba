"""`facebridge keys` and `facebridge audit`: what an operator does beside a service, or without it."""

import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table
from rich.text import Text

from service.access.audit import FOLDER, check_audit, read_audit
from service.access.keys import (
    DEFAULT_TENANT,
    FILE,
    TENANT_PATTERN,
    ApiKey,
    MadeKey,
    make_key,
    read_keys,
    revoke_key,
    rotate_key,
)
from service.command_files import console
from service.errors import InvalidInputError
from service.galleries.folder import TENANTS
from service.settings import PREFIX

_HOUR_SECONDS = 3600.0


def run(options: Mapping[str, Any]) -> int:
    """Run an action as parsed; the exit code."""
    _COMMANDS[options["command_name"], options["action"]](options)
    return 0


def _create(options: Mapping[str, Any]) -> None:
    made = make_key(
        _keys(options),
        options["name"],
        options["scopes"],
        tenant=options["tenant"],
        days=options["days"],
        requests_per_second=options["requests_per_second"],
        probes_per_day=options["probes_per_day"],
    )
    _tell_secret(made)


def _list(options: Mapping[str, Any]) -> None:
    path, now = _keys(options), datetime.now(UTC)
    table = Table("key", "name", "tenant", "scopes", "made", "state")
    for key in read_keys(path):
        made = key.made_at.isoformat(timespec="seconds")
        # Names are anybody's text, and no markup.
        table.add_row(key.key_id, Text(key.name), key.tenant, ", ".join(key.scopes), made, _state(key, now))
    console().print(table)


def _rotate(options: Mapping[str, Any]) -> None:
    keep_seconds = options["keep_hours"] * _HOUR_SECONDS
    _tell_secret(rotate_key(_keys(options), options["key_id"], keep_seconds=keep_seconds))


def _revoke(options: Mapping[str, Any]) -> None:
    key = revoke_key(_keys(options), options["key_id"])
    console().print(f"{key.key_id} ({key.name}) opens nothing from now on", soft_wrap=True, markup=False)


def _verify(options: Mapping[str, Any]) -> None:
    found = check_audit(_audit(options), options["digest"])
    console().print(
        f"sound: {found.num_entries:,} entries, {found.first:,} to {found.last:,}; the last has the digest {found.head}",
        soft_wrap=True,
    )


def _show(options: Mapping[str, Any]) -> None:
    for entry in read_audit(_audit(options), options["after"]):
        sys.stdout.buffer.write(orjson.dumps(entry) + b"\n")


def _keys(options: Mapping[str, Any]) -> Path:
    own, told = options["keys"], os.environ.get(f"{PREFIX}KEYS")
    path: Path = own or (_data(options) / FILE if options["data"] or not told else Path(told))
    if options["action"] != "create" and not path.is_file():
        raise InvalidInputError(f"{path}: there are no keys; make one with facebridge keys create")
    return path


def _audit(options: Mapping[str, Any]) -> Path:
    data = _data(options)
    if not re.fullmatch(TENANT_PATTERN, options["tenant"]):
        raise InvalidInputError("a tenant is 1 to 32 letters of a to z, digits and -")
    return (data if options["tenant"] == DEFAULT_TENANT else data / TENANTS / options["tenant"]) / FOLDER


def _data(options: Mapping[str, Any]) -> Path:
    return Path(options["data"] or os.environ.get(f"{PREFIX}DATA", "data"))


def _tell_secret(made: MadeKey) -> None:
    """The secret alone on standard output, so that it can be put where it is used; about it on standard error."""
    key = made.key
    sys.stderr.write(
        f"key {key.key_id} ({key.name}) of tenant {key.tenant}, for {', '.join(key.scopes)}; this is its secret, told once:\n"
    )
    sys.stderr.flush()
    sys.stdout.write(f"{made.text}\n")


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at:
        return f"revoked {key.revoked_at.isoformat(timespec='seconds')}"
    if not key.is_live(now):
        return "over"
    until = f", until {key.until.isoformat(timespec='seconds')}" if key.until else ""
    num = len(key.live_secrets(now))
    return f"live{until}" + (f", {num} secrets" if num > 1 else "")


_COMMANDS = {
    ("keys", "create"): _create,
    ("keys", "list"): _list,
    ("keys", "rotate"): _rotate,
    ("keys", "revoke"): _revoke,
    ("audit", "verify"): _verify,
    ("audit", "show"): _show,
}
