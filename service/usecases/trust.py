"""What becomes of translations that can be trusted little: nothing, a flag, or a refusal. Shapes: n features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.features import FloatArray
from service.errors import LowConfidenceError

Policy = Literal["pass", "flag", "refuse"]
_NAMED = 10
"""Rows that a refusal names at most."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """`on_low` is for translations whose confidence is below `min_confidence`."""

    on_low: Policy = "flag"
    min_confidence: float | None = 0.05
    """None in a request that leaves it to the setting."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """The confidence of each feature, (n,), None where nothing tells, NaN of those of which it does not; and the rows below what
    was asked for.
    """

    confidence: FloatArray | None = None
    flagged: tuple[int, ...] = ()
    num_low: int = 0
    """Those below the setting, whatever becomes of them."""

    @property
    def num_judged(self) -> int:
        """How many have a confidence."""
        return 0 if self.confidence is None else int(np.count_nonzero(~np.isnan(self.confidence)))

    def of(self, row: int) -> float | None:
        """The confidence of one feature."""
        return None if self.confidence is None or np.isnan(self.confidence[row]) else float(self.confidence[row])


def judge(confidence: FloatArray | None, setting: TrustPolicy, asked: TrustPolicy | None = None) -> Trusted:
    """By a setting and what a request asks for: a request cannot lower what an operator set.

    Raises `LowConfidenceError` naming the first rows, where one of them refuses.
    """
    if confidence is None:
        return Trusted()
    policies = [(setting.on_low, setting.min_confidence or 0.0)]
    if asked is not None:
        least = setting.min_confidence if asked.min_confidence is None else asked.min_confidence
        policies.append((asked.on_low, least or 0.0))
    refused_below, flagged_below = (
        max((least for on_low, least in policies if on_low in kinds), default=0.0)
        for kinds in (("refuse",), ("refuse", "flag"))
    )
    refused = np.flatnonzero(confidence < refused_below).tolist()
    if refused:
        more = ", ..." if len(refused) > _NAMED else ""
        raise LowConfidenceError(
            f"{len(refused)} of {len(confidence)} translations cannot be trusted to {refused_below:g}: "
            f"rows {', '.join(map(str, refused[:_NAMED]))}{more}"
        )
    flagged = tuple(np.flatnonzero(confidence < flagged_below).tolist())
    return Trusted(confidence, flagged, int(np.count_nonzero(confidence < (setting.min_confidence or 0.0))))
