"""The keys of a running service, as the file says that they are: what is changed there holds within seconds."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.access.keys import DEFAULT_TENANT, SCOPES, ApiKey, Scope, find_key, read_keys
from service.errors import StartupError

log = logging.getLogger("facebridge.access")

_LOOK_SECONDS = 1.0
"""Between looks at the file. A key that is revoked must open nothing after five."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever sends a request, as far as it is known."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str = ""
    """Empty where nobody needs a key."""
    requests_per_second: float | None = None
    probes_per_day: int | None = None


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
        self._look(is_start=True)

    @property
    def is_needed(self) -> bool:
        """Whether requests need a key."""
        self._look_now_and_then()
        return self._keys is not None

    def caller(self, text: str) -> Caller | None:
        """Whose key a text is; None where it opens nothing."""
        self._look_now_and_then()
        key = find_key(self._keys or {}, text, datetime.now(UTC))
        if key is None:
            return None
        return Caller(key.tenant, frozenset(key.scopes), key.key_id, key.requests_per_second, key.probes_per_day)

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
        self._keys = {key.key_id: key for key in keys}
        self._read = found


def _unreadable(path: Path, failure: Exception) -> StartupError:
    return StartupError(f"{path}: cannot be read ({getattr(failure, 'strerror', None) or type(failure).__name__})")
