"""What the commands draw."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.cross_space import Figures
from training.recipes.comparison import Comparison
from training.recipes.modal_comparison import ModalComparison

_NATIVE = {"native source": "#8c8c8c", "native target": "#222222"}
_SIDES = {"probes": "#0b6fb8", "gallery": "#d1660f"}
_ROW_INCHES = 0.36


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Rank-1 and TAR of every method on both sides between the natives, and its speed, as a PNG."""
    names = [row.method for row in comparison.methods]
    figure = Figure(figsize=(11, 1.9 + _ROW_INCHES * len(names)), layout="constrained", dpi=150)
    accuracy, verification, speed = figure.subplots(1, 3, sharey=True, width_ratios=(2, 2, 1.2))
    for axes, field, title in (
        (accuracy, "rank1", "rank-1"),
        (verification, "tar_far_1e3", "TAR at FAR 1e-3"),
    ):
        _draw_sides(axes, comparison, field)
        axes.set_title(title)
    places = range(len(names))
    # Points: on a logarithmic axis the length of a bar says nothing.
    speed.scatter([row.vectors_per_second for row in comparison.methods], places, color="#555555", s=28)
    speed.set_xscale("log")
    speed.set_title("vectors a second")
    accuracy.set_yticks(places, names)
    accuracy.invert_yaxis()
    for axes in (accuracy, verification, speed):
        axes.grid(axis="x", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"{comparison.source} to {comparison.target}, {comparison.measured_on}")
    figure.savefig(path)


def draw_modal_comparison(comparison: ModalComparison, path: Path) -> None:
    """Rank-5 and TAR of every method, as a PNG."""
    names = [row.method for row in comparison.rows]
    figure = Figure(figsize=(9, 1.6 + _ROW_INCHES * len(names)), layout="constrained", dpi=150)
    fields = (("rank5", "rank-5"), ("tar_far_1e2", "TAR at FAR 1e-2"))
    for axes, (field, title) in zip(figure.subplots(1, len(fields), sharey=True), fields, strict=True):
        points = [(getattr(row.figures, field), place) for place, row in enumerate(comparison.rows)]
        known = [(value, place) for value, place in points if value is not None]
        if known:
            x, y = zip(*known, strict=True)
            axes.scatter(x, y, color=_SIDES["probes"], s=28)
        axes.set_title(title)
        axes.set_yticks(range(len(names)), names)
        axes.grid(axis="x", color="#e5e5e5")
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    figure.suptitle(f"{comparison.modality} to photo, {comparison.num_probes} probes of {comparison.measured_on}")
    figure.savefig(path)


def _draw_sides(axes: Axes, comparison: Comparison, field: str) -> None:
    for name, colour in _NATIVE.items():
        value = _value(comparison.evaluation.rows.get(name), field)
        if value is not None:
            axes.axvline(value, color=colour, linestyle="--", linewidth=1.2, label=name)
    for side, colour in _SIDES.items():
        shift = -0.12 if side == "probes" else 0.12
        points = [(_value(getattr(row, side), field), place + shift) for place, row in enumerate(comparison.methods)]
        known = [(value, place) for value, place in points if value is not None]
        if known:
            x, y = zip(*known, strict=True)
            axes.scatter(x, y, color=colour, s=28, label=f"translated {side}")


def _value(figures: Figures | None, field: str) -> float | None:
    value: float | None = getattr(figures, field, None)
    return value
