"""What every trainer takes and gives.

Shapes: N training pairs, V validation pairs, S source and T target dimension, H W picture.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from models.features import FloatArray
from training.trainers.encoder_recipe import Report

Translate = Callable[[FloatArray], FloatArray]
ModelT = TypeVar("ModelT", bound=Translate)


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where a long training computes, keeps what it has reached, and tells of it."""

    device: str = "cpu"
    checkpoint: Path | None = None
    on_step: Callable[[Report], None] = lambda report: None


def digest_of(arrays: Iterable[npt.NDArray[np.generic]], graph: bytes = b"") -> str:
    """SHA-256 of a graph and of arrays, with the shape of each before it."""
    digest = hashlib.sha256(graph)
    for array in arrays:
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Aligned features of the same pictures, unit length, with validation pairs of other subjects."""

    source_NS: FloatArray
    target_NT: FloatArray
    validation_source_VS: FloatArray
    validation_target_VT: FloatArray
    seed: int
    picture_NHW3: npt.NDArray[np.uint8] | None = None
    """What the pairs were made from, RGB, small; for the methods that look at it."""
    subject_N: npt.NDArray[np.int64] | None = None
    """A number for whoever is on each training picture; where that is not known, for the picture that a view is of."""
    workplace: Workplace = field(default_factory=Workplace)
    teacher: Translate | None = None
    """A translator between the same spaces to learn from, where there is one already."""

    @property
    def digest(self) -> str:
        """SHA-256 of what is learned from."""
        arrays = (self.source_NS, self.target_NT, self.picture_NHW3)
        return digest_of([array for array in arrays if array is not None])


@dataclass(frozen=True, slots=True)
class Fitted(Generic[ModelT]):
    """A fitted translator: callable, (N, S) to unit (N, T), and the hyperparameters that were chosen."""

    model: ModelT
    hyperparameters: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CommonData:
    """Aligned features of the same pictures by several encoders, for a space in which they meet."""

    names: Sequence[str]
    """Of the encoders' spaces, in the order of the sides."""
    sides: Sequence[FloatArray]
    validation: Sequence[FloatArray]
    seed: int
    subject_N: npt.NDArray[np.int64]
    """As in `TrainingData`."""
    validation_subject_V: npt.NDArray[np.str_] | None = None
    """None where it is not known who is on the pictures."""
    on_step: Callable[[str], None] = lambda what: None


@dataclass(frozen=True, slots=True)
class FittedSides(Generic[ModelT]):
    """One projection a side, in their order, and the hyperparameters that were chosen."""

    models: list[ModelT]
    hyperparameters: dict[str, JsonValue] = field(default_factory=dict)


def mean_cosine(translated_NT: npt.NDArray[np.float32], target_NT: npt.NDArray[np.float32]) -> float:
    """Mean cosine of unit features, row by row, in [-1, 1].

    >>> mean_cosine(np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32))
    1.0
    """
    return float(np.mean(np.sum(translated_NT.astype(np.float64) * target_NT, axis=1)))


def best_on_validation(data: TrainingData, candidates: Iterable[Fitted[ModelT]]) -> Fitted[ModelT]:
    """The candidate with the highest mean cosine on the validation pairs (the first of equals)."""
    return max(
        candidates, key=lambda fitted: mean_cosine(fitted.model(data.validation_source_VS), data.validation_target_VT)
    )
