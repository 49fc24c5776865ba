"""How sure a figure is: bootstrap over subjects, as pictures of one person are not independent.

Shapes: P probes, S subjects; m genuine and n impostor scores.

Source: Efron and Tibshirani, An introduction to the bootstrap (1993), Sec. 13.3, the percentile interval; Bolle et al.,
Error analysis of pattern recognition systems: the subsets bootstrap (CVIU 2004), for subjects in place of pictures.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
Labels = npt.NDArray[Any]
"""Names or numbers."""
Scores = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Interval:
    """Where a figure lies with the stated confidence."""

    low: float
    high: float
    confidence: float


def bootstrap(
    num_subjects: int,
    statistic: Callable[[IntArray], float | None],
    *,
    num_rounds: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The percentile interval of `statistic` over drawings, with replacement, of as many subjects as there are.

    `statistic` takes how often each subject was drawn, (S,); it gives None where that drawing says nothing, which does not
    count. Raises `ValueError` where none says anything, or there are no subjects.
    """
    if num_subjects == 0:
        raise ValueError("there are no subjects to draw")
    random = np.random.default_rng(seed)
    share_S = np.full(num_subjects, 1 / num_subjects)
    drawn = (statistic(random.multinomial(num_subjects, share_S)) for _ in range(num_rounds))
    figures = [figure for figure in drawn if figure is not None]
    if not figures:
        raise ValueError("no drawing of subjects gives a figure")
    tail = (1 - confidence) / 2
    low, high = np.quantile(figures, [tail, 1 - tail])
    return Interval(float(low), float(high), confidence)


def mean_interval(subject: Labels, value: npt.NDArray[Any], **options: Any) -> Interval:
    """The interval of the mean of `value` (P,), one of each probe; where they are hits (True, False), that of a rate.

    `subject` (P,) says whose each probe is; `options` are those of `bootstrap`.

    >>> mean_interval(np.array(["a", "a", "b"]), np.array([True, True, True]))
    Interval(low=1.0, high=1.0, confidence=0.95)
    """
    names, code_P = np.unique(subject, return_inverse=True)
    sum_S, num_S = np.bincount(code_P, weights=value), np.bincount(code_P)
    return bootstrap(len(names), lambda times_S: float(times_S @ sum_S / (times_S @ num_S)), **options)


def tar_interval(
    genuine: Scores, genuine_subject: Labels, impostor: Scores, impostor_subject: Labels, far: float, **options: Any
) -> Interval:
    """The interval of `verification.tar_at_far`; subjects, (m,) and (n,), are the probes'.

    The gallery stays as it is. The threshold is found anew in every drawing. Raises `ValueError` where no drawing has
    impostors enough (n < 1 / far) and a genuine score.
    """
    names, code = np.unique(np.concatenate([genuine_subject, impostor_subject]), return_inverse=True)
    genuine_code, impostor_code = np.split(code, [len(genuine)])
    num_S = np.bincount(impostor_code, minlength=len(names))
    order = np.argsort(impostor)[::-1]
    sorted_impostor, sorted_code = impostor[order], impostor_code[order]

    def tar(times_S: IntArray) -> float | None:
        allowed = int(far * (times_S @ num_S) + 1e-9)
        times_m = times_S[genuine_code]
        if allowed < 1 or not times_m.any():
            return None
        # On average one of each was drawn: far down the list of impostors there is rarely a need to look.
        threshold = _threshold(
            sorted_impostor[: 8 * allowed + 1000], times_S[sorted_code[: 8 * allowed + 1000]], allowed
        )
        if threshold is None:
            threshold = _threshold(sorted_impostor, times_S[sorted_code], allowed)
        is_accepted = np.ones(len(genuine), dtype=bool) if threshold is None else genuine >= threshold
        return float(np.average(is_accepted, weights=times_m))

    return bootstrap(len(names), tar, **options)


def _threshold(descending: Scores, times: IntArray, allowed: int) -> Scores | None:
    """The score of the last that is let through, or a step above the first that is not; None where all are."""
    drawn = np.flatnonzero(times)
    passed = np.cumsum(times[drawn])
    first_too_many = int(np.searchsorted(passed, allowed, side="right"))
    if first_too_many == len(drawn):
        return None
    below = descending[drawn[first_too_many]]
    above = descending[drawn[first_too_many - 1]] if first_too_many else below
    threshold: Scores = above if above > below else np.nextafter(below, below.dtype.type(np.inf))
    return threshold
