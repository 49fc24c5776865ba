"""Tables 3 to 6 of the R3AN paper on five real encoders: R3AN as published, its parts, and the naive model beside ridge.

Every training is kept under run/bench/r3an once it is done, with its checkpoint until then: on two cores all of them take
some three hours, and an interrupted run goes on.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

import numpy as np
from rich.console import Console

from benchmarks.document import table
from benchmarks.faces import KEPT, OTHER_SETS, Faces
from benchmarks.routes import VIEWS
from benchmarks.translation import SIDES, TEST, VALIDATION
from models.documents import canonical_json
from models.split import SplitRule
from training.data.pairs import Pairs, join_by_image
from training.data.views import ViewSource
from training.export.loaded import GraphTranslator
from training.recipes.r3an import ARCHITECTURES, PicturesOfPairs, small
from training.recipes.translators import METHODS, STUDENT, Extras, SplitPairs, fit_methods
from training.trainers.encoder import choose_torch_device
from training.trainers.fitted import Workplace
from training.trainers.r3an import VERSION
from training.trainers.r3an_recipe import Paths, R3ANRecipe

SEED = 0
SMALL_TO_LARGE = ("mobileface-v2-256", "reid-retail-0095-256")
FOUR_KINDS = (
    ("mobileface-v3-256", "mobileface-v2-256"),
    SMALL_TO_LARGE,
    ("reid-retail-0095-256", "mobileface-v2-256"),
    ("mobilefacenet-128", "edgeface-xxs-512"),
)
"""As the paper has them: small to small, small to large, large to small, large to large."""
TWO_OF_A_KIND = (
    FOUR_KINDS[0],
    ("mobileface-v2-256", "mobileface-v3-256"),
    FOUR_KINDS[1],
    ("mobileface-v3-256", "edgeface-xxs-512"),
    FOUR_KINDS[2],
    ("mobilefacenet-128", "mobileface-v3-256"),
    FOUR_KINDS[3],
    ("edgeface-xxs-512", "mobilefacenet-128"),
)
"""Every encoder is a source and a target."""
COMPARED = ("ridge", "fc", "r3an")
BEYOND = ("ridge", "residual-mlp", "r3an", "r3an-skip", "r3an-student")
PUBLISHED = {
    "fc": 83.92,
    "arch1": 85.65,
    "arch2": 83.41,
    "arch3": 94.05,
    "arch4": 94.21,
    "arch5": 94.93,
    "arch6": 94.80,
    "arch7": None,
    "r3an": 95.97,
}
"""Rank-1 in percent among a million distractors, Mb-6 to Res101: Table 3."""
TrainedOn = Literal["a quarter", "lfw112", "views", "elsewhere"]
"""A quarter of the people whom the split trains on, all of them, all of them as `extract --views` shows them, or others."""
MORE_AND_MORE: tuple[TrainedOn, ...] = ("a quarter", "lfw112", "views")
PLACES: tuple[TrainedOn, ...] = ("lfw112", "elsewhere")
FACES: Mapping[TrainedOn, str] = {
    "a quarter": "a quarter of the people",
    "lfw112": "lfw112",
    "views": f"lfw112, `--views {VIEWS}`",
    "elsewhere": " + ".join(OTHER_SETS),
}

Measured = dict[str, Any]
"""`test` and `validation` evaluations as JSON, and the plan that they came of."""


def measure(faces: Faces) -> str:
    """All four tables, and what was built on R3AN; Table 6 is the other side of trainings of Table 5."""
    run = _Trainings(faces)
    return "\n\n".join([_setting(), _table3(run), _table5(run), _table6(run), _table4(run), _beyond(run)])


class _Trainings:
    """What is trained once and kept."""

    def __init__(self, faces: Faces) -> None:
        self._faces = faces
        self._folder = KEPT / "r3an"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._console = Console(stderr=True)
        self._found: dict[str, Measured] = {}

    def measured(self, source: str, target: str, method: str, trained_on: TrainedOn = "lfw112") -> Measured:
        """The figures of one training on test subjects of lfw112.zip."""
        kind = "" if trained_on == "lfw112" else f"-{trained_on.replace(' ', '-')}"
        name = f"{source}-{target}-{method}{kind}"
        if name not in self._found:
            self._found[name] = self._measured(name, source, target, method, trained_on)
        return self._found[name]

    def num_pairs(self, source: str, target: str, trained_on: TrainedOn) -> int:
        """How many it is trained on."""
        return len(self._parts(source, target, trained_on).train)

    def _measured(self, name: str, source: str, target: str, method: str, trained_on: TrainedOn) -> Measured:
        path = self._folder / f"{name}.json"
        paths = METHODS[method].paths
        # What takes seconds is fitted again, so that it is never of another day's code.
        is_kept = paths is not None and method != STUDENT
        parts = self._parts(source, target, trained_on)
        digests = [side.digest for side in (parts.train.source, parts.train.target)]
        recipe = self._recipe(source, target, trained_on, paths) if paths else None
        plan = canonical_json([VERSION, asdict(recipe) if recipe else None, *digests]).decode()
        if is_kept and path.is_file():
            kept: Measured = json.loads(path.read_text())
            if kept["plan"] == plan:
                return kept
        self._console.print(f"training {name}")
        checkpoint = self._folder / f"{name}.checkpoint.npz"
        extras = Extras(
            lambda paths: self._recipe(source, target, trained_on, paths),
            picture_NHW3=self._pictures(parts.train, trained_on) if paths else None,
            workplace=Workplace(choose_torch_device("auto"), checkpoint),
            teacher=self._teacher(source, target) if method == STUDENT else None,
        )
        (fitted,) = fit_methods(parts, method, SEED, extras=extras)
        assert fitted.test is not None
        found = {"plan": plan, "test": fitted.test.to_json(), "validation": fitted.validation.to_json()}
        path.with_suffix(".onnx").write_bytes(fitted.graph)
        path.write_text(json.dumps(found))
        checkpoint.unlink(missing_ok=True)
        return found

    def _recipe(self, source: str, target: str, trained_on: TrainedOn, paths: Paths) -> R3ANRecipe:
        """`small`, with as many steps on any faces as it takes on those of lfw112.zip."""
        recipe = small(paths)
        if trained_on == "lfw112":
            return recipe
        steps = recipe.epochs * (self.num_pairs(source, target, "lfw112") // recipe.batch)
        return replace(recipe, iterations=steps)

    def _teacher(self, source: str, target: str) -> GraphTranslator:
        self.measured(source, target, "r3an")
        return GraphTranslator((self._folder / f"{source}-{target}-r3an.onnx").read_bytes())

    def _parts(self, source: str, target: str, trained_on: TrainedOn) -> SplitPairs:
        views = VIEWS if trained_on == "views" else 1
        pairs = join_by_image(self._faces.features(source, views), self._faces.features(target, views))
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

    def _pictures(self, train: Pairs, trained_on: TrainedOn) -> Any:
        source = ViewSource(self._faces.photos() if trained_on == "elsewhere" else self._faces.pictures())
        items = [source.find(key) for key in train.source.image.tolist()]
        pictures = PicturesOfPairs(source, [item for item in items if item is not None])
        return pictures.read(self._folder / ("pictures" if trained_on == "lfw112" else f"pictures-{trained_on}"))


def _setting() -> str:
    recipe = small(ARCHITECTURES["r3an"])
    return (
        f"Trained with the recipe `small` ({recipe.epochs} epochs, batches of {recipe.batch}; as many steps on other faces; the "
        f"paper: 200,000 iterations of 512 on some millions of faces), seed {SEED}, split and protocol as above; rank-1, in "
        "percent. Gallery: about 1,740 subjects, the paper: a million distractors."
    )


def _rank1(measured: Measured, row: str) -> float:
    return 100 * float(measured["test"]["rows"][row]["rank1"])


def _table3(run: _Trainings) -> str:
    source, target = SMALL_TO_LARGE
    ridge = run.measured(source, target, "ridge")
    rows = [
        ["native source", f"{_rank1(ridge, 'native source'):.2f}", "", "92.84"],
        ["native target", f"{_rank1(ridge, 'native target'):.2f}", "", "98.12"],
        ["ridge", f"{_rank1(ridge, 'translated probes'):.2f}", _cosine(ridge), ""],
    ]
    for method, published in PUBLISHED.items():
        found = run.measured(source, target, method)
        shown = "not converged" if published is None else f"{published:.2f}"
        rows.append([method, f"{_rank1(found, 'translated probes'):.2f}", _cosine(found), shown])
    fc, r3an = (100 - _rank1(run.measured(source, target, method), "translated probes") for method in ("fc", "r3an"))
    caption = f"Table 3, {source} to {target}. R3AN's error is **{r3an / fc:.0%}** of FC's (published: 25%):"
    shown = table(["architecture", "rank-1", "mean cosine", "published (Mb-6 to Res101)"], rows)
    return f"{caption}\n\n{shown}\n\n{_trend(run)}"


def _trend(run: _Trainings) -> str:
    rows = []
    for trained_on in MORE_AND_MORE:
        row = [FACES[trained_on], f"{run.num_pairs(*SMALL_TO_LARGE, trained_on):,}"]
        for method in COMPARED:
            found = run.measured(*SMALL_TO_LARGE, method, trained_on)
            row += [f"{_rank1(found, 'translated probes'):.2f}", _cosine(found)]
        rows.append(row)
    columns = [f"{method}, {figure}" for method in COMPARED for figure in ("rank-1", "mean cosine")]
    shown = table(["faces", "pairs", *columns], rows)
    return f"With fewer and more pairs, as many steps of training on each:\n\n{shown}"


def _cosine(measured: Measured) -> str:
    return f"{measured['test']['rows']['translated probes']['mean_cosine']:.4f}"


def _table5(run: _Trainings) -> str:
    rows = _rows(run, TWO_OF_A_KIND, "translated probes")
    return f"Table 5, translated probes against a native gallery:\n\n{table(_header(), rows)}"


def _table6(run: _Trainings) -> str:
    rows = _rows(run, FOUR_KINDS, "translated gallery")
    return f"Table 6, native probes against a translated gallery:\n\n{table(_header(), rows)}"


def _table4(run: _Trainings) -> str:
    rows = []
    for source, target in FOUR_KINDS:
        for trained_on in PLACES:
            found = {method: run.measured(source, target, method, trained_on) for method in COMPARED}
            rows.append([source, target, FACES[trained_on], *_cells(found, "translated probes")])
    header = ["source", "target", "trained on", *_header()[2:]]
    return f"Table 4, trained on faces of other sets, photos only:\n\n{table(header, rows)}"


def _beyond(run: _Trainings) -> str:
    rows = []
    for source, target in (FOUR_KINDS[1], FOUR_KINDS[3]):
        for method in BEYOND:
            found = run.measured(source, target, method)
            rows.append([source, target, method, *(f"{_rank1(found, side):.2f}" for side in SIDES), _cosine(found)])
    header = ["source", "target", "method", *SIDES, "mean cosine"]
    return f"What was built on R3AN, beside what does not look at pictures:\n\n{table(header, rows)}"


def _header() -> list[str]:
    return ["source", "target", "native source", "native target", *COMPARED, "R3AN's error of FC's"]


def _rows(run: _Trainings, directions: Iterable[tuple[str, str]], side: str) -> list[list[str]]:
    return [
        [*direction, *_cells({method: run.measured(*direction, method) for method in COMPARED}, side)]
        for direction in directions
    ]


def _cells(found: dict[str, Measured], side: str) -> list[str]:
    natives = [_rank1(found["ridge"], row) for row in ("native source", "native target")]
    values = [_rank1(found[method], side) for method in COMPARED]
    error = (100 - values[-1]) / (100 - values[-2])
    return [*(f"{value:.2f}" for value in (*natives, *values)), f"{error:.0%}"]
