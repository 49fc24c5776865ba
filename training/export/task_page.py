"""The report of a network for three tasks: one page of HTML that needs nothing beside it."""

from collections.abc import Mapping
from html import escape
from typing import Any

from models.bundle import Manifest
from models.calibration import Calibration
from training.export.report_page import number, page_of, table, tiles_of

_COLUMNS = ("rank-1", "rank-10", "TAR@1e-2", "TAR@1e-3", "AUC")
_ROWS = (
    ("among everybody's photos, as it came", "untouched_among_all"),
    ("among everybody's photos", "among_all"),
    ("among their own photos, as it came", "untouched_among_own"),
    ("among their own photos", "among_own"),
)


def task_page(manifest: Manifest, calibration: Calibration, modality: str, plot: str) -> bytes:
    """The page, UTF-8, from what the encoder's manifest says."""
    measured: Mapping[str, Any] = manifest.metrics
    own = measured["among_own"]
    method = str(manifest.provenance.hyperparameters["method"])
    parts = [
        f"<h1>{escape(manifest.name)}</h1>",
        f"<p>One encoder of {modality}s and photos, in the space <code>{escape(manifest.target.name)}</code> "
        f"({manifest.target.dimension} numbers, {manifest.target.fingerprint}), trained together with two classifiers of the "
        f"people that it learned from. Method: {escape(method)}. Licence: {escape(manifest.licence)}.</p>",
        f"<p>Measured on {own['num_weak']:,} {modality}s of {measured['part']} people, whom it has not seen"
        f"{_chosen(measured)}.</p>",
        *tiles_of(
            [
                ("rank-1 among their own photos", number(own["weak_to_photo"]["rank1"])),
                ("before", number(measured["untouched_among_own"]["weak_to_photo"]["rank1"])),
                ("TAR@1e-2", number(own["weak_to_photo"]["tar_far_1e2"])),
            ]
        ),
        "<h2>Losses and weights of the tasks</h2>",
        plot,
        '<p class="small">The weight follows the task that is hard, where weights are learned so. After Ming et al., Fig. 5 and '
        "6.</p>",
        f"<h2>From {modality} to photo</h2>",
        *_compared(measured, "weak_to_photo"),
        '<p class="small">People who were trained on are told from strangers by that alone: what they add to a gallery says '
        "little of another one. Rates are of all comparisons of a picture with a picture.</p>",
        f"<h2>From photo to {modality}</h2>",
        *_compared(measured, "photo_to_weak"),
        *_known(measured, modality),
        *_photos(measured),
        *_thresholds(calibration, modality),
        "<h2>What this does not say</h2>",
        f"<p>A {modality} shows what somebody wanted to show. A candidate is a lead to be followed, and never evidence. The "
        "figures hold for pictures of the kind they were measured on. The classifiers know the people they have learned and "
        "nobody else: a stranger is given the name of one of them.</p>",
    ]
    return page_of(f"{manifest.name}: report", parts)


def _chosen(measured: Mapping[str, Any]) -> str:
    return ", but by whom it was chosen how far to train it" if measured["part"] == "validation" else ""


def _compared(measured: Mapping[str, Any], way: str) -> list[str]:
    rows = []
    for name, key in _ROWS:
        found, figures = measured[key], measured[key][way]
        cells = (figures["rank1"], figures["rank10"], figures["tar_far_1e2"], figures["tar_far_1e3"], found["auc"])
        rows.append((name, *map(number, cells)))
    return table(("", *_COLUMNS), rows, chosen=[1, 3])


def _known(measured: Mapping[str, Any], modality: str) -> list[str]:
    known = measured["known"]
    if not known["num_weak"] and not known["num_photos"]:
        return []
    rows = [
        (f"{modality}s", number(known["weak"]), number(known["weak_by_photo"]), f"{known['num_weak']:,}"),
        ("photos", number(known["photo_by_weak"]), number(known["photo"]), f"{known['num_photos']:,}"),
    ]
    return [
        "<h2>Who is it, of those who are known</h2>",
        *table(("asked about", f"by the classifier of {modality}s", "of photos", "pictures"), rows),
        '<p class="small">The share of pictures of which the most probable person is right: pictures of people who were learned, '
        "which were not. After Ming et al., Table 2 (V2C and C2V off the diagonal).</p>",
    ]


def _photos(measured: Mapping[str, Any]) -> list[str]:
    photos = measured["photos"]
    if not photos:
        return []
    rows = [
        (name, *(number(photos[key][column]) for column in ("rank1", "rank5", "tar_far_1e2", "tar_far_1e3")))
        for name, key in (("as it came", "before"), ("as it was trained", "after"))
    ]
    return [
        "<h2>Photos among themselves</h2>",
        f"<p>{photos['num_probes']:,} further photos of people whom it has not seen, among the {photos['num_photos']:,} first "
        "ones of these:</p>",
        *table(("encoder", "rank-1", "rank-5", "TAR@1e-2", "TAR@1e-3"), rows, chosen=[1]),
    ]


def _thresholds(calibration: Calibration, modality: str) -> list[str]:
    points = calibration.points.get(f"native-target/{modality}", ())
    if not points:
        return ["<p>Too few people to validate on to state thresholds.</p>"]
    rows = [(f"{one.fmr:g}", f"{one.threshold:.4f}", f"{one.fnmr:.4f}") for one in points]
    return ["<h2>Thresholds</h2>", *table(("false-match rate", "threshold", "genuine pairs missed"), rows)]
