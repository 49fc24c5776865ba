"""What the commands print: progress on stderr, tables and results on stdout."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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

from models.calibration import Calibration
from models.operating_point import STATED_RATES, OperatingPoint, people_needed
from training.evaluation.bootstrap import Interval
from training.evaluation.cross_modal import AmongPhotos, CrossModalFigures, Variance
from training.evaluation.cross_space import CrossSpaceEvaluation, Figures, NativeEvaluation
from training.evaluation.details import Detail
from training.evaluation.protocols import FPIR, FoldFigure, IdentificationFigures, PairFigures
from training.evaluation.references import FEWEST_PEOPLE, MIN_DIMENSION
from training.recipes.comparison import Comparison
from training.recipes.modal_comparison import ModalComparison
from training.recipes.modalities import Measured
from training.recipes.privacy import PrivacyReport
from training.trainers.encoder_recipe import Report

_SECONDS_A_LINE = 60.0
COLUMNS = ("rank-1", "rank-5", "TAR@1e-2", "TAR@1e-3", "TAR@1e-4", "mean cosine")


def out() -> Console:
    """The console for results; wide enough for the table where the output is not a terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=110)


def progress_bar() -> Progress:
    """A bar with count, rate and time left, on stderr; none where that is not a terminal."""
    console = Console(stderr=True, markup=False, emoji=False)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


class StepWatch:
    """Shows steps, rows a second and the loss; the rate is of this call's own steps.

    Where there is no bar, a line every minute: a training may take hours, and its log is read.
    """

    def __init__(self, progress: Progress, task: TaskID, batch: int) -> None:
        self._progress, self._task, self._batch = progress, task, batch
        self._first: tuple[int, float] | None = None
        self._told = time.monotonic()

    def __call__(self, report: Report) -> None:
        """Show one more step."""
        now = time.monotonic()
        if self._first is None or report.step <= self._first[0]:  # The first of one training, or of the next.
            self._first = (report.step, now)
        rate = (report.step - self._first[0]) * self._batch / max(1e-9, now - self._first[1])
        words = f"{rate:.0f}/s loss {report.loss:.3f}"
        self._progress.update(self._task, total=report.num_steps, completed=report.step, rate=words)
        if self._progress.disable and rate > 0 and now - self._told >= _SECONDS_A_LINE:
            self._told = now
            left = (report.num_steps - report.step) * self._batch / rate / 60
            what = next(task.description for task in self._progress.tasks if task.id == self._task)
            line = f"{what}: {report.step} of {report.num_steps} steps, {words}, {left:.0f} minutes left"
            self._progress.console.print(line, soft_wrap=True)


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


def details_table(details: Mapping[str, Detail]) -> Table:
    """How sure the figures are, equal errors, and how many are missed where few strangers are taken for somebody."""
    first = next(iter(details.values()))
    caption = (
        f"intervals: 95 %, people drawn anew. FNIR: the share of {first.num_mated} people who are enrolled that is missed, where "
        f"the share of {first.num_non_mated} people who are not is taken for somebody; everybody counts once, with all pictures"
    )
    table = Table(caption=Text(caption), caption_justify="left")
    table.add_column("comparison")
    columns = ("rank-1", "TAR@1e-3", "EER", *(f"FNIR@{float(fpir):.1%}" for fpir in first.fnir))
    for column in columns:
        table.add_column(column, justify="right")
    for name, one in details.items():
        intervals = [_interval(one.rank1), _interval(one.tar_far_1e3)]
        table.add_row(name, *intervals, *(number(figure) for figure in (one.eer, *one.fnir.values())))
    return table


@dataclass(frozen=True, slots=True)
class OfPairs:
    """What came of a list of pairs, by the way to compare them."""

    num_pairs: int
    num_asked: int
    figures: Mapping[str, PairFigures]


def pairs_table(found: OfPairs) -> Table:
    """Means over folds, and their standard errors."""
    title = f"{found.num_pairs} of the list's {found.num_asked} pairs; mean over folds and its standard error"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("comparison")
    for column in ("accuracy", "TAR@1e-2", "TAR@1e-3"):
        table.add_column(column, justify="right")
    for name, one in found.figures.items():
        table.add_row(name, *(_fold_figure(figure) for figure in (one.accuracy, one.tar_far_1e2, one.tar_far_1e3)))
    return table


@dataclass(frozen=True, slots=True)
class OfRoles:
    """What came of a list of probes and gallery pictures, by the way to compare them."""

    num_pictures: int
    num_asked: int
    num_folds: int
    figures: Mapping[str, IdentificationFigures]


