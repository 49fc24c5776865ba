"""API keys: an id and a secret of 256 bits, of which a file keeps the SHA-256 alone.

They are kept in that file alone: a command may write it beside a running service, and whoever rolls out configuration to every
replica.
"""

import fcntl
import hashlib
import hmac
import math
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints, TypeAdapter

from models.documents import parse_document, readable_json
from models.errors import ContractError
from service.errors import InvalidInputError, NotFoundError, StartupError
from service.files import write_whole

FILE = "keys.json"
DEFAULT_TENANT = "default"
TENANT_PATTERN = r"^[a-z0-9][a-z0-9-]{0,31}$"
MAX_NAME = 64
MAX_KEYS = 1000
"""Of a tenant."""
REMEMBERED_DAYS = 90
"""For how long it is told who had a key that opens nothing any more."""
LEAST_RATE = 1e-3
MAX_DAYS = 36_500
MAX_KEEP_SECONDS = 30 * 24 * 3600
LIVE_SECRETS = 2
"""Of one key: the one before goes on for a while when it is rotated."""

Scope = Literal[
    "translate",
    "search",
    "enrol",
    "erase",
    "gallery-admin",
    "migrate",
    "vectors-read",
    "metrics",
    "keys-admin",
    "audit-read",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
USUAL_SCOPES: tuple[Scope, ...] = ("translate", "search")
"""Of a key of which nothing is said."""

_PREFIX = "fb"
_ID_BYTES, _SECRET_BYTES = 6, 32
_ID_PATTERN = rf"^[0-9a-f]{{{2 * _ID_BYTES}}}$"
_TEXT = re.compile(rf"{_PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([A-Za-z0-9_-]{{43}})")
_LARGEST_FILE = 16 << 20
_NOBODYS = hashlib.sha256(b"").hexdigest()

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a secret."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sha256: Digest
    made_at: AwareDatetime
    until: AwareDatetime | None = None

    def is_live(self, now: datetime) -> bool:
        """Whether it still opens anything."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who may do what, in one tenant."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    key_id: Annotated[str, StringConstraints(pattern=_ID_PATTERN)]
    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """For people."""
    tenant: Annotated[str, StringConstraints(pattern=TENANT_PATTERN)]
    scopes: tuple[Scope, ...]
    made_at: AwareDatetime
    secrets: tuple[Secret, ...]
    until: AwareDatetime | None = None
    revoked_at: AwareDatetime | None = None
    requests_per_second: Annotated[float, Field(ge=LEAST_RATE, le=1e6)] | None = None
    """None: as the setting says."""
    probes_per_day: Annotated[int, Field(ge=0)] | None = None
    """Compared with templates or with each other. None: as the setting says."""
    shares: tuple[Annotated[str, StringConstraints(pattern=_ID_PATTERN)], ...] = ()
    """The key that made this one, that which made that, and so on: the limits of each hold for it together with all that came of
    it.
    """

    def is_live(self, now: datetime) -> bool:
        """Whether it opens anything."""
        return self.revoked_at is None and (self.until is None or now < self.until) and any(self.live_secrets(now))

    def ended_before(self, moment: datetime) -> bool:
        """Whether it has opened nothing since."""
        end = self.revoked_at or self.until
        return end is not None and end < moment

    def live_secrets(self, now: datetime) -> tuple[Secret, ...]:
        """Those that open something, the oldest first."""
        return tuple(one for one in self.secrets if one.is_live(now))


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key with its secret, which is told once."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class _Document:
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    version: Literal[1]
    keys: tuple[ApiKey, ...]


_DOCUMENT = TypeAdapter(_Document)


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Those of a file. Raises `StartupError` in one line; `FileNotFoundError` where there is none."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise StartupError(f"{path}: larger than {_LARGEST_FILE} bytes")
        keys = parse_document(_DOCUMENT, path.read_bytes(), what=str(path), error=ContractError).keys
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as failure:
        raise StartupError(f"{path}: cannot be read ({failure.strerror})") from None
    except ContractError as failure:
        raise StartupError(str(failure)) from None
    by_id = {key.key_id: key for key in keys}
    if len(by_id) < len(keys):
        raise StartupError(f"{path}: two keys have one id")
    for key in keys:
        tenants = {by_id[one].tenant for one in key.shares if one in by_id}
        if not by_id.keys() >= set(key.shares) or tenants - {key.tenant} or key.key_id in key.shares:
            raise StartupError(
                f"{path}: the key {key.key_id} shares limits of a key that is not there, or not its maker's"
            )
    return keys


def make_key(
    path: Path,
    name: str,
    scopes: Sequence[Scope] = USUAL_SCOPES,
    *,
    tenant: str = DEFAULT_TENANT,
    days: float | None = None,
    requests_per_second: float | None = None,
    probes_per_day: int | None = None,
    maker: ApiKey | None = None,
) -> MadeKey:
    """Add a key to a file, which is made where there is none; it ends after so many days. One that a `maker` makes ends with it
    at the latest, and has a share of its limits.

    Raises `InvalidInputError`, `StartupError`, `OSError`.
    """
    now = _now()
    if days is not None and not 0 < days <= MAX_DAYS:
        raise InvalidInputError(f"days must be more than 0, and at most {MAX_DAYS}")
    ends = [now + timedelta(days=days)] if days is not None else []
    ends += [maker.until] if maker is not None and maker.until is not None else []
    secret, text = _new_secret(now)
    made = _checked(
        ApiKey(
            secrets.token_hex(_ID_BYTES),
            name,
            tenant,
            tuple(one for one in SCOPES if one in scopes),
            now,
            (secret,),
            min(ends) if ends else None,
            None,
            requests_per_second,
            probes_per_day,
            (maker.key_id, *maker.shares) if maker is not None else (),
        )
    )
    if requests_per_second is not None and not math.isfinite(requests_per_second):
        raise InvalidInputError("requests_per_second must be a number")
    if not made.scopes:
        raise InvalidInputError(f"a key needs scopes, of {', '.join(SCOPES)}")
    with _changing(path, must_exist=maker is not None) as keys:
        if maker is not None and not any(one.key_id == maker.key_id and one.is_live(now) for one in keys):
            raise InvalidInputError("the key that asks is revoked, or its time is over")
        if any(one.name == name and one.tenant == tenant and one.is_live(now) for one in keys):
            raise InvalidInputError("the tenant has a key of this name; revoke it first, or choose another name")
        keys.append(made)
    return MadeKey(made, f"{_PREFIX}_{made.key_id}_{text}")


def rotate_key(path: Path, key_id: str, *, keep_seconds: float, tenant: str | None = None) -> MadeKey:
    """Give a key another secret; the one before opens for so long.

    Raises `NotFoundError`; `InvalidInputError` where it has as many live secrets as it may already.
    """
    if not 0 <= keep_seconds <= MAX_KEEP_SECONDS:
        raise InvalidInputError(f"the secret before may be kept for 0 to {MAX_KEEP_SECONDS // 3600} hours")
    now = _now()
    secret, text = _new_secret(now)

    def rotated(key: ApiKey) -> ApiKey:
        live = key.live_secrets(now)
        if not key.is_live(now):
            raise InvalidInputError("the key is revoked, or its time is over; make a new one")
        if keep_seconds > 0 and len(live) >= LIVE_SECRETS:
            raise InvalidInputError(
                f"{len(live)} secrets of this key are live; wait until the older is over, or end both now by keeping none"
            )
        end = now + timedelta(seconds=keep_seconds)
        kept = [replace(one, until=min(one.until or end, end)) for one in live] if keep_seconds > 0 else []
        return replace(key, secrets=(*kept, secret))

    key = _change(path, key_id, tenant, rotated)
    return MadeKey(key, f"{_PREFIX}_{key_id}_{text}")


def revoke_key(path: Path, key_id: str, *, tenant: str | None = None) -> ApiKey:
    """End a key; its name and what it was stay. Raises `NotFoundError`."""
    now = _now()
    return _change(path, key_id, tenant, lambda key: replace(key, secrets=(), revoked_at=key.revoked_at or now))


def find_key(keys: Mapping[str, ApiKey], text: str, now: datetime) -> ApiKey | None:
    """The live key that a text is, among those of some ids; None where it is none. For a wrong secret it takes as long as for a
    right one.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    key_id, secret = match.groups()
    digest = hashlib.sha256(secret.encode()).hexdigest()
    key = keys.get(key_id)
    known = [one.sha256 for one in key.secrets if one.is_live(now)] if key else []
    # As many comparisons for everybody.
    padded = (known + [_NOBODYS] * LIVE_SECRETS)[:LIVE_SECRETS]
    is_one = [hmac.compare_digest(digest, one) for one in padded]
    return key if key is not None and any(is_one) and key.is_live(now) else None


def find_by_id(path: Path, key_id: str, tenant: str) -> ApiKey:
    """A key of a tenant. Raises `NotFoundError`."""
    found = next((key for key in read_keys(path) if (key.key_id, key.tenant) == (key_id, tenant)), None)
    if found is None:
        raise NotFoundError("there is no such key")
    return found


def _new_secret(now: datetime) -> tuple[Secret, str]:
    text = secrets.token_urlsafe(_SECRET_BYTES)
    return Secret(hashlib.sha256(text.encode()).hexdigest(), now), text


def _change(path: Path, key_id: str, tenant: str | None, change: Callable[[ApiKey], ApiKey]) -> ApiKey:
    with _changing(path, must_exist=True) as keys:
        for place, key in enumerate(keys):
            if key.key_id == key_id and tenant in (None, key.tenant):
                keys[place] = change(key)
                return keys[place]
    raise NotFoundError("there is no such key")


@contextmanager
def _changing(path: Path, *, must_exist: bool = False) -> Iterator[list[ApiKey]]:
    """What is in the file, which is written as it is changed to; one changes it at a time. Keys that ended long ago are left out.

    Raises `StartupError`, `OSError`; `InvalidInputError` where a tenant would have too many.
    """
    # What is linked to is changed, and not the link.
    path = path.resolve()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            before = read_keys(path)
        except FileNotFoundError:
            if must_exist:
                raise
            before = ()
        keys = list(before)
        yield keys
        if tuple(keys) != before:
            long_ago = _now() - timedelta(days=REMEMBERED_DAYS)
            # Limits of who is gone hold for whom they made.
            makers = {one for key in keys if not key.ended_before(long_ago) for one in key.shares}
            left = tuple(key for key in keys if not key.ended_before(long_ago) or key.key_id in makers)
            most = max(Counter(key.tenant for key in left).values(), default=0)
            if most > MAX_KEYS and len(keys) > len(before):
                raise InvalidInputError(
                    f"a tenant has at most {MAX_KEYS} keys, with those of the last {REMEMBERED_DAYS} days"
                )
            document = _DOCUMENT.dump_python(_Document(1, left), mode="json")
            for one in document["keys"]:
                # A service of before reads what it knows.
                if not one["shares"]:
                    del one["shares"]
            write_whole(path, readable_json(document), like=path.stat() if path.exists() else None)
    finally:
        os.close(descriptor)


def _checked(key: ApiKey) -> ApiKey:
    """Raises `InvalidInputError`."""
    try:
        parse_document(_DOCUMENT, _DOCUMENT.dump_json(_Document(1, (key,))), what="the key", error=ContractError)
    except ContractError as failure:
        raise InvalidInputError(str(failure)) from None
    return key


def _now() -> datetime:
    return datetime.now(UTC)
