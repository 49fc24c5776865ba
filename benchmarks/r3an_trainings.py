"""Trainings of R3AN on real faces, each of them once: what it came to is kept under docs/measured/r3an, one file each.

On two cores one takes ten minutes to an hour and all of them some days, on a GPU one takes a minute, so what was
measured stays in the project, and only what is missing, or was trained in another way, is trained. To train all of it
again, delete the folder. A training under way has its checkpoint under run/bench/r3an, and an interrupted one goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.document import machine
from benchmarks.faces import KEPT, OTHER_SETS, ROOT, Faces
from benchmarks.routes import VIEWS
from benchmarks.translation import TEST, VALIDATION
from models.documents import canonical_json
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.data.views import ViewSource
from training.export.loaded import GraphTranslator
from training.recipes.comparison import needs_pictures
from training.recipes.r3an import PicturesOfPairs, small
from training.recipes.translators import METHODS, STUDENT, Extras, SplitPairs, fit_methods
from training.trainers.encoder import choose_torch_device, has_bfloat16
from training.trainers.fitted import Workplace
from training.trainers.r3an import VERSION
from training.trainers.r3an_recipe import Paths, R3ANRecipe

MEASURED = ROOT / "docs" / "measured" / "r3an"
SEEDS = (0, 1, 2)
"""Of the training; the split is that of the first."""
TrainedOn = Literal["a quarter", "lfw112", "longer", "views", "elsewhere"]
"""A quarter of the people whom the split trains on, all of them, all of them for longer, with views, or others."""
FACES: Mapping[TrainedOn, str] = {
    "a quarter": "a quarter of the people",
    "lfw112": "lfw112",
    "longer": "lfw112, four times as long",
    "views": f"lfw112, {VIEWS} views of each picture",
    "elsewhere": " + ".join(OTHER_SETS),
}

Measured = dict[str, Any]
"""The evaluation on test subjects as JSON; of what is kept also the plan that it came of, and where and when."""


@dataclass(frozen=True, slots=True)
class Training:
    """What is trained, on what, and with which random numbers."""

    source: str
    target: str
    method: str
    trained_on: TrainedOn = "lfw112"
    seed: int = SEEDS[0]

    @property
    def name(self) -> str:
        """Of its files."""
        kind = "" if self.trained_on == "lfw112" else f"-{self.trained_on.replace(' ', '-')}"
        seed = f"-seed-{self.seed}" if self.seed else ""
        return f"{self.source}-{self.target}-{self.method}{kind}{seed}"


class Trainings:
    """What is trained once, and its figures on test subjects of lfw112.zip."""

    def __init__(self, faces: Faces, device: Literal["auto", "cpu", "cuda"] = "auto") -> None:
        self._faces = faces
        self._device = choose_torch_device(device)
        self._folder = KEPT / "r3an"
        for folder in (self._folder, MEASURED):
            folder.mkdir(parents=True, exist_ok=True)
        self._console = Console(stderr=True)
        self._found: dict[Training, Measured] = {}

    def measured(self, training: Training) -> Measured:
        """The figures of one training: its `rows`, as of an evaluation of a translator."""
        if training not in self._found:
            # What takes seconds is fitted again, so that it is never of another day's code.
            is_kept = METHODS[training.method].paths is not None and training.method != STUDENT
            self._found[training] = self._kept(training) if is_kept else self._fitted(training)
        return self._found[training]

    def num_pairs(self, training: Training) -> int:
        """How many it is trained on."""
        return len(self._parts(training).train)

    def _kept(self, training: Training) -> Measured:
        path = MEASURED / f"{training.name}.json"
        paths = METHODS[training.method].paths
        assert paths is not None
        plan = asdict(training) | {
            "version": VERSION,
            "recipe": asdict(self._recipe(training, paths)),
            "spaces": [self._faces.encoder(name).space.fingerprint for name in (training.source, training.target)],
            "pairs": self.num_pairs(training),
        }
        if path.is_file():
            kept: Measured = json.loads(path.read_text(encoding="utf-8"))
            if canonical_json(kept["plan"]) == canonical_json(plan):
                return kept
        found = self._fitted(training)
        arithmetic = "bfloat16" if has_bfloat16(self._device) else "float32"
        kept = {"plan": plan, "measured": f"{machine(self._device)} {arithmetic}", **found}
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        return kept

    def _fitted(self, training: Training) -> Measured:
        self._console.print(f"training {training.name}")
        parts = self._parts(training)
        checkpoint = self._folder / f"{training.name}.checkpoint.npz"
        extras = Extras(
            lambda paths: self._recipe(training, paths),
            picture_NHW3=self._pictures(parts.train, training) if needs_pictures(training.method) else None,
            workplace=Workplace(self._device, checkpoint),
            teacher=self._teacher(training) if training.method == STUDENT else None,
        )
        (fitted,) = fit_methods(parts, training.method, training.seed, extras=extras)
        assert fitted.test is not None
        self._graph(training).write_bytes(fitted.graph)
        checkpoint.unlink(missing_ok=True)
        return fitted.test.to_json()

    def _recipe(self, training: Training, paths: Paths) -> R3ANRecipe:
        """`small`, with as many steps on other or fewer faces as on those of lfw112.zip."""
        recipe = small(paths)
        if training.trained_on == "longer":
            return replace(recipe, epochs=VIEWS * recipe.epochs)
        if training.trained_on in {"lfw112", "views"}:
            return recipe
        steps = recipe.epochs * (self.num_pairs(replace(training, trained_on="lfw112")) // recipe.batch)
        return replace(recipe, iterations=steps)

    def _teacher(self, student: Training) -> GraphTranslator:
        """R3AN itself; where only its figures are here, it is trained again."""
        training = replace(student, method="r3an")
        graph = self._graph(training)
        if not graph.is_file():
            self._fitted(training)
        return GraphTranslator(graph.read_bytes())

    def _graph(self, training: Training) -> Path:
        return self._folder / f"{training.name}.onnx"

    def _parts(self, training: Training) -> SplitPairs:
        names = training.source, training.target
        views = VIEWS if training.trained_on == "views" else 1
        pairs = join_by_image(*(self._faces.features(name, views) for name in names))
        parts = SplitPairs.of(pairs, SplitRule("subject", SEEDS[0], VALIDATION, TEST))
        if training.trained_on == "elsewhere":
            return replace(parts, train=join_by_image(*(self._faces.photo_features(name) for name in names)))
        if training.trained_on == "a quarter":
            subject_N = parts.train.source.subject
            everybody = np.unique(subject_N)
            chosen = np.random.default_rng(SEEDS[0]).choice(everybody, len(everybody) // 4, replace=False)
            return replace(parts, train=parts.train.take(np.isin(subject_N, chosen)))
        return parts

    def _pictures(self, train: Pairs, training: Training) -> npt.NDArray[np.uint8]:
        place = "lfw112" if training.trained_on == "longer" else training.trained_on
        source = ViewSource(self._faces.photos() if place == "elsewhere" else self._faces.pictures())
        items = [source.find(key) for key in train.source.image.tolist()]
        pictures = PicturesOfPairs(source, [item for item in items if item is not None])
        return pictures.read(self._folder / ("pictures" if place == "lfw112" else f"pictures-{place}"))
