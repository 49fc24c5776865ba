"""What trainers across modalities take: pictures of a weak modality, such as sketches, and strong features of the same people.

Shapes: N weak pictures, M strong ones, W and S the dimensions of their features, H W picture.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from models.features import FloatArray
from models.space import InputPreparation
from training.trainers.fitted import Workplace

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EncodedPictures:
    """The pictures that features were made from, and the encoder that made them, to be trained."""

    picture_NHW3: npt.NDArray[np.uint8]
    """As the encoder's preparation cuts and resizes them, in its order of colours."""
    preparation: InputPreparation
    encoder: bytes
    """An ONNX graph."""


@dataclass(frozen=True, slots=True)
class WeakStrong:
    """Unit features of both modalities with a class for whoever is on each; of some classes there may be no weak ones."""

    weak_NW: FloatArray
    weak_class_N: IntArray
    strong_MS: FloatArray
    strong_class_M: IntArray
    num_classes: int
    is_one_space: bool
    """Whether both were made by the same encoder."""
    seed: int
    pictures: EncodedPictures | None = None
    """Weak ones; None where the features are all there is."""
    strong_pictures: npt.NDArray[np.uint8] | None = None
    """(M, H, W, 3), for methods that encode them too, by the same encoder."""
    workplace: Workplace = field(default_factory=Workplace)

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from."""
        digest = hashlib.sha256()
        arrays: list[npt.NDArray[np.generic]] = [self.weak_NW, self.weak_class_N, self.strong_MS, self.strong_class_M]
        if self.pictures is not None:
            digest.update(self.pictures.encoder)
            arrays.append(self.pictures.picture_NHW3)
        if self.strong_pictures is not None:
            arrays.append(self.strong_pictures)
        for array in arrays:
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
