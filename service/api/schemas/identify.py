"""`/identify` on the wire."""

from typing import Annotated, Self

from pydantic import BaseModel, Field

from service.api.schemas.probes import STRICT, GalleryName, ProbeBody
from service.api.schemas.spaces import RouteView
from service.entities import Candidate


class IdentifyRequest(BaseModel):
    """One probe against one gallery."""

    model_config = STRICT

    gallery: GalleryName
    probe: ProbeBody
    top_k: Annotated[int, Field(ge=1)] = 5


class CandidateView(BaseModel):
    """A subject by rank; its score is the cosine of its best template."""

    rank: int
    subject: str
    score: float
    template_id: str

    @classmethod
    def ranked(cls, candidates: tuple[Candidate, ...]) -> list[Self]:
        """Views of candidates, the best first."""
        return [
            cls(rank=rank, subject=candidate.subject, score=candidate.score, template_id=candidate.template_id)
            for rank, candidate in enumerate(candidates, start=1)
        ]


class Answered(BaseModel):
    """What every identification names: gallery, its generation, and the route of the probes."""

    gallery: str
    generation: int
    route: RouteView


class IdentifyResponse(Answered):
    """Candidates of one probe, the best first."""

    candidates: list[CandidateView]


class IdentifyResult(BaseModel):
    """Candidates of one probe of several; `image` is its key where it came in a feature set."""

    image: str | None
    candidates: list[CandidateView]


class IdentifyBatchResponse(Answered):
    """Candidates of every probe, in the order sent."""

    results: list[IdentifyResult]
