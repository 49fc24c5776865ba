"""Trainings of R3AN on real faces, each of them once: what it came to is kept under docs/measured/r3an, one file each.

On two cores one takes ten minutes to an hour and all of them a night, so what was measured stays in the project, and
only what is missing, or was trained in another way, is trained. To train all of it again, delete the folder. A training
under way has its checkpoint under run/bench/r3an, and an interrupted one goes on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks.document import machine
from benchmarks.faces import KEPT, OTHER_SETS, ROOT, Faces
from benchmarks.translation import TEST, VALIDATION
from models.documents import canonical_json
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.export.loaded import GraphTranslator
from training.recipes.comparison import needs_pictures
from training.recipes.r3an import PicturesOfPairs, small
from training.recipes.translators import METHODS, STUDENT, Extras, SplitPairs, fit_methods
from training.trainers.encoder import choose_torch_device, has_bfloat16
from training.trainers.fitted import Workplace
from training.trainers.r3an import VERSION
from training.trainers.r3an_recipe import Paths, R3ANRecipe

MEASURED = ROOT / "docs" / "measured" / "r3an"
SEED = 0
TrainedOn = Literal["a quarter", "lfw112", "elsewhere"]
"""A quarter of the people whom the split trains on, all of them, or others."""
FACES: Mapping[TrainedOn, str] = {
    "a quarter": "a quarter of the people",
    "lfw112": "lfw112",
    "elsewhere": " + ".join(OTHER_SETS),
}

Measured = dict[str, Any]
"""The evaluation on test subjects as JSON; of what is kept also the plan that it came of, and where and when."""


class Trainings:
    """What is trained once, and its figures on test subjects of lfw112.zip."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._folder = KEPT / "r3an"
        for folder in (self._folder, MEASURED):
            folder.mkdir(parents=True, exist_ok=True)
        self._console = Console(stderr=True)
        self._found: dict[str, Measured] = {}

    def measured(self, source: str, target: str, method: str, trained_on: TrainedOn = "lfw112") -> Measured:
        """The figures of one training: its `rows`, as of an evaluation of a translator."""
        name = _name(source, target, method, trained_on)
        if name not in self._found:
            # What takes seconds is fitted again, so that it is never of another day's code.
            is_kept = METHODS[method].paths is not None and method != STUDENT
            find = self._kept if is_kept else self._fitted
            self._found[name] = find(source, target, method, trained_on)
        return self._found[name]

    def num_pairs(self, source: str, target: str, trained_on: TrainedOn) -> int:
        """How many it is trained on."""
        return len(self._parts(source, target, trained_on).train)

    def _kept(self, source: str, target: str, method: str, trained_on: TrainedOn) -> Measured:
        path = MEASURED / f"{_name(source, target, method, trained_on)}.json"
        paths = METHODS[method].paths
        assert paths is not None
        plan = {
            "source": source,
            "target": target,
            "method": method,
            "trained_on": trained_on,
            "version": VERSION,
            "recipe": asdict(self._recipe(source, target, trained_on, paths)),
            "seed": SEED,
            "spaces": [self._faces.encoder(name).space.fingerprint for name in (source, target)],
            "pairs": self.num_pairs(source, target, trained_on),
        }
        if path.is_file():
            kept: Measured = json.loads(path.read_text(encoding="utf-8"))
            if canonical_json(kept["plan"]) == canonical_json(plan):
                return kept
        found = self._fitted(source, target, method, trained_on)
        arithmetic = "bfloat16" if has_bfloat16(choose_torch_device("auto")) else "float32"
        kept = {"plan": plan, "measured": f"{machine()} {arithmetic}", **found}
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        return kept

    def _fitted(self, source: str, target: str, method: str, trained_on: TrainedOn) -> Measured:
        name = _name(source, target, method, trained_on)
        self._console.print(f"training {name}")
        parts = self._parts(source, target, trained_on)
        checkpoint = self._folder / f"{name}.checkpoint.npz"
        extras = Extras(
            lambda paths: self._recipe(source, target, trained_on, paths),
            picture_NHW3=self._pictures(parts.train, trained_on) if needs_pictures(method) else None,
            workplace=Workplace(choose_torch_device("auto"), checkpoint),
            teacher=self._teacher(source, target) if method == STUDENT else None,
        )
        (fitted,) = fit_methods(parts, method, SEED, extras=extras)
        assert fitted.test is not None
        self._graph(name).write_bytes(fitted.graph)
        checkpoint.unlink(missing_ok=True)
        return fitted.test.to_json()

    def _recipe(self, source: str, target: str, trained_on: TrainedOn, paths: Paths) -> R3ANRecipe:
        """`small`, with as many steps on any faces as it takes on those of lfw112.zip."""
        recipe = small(paths)
        if trained_on == "lfw112":
            return recipe
        steps = recipe.epochs * (self.num_pairs(source, target, "lfw112") // recipe.batch)
        return replace(recipe, iterations=steps)

    def _teacher(self, source: str, target: str) -> GraphTranslator:
        """R3AN itself; where only its figures are here, it is trained again."""
        graph = self._graph(_name(source, target, "r3an", "lfw112"))
        if not graph.is_file():
            self._fitted(source, target, "r3an", "lfw112")
        return GraphTranslator(graph.read_bytes())

    def _graph(self, name: str) -> Path:
        return self._folder / f"{name}.onnx"

    def _parts(self, source: str, target: str, trained_on: TrainedOn) -> SplitPairs:
        pairs = join_by_image(self._faces.features(source), self._faces.features(target))
        parts = SplitPairs.of(pairs, SplitRule("subject", SEED, VALIDATION, TEST))
        if trained_on == "elsewhere":
            others = join_by_image(self._faces.photo_features(source), self._faces.photo_features(target))
            return replace(parts, train=others)
        if trained_on == "a quarter":
            subject_N = parts.train.source.subject
            everybody = np.unique(subject_N)
            chosen = np.random.default_rng(SEED).choice(everybody, len(everybody) // 4, replace=False)
            return replace(parts, train=parts.train.take(np.isin(subject_N, chosen)))
        return parts

    def _pictures(self, train: Pairs, trained_on: TrainedOn) -> npt.NDArray[np.uint8]:
        source = self._faces.photos() if trained_on == "elsewhere" else self._faces.pictures()
        by_key = {item.key: item for item in source.items}
        pictures = PicturesOfPairs(source, [by_key[key] for key in train.source.image.tolist()])
        return pictures.read(self._folder / ("pictures" if trained_on == "lfw112" else f"pictures-{trained_on}"))


def _name(source: str, target: str, method: str, trained_on: TrainedOn) -> str:
    kind = "" if trained_on == "lfw112" else f"-{trained_on.replace(' ', '-')}"
    return f"{source}-{target}-{method}{kind}"
