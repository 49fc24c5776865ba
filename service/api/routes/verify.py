"""`POST /verify`."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from service.api.access import spend_probes
from service.api.bodies import JsonBody
from service.api.counting import count_translated
from service.api.deps import ServicesDep
from service.api.openapi import accepts
from service.api.problems import documented
from service.api.schemas.identify import DrawnView
from service.api.schemas.spaces import RouteView
from service.api.schemas.trust import trusted_one
from service.api.schemas.verify import VerifyRequest, VerifyResponse

router = APIRouter(tags=["verify"])


@router.post("/verify", responses=documented(400, 409, 413, 415, 422, 429, 503), openapi_extra=accepts(VerifyRequest))
async def verify(
    request: Request, body: Annotated[VerifyRequest, Depends(JsonBody(VerifyRequest))], services: ServicesDep
) -> VerifyResponse:
    """Compare two probes. With `fmr`, decide at the threshold measured for that false-match rate on this route."""
    a, b = body.a.asked("/a"), body.b.asked("/b")
    await spend_probes(request, services.state.limits, 1, services.settings.probes_per_day)
    verified = await services.verify(
        a, b, fmr=body.fmr, trust=body.trust.policy if body.trust else None, draw=body.draw
    )
    count_translated(services.metrics, verified.route, 1, verified.trusted)
    point = verified.operating_point
    decision = None if verified.is_match is None else "match" if verified.is_match else "non-match"
    services.metrics.count_decisions(services.tenant, [decision], len(verified.trusted.flagged))
    return VerifyResponse(
        score=verified.score,
        decision=decision,
        threshold=point.threshold if point else None,
        fmr=point.fmr if point else None,
        fnmr=point.fnmr if point else None,
        score_fmr=verified.meaning.fmr,
        log10_likelihood_ratio=verified.meaning.log10_lr,
        route=RouteView.of(verified.route),
        sampling=DrawnView.of(verified.drawn),
        **trusted_one(verified.trusted),
    )
