"""The ports of what is known of jobs, and of how often keys ask. One contract suite each (`tests/contract/test_job_store.py`,
`test_limits.py`) runs over all adapters.

Calls of jobs block; they are made from worker threads, from several at once. A job changes by compare and swap: who read it at a
version that it has no more is refused, so that whoever works on it and whoever gives it orders never undo each other.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.entities import Answer, Job, JobState, Once

OPEN: tuple[JobState, ...] = ("queued", "running", "paused", "verifying", "ready")
"""States of jobs that have not come to their end; a gallery has one such job at most."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs, the newest first; `next_after` is None on the last page."""

    jobs: tuple[Job, ...]
    next_after: int | None


class JobStore(Protocol):
    """Keeps jobs. What a call acknowledges by returning is durable. Every write raises `StorageError` where it cannot be kept."""

    def create(self, gallery: str, asked: Mapping[str, Any], *, once: Once | None = None) -> Job:
        """A new job, queued. Raises `MigrationInProgressError` where the gallery has one that is open."""

    def get(self, job_id: str) -> Job:
        """Raises `NotFoundError`."""

    def page(self, *, gallery: str | None = None, after: int = 0, limit: int = 100) -> JobPage:
        """Jobs, of one gallery if asked, a page; those that come while somebody turns pages are on none of the later ones."""

    def in_states(self, states: Collection[JobState]) -> list[Job]:
        """All jobs in some states, the oldest first."""

    def change(
        self,
        job: Job,
        *,
        state: JobState | None = None,
        reason: str | None = None,
        found: Mapping[str, Any] | None = None,
        once: Once | None = None,
        then: Callable[[Job], Any] | None = None,
    ) -> Job:
        """Change a job as it was read; what is `found` is put to what was found before. `then` makes of the changed job what the
        answer kept by `once` is made of.

        Raises `NotFoundError`, `JobStateError` where it has changed since, `MigrationInProgressError` where it would be a second
        open one of its gallery.
        """

    def lease(self, owner: str, states: Collection[JobState], seconds: float) -> Job | None:
        """The oldest job in one of these states that nobody has, for so long; None where there is none."""

    def renew(self, job_id: str, owner: str, seconds: float) -> bool:
        """Have it so much longer from now on; whether it is still one's own."""

    def release(self, job_id: str, owner: str) -> None:
        """Let others have it."""

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """Of the request that calls itself so: the digest of what it asked, and what it was answered. None where it is new."""

    def close(self) -> None:
        """Release files; nothing may be called afterwards."""


class Limits(Protocol):
    """How often keys ask. Calls are quick: they are made where requests come in."""

    async def take_request(self, key_id: str, per_second: float) -> float:
        """Count a request of a key that may send so many a second; 0, or for how many seconds it is too early and not counted."""

    async def spend_probes(self, key_id: str, num: int, per_day: int) -> float:
        """Count probes of a key that may ask about so many a day (UTC); 0, or in how many seconds the next day begins where that
        is too many, and none of them is counted.
        """

    async def close(self) -> None:
        """Release files; nothing may be called afterwards."""
