"""What a service answers, typed; fields that a newer service adds are left out. Shapes: N rows, T dimension of a target space."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Space(_Answer):
    """What one exact encoder puts out."""

    name: str
    fingerprint: str
    dimension: int


class Translated(_Answer):
    """Features in another space."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    features: npt.NDArray[np.float32]
    """(N, T), of length one."""
    route: tuple[str, ...]
    """The translators."""


class Verified(_Answer):
    """Two probes, compared."""

    score: float
    decision: str | None
    """`match` or `non-match`, where a rate was asked for."""
    threshold: float | None
    fmr: float | None
    score_fmr: float | None
    """The share of strangers that reaches the score, at most."""
    confidence: float | None = None


class Candidate(_Answer):
    """A subject that a probe may be of."""

    subject: str
    score: float
    template_id: str
    threshold: float | None = None
    score_fmr: float | None = None


class Identified(_Answer):
    """Whom a probe may be of, the most alike first."""

    decision: str | None
    """`match` or `nobody`, where a rate was asked for."""
    candidates: tuple[Candidate, ...]


class SearchedMany(_Answer):
    """Of each of many probes, in their order."""

    generation: int
    results: tuple[Identified, ...]


class Gallery(_Answer):
    """Templates searchable in one space."""

    name: str
    generation: int
    num_templates: int
    num_subjects: int


class Enrolled(_Answer):
    """The new templates, in the order they were sent."""

    template_ids: tuple[str, ...]


class Numbers(_Answer):
    """Of templates of a migration."""

    done: int
    total: int
    failed: int
    rate: float | None


class Gate(_Answer):
    """What a migration must not be worse in."""

    name: str
    value: float | None
    limit: float
    is_least: bool
    num: int
    state: str


class Named(_Answer):
    """A space by its name."""

    name: str


class Job(_Answer):
    """A migration."""

    job_id: str
    gallery: str
    state: str
    reason: str
    source: Named
    target: Named
    progress: Numbers | None
    """Null where an order is answered again; ask for the job."""
    gates: tuple[Gate, ...]
    is_passed: bool | None
    cutover: str
    created_at: str


class JobPage(_Answer):
    """Some jobs, the newest first."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


Document = Mapping[str, Any]
"""JSON as it is."""
