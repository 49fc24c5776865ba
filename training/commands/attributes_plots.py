"""The plot of a network that tells classes and attributes: its losses over the steps of its training."""

import numpy as np
from matplotlib.axes import Axes

from models.features import FloatArray
from training.commands.report_plots import svg_of
from training.commands.task_plots import smoothed

_NAMES = ("class", "attributes", "distribution matching", "soft co-annotation")
_COLOURS = ("#0b6fb8", "#d1660f", "#8c8c8c", "#2e8b57")


def losses(loss_EL: FloatArray) -> str:
    """What is known of pictures on the left, what couples both on the right, where anything does."""
    is_used = [bool(loss_EL[:, place].any()) for place in range(len(_NAMES))]
    columns = 2 if any(is_used[2:]) else 1

    def draw(axes: list[Axes]) -> None:
        steps = np.arange(1, len(loss_EL) + 1)
        for place, (name, colour) in enumerate(zip(_NAMES, _COLOURS, strict=True)):
            if is_used[place]:
                axis = axes[place // 2 if columns == 2 else 0]
                axis.plot(steps, smoothed(loss_EL[:, place]), color=colour, label=name, linewidth=1.4)
        for axis in axes:
            axis.set(xlabel="step", ylabel="loss")
            axis.set_ylim(0, None)
            axis.legend(frameon=False, fontsize=8)

    return svg_of((9.6, 3.4), draw, columns=columns)
