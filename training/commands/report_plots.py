"""The report's plots, as SVG to stand in a page by themselves: no scripts, no fonts or pictures from elsewhere."""

import io
from collections.abc import Callable
from statistics import NormalDist

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluation.cross_space import NATIVE_TARGET, PROJECTED_TARGET
from training.evaluation.report import Compared, FeatureMap, Histogram, ReportFigures, Trust

COLOURS = {
    "native source": "#8c8c8c",
    "native target": "#222222",
    "projected target": "#222222",
    "untranslated": "#b03a48",
    "translated probes": "#0b6fb8",
    "translated gallery": "#d1660f",
}
_GENUINE, _IMPOSTOR = "#0b6fb8", "#b03a48"
PEOPLE = ("#0b6fb8", "#d1660f", "#3a8f4d", "#b03a48", "#6b4fa0", "#8a6d3b", "#00868b", "#555555")
_TICKS = (1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.5)
_LOWEST = 5e-5
_MOST_POINTS = 400


def det(figures: ReportFigures) -> str:
    """Both error rates on the scale of normal deviates, on which normal scores give straight lines.

    Source: Martin et al., The DET curve in assessment of detection task performance (Eurospeech 1997).
    """
    return svg_of((6.0, 4.6), lambda axes: _draw_det(axes[0], figures))


def cmc(figures: ReportFigures) -> str:
    """The share of probes whose subject is among the first k."""

    def draw(axes: list[Axes]) -> None:
        lowest = 1.0
        for name, one in figures.compared.items():
            if name != "untranslated":
                axes[0].plot(range(1, len(one.cmc_K) + 1), one.cmc_K, color=COLOURS[name], label=name, linewidth=1.6)
                lowest = min(lowest, float(one.cmc_K[0]))
        axes[0].set(xlabel="rank", ylabel="share of probes found up to that rank")
        axes[0].set_ylim(max(0.0, lowest - 0.03), 1.003)
        axes[0].set_xticks([1, 5, 10, 15, 20])
        axes[0].legend(frameon=False, fontsize=8)

    return svg_of((6.0, 4.6), draw)


def histograms(figures: ReportFigures) -> str:
    """Scores of one person's and of two people's pictures, before and after."""
    before = "untranslated" if "untranslated" in figures.compared else "native source"
    after = (before, "translated probes", NATIVE_TARGET, PROJECTED_TARGET)
    shown = [name for name in after if name in figures.compared]

    def draw(axes: list[Axes]) -> None:
        for place, (one, name) in enumerate(zip(axes, shown, strict=True)):
            _draw_histogram(one, figures.compared[name].histogram)
            one.set_title(name, fontsize=9)
            one.set_xlabel("score")
            if place == 0:
                one.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
            one.set_ylim(0, 1.35)

    return svg_of((9.6, 2.9), draw, columns=len(shown))


def feature_map(found: FeatureMap, *, is_projected: bool = False) -> str:
    """A few people's features: in the source space, and in the target's, where native and translated ones should meet."""
    where = "common space: the other encoder's (dots), this one's (crosses)"

    def draw(axes: list[Axes]) -> None:
        for person in range(int(found.person_N.max()) + 1):
            rows, colour = found.person_N == person, PEOPLE[person % len(PEOPLE)]
            axes[0].scatter(found.source_N2[rows, 0], found.source_N2[rows, 1], color=colour, s=16, marker="o")
            for native, translated in zip(found.target_N2[rows], found.translated_N2[rows], strict=True):
                axes[1].plot(*np.stack([native, translated]).T, color=colour, linewidth=0.4, alpha=0.5)
            native_N2, translated_N2 = found.target_N2[rows], found.translated_N2[rows]
            axes[1].scatter(native_N2[:, 0], native_N2[:, 1], color=colour, s=16, marker="o")
            axes[1].scatter(translated_N2[:, 0], translated_N2[:, 1], color=colour, s=18, marker="x", linewidths=1.0)
        axes[0].set_title("source space", fontsize=9)
        axes[1].set_title(where if is_projected else "target space: native (dots), translated (crosses)", fontsize=9)
        for one in axes:
            one.set_xticks([])
            one.set_yticks([])

    return svg_of((9.6, 4.2), draw, columns=2)


