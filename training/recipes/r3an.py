"""R3AN's architectures (Table 3) and how they are trained: on a CPU in minutes, or as published."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.space import InputPreparation
from training.data.pairs import Pairs
from training.data.picture_store import decode_pictures
from training.data.sources import PictureItem, PictureSource, open_sources
from training.data.views import ViewSource
from training.errors import TrainingError
from training.trainers.r3an_recipe import Paths, R3ANRecipe

SIDE = 56
"""Of the pictures inside. Source: R3AN (CVPR 2019), Sec. 5.2."""

# Beside a regression of 1; decision 11 has how they were chosen.
_RECONSTRUCTION = 0.01
_ADVERSARIAL = 0.001
_REPRESENTATION = 0.1
_REGRESSION = 1.0

ARCHITECTURES: Mapping[str, Paths] = {
    "fc": Paths(regression=1.0),
    "arch1": Paths(reconstruction=1.0, representation=1.0),
    "arch2": Paths(adversarial=1.0, representation=1.0),
    "arch3": Paths(regression=_REGRESSION),
    "arch4": Paths(reconstruction=_RECONSTRUCTION, regression=_REGRESSION),
    "arch5": Paths(reconstruction=_RECONSTRUCTION, representation=_REPRESENTATION, regression=_REGRESSION),
    "arch6": Paths(adversarial=_ADVERSARIAL, regression=_REGRESSION),
    "arch7": Paths(representation=_REPRESENTATION, regression=_REGRESSION),
    "r3an": Paths(_ADVERSARIAL, _RECONSTRUCTION, _REPRESENTATION, _REGRESSION),
}
"""By name, the paths that each trains. Source: Chen et al., R3AN (CVPR 2019), Table 3."""


def paper(paths: Paths) -> R3ANRecipe:
    """Source: R3AN (CVPR 2019), Sec. 5 and 5.2. For a GPU."""
    return R3ANRecipe(
        paths,
        optimiser="sgd",
        learning_rate=0.08,
        schedule="steps",
        batch=512,
        weight_decay=1e-3,
        epochs=0,
        iterations=200_000,
    )


def small(paths: Paths) -> R3ANRecipe:
    """For some ten thousand pairs on a CPU: on two cores in ten minutes, or half an hour where they have no bfloat16."""
    return R3ANRecipe(
        paths, optimiser="adam", learning_rate=1e-3, schedule="cosine", batch=64, weight_decay=0.05, epochs=12
    )


LEFT = ("pictures.npy", "pictures.json", "checkpoint.npz", "checkpoint.draft")
"""What an interrupted training leaves in its folder."""

RECIPES: Mapping[str, Callable[[Paths], R3ANRecipe]] = {"small": small, "paper": paper}


@dataclass(frozen=True, slots=True)
class PicturesOfPairs:
    """The pictures that pairs were made from, where they are."""

    source: PictureSource
    items: list[PictureItem]

    @classmethod
    def find(cls, pairs: Pairs, images: Sequence[Path]) -> "PicturesOfPairs":
        """Look them up by key, views and blends too. Raises `TrainingError` where some are not there."""
        keys = pairs.source.image.tolist()
        source = ViewSource(open_sources(images))
        found = {key: source.find(key) for key in keys}
        missing = [key for key in keys if found[key] is None]
        if missing:
            where = ", ".join(map(str, images))
            raise TrainingError(
                f"{where}: {len(missing)} of the {len(keys)} pictures that the features were made from are not there, "
                f"{missing[0]!r} first; extract features of these pictures again, or bring those"
            )
        return cls(source, [item for item in found.values() if item is not None])

    def read(self, folder: Path, on_progress: Callable[[int], None] = lambda done: None) -> npt.NDArray[np.uint8]:
        """All of them (N, 56, 56, 3), kept in `folder` for a later call. Raises `SourceError`."""
        folder.mkdir(parents=True, exist_ok=True)
        return decode_pictures(self.source, self.items, InputPreparation(resize=(SIDE, SIDE)), folder, on_progress)
