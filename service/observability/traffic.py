"""Whether somebody is being served just now, so that work that can wait gives way."""

import threading
import time
from collections.abc import Callable

_QUIET_SECONDS = 0.5
_NOBODY = ("/jobs", "/healthz", "/metrics")
"""Paths that are asked for by who looks on."""


class Traffic:
    """Counts requests under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._num = 0
        self._last = -_QUIET_SECONDS
        self._lock = threading.Lock()
        self.is_stopping = False
        """Whether the service has been told to stop: whoever is answered is not to ask over the same connection again."""

    def begin(self, path: str) -> bool:
        """A request has come; whether it counts, and `end` is to be told."""
        if path.startswith(_NOBODY):
            return False
        with self._lock:
            self._num += 1
        return True

    def end(self) -> None:
        """One that counts is answered."""
        with self._lock:
            self._num -= 1
            self._last = self._clock()

    @property
    def is_busy(self) -> bool:
        """Whether there is one, or was one within the last half second."""
        return self._num > 0 or self._clock() - self._last < _QUIET_SECONDS
