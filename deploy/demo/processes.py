"""Starting other programs so that Ctrl-C never loses sight of one."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_SECONDS_TO_LEAVE = 1.0


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Put off Ctrl-C until the block is done; in the midst of starting a process it would leave that one to itself.

    Only the main thread may enter.
    """
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def run_to_its_end(words: Sequence[str | Path]) -> None:
    """Run a program; whatever ends the wait for it ends the program too, and it is gone before this returns.

    Raises `CalledProcessError` where it leaves with another code than 0.
    """
    process: subprocess.Popen[bytes] | None = None
    try:
        with interrupts_wait():
            process = _start(words)
        code = process.wait()
    except BaseException:
        if process is not None:
            _end(process)
        raise
    if code:
        raise subprocess.CalledProcessError(code, list(words))


def _start(words: Sequence[str | Path]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(words)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """The same Ctrl-C has reached it, as a rule, and it may be tidying up."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(_SECONDS_TO_LEAVE)
    process.kill()
    process.wait()
