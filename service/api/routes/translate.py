"""`POST /translate`."""

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Query, Request, Response

from models.npy import write_npy
from service.api.bodies import JSON, NPY, JsonBody, read_array, require_media_type
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.probes import vector
from service.api.schemas.spaces import RouteView
from service.api.schemas.translate import TranslateRequest, TranslateResponse
from service.errors import BatchTooLargeError, DimensionMismatchError
from service.usecases.translate import Translated

router = APIRouter(tags=["translate"])

_read_json = JsonBody(TranslateRequest)


@router.post(
    "/translate",
    response_model=TranslateResponse,
    responses=documented(400, 409, 413, 415, 422, 429, 503),
    openapi_extra=accepts(TranslateRequest, NPY),
)
async def translate(
    request: Request,
    services: ServicesDep,
    source: Annotated[str | None, Query(description="with npy: the space to translate from")] = None,
    target: Annotated[str | None, Query(description="with npy: the space to translate to")] = None,
) -> Response:
    """Translate features from one space into another.

    As JSON, or as one `.npy` array of rows with `source` and `target` in the query; the answer comes as it was sent, the
    route of an npy answer in the header `x-facebridge-route`.
    """
    if require_media_type(request, JSON, NPY) == NPY:
        if source is None or target is None:
            raise Problem(422, "invalid-request", "with an npy body give source and target in the query")
        translated = await _run(services, await read_array(request), source, target)
        route = ",".join(translated.route.bundles)
        return Response(write_npy(translated.features), media_type=NPY, headers={"x-facebridge-route": route})
    body = await _read_json(request)
    translated = await _run(services, _rows(body, services), body.source, body.target)
    answer = {"features": translated.features, "route": RouteView.of(translated.route).model_dump()}
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


async def _run(services: Services, rows: npt.NDArray[Any], source: str, target: str) -> Translated:
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) == 0:
        raise DimensionMismatchError("features must be rows of floating-point numbers, at least one")
    if len(rows) > services.settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {services.settings.max_batch_rows} vectors a request")
    translated = await services.translate(rows, source=source, target=target)
    route = translated.route
    services.metrics.translated_vectors.labels(route.source.name, route.target.name).inc(len(rows))
    return translated


def _rows(body: TranslateRequest, services: Services) -> npt.NDArray[Any]:
    dimension = services.translate.find_route(body.source, body.target).source.dimension
    if isinstance(body.features, str):
        flat = vector(body.features, "/features")
        if flat.size % dimension:
            raise DimensionMismatchError(f"base64 features must hold whole rows of {dimension} numbers")
        return flat.reshape(-1, dimension)
    for row, numbers in enumerate(body.features):
        if len(numbers) != dimension:
            raise DimensionMismatchError(f"vector {row} has {len(numbers)} numbers; its space has {dimension}")
    return np.array(body.features, dtype=np.float64)
