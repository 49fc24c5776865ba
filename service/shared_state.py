"""State that this process has alone, or shares with replicas: built from settings, once."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from service.entities import Job
from service.errors import StartupError, StorageError
from service.settings import Settings
from service.state.embedded import FILE, EmbeddedJobStore
from service.state.limits import EmbeddedLimits
from service.state.on_redis.connection import connect, connect_patiently, connect_quick, is_there
from service.state.on_redis.events import BLOCK_SECONDS, Event, Events
from service.state.on_redis.jobs import RedisJobStore
from service.state.on_redis.journal import FILE as JOURNAL
from service.state.on_redis.journal import Journal
from service.state.on_redis.limits import RedisLimits
from service.state.port import OPEN, JobStore, Limits


class SharedState:
    """Jobs of each tenant, limits of keys, and news of jobs."""

    def __init__(self, settings: Settings) -> None:
        """Raises `StartupError`."""
        self._url = settings.redis
        self._events: Events | None = None
        own = EmbeddedLimits(settings.data)
        self.limits: Limits = own
        if self._url:
            self.limits = RedisLimits(connect_quick(self._url), own)
            self._events = Events(connect(self._url), connect_patiently(self._url, BLOCK_SECONDS))

    @property
    def is_shared(self) -> bool:
        """Whether replicas know of it."""
        return self._events is not None

    def jobs(self, tenant: str, folder: Path) -> JobStore:
        """Those of a tenant. Raises `StartupError`."""
        events = self._events
        if events is None:
            return _own(folder)

        def tell(job: Job) -> None:
            events.tell(tenant, job)

        journal = _journal(folder)
        # Galleries of another folder are another service's, and so is the work on them.
        return RedisJobStore(connect(self._url), f"{tenant}:{journal.identity}", journal, on_change=tell)

    def start(self, on_event: Callable[[Event], None]) -> None:
        """Begin to listen: `on_event` hears of jobs that changed anywhere."""
        if self._events is not None:
            self._events.start(on_event)

    def is_reachable(self) -> bool:
        """Whether what is shared can be reached now; waits a moment at most."""
        return not self._url or is_there(self._url)

    async def close(self) -> None:
        """Release connections and files."""
        if self._events is not None:
            self._events.close()
        await self.limits.close()


def _journal(folder: Path) -> Journal:
    """With the jobs that the folder has from when they were not shared."""
    journal = Journal(folder)
    if (folder / FILE).exists():
        with closing(EmbeddedJobStore(folder)) as before:
            journal.take_over(_all(before), before.kept_answers())
        # Nobody is to go on with what is in it, which is old from now on.
        (folder / FILE).replace(folder / f"{FILE}.shared")
    return journal


def _own(folder: Path) -> EmbeddedJobStore:
    """With the jobs that the folder has from when they were shared. Raises `StartupError` where one of them is open."""
    if not (folder / JOURNAL).exists():
        return EmbeddedJobStore(folder)
    with closing(Journal(folder)) as journal:
        jobs, answered = _readable(folder, journal.jobs), journal.kept_answers()
    here: set[str] = set()
    if (folder / FILE).exists():
        # What this file has too was on its way to be shared when that was broken off.
        with closing(EmbeddedJobStore(folder)) as before:
            here = {job.job_id for job in _all(before)}
    if any(job.state in OPEN and job.job_id not in here for job in jobs):
        raise StartupError(
            f"setting redis: migrations of {folder} were begun with it, and are not over; give it, or cancel them first"
        )
    known = EmbeddedJobStore(folder)
    known.take_over(jobs, answered)
    return known


def _readable(folder: Path, read: Callable[[], list[Job]]) -> list[Job]:
    """Raises `StartupError`."""
    try:
        return read()
    except StorageError as failure:
        raise StartupError(f"{folder / JOURNAL}: {failure}; restore it from a backup") from None


def _all(store: EmbeddedJobStore) -> list[Job]:
    """The oldest first."""
    jobs: list[Job] = []
    after: int | None = 0
    while after is not None:
        page = store.page(after=after)
        jobs += page.jobs
        after = page.next_after
    return jobs[::-1]
