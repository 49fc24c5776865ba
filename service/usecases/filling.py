"""Filling a generation: templates are read, translated from what their encoders made, recorded and made searchable, by chunks.

While one chunk is translated and recorded, the next one is read: a kill takes the work on one chunk away, and no more.

Shapes: N templates of one space, D dimension of the generation's.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from models.space import Space
from service.entities import Route, RouteStep, Translation
from service.errors import GenerationChangedError
from service.galleries.port import Chunk, Filled, GenerationStore, Originals
from service.inference.blocking import BlockingRoute
from service.usecases.pace import Pace

_FIRST, _FEWEST, _MOST = 256, 64, 8192
"""Templates of a chunk. It takes half a second at most, or so: so much is done again after a kill, and so soon is a job stopped
that is to stop.
"""


class Translators(Protocol):
    """Who translates, on the caller's thread."""

    def blocking(self, steps: Sequence[RouteStep]) -> BlockingRoute:
        """The translators of a route."""


@dataclass(frozen=True, slots=True)
class Filler:
    """Fills generations."""

    inference: Translators
    generations: GenerationStore
    pace: Pace = field(default_factory=Pace)

    def __call__(
        self,
        gallery: str,
        generation: int,
        route_of: Callable[[Space], Route | None],
        *,
        on_filled: Callable[[Filled], None] = lambda filled: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Fill until the generation has caught up with the gallery; whether it has, and was not stopped by `go_on`, which is
        asked before each chunk. `route_of` is asked by which route templates of a space come there, None where none leads there,
        when there are any.

        Raises `NotFoundError`, `RollbackExpiredError` where the generation is dropped meanwhile, `EngineError`,
        `StorageError`, and what `route_of` raises.
        """
        size = _Size()
        with ThreadPoolExecutor(1, thread_name_prefix="fill") as pool:
            chunk = self.generations.chunk(gallery, generation, limit=size.limit)
            while go_on():
                began = time.perf_counter()
                following = pool.submit(self._next, gallery, generation, chunk, size.limit)
                started = time.perf_counter()
                made = [self._translated(route_of, part) for part in chunk.parts]
                size.adapt(chunk, time.perf_counter() - started, self.pace.piece_seconds)
                try:
                    filled = self.generations.fill(gallery, generation, chunk, made)
                except GenerationChangedError:
                    # Somebody else fills it too, or it was put back.
                    chunk = self.generations.chunk(gallery, generation, limit=size.limit)
                    continue
                on_filled(filled)
                if filled.is_complete:
                    return True
                chunk = following.result()
                if chunk.after != filled.filled_to:
                    chunk = self.generations.chunk(gallery, generation, after=filled.filled_to, limit=size.limit)
                self.pace.rest(time.perf_counter() - began)
        return False

    def _translated(self, route_of: Callable[[Space], Route | None], part: Originals) -> Translation | None:
        route = route_of(part.space)
        return None if route is None else self.inference.blocking(route.steps)(part.features, part.norm)

    def _next(self, gallery: str, generation: int, chunk: Chunk, limit: int) -> Chunk:
        return self.generations.chunk(gallery, generation, after=chunk.next_after, limit=limit)


class _Size:
    """How many templates are a chunk."""

    def __init__(self) -> None:
        self.limit = _FIRST

    def adapt(self, chunk: Chunk, seconds: float, wanted_seconds: float) -> None:
        """To how long a chunk took to be translated, and is to take."""
        num = sum(len(part.features) for part in chunk.parts)
        wanted = int(num * wanted_seconds / max(seconds, 1e-3)) if num else _MOST
        self.limit = max(_FEWEST, min(_MOST, 2 * self.limit, wanted))
