"""What a service answers of itself, typed: its keys, its audit log, its health."""

from pydantic import Field

from service.client.answers import Answer, Document


class Secret(Answer):
    """When a secret was made, and until when it opens; never the secret."""

    made_at: str
    until: str | None


class Key(Answer):
    """A key, without its secrets."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    made_at: str
    until: str | None
    revoked_at: str | None
    requests_per_second: float | None
    probes_per_day: int | None
    shares: tuple[str, ...]
    """The keys in whose line it was made: their limits hold for it too, and for all that came of them together."""
    secrets: tuple[Secret, ...]


class MadeKey(Key):
    """A key with its secret, which is told now and never again."""

    key: str = Field(repr=False)


class AuditPage(Answer):
    """Entries of the sender's tenant in their order, as they were written: each with the digest of the one before."""

    entries: tuple[Document, ...]
    next_after: int | None
    """Where the next page begins; null on the last one."""


class Health(Answer):
    """The process answers."""

    status: str


class Readiness(Health):
    """The service answers."""

    num_bundles: int
    num_rejected: int
    """Folders that it had to leave out."""
    is_writable: bool | None = None
    """Whether all that it keeps can be written to; null where it does not tell."""
