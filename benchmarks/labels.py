"""What annotations of real faces allow: attributes of FS2K's photos, and emotions of LFW's, of which most are neutral or happy.

What was measured is kept under docs/measured/labels, one file a training. Shapes: N test pictures, C classes and attributes.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, ROOT, Faces
from benchmarks.kept import Measured, kept_or_measured
from models.attributes import Attribute, AttributeTable
from models.features import FloatArray
from models.runtime import Session
from models.space import InputPreparation
from models.split import SplitRule
from training.data.labelled import Labels
from training.data.sources import PictureItem, PictureSource
from training.recipes.attributes import COUPLING, AttributeExtras, LabelledParts, fit_attributes
from training.recipes.coupled import VARIANTS, small
from training.recipes.encoders import prepared
from training.trainers import coupled
from training.trainers.coupled_recipe import CoupledRecipe
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace

MEASURED = ROOT / "docs" / "measured" / "labels"
ENCODER = "mobilefacenet-128"
SEEDS = (0, 1, 2)
VALIDATION, TEST = 0.2, 0.25
ERROR = 0.05
"""Of the thresholds that are shown."""
_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Annotated:
    """A set of pictures, and what is known of them."""

    name: str
    modality: str | None
    label: str
    attributes: tuple[str, ...]
    epochs: int


FS2K = Annotated("fs2k112", "photo", "hair_color", ("hair", "gender", "earring", "smile", "frontal_face"), 24)
LFW = Annotated("lfw112", None, "emotion", (), 4)
"""So many epochs that as many pictures are looked at as in those of `small` of some thousand."""
SHOWN = {
    "hair": "no hair",
    "gender": "a woman",
    "earring": "no earring",
    "smile": "no smile",
    "frontal_face": "turned away",
}
"""What a 1 of FS2K means: as it is published, 0 is what its name says, and of gender a man."""
METHODS = ("single-class", "single-attributes", "uncoupled", "coupled")


class LabelTrainings:
    """What is trained once on one set, and its figures on test people."""

    def __init__(self, annotated: Annotated, faces: Faces) -> None:
        self._annotated = annotated
        self._source, self._encoder = faces.sets(annotated.name), faces.encoder(ENCODER)
        self._folder = KEPT / "labels"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._device = choose_torch_device("auto")
        self._console = Console(stderr=True)

    def measured(self, method: str, seed: int) -> Measured:
        """Of one method, one split and one seed of its training."""
        name, rule = f"{self._annotated.name}-{method}-seed-{seed}", SplitRule("subject", seed, VALIDATION, TEST)
        plan = {
            "method": method,
            "version": coupled.VERSION,
            "recipe": asdict(VARIANTS[method](self._recipe())),
            "annotated": asdict(self._annotated),
            "encoder": self._encoder.space.fingerprint,
            "split": asdict(rule),
            "measured by": ERROR,
        }
        return kept_or_measured(MEASURED / f"{name}.json", plan, self._device, lambda: self._fitted(name, method, rule))

    def _fitted(self, name: str, method: str, rule: SplitRule) -> Measured:
        self._console.print(name)
        of_class, of_attributes = VARIANTS[method](small()).given
        annotated = self._annotated
        parts = LabelledParts.of(
            self._source,
            rule,
            annotated.label if of_class else "",
            annotated.attributes if of_attributes else (),
            annotated.modality,
        )
        # Whoever interrupts a training goes on with it.
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        extras = AttributeExtras(
            self._encoder,
            "benchmark",
            folder,
            "counted" if method in COUPLING else None,
            self._recipe,
            Workplace(self._device, folder / "checkpoint.npz"),
        )
        fitted = fit_attributes(parts, method, rule.seed, extras)
        shutil.rmtree(folder)
        told_NC = _told(fitted.graph, parts.source, parts.items["test"], self._encoder.preparation)
        return fitted.metrics() | {"each": _each(told_NC, parts.labels["test"], fitted.table)}

    def _recipe(self) -> CoupledRecipe:
        return replace(small(), epochs=self._annotated.epochs)


def _told(graph: bytes, source: PictureSource, items: list[PictureItem], preparation: InputPreparation) -> FloatArray:
    session = Session(graph, device="cpu")
    starts = range(0, len(items), _AT_ONCE)
    return np.concatenate(
        [session.run(prepared(source, items[start : start + _AT_ONCE], preparation)) for start in starts]
    )


def _each(told_NC: FloatArray, labels: Labels, told: AttributeTable) -> dict[str, dict[str, float | None]]:
    """Of each class and attribute: on how many test pictures it is, and is not; how often either is told, and what the threshold
    of the stated error leaves out and lets through.
    """
    found = {}
    num_classes = len(told.classes)
    for place, one in enumerate(told.everything):
        if place < num_classes:
            is_known_N, has_N = labels.class_N >= 0, labels.class_N == place
            is_told_N = told_NC[:, :num_classes].argmax(axis=1) == place
        else:
            column = place - num_classes
            is_known_N, has_N = labels.is_known_NM[:, column], labels.has_NM[:, column]
            is_told_N = told_NC[:, place] > 0.5
        found[one.name] = _of_one(one, told_NC[:, place], is_told_N, has_N & is_known_N, ~has_N & is_known_N)
    return found


def _of_one(
    one: Attribute,
    probability_N: FloatArray,
    is_told_N: npt.NDArray[np.bool_],
    with_N: npt.NDArray[np.bool_],
    without_N: npt.NDArray[np.bool_],
) -> dict[str, float | None]:
    cut = one.cut(ERROR, has=True)
    stays_N = None if cut is None else probability_N >= cut.threshold
    return {
        "num_with": int(with_N.sum()),
        "num_without": int(without_N.sum()),
        "told_with": _share(is_told_N, with_N),
        "told_without": _share(~is_told_N, without_N),
        "left_out": None if stays_N is None else _share(~stays_N, with_N),
        "passed": None if stays_N is None else _share(stays_N, without_N),
    }


def _share(is_so_N: npt.NDArray[np.bool_], among_N: npt.NDArray[np.bool_]) -> float | None:
    return float(np.mean(is_so_N[among_N])) if among_N.any() else None


def measure(faces: Faces) -> str:
    """Both sets."""
    of_fs2k, of_lfw = LabelTrainings(FS2K, faces), LabelTrainings(LFW, faces)
    drawn = {method: [of_fs2k.measured(method, seed) for seed in SEEDS] for method in METHODS}
    shown = [of_lfw.measured("single-class", seed) for seed in SEEDS]
    split = f"people split by {100 * (1 - VALIDATION - TEST):.0f} : {100 * VALIDATION:.0f} : {100 * TEST:.0f}"
    return "\n\n".join(
        [
            f"Photos of `{FS2K.name}.zip`, encoder {ENCODER}, {split}; class {FS2K.label}, {len(FS2K.attributes)} attributes, "
            f"all known, of which a 1 means: {', '.join(f'{shown} ({name})' for name, shown in SHOWN.items())}. How they hang "
            "together is counted. "
            f"Test people, means over {len(SEEDS)} splits, each with a training:",
            table(["method", *(head for head, _, _ in _FIGURES)], [_row(*one) for one in drawn.items()]),
            f"What of it a filter can do, `coupled`. Told right: of test pictures that show it, and of those that do not. At a "
            f"stated error of {100 * ERROR:.0f} %: what was left out of those that show it, and which of the others pass:",
            table(_EACH, _each_rows([one["each"] for one in drawn["coupled"]])),
            f"`{LFW.name}.zip`, emotions as they were annotated, `single-class`, {LFW.epochs} epochs, the same split:",
            table(_EACH, _each_rows([one["each"] for one in shown])),
        ]
    )


_FIGURES = (
    ("class: accuracy", "classes", "accuracy"),
    ("mean over classes", "classes", "average_accuracy"),
    ("attributes: accuracy", "attributes", "accuracy"),
    ("F1", "attributes", "f1"),
)
_EACH = ["", "test pictures", "told right, with", "without", "left out", "others pass"]


def _row(method: str, of_seeds: Sequence[Measured]) -> list[str]:
    cells = []
    for _, task, figure in _FIGURES:
        values = [one["test"][task][figure] for one in of_seeds if one["test"][task]]
        cells.append(f"**{mean(values):.3f}**" if values else "")
    return [method, *cells]


def _each_rows(of_seeds: Sequence[dict[str, dict[str, Any]]]) -> list[list[str]]:
    """Of whatever any split knows of."""
    rows = []
    for name in dict.fromkeys(name for one in of_seeds for name in one):
        found = [one[name] for one in of_seeds if name in one]
        cells = [f"{mean(one['num_with'] for one in found):.0f}"]
        for figure in ("told_with", "told_without", "left_out", "passed"):
            values = [one[figure] for one in found if one[figure] is not None]
            cells.append(f"{mean(values):.2f}" if values else "nothing stated")
        rows.append([SHOWN.get(name, name), *cells])
    return rows
