"""Tables 2 to 4 of distribution matching (Kollias et al., AAAI 2024), on people who do not exist, of whose pictures either the
expression or the action units are known, and never both.

What was measured is kept under docs/measured/coupling, one file a training.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from statistics import mean, stdev

from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, ROOT, Faces, made_world
from benchmarks.kept import Measured, kept_or_measured
from deploy.demo.people import BUNDLES, EDGE
from models.split import SplitRule
from training.data.encoders import find_encoder
from training.data.expressions import ACTION_UNITS
from training.data.relatedness import AFF_WILD2, STUDY
from training.data.sources import ChosenPictures, PictureItem, PictureSource, open_source
from training.data.synthetic.files import Order
from training.data.synthetic.world import WorldSettings
from training.recipes.attributes import COUPLING, AttributeExtras, LabelledParts, fit_attributes
from training.recipes.coupled import VARIANTS, small
from training.trainers import coupled
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace

MEASURED = ROOT / "docs" / "measured" / "coupling"
WORLD = Order(WorldSettings(seed=31), 300, {"photo": 8})
"""Of seed 32 was the world that recipes were looked at in."""
SEEDS = (0, 1, 2)
VALIDATION, TEST = 0.15, 0.25
LABEL = "expression"
ATTRIBUTES = tuple(f"au_{unit}" for unit in ACTION_UNITS)
OURS = "coupled"


class CoupledTrainings:
    """What is trained once, and its figures on test people."""

    def __init__(self, order: Order = WORLD) -> None:
        self._order = order
        self._folder = KEPT / "coupling"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._device = choose_torch_device("auto")
        self._encoder = find_encoder(str(BUNDLES / EDGE), None)
        self._console = Console(stderr=True)

    def measured(self, method: str, seed: int, relatedness: str = STUDY) -> Measured:
        """Of one method, one split and one seed of its training."""
        name = f"{method}-seed-{seed}" if relatedness == STUDY else f"{method}-{relatedness}-seed-{seed}"
        rule = SplitRule("subject", seed, VALIDATION, TEST)
        plan = {
            "method": method,
            "version": coupled.VERSION,
            "recipe": asdict(VARIANTS[method](small())),
            "relatedness": relatedness if method in COUPLING else None,
            "world": asdict(self._order),
            "encoder": self._encoder.space.fingerprint,
            "attributes": list(ATTRIBUTES),
            "split": asdict(rule),
        }
        path = MEASURED / f"{name}.json"
        return kept_or_measured(path, plan, self._device, lambda: self._fitted(name, method, rule, relatedness))

    def _fitted(self, name: str, method: str, rule: SplitRule, relatedness: str) -> Measured:
        self._console.print(name)
        label = "" if method == "single-attributes" else LABEL
        attributes = () if method == "single-class" else ATTRIBUTES
        parts = LabelledParts.of(labelled_in_part(self._source(), rule), rule, label, attributes)
        # Whoever interrupts a training goes on with it.
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        extras = AttributeExtras(
            self._encoder,
            "benchmark",
            folder,
            relatedness if method in COUPLING else None,
            workplace=Workplace(self._device, folder / "checkpoint.npz"),
        )
        found = fit_attributes(parts, method, rule.seed, extras).metrics()
        shutil.rmtree(folder)
        return found

    def _source(self) -> PictureSource:
        return open_source(made_world(self._order, self._folder))


def labelled_in_part(source: PictureSource, rule: SplitRule) -> PictureSource:
    """Of every picture of training people either the class or the attributes; of the others both, as they are measured on."""
    is_of_class = SplitRule("image", rule.seed, 0.5, 0.0)

    def item_of(item: PictureItem) -> PictureItem:
        if rule.part_of(item.subject) != "train":
            return item
        unknown = ATTRIBUTES if is_of_class.part_of(item.key) == "validation" else (LABEL,)
        return replace(item, labels=item.labels | dict.fromkeys(unknown, ""))

    return ChosenPictures(source, [item_of(item) for item in source.items])


def measure(faces: Faces) -> str:
    """Every way to train both tasks, alone and together."""
    trainings = CoupledTrainings()
    found = {method: [trainings.measured(method, seed) for seed in SEEDS] for method in VARIANTS}
    counted = f"{OURS}, relatedness of Aff-Wild2"
    found[counted] = [trainings.measured(OURS, seed, AFF_WILD2) for seed in SEEDS]
    made = f"synth --subjects {WORLD.num_subjects} --images-per-subject {WORLD.num_pictures['photo']} --seed {WORLD.world.seed}"
    return "\n\n".join(
        [
            f"`{made}`, encoder `{EDGE}` of the demo; people split by {100 - 100 * (VALIDATION + TEST):.0f} : "
            f"{100 * VALIDATION:.0f} : {100 * TEST:.0f}; of half of the training people's pictures the expression is known, of "
            f"the other half {len(ATTRIBUTES)} action units, of none both. Test people, means over {len(SEEDS)} splits, each "
            "with a training, and their standard deviation; in brackets what is gained on the task alone.",
            table(["method", *_COLUMNS], _rows(found)),
        ]
    )


_COLUMNS = {
    "expression: accuracy": ("classes", "accuracy"),
    "mean over classes": ("classes", "average_accuracy"),
    "F1": ("classes", "f1"),
    "action units: accuracy": ("attributes", "accuracy"),
    "F1 of these": ("attributes", "f1"),
}
_ALONE = {"classes": "single-class", "attributes": "single-attributes"}


def _rows(found: Mapping[str, Sequence[Measured]]) -> list[list[str]]:
    rows = []
    for method, of_seeds in found.items():
        cells = []
        for task, figure in _COLUMNS.values():
            if of_seeds[0]["test"][task] is None:
                cells.append("")
                continue
            values = [one["test"][task][figure] for one in of_seeds]
            alone = mean(one["test"][task][figure] for one in found[_ALONE[task]])
            gained = "" if method == _ALONE[task] else f" ({100 * (mean(values) - alone):+.1f})"
            cells.append(f"{mean(values):.3f} ± {stdev(values):.3f}{gained}")
        name = f"**{method}**" if method == OURS else method
        rows.append([name, *(f"**{cell}**" if method == OURS and cell else cell for cell in cells)])
    return rows
