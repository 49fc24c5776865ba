"""Matching by density: a probe is several features that it could have had in a strong modality, and not one.

The more of them lie about a template, and the closer, the higher its score. It is the logarithm of a Parzen window's density on
the scale of cosines: with one feature it is their cosine, of several it lies between their mean and their largest.

Source: Weak-Strong GAN (AAAI 2019), Eq. 2 and 3. Shapes: M features of one probe, G templates, D dimension; all of length one.
"""

from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

SMALLEST_SIGMA, LARGEST_SIGMA = 1e-3, 1e3
"""Of kernels: below, one feature decides alone; above, only their mean does."""


def density_scores(score_MG: npt.NDArray[np.floating[Any]], sigma: float) -> npt.NDArray[np.float64]:
    """Scores (G,) of templates by their cosines with each of a probe's features (M, G), exact and in float64.

    With |f - g|^2 = 2 - 2 cos, Eq. 2 is (1/M) sum_j exp((cos_j - 1) / sigma^2); this gives 1 + sigma^2 times its logarithm, which
    orders templates as the density does. A template's score does not depend on which are scored together. Raises `ValueError` for
    a `sigma` that is none.

    >>> density_scores(np.array([[0.5, 0.25]]), 0.3).tolist()
    [0.5, 0.25]
    >>> density_scores(np.array([[0.5], [0.5], [-1.0]]), 1e-3).round(5).tolist()
    [0.5]
    """
    check_sigma(sigma)
    exact_MG = score_MG.astype(np.float64)
    largest_G = exact_MG.max(axis=0)
    # Of the largest, so that nothing overflows and not all of it underflows.
    kernels_MG = np.exp((exact_MG - largest_G) / sigma**2)
    # One after the other: numpy's own order depends on how many templates are scored together.
    total_G: npt.NDArray[np.float64] = reduce(np.add, kernels_MG)
    scores_G: npt.NDArray[np.float64] = largest_G + sigma**2 * np.log(total_G / len(kernels_MG))
    return scores_G


def check_sigma(sigma: float) -> None:
    """Raises `ValueError` for what is no width of a kernel."""
    if not SMALLEST_SIGMA <= sigma <= LARGEST_SIGMA:
        raise ValueError(f"sigma must be from {SMALLEST_SIGMA:g} to {LARGEST_SIGMA:g}")
