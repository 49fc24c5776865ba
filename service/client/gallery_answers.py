"""What a service answers of galleries, typed: their templates, what was enrolled, snapshots, checks."""

from service.client.answers import Answer, Document, Route, Space


class Index(Answer):
    """How a gallery is searched now. Scores are exact whatever is said here; who is looked at is not."""

    asked: str
    kind: str
    recall: float
    """Share of the ten nearest templates that a search looks at; 1 where it is exact."""
    num_indexed: int
    """Templates in the index; those that came after it are searched beside it."""
    device: str
    """`cpu` or `cuda`."""


class Generation(Answer):
    """A generation beside the active one: it is being built, or was active and is kept for a while."""

    generation: int
    space: Space
    state: str
    """`building` or `kept`."""
    is_complete: bool
    job: str | None
    kept_until: str | None


class Gallery(Answer):
    """Templates searchable in one space."""

    name: str
    space: Space
    generation: int
    num_templates: int
    num_subjects: int
    created_at: str
    index: Index
    beside: tuple[Generation, ...]
    """Its other generations, which whatever is enrolled reaches too."""


class Duplicate(Answer):
    """A template that is like one of another subject: of the gallery, by its id, or of the request, by its row."""

    row: int
    score: float
    template_id: str | None
    other_row: int | None


class Kept(Answer):
    """What was told of pictures and kept with their templates."""

    digest: str
    """Of the bundle."""
    num_told: int
    """Templates: those that were sent as pictures."""


class Enrolled(Answer):
    """The new templates, in the order they were sent."""

    template_ids: tuple[str, ...]
    num_replaced: int
    """Templates of the same keys that these replaced."""
    num_retired: int
    """Translated templates in whose place native ones of their subjects are."""
    generation: int
    route: Route
    """Into the gallery's space."""
    flagged: tuple[int, ...]
    """Rows whose translation can be trusted less than the service's setting asks for."""
    duplicates: tuple[Duplicate, ...]
    """Those whose face is enrolled under another name, where the service looks for that and lets it through."""
    attributes: Kept | None
    """Null where that was not asked."""


class Template(Answer):
    """A template; its vector is never told."""

    template_id: str
    subject: str
    space: str
    """The fingerprint of its original feature's."""
    route: tuple[str, ...]
    enrolled_at: str
    confidence: float | None
    """In the translation; null for a native template, and where the translator does not tell."""
    norm: float | None
    """Of the feature as its encoder put it out, where it is known."""
    key: str | None
    """The sender's own name of it."""
    metadata: Document
    attributes: dict[str, dict[str, float]]
    """What was told of its picture: by the first digits of the bundle's digest, how probable each is."""
    provenance: Document
    is_searchable: bool
    """Not where no route leads into the gallery's space, or a native template of the subject has taken its place."""


class TemplatePage(Answer):
    """Some templates in order of enrolment."""

    templates: tuple[Template, ...]
    next_cursor: str | None


class Backlog(TemplatePage):
    """What of a gallery is not native yet: templates most worth enrolling again come first, those of least confidence."""

    num_native: int
    num_translated: int
    num_retired: int
    """Templates in whose place native ones are, or that are not in this generation."""
    native_share: float
    """Of templates that are searched."""


class Snapshot(Answer):
    """All that was recorded of a gallery at one moment."""

    snapshot_id: str
    gallery: str
    generation: int
    taken_at: str
    num_templates: int
    num_subjects: int
    sha256: str


class Check(Answer):
    """Something that was looked at."""

    what: str
    is_sound: bool
    detail: str


class CheckReport(Answer):
    """Whether all that is kept of a gallery is as it was written and agrees."""

    is_sound: bool
    checks: tuple[Check, ...]
