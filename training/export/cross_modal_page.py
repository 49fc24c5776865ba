"""The report of a sampler or translator of a weak modality: one page of HTML that needs nothing beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from models.bundle import Manifest
from models.calibration import Calibration
from training.export.report_page import number, page_of, table, tiles_of

_COLUMNS = {
    "rank1": "rank-1",
    "rank5": "rank-5",
    "rank10": "rank-10",
    "rank50": "rank-50",
    "tar_far_1e2": "TAR@1e-2",
    "tar_far_1e3": "TAR@1e-3",
}
_BY_ENCODER = (("as it came", "before"), ("as it was trained", "after"))


@dataclass(frozen=True, slots=True)
class CrossModalPlots:
    """SVG of each plot; empty where there is nothing to show."""

    recall: str = ""
    feature_map: str = ""


def cross_modal_page(manifest: Manifest, calibration: Calibration, plots: CrossModalPlots) -> bytes:
    """The page, UTF-8, from what the manifest says."""
    part = "test" if manifest.metrics.get("test") else "validation"
    measured: Mapping[str, Any] = manifest.metrics[part]  # type: ignore[assignment]
    assert manifest.source is not None
    does = "Samples" if manifest.sampling else "Translates"
    parts = [
        f"<h1>{escape(manifest.name)}</h1>",
        f"<p>{does} features of a {manifest.modality}, in the space <code>{escape(manifest.source.name)}</code> "
        f"({manifest.source.dimension} numbers, {manifest.source.fingerprint}), as such of photos in the space "
        f"<code>{escape(manifest.target.name)}</code> ({manifest.target.dimension}, {manifest.target.fingerprint}). "
        f"Method: {escape(manifest.method)}. Licence: {escape(manifest.licence)}.</p>",
        f"<p>Measured on {measured['num_probes']:,} pictures of {part} people, whom it has not seen, among photos of "
        f"everybody{_rounds(manifest)}.</p>",
        *tiles_of(_tiles(measured)),
        *_figures(manifest, measured),
        *_recall(plots),
        *_variance(manifest, measured),
        *_map(plots),
        *_photos(manifest),
        *_thresholds(manifest, calibration),
        "<h2>What this does not say</h2>",
        f"<p>A {manifest.modality} shows what somebody remembered or wanted to show. A candidate is a lead to be followed, and "
        "never evidence. The figures hold for pictures of the kind they were measured on.</p>",
    ]
    return page_of(f"{manifest.name}: report", parts)


def _rounds(manifest: Manifest) -> str:
    return "; figures are means over rounds of noise" if manifest.sampling else ""


def _tiles(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures, untouched = measured["figures"], measured["untouched"]
    tiles = [("rank-1", number(figures["rank1"])), ("rank-5", number(figures["rank5"]))]
    return [*tiles, ("rank-1 of the features as they are", number(untouched["rank1"]))] if untouched else tiles


def _figures(manifest: Manifest, measured: Mapping[str, Any]) -> list[str]:
    rows = [("as it is", measured["untouched"])] if measured["untouched"] else []
    named = f"{manifest.method}, {manifest.sampling.num_samples} samples" if manifest.sampling else manifest.method
    rows.append((named, measured["figures"]))
    cells = [(name, *(number(figures[key]) for key in _COLUMNS)) for name, figures in rows]
    return ["<h2>Finding people</h2>", *table(("compared", *_COLUMNS.values()), cells, chosen=[len(rows) - 1])]


def _recall(plots: CrossModalPlots) -> list[str]:
    if not plots.recall:
        return []
    return [
        "<h2>Number of samples</h2>",
        plots.recall,
        '<p class="small">Samples are drawn anew for each round. After WSGAN, Fig. 5.</p>',
    ]


def _variance(manifest: Manifest, measured: Mapping[str, Any]) -> list[str]:
    real: Mapping[str, Any] = manifest.metrics["real_variance"]  # type: ignore[assignment]
    generated = measured["generated"]
    if not generated:
        return []
    rows = [
        ("generated", number(generated["intra_sim"]), number(generated["inter_sim"])),
        ("photos", number(real["intra_sim"]), number(real["inter_sim"])),
    ]
    return [
        "<h2>Variance of generated features</h2>",
        *table(("features", "of one person", "of two"), rows),
        '<p class="small">Mean cosines. A generator that heeds its noise gives features of one person that differ as photos of '
        "them do; a dash where there is one photo of each. After WSGAN, Table 4.</p>",
    ]


def _map(plots: CrossModalPlots) -> list[str]:
    if not plots.feature_map:
        return []
    return [
        "<h2>Features of a few people</h2>",
        plots.feature_map,
        '<p class="small">Colours are people. Two directions of many: those in which their photos differ most. After WSGAN, '
        "Fig. 4.</p>",
    ]


def _photos(manifest: Manifest) -> list[str]:
    """What an encoder of both modalities makes of photos."""
    if manifest.source != manifest.target or "photos" not in manifest.metrics:
        return []
    photos: Mapping[str, Any] | None = manifest.metrics["photos"]  # type: ignore[assignment]
    heading = "<h2>Photos among themselves</h2>"
    if not photos:
        return [
            heading,
            "<p>The encoder is of photos too. Nobody has two, so how well they find each other now is not known.</p>",
        ]
    rows = [(name, *(number(photos[key][column]) for column in _COLUMNS)) for name, key in _BY_ENCODER]
    return [
        heading,
        f"<p>The encoder is of photos too. {photos['num_probes']:,} further photos of people whom it has not seen, among the "
        f"{photos['num_photos']:,} first ones of these:</p>",
        *table(("encoder", *_COLUMNS.values()), rows, chosen=[1]),
    ]


def _thresholds(manifest: Manifest, calibration: Calibration) -> list[str]:
    points = calibration.points.get(f"translated/{manifest.modality}", ())
    if not points:
        return ["<p>Too few people to validate on to state thresholds.</p>"]
    rows = [(f"{one.fmr:g}", f"{one.threshold:.4f}", f"{one.fnmr:.4f}") for one in points]
    return ["<h2>Thresholds</h2>", *table(("false-match rate", "threshold", "genuine pairs missed"), rows)]
