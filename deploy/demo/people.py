"""The demo's people: pictures of a thousand subjects nobody has trained on, and their features in both spaces."""

import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deploy.demo.processes import run_to_its_end
from models.feature_set import FeatureSet
from training.data.feature_set_files import load_feature_set

BUNDLES = Path(os.path.relpath(Path(__file__).parent / "bundles"))
"""As one would type it."""
SEED = 7
"""Of the world; the models were trained on the worlds of other seeds (`build.py`)."""
EDGE, CLOUD = "edge", "cloud"
NAMES = (EDGE, CLOUD, f"{EDGE}-to-{CLOUD}", f"{CLOUD}-to-{EDGE}")
"""Of the bundles."""


def command(*words: object) -> list[str]:
    """A `facebridge-train` command line, shown as it would be typed, and ready to run."""
    typed = ["facebridge-train", *(str(word) for word in words)]
    print("$", " ".join(typed), flush=True)
    return [str(Path(sys.executable).parent / typed[0]), *typed[1:]]


@dataclass(frozen=True, slots=True)
class People:
    """Features of everybody's pictures: one photo in the gallery, one more photo, a sketch and a caricature as probes."""

    folder: Path
    edge: FeatureSet
    cloud: FeatureSet

    @classmethod
    def make(cls, folder: Path, num_subjects: int) -> "People":
        """Draw the pictures and extract their features, with the commands that anybody would use."""
        pictures = folder / "people.zip"
        kinds = ("photo=2", "sketch=1", "caricature=1")
        made = command("synth", "--subjects", num_subjects, "--modalities", *kinds, "--seed", SEED, "--out", pictures)
        run_to_its_end(made)
        for space in (EDGE, CLOUD):
            out = folder / f"{space}.npz"
            run_to_its_end(command("extract", "--encoder", BUNDLES / space, "--images", pictures, "--out", out))
        return cls(folder, load_feature_set(folder / "edge.npz"), load_feature_set(folder / "cloud.npz"))

    @property
    def gallery(self) -> npt.NDArray[np.int64]:
        """Rows of the photos that are enrolled: everybody's first."""
        return self._rows("000-photo.jpg")

    def probes(self, modality: str) -> npt.NDArray[np.int64]:
        """Rows of the pictures of a modality that are asked about."""
        return self._rows({"photo": "001-photo.jpg", "sketch": "002-sketch.jpg"}.get(modality, "003-caricature.jpg"))

    def picture(self, row: int) -> bytes:
        """The picture itself."""
        with zipfile.ZipFile(self.folder / "people.zip") as archive:
            return archive.read(str(self.cloud.image[row]))

    def _rows(self, ending: str) -> npt.NDArray[np.int64]:
        return np.flatnonzero(np.char.endswith(self.cloud.image, ending))
