"""Migrations, jobs and verdicts on the wire."""

from dataclasses import asdict
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, TypeAdapter

from models.space import Space
from service.api.schemas.galleries import TemplateView
from service.api.schemas.probes import STRICT, SpaceReference
from service.api.schemas.spaces import SpaceView
from service.entities import Job, JobState
from service.galleries.port import Backlog
from service.usecases.exchanging import BY_HAND
from service.usecases.migrate import Progress
from service.usecases.migration_plan import Asked, FnirGate, GatePolicy, Mode

_DEFAULT = GatePolicy()
_FNIR = FnirGate()
_ASKED = Asked("")
_SPACE = TypeAdapter(Space)
_YEAR_SECONDS = 366 * 24 * 3600.0

Share = Annotated[float, Field(ge=0, le=1)]
BundleName = Annotated[str, Field(min_length=1, max_length=64)]


class FnirBody(BaseModel):
    """Of labelled probes, which are to be sent to /jobs/{job_id}/probes."""

    model_config = STRICT

    fpir: Annotated[float, Field(gt=0, lt=1, description="share of probes of nobody that may find somebody")] = (
        _FNIR.fpir
    )
    max_increase: Annotated[
        Share, Field(description="how much larger the share of misses may be than in the generation before")
    ] = _FNIR.max_increase


class GatesBody(BaseModel):
    """What a migration must reach to be cut over without being forced to."""

    model_config = STRICT

    num_samples: Annotated[int, Field(ge=30, le=100_000, description="templates that are drawn")] = _DEFAULT.num_samples
    seed: Annotated[int, Field(ge=0, lt=2**63)] = _DEFAULT.seed
    min_overlap: Annotated[Share, Field(description="share of the ten nearest subjects of a template that stay so")] = (
        _DEFAULT.min_overlap
    )
    min_retention: Annotated[
        Share, Field(description="of templates that found their subject first, the share that still does")
    ] = _DEFAULT.min_retention
    max_negative_flips: Annotated[
        Share, Field(description="share of templates that found their subject first, and do so no more")
    ] = _DEFAULT.max_negative_flips
    low_confidence: Annotated[Share, Field(description="confidence below which it is low")] = _DEFAULT.low_confidence
    max_low_confidence: Annotated[Share, Field(description="share of translations of low confidence")] = (
        _DEFAULT.max_low_confidence
    )
    max_missing: Annotated[Share, Field(description="share of templates that are not in the new generation")] = (
        _DEFAULT.max_missing
    )
    fnir: Annotated[FnirBody | None, Field(description="null where no labelled probes are to be sent")] = None

    @property
    def policy(self) -> GatePolicy:
        """As the use cases take it."""
        fields = self.model_dump(exclude={"fnir"})
        return GatePolicy(**fields, fnir=FnirGate(**self.fnir.model_dump()) if self.fnir else None)


class MigrationRequest(BaseModel):
    """Where a gallery is to go."""

    model_config = STRICT

    target: SpaceReference
    mode: Annotated[
        Mode,
        Field(
            description="gallery: templates are translated; probe: the gallery stays, and probes of the target are translated "
            "back; mixed: both, so that probes of either space are answered before and after the cut-over"
        ),
    ] = "gallery"
    route: Annotated[
        list[BundleName] | None,
        Field(
            min_length=1,
            max_length=8,
            description="the translators for templates of the gallery's space; null: the best route",
        ),
    ] = None
    gates: GatesBody = GatesBody()
    cutover: Annotated[Literal["manual", "auto"], Field(description="auto: as soon as all gates are passed")] = "manual"
    keep_seconds: Annotated[
        float, Field(ge=0, le=_YEAR_SECONDS, description="how long the generation before is kept after the cut-over")
    ] = _ASKED.keep_seconds
    retires: Annotated[
        bool, Field(description="whether native templates take the place of translated ones of their subject")
    ] = True
    untranslatable: Annotated[
        Literal["refuse", "leave-out"],
        Field(description="what becomes of templates of spaces from which no route leads to the target"),
    ] = "refuse"

    @property
    def asked(self) -> Asked:
        """As the use cases take it."""
        return Asked(
            self.target,
            self.mode,
            None if self.route is None else tuple(self.route),
            self.gates.policy,
            self.cutover,
            self.keep_seconds,
            self.retires,
            self.untranslatable,
        )


class CutoverRequest(BaseModel):
    """Whether the gallery goes to its new generation whatever the gates say."""

    model_config = STRICT

    force: bool = False


