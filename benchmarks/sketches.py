"""Sketches among photos: the simple methods, WSGAN and its parts on features as they are, and with the encoder of sketches."""

from collections.abc import Sequence
from statistics import mean

import numpy as np

from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.kept import Measured
from benchmarks.sketch_trainings import (
    DRAWN,
    ENCODER,
    HALVES,
    OTHERS,
    TEST,
    TRAININGS,
    VALIDATION,
    SketchTrainings,
    asked,
    by_modality,
    features_of,
    figures_from,
    parts_of,
)
from training.data.modalities import ModalityParts
from training.evaluation.cross_modal import CrossModalFigures, mean_figures
from training.recipes import modalities
from training.recipes.modalities import NUM_SAMPLES, ROUNDS, TRANSLATORS, FittedAcross, fit_across
from training.recipes.wsgan import VARIANTS

SPLITS = (0, 1, 2)
NAMES = {
    "fine-tuning": "fine-tuning, of photos too",
    "joint-training": "joint-training, of photos too",
    "wsgan": "wsgan, with the encoder",
    "wsgan-shared": "wsgan, with the encoder, of photos too",
}
LEARNED = f"{NAMES['wsgan-shared']}, learned from both sets"
_HEADER = ["rank-1", "rank-5", "rank-10", "TAR@1e-2", "TAR@1e-3"]
_FIELDS = ("rank1", "rank5", "rank10", "tar_far_1e2", "tar_far_1e3")
_OWN = ["among their own photos: rank-1", "TAR@1e-2"]


def measure(faces: Faces) -> str:
    """Three splits of FS2K on features, one with the encoder, and what each makes of CUHK, whose artist none of them saw; and
    what is made of half of CUHK by who learned from the other half as well.
    """
    both = features_of(faces, DRAWN)
    parts = {seed: parts_of(both, seed, TEST) for seed in SPLITS}
    fitted = {
        method: [fit_across(parts[seed], method, seed) for seed in SPLITS] for method in (*TRANSLATORS, *VARIANTS)
    }
    trainings = SketchTrainings(faces, SPLITS[0])
    trained = {name: trainings.measured(name) for name in TRAININGS}
    halves = [trainings.half(half) for half in HALVES]
    seeds = ", ".join(map(str, SPLITS))
    test = parts[SPLITS[0]].test
    assert test is not None
    text = (
        f"`{DRAWN}.zip`, encoder {ENCODER}; people split by {100 - 100 * (VALIDATION + TEST):.0f} : {100 * VALIDATION:.0f} : "
        f"{100 * TEST:.0f}, everything chosen on validation people, test people's sketches among all "
        f"{len(parts[0].gallery)} photos; "
        f"{NUM_SAMPLES} samples of each, figures are means of {ROUNDS} rounds of noise."
    )
    return "\n\n".join(
        [
            text,
            f"Features as they are, mean over splits {seeds}:",
            table(["method", *_HEADER, "one sample: rank-5", "intra-sim"], _best_bold(_frozen_rows(fitted))),
            f"With the encoder of sketches trained too, split {SPLITS[0]} alone, beside the same split on features; photos as "
            "they are, or by that encoder too (`--shared-encoder`). Most people of the gallery were trained on then, and whoever "
            "was may be told from a stranger by that alone; so the last columns are of a gallery of the "
            f"{len(np.unique(test.subject))} test people's photos, of whom nobody was:",
            table(
                ["method", *_HEADER, "one sample: rank-5", "intra-sim", *_OWN],
                _best_bold(_trained_rows(fitted, parts[SPLITS[0]], trained)),
            ),
            f"The bundles of split {SPLITS[0]} asked about `{OTHERS}.zip`, 88 students drawn by another artist in another "
            "manner, of whom none was seen; and about either half of them what learned from both sets but for it, photos by its "
            "encoder too, among all 88, of whom the other half was trained on:",
            table(["method", *_HEADER], _best_bold(_others_rows(faces, fitted, trained, halves))),
            "Trained: " + "; ".join(trainings.machines) + ".",
        ]
    )


def _frozen_rows(fitted: dict[str, list[FittedAcross]]) -> list[list[str]]:
    first = [_test(one) for one in fitted["shrunken-ridge"]]
    rows = [["none", *_cells([one.untouched for one in first if one.untouched]), "", ""]]
    for method, of_splits in fitted.items():
        measured = [_test(one) for one in of_splits]
        one_sample = [one.by_samples[1].rank5 for one in measured if one.by_samples]
        intra = [one.generated.intra_sim for one in measured if one.generated and one.generated.intra_sim is not None]
        more = [f"{mean(values):.3f}" if values else "" for values in (one_sample, intra)]
        rows.append([method, *_cells([one.figures for one in measured]), *more])
    return rows


def _trained_rows(
    fitted: dict[str, list[FittedAcross]], parts: ModalityParts, trained: dict[str, Measured]
) -> list[list[str]]:
    assert parts.test is not None
    own = parts.gallery.take(np.isin(parts.gallery.subject, np.unique(parts.test.subject)))
    rows = [
        ["none", *_cells([asked(None, parts.test, parts.gallery)]), "", "", *_own_cells(asked(None, parts.test, own))]
    ]
    for method in ("contrastive-head", "wsgan"):
        one = fitted[method][0]
        measured = _test(one)
        more = ["", ""]
        if measured.by_samples and measured.generated:
            more = [f"{measured.by_samples[1].rank5:.3f}", f"{measured.generated.intra_sim:.3f}"]
        rows.append([method, *_cells([measured.figures]), *more, *_own_cells(asked(one, parts.test, own))])
    for name, kept in trained.items():
        more = ["", ""]
        if kept["one_sample"]:
            more = [f"{kept['one_sample']['rank5']:.3f}", f"{kept['intra_sim']:.3f}"]
        cells = _cells([figures_from(kept["test"])])
        rows.append([f"{NAMES[name]} (share {kept['share']})", *cells, *more, *_own_cells(figures_from(kept["own"]))])
    return rows


def _own_cells(figures: CrossModalFigures) -> list[str]:
    cells = _cells([figures])
    return [cells[0], cells[_HEADER.index("TAR@1e-2")]]


def _others_rows(
    faces: Faces,
    fitted: dict[str, list[FittedAcross]],
    trained: dict[str, Measured],
    halves: Sequence[CrossModalFigures],
) -> list[list[str]]:
    sketches, photos = by_modality(features_of(faces, OTHERS))
    rows = [["none", *_cells([asked(None, sketches, photos)])]]
    for method, of_splits in fitted.items():
        rows.append([method, *_cells([asked(of_splits[0], sketches, photos)])])
    rows += [[NAMES[name], *_cells([figures_from(kept["others"])])] for name, kept in trained.items()]
    return [*rows, [LEARNED, *_cells(halves)]]


def _best_bold(rows: list[list[str]]) -> list[list[str]]:
    """The highest figure of each column of figures stands out."""
    columns = [*range(1, len(_HEADER) + 1), *range(len(_HEADER) + 3, len(rows[0]))]
    best = {column: max(row[column] for row in rows) for column in columns}
    return [[f"**{cell}**" if cell == best.get(at) else cell for at, cell in enumerate(row)] for row in rows]


def _cells(figures: Sequence[CrossModalFigures]) -> list[str]:
    found = mean_figures(figures)
    values = [getattr(found, field) for field in _FIELDS]
    return ["-" if value is None else f"{value:.3f}" for value in values]


def _test(fitted: FittedAcross) -> modalities.Measured:
    assert fitted.test is not None
    return fitted.test
