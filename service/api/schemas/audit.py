"""The audit log on the wire."""

from typing import Any

from pydantic import BaseModel


class AuditPage(BaseModel):
    """Entries of the sender's tenant in their order, as they were written: each with the digest of the one before."""

    entries: list[dict[str, Any]]
    next_after: int | None
    """Where the next page begins; null on the last one."""