def roles_tables(found: OfRoles) -> list[Table]:
    """Who is found, and what passes; means over folds, and their standard errors where there are several."""
    title = f"{found.num_pictures} of the list's {found.num_asked} pictures, {found.num_folds} fold(s)"
    ranks = Table("comparison", title=Text(title), title_justify="left")
    rates = Table("comparison")
    for column in ("rank-1", "rank-5", "rank-10", "rank-50"):
        ranks.add_column(column, justify="right")
    for column in ("TAR@1e-2", "TAR@1e-3", f"FNIR@{FPIR:.0%}"):
        rates.add_column(column, justify="right")
    for name, one in found.figures.items():
        ranks.add_row(name, *(_fold_figure(figure) for figure in (one.rank1, one.rank5, one.rank10, one.rank50)))
        rates.add_row(name, *(_fold_figure(figure) for figure in (one.tar_far_1e2, one.tar_far_1e3, one.fnir)))
    return [ranks, rates]


def _fold_figure(figure: FoldFigure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.mean:.4f}" + (f" ± {figure.standard_error:.4f}" if figure.num_folds > 1 else "")


NO_CONFIDENCE = (
    f"no confidence in translations: that takes photos of {FEWEST_PEOPLE} people, "
    f"and features of {MIN_DIMENSION} numbers or more"
)


def thresholds_line(points: Sequence[OperatingPoint], num_people: Sequence[int]) -> str:
    """At which false-match rates there are thresholds, from how many people (of each part that is compared within itself), and
    what the next one would take.
    """
    stated = ", ".join(f"{point.fmr:g}" for point in points) or "none"
    lower = [rate for rate in STATED_RATES if rate not in {point.fmr for point in points}]
    more = f"; {lower[0]:g} takes {people_needed(lower[0]):,} people" if lower else ""
    num_validation, *num_in_fold = num_people
    folds = f", and {sum(num_in_fold):,} training people in {len(num_in_fold)} folds" if num_in_fold else ""
    return f"thresholds at false-match rates {stated}, from {num_validation:,} people to validate on{folds}{more}"


