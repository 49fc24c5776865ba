"""What a step of training costs with the losses that labels add, beside the same step without them; one core of a CPU.

Pictures are noise: a step takes as long on them as on faces. Shapes: N pictures, H W picture.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.coupling import ATTRIBUTES
from benchmarks.document import table
from benchmarks.faces import Faces
from benchmarks.geometry import BACKBONE, BASES, EUCLIDEAN, SIDE, TERMS, WIDTH, encoder_recipe
from deploy.demo.people import BUNDLES, EDGE
from training.data.encoders import find_encoder
from training.data.expressions import EXPRESSIONS
from training.data.picture_store import LabelledPictures
from training.data.relatedness import of_study
from training.recipes.coupled import VARIANTS
from training.recipes.coupled import small as coupled_small
from training.recipes.encoders import PREPARATION
from training.trainers.coupled import CoupledPictures, fit_coupled
from training.trainers.encoder import fit_encoder
from training.trainers.encoder_recipe import Report
from training.trainers.fitted import Workplace
from training.trainers.weak_strong import EncodedPictures

PICTURES = 6
STEPS, ROUNDS = 4, 9
COUPLED = ("uncoupled", "distribution-matching", "soft-co-annotation", "coupled")
Timed = Callable[[Callable[[Report], None]], None]
"""Trains for `STEPS`, and tells of each."""


def measure(_: Faces) -> str:
    """Ratios of medians, all by turns, in one process with one thread."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = _rows()
    finally:
        torch.set_num_threads(num_threads)
    batch = encoder_recipe("arcface", "alone", "").batch
    text = (
        f"Steps of `fit --method encoder --backbone {BACKBONE} --width {WIDTH} --side {SIDE}` (batches of {batch}, of each "
        f"person {PICTURES} pictures) and of `fit --method coupled` from the demo's `{EDGE}` (batches of "
        f"{coupled_small().batch}, {len(ATTRIBUTES)} action units). Medians of {ROUNDS * (STEPS - 1)} steps, "
        f"{STEPS - 1} of each by turns; asked for: at most 1.10."
    )
    return f"{text}\n\n{table(['trained with', 'a step', 'of that without'], rows)}"


def _rows() -> list[list[str]]:
    rows = []
    for base in BASES:
        found = _medians({term: _of_encoder(base, term) for term in TERMS if term != EUCLIDEAN})
        rows += [_row(f"{base}, {term}", seconds, found["alone"]) for term, seconds in found.items()]
    found = _medians({method: _of_coupled(method) for method in COUPLED})
    return rows + [_row(method, seconds, found["uncoupled"]) for method, seconds in found.items()]


def _row(name: str, seconds: float, without: float) -> list[str]:
    return [name, f"{1000 * seconds:.0f} ms", f"**{seconds / without:.2f}**" if seconds != without else ""]


def _medians(trainings: Mapping[str, Timed]) -> dict[str, float]:
    """Seconds a step."""
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(ROUNDS):
        for name, train in trainings.items():
            seconds[name] += _steps(train)
    return {name: median(of_steps) for name, of_steps in seconds.items()}


def _steps(train: Timed) -> list[float]:
    """Seconds of each step but the first, before which networks are made."""
    done: list[float] = []
    train(lambda report: done.append(time.perf_counter()))
    return np.diff(done).tolist()


def _of_encoder(base: str, term: str) -> Timed:
    recipe = replace(encoder_recipe(base, term, "expression"), epochs=1)
    preparation = replace(PREPARATION, resize=(recipe.side, recipe.side))
    random = np.random.default_rng(1)
    num = STEPS * recipe.batch
    class_N = np.arange(num) // PICTURES
    pictures = LabelledPictures(
        _noise(num, preparation.resize),
        class_N,
        int(class_N.max()) + 1,
        "noise",
        random.integers(0, len(EXPRESSIONS), num),
        len(EXPRESSIONS),
    )

    def train(on_step: Callable[[Report], None]) -> None:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            checkpoint = Path(folder) / "checkpoint.npz"
            fit_encoder(recipe, pictures, preparation, seed=0, device="cpu", checkpoint=checkpoint, on_step=on_step)

    return train


def _of_coupled(method: str) -> Timed:
    recipe = replace(VARIANTS[method](coupled_small()), epochs=1)
    encoder = find_encoder(str(BUNDLES / EDGE), None)
    random = np.random.default_rng(1)
    num = STEPS * recipe.batch
    is_of_class_N = np.arange(num) % 2 == 0
    has_NM = random.random((num, len(ATTRIBUTES))) < 0.2
    data = CoupledPictures(
        EncodedPictures(_noise(num, encoder.preparation.resize), encoder.preparation, encoder.model),
        np.where(is_of_class_N, random.integers(0, len(EXPRESSIONS), num), -1),
        has_NM,
        np.repeat(~is_of_class_N[:, None], len(ATTRIBUTES), axis=1),
        of_study(),
        0,
    )

    def train(on_step: Callable[[Report], None]) -> None:
        fit_coupled(replace(data, workplace=Workplace(on_step=on_step)), recipe)

    return train


def _noise(num: int, size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    width, height = size
    return np.random.default_rng(2).integers(0, 256, (num, height, width, 3), dtype=np.uint8)
