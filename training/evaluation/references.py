"""Measuring what features of a space look like, for `models/reference.py`.

Shapes: N features, D dimension.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.features import FloatArray
from models.reference import BLOCKS, FEWEST_FACES, STREAM, SpaceReference, energies, stream_statistics, whitened

_IntArray = npt.NDArray[np.int64]

MIN_DIMENSION = 8
NUM_STREAMS = 1000
FLOOR = 1e-4
"""Least variance of a direction, as a share of the widest one's: below it there is rounding."""
RARE = 1e-3
"""The share of features beyond a limit before it is widened by SLACK."""
SLACK = 1.1
LEAST_LIMIT = 5.0
"""Standard deviations: nine statistics, looked at whenever something arrives, are that far off by themselves hardly ever."""
FOLDS = 5
FEWEST_PEOPLE = FOLDS * FEWEST_FACES
ALIKE = 1e-5
MOST_COMPARED = 2000


def fit_reference(feature_ND: FloatArray, code_N: _IntArray, seed: int) -> SpaceReference | None:
    """The reference of a space from faces of many people (`code_N` says whose); None for too few, or too small a space.

    What is usual is measured on people by directions found without them, a fifth of the people at a time: on their own people
    directions that hardly vary look emptier than they are.
    """
    people = np.random.default_rng(seed).permutation(int(code_N.max()) + 1)
    if len(people) < FEWEST_PEOPLE or feature_ND.shape[1] < MIN_DIMENSION:
        return None
    fold_N = people[code_N] % FOLDS
    whitened_ND = np.empty_like(feature_ND)
    for fold in range(FOLDS):
        whitened_ND[fold_N == fold] = whitened(feature_ND[fold_N == fold], *directions(feature_ND[fold_N != fold]))
    statistics = [stream_statistics(whitened_ND[rows]) for rows in _streams(code_N, fold_N, STREAM, NUM_STREAMS, seed)]
    size = min(STREAM, int(min(len(np.unique(code_N[fold_N == fold])) for fold in range(FOLDS))))
    sd_Z = np.std(statistics, axis=0)
    # Of fewer faces the mean energy varies more.
    sd_Z[:BLOCKS] *= np.sqrt(size / STREAM)
    served = directions(feature_ND)
    # Of few pictures these people stick out by directions that they gave rise to.
    sides = (whitened_ND, whitened(feature_ND, *served))
    limit_K = SLACK * np.max([np.quantile(energies(side), 1 - RARE, axis=0) for side in sides], axis=0)
    reference = SpaceReference(
        *served,
        _same_face(feature_ND, code_N, seed),
        limit_K.astype(np.float32),
        np.mean(statistics, axis=0).astype(np.float32),
        sd_Z.astype(np.float32),
        LEAST_LIMIT,
    )
    farthest = max(
        reference.stream_score(whitened_ND[rows]) or 0.0
        for smaller in (FEWEST_FACES, 2 * FEWEST_FACES, STREAM)
        for rows in _streams(code_N, fold_N, smaller, NUM_STREAMS, seed + smaller)
    )
    return replace(reference, stream_limit=max(LEAST_LIMIT, SLACK * farthest))


def _same_face(feature_ND: FloatArray, code_N: _IntArray, seed: int) -> float:
    """The cosine that a share ALIKE of strangers reaches: one picture each, of as many people as compare in a moment."""
    (rows,) = _streams(code_N, np.zeros_like(code_N), MOST_COMPARED, 1, seed)
    score = (feature_ND[rows] @ feature_ND[rows].T)[np.triu_indices(len(rows), 1)]
    return float(np.quantile(score, 1 - ALIKE))


def directions(feature_ND: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean, and the directions as columns, the widest first, over their standard deviations."""
    mean_D = feature_ND.mean(axis=0, dtype=np.float64)
    centred_ND = (feature_ND - mean_D).astype(np.float32)
    variance_D, direction_DD = np.linalg.eigh((centred_ND.T @ centred_ND).astype(np.float64) / len(centred_ND))
    variance_D, direction_DD = variance_D[::-1], direction_DD[:, ::-1]
    scaled_DD = direction_DD / np.sqrt(np.maximum(variance_D, FLOOR * variance_D[0]))
    return mean_D.astype(np.float32), scaled_DD.astype(np.float32)


def _streams(code_N: _IntArray, fold_N: _IntArray, size: int, num: int, seed: int) -> Iterator[_IntArray]:
    """Rows of streams: as many people of one fold, drawn without replacement, or all of them, a random picture of each.

    Of one fold, as a site has the same few hundred people again and again, who are not quite like all others.
    """
    random = np.random.default_rng(seed)
    order = np.lexsort((code_N, fold_N))
    _, start_P, num_P = np.unique(code_N[order], return_index=True, return_counts=True)
    fold_P = fold_N[order][start_P]
    people_by_fold = [np.flatnonzero(fold_P == fold) for fold in range(int(fold_N.max()) + 1)]
    for number in range(num):
        people = random.permutation(people_by_fold[number % len(people_by_fold)])[:size]
        yield order[start_P[people] + random.integers(num_P[people])]
