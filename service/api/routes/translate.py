"""`POST /translate`."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import ConfigDict, Field

from models.npy import write_npy
from service.api.bodies import JSON, NPY, JsonBody, read_rows, refuse_query, require_media_type
from service.api.counting import count_translated
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.probes import vector
from service.api.schemas.spaces import RouteView
from service.api.schemas.translate import TranslateRequest, TranslateResponse
from service.api.schemas.trust import TrustQuery
from service.errors import BatchTooLargeError, DimensionMismatchError
from service.usecases.probes import RoutedFeatures
from service.usecases.trust import TrustPolicy

router = APIRouter(tags=["translate"])

_read_json = JsonBody(TranslateRequest)

_LISTED = 100


class TranslateQuery(TrustQuery):
    """With npy, in the query; JSON bodies hold all of it themselves."""

    model_config = ConfigDict(extra="forbid")

    source: Annotated[str | None, Field(description="with npy: the space to translate from")] = None
    target: Annotated[str | None, Field(description="with npy: the space to translate to")] = None


@router.post(
    "/translate",
    response_model=TranslateResponse,
    responses=documented(400, 409, 413, 415, 422, 429, 503),
    openapi_extra=accepts(TranslateRequest, NPY),
)
async def translate(request: Request, services: ServicesDep, query: Annotated[TranslateQuery, Query()]) -> Response:
    """Translate features from one space into another.

    As JSON, or as one `.npy` array of rows with `source` and `target` in the query; the answer comes as it was sent. Of an
    npy answer the header `x-facebridge-route` names the translators, and where `on_low` or `min_confidence` is given
    `x-facebridge-flagged` the rows that can be trusted less.
    """
    if require_media_type(request, JSON, NPY) == NPY:
        if query.source is None or query.target is None:
            raise Problem(422, "invalid-request", "with an npy body give source and target in the query")
        rows = await read_rows(request)
        translated = await _run(services, rows, query.source, query.target, query.policy, is_judged=False)
        headers = {"x-facebridge-route": ",".join(translated.route.bundles)}
        if query.policy:
            headers["x-facebridge-flagged"] = _listed(translated.trusted.flagged)
        return Response(write_npy(translated.features), media_type=NPY, headers=headers)
    refuse_query(query, TrustQuery.model_fields)
    body = await _read_json(request)
    policy = body.trust.policy if body.trust else None
    translated = await _run(services, _rows(body, services), body.source, body.target, policy)
    answer = {
        "features": translated.features,
        "route": RouteView.of(translated.route).model_dump(),
        "confidence": translated.trusted.confidence,
        "flagged": translated.trusted.flagged,
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type=JSON)


def _listed(rows: Sequence[int]) -> str:
    """The first rows of those that are flagged, and of more their number; headers cannot be long."""
    return ",".join(map(str, rows[:_LISTED])) + (f", ... of {len(rows)}" if len(rows) > _LISTED else "")


async def _run(
    services: Services,
    rows: npt.NDArray[Any],
    source: str,
    target: str,
    trust: TrustPolicy | None,
    *,
    is_judged: bool = True,
) -> RoutedFeatures:
    if len(rows) > services.settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {services.settings.max_batch_rows} vectors a request")
    translated = await services.translate(rows, source=source, target=target, trust=trust, is_judged=is_judged)
    count_translated(services.metrics, translated.route, len(rows), translated.trusted)
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
