"""What is known of pictures beside who is on them: a class, and attributes that are there or not; as far as it is known.

Shapes: N pictures, M attributes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.data.sources import PictureItem
from training.errors import TrainingError

UNKNOWN = -1
"""Of a class."""
_MOST_COUNTED = 20
"""Classes of which each is counted by itself."""
_MOST_SHOWN = 8


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
    def alike(self) -> tuple[str, ...]:
        """Attributes that all pictures have which tell of them, or none: what they look like is not to be learned."""
        num_has_M = (self.has_NM & self.is_known_NM).sum(axis=0).tolist()
        num_known_M = self.is_known_NM.sum(axis=0).tolist()
        counts = zip(self.attributes, num_has_M, num_known_M, strict=True)
        return tuple(name for name, num_has, num_known in counts if num_known and num_has in (0, num_known))

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
    zero is there, or, asked for as COLUMN=VALUE, anything, of which that value is there; an empty field is not known.

    `classes` are those that are found where none are named; where some are, of a picture of another the class is not known.
    Raises `TrainingError` for a column that no picture has, a value or a class that none has, and a number out of its range.
    """
    asked = [one.partition("=") for one in attributes]
    names = [name for name, _, _ in asked]
    for name in (class_label, *names):
        if name and not any(name in item.labels for item in items):
            there = sorted({label for item in items for label in item.labels})
            raise TrainingError(f"no picture has a label {name!r}; there are: {', '.join(there) or 'none'}")
    said = [item.labels.get(class_label, "") for item in items]
    there = sorted({one for one in said if one})
    for name in classes:
        if name not in there:
            raise TrainingError(f"of no picture {class_label} is {name!r}; it is: {_some(there)}")
    named = tuple(classes or there)
    place = {name: number for number, name in enumerate(named)}
    value_MN = [_values(items, name, value) if is_equal else _numbers(items, name) for name, is_equal, value in asked]
    value_NM = np.array(value_MN, dtype=np.float64).reshape(len(asked), len(items)).T
    is_known_NM = ~np.isnan(value_NM)
    return Labels(
        named,
        tuple(names),
        np.array([place.get(one, UNKNOWN) for one in said], dtype=np.int64),
        np.nan_to_num(value_NM) > 0,
        is_known_NM,
    )


def counted_classes(num_pictures: Mapping[str, int]) -> str:
    """How many pictures each class has; of many classes, between which numbers.

    >>> counted_classes({"sad": 12, "glad": 340}), counted_classes({})
    ('glad 340, sad 12', 'of none')
    """
    if len(num_pictures) > _MOST_COUNTED:
        least, most = min(num_pictures.values()), max(num_pictures.values())
        return f"{len(num_pictures)} classes of {least} to {most} pictures"
    return ", ".join(f"{name} {num}" for name, num in sorted(num_pictures.items())) or "of none"


def _values(items: Sequence[PictureItem], name: str, value: str) -> list[float]:
    """1 where it is this value, 0 where it is another, NaN where it is not known."""
    said = [item.labels.get(name, "").strip() for item in items]
    if not value or value not in said:
        raise TrainingError(f"of no picture {name} is {value!r}; it is: {_some(sorted({one for one in said if one}))}")
    return [float(one == value) if one else math.nan for one in said]


def _some(there: Sequence[str]) -> str:
    return ", ".join([*there[:_MOST_SHOWN], *(["..."] if len(there) > _MOST_SHOWN else [])]) or "known of none"


def _numbers(items: Sequence[PictureItem], name: str) -> list[float]:
    """NaN where it is not known."""
    return [_number(item, name) for item in items]


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
