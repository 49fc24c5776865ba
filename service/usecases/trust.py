"""What becomes of translations that can be trusted little: nothing, a flag, or a refusal. Shapes: n features."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.features import FloatArray
from service.errors import LowConfidenceError

Policy = Literal["pass", "flag", "refuse"]
_ORDER: tuple[Policy, ...] = ("pass", "flag", "refuse")
_NAMED = 10
"""Rows that a refusal names at most."""


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """`on_low` is for translations whose confidence is below `min_confidence`."""

    on_low: Policy = "flag"
    min_confidence: float = 0.05

    def and_also(self, asked: "TrustPolicy | None") -> "TrustPolicy":
        """The stricter of this, a setting, and what a request asks for: a request cannot lower what an operator set."""
        if asked is None:
            return self
        on_low = max(self.on_low, asked.on_low, key=_ORDER.index)
        return TrustPolicy(on_low, max(self.min_confidence, asked.min_confidence))


@dataclass(frozen=True, slots=True)
class Trusted:
    """The confidence of each feature, (n,), None where nothing tells; and the rows below what was asked for."""

    confidence: FloatArray | None = None
    flagged: tuple[int, ...] = ()


def judge(confidence: FloatArray | None, policy: TrustPolicy) -> Trusted:
    """Raises `LowConfidenceError` naming the first rows, where the policy refuses."""
    if confidence is None or policy.on_low == "pass":
        return Trusted(confidence)
    low = np.flatnonzero(confidence < policy.min_confidence).tolist()
    if low and policy.on_low == "refuse":
        more = ", ..." if len(low) > _NAMED else ""
        raise LowConfidenceError(
            f"{len(low)} of {len(confidence)} translations cannot be trusted to {policy.min_confidence:g}: "
            f"rows {', '.join(map(str, low[:_NAMED]))}{more}"
        )
    return Trusted(confidence, tuple(low))
