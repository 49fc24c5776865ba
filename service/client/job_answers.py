"""What a service answers of migrations, typed. What is null or empty here by default an older service does not tell."""

from pydantic import Field

from service.client.answers import Answer


class Numbers(Answer):
    """Of templates of a migration."""

    done: int
    """Searchable in the new generation, or known not to be."""
    total: int
    failed: int
    """Of those that are done, the ones that are not in it."""
    rate: float | None
    """A second, of the last ten; null while it does not run."""
    seconds_left: float | None = None


class Gate(Answer):
    """What a migration must not be worse in."""

    name: str
    value: float | None
    """Null where it was not measured."""
    limit: float
    is_least: bool
    """Whether the limit is the least that is let through, or the most."""
    num: int
    state: str
    """`passed`, `failed` or `not-measured`."""


class Named(Answer):
    """A space by its name."""

    name: str
    fingerprint: str | None = None
    dimension: int | None = None
    metric: str | None = None


class NamedBundle(Answer):
    """A translator, and the digest of the bundle that it was when this was asked for."""

    name: str
    digest: str


class JobRoute(Answer):
    """How templates, or probes, are translated."""

    source: str
    target: str
    bundles: tuple[NamedBundle, ...]
    quality: float


class Job(Answer):
    """A migration."""

    job_id: str
    gallery: str
    state: str
    reason: str
    """Why it is in its state, where that is not plain."""
    mode: str | None = None
    """`gallery`, `probe` or `mixed`."""
    source: Named
    target: Named
    routes: tuple[JobRoute, ...] = ()
    """For templates, one for each space that they are of."""
    probes: JobRoute | None = None
    """By which probes of the target are answered until the cut-over."""
    left_out: dict[str, int] = Field(default_factory=dict)
    """Templates from which no route leads to the target, by the name of their space."""
    generation_before: int | None = None
    generation: int | None = None
    progress: Numbers | None
    """Null where an order is answered again; ask for the job."""
    gates: tuple[Gate, ...]
    is_passed: bool | None
    """Null before it is judged."""
    cutover: str
    """`manual` or `auto`; manual once it was rolled back."""
    keep_seconds: float | None = None
    kept_until: str | None = None
    """Of the generation that the job can go back from or to; null where `progress` is."""
    created_at: str
    updated_at: str | None = None


class JobPage(Answer):
    """Some jobs, the newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
