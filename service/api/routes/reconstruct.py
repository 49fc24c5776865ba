"""`POST /reconstruct`."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from service.api.bodies import JsonBody
from service.api.deps import ServicesDep
from service.api.openapi import accepts
from service.api.problems import documented
from service.api.schemas.probes import ProbeBody

PNG = "image/png"
_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the picture", "content": {PNG: {"schema": {"type": "string", "format": "binary"}}}}
}

router = APIRouter(tags=["reconstruct"])


@router.post(
    "/reconstruct",
    response_class=Response,
    responses=_PICTURE | documented(400, 409, 413, 415, 422, 429, 503),
    openapi_extra=accepts(ProbeBody),
)
async def reconstruct(body: Annotated[ProbeBody, Depends(JsonBody(ProbeBody))], services: ServicesDep) -> Response:
    """Paint the face that a feature is of, as PNG: a guess, never evidence.

    Answered only where the operator serves a generator for the feature's space (`--allow-reconstruction`).
    """
    return Response(await services.reconstruct(body.probe(body.space, "")), media_type=PNG)
