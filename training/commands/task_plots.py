"""The plots of a network for three tasks: losses and weights of the tasks over the steps of its training."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.features import FloatArray
from training.commands.report_plots import svg_of
from training.recipes.task_comparison import TaskComparison

_COLOURS = ("#0b6fb8", "#8c8c8c", "#d1660f")
"""Blue, grey and orange, as the paper has them."""
_WINDOW = 0.05
"""Of the training, over which losses are means: those of single batches jump."""


def history(loss_ET: FloatArray, weight_ET: FloatArray, modality: str) -> str:
    """Weights on the left, losses on the right. Source: Ming et al. (IJDAR 2021), Fig. 5 and 6."""

    def draw(axes: list[Axes]) -> None:
        _draw(axes[0], axes[1], loss_ET, weight_ET, modality)
        for axis, what in zip(axes, ("weight", "loss"), strict=True):
            axis.set(xlabel="step", ylabel=what)
        axes[0].legend(frameon=False, fontsize=8)

    return svg_of((9.6, 3.4), draw, columns=2)


def draw_task_comparison(comparison: TaskComparison, path: Path) -> None:
    """Weights above, losses below, a column a method, as a PNG. Source: Ming et al. (IJDAR 2021), Fig. 5 and 6."""
    names = list(comparison.history)
    figure = Figure(figsize=(2.6 + 2.4 * len(names), 5.4), layout="constrained", dpi=150)
    axes = figure.subplots(2, len(names), sharex="col", sharey="row", squeeze=False)
    for place, name in enumerate(names):
        _draw(axes[0, place], axes[1, place], *comparison.history[name], comparison.modality)
        axes[0, place].set_title(name, fontsize=9)
        axes[1, place].set_xlabel("step")
        for axis in axes[:, place]:
            axis.grid(color="#e5e5e5")
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("weight")
    axes[1, 0].set_ylabel("loss")
    handles = {
        label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path)


def _draw(weights: Axes, losses: Axes, loss_ET: FloatArray, weight_ET: FloatArray, modality: str) -> None:
    names = ("verification", f"who is on a {modality}", "who is on a photo")
    steps = np.arange(1, len(loss_ET) + 1)
    for task, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
        if np.isnan(loss_ET[:, task]).all():
            continue
        weights.plot(steps, weight_ET[:, task], color=colour, label=name, linewidth=1.4)
        losses.plot(steps, smoothed(loss_ET[:, task]), color=colour, label=name, linewidth=1.4)
    weights.set_ylim(-0.02, 1.02)
    losses.set_ylim(0, None)


def smoothed(loss_E: FloatArray) -> FloatArray:
    """Means over the steps before, without those in which there was none; `nan` before the first."""
    window = max(1, round(_WINDOW * len(loss_E)))
    is_there_E = ~np.isnan(loss_E)
    total_E, num_E = (
        np.concatenate([np.zeros(1), np.cumsum(one)]) for one in (np.where(is_there_E, loss_E, 0.0), is_there_E)
    )
    first_E = np.maximum(np.arange(len(loss_E)) + 1 - window, 0)
    last_E = np.arange(len(loss_E)) + 1
    num = num_E[last_E] - num_E[first_E]
    with np.errstate(invalid="ignore"):
        found: FloatArray = ((total_E[last_E] - total_E[first_E]) / np.where(num > 0, num, np.nan)).astype(np.float32)
    return found
