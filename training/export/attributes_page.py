"""The report of a network that tells classes and attributes: one page of HTML that needs nothing beside it."""

from collections.abc import Mapping
from html import escape
from typing import Any

from models.attributes import Attribute, AttributeTable
from models.bundle import Manifest
from training.export.report_page import number, page_of, table, tiles_of

_SHOWN = 0.05
"""The error whose thresholds are shown of everything."""


def attributes_page(manifest: Manifest, told: AttributeTable, plot: str) -> bytes:
    """The page, UTF-8, from what the manifest and `attributes.json` say."""
    metrics: Mapping[str, Any] = manifest.metrics
    part = "test" if metrics["test"] else "validation"
    measured = metrics[part]
    split = manifest.provenance.split
    whom = "people" if split is not None and split.by == "subject" else "pictures"
    parts = [
        f"<h1>{escape(manifest.name)}</h1>",
        f"<p>Tells what a {manifest.modality or 'picture'} of a face shows: {_tells(told)}. Method: {escape(manifest.method)}. "
        f"Licence: {escape(manifest.licence)}. Learned from {metrics['num_training_pictures']:,} pictures, "
        f"{_known(metrics, told)}"
        f"{_missing(metrics)}.</p>",
        *tiles_of(_tiles(measured)),
        f"<p>Of {part} {whom}, {'whom' if whom == 'people' else 'which'} this training has not seen"
        f"{', but by which its thresholds were chosen' if part == 'validation' else ''}. F1 is the mean over classes, or over "
        "attributes that some have and some have not.</p>",
        "<h2>Losses</h2>",
        plot,
        *_left_out(measured),
        "<h2>Thresholds</h2>",
        "<p>Where a search is among those who show something, or who do not, it leaves out whoever is beyond a threshold. "
        f"At an error of {_percent(_SHOWN)}, of the others so many pass all the same:</p>",
        *table(
            ("", f"{whom} with", "without", "has: at least", "others pass", "lacks: at most", "others pass"),
            [_row(one) for one in told.everything],
        ),
        f'<p class="small">Nothing where too few {whom} tell: to state an error of {_percent(_SHOWN)} there must be 19.',
        "Everybody counts once, with all pictures. An error holds in the mean over the people that may be measured on: "
        "of few, those of one bundle can be off. Other errors are in <code>attributes.json</code>.</p>",
        "<h2>What this does not say</h2>",
        "<p>It tells what a face shows on one picture, as annotators named it: a smile is not a mood, and what somebody looks "
        "like is not what somebody is. Thresholds hold for pictures like those that they were measured on.</p>",
    ]
    return page_of(f"{manifest.name}: report", parts)


def _tells(told: AttributeTable) -> str:
    found = [f"its {escape(told.label or 'class')}, one of {len(told.classes)}"] if told.classes else []
    found += [f"which of {len(told.attributes)} attributes it has"] if told.attributes else []
    return ", and ".join(found)


def _known(metrics: Mapping[str, Any], told: AttributeTable) -> str:
    known = [f"of {metrics['num_with_class']:,} of which the class is known"] if told.classes else []
    known += [f"of {metrics['num_with_attributes']:,} some attribute"] if told.attributes else []
    return ", and ".join(known)


def _missing(metrics: Mapping[str, Any]) -> str:
    unseen = metrics["unseen"]
    return f". None of them tells of {escape(', '.join(unseen))}" if unseen else ""


def _tiles(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    classes, attributes = measured["classes"], measured["attributes"]
    tiles = []
    if classes:
        tiles += [("class: accuracy", number(classes["accuracy"])), ("class: F1", number(classes["f1"]))]
    if attributes:
        tiles += [
            ("attributes: accuracy", number(attributes["accuracy"])),
            ("attributes: F1", number(attributes["f1"])),
        ]
    return tiles


def _left_out(measured: Mapping[str, Any]) -> list[str]:
    found = measured["left_out"]
    if not found:
        return []
    rows = [
        (_percent(one["error"]), f"{100 * one['mean']:.1f} %", f"{100 * one['largest']:.1f} %", escape(one["of"]))
        for one in found
    ]
    return [
        "<h2>Is the error what it is said to be?</h2>",
        "<p>Thresholds were chosen on validation pictures. Of test pictures, the share that they left out though they were "
        "meant: in the mean over all that is told, and where it is largest, which of few pictures is chance:</p>",
        *table(("stated", "found", "largest", "of"), rows),
    ]


def _percent(error: float) -> str:
    return f"{100 * error:g} %"


def _row(one: Attribute) -> tuple[str, ...]:
    cells = []
    for has in (True, False):
        cut = one.cut(_SHOWN, has=has)
        if cut is None or cut.error != _SHOWN:
            cells += ["", ""]
        else:
            cells += [f"{cut.threshold:.3f}", "" if cut.passed is None else f"{100 * cut.passed:.1f} %"]
    return (one.name, f"{one.num_people_with:,}", f"{one.num_people_without:,}", *cells)
