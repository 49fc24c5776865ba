import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.features import FloatArray
from service.errors import DrainingError, EngineError, ImageRejectedError, QueueFullError
from service.inference.batcher import MicroBatcher

WAIT_SECONDS = 10


def rows(*numbers: float) -> FloatArray:
    return np.array([[number] for number in numbers], dtype=np.float32)


@dataclass
class Doubling:
    """Doubles numbers; can be held inside `run`, and answers as it is told to."""

    max_rows = 256
    device: str = "cpu"
    batches: list[list[float]] = field(default_factory=list)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gate: threading.Event = field(default_factory=threading.Event)
    answer: Callable[[FloatArray], FloatArray] = lambda batch: 2 * batch

    def __post_init__(self) -> None:
        self.gate.set()

    def prepare(self, item: FloatArray) -> FloatArray:
        if item.ndim != 2:
            raise ImageRejectedError("not rows")
        return item

    def run(self, rows: FloatArray) -> FloatArray:
        self.batches.append(rows[:, 0].tolist())
        self.entered.release()
        assert self.gate.wait(WAIT_SECONDS)
        return self.answer(rows)

    def finish(self, rows: FloatArray) -> FloatArray:
        return rows


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as opened:
        yield opened


@pytest.fixture
def engine() -> Doubling:
    return Doubling()


def batcher_of(
    engine: Doubling, executor: ThreadPoolExecutor, *, max_rows: int = 4, max_queue_rows: int = 100
) -> MicroBatcher[FloatArray]:
    return MicroBatcher(engine, executor, executor, max_rows=max_rows, max_queue_rows=max_queue_rows)


async def held(engine: Doubling, batcher: MicroBatcher[FloatArray], first: FloatArray) -> asyncio.Task[FloatArray]:
    """A submission that is now being run, and stays there until the gate is opened."""
    engine.gate.clear()
    task = asyncio.create_task(batcher.submit(first))
    assert await asyncio.to_thread(engine.entered.acquire, timeout=WAIT_SECONDS)
    return task


async def queued(batcher: MicroBatcher[FloatArray], *items: FloatArray) -> list[asyncio.Task[FloatArray]]:
    """Submissions that wait in this order behind what is running."""
    tasks = []
    for item in items:
        wanted = batcher.num_queued_rows + len(item)
        tasks.append(asyncio.create_task(batcher.submit(item)))
        async with asyncio.timeout(WAIT_SECONDS):
            while batcher.num_queued_rows < wanted:
                await asyncio.sleep(0)
    return tasks


