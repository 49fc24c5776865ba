"""`POST /identify`."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from service.api.access import note, spend_probes
from service.api.bodies import (
    JSON,
    NPY,
    NPZ,
    PARQUET,
    JsonBody,
    decode_json,
    read_feature_set,
    read_rows,
    refuse_query,
    require_media_type,
)
from service.api.counting import count_translated
from service.api.deps import Services, ServicesDep
from service.api.openapi import accepts
from service.api.problems import Problem, documented, problem_of_validation
from service.api.schemas.attributes import FilterBody, TellBody, ToldView
from service.api.schemas.closed_set import ClosedSetRequest, ClosedSetResponse
from service.api.schemas.identify import (
    NOT_WITH_JSON,
    Answered,
    BatchQuery,
    CandidateView,
    IdentifyBatchResponse,
    IdentifyBody,
    IdentifyResponse,
    candidate_json,
)
from service.api.schemas.metadata import WhereBody, where_of
from service.api.schemas.trust import trusted_one
from service.entities import Probe, ProbeRows
from service.errors import BatchTooLargeError, InvalidInputError
from service.galleries.port import Where
from service.inference.engine import Picture
from service.usecases.attributes import Filtered, Told
from service.usecases.decisions import Wanted
from service.usecases.identify import Identified
from service.usecases.sampling import Draw
from service.usecases.trust import TrustPolicy

router = APIRouter(tags=["identify"])

_read_json = JsonBody(IdentifyBody)
_WHERE: TypeAdapter[Any] = TypeAdapter(WhereBody)
_FILTER: TypeAdapter[Any] = TypeAdapter(FilterBody)


@router.post(
    "/identify",
    response_model=IdentifyResponse | IdentifyBatchResponse | ClosedSetResponse,
    responses=documented(400, 404, 409, 413, 415, 422, 429, 503),
    openapi_extra=accepts(IdentifyBody, NPY, NPZ, PARQUET),
)
async def identify(
    request: Request, services: ServicesDep, query: Annotated[BatchQuery, Query()]
) -> IdentifyResponse | ClosedSetResponse | Response:
    """Rank the subjects of a gallery by their likeness to a probe, and with `fmr` or `fpir` say which it is of, or nobody.

    One probe as JSON; many as one `.npy` array of rows or a feature set (`.npz` or Parquet), which names its space itself.
    Probes of another space than the gallery's are translated where a route leads there, and refused with 409 where none does.
    With `mode: closed-set` no gallery is asked, but a classifier, about a picture of one of the people whom it knows.
    """
    declared = require_media_type(request, JSON, NPY, NPZ, PARQUET)
    if declared == JSON:
        refuse_query(query, NOT_WITH_JSON)
        body = (await _read_json(request)).root
        if isinstance(body, ClosedSetRequest):
            return await _closed_set(services, body)
        probe = body.probe.asked("/probe")
        trust = body.trust.policy if body.trust else None
        told = await _told(services, probe, body.attributes)
        where, filtered = await _filtered(services, body.gallery, body.filter, probe, where_of(body.where))
        await _spend(services, request, 1, body.gallery)
        asked = _Asked(body.gallery, body.top_k, where, body.wanted, trust, body.draw)
        found = await _run(services, [probe], asked)
        return IdentifyResponse(
            **Answered.head(found, filtered).model_dump(),
            **trusted_one(found.trusted),
            decision=found.decisions[0],
            candidates=CandidateView.ranked(found.candidates[0]),
            attributes=ToldView.of(told) if told else None,
        )
    if query.gallery is None or (declared == NPY and query.space is None):
        raise Problem(422, "invalid-request", "give gallery (and for npy also space) in the query")
    probes, keys = await _batch(request, declared, query.space or "", query.modality)
    where = where_of(_in_query(query.where, _WHERE))
    where, filtered = await _filtered(services, query.gallery, _in_query(query.filter, _FILTER), None, where)
    await _spend(services, request, len(probes), query.gallery)
    asked = _Asked(query.gallery, query.top_k, where, query.wanted, query.policy, query.draw)
    found = await _run(services, probes, asked)
    return Response(await asyncio.to_thread(_batch_answer, found, filtered, keys), media_type=JSON)


async def _spend(services: Services, request: Request, num: int, gallery: str) -> None:
    note(request, gallery=gallery)
    await spend_probes(request, services.state.limits, num, services.settings.probes_per_day)


def _in_query(text: str | None, adapter: TypeAdapter[Any]) -> Any:
    """What JSON text in a query says; None where there is none. Raises `Problem`."""
    if text is None:
        return None
    try:
        return adapter.validate_python(decode_json(text.encode("utf-8", "surrogateescape")))
    except ValidationError as failure:
        raise problem_of_validation(failure) from None


async def _told(services: Services, probe: Probe, asked: TellBody | None) -> Told | None:
    """What a probe's picture shows, where that is asked. Raises `InvalidInputError` where it is none."""
    if asked is None:
        return None
    if probe.picture is None:
        raise InvalidInputError("attributes are told of a picture: send an image")
    return await services.attributes(Picture(probe.picture, probe.landmarks), probe.modality, asked.bundle)


