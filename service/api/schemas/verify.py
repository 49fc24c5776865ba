"""`/verify` on the wire."""

from typing import Annotated, Literal

from pydantic import Field

from service.api.schemas.identify import DrawBody, DrawnView
from service.api.schemas.probes import STRICT, ComparedProbe
from service.api.schemas.spaces import RouteView
from service.api.schemas.trust import TrustBody, TrustedOne


class VerifyRequest(DrawBody):
    """Two probes, of one space or of two that a route joins, and the false-match rate to decide at."""

    model_config = STRICT

    a: ComparedProbe
    b: ComparedProbe
    fmr: Annotated[float | None, Field(gt=0, lt=1, description="decide at this false-match rate, e.g. 1e-3")] = None
    trust: TrustBody | None = None


class VerifyResponse(TrustedOne):
    """The cosine in the space of comparison and what it means there; threshold and decision only where a rate was asked for."""

    score: float
    decision: Literal["match", "non-match"] | None
    threshold: float | None
    fmr: float | None
    """Of the threshold: as asked for, or as much lower as a measured one may be."""
    fnmr: float | None
    """The measured share of genuine pairs below the threshold."""
    score_fmr: float | None
    """At most this share of impostors scores as high; null where that was not measured."""
    log10_likelihood_ratio: float | None
    """Log to the base 10 of how many times as likely the score is where both are of one person as where they are of two."""
    route: RouteView
    sampling: DrawnView | None
    """Null where both are one feature."""
