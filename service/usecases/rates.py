"""How fast work goes."""

import time
from collections import deque
from collections.abc import Callable

_SECONDS = 10.0


class Rate:
    """Of the last ten seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._done: deque[tuple[float, int]] = deque()

    def add(self, num: int) -> None:
        """So many are done."""
        self._done.append((self._clock(), num))
        while self._done[0][0] < self._clock() - _SECONDS:
            self._done.popleft()

    @property
    def per_second(self) -> float | None:
        """None before anything is."""
        if not self._done:
            return None
        now = self._clock()
        seconds = min(_SECONDS, now - self._began)
        return sum(num for at, num in list(self._done) if at >= now - _SECONDS) / max(seconds, 1e-3)
