"""`POST /attributes`."""

from typing import Annotated

from fastapi import APIRouter, Depends

from service.api.bodies import JsonBody
from service.api.deps import ServicesDep
from service.api.openapi import accepts
from service.api.problems import documented
from service.api.schemas.attributes import AttributesRequest, ToldView

router = APIRouter(tags=["attributes"])


@router.post(
    "/attributes", responses=documented(400, 404, 413, 415, 422, 429, 503), openapi_extra=accepts(AttributesRequest)
)
async def tell(
    body: Annotated[AttributesRequest, Depends(JsonBody(AttributesRequest))], services: ServicesDep
) -> ToldView:
    """Tell what a picture of a face shows beside who is on it: which class, such as an expression, and which attributes."""
    return ToldView.of(await services.attributes(body.picture, body.modality, body.bundle))