def trust(found: Trust) -> str:
    """Whether confidence is what comes of it, and how errors fall where the least confident are refused."""

    def draw(axes: list[Axes]) -> None:
        told, errors = axes
        low = min(float(found.told_K.min()), float(found.came_K.min())) - 0.02
        told.plot([low, 1], [low, 1], color="#bbbbbb", linewidth=1)
        told.plot(found.told_K, found.came_K, color=COLOURS["translated probes"], marker="o", markersize=4)
        told.set(xlabel="confidence (mean of a group)", ylabel=f"found at a false-match rate of {found.fmr:g}")
        errors.plot(found.refused_K, found.error_K, color=COLOURS["translated probes"])
        errors.axhline(float(found.error_K[0]), color="#bbbbbb", linewidth=1)
        errors.set(xlabel="share refused, the least confident first", ylabel="rank-1 errors among the others")
        errors.set_ylim(bottom=0)

    return svg_of((9.6, 3.6), draw, columns=2)


def _draw_det(axes: Axes, figures: ReportFigures) -> None:
    for name, one in figures.compared.items():
        fmr, fnmr = _thinned(one)
        axes.plot(_deviates(fmr), _deviates(fnmr), color=COLOURS[name], label=name, linewidth=1.6)
    ticks = _deviates(np.array(_TICKS))
    words = [f"{tick:g}" for tick in _TICKS]
    axes.set_xticks(ticks, words)
    axes.set_yticks(ticks, words)
    bounds = _deviates(np.array([_LOWEST, 0.55]))
    axes.set_xlim(*bounds)
    axes.set_ylim(*bounds)
    axes.set(xlabel="false-match rate", ylabel="false-non-match rate")
    axes.legend(frameon=False, fontsize=8)


def _thinned(one: Compared) -> tuple[np.ndarray, np.ndarray]:
    """Points of the curve where it can be seen, at most _MOST_POINTS."""
    inside = np.flatnonzero((one.curve.fmr_K > 0) & (one.curve.fmr_K < 1) & (one.curve.fnmr_K > 0))
    if len(inside) > _MOST_POINTS:
        wanted = np.geomspace(one.curve.fmr_K[inside[0]], one.curve.fmr_K[inside[-1]], _MOST_POINTS)
        inside = inside[np.unique(np.searchsorted(one.curve.fmr_K[inside], wanted).clip(max=len(inside) - 1))]
    return one.curve.fmr_K[inside], one.curve.fnmr_K[inside]


def _deviates(rate: np.ndarray) -> np.ndarray:
    normal = NormalDist()
    return np.array([normal.inv_cdf(float(one)) for one in np.clip(rate, _LOWEST / 4, 0.999)])


def _draw_histogram(axes: Axes, found: Histogram) -> None:
    for share_K, colour, label in (
        (found.impostor_K, _IMPOSTOR, "two people"),
        (found.genuine_K, _GENUINE, "one person"),
    ):
        axes.stairs(share_K / max(share_K.max(), 1e-9), found.edge_K, fill=True, color=colour, alpha=0.55, label=label)
    axes.set_yticks([])


def svg_of(size: tuple[float, float], draw: Callable[[list[Axes]], None], columns: int = 1) -> str:
    """A plot as every report has it, drawn by `draw` on as many axes as there are columns."""
    # Text stays text, and the same figures give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "facebridge", "font.family": "sans-serif"}):
        figure = Figure(figsize=size, layout="constrained")
        axes = list(np.atleast_1d(figure.subplots(1, columns)))
        draw(axes)
        for one in axes:
            one.grid(color="#eeeeee")
            one.set_axisbelow(True)
            one.spines[["top", "right"]].set_visible(False)
            one.tick_params(labelsize=8)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    svg = stream.getvalue()
    return svg[svg.index("<svg") :]
