"""Filling a generation: templates are read, translated from what their encoders made, recorded and made searchable, by chunks.

While one chunk is recorded the next is read and translated. Shapes: N templates of one space, D dimension of the generation's.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from service.entities import Route, Translation
from service.galleries.port import Chunk, Filled, GenerationStore, Originals
from service.inference.blocking import BlockingRoute
from service.inference.inference import Inference

_FIRST, _FEWEST, _MOST = 256, 64, 8192
_CHUNK_SECONDS = 0.5
"""About so long is a chunk translated: so much is done again after a kill, and so soon is a job stopped that is to stop."""


@dataclass(slots=True)
class Filler:
    """Fills generations; `routes` are those of templates, by the fingerprint of the space that they are of."""

    inference: Inference
    generations: GenerationStore

    def __call__(
        self,
        gallery: str,
        generation: int,
        routes: Mapping[str, Route],
        *,
        on_filled: Callable[[Filled], None] = lambda filled: None,
        go_on: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Fill until the generation has caught up with the gallery; whether it has, and was not stopped by `go_on`, which is
        asked before each chunk.

        Raises `NotFoundError`, `RollbackExpiredError` where the generation is dropped meanwhile, `EngineError`, `StorageError`.
        """
        blocking = {
            fingerprint: self.inference.blocking(route.steps) for fingerprint, route in routes.items() if route.steps
        }
        limit, after = _FIRST, None
        with ThreadPoolExecutor(1, thread_name_prefix="fill") as pool:
            pending: Future[Filled] | None = None
            while True:
                chunk = self.generations.chunk(gallery, generation, after=after, limit=limit)
                started = time.perf_counter()
                made = [_translated(blocking.get(part.space.fingerprint), part) for part in chunk.parts]
                limit = _next_limit(limit, chunk, time.perf_counter() - started)
                if pending is not None:
                    filled = pending.result()
                    on_filled(filled)
                    if filled.is_complete:
                        return True
                if not go_on():
                    return False
                pending = pool.submit(self.generations.fill, gallery, generation, chunk, made)
                after = chunk.next_after


def _translated(route: BlockingRoute | None, part: Originals) -> Translation | None:
    return None if route is None else route(part.features, part.norm)


def _next_limit(limit: int, chunk: Chunk, seconds: float) -> int:
    """How many templates take about as long as a chunk may."""
    num = sum(len(part.features) for part in chunk.parts)
    if not num:
        return min(_MOST, 2 * limit)
    wanted = int(num * _CHUNK_SECONDS / max(seconds, 1e-3))
    return max(_FEWEST, min(_MOST, 2 * limit, wanted))
