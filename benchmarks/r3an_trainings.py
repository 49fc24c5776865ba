"""Trainings of R3AN on real faces, each of them once: what it came to is kept under docs/measured/r3an, one file each.

On two cores most take ten minutes to an hour and all of them a day or two, on a GPU minutes, so what was
measured stays in the project, and only what is missing, or was trained in another way, is trained. To train all of it
again, delete the folder. A training under way has its checkpoint under run/bench/r3an, and an interrupted one goes on.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.faces import KEPT, OTHER_SETS, ROOT, Faces
from benchmarks.kept import Measured, kept_or_measured
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
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace
from training.trainers.r3an import VERSION
from training.trainers.r3an_recipe import Paths, R3ANRecipe

MEASURED = ROOT / "docs" / "measured" / "r3an"
TEACHER = "r3an"
SEEDS = (0, 1, 2)
"""Of the training; the split is that of the first."""
TrainedOn = Literal["a quarter", "lfw112", "longer", "views", "elsewhere"]
"""A quarter of the people whom the split trains on, all of them, for as many steps as with views, with views, or others."""
FACES: Mapping[TrainedOn, str] = {
    "a quarter": "a quarter of the people",
    "lfw112": "lfw112",
    "longer": f"lfw112, {VIEWS} times as long",
    "views": f"lfw112, {VIEWS} views of each picture",
    "elsewhere": " + ".join(OTHER_SETS),
}


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

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._device = choose_torch_device("auto")
        self._folder = KEPT / "r3an"
        self._folder.mkdir(parents=True, exist_ok=True)
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

    @property
    def machines(self) -> list[str]:
        """Where and when what was asked for and is kept was measured."""
        return sorted({found["measured"] for found in self._found.values() if "measured" in found})

    def _kept(self, training: Training) -> Measured:
        path = MEASURED / f"{training.name}.json"
        return kept_or_measured(path, self._plan(training), self._device, lambda: self._fitted(training))

    def _plan(self, training: Training) -> dict[str, Any]:
        paths = METHODS[training.method].paths
        assert paths is not None
        return asdict(training) | {
            "version": VERSION,
            "recipe": asdict(self._recipe(training, paths)),
            "spaces": [self._faces.encoder(name).space.fingerprint for name in (training.source, training.target)],
            "pairs": self.num_pairs(training),
        }

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
        checkpoint.unlink(missing_ok=True)
        found = fitted.test.to_json()
        if training.method == STUDENT:
            found["teacher_share"] = fitted.fitted.hyperparameters["teacher_share"]
        if training.method == TEACHER:
            plan, graph = self._graph(training)
            graph.write_bytes(fitted.graph)
            plan.write_bytes(canonical_json(self._plan(training)))
        return found

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
        """R3AN itself; where only its figures are here, or it was trained in another way, it is trained again."""
        training = replace(student, method=TEACHER)
        plan, graph = self._graph(training)
        if not (plan.is_file() and graph.is_file() and plan.read_bytes() == canonical_json(self._plan(training))):
            self._fitted(training)
        return GraphTranslator(graph.read_bytes())

    def _graph(self, training: Training) -> tuple[Path, Path]:
        """What it was made of, and the graph."""
        return self._folder / f"{training.name}.plan.json", self._folder / f"{training.name}.onnx"

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
        items = [item for key in train.source.image.tolist() if (item := source.find(key)) is not None]
        if len(items) < len(train):
            raise SystemExit(f"{place}: some of the pictures that the features were made from are not there")
        folder = "pictures" if place == "lfw112" else f"pictures-{place.replace(' ', '-')}"
        return PicturesOfPairs(source, items).read(self._folder / folder)
