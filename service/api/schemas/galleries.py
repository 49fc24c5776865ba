"""Galleries and templates on the wire."""

from dataclasses import asdict
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from service.api.schemas.attributes import KeepBody, KeptView
from service.api.schemas.metadata import MetadataBody
from service.api.schemas.probes import STRICT, GalleryName, Sample, SpaceReference, Subject, TemplateKey
from service.api.schemas.spaces import RouteView, SpaceView
from service.entities import Gallery, Generation, IndexKind, Template
from service.usecases.attributes import split_told
from service.usecases.enrol import Enrolled


class CreateGalleryRequest(BaseModel):
    """A new gallery in one space."""

    model_config = STRICT

    name: GalleryName
    space: SpaceReference
    index: Annotated[
        IndexKind | None,
        Field(
            description="how it is searched: exactly (flat), by an index that looks at less than everything, or as its size and "
            "memory allow (auto); the service's setting where it is not given"
        ),
    ] = None


class IndexView(BaseModel):
    """How a gallery is searched now. Scores are exact whatever is said here; who is looked at is not."""

    asked: IndexKind
    kind: IndexKind
    recall: float
    """Share of the ten nearest templates that a search looks at, measured on templates of the gallery; 1 where it is exact."""
    num_indexed: int
    """Templates in the index; those that came after it are searched beside it."""
    device: Literal["cpu", "cuda"]
    """Where the index is."""


class GenerationView(BaseModel):
    """A generation beside the active one: it is being built, or was active and is kept for a while."""

    generation: int
    space: SpaceView
    state: Literal["building", "kept"]
    is_complete: bool
    job: str | None
    kept_until: str | None

    @classmethod
    def of(cls, one: Generation) -> Self:
        """The view of a generation."""
        space = SpaceView.of(one.space)
        return cls(
            generation=one.number,
            space=space,
            state=one.state,
            is_complete=one.is_complete,
            job=one.job,
            kept_until=one.kept_until,
        )


class GalleryView(BaseModel):
    """A gallery."""

    name: str
    space: SpaceView
    generation: int
    num_templates: int
    num_subjects: int
    created_at: str
    index: IndexView
    beside: list[GenerationView]
    """Its other generations, which whatever is enrolled reaches too."""

    @classmethod
    def of(cls, gallery: Gallery) -> Self:
        """The view of a gallery."""
        return cls(
            name=gallery.name,
            space=SpaceView.of(gallery.space),
            generation=gallery.generation,
            num_templates=gallery.num_templates,
            num_subjects=gallery.num_subjects,
            created_at=gallery.created_at,
            index=IndexView(**asdict(gallery.index)),
            beside=[GenerationView.of(one) for one in gallery.beside],
        )


class GalleryList(BaseModel):
    """All galleries by name."""

    galleries: list[GalleryView]


class NewTemplateBody(Sample):
    """A sample of a subject."""

    subject: Subject
    key: TemplateKey | None = None
    metadata: Annotated[
        MetadataBody | None, Field(description="what else is known of it; searches may be among some templates only")
    ] = None


class EnrolRequest(BaseModel):
    """Samples of one space; all are enrolled or none."""

    model_config = STRICT

    space: SpaceReference
    attributes: Annotated[
        KeepBody | None,
        Field(description="keep what is told of pictures with their templates, for searches with a filter"),
    ] = None
    templates: Annotated[list[NewTemplateBody], Field(min_length=1, fail_fast=True)]


class EnrolQuery(BaseModel):
    """What the body does not hold itself."""

    model_config = ConfigDict(extra="forbid")

    space: Annotated[str | None, Field(description="with npy: the space of the features")] = None
    subject: Annotated[Subject | None, Field(description="with npy: who they are all of")] = None
    metadata: Annotated[
        str | None,
        Field(
            description="with a feature set: which of its labels (and modality) are kept as metadata, `site,year`; all if this "
            "is not given"
        ),
    ] = None


class DuplicateView(BaseModel):
    """A template that is like one of another subject: of the gallery, by its id, or of the request, by its row."""

    row: int
    score: float
    template_id: str | None
    other_row: int | None


class EnrolResponse(BaseModel):
    """The new templates' ids in the order sent, and the route by which they came into the gallery's space."""

    template_ids: list[str]
    num_replaced: int
    """Templates of the same keys that these replaced."""
    num_retired: int
    """Translated templates in whose place native ones of their subjects are."""
    generation: int
    route: RouteView
    flagged: list[int]
    """Those whose translation can be trusted less than the service's setting asks for."""
    duplicates: list[DuplicateView]
    """Those whose face is enrolled under another name, where the service looks for that and lets it through."""
    attributes: KeptView | None
    """Null where that was not asked."""

    @classmethod
    def of(cls, enrolled: Enrolled, kept: KeptView | None = None) -> Self:
        """The answer to an enrolment."""
        return cls(
            template_ids=list(enrolled.done.template_ids),
            num_replaced=enrolled.done.num_replaced,
            num_retired=enrolled.done.num_retired,
            generation=enrolled.generation,
            route=RouteView.of(enrolled.route),
            flagged=list(enrolled.trusted.flagged),
            duplicates=[DuplicateView.model_validate(one, from_attributes=True) for one in enrolled.duplicates],
            attributes=kept,
        )


class TemplateView(BaseModel):
    """A template; its vector is never told. `space` is the fingerprint of its original feature."""

    template_id: str
    subject: str
    space: str
    route: list[str]
    enrolled_at: str
    confidence: float | None
    """In the translation; null for a native template, and where the translator does not tell."""
    norm: float | None
    """Of the feature as its encoder put it out, where it is known."""
    key: str | None
    metadata: MetadataBody
    attributes: dict[str, dict[str, float]]
    """What was told of its picture: by the first digits of the bundle's digest, how probable each is."""
    provenance: MetadataBody
    is_searchable: bool
    """Not where no route leads into the gallery's space, or a native template of the subject has taken its place."""

    @classmethod
    def of(cls, template: Template) -> Self:
        """The view of a template."""
        metadata, told = split_told(template.metadata)
        return cls(
            template_id=template.template_id,
            subject=template.subject,
            space=template.space,
            route=list(template.route),
            enrolled_at=template.enrolled_at,
            confidence=template.confidence,
            norm=template.norm,
            key=template.key,
            metadata=dict(metadata),
            attributes=told,
            provenance=dict(template.provenance),
            is_searchable=template.is_searchable,
        )


class TemplateList(BaseModel):
    """A page of templates in order of enrolment; send `next_cursor` as `cursor` for the next one."""

    templates: list[TemplateView]
    next_cursor: str | None


class RemovedSubject(BaseModel):
    """How many templates the subject had."""

    num_removed: int

    @classmethod
    def of(cls, num_removed: int) -> Self:
        """The answer to a removal."""
        return cls(num_removed=num_removed)
