"""Measuring what features of a space look like, for `models/reference.py`.

Shapes: N features, D dimension.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.features import FloatArray
from models.reference import FEWEST_FACES, STREAM, SpaceReference, energies, stream_statistics

MIN_DIMENSION = 8
NUM_STREAMS = 1000
FLOOR = 1e-4
"""Least variance of a direction, as a share of the widest one's: below it there is rounding."""
RARE = 1e-3
"""The share of features beyond a limit before it is widened by SLACK."""
SLACK = 1.1
LEAST_LIMIT = 6.0
"""Standard deviations: eight statistics, looked at whenever something arrives, are that far off by themselves hardly ever."""


def fit_reference(feature_ND: FloatArray, code_N: npt.NDArray[np.int64], seed: int) -> SpaceReference | None:
    """The reference of a space from faces of many people (`code_N` says whose); None for too few, or too small a space.

    What is usual is measured on one half of the people by directions found on the other, and the other way round: on their own
    people directions without variance look emptier than they are.
    """
    people = np.random.default_rng(seed).permutation(int(code_N.max()) + 1)
    half_N = np.isin(code_N, people[: len(people) // 2])
    num_least = min(len(np.unique(code_N[rows])) for rows in (half_N, ~half_N))
    if num_least < 2 * FEWEST_FACES or feature_ND.shape[1] < MIN_DIMENSION:
        return None
    statistics, energy = [], []
    halves = []
    for place, (fitted, held) in enumerate(((half_N, ~half_N), (~half_N, half_N))):
        mean_D, basis_DD = _directions(feature_ND[fitted])
        whitened_ND = (feature_ND[held] - mean_D) @ basis_DD
        energy.append(energies(whitened_ND))
        halves.append((whitened_ND, code_N[held]))
        statistics += [
            stream_statistics(whitened_ND[rows])
            for rows in _streams(code_N[held], min(STREAM, num_least), NUM_STREAMS // 2, seed + place)
        ]
    mean_D, basis_DD = _directions(feature_ND)
    limit_K = SLACK * np.quantile(np.concatenate(energy), 1 - RARE, axis=0)
    mean_2K, sd_2K = np.mean(statistics, axis=0), np.std(statistics, axis=0)
    reference = SpaceReference(
        mean_D,
        basis_DD,
        limit_K.astype(np.float32),
        mean_2K.astype(np.float32),
        sd_2K.astype(np.float32),
        LEAST_LIMIT,
    )
    farthest = max(
        reference.stream_score(whitened_ND[rows])
        for whitened_ND, code in halves
        for size in (FEWEST_FACES, 2 * FEWEST_FACES, STREAM)
        for rows in _streams(code, min(size, num_least), NUM_STREAMS // 2, seed + size)
    )
    return replace(reference, stream_limit=max(LEAST_LIMIT, SLACK * farthest))


def _directions(feature_ND: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean, and the directions as columns, the widest first, over their standard deviations."""
    wide_ND = feature_ND.astype(np.float64)
    mean_D = wide_ND.mean(axis=0)
    variance_D, direction_DD = np.linalg.eigh((wide_ND - mean_D).T @ (wide_ND - mean_D) / len(wide_ND))
    variance_D, direction_DD = variance_D[::-1], direction_DD[:, ::-1]
    scaled_DD = direction_DD / np.sqrt(np.maximum(variance_D, FLOOR * variance_D[0]))
    return mean_D.astype(np.float32), scaled_DD.astype(np.float32)


def _streams(code_N: npt.NDArray[np.int64], size: int, num: int, seed: int) -> list[npt.NDArray[np.int64]]:
    """Rows of streams: as many people, drawn without replacement, a random picture of each."""
    random = np.random.default_rng(seed)
    streams = []
    for _ in range(num):
        order = random.permutation(len(code_N))
        _, first = np.unique(code_N[order], return_index=True)
        streams.append(order[random.permutation(first)[:size]])
    return streams
