"""What is told of a long training where nobody watches a bar."""

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from training.commands import terminal
from training.commands.terminal import StepWatch
from training.trainers.encoder_recipe import Report


@pytest.mark.parametrize(("seconds", "num_lines"), [(0.0, 2), (60.0, 0)])
def test_a_log_gets_a_line_a_minute(monkeypatch: pytest.MonkeyPatch, seconds: float, num_lines: int) -> None:
    monkeypatch.setattr(terminal, "_SECONDS_A_LINE", seconds)
    written = io.StringIO()
    progress = Progress(console=Console(file=written), disable=True)
    watch = StepWatch(progress, progress.add_task("training", total=None, rate=""), 64)
    told = []
    for step in (7, 8, 1, 2):
        watch(Report(step, 10, 0.5))
        told.append(len(written.getvalue().splitlines()))
    # Of a first step no rate is known, and the second training begins where the first was.
    assert told == ([0, 1, 1, 2] if num_lines else [0, 0, 0, 0])
    lines = written.getvalue().splitlines()
    assert len(lines) == num_lines
    assert all(line.startswith("training: ") and line.endswith("minutes left") for line in lines)
    assert all("of 10 steps, " in line and "loss 0.500, " in line for line in lines)


def test_a_bar_is_enough_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_SECONDS_A_LINE", 0.0)
    written = io.StringIO()
    progress = Progress(console=Console(file=written))
    StepWatch(progress, progress.add_task("training", total=None, rate=""), 64)(Report(1, 10, 0.5))
    assert written.getvalue() == ""
