"""What is known of pictures beside who is on them: a class, and attributes that are there or not; as far as it is known.

Shapes: N pictures, M attributes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.data.sources import PictureItem
from training.errors import TrainingError

UNKNOWN = -1
"""Of a class."""


@dataclass(frozen=True, slots=True)
class Labels:
    """Of the same pictures as the items that they were read from."""

    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    class_N: npt.NDArray[np.int64]
    """A place in `classes`, UNKNOWN where it is not known."""
    has_NM: npt.NDArray[np.bool_]
    is_known_NM: npt.NDArray[np.bool_]

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes without a picture, and attributes of which no picture tells."""
        num_K = np.bincount(self.class_N[self.class_N >= 0], minlength=len(self.classes))
        missing = [name for name, num in zip(self.classes, num_K.tolist(), strict=True) if not num]
        num_M = self.is_known_NM.sum(axis=0)
        return (*missing, *(name for name, num in zip(self.attributes, num_M.tolist(), strict=True) if not num))

    @property
    def num_known(self) -> int:
        """Pictures whose class is known."""
        return int((self.class_N >= 0).sum())

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> "Labels":
        """Of these pictures."""
        return Labels(self.classes, self.attributes, self.class_N[rows], self.has_NM[rows], self.is_known_NM[rows])


def filled(given: Labels, told: Labels) -> Labels:
    """Classes that are known, and where they are not what is told of the same pictures. Raises `TrainingError` where a class is
    given that is not among those that are told.
    """
    strange = sorted(set(given.classes) - set(told.classes))
    if strange:
        raise TrainingError(f"{strange[0]!r} is no class that is told; these are: {', '.join(told.classes)}")
    # The last place is that of what is not known.
    place_K = np.array([*(told.classes.index(name) for name in given.classes), UNKNOWN], dtype=np.int64)
    class_N = place_K[given.class_N]
    return replace(told, class_N=np.where(class_N == UNKNOWN, told.class_N, class_N))


def read_labels(
    items: Sequence[PictureItem], class_label: str, attributes: Sequence[str], classes: Sequence[str] = ()
) -> Labels:
    """What columns of the listing say: `class_label` the class by its name, `attributes` numbers from 0 to 1, of which any above
    zero is there; an empty field is not known.

    `classes` are those that are found where none are named. Raises `TrainingError` for a column that no picture has, a class that
    is not named, and a number out of its range.
    """
    for name in (class_label, *attributes):
        if name and not any(name in item.labels for item in items):
            there = sorted({label for item in items for label in item.labels})
            raise TrainingError(f"no picture has a label {name!r}; there are: {', '.join(there) or 'none'}")
    said = [item.labels.get(class_label, "") for item in items]
    named = tuple(classes) or tuple(sorted({one for one in said if one}))
    place = {name: number for number, name in enumerate(named)} | {"": UNKNOWN}
    for item, one in zip(items, said, strict=True):
        if one not in place:
            raise TrainingError(f"{item.key}: {class_label} is {one!r}; known: {', '.join(named)}")
    value_NM = np.array([[_number(item, name) for name in attributes] for item in items], dtype=np.float64).reshape(
        len(items), len(attributes)
    )
    is_known_NM = ~np.isnan(value_NM)
    return Labels(
        named,
        tuple(attributes),
        np.array([place[one] for one in said], dtype=np.int64),
        np.nan_to_num(value_NM) > 0,
        is_known_NM,
    )


def _number(item: PictureItem, name: str) -> float:
    """NaN where it is not known."""
    text = item.labels.get(name, "").strip()
    if not text:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise TrainingError(f"{item.key}: {name} is {text!r}, which is no number from 0 to 1")
    return value
