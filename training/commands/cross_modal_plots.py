"""The plots of a sampler's report: recall by the number of samples, and features of a few people."""

from collections.abc import Mapping

from matplotlib.axes import Axes

from training.commands.report_plots import PEOPLE, svg_of
from training.evaluation.cross_modal import CrossModalFigures, CrossModalMap

_BLUE, _ORANGE = "#0b6fb8", "#d1660f"


def recall(by_samples: Mapping[int, CrossModalFigures]) -> str:
    """The share of probes found first, and among the first five, by how many samples were drawn of each."""

    def draw(axes: list[Axes]) -> None:
        nums = list(by_samples)
        for axis, name, words, colour in (
            (axes[0], "rank1", "found first", _BLUE),
            (axes[1], "rank5", "found among the first five", _ORANGE),
        ):
            axis.plot(nums, [getattr(by_samples[num], name) for num in nums], marker="o", markersize=4, color=colour)
            axis.set_xscale("log")
            axis.set_xticks(nums, [str(num) for num in nums])
            axis.minorticks_off()
            axis.set(xlabel="samples of a probe", ylabel=f"share {words}")

    return svg_of((9.6, 3.4), draw, columns=2)


def feature_map(found: CrossModalMap) -> str:
    """A few people's photos, with their weak features as they are on the left, and what became of these on the right."""

    def draw(axes: list[Axes]) -> None:
        for person in range(int(found.person_P.max()) + 1):
            colour = PEOPLE[person % len(PEOPLE)]
            photos = found.photo_G2[found.person_G == person]
            probes = found.person_P == person
            for axis in axes:
                axis.scatter(photos[:, 0], photos[:, 1], color=colour, s=20, marker="o")
            if found.weak_P2 is not None:
                weak = found.weak_P2[probes]
                axes[0].scatter(weak[:, 0], weak[:, 1], color=colour, s=34, marker="x", linewidths=1.4)
            made = found.sample_PM2[probes].reshape(-1, 2)
            axes[-1].scatter(made[:, 0], made[:, 1], color=colour, s=14, marker="x", linewidths=0.8, alpha=0.8)
        titles = ["photos (dots), as they are (crosses)", "photos (dots), samples (crosses)"]
        for axis, title in zip(axes, titles[-len(axes) :], strict=True):
            axis.set_title(title, fontsize=9)
            axis.set_xticks([])
            axis.set_yticks([])

    columns = 1 if found.weak_P2 is None else 2
    return svg_of((4.8 * columns, 4.2), draw, columns=columns)
