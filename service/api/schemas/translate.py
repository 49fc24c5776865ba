"""`/translate` on the wire."""

from typing import Annotated

from pydantic import BaseModel, Field

from service.api.schemas.probes import STRICT, Base64, Numbers, SpaceReference
from service.api.schemas.spaces import RouteView


class TranslateRequest(BaseModel):
    """Features of one space to be translated into another: rows of numbers, or base64 of all rows one after another."""

    model_config = STRICT

    source: SpaceReference
    target: SpaceReference
    features: Annotated[list[Numbers], Field(min_length=1)] | Base64


class TranslateResponse(BaseModel):
    """Unit features of the target space, in the order sent, and the route they took."""

    features: list[list[float]]
    route: RouteView
