"""How far translations can be trusted, on the wire."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from service.api.schemas.probes import STRICT
from service.usecases.trust import Policy, Trusted, TrustPolicy

_LOW_DESCRIPTION = "what becomes of translations below min_confidence, beside what the setting says"
_LEAST_DESCRIPTION = "least confidence in a translation; the setting's where there is none"


class TrustBody(BaseModel):
    """Asked by a request, beside the service's settings: both hold."""

    model_config = STRICT

    on_low: Annotated[Policy, Field(description=_LOW_DESCRIPTION)] = "flag"
    min_confidence: Annotated[float | None, Field(ge=0, le=1, description=_LEAST_DESCRIPTION)] = None

    @property
    def policy(self) -> TrustPolicy:
        """As the use cases take it."""
        return TrustPolicy(self.on_low, self.min_confidence)


class TrustQuery(BaseModel):
    """The same in the query, for binary bodies."""

    on_low: Annotated[Policy | None, Field(description=f"with npy and npz: {_LOW_DESCRIPTION}")] = None
    min_confidence: Annotated[
        float | None, Field(ge=0, le=1, description=f"with npy and npz: {_LEAST_DESCRIPTION}")
    ] = None

    @property
    def policy(self) -> TrustPolicy | None:
        """As the use cases take it; None where nothing was asked."""
        if self.on_low is None and self.min_confidence is None:
            return None
        return TrustPolicy(self.on_low or "flag", self.min_confidence)


class TrustedOne(BaseModel):
    """How far the translation of one probe can be trusted."""

    confidence: float | None
    """What came of faces that looked alike to the translator: the share that was found, or the mean cosine with native ones, as
    /bundles says of it; null where nothing was translated, nothing tells, or the picture is no photo."""
    flagged: bool
    """Whether it is below what was asked for."""


def trusted_one(trusted: Trusted, row: int = 0) -> dict[str, Any]:
    """A `TrustedOne` as JSON."""
    return {"confidence": trusted.of(row), "flagged": row in trusted.flagged}
