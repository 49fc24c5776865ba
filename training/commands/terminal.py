"""What the commands print: progress on stderr, tables and results on stdout."""

import time
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from training.evaluation.cross_space import CrossSpaceEvaluation, Figures, NativeEvaluation
from training.trainers.encoder_recipe import Report

COLUMNS = ("rank-1", "rank-5", "TAR@1e-2", "TAR@1e-3", "TAR@1e-4", "mean cosine")


def out() -> Console:
    """The console for results; wide enough for the table where the output is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=110)


def progress_bar() -> Progress:
    """A bar with count, rate and time left, on stderr; nothing where that is not a terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class StepWatch:
    """Shows steps, rows a second and the loss; the rate is of this call's own steps."""

    def __init__(self, progress: Progress, task: TaskID, batch: int) -> None:
        self._progress, self._task, self._batch = progress, task, batch
        self._first: tuple[int, float] | None = None

    def __call__(self, report: Report) -> None:
        """Show one more step."""
        now = time.monotonic()
        self._first = self._first or (report.step, now)
        rate = (report.step - self._first[0]) * self._batch / max(1e-9, now - self._first[1])
        words = f"{rate:.0f}/s loss {report.loss:.3f}"
        self._progress.update(self._task, total=report.num_steps, completed=report.step, rate=words)


def evaluation_table(title: str, sections: Iterable[tuple[str, CrossSpaceEvaluation]]) -> Table:
    """The native rows once, then each method's translated rows."""
    table = Table(title=Text(title), title_justify="left")
    table.add_column("method")
    table.add_column("comparison")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    native_shown = False
    for method, evaluation in sections:
        for name, row in evaluation.rows.items():
            is_translated = name.startswith("translated")
            if is_translated or not native_shown:
                table.add_row(method if is_translated else "", name, *_cells(row))
        native_shown = True
        table.add_section()
    return table


def native_table(title: str, rows: Mapping[str, NativeEvaluation]) -> Table:
    """Figures of one encoder, a row a part."""
    table = Table("subjects", "in the gallery", "probes", *COLUMNS[:-1], title=Text(title), title_justify="left")
    for name, evaluation in rows.items():
        counts = (str(evaluation.num_gallery_subjects), str(evaluation.num_probes))
        table.add_row(name, *counts, *_cells(evaluation.figures)[:-1])
    return table


def _cells(row: Figures) -> list[str]:
    figures = (row.rank1, row.rank5, row.tar_far_1e2, row.tar_far_1e3, row.tar_far_1e4, row.mean_cosine)
    return ["-" if figure is None else f"{figure:.4f}" for figure in figures]
