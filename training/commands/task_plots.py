"""The plots of a network for three tasks: losses and weights of the tasks over the steps of its training."""

import numpy as np
from matplotlib.axes import Axes

from models.features import FloatArray
from training.commands.report_plots import svg_of

_COLOURS = ("#0b6fb8", "#8c8c8c", "#d1660f")
"""Blue, grey and orange, as the paper has them."""
_WINDOW = 0.05
"""Of the training, over which losses are means: those of single batches jump."""


def history(loss_ET: FloatArray, weight_ET: FloatArray, modality: str) -> str:
    """Weights above, losses below. Source: Ming et al. (IJDAR 2021), Fig. 5 and 6."""
    names = ("verification", f"who is on a {modality}", "who is on a photo")

    def draw(axes: list[Axes]) -> None:
        steps = np.arange(1, len(loss_ET) + 1)
        for task, (name, colour) in enumerate(zip(names, _COLOURS, strict=True)):
            if np.isnan(loss_ET[:, task]).all():
                continue
            axes[0].plot(steps, weight_ET[:, task], color=colour, label=name, linewidth=1.4)
            axes[1].plot(steps, smoothed(loss_ET[:, task]), color=colour, label=name, linewidth=1.4)
        axes[0].set(xlabel="step", ylabel="weight", ylim=(-0.02, 1.02))
        axes[1].set(xlabel="step", ylabel="loss", ylim=(0, None))
        axes[0].legend(frameon=False, fontsize=8)

    return svg_of((9.6, 3.4), draw, columns=2)


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