async def _filtered(
    services: Services, gallery: str, asked: FilterBody | None, probe: Probe | None, where: Where | None
) -> tuple[Where | None, Filtered | None]:
    """All conditions, and how those of the filter were come by."""
    if asked is None:
        return where, None
    return await services.attributes.where(gallery, asked.asked, probe, where)


def _batch_answer(found: Identified, filtered: Filtered | None, keys: Sequence[str | None]) -> bytes:
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
    return orjson.dumps(Answered.head(found, filtered).model_dump() | {"results": results})


async def _closed_set(services: Services, body: ClosedSetRequest) -> ClosedSetResponse:
    if body.top_k > services.settings.max_top_k:
        raise InvalidInputError(f"top_k may be at most {services.settings.max_top_k}")
    probe = body.probe
    found = await services.closed_set(probe.picture("/probe"), probe.modality, top_k=body.top_k, bundle=body.bundle)
    return ClosedSetResponse.of(found)


async def _batch(request: Request, declared: str, space: str, modality: str) -> tuple[ProbeRows, Sequence[str | None]]:
    if declared == NPY:
        rows = await read_rows(request)
        return ProbeRows(space, rows, modality=modality), [None] * len(rows)
    feature_set = await read_feature_set(request)
    known = [""] * len(feature_set) if feature_set.modality is None else feature_set.modality.tolist()
    modalities = [of_row or modality for of_row in known]
    rows_of_set = ProbeRows(feature_set.space.fingerprint, feature_set.feature, feature_set.norms, modalities)
    return rows_of_set, feature_set.image.tolist()


@dataclass(frozen=True, slots=True)
class _Asked:
    """What both ways to write a request say."""

    gallery: str
    top_k: int
    where: Where | None
    wanted: Wanted | None
    trust: TrustPolicy | None
    draw: Draw


async def _run(services: Services, probes: Sequence[Probe] | ProbeRows, asked: _Asked) -> Identified:
    settings = services.settings
    if len(probes) > settings.max_batch_rows:
        raise BatchTooLargeError(f"at most {settings.max_batch_rows} probes a request")
    if asked.top_k > settings.max_top_k:
        raise InvalidInputError(f"top_k may be at most {settings.max_top_k}")
    if len(probes) * asked.top_k > settings.max_candidates:
        raise BatchTooLargeError(f"probes times top_k may be at most {settings.max_candidates}; send fewer at a time")
    found = await services.identify(
        asked.gallery,
        probes,
        top_k=asked.top_k,
        where=asked.where,
        wanted=asked.wanted,
        trust=asked.trust,
        draw=asked.draw,
    )
    count_translated(services.metrics, found.route, len(probes), found.trusted)
    services.metrics.count_decisions(services.tenant, found.decisions, len(found.trusted.flagged))
    services.metrics.probes.labels(services.tenant, asked.gallery).inc(len(probes))
    return found
