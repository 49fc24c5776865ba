"""A common space: instead of bringing one encoder's features into the other's space, both are projected.

Shapes: N pictures, D dimension of one encoder's space, E the sum of all D, K dimension of the common space.

Whitened, each encoder's features have no direction that is louder than the others; what the encoders then have in
common is what all of them see in a face, and what only one of them sees is left out.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.features import FloatArray
from models.linear import LinearMap
from training.errors import TrainingError
from training.trainers.fitted import CommonData, FittedSides

DoubleArray = npt.NDArray[np.float64]

STRENGTH = 0.1
"""Of the regularisation, in multiples of the mean variance of a side; from 0.001 to 0.3 it made no difference beyond
chance on real encoders' validation subjects."""
_HIGHEST_CORRELATION = 0.9999
_SMALLEST_VARIANCE = 1e-12


def fit_cca(data: CommonData) -> FittedSides[LinearMap]:
    """The common space of linear projections, paired by subject where these are known."""
    models = fit_common_space(data.sides, data.subject_N, strength=STRENGTH)
    paired_by = "image" if data.validation_subject_V is None else "subject"
    return FittedSides(models, {"strength": STRENGTH, "paired_by": paired_by})


def fit_common_space(
    sides: Sequence[FloatArray],
    subject_N: npt.NDArray[np.str_] | npt.NDArray[np.int64] | None = None,
    *,
    strength: float = STRENGTH,
    dimension: int | None = None,
) -> list[LinearMap]:
    """One projection an encoder, from unit features (N, D) of the same N pictures to the common space (N, K).

    Regularised canonical correlation analysis: each side is whitened, with `strength` times its mean variance added to
    every direction; the directions in which the sides agree best span the common space, each weighted by how well they
    do. With `subject_N`, sides need not agree on a picture but on the person: a face of one side is paired with
    every picture of its subject on the other, which takes out what only the picture had in it. K is `dimension`, or
    all directions of positive correlation, at most the smallest D.

    Raises `TrainingError` for one subject alone, or a side whose features are all the same.

    Source: Hotelling, Relations between two sets of variates (Biometrika 1936); Vinod, Canonical ridge (J. of
    Econometrics 1976) for the regularisation; Kettenring, Canonical analysis of several sets of variables (Biometrika
    1971), MAXVAR, for more than two sides. Deviation: pairs by subject; weights.
    """
    if subject_N is not None and len(np.unique(subject_N)) < 2:
        raise TrainingError("one person alone says nothing of how people differ; bring pictures of more subjects")
    means = [side.mean(axis=0, dtype=np.float64) for side in sides]
    centred = [side.astype(np.float64) - mean for side, mean in zip(sides, means, strict=True)]
    whitening = [_whitening(side, strength) for side in centred]
    white = [side @ matrix for side, matrix in zip(centred, whitening, strict=True)]
    correlation, direction_EK = _agreement(white, subject_N)
    most = min(*(side.shape[1] for side in sides), dimension or direction_EK.shape[1])
    kept = [k for k in range(most) if correlation[k] > 0]
    weighted_EK = direction_EK[:, kept] * np.minimum(correlation[kept], _HIGHEST_CORRELATION)
    ends = np.cumsum([side.shape[1] for side in sides])[:-1]
    projections = [matrix @ part for matrix, part in zip(whitening, np.split(weighted_EK, ends, axis=0), strict=True)]
    return [
        LinearMap(projection.astype(np.float32), (-mean @ projection).astype(np.float32))
        for projection, mean in zip(projections, means, strict=True)
    ]


def _whitening(centred_ND: DoubleArray, strength: float) -> DoubleArray:
    """(C + p I)^-1/2, p the strength times the mean variance."""
    values, vectors = np.linalg.eigh(centred_ND.T @ centred_ND / len(centred_ND))
    if values.mean() < _SMALLEST_VARIANCE:
        raise TrainingError(
            "all features of a set are the same; its encoder saw nothing, or the same picture, in all of them"
        )
    matrix: DoubleArray = (vectors / np.sqrt(np.maximum(values, 0) + strength * values.mean())) @ vectors.T
    return matrix


def _agreement(
    white: Sequence[DoubleArray], subject_N: npt.NDArray[np.str_] | npt.NDArray[np.int64] | None
) -> tuple[DoubleArray, DoubleArray]:
    """Directions (E, K) in which the sides agree, the best first, and their mean correlations (K,)."""
    averaged = white if subject_N is None else [_of_subjects(side, subject_N) for side in white]
    num_pictures, num_sides = len(white[0]), len(white)
    starts = np.concatenate([[0], np.cumsum([side.shape[1] for side in white])])
    between_EE = np.zeros((starts[-1], starts[-1]))
    for i in range(num_sides):
        for j in range(num_sides):
            if i != j:
                block = averaged[i].T @ averaged[j] / num_pictures
                between_EE[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = block
    values, vectors = np.linalg.eigh(between_EE)
    return values[::-1] / (num_sides - 1), vectors[:, ::-1]


def _of_subjects(white_ND: DoubleArray, subject_N: npt.NDArray[np.str_] | npt.NDArray[np.int64]) -> DoubleArray:
    """Sums over each subject's pictures divided by the root of their number, one row a subject.

    The product of two such is the sum over pictures of one side, each with the mean of its subject on the other.
    """
    _, row_N, count = np.unique(subject_N, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), white_ND.shape[1]))
    np.add.at(total, row_N, white_ND)
    averaged: DoubleArray = total / np.sqrt(count)[:, None]
    return averaged
