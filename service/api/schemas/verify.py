"""`/verify` on the wire."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from service.api.schemas.probes import STRICT, ProbeBody
from service.api.schemas.spaces import RouteView


class VerifyRequest(BaseModel):
    """Two probes, of one space or of two that a route joins, and the false-match rate to decide at."""

    model_config = STRICT

    a: ProbeBody
    b: ProbeBody
    fmr: Annotated[float | None, Field(gt=0, lt=1, description="decide at this false-match rate, e.g. 1e-3")] = None


class VerifyResponse(BaseModel):
    """The cosine in the space of comparison; threshold and decision only where a rate was asked for."""

    score: float
    decision: Literal["match", "non-match"] | None
    threshold: float | None
    fmr: float | None
    fnmr: float | None
    """The measured share of genuine pairs below the threshold."""
    route: RouteView
