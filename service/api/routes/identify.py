"""`POST /identify`."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response

from service.api.bodies import JSON, NPY, NPZ, JsonBody, read_array, read_feature_set, refuse_query, require_media_type
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented
from service.api.schemas.identify import (
    NOT_WITH_JSON,
    Answered,
    BatchQuery,
    CandidateView,
    IdentifyBatchResponse,
    IdentifyRequest,
    IdentifyResponse,
    candidate_json,
)
from service.api.schemas.trust import trusted_one
from service.entities import Probe
from service.errors import BatchTooLargeError, DimensionMismatchError, InvalidInputError
from service.usecases.decisions import Wanted
from service.usecases.identify import Identified
from service.usecases.trust import TrustPolicy

router = APIRouter(tags=["identify"])

_read_json = JsonBody(IdentifyRequest)


@router.post(
    "/identify",
    response_model=IdentifyResponse | IdentifyBatchResponse,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=accepts(IdentifyRequest, NPY, NPZ),
)
async def identify(
    request: Request, services: ServicesDep, query: Annotated[BatchQuery, Query()]
) -> IdentifyResponse | Response:
    """Rank the subjects of a gallery by their likeness to a probe, and with `fmr` or `fpir` say which it is of, or nobody.

    One probe as JSON; many as one `.npy` array of rows or an `.npz` feature set, which names its space itself. Probes of
    another space than the gallery's are translated where a route leads there, and refused with 409 where none does.
    """
    declared = require_media_type(request, JSON, NPY, NPZ)
    if declared == JSON:
        refuse_query(query, NOT_WITH_JSON)
        body = await _read_json(request)
        probe = body.probe.asked("/probe")
        trust = body.trust.policy if body.trust else None
        found = await _run(services, body.gallery, [probe], body.top_k, wanted=body.wanted, trust=trust)
        return IdentifyResponse(
            **Answered.head(found).model_dump(),
            **trusted_one(found.trusted),
            decision=found.decisions[0],
            candidates=CandidateView.ranked(found.candidates[0]),
        )
    if query.gallery is None or (declared == NPY and query.space is None):
        raise Problem(422, "invalid-request", "give gallery (and for npy also space) in the query")
    probes, keys = await _batch(request, declared, query.space or "", query.modality)
    found = await _run(services, query.gallery, probes, query.top_k, wanted=query.wanted, trust=query.policy)
    return Response(await asyncio.to_thread(_batch_answer, found, keys), media_type=JSON)


def _batch_answer(found: Identified, keys: Sequence[str | None]) -> bytes:
    """`IdentifyBatchResponse` as JSON, written without a model for each of what may be many thousand candidates."""
    flagged = frozenset(found.trusted.flagged)
    results = [
        {
            "image": key,
            "decision": decision,
            "candidates": [candidate_json(rank, one) for rank, one in enumerate(candidates, start=1)],
            "confidence": found.trusted.of(row),
            "flagged": row in flagged,
        }
        for row, (key, decision, candidates) in enumerate(zip(keys, found.decisions, found.candidates, strict=True))
    ]
    return orjson.dumps(Answered.head(found).model_dump() | {"results": results})


async def _batch(
    request: Request, declared: str, space: str, modality: str
) -> tuple[list[Probe], Sequence[str | None]]:
    if declared == NPZ:
        feature_set = await read_feature_set(request)
        fingerprint, num = feature_set.space.fingerprint, len(feature_set)
        known = [""] * num if feature_set.modality is None else feature_set.modality.tolist()
        probes = [
            Probe(fingerprint, feature=row, modality=of_row or modality, norm=norm)
            for row, of_row, norm in zip(feature_set.feature, known, feature_set.norms.tolist(), strict=True)
        ]
        return probes, feature_set.image.tolist()
    rows = await read_array(request)
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) == 0:
        raise DimensionMismatchError("features must be rows of floating-point numbers, at least one")
    return [Probe(space, feature=row, modality=modality) for row in rows], [None] * len(rows)


async def _run(
    services: Services,
    gallery: str,
    probes: Sequence[Probe],
    top_k: int,
    *,
    wanted: Wanted | None,
    trust: TrustPolicy | None,
) -> Identified:
    settings = services.settings
    if len(probes) > settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {settings.max_batch_rows} probes a request")
    if top_k > settings.max_top_k:
        raise InvalidInputError(f"top_k may be at most {settings.max_top_k}")
    if len(probes) * top_k > settings.max_candidates:
        raise BatchTooLargeError(f"probes times top_k may be at most {settings.max_candidates}; send fewer at a time")
    found = await services.identify(gallery, probes, top_k=top_k, wanted=wanted, trust=trust)
    services.metrics.count_translated(found.route, len(probes), len(found.trusted.flagged))
    return found
