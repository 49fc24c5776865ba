"""How long the stages of a request take, wherever they are: told to whoever watches the request, if anybody does."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["decode", "queue", "inference", "search", "record", "encode", "audit"]
"""Reading what came in, pictures included; waiting for a model; its run; looking through a gallery; writing to it, and waiting
for the disk; making the answer; writing down that it was asked.
"""


@dataclass(slots=True)
class Took:
    """The stages of one request, as they end: each with when it began and ended, of `time.perf_counter`."""

    request_id: str = ""
    began: float = field(default_factory=time.perf_counter)
    spans: list[tuple[Stage, float, float]] = field(default_factory=list)
    is_answered: bool = False

    def add(self, stage: Stage, began: float, ended: float) -> None:
        """One that is over."""
        self.spans.append((stage, began, ended))

    def begin_answer(self) -> None:
        """What came after the last of them was making the answer, when this is called first."""
        if self.spans and not self.is_answered:
            self.add("encode", max(ended for _, _, ended in self.spans), time.perf_counter())

        self.is_answered = True

    @property
    def seconds(self) -> dict[Stage, float]:
        """Of each stage that there was, together."""
        found: dict[Stage, float] = {}
        for stage, began, ended in self.spans:
            found[stage] = found.get(stage, 0.0) + ended - began
        return found


_watched: ContextVar[Took | None] = ContextVar("facebridge_took", default=None)


def watch(took: Took) -> Token[Took | None]:
    """Tell `took` of whatever is done for the request that is served here, on whichever thread, until `unwatch`."""
    return _watched.set(took)


def watched() -> Took | None:
    """Of the request that is served here; None where there is none."""
    return _watched.get()


def unwatch(token: Token[Took | None]) -> None:
    """The request is answered."""
    _watched.reset(token)


def answer_begins() -> None:
    """What comes after this is not making the answer any more."""
    took = _watched.get()
    if took is not None:
        took.begin_answer()


def tell(stage: Stage, began: float, ended: float) -> None:
    """Of a stage that was measured elsewhere."""
    took = _watched.get()
    if took is not None:
        took.add(stage, began, ended)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Around a stage."""
    began = time.perf_counter()
    try:
        yield
    finally:
        tell(name, began, time.perf_counter())