class RollbackRequest(BaseModel):
    """Whether templates may be left out that came since, and cannot be translated back."""

    model_config = STRICT

    accept_missing: bool = False


class NamedBundle(BaseModel):
    """A translator, and the digest of the bundle that it was when this was asked for."""

    name: str
    digest: str


class JobRoute(BaseModel):
    """How templates, or probes, are translated."""

    source: str
    target: str
    bundles: list[NamedBundle]
    quality: float


class ProgressView(BaseModel):
    """How far a job has come."""

    done: int
    """Templates that are searchable in the new generation, or known not to be."""
    total: int
    failed: int
    """Of these those that are not in it: no route leads there, or they have no direction there."""
    rate: float | None
    """A second, of the last ten; null while it does not run."""
    seconds_left: float | None


class GateView(BaseModel):
    """A gate. Without a value it was not measured."""

    name: str
    value: float | None
    limit: float
    is_least: bool
    num: int
    state: Literal["passed", "failed", "not-measured"]


class JobView(BaseModel):
    """The migration of a gallery."""

    job_id: str
    gallery: str
    state: JobState
    reason: str
    mode: Mode
    source: SpaceView
    target: SpaceView
    routes: list[JobRoute]
    """For templates, one for each space that they are of."""
    probes: JobRoute | None
    """By which probes of the target are answered until the cut-over."""
    left_out: dict[str, int]
    """Templates from which no route leads to the target, by the name of their space."""
    generation_before: int
    generation: int | None
    progress: ProgressView | None
    """Null where an order is answered again by its Idempotency-Key; ask for the job."""
    gates: list[GateView]
    is_passed: bool | None
    """Null before it is judged."""
    cutover: Literal["manual", "auto"]
    """Manual once it was rolled back."""
    keep_seconds: float
    kept_until: str | None
    """Of the generation that the job can go back from or to; null where `progress` is."""
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, job: Job, progress: Progress | None = None) -> Self:
        """The view of a job."""
        asked, plan, verdict = Asked.of_json(job.asked), job.asked["plan"], job.found.get("verdict")
        is_by_hand = job.state != "cut-over" and job.found.get(BY_HAND)
        return cls(
            job_id=job.job_id,
            gallery=job.gallery,
            state=job.state,
            reason=job.reason,
            mode=asked.mode,
            source=SpaceView.of(_SPACE.validate_python(plan["source"])),
            target=SpaceView.of(_SPACE.validate_python(plan["target"])),
            routes=[JobRoute.model_validate(route) for route in plan["routes"].values()],
            probes=JobRoute.model_validate(plan["probes"]) if plan["probes"] else None,
            left_out=plan["left_out"],
            generation_before=job.found.get("generation_before", plan["generation_before"]),
            generation=job.found.get("generation"),
            progress=None if progress is None else ProgressView.model_validate(asdict(progress.numbers)),
            gates=[GateView.model_validate(gate) for gate in verdict["gates"]] if verdict else [],
            is_passed=verdict["is_passed"] if verdict else None,
            cutover="manual" if is_by_hand else asked.cutover,
            keep_seconds=asked.keep_seconds,
            kept_until=None if progress is None else progress.kept_until,
            created_at=job.created_at,
            updated_at=job.updated_at,
        )


class JobList(BaseModel):
    """Jobs, the newest first; send `next_cursor` as `cursor` for the next page."""

    jobs: list[JobView]
    next_cursor: str | None


class Verdict(BaseModel):
    """What was measured before a cut-over. The signature, Ed25519, is over the JSON of all else, keys sorted, without spaces."""

    model_config = {"extra": "allow"}

    kind: Literal["verdict"]
    job: str
    gallery: str
    is_passed: bool
    gates: list[GateView]
    public_key: str
    signature: str


class BacklogView(BaseModel):
    """What of a gallery is not native yet: templates most worth enrolling again come first, those of least confidence."""

    num_native: int
    num_translated: int
    num_retired: int
    """Templates in whose place native ones are, or that are not in this generation."""
    native_share: float
    """Of templates that are searched."""
    templates: list[TemplateView]
    next_cursor: str | None

    @classmethod
    def of(cls, backlog: Backlog) -> Self:
        """The view of a page."""
        num = backlog.num_native + backlog.num_translated
        return cls(
            num_native=backlog.num_native,
            num_translated=backlog.num_translated,
            num_retired=backlog.num_retired,
            native_share=backlog.num_native / num if num else 1.0,
            templates=[TemplateView.of(one) for one in backlog.templates],
            next_cursor=None if backlog.next_after is None else f"{backlog.next_after:x}",
        )
