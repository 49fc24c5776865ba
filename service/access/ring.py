"""The keys of a running service, as the file says that they are: what is changed there holds within seconds."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    open nothing any more.
    """

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
        budgets = [Budget.of(key)]
        if key.shares is not None:
            # Of a maker who is long gone its own number is left, which was no more than the maker's.
            budgets.insert(0, Budget.of(replace(keys.get(key.shares, key), key_id=key.shares)))
        return Caller(key.tenant, frozenset(key.scopes), key.key_id, tuple(budgets))

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
    tenants = {key.tenant for key in (*before.values(), *after.values())}
    return [change for tenant in sorted(tenants) if (change := _change_of(tenant, before, after)) is not None]


def _change_of(tenant: str, before: Mapping[str, ApiKey], after: Mapping[str, ApiKey]) -> KeyChange | None:
    was, now = (
        {key_id: key for key_id, key in keys.items() if key.tenant == tenant and key.revoked_at is None}
        for keys in (before, after)
    )
    made, ended = sorted(now.keys() - was.keys()), sorted(was.keys() - now.keys())
    changed = sorted(key_id for key_id in was.keys() & now.keys() if was[key_id] != now[key_id])
    return KeyChange(tenant, tuple(made), tuple(changed), tuple(ended)) if made or changed or ended else None


def _unreadable(path: Path, failure: Exception) -> StartupError:
    return StartupError(f"{path}: cannot be read ({getattr(failure, 'strerror', None) or type(failure).__name__})")
