"""The loop of trainings across modalities: epochs in an order of their own, resumable to the same numbers. Shapes: B batch."""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from training.errors import TrainingError
from training.trainers.checkpoint import State, load_checkpoint, save_checkpoint
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace

_AVERAGED = 50


class Run(Protocol):
    """Networks and optimisers of one training."""

    batch: int
    steps_an_epoch: int
    num_epochs: int
    num_steps: int
    state: State

    def order(self) -> Tensor:
        """What an epoch goes through, such as weak pictures by row, `batch` of it in every step."""

    def step(self, rows_B: Tensor, number: int) -> float:
        """One step on so much of it; the loss before."""


def run_epochs(
    run: Run, seed: int, workplace: Workplace, after_epoch: Callable[[int], None] = lambda epoch: None
) -> None:
    """All epochs that are left, with a checkpoint after each. Raises `TrainingError` where a loss is no number."""
    checkpoint, on_step = workplace.checkpoint, workplace.on_step
    done = load_checkpoint(checkpoint, run.state) if checkpoint else 0
    losses: list[float] = []
    for epoch in range(done, run.num_epochs):
        torch.manual_seed(seed + epoch)  # Of dropout, which an interrupted training draws again.
        order = run.order()
        for place in range(run.steps_an_epoch):
            step = epoch * run.steps_an_epoch + place
            losses = [*losses[-_AVERAGED:], run.step(order[place * run.batch : (place + 1) * run.batch], step)]
            if not math.isfinite(losses[-1]):
                raise TrainingError(f"the loss is no number after {step + 1} steps; lower --learning-rate")
            on_step(Report(step + 1, run.num_steps, float(np.mean(losses))))
        after_epoch(epoch)
        if checkpoint:
            save_checkpoint(checkpoint, run.state)
