"""Operating points: thresholds at stated false-match rates, measured on pairs the translator was not fitted to.

`calibration.json` of a bundle holds them for each comparison that the bundle makes possible. A rate is stated only
where the impostor scores can show it: at least 30 expected false matches (the rule of 30; Doddington et al., 2000).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, TypeAdapter

from models.documents import parse_document
from models.errors import BundleError

Comparison = Literal["native-source", "native-target", "translated"]
"""Both native in the source space; both native in the target space; one translated, one native in the target space."""

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


@dataclass(frozen=True, slots=True)
class Calibration:
    """The operating points of every comparison, each list from the highest FMR to the lowest."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    points: dict[Comparison, tuple[OperatingPoint, ...]] = field(default_factory=dict)

    def at(self, comparison: Comparison, fmr: float) -> OperatingPoint | None:
        """The operating point that states exactly `fmr`, if there is one. Nothing is interpolated."""
        for point in self.points.get(comparison, ()):
            if abs(point.fmr - fmr) <= 1e-9 * fmr:
                return point
        return None

    def to_json(self) -> dict[str, Any]:
        """The calibration as JSON values."""
        return asdict(self)


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
    if genuine.size == 0:
        return ()
    descending = np.sort(impostor)[::-1]
    points = []
    for rate in rates:
        allowed = int(rate * impostor.size + 1e-9)
        if allowed < RULE_OF:
            break
        threshold = float(np.nextafter(descending[allowed], np.inf, dtype=np.float64))
        if descending[allowed - 1] > descending[allowed]:
            threshold = float(descending[allowed - 1])
        fnmr = float(np.mean(genuine < threshold))
        points.append(OperatingPoint(rate, threshold, fnmr, int(genuine.size), int(impostor.size)))
    return tuple(points)


_CALIBRATION = TypeAdapter(Calibration)


def parse_calibration(text: bytes | str) -> Calibration:
    """Read `calibration.json`. Raises `BundleError`."""
    return parse_document(_CALIBRATION, text, what="calibration.json", error=BundleError)
