"""How well one network does each of its tasks: whether two pictures are of one person, and who of those it knows is on one.

Shapes: P weak pictures, G photos, N pictures, C people who are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.feature_set import FeatureSet
from models.features import FloatArray
from training.evaluation.cross_modal import CrossModalFigures, figures_of

StrArray = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """Of weak pictures and photos of people whom nothing was learned from, compared by their features."""

    weak_to_photo: CrossModalFigures
    """Who is on a weak picture, among the photos; its rates are those of verification."""
    photo_to_weak: CrossModalFigures
    auc: float | None
    """The chance that two pictures of one person are more alike than two of two; None where there are no two people."""
    num_weak: int
    num_photos: int


def task_figures(weak: FeatureSet, photos: FeatureSet) -> TaskFigures:
    """Every weak picture with every photo, whichever is asked about; everybody on weak pictures is on photos.

    Source: Huo et al., WebCaricature (BMVC 2018): C2P, P2C and verification, VAL at FAR and AUC.
    """
    score_PG = weak.feature @ photos.feature.T
    is_same_PG = weak.subject[:, None] == photos.subject[None]
    has_weak_G = np.isin(photos.subject, weak.subject)
    return TaskFigures(
        figures_of(score_PG, weak.subject, photos.subject),
        figures_of(score_PG.T[has_weak_G], photos.subject[has_weak_G], weak.subject),
        area_under(score_PG[is_same_PG], score_PG[~is_same_PG]),
        len(weak),
        len(photos),
    )


def area_under(genuine: npt.NDArray[np.float32], impostor: npt.NDArray[np.float32]) -> float | None:
    """The area under the ROC curve: how often a genuine score is above one of an impostor, ties counted half; None without both.

    >>> area_under(np.array([0.9, 0.4], dtype=np.float32), np.array([0.5, 0.4], dtype=np.float32))
    0.625
    """
    if not len(genuine) or not len(impostor):
        return None
    ordered = np.sort(impostor)
    below, up_to = (np.searchsorted(ordered, genuine, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(impostor))


@dataclass(frozen=True, slots=True)
class ClosedSetFigures:
    """Of pictures of people who are known, which were kept apart: the share of which the most probable person is right; None
    where there are none, or the task was not trained.

    Source: Ming et al. (IJDAR 2021), Table 2.
    """

    photo: float | None
    weak: float | None
    weak_by_photo: float | None
    """V2C: weak pictures, by what has learned who is on photos."""
    photo_by_weak: float | None
    """C2V: the other way."""
    num_photos: int
    num_weak: int
    """Of the last two shares, of which people of one modality alone are left out, fewer."""


def accuracy(probability_NC: FloatArray, subject_N: StrArray, labels: Sequence[str]) -> float | None:
    """The share of pictures of people among `labels` of which the most probable is right; None where there are none."""
    known_C = np.array(labels)
    is_known_N = np.isin(subject_N, known_C)
    if not is_known_N.any():
        return None
    return float(np.mean(known_C[probability_NC[is_known_N].argmax(axis=1)] == subject_N[is_known_N]))
