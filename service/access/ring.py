"""The keys of a running service, as the file says that they are: what is changed there holds within seconds."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from service.access.keys import DEFAULT_TENANT, SCOPES, ApiKey, Scope, find_key, read_keys
from service.errors import StartupError

log = logging.getLogger("facebridge.access")

_LOOK_SECONDS = 1.0
"""Between looks at the file. A key that is revoked must open nothing after five."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How often may be asked by a key, with those that it made."""

    key_id: str
    requests_per_second: float | None
    """None: as the setting says."""
    probes_per_day: int | None

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        """Its own."""
        return cls(key.key_id, key.requests_per_second, key.probes_per_day)


@dataclass(frozen=True, slots=True)
class KeyChange:
    """What was seen of a tenant's keys since the look before: ids of those that are new, that are other than they were, and that
    were ended before their time.
    """

    at: datetime
    tenant: str
    made: tuple[str, ...]
    changed: tuple[str, ...]
    ended: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, as far as it is known."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str = ""
    """Empty where nobody needs a key."""
    budgets: tuple[Budget, ...] = ()
    """All hold."""


ANYBODY = Caller(DEFAULT_TENANT, frozenset(SCOPES))
"""Of a service without keys: whoever reaches it may do everything."""


class KeyRing:
    """The keys of one file. Without that file nobody needs any; once it is there, it is never without keys again."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `StartupError` where the file is there and cannot be read."""
        self.path = path
        self._keys: Mapping[str, ApiKey] | None = None
        self._read: tuple[int, ...] | None = None
        self._clock, self._looked = clock, clock()
        self.on_change: Callable[[KeyChange], None] = lambda change: None
        """Hears of changes of the file, whoever made them."""
        self._look(is_start=True)

    @property
    def is_needed(self) -> bool:
        """Whether requests need a key."""
        self._look_now_and_then()
        return self._keys is not None

    def caller(self, text: str) -> Caller | None:
        """Whose key a text is; None where it opens nothing."""
        self._look_now_and_then()
        keys = self._keys or {}
        key = find_key(keys, text, datetime.now(UTC))
        if key is None:
            return None
        # Its own comes first: what that refuses costs nobody else anything.
        budgets = tuple(Budget.of(one) for one in (key, *(keys[maker] for maker in key.shares)))
        return Caller(key.tenant, frozenset(key.scopes), key.key_id, budgets)

    def look(self) -> None:
        """Take what the file says now, for whoever has just changed it."""
        self._looked = self._clock()
        self._look()

    def _look_now_and_then(self) -> None:
        now = self._clock()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            self._look()

    def _look(self, *, is_start: bool = False) -> None:
        try:
            status = self.path.stat()
            found = (status.st_mtime_ns, status.st_size, status.st_ino)
            if found == self._read:
                return
            keys = read_keys(self.path)
        except (StartupError, OSError) as failure:
            if isinstance(failure, FileNotFoundError | NotADirectoryError) and self._keys is None:
                return
            if is_start:
                raise failure if isinstance(failure, StartupError) else _unreadable(self.path, failure) from None
            # Those that were read last hold on: a file that is half written opens and closes nothing.
            log.error("the keys are those that were read last: %s", failure)
            return
        before, self._keys = self._keys, {key.key_id: key for key in keys}
        self._read = found
        for change in [] if is_start else _changes(before or {}, self._keys):
            self.on_change(change)


def _changes(before: Mapping[str, ApiKey], after: Mapping[str, ApiKey]) -> list[KeyChange]:
    now = datetime.now(UTC)
    was, is_now = _by_tenant(before, now), _by_tenant(after, now)
    changes = []
    for tenant in sorted(was.keys() | is_now.keys()):
        old, new = was.get(tenant, {}), is_now.get(tenant, {})
        changed = sorted(key_id for key_id in old.keys() & new.keys() if old[key_id] != new[key_id])
        made, ended = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
        if made or changed or ended:
            changes.append(KeyChange(now, tenant, tuple(made), tuple(changed), tuple(ended)))
    return changes


def _by_tenant(keys: Mapping[str, ApiKey], now: datetime) -> dict[str, dict[str, ApiKey]]:
    """Those that are neither revoked nor over."""
    found: dict[str, dict[str, ApiKey]] = {}
    for key in keys.values():
        if key.revoked_at is None and (key.until is None or now < key.until):
            found.setdefault(key.tenant, {})[key.key_id] = key
    return found


def _unreadable(path: Path, failure: Exception) -> StartupError:
    return StartupError(f"{path}: cannot be read ({getattr(failure, 'strerror', None) or type(failure).__name__})")
