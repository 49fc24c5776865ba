"""`/identify` on the wire."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, RootModel, Tag, model_validator

from models.calibration import PHOTO
from models.operating_point import fpir_for_fmr
from models.samples import MAX_SEED
from service.api.problems import MODE_TAGS
from service.api.schemas.attributes import FilterBody, FilterView, TellBody, ToldView
from service.api.schemas.closed_set import CLOSED_SET, ClosedSetRequest
from service.api.schemas.metadata import WhereBody
from service.api.schemas.probes import STRICT, ComparedProbe, GalleryName, Modality
from service.api.schemas.spaces import RouteView
from service.api.schemas.trust import TrustBody, TrustedOne, TrustQuery
from service.usecases.attributes import Filtered
from service.usecases.decisions import Wanted
from service.usecases.identify import Identified, JudgedCandidate
from service.usecases.sampling import Draw, Drawn


class Rates(BaseModel):
    """The rate to decide at, or none: then there are candidates, and no decision."""

    fmr: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="let through only candidates above the threshold for this false-match rate of a comparison, e.g. 1e-5",
        ),
    ] = None
    fpir: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="let through only candidates above the threshold at which this share of searches, of people who are "
            "not in the gallery, finds somebody, about, e.g. 0.01",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if self.fmr is not None and self.fpir is not None:
            raise ValueError("give either fmr or fpir")
        return self

    @property
    def wanted(self) -> Wanted | None:
        """The rate as the use case takes it."""
        return None if self.fmr is None and self.fpir is None else Wanted(self.fmr, self.fpir)


class DrawBody(BaseModel):
    """How a probe of a weak modality, such as a sketch, is asked about: as so many features that a photo could have had."""

    samples: Annotated[
        int | None, Field(ge=1, description="features a probe is asked about as (default: the sampler's)")
    ] = None
    seed: Annotated[
        int | None, Field(ge=0, le=MAX_SEED, description="of the noise: the same gives the same answer (default: 0)")
    ] = None

    @property
    def draw(self) -> Draw:
        """As the use case takes it."""
        return Draw(self.samples, self.seed)


class DrawnView(BaseModel):
    """As what probes were asked about by a sampler; the score is the density of the samples on the scale of cosines."""

    samples: int
    seed: int
    sigma: float

    @classmethod
    def of(cls, drawn: Drawn | None) -> Self | None:
        """The view, null where nothing was sampled."""
        return cls(samples=drawn.num_samples, seed=drawn.seed, sigma=drawn.sigma) if drawn else None


class IdentifyRequest(Rates, DrawBody):
    """One probe against one gallery; with `fmr` or `fpir` the answer may be nobody."""

    model_config = STRICT

    mode: Literal["gallery"] = "gallery"
    gallery: GalleryName
    probe: ComparedProbe
    top_k: Annotated[int, Field(ge=1)] = 5
    where: WhereBody | None = None
    filter: FilterBody | None = None
    attributes: Annotated[TellBody | None, Field(description="tell what the probe's picture shows, too")] = None
    trust: TrustBody | None = None


def _mode_of(body: Any) -> str | None:
    """By the name of its mode, so that faults are named in the way that was meant."""
    mode = body.get("mode", "gallery") if isinstance(body, dict) else "gallery"
    return {"gallery": MODE_TAGS[0], CLOSED_SET: MODE_TAGS[1]}.get(mode if isinstance(mode, str) else "")


class IdentifyBody(
    RootModel[
        Annotated[
            Annotated[IdentifyRequest, Tag(MODE_TAGS[0])] | Annotated[ClosedSetRequest, Tag(MODE_TAGS[1])],
            Discriminator(
                _mode_of, custom_error_type="mode", custom_error_message="mode should be 'gallery' or 'closed-set'"
            ),
        ]
    ]
):
    """What is asked about in a gallery, or among those whom a classifier knows."""


class BatchQuery(Rates, DrawBody, TrustQuery):
    """With npy and npz, in the query; JSON bodies hold all of it themselves."""

    model_config = ConfigDict(extra="forbid")

    gallery: Annotated[str | None, Field(description="with npy and npz: the gallery")] = None
    space: Annotated[str | None, Field(description="with npy: the space of the probes")] = None
    top_k: Annotated[int, Field(ge=1, description="with npy and npz: candidates a probe")] = 5
    modality: Annotated[Modality, Field(description="with npy: what the probes are")] = PHOTO
    where: Annotated[
        str | None, Field(max_length=4096, description="with npy and npz: as in JSON bodies, as JSON text")
    ] = None
    filter: Annotated[
        str | None, Field(max_length=4096, description="with npy and npz: as in JSON bodies, as JSON text")
    ] = None


NOT_WITH_JSON = (*Rates.model_fields, *DrawBody.model_fields, *TrustQuery.model_fields, "modality", "where", "filter")
"""What a JSON body must hold itself: ignored, it would change what an answer means."""


class CandidateView(BaseModel):
    """A subject by rank; its score is the cosine of its best template, or the density of a sampled probe there."""

    rank: int
    subject: str
    score: float
    template_id: str
    threshold: float | None
    """That it reached, where a rate was asked for."""
    score_fmr: float | None
    """At most this share of impostors scores as high; null where that was not measured."""
    log10_likelihood_ratio: float | None
    """Log to the base 10 of how many times as likely the score is where both are of one person as where they are of two."""

    @classmethod
    def ranked(cls, candidates: tuple[JudgedCandidate, ...]) -> list[Self]:
        """Views of candidates, the best first."""
        return [cls(**candidate_json(rank, judged)) for rank, judged in enumerate(candidates, start=1)]


def candidate_json(rank: int, judged: JudgedCandidate) -> dict[str, int | str | float | None]:
    """A `CandidateView` as JSON, for answers of many thousand."""
    return {
        "rank": rank,
        "subject": judged.candidate.subject,
        "score": judged.candidate.score,
        "template_id": judged.candidate.template_id,
        "threshold": judged.point.threshold if judged.point else None,
        "score_fmr": judged.meaning.fmr,
        "log10_likelihood_ratio": judged.meaning.log10_lr,
    }


class OperatingPointView(BaseModel):
    """A threshold that was used: of probes of a modality, and templates that came into the gallery by `bundles`."""

    bundles: list[str]
    modality: str
    threshold: float
    fmr: float
    """Of a comparison at this threshold."""
    fnmr: float
    """The measured share of genuine pairs below it."""


class Answered(BaseModel):
    """What every identification names: gallery, its generation, the route of the probes, and what was decided by."""

    gallery: str
    generation: int
    num_templates: int
    route: RouteView
    fmr: float | None
    """The false-match rate of a comparison that was asked for, or follows from the FPIR."""
    fpir: float | None
    """The share of searches, of people who are not in the gallery, that finds somebody: asked for, or what follows from the FMR
    among so many templates, if comparisons were independent."""
    operating_points: list[OperatingPointView]
    sampling: DrawnView | None
    """Null where each probe is one feature."""
    filter: FilterView | None
    """By what bundles told of their pictures; null where that was not asked."""

    @classmethod
    def head(cls, found: Identified, filtered: Filtered | None) -> "Answered":
        """What is the same for all probes."""
        wanted, num = found.wanted, found.num_templates
        fmr = wanted.fmr_among(num) if wanted else None
        return Answered(
            gallery=found.gallery,
            generation=found.generation,
            num_templates=num,
            route=RouteView.of(found.route),
            fmr=fmr,
            fpir=None if wanted is None or fmr is None else wanted.fpir or fpir_for_fmr(fmr, num),
            operating_points=[
                OperatingPointView(
                    bundles=list(used.origin.bundles),
                    modality=used.modality,
                    threshold=used.point.threshold,
                    fmr=used.point.fmr,
                    fnmr=used.point.fnmr,
                )
                for used in found.points
            ],
            sampling=DrawnView.of(found.drawn),
            filter=FilterView.of(filtered),
        )


Decision = Literal["match", "nobody"] | None


class IdentifyResponse(Answered, TrustedOne):
    """Candidates of one probe, the best first; where a rate was asked for, those above the threshold, and the decision."""

    decision: Decision
    candidates: list[CandidateView]
    attributes: ToldView | None
    """Of the probe's picture; null where that was not asked."""


class IdentifyResult(TrustedOne):
    """Decision and candidates of one probe of several; `image` is its key where it came in a feature set."""

    image: str | None
    decision: Decision
    candidates: list[CandidateView]


class IdentifyBatchResponse(Answered):
    """Candidates of every probe, in the order sent."""

    results: list[IdentifyResult]
