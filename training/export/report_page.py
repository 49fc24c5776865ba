"""The report as one page of HTML that needs nothing beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from models.bundle import PICTURE_INSIDE_METHODS
from models.calibration import Calibration
from models.operating_point import STATED_RATES
from models.space import Space
from training.evaluation.cross_space import NATIVE_TARGET, PROJECTED_TARGET
from training.evaluation.report import FEWEST_PEOPLE, ReportFigures

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 980px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p { max-width: 46rem; } .small { color: #666; font-size: 13px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.6rem 0; }
th, td { white-space: nowrap; padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #eee; }
th { font-weight: 600; border-bottom: 2px solid #ccc; } th:first-child, td:first-child { text-align: left; }
tr.chosen td { font-weight: 600; } .tiles { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0; }
.tile { border: 1px solid #ddd; border-radius: 6px; padding: 0.6rem 1rem; min-width: 9rem; }
.tile b { display: block; font-size: 1.4rem; } svg { max-width: 100%; height: auto; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; } .pair > div { flex: 1 1 400px; }
.faces img { width: 84px; height: 84px; margin: 2px; border-radius: 3px; } code { background: #f4f4f4; padding: 0 0.2em; }
"""

_ROWS = (
    "native source",
    "native target",
    "projected target",
    "untranslated",
    "translated probes",
    "translated gallery",
)

_HEADER = ("comparison", "rank-1", "rank-5", "TAR@1e-2", "TAR@1e-3", "TAR@1e-4", "mean cosine")


@dataclass(frozen=True, slots=True)
class ReportedBundle:
    """What the page says of the translator itself."""

    name: str
    method: str
    source: Space
    target: Space
    licence: str
    metrics: Mapping[str, Any]
    calibration: Calibration
    measured_on: str
    """Whose pictures the figures are of, in words."""
    other: str = ""
    """Of a projection into a common space, the name of the space with whose projections it is compared."""


@dataclass(frozen=True, slots=True)
class Plots:
    """SVG of each plot; empty where there is nothing to show."""

    det: str = ""
    cmc: str = ""
    histograms: str = ""
    feature_map: str = ""
    trust: str = ""


@dataclass(frozen=True, slots=True)
class Reconstructions:
    """PNG of pictures and of what a generator paints of their features, as data: URLs."""

    real: Sequence[str]
    painted: Sequence[str]


def report_page(
    bundle: ReportedBundle, figures: ReportFigures | None, plots: Plots, faces: Reconstructions | None = None
) -> bytes:
    """The page, UTF-8."""
    parts = [
        f"<h1>{escape(bundle.name)}</h1>",
        f"<p>{'Projects' if bundle.other else 'Translates'} features of <code>{escape(bundle.source.name)}</code> "
        f"({bundle.source.dimension} numbers, {bundle.source.fingerprint}) into the {'common ' if bundle.other else ''}space "
        f"{'' if bundle.other else 'of '}<code>{escape(bundle.target.name)}</code> "
        f"({bundle.target.dimension}, {bundle.target.fingerprint}). Method: {escape(bundle.method)}. "
        f"Licence: {escape(bundle.licence)}.</p>",
        *_head(bundle, figures),
        *(_others(bundle) if bundle.other else _methods(bundle)),
    ]
    if figures is not None:
        parts += _curves(plots)
        parts += _thresholds(bundle.calibration)
        parts += _trust(figures, plots)
        parts += _map(bundle, plots)
        parts += _slices(figures)
    parts += _faces(faces) + _caveats(bundle)
    return page_of(f"{bundle.name}: report", parts)


