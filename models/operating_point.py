"""Operating points: thresholds at stated false-match rates, measured on pairs the translator was not fitted to.

A rate is stated only where the impostor scores can show it: at least 30 expected false matches (the rule of 30; Doddington
et al., 2000).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field

Rate = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

STATED_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
RULE_OF = 30


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Scores of `threshold` or higher are a match; impostors reach it at `fmr`, genuine pairs miss it at `fnmr`."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    fmr: Rate
    threshold: Annotated[float, Field(ge=-1.01, le=1.01, allow_inf_nan=False)]
    fnmr: Rate
    num_genuine: Annotated[int, Field(ge=1)]
    num_impostors: Annotated[int, Field(ge=1)]
    """People who have two pictures, and pairs of people; of a calibration that counted pictures, pairs of those."""


def point_at(points: Sequence[OperatingPoint], fmr: float) -> OperatingPoint | None:
    """The operating point that states exactly `fmr`, if there is one. Nothing is interpolated."""
    return next((point for point in points if abs(point.fmr - fmr) <= 1e-9 * fmr), None)


def people_needed(fmr: float) -> int:
    """Of how many people a false-match rate can be stated, where every two of them are compared: by the rule of 30.

    >>> people_needed(1e-2), people_needed(1e-3), people_needed(1e-6)
    (78, 246, 7747)
    """
    # n (n - 1) / 2 >= 30 / fmr
    return math.ceil((1 + math.sqrt(1 + 8 * RULE_OF / fmr)) / 2)


def fmr_for_fpir(fpir: float, num_templates: int) -> float:
    """The false-match rate of one comparison at which a search of that many templates finds somebody who is not there at `fpir`.

    As if the comparisons of a search were independent; those of one face are not, and several templates of one subject
    are not either, so that fewer searches find somebody.
    Source: Grother et al., FRVT part 2: identification (NIST IR 8271), on the binomial model.

    >>> f"{fmr_for_fpir(0.01, 1000):.4g}"
    '1.005e-05'
    """
    return -math.expm1(math.log1p(-fpir) / max(1, num_templates))


def fpir_for_fmr(fmr: float, num_templates: int) -> float:
    """The other way round: how many searches among that many templates find somebody who is not there.

    >>> f"{fpir_for_fmr(0.001, 1000):.3f}"
    '0.632'
    """
    return -math.expm1(num_templates * math.log1p(-fmr)) if fmr < 1 else float(num_templates > 0)


def threshold_at(impostor: npt.NDArray[np.floating[Any]], rate: float) -> float | None:
    """A threshold that exactly int(rate n) of `impostor` (n,) reach, fewer where scores tie; None where n < 1 / rate.

    It is the score of the last impostor let through, the highest such threshold.

    >>> threshold_at(np.array([0.8, 0.3, 0.2, 0.1]), 0.25)
    0.8
    """
    allowed = int(rate * impostor.size + 1e-9)
    if allowed < 1:
        return None
    if allowed >= impostor.size:
        return float(impostor.min())
    partitioned = np.partition(impostor, (impostor.size - allowed - 1, impostor.size - allowed))
    above, below = partitioned[impostor.size - allowed], partitioned[impostor.size - allowed - 1]
    # Where the two are tied the threshold must lie above the tie, or more than `rate` would pass; by a step of the
    # scores' own type, or a comparison in float32 would round it back down.
    return float(above) if above > below else float(np.nextafter(below, below.dtype.type(np.inf)))


def operating_points(
    genuine: npt.NDArray[np.floating[Any]],
    impostor: npt.NDArray[np.floating[Any]],
    rates: Sequence[float] = STATED_RATES,
) -> tuple[OperatingPoint, ...]:
    """Thresholds for each rate that `impostor` (n,) can support; `genuine` (m,) gives the FNMR there.

    >>> points = operating_points(np.array([0.9, 0.1]), np.arange(10_000) / 10_000, rates=(1e-2, 1e-3))
    >>> [(point.fmr, round(point.threshold, 4), point.fnmr) for point in points]
    [(0.01, 0.99, 1.0)]
    """
    points = []
    for rate in rates:
        threshold = threshold_at(impostor, rate)
        if genuine.size == 0 or threshold is None or rate * impostor.size < RULE_OF:
            break
        fnmr = float(np.mean(genuine.astype(np.float64) < threshold))
        points.append(OperatingPoint(rate, threshold, fnmr, int(genuine.size), int(impostor.size)))
    return tuple(points)
