import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from deploy.demo import processes
from deploy.demo.processes import interrupts_wait, run_to_its_end

_SLEEPS = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"]


@pytest.fixture(autouse=True)
def _ctrl_c_is_heeded() -> Iterator[None]:
    """Also where the tests themselves run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_program_started_while_ctrl_c_comes_is_gone_when_the_wait_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def starting(words: Sequence[str]) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(words))
        interrupt()
        return started[0]

    monkeypatch.setattr(processes, "_SECONDS_TO_LEAVE", 0.1)
    monkeypatch.setattr(processes, "_start", starting)
    with pytest.raises(KeyboardInterrupt):
        run_to_its_end(_SLEEPS)
    assert started[0].returncode == -signal.SIGKILL


def test_a_program_that_fails_is_named_with_its_code() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run_to_its_end([sys.executable, "-c", "raise SystemExit(3)"])
    assert failure.value.returncode == 3


def test_what_must_not_be_interrupted_is_done_first(tmp_path: Path) -> None:
    def work() -> None:
        with interrupts_wait():
            interrupt()
            (tmp_path / "done").touch()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (tmp_path / "done").is_file()


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupts_wait():
        interrupt()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