def _head(bundle: ReportedBundle, figures: ReportFigures | None) -> list[str]:
    if figures is None:
        return [
            f"<p>Measured on {escape(bundle.measured_on)}. Nobody knows who is on them, so there are no curves, thresholds "
            "or groups: name the subjects of the feature sets for those.</p>"
        ]
    probes = figures.compared["translated probes"]
    stored = figures.compared[PROJECTED_TARGET if bundle.other else NATIVE_TARGET]
    own = "the other encoder's own there" if bundle.other else "the target's own"
    tiles = [
        (f"rank-1, {'projected' if bundle.other else 'translated'} probes", f"{probes.cmc_K[0]:.4f}"),
        (f"rank-1, {own}", f"{stored.cmc_K[0]:.4f}"),
    ]
    if figures.trust:
        tiles.append(("of errors, held by the least confident tenth", f"{figures.trust.held:.0%}"))
    return [
        f"<p>Measured on {figures.num_pictures:,} pictures: {escape(bundle.measured_on)}; {figures.num_gallery:,} people in the "
        f"gallery with a picture each, {figures.num_probes:,} probes.</p>",
        *tiles_of(tiles),
    ]


def _methods(bundle: ReportedBundle) -> list[str]:
    """The table of all methods that were fitted, natives first."""
    compared = {
        method: one for method, one in _mapping(bundle.metrics.get("compared")).items() if isinstance(one, dict)
    }
    part = "test" if any(one.get("test") for one in compared.values()) else "validation"
    rows: list[tuple[str, ...]] = []
    chosen = set()
    # The file has them by name; the one in the bundle comes first.
    for method, one in sorted(compared.items(), key=lambda item: (item[0] != bundle.method, item[0])):
        of_part = _mapping(_mapping(one.get(part)).get("rows"))
        for name in (name for name in _ROWS if isinstance(of_part.get(name), dict)):
            row = of_part[name]
            if name.startswith("translated"):
                if method == bundle.method:
                    chosen.add(len(rows))
                rows.append((f"{method}, {name}", *_cells(row)))
            elif not any(known[0] == name for known in rows):
                rows.append((name, *_cells(row)))
    if not rows:
        return []
    return [
        "<h2>Every method that was tried</h2>",
        f'<p class="small">As fit measured them, on {part} subjects of its split; the one in this bundle is bold.</p>',
        *table(_HEADER, rows, chosen),
    ]


def _others(bundle: ReportedBundle) -> list[str]:
    """The table of the other encoders that have projections into the common space."""
    against = _mapping(bundle.metrics.get("against"))
    part = "test" if _mapping(against.get("test")) else "validation"
    rows: list[tuple[str, ...]] = []
    chosen: list[int] = []
    for other, one in sorted(_mapping(against.get(part)).items()):
        of_other = _mapping(_mapping(one).get("rows"))
        for name in (name for name in _ROWS if isinstance(of_other.get(name), dict)):
            is_own = name == "native source"
            if is_own and rows:
                continue
            if other == bundle.other and not is_own:
                chosen.append(len(rows))
            rows.append((name if is_own else f"with {other}, {name}", *_cells(of_other[name])))
    if not rows:
        return []
    return [
        "<h2>With each other encoder</h2>",
        f'<p class="small">As fit measured it, on {part} subjects of its split; what the rest of this page is of is bold.</p>',
        *table(_HEADER, rows, chosen),
    ]


def _mapping(value: Any) -> Mapping[str, Any]:
    """The value, where it is a mapping: metrics are what some exporter wrote."""
    return value if isinstance(value, dict) else {}


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("rank1", "rank5", "tar_far_1e2", "tar_far_1e3", "tar_far_1e4", "mean_cosine")
    return tuple(number(row.get(name)) for name in names)


def _curves(plots: Plots) -> list[str]:
    return [
        "<h2>Verification and identification</h2>",
        f'<div class="pair"><div>{plots.det}</div><div>{plots.cmc}</div></div>',
        "<h2>Scores before and after</h2>",
        plots.histograms,
        '<p class="small">Each curve is scaled to its own highest bar.</p>',
    ]


def _thresholds(calibration: Calibration) -> list[str]:
    if not calibration.points:
        return ["<h2>Thresholds</h2><p>None: too few people were kept apart to state a false-match rate.</p>"]
    rows = []
    stated = [
        rate for rate in STATED_RATES if any(p.fmr == rate for found in calibration.points.values() for p in found)
    ]
    for name, points in sorted(calibration.points.items()):
        by_rate = {point.fmr: f"{point.threshold:.4f} ({point.fnmr:.4f})" for point in points}
        people = max((point.num_genuine for point in points), default=0)
        rows.append((name, *(by_rate.get(rate, "-") for rate in stated), f"{people:,}"))
    return [
        "<h2>Thresholds</h2>",
        '<p class="small">For two people drawn at random; in brackets the share of genuine pairs that is missed. A rate is '
        "stated where at least 30 false matches are to be expected among the comparisons it was measured on.</p>",
        *table(("comparison", *(f"FMR {rate:g}" for rate in stated), "people with two pictures"), rows),
    ]


