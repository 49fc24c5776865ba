"""Micro-batching: while one batch runs, whatever arrives becomes the next. Nobody waits for a batch to fill.

Invariant: whoever submitted hears an answer or an error, also when the engine fails or the service stops.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from models.features import FloatArray
from service.errors import DrainingError, EngineError, FacebridgeError, QueueFullError
from service.inference.engine import Engine
from service.observability.stages import stage, tell

ItemT = TypeVar("ItemT")

OFF_LOOP_ROWS = 256
"""From so many rows on, work on them would hold up every other request, and goes to a thread."""


@dataclass(slots=True)
class _Waiting:
    rows: FloatArray
    done: asyncio.Future[FloatArray]
    came: float
    """This and the others: of `time.perf_counter`."""
    began: float = 0.0
    ended: float = 0.0


class MicroBatcher(Generic[ItemT]):
    """Feeds one engine from many callers."""

    def __init__(
        self,
        engine: Engine[ItemT],
        executor: Executor,
        prepare_executor: Executor,
        *,
        max_rows: int,
        max_queue_rows: int,
        on_batch: Callable[[int], None] = lambda num_rows: None,
    ) -> None:
        """At most `max_rows` are run at once, at most `max_queue_rows` wait; `on_batch` hears each batch's size.

        Items are prepared on an executor of their own: decoding large pictures must not hold up the models.
        """
        self._engine = engine
        self._executor = executor
        self._prepare_executor = prepare_executor
        self._num_preparing = 0
        self._max_rows = max_rows
        self._max_queue_rows = max_queue_rows
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False
        self.num_queued_rows = 0

    def start(self) -> None:
        """Start working; needs a running event loop."""
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Finish the batch that is running, then refuse what still waits."""
        self._closed = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        while self._queue:
            self._fail(self._queue.popleft(), DrainingError("the service is stopping"))
        self.num_queued_rows = 0

    async def submit(self, item: ItemT) -> FloatArray:
        """The features of one item, (n, D). Raises `QueueFullError`, `DrainingError`, and what the engine raises."""
        self._check_room(1)
        loop = asyncio.get_running_loop()
        self._num_preparing += 1
        try:
            with stage("decode"):
                rows = await loop.run_in_executor(self._prepare_executor, self._engine.prepare, item)
        finally:
            self._num_preparing -= 1
        self._check_room(len(rows))
        waiting = _Waiting(rows, loop.create_future(), time.perf_counter())
        self._queue.append(waiting)
        self.num_queued_rows += len(rows)
        self._arrived.set()
        outputs = await waiting.done
        tell("queue", waiting.came, waiting.began)
        tell("inference", waiting.began, waiting.ended)
        if len(outputs) < OFF_LOOP_ROWS:
            return self._engine.finish(outputs)
        return await loop.run_in_executor(self._executor, self._engine.finish, outputs)

    def _check_room(self, num_rows: int) -> None:
        if self._closed:
            raise DrainingError("the service is stopping")
        # One item larger than the queue is let in when nothing else waits; it could never come in otherwise.
        num_before = self.num_queued_rows + self._num_preparing
        if num_before and num_before + num_rows > self._max_queue_rows:
            raise QueueFullError("as much work is waiting as may wait; try again shortly")

    async def _work(self) -> None:
        while not self._closed:
            await self._arrived.wait()
            self._arrived.clear()
            while self._queue and not self._closed:
                await self._run(self._take())

    def _take(self) -> list[_Waiting]:
        taken = [self._queue.popleft()]
        num_rows = len(taken[0].rows)
        while self._queue and num_rows + len(self._queue[0].rows) <= self._max_rows:
            taken.append(self._queue.popleft())
            num_rows += len(taken[-1].rows)
        self.num_queued_rows -= num_rows
        return taken

    async def _run(self, taken: list[_Waiting]) -> None:
        wanted = [waiting for waiting in taken if not waiting.done.cancelled()]
        if not wanted:
            return
        loop, began = asyncio.get_running_loop(), time.perf_counter()
        try:
            outputs = await loop.run_in_executor(self._executor, self._run_rows, [waiting.rows for waiting in wanted])
        except FacebridgeError as failure:
            for waiting in wanted:
                self._fail(waiting, failure)
            return
        except Exception as failure:  # noqa: BLE001  (a worker's boundary: every waiter hears of it)
            for waiting in wanted:
                self._fail(waiting, EngineError(f"the model failed: {type(failure).__name__}"))
            return
        start, ended = 0, time.perf_counter()
        for waiting in wanted:
            end = start + len(waiting.rows)
            waiting.began, waiting.ended = began, ended
            if not waiting.done.done():
                waiting.done.set_result(outputs[start:end])
            start = end

    def _run_rows(self, parts: list[FloatArray]) -> FloatArray:
        rows = parts[0] if len(parts) == 1 else np.concatenate(parts)
        outputs = []
        for start in range(0, len(rows), self._max_rows):
            block = rows[start : start + self._max_rows]
            self._on_batch(len(block))
            outputs.append(self._engine.run(block))
        features = outputs[0] if len(outputs) == 1 else np.concatenate(outputs)
        if len(features) != len(rows):
            raise EngineError("the model gave another number of rows than it took")
        return features

    @staticmethod
    def _fail(waiting: _Waiting, failure: FacebridgeError) -> None:
        if not waiting.done.done():
            waiting.done.set_exception(failure)
