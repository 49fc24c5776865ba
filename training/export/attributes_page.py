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
    of_whom = (
        f"{part} {'people' if manifest.provenance.split and manifest.provenance.split.by == 'subject' else 'pictures'}"
    )
    parts = [
        f"<h1>{escape(manifest.name)}</h1>",
        f"<p>Tells {_tells(told)} of a picture of a face. Method: {escape(manifest.method)}. Licence: "
        f"{escape(manifest.licence)}. Learned from {metrics['num_training_pictures']:,} pictures, {_known(metrics, told)}"
        f"{_missing(metrics)}.</p>",
        *tiles_of(_tiles(measured)),
        f"<p>Of {of_whom}, which it has not seen"
        f"{', but by which its thresholds were chosen' if part == 'validation' else ''}. F1 is the mean over classes, or over "
        "attributes that some have and some have not.</p>",
        "<h2>Losses</h2>",
        plot,
        *_left_out(measured),
        "<h2>Thresholds</h2>",
        f"<p>Where a search is among those who have something, or who have it not, it leaves out whoever is beyond a threshold. "
        f"At an error of {_SHOWN:.0%}, of the others so many pass all the same:</p>",
        *table(
            ("", "with", "without", "has: at least", "others pass", "has not: at most", "others pass"),
            [_row(one) for one in told.everything],
        ),
        '<p class="small">Nothing where too few pictures tell: to state an error of 5 % there must be 19. Other errors are in '
        "<code>attributes.json</code>.</p>",
        "<h2>What this does not say</h2>",
        "<p>It tells what a face shows on one picture, as annotators named it: a smile is not a mood, and what somebody looks "
        "like is not what somebody is. Thresholds hold for pictures like those that they were measured on.</p>",
    ]
    return page_of(f"{manifest.name}: report", parts)


def _tells(told: AttributeTable) -> str:
    found = [f"which {escape(told.label or 'class')} it shows, of {len(told.classes)}"] if told.classes else []
    found += [f"which of {len(told.attributes)} attributes it has"] if told.attributes else []
    return " and ".join(found)


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
    rows = [(f"{float(error):.0%}", f"{share:.1%}") for error, share in found.items()]
    return [
        "<h2>Is the error what it is said to be?</h2>",
        "<p>Thresholds were chosen on validation pictures. Of these, the share that they left out though they were meant, in the "
        "mean over all that is told:</p>",
        *table(("stated", "found"), rows),
    ]


def _row(one: Attribute) -> tuple[str, ...]:
    cells = []
    for has in (True, False):
        cut = one.cut(_SHOWN, has=has)
        cells += [f"{cut.threshold:.3f}", f"{cut.passed:.1%}"] if cut and cut.error == _SHOWN else ["", ""]
    return (one.name, f"{one.num_with:,}", f"{one.num_without:,}", *cells)
