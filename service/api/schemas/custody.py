"""Erasures, snapshots and checks on the wire."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from service.api.schemas.probes import STRICT, Subject
from service.entities import Check, Snapshot

_MAX_ERASED = 1000


class EraseRequest(BaseModel):
    """Who is to be erased."""

    model_config = STRICT

    subjects: Annotated[list[Subject], Field(min_length=1, max_length=_MAX_ERASED, fail_fast=True)]


class Receipt(BaseModel):
    """That nothing is left of a subject. The signature, Ed25519, is over the JSON of all else, keys sorted and without spaces."""

    kind: Literal["erasure"]
    gallery: str
    erased_at: str
    num_templates: int
    """That were in the gallery; there may have been more in its snapshots."""
    num_generations: int
    num_snapshots: int
    """Out of which somebody was taken."""
    num_files: int
    num_bytes: int
    """That were looked through for pieces of vectors when all was done; none was found."""
    salt: str
    subject_sha256: str
    """SHA-256 of the salt, a line feed and the subject's name."""
    public_key: str
    signature: str


class Receipts(BaseModel):
    """A receipt for each subject, in the order sent."""

    receipts: list[Receipt]


class SnapshotView(BaseModel):
    """All that was recorded of a gallery at one moment."""

    snapshot_id: str
    gallery: str
    generation: int
    taken_at: str
    num_templates: int
    num_subjects: int
    sha256: str

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """The view of a snapshot."""
        return cls.model_validate(snapshot, from_attributes=True)


class SnapshotList(BaseModel):
    """Snapshots of a gallery, the oldest first."""

    snapshots: list[SnapshotView]


class RestoreRequest(BaseModel):
    """Which snapshot is to be put back."""

    model_config = STRICT

    snapshot: Annotated[str, Field(max_length=64, examples=["20261128T120000Z-0a1b2c3d"])]


class CheckView(BaseModel):
    """Something that was looked at."""

    what: str
    is_sound: bool
    detail: str


class CheckReport(BaseModel):
    """Whether all that is kept of a gallery is as it was written and agrees."""

    is_sound: bool
    checks: list[CheckView]

    @classmethod
    def of(cls, checks: list[Check]) -> Self:
        """The report of checks."""
        views = [CheckView.model_validate(check, from_attributes=True) for check in checks]
        return cls(is_sound=all(check.is_sound for check in checks), checks=views)
