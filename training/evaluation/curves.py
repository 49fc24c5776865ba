"""Errors over all thresholds: what ROC and DET curves draw, and where both errors are equal.

Shapes: m genuine and n impostor scores; K thresholds. Scores at or above a threshold are a match.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating[Any]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Both error rates at each threshold, from infinity, which no score reaches, down to the lowest score.

    A ROC curve draws 1 - `fnmr_K` over `fmr_K`, a DET curve `fnmr_K` over `fmr_K`, on logarithmic axes.
    """

    threshold_K: FloatArray
    fmr_K: FloatArray
    """The share of impostor scores that reach the threshold; it never falls."""
    fnmr_K: FloatArray
    """The share of genuine scores that do not; it never rises."""


def error_curve(genuine: Scores, impostor: Scores) -> ErrorCurve:
    """The curve with every distinct score as a threshold. Raises `ValueError` where one side has no scores.

    Source: ISO/IEC 19795-1, FMR and FNMR of a comparison without failures to acquire.

    >>> curve = error_curve(np.array([0.9, 0.4]), np.array([0.5, 0.1]))
    >>> curve.threshold_K.tolist(), curve.fmr_K.tolist(), curve.fnmr_K.tolist()
    ([inf, 0.9, 0.5, 0.4, 0.1], [0.0, 0.0, 0.5, 0.5, 1.0], [1.0, 0.5, 0.5, 0.0, 0.0])
    """
    if genuine.size == 0 or impostor.size == 0:
        raise ValueError("a curve needs genuine and impostor scores")
    threshold_K = np.unique(np.concatenate([genuine, impostor]))[::-1]
    rates = [_share_reaching(scores, threshold_K) for scores in (impostor, genuine)]
    fmr_K, tar_K = (np.concatenate([[0.0], rate]) for rate in rates)
    return ErrorCurve(np.concatenate([[np.inf], threshold_K.astype(np.float64)]), fmr_K, 1.0 - tar_K)


def equal_error_rate(curve: ErrorCurve) -> float:
    """The rate at which FMR and FNMR are equal, on straight lines between the thresholds.

    >>> equal_error_rate(error_curve(np.array([0.9, 0.4]), np.array([0.5, 0.1])))
    0.5
    """
    # The first place where so many impostors pass that no more genuine pairs are missed; there is one: at the end.
    last = int(np.argmax(curve.fmr_K >= curve.fnmr_K))
    before, after = (curve.fmr_K[place] - curve.fnmr_K[place] for place in (last - 1, last))
    share = before / (before - after)
    return float(curve.fmr_K[last - 1] + share * (curve.fmr_K[last] - curve.fmr_K[last - 1]))


def _share_reaching(scores: Scores, threshold_K: Scores) -> FloatArray:
    below_K = np.searchsorted(np.sort(scores), threshold_K, side="left")
    return (scores.size - below_K) / scores.size