async def test_one_item_comes_back_at_once_and_alone(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    batcher = batcher_of(engine, executor)
    batcher.start()
    assert (await batcher.submit(rows(1, 2))).tolist() == [[2], [4]]
    assert engine.batches == [[1, 2]]
    await batcher.stop()


async def test_what_arrives_while_a_batch_runs_becomes_the_next(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    sizes: list[int] = []
    batcher = MicroBatcher(engine, executor, executor, max_rows=4, max_queue_rows=100, on_batch=sizes.append)
    batcher.start()
    first = await held(engine, batcher, rows(1))
    waiting = await queued(batcher, rows(2), rows(3, 4), rows(5))
    engine.gate.set()
    answers = await asyncio.gather(first, *waiting)
    assert [answer[:, 0].tolist() for answer in answers] == [[2], [4], [6, 8], [10]]
    assert engine.batches == [[1], [2, 3, 4, 5]]
    assert sizes == [1, 4]
    await batcher.stop()


async def test_a_batch_holds_no_more_rows_than_it_may_and_keeps_their_order(
    engine: Doubling, executor: ThreadPoolExecutor
) -> None:
    batcher = batcher_of(engine, executor, max_rows=3)
    batcher.start()
    first = await held(engine, batcher, rows(0))
    waiting = await queued(batcher, rows(1, 2), rows(3, 4), rows(5), rows(6))
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    assert engine.batches == [[0], [1, 2], [3, 4, 5], [6]]
    await batcher.stop()


async def test_an_item_larger_than_a_batch_is_run_in_pieces(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    batcher = batcher_of(engine, executor, max_rows=2)
    batcher.start()
    answer = await batcher.submit(rows(1, 2, 3, 4, 5))
    assert answer[:, 0].tolist() == [2, 4, 6, 8, 10]
    assert engine.batches == [[1, 2], [3, 4], [5]]
    await batcher.stop()


@pytest.mark.parametrize("failure", [EngineError("out of memory"), RuntimeError("unforeseen"), MemoryError()])
async def test_everybody_in_a_failing_batch_hears_of_it_and_the_next_batch_runs(
    engine: Doubling, executor: ThreadPoolExecutor, failure: Exception
) -> None:
    def fail(batch: FloatArray) -> FloatArray:
        raise failure

    batcher = batcher_of(engine, executor)
    batcher.start()
    engine.answer = fail
    first = await held(engine, batcher, rows(1))
    waiting = await queued(batcher, rows(2), rows(3))
    engine.gate.set()
    heard = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [type(answer) for answer in heard] == [EngineError] * 3
    assert "unforeseen" not in str(heard)
    engine.answer = lambda batch: 2 * batch
    assert (await batcher.submit(rows(4))).tolist() == [[8]]
    await batcher.stop()


@pytest.mark.parametrize(
    "answer",
    [
        lambda batch: batch[:-1],
        lambda batch: np.concatenate([batch, batch]),
        lambda batch: np.float32(1),
        lambda batch: None,
    ],
)
async def test_a_model_that_gives_another_number_of_rows_has_failed(
    engine: Doubling, executor: ThreadPoolExecutor, answer: Callable[[FloatArray], FloatArray]
) -> None:
    batcher = batcher_of(engine, executor)
    batcher.start()
    engine.answer = answer
    with pytest.raises(EngineError):
        await batcher.submit(rows(1, 2))
    await batcher.stop()


async def test_a_bad_item_is_its_senders_problem_alone(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    batcher = batcher_of(engine, executor)
    batcher.start()
    first = await held(engine, batcher, rows(1))
    with pytest.raises(ImageRejectedError):
        await batcher.submit(np.zeros(3, dtype=np.float32))
    engine.gate.set()
    assert (await first).tolist() == [[2]]
    await batcher.stop()


async def test_a_full_queue_refuses_and_takes_again_when_it_has_room(
    engine: Doubling, executor: ThreadPoolExecutor
) -> None:
    batcher = batcher_of(engine, executor, max_queue_rows=3)
    batcher.start()
    first = await held(engine, batcher, rows(0))
    waiting = await queued(batcher, rows(1, 2))
    with pytest.raises(QueueFullError):
        await batcher.submit(rows(3, 4))
    waiting += await queued(batcher, rows(5))
    with pytest.raises(QueueFullError):
        await batcher.submit(rows(6))
    engine.gate.set()
    await asyncio.gather(first, *waiting)
    assert batcher.num_queued_rows == 0
    assert (await batcher.submit(rows(7))).tolist() == [[14]]
    await batcher.stop()


async def test_an_item_larger_than_the_queue_is_taken_when_nothing_waits(
    engine: Doubling, executor: ThreadPoolExecutor
) -> None:
    batcher = batcher_of(engine, executor, max_queue_rows=2)
    batcher.start()
    assert len(await batcher.submit(rows(1, 2, 3, 4, 5))) == 5
    await batcher.stop()


async def test_stopping_finishes_what_runs_and_refuses_what_waits_and_what_comes(
    engine: Doubling, executor: ThreadPoolExecutor
) -> None:
    batcher = batcher_of(engine, executor)
    batcher.start()
    first = await held(engine, batcher, rows(1))
    waiting = await queued(batcher, rows(2), rows(3))
    stopping = asyncio.create_task(batcher.stop())
    await asyncio.sleep(0)
    with pytest.raises(DrainingError):
        await batcher.submit(rows(4))
    engine.gate.set()
    await stopping
    assert (await first).tolist() == [[2]]
    heard = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in heard] == [DrainingError] * 2
    assert engine.batches == [[1]]
    assert batcher.num_queued_rows == 0


async def test_a_batcher_that_never_started_can_be_stopped(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    batcher = batcher_of(engine, executor)
    (waiting,) = await queued(batcher, rows(1))
    await batcher.stop()
    with pytest.raises(DrainingError):
        await waiting


async def test_who_left_is_not_worked_for_and_the_others_are_answered(
    engine: Doubling, executor: ThreadPoolExecutor
) -> None:
    batcher = batcher_of(engine, executor)
    batcher.start()
    first = await held(engine, batcher, rows(1))
    left, stayed = await queued(batcher, rows(2), rows(3))
    left.cancel()
    first.cancel()
    heard = await asyncio.gather(first, left, return_exceptions=True)
    assert [type(answer) for answer in heard] == [asyncio.CancelledError] * 2
    engine.gate.set()
    assert (await stayed).tolist() == [[6]]
    assert engine.batches == [[1], [3]]
    await batcher.stop()


async def test_many_callers_at_once_all_get_their_own_answer(engine: Doubling, executor: ThreadPoolExecutor) -> None:
    batcher = batcher_of(engine, executor, max_rows=16, max_queue_rows=10_000)
    batcher.start()
    answers = await asyncio.gather(*(batcher.submit(rows(*range(n, n + n % 5 + 1))) for n in range(300)))
    assert [answer[:, 0].tolist() for answer in answers] == [
        [2 * k for k in range(n, n + n % 5 + 1)] for n in range(300)
    ]
    assert max(len(batch) for batch in engine.batches) <= 16
    await batcher.stop()