def _trust(figures: ReportFigures, plots: Plots) -> list[str]:
    if figures.trust is None:
        return []
    return [
        "<h2>Confidence</h2>",
        f"<p>The least confident tenth of probes hold {figures.trust.held:.0%} of the rank-1 errors.</p>",
        plots.trust,
    ]


def _map(bundle: ReportedBundle, plots: Plots) -> list[str]:
    if not plots.feature_map:
        return []
    joined = "both encoders' features" if bundle.other else "the native and the translated feature"
    return [
        "<h2>Features of a few people</h2>",
        plots.feature_map,
        f'<p class="small">Colours are people; lines join {joined} of one picture. Two directions '
        "of many: those in which these people's own features differ most.</p>",
    ]


def _slices(figures: ReportFigures) -> list[str]:
    if not figures.slices:
        return []
    rows = [
        (
            f"{one.label}: {one.value}",
            f"{one.num_people:,}",
            f"{one.num_probes:,}",
            number(one.rank1),
            number(one.fnmr),
            "-" if one.fmr is None else f"{one.fmr:.2g}",
        )
        for one in figures.slices
    ]
    few = [row for row, one in enumerate(figures.slices) if one.num_people < FEWEST_PEOPLE]
    at = "" if figures.slice_fmr is None else f" at the threshold for a false-match rate of {figures.slice_fmr:g}"
    rows = [(row[0] + (" (few people)" if place in few else ""), *row[1:]) for place, row in enumerate(rows)]
    return [
        "<h2>Groups</h2>",
        f'<p class="small">Translated probes by the labels of their pictures{at}, which is the same for all; false matches are '
        "with others of the same group.</p>",
        *table(("group", "people", "probes", "rank-1", "missed", "false matches"), rows),
    ]


def _faces(faces: Reconstructions | None) -> list[str]:
    if faces is None:
        return []
    rows = (("picture", faces.real), ("painted from its feature", faces.painted))
    shown = [
        f'<div class="faces"><span class="small">{words}</span><br>'
        + "".join(f'<img alt="{words}" src="{url}">' for url in urls)
        + "</div>"
        for words, urls in rows
    ]
    return ["<h2>Reconstructions</h2>", *shown]


def _caveats(bundle: ReportedBundle) -> list[str]:
    parts = [
        "<h2>What this does not say</h2>",
        "<p>The figures hold for pictures of the kind they were measured on. Nothing here knows who is alive in front of a "
        "camera.</p>",
    ]
    if bundle.method in PICTURE_INSIDE_METHODS:
        parts.append(
            "<p>Inside this translator a feature becomes a small picture. Whoever has <code>model.onnx</code> can see it.</p>"
        )
    return parts


def table(header: Iterable[str], rows: Sequence[tuple[str, ...]], chosen: Iterable[int] = ()) -> list[str]:
    """Lines of an HTML table; those at the places `chosen` stand out."""
    marked = set(chosen)
    lines = ["<table>", "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in header) + "</tr>"]
    for place, row in enumerate(rows):
        kind = ' class="chosen"' if place in marked else ""
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return [*lines, "</table>"]


def number(figure: Any) -> str:
    """A figure as all pages write it."""
    return "-" if not isinstance(figure, int | float) else f"{figure:.4f}"


def tiles_of(tiles: Iterable[tuple[str, str]]) -> list[str]:
    """The figures that matter most, each with what it is of."""
    return [
        '<div class="tiles">',
        *(f'<div class="tile"><b>{escape(value)}</b>{escape(words)}</div>' for words, value in tiles),
        "</div>",
    ]


def page_of(title: str, parts: Iterable[str]) -> bytes:
    """A whole page, UTF-8."""
    body = "\n".join(parts)
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
    return page.encode()
