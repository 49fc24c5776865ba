"""Isotonic regression: the nearest series that never falls.

Shapes: K values.
"""

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


def pool_adjacent_violators(value_K: Values, weight_K: Values) -> list[slice]:
    """The runs of values that share one mean in the non-decreasing series nearest to them in weighted squares.

    Values without weight join the run before them. Source: Ayer et al., An empirical distribution function for sampling
    with incomplete information (1955), as Barlow et al., Statistical inference under order restrictions (1972).

    >>> pool_adjacent_violators(np.array([0.1, 0.5, 0.3, 0.9]), np.ones(4))
    [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None)]
    """
    runs: list[tuple[int, float, float]] = []
    """Where it starts, its weight, and its weighted sum."""
    for place, (value, weight) in enumerate(zip(value_K.tolist(), weight_K.tolist(), strict=True)):
        start, total, summed = place, weight, weight * value
        while runs and (total <= 0 or runs[-1][1] <= 0 or runs[-1][2] / runs[-1][1] >= summed / total):
            start, before, summed_before = runs.pop()
            total, summed = total + before, summed + summed_before
        runs.append((start, total, summed))
    starts = [start for start, _, _ in runs]
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(value_K)], strict=True)]
