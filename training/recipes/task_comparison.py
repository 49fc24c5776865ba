"""Every way to weigh three tasks, on the same people: Tables 2 to 5 of Ming et al. (IJDAR 2021), and their Fig. 5 and 6."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from models.features import FloatArray
from models.split import Part
from training.data.modalities import ModalityParts
from training.errors import TrainingError
from training.evaluation.tasks import ClosedSetFigures, TaskFigures
from training.recipes.tasks import TaskExtras, fit_network


@dataclass(frozen=True, slots=True)
class ComparedTasks:
    """A row of the tables."""

    method: str
    among_all: TaskFigures | None
    """By the encoder of its first branch, among photos of everybody; None where that was not trained, as the next."""
    among_own: TaskFigures | None
    """Among photos of the people measured."""
    known: ClosedSetFigures
    share: float
    """How far the encoder has gone from what it was."""
    seconds: float


@dataclass(frozen=True, slots=True)
class TaskComparison:
    """All rows, and what they were measured on."""

    modality: str
    space: str
    part: Part
    untouched_among_all: TaskFigures
    untouched_among_own: TaskFigures
    rows: list[ComparedTasks]
    history: dict[str, tuple[FloatArray, FloatArray]]
    """By method, losses and weights of the tasks in every step, (E, 3) each."""

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values, without histories."""
        return {name: value for name, value in asdict(replace(self, history={})).items() if name != "history"}


def compare_tasks(
    parts: ModalityParts,
    methods: Sequence[str],
    extras: TaskExtras,
    *,
    seed: int,
    on_method: Callable[[str], None] = lambda name: None,
) -> TaskComparison:
    """Train each on the same pictures, and measure it on test people, or validation people where there are no others.

    What is trained for long keeps its checkpoints below the folder of the pictures. Raises `TrainingError`.
    """
    rows, history = [], {}
    for method in methods:
        on_method(method)
        folder = extras.pictures.folder / method
        folder.mkdir(parents=True, exist_ok=True)
        own = replace(
            extras,
            pictures=replace(extras.pictures, folder=folder),
            workplace=replace(extras.workplace, checkpoint=folder / "checkpoint.npz"),
        )
        started = time.monotonic()
        try:
            fitted = fit_network(parts, method, seed, own)
        except TrainingError as failure:
            raise TrainingError(f"{method}: {failure}; or compare without it: --methods") from None
        share = fitted.hyperparameters["encoder_share"]
        assert isinstance(share, float)
        measured = fitted.measured
        seconds = time.monotonic() - started
        rows.append(ComparedTasks(method, measured.among_all, measured.among_own, fitted.known, share, seconds))
        history[method] = (fitted.loss_ET, fitted.weight_ET)
    return TaskComparison(
        parts.modality,
        parts.gallery.space.name,
        fitted.part,
        measured.untouched_among_all,
        measured.untouched_among_own,
        rows,
        history,
    )