def calibration_table(title: str, calibration: Calibration) -> Table:
    """Thresholds at the usual rates, and how many genuine pairs they miss."""
    caption = "threshold (share of genuine pairs that it misses); any rate down to the lowest may be asked for"
    table = Table(title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    table.add_column("comparison", no_wrap=True)
    stated = [
        rate for rate in STATED_RATES if any(p.fmr == rate for found in calibration.points.values() for p in found)
    ]
    for rate in stated:
        table.add_column(f"FMR {rate:g}", justify="right", no_wrap=True)
    table.add_column("lowest", justify="right", no_wrap=True)
    for name, scale in calibration.scales.items():
        by_rate = {point.fmr: f"{point.threshold:.3f} ({point.fnmr:.4f})" for point in calibration.points.get(name, ())}
        table.add_row(name, *(by_rate.get(rate, "-") for rate in stated), f"{scale.lowest_fmr:.2g}")
    return table


def cross_modal_table(title: str, method: str, measured: Measured, real: Variance) -> Table:
    """Recall and verification as it is and by the method; of a sampler by the number of samples, with its variance."""
    columns = ("comparison", "rank-1", "rank-5", "rank-10", "rank-50", "TAR@1e-2", "TAR@1e-3", "intra-sim", "inter-sim")
    table = Table(*columns, title=title, title_justify="left")
    of_photos = (number(real.intra_sim), number(real.inter_sim))
    if measured.untouched:
        table.add_row("as it is", *_figures_of(measured.untouched), "", "")
    made = measured.generated or Variance(None, None)
    table.add_row(method, *_figures_of(measured.figures), number(made.intra_sim), number(made.inter_sim))
    for num, figures in measured.by_samples.items():
        table.add_row(f"{num} sample{'s' * (num > 1)}", *_figures_of(figures), "", "")
    table.add_row("photos", *[""] * 6, *of_photos)
    return table


def compared_across_table(comparison: ModalComparison) -> Table:
    """A row a method; of a sampler one more with one sample, and how much its features vary beside photos."""
    kind = ", encoders trained with WSGAN too" if comparison.is_end_to_end else ""
    kind += ", photos by these too" if comparison.is_shared else ""
    title = (
        f"{comparison.modality} to photo in {comparison.space}: {comparison.num_probes} probes of {comparison.measured_on} "
        f"among {comparison.num_photos} photos{kind}"
    )
    columns = ("method", "rank-1", "rank-5", "rank-10", "rank-50", "TAR@1e-2", "TAR@1e-3", "intra-sim", "inter-sim")
    table = Table(*columns, title=Text(title), title_justify="left")
    for row in comparison.rows:
        made = row.generated or Variance(None, None)
        if row.one_sample:
            table.add_row(f"{row.method}, 1 sample", *_figures_of(row.one_sample), "", "")
        variance = (number(made.intra_sim), number(made.inter_sim)) if row.generated else ("", "")
        table.add_row(row.method, *_figures_of(row.figures), *variance)
    table.add_row("photos as they are", *[""] * 6, number(comparison.real.intra_sim), number(comparison.real.inter_sim))
    return table


def _figures_of(figures: CrossModalFigures) -> list[str]:
    ranks = (figures.rank1, figures.rank5, figures.rank10, figures.rank50)
    return [number(figure) for figure in (*ranks, figures.tar_far_1e2, figures.tar_far_1e3)]


def comparison_table(comparison: Comparison) -> Table:
    """Natives and none once, then a row a method: both sides, speed, size."""
    title = f"{comparison.source} to {comparison.target}: {comparison.measured_on}, probes / gallery translated"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("method")
    for column in ("rank-1", "TAR@1e-3", "mean cosine", "vectors/s", "MB"):
        table.add_column(column, justify="right")
    named = {"native source": "native source", "native target": "native target", "untranslated": "none"}
    for name, shown in named.items():
        row = comparison.evaluation.rows.get(name)
        if row is not None:
            table.add_row(shown, *(number(figure) for figure in (row.rank1, row.tar_far_1e3, row.mean_cosine)))
        elif shown == "none":
            table.add_row(shown, "-", "-", "-")  # Of two dimensions there is no score.
    table.add_section()
    for method in comparison.methods:
        probes, gallery = method.probes, method.gallery
        table.add_row(
            method.method,
            f"{number(probes.rank1)} / {number(gallery.rank1)}",
            f"{number(probes.tar_far_1e3)} / {number(gallery.tar_far_1e3)}",
            number(probes.mean_cosine),
            f"{method.vectors_per_second:,.0f}",
            f"{method.num_bytes / 1e6:.2f}",
        )
    return table


def privacy_table(title: str, report: PrivacyReport) -> Table:
    """Whom the judge recognises, and how like the pictures are."""
    caption = (
        f"{report.num_subjects} people in the gallery, chance {report.chance:.4f}; pixels: {report.variance_explained:.0%} of "
        f"the variance explained, PSNR {report.psnr:.1f} dB, {report.psnr_mean_face:.1f} dB for the mean face"
    )
    table = Table(title=Text(title), title_justify="left", caption=Text(caption), caption_justify="left")
    for column in ("probes", "number", "rank-1", "TAR@1e-2", "TAR@1e-3"):
        table.add_column(column, justify="left" if column == "probes" else "right")
    rows = {
        "real pictures, other ones than in the gallery": report.real,
        "painted from the features of those": report.painted_other,
        "painted from the features in the gallery": report.painted_same,
    }
    for name, row in rows.items():
        table.add_row(name, str(row.num_probes), *map(number, (row.rank1, row.tar_far_1e2, row.tar_far_1e3)))
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
    return [number(figure) for figure in figures]


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.4f}-{interval.high:.4f}"


def number(figure: float | None) -> str:
    """Four digits, or a dash."""
    return "-" if figure is None else f"{figure:.4f}"


def tell_lonely(num_lonely: int) -> None:
    """Say how many pictures of a weak modality were left out, if any were."""
    if num_lonely:
        words = f"{num_lonely} pictures were left out: of whoever is on them there is no photo"
        out().print(words, soft_wrap=True)


def tell_photos(photos: AmongPhotos | None, calibration: Calibration) -> None:
    """Say what an encoder that was trained for drawings makes of photos among themselves."""
    if photos:
        (rank1, tar), (new_rank1, new_tar) = (
            (f"{one.rank1:.3f}", number(one.tar_far_1e3)) for one in (photos.before, photos.after)
        )
        words = (
            f"photos among themselves, {photos.num_probes} among {photos.num_photos}: rank-1 {rank1} before and {new_rank1} now, "
            f"TAR@1e-3 {tar} before and {new_tar} now"
        )
    else:
        words = "nobody has two photos: how well photos find each other now is not known"
    if not calibration.points.get("native-target"):
        words += "; no threshold of photos is stated, see calibrate"
    out().print(words, soft_wrap=True)
