"""How work that can wait gives way to requests: it rests after each piece, and makes its pieces small, while there are any."""

import time
from collections.abc import Callable
from dataclasses import dataclass

_QUIET_SECONDS, _BUSY_SECONDS = 0.5, 0.03


@dataclass(frozen=True, slots=True)
class Pace:
    """`share` of the time is worked while there is somebody to give way to."""

    is_busy: Callable[[], bool] = lambda: False
    share: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    @property
    def piece_seconds(self) -> float:
        """How long a piece of work is to take."""
        return _BUSY_SECONDS if self.is_busy() else _QUIET_SECONDS

    def resting(self) -> Callable[[], None]:
        """What is called between pieces of work, of which the first begins now."""
        began = time.perf_counter()

        def rest() -> None:
            nonlocal began
            self.rest(time.perf_counter() - began)
            began = time.perf_counter()

        return rest

    def rest(self, worked_seconds: float) -> None:
        """After a piece that took so long."""
        if self.is_busy() and self.share < 1.0:
            self.sleep(worked_seconds * (1.0 - self.share) / self.share)
