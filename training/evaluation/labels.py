"""How well the class and the attributes of pictures are told, where they are known.

Shapes: N pictures, K classes, M attributes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.attributes import Attribute, AttributeTable, measured_attribute
from models.features import FloatArray
from training.data.labelled import Labels


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Of pictures whose class is known; what is of classes is over those that are there."""

    accuracy: float
    average_accuracy: float
    """The mean over classes of the share of their pictures that is told."""
    f1: float
    """The mean over classes."""
    num_pictures: int


@dataclass(frozen=True, slots=True)
class AttributeFigures:
    """Of what is known of attributes, each by itself; an attribute that nobody has, or everybody, is left out."""

    accuracy: float
    f1: float
    num_attributes: int

    @property
    def afa(self) -> float:
        """Half of both. Source: Kollias et al. (AAAI 2024), Table 2, AFA."""
        return (self.accuracy + self.f1) / 2


def class_figures(probability_NK: FloatArray, labels: Labels) -> ClassFigures | None:
    """By the most probable class; None where none is known."""
    is_known_N = labels.class_N >= 0
    if not is_known_N.any():
        return None
    true_N, told_N = labels.class_N[is_known_N], probability_NK[is_known_N].argmax(axis=1)
    there = np.unique(true_N)
    recalls = [float(np.mean(told_N[true_N == one] == one)) for one in there]
    scores = [_f1(told_N == one, true_N == one) for one in there]
    return ClassFigures(float(np.mean(told_N == true_N)), float(np.mean(recalls)), float(np.mean(scores)), len(true_N))


def attribute_figures(
    probability_NM: FloatArray, labels: Labels, thresholds: Sequence[float] | None = None
) -> AttributeFigures | None:
    """By a threshold for each attribute, a half where none are given; None where no attribute can be measured."""
    shares, scores = [], []
    for place in range(len(labels.attributes)):
        is_known_N = labels.is_known_NM[:, place]
        has = labels.has_NM[is_known_N, place]
        if not len(has) or has.all() or not has.any():
            continue
        told = probability_NM[is_known_N, place] > (0.5 if thresholds is None else thresholds[place])
        shares.append(float(np.mean(told == has)))
        scores.append(_f1(told, has))
    if not shares:
        return None
    return AttributeFigures(float(np.mean(shares)), float(np.mean(scores)), len(shares))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The share of pictures that thresholds of one stated error left out though they were meant, those who have what is asked
    for and those who lack it, over all that could be measured.
    """

    error: float
    mean: float
    largest: float
    of: str
    """Of which class or attribute it is the largest."""


def left_out(probability_NC: FloatArray, labels: Labels, table: AttributeTable) -> tuple[LeftOut, ...]:
    """By the error that thresholds state, what they left out of these pictures, by which they were not chosen."""
    found: dict[float, list[tuple[float, str]]] = {}
    for place, (told, has_N, is_known_N) in enumerate(_one_by_one(labels, table)):
        probability_N = probability_NC[:, place]
        meant = ((told.has, is_known_N & has_N, np.less), (told.lacks, is_known_N & ~has_N, np.greater))
        for cuts, is_meant_N, is_beyond in meant:
            for cut in cuts:
                if is_meant_N.any():
                    share = float(np.mean(is_beyond(probability_N[is_meant_N], cut.threshold)))
                    found.setdefault(cut.error, []).append((share, told.name))
    return tuple(
        LeftOut(error, float(np.mean([share for share, _ in shares])), *max(shares))
        for error, shares in sorted(found.items())
    )


def measured_table(
    probability_NC: FloatArray, labels: Labels, subject_N: npt.NDArray[np.str_] | None, *, tells: tuple[bool, bool]
) -> AttributeTable:
    """What a network tells, with thresholds measured on these pictures and the people on them, where they are known; `tells` says
    whether of classes, and of attributes.
    """
    names = AttributeTable(
        classes=tuple(Attribute(name) for name in labels.classes) if tells[0] else (),
        attributes=tuple(Attribute(name) for name in labels.attributes) if tells[1] else (),
    )
    measured = [
        measured_attribute(
            one.name,
            probability_NC[is_known_N, place],
            has_N[is_known_N],
            None if subject_N is None else subject_N[is_known_N],
        )
        for place, (one, has_N, is_known_N) in enumerate(_one_by_one(labels, names))
    ]
    num_classes = len(names.classes)
    return AttributeTable(classes=tuple(measured[:num_classes]), attributes=tuple(measured[num_classes:]))


def _one_by_one(
    labels: Labels, table: AttributeTable
) -> Iterator[tuple[Attribute, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
    """Of each class and attribute, which pictures have it, and of which that is known."""
    for place, one in enumerate(table.classes):
        yield one, labels.class_N == place, labels.class_N >= 0
    for place, one in enumerate(table.attributes):
        yield one, labels.has_NM[:, place], labels.is_known_NM[:, place]


def _f1(told: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    right = int((told & true).sum())
    both = int(told.sum() + true.sum())
    return 2 * right / both if both else 0.0
