"""`/translate` on the wire."""

from typing import Annotated

from pydantic import BaseModel, Field, Tag

from service.api.problems import UNION_TAGS
from service.api.schemas.probes import STRICT, Base64, Numbers, SpaceReference, numbers_or_base64
from service.api.schemas.spaces import RouteView
from service.api.schemas.trust import TrustBody

_Rows = Annotated[list[Numbers], Field(min_length=1, fail_fast=True)]
Features = Annotated[Annotated[_Rows, Tag(UNION_TAGS[0])] | Annotated[Base64, Tag(UNION_TAGS[1])], numbers_or_base64()]


class TranslateRequest(BaseModel):
    """Features of one space to be translated into another: rows of numbers, or base64 of all rows one after another."""

    model_config = STRICT

    source: SpaceReference
    target: SpaceReference
    features: Features
    trust: TrustBody | None = None


class TranslateResponse(BaseModel):
    """Unit features of the target space, in the order sent, the route they took, and how far they can be trusted."""

    features: list[list[float]]
    route: RouteView
    confidence: list[float] | None
    """Of each, in [0, 1]; null where nothing was translated or the translator does not tell."""
    flagged: list[int]
    """Rows whose confidence is below what was asked for."""
