"""`JobStore` on Redis: jobs that several processes know of, each leased to one of them for a while.

Who has a job stands in the job itself, so that there is no second truth of it; a stream only tells that something has changed
(`events`). Redis may be killed, hang, or come back empty: whoever asks meanwhile is told to try again, and what this process
acknowledged is put back from its journal as soon as it is seen that another epoch has begun.
"""

import json
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import redis

from models.documents import canonical_json
from service.entities import Answer, Job, JobState, Once
from service.errors import JobStateError, MigrationInProgressError, NotFoundError, StateAwayError
from service.state.answers import KEPT_SECONDS
from service.state.on_redis import scripts
from service.state.on_redis.connection import PREFIX, reaching
from service.state.on_redis.journal import Journal
from service.state.port import OPEN, JobPage

_TRIES = 3
"""To catch up with a Redis that is emptied again and again."""
_NO_ANSWER = ("", "", "0", "", "1")


class RedisJobStore:
    """The jobs of the galleries of one place."""

    def __init__(
        self,
        client: "redis.Redis",
        place: str,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.time,
        on_change: Callable[[Job], None] = lambda job: None,
    ) -> None:
        """`place` says whose jobs they are: all who serve the same galleries name the same. `on_change` hears of jobs that were
        made or changed here.
        """
        self._client, self._journal, self._clock, self._on_change = client, journal, clock, on_change
        self._base = f"{PREFIX}:{{{place}}}"
        self._known, self._lock = ("", 0), threading.Lock()
        """The epoch, and how many writes of it were seen."""

    def create(self, gallery: str, asked: Mapping[str, Any], *, once: Once | None = None) -> Job:
        """See the port."""
        now = _now()
        job = Job(secrets.token_hex(8), gallery, "queued", _plain(asked), {}, "", now, now, 1)
        answer = once.answer(job) if once else None
        found = self._run(scripts.CREATE, job.job_id, gallery, *_told(once, answer), *_fields(job))
        if found[0] == b"open":
            raise MigrationInProgressError(f"gallery {gallery} is being migrated already; see its jobs")
        return self._kept(job, once, answer)

    def get(self, job_id: str) -> Job:
        """See the port."""
        found = self._read([job_id])
        if not found:
            raise NotFoundError("there is no such job")
        return found[0]

    def page(self, *, gallery: str | None = None, after: int = 0, limit: int = 100) -> JobPage:
        """See the port."""
        below = ":jobs" if gallery is None else f":of:{gallery}"
        found = self._run(scripts.LIST, below, f"({after}" if after else "+inf", str(limit + 1))[1:]
        ids, numbers = found[::2], [int(float(number)) for number in found[1::2]]
        jobs = self._read([one.decode() for one in ids[:limit]])
        return JobPage(tuple(jobs), numbers[limit - 1] if len(ids) > limit else None)

    def in_states(self, states: Collection[JobState]) -> list[Job]:
        """See the port."""
        found: list[tuple[int, str]] = []
        for state in states:
            listed = self._run(scripts.LIST, f":state:{state}", "+inf", "-1")[1:]
            found += [(int(float(number)), one.decode()) for one, number in zip(listed[::2], listed[1::2], strict=True)]
        jobs = self._read([job_id for _, job_id in sorted(found)])
        return [job for job in jobs if job.state in states]

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
        """See the port."""
        now = self.get(job.job_id)
        if now.version != job.version:
            raise JobStateError(f"the job has changed meanwhile, and is {now.state}")
        changed = replace(
            now,
            state=state or now.state,
            reason=now.reason if reason is None else reason,
            found=_plain({**now.found, **(found or {})}),
            updated_at=_now(),
            version=now.version + 1,
        )
        outcome = then(changed) if then else changed
        answer = once.answer(outcome) if once else None
        open_before, open_now = (str(int(one.state in OPEN)) for one in (now, changed))
        asked = (job.job_id, str(now.version), changed.state, open_before, open_now)
        done = self._run(scripts.CHANGE, *asked, *_told(once, answer), *_fields(changed))
        if done[0] == b"none":
            raise NotFoundError("there is no such job")
        if done[0] == b"changed":
            raise JobStateError(f"the job has changed meanwhile, and is {done[1].decode()}")
        if done[0] == b"open":
            raise MigrationInProgressError(f"gallery {now.gallery} is being migrated already; see its jobs")
        return self._kept(changed, once, answer)

    def lease(self, owner: str, states: Collection[JobState], seconds: float) -> Job | None:
        """See the port."""
        now = self._clock()
        found = self._run(scripts.LEASE, owner, str(now), str(now + seconds), *states)
        return self.get(found[1].decode()) if found[0] == b"ok" else None

    def renew(self, job_id: str, owner: str, seconds: float) -> bool:
        """See the port."""
        return bool(self._run(scripts.HOLD, job_id, owner, owner, str(self._clock() + seconds))[0] == b"ok")

    def release(self, job_id: str, owner: str) -> None:
        """See the port."""
        self._run(scripts.HOLD, job_id, owner, "", "0")

    def answered(self, key: bytes) -> tuple[bytes, Answer] | None:
        """See the port; what this process answered also where Redis is away."""
        own = self._journal.answered(key)
        if own is not None:
            return own
        try:
            _, digest, status, body = self._run(scripts.ANSWERED, key.hex())
        except StateAwayError:
            return None
        return (digest, Answer(int(status), body)) if status else None

    def close(self) -> None:
        """See the port."""
        self._client.close()
        self._journal.close()

    def _kept(self, job: Job, once: Once | None, answer: Answer | None) -> Job:
        """On this disk too, before it is acknowledged."""
        self._journal.keep(job, once.key if once else b"", once.digest if once else b"", answer)
        self._on_change(job)
        return job

    def _run(self, script: str, *arguments: str | bytes) -> list[Any]:
        """Raises `StateAwayError`."""
        for _ in range(_TRIES):
            known = self._known
            with reaching():
                found: list[Any] = self._client.eval(script, 1, self._base, f"{known[0]}/{known[1]}", *arguments)
            if found[0] != b"epoch":
                if script in (scripts.CREATE, scripts.CHANGE) and found[0] == b"ok":
                    self._see(known[0], found[1])
                return found
            self._catch_up(known)
        raise StateAwayError("what replicas share is lost again and again; try again shortly")

    def _see(self, epoch: str, writes: int) -> None:
        """There were so many in it: if it has fewer some day, it came back as it was before."""
        with self._lock:
            if self._known[0] == epoch:
                self._known = (epoch, max(writes, self._known[1]))

    def _catch_up(self, known: tuple[str, int]) -> None:
        """In an epoch that this process does not know yet, or that came back as it was before: put back what it acknowledged,
        where nobody has it newer.
        """
        with self._lock, reaching():
            if self._known != known:
                # Another thread has.
                return
            epoch, writes = self._client.eval(scripts.EPOCH, 1, self._base, secrets.token_hex(8), str(known[1]))
            begun = f"{epoch.decode()}/0"
            for job in self._journal.jobs():
                is_open = str(int(job.state in OPEN))
                asked = (job.job_id, str(job.version), job.state, is_open, job.gallery, job.created_at)
                self._client.eval(scripts.PUT, 1, self._base, begun, *asked, *_fields(job))
            self._know_what_is_newer(begun)
            self._known = (epoch.decode(), int(writes))

    def _know_what_is_newer(self, begun: str) -> None:
        """What was changed here and could not be kept, or was changed elsewhere, since it was open here."""
        ids = [job.job_id for job in self._journal.jobs() if job.state in OPEN]
        found = self._client.eval(scripts.READ, 1, self._base, begun, *ids)[1:] if ids else []
        for job in _jobs(found):
            self._journal.keep(job, b"", b"", None)

    def _read(self, ids: Sequence[str]) -> list[Job]:
        """Those that are there."""
        if not ids:
            return []
        return _jobs(self._run(scripts.READ, *ids)[1:])


_TEXTS = ("job_id", "gallery", "state", "reason", "created_at", "updated_at")


def _jobs(found: Sequence[Sequence[bytes]]) -> list[Job]:
    """Of hashes as Redis gives them; of those that are not there none."""
    jobs = []
    for flat in found:
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if fields:
            text: dict[str, Any] = {name: fields[name.encode()].decode() for name in _TEXTS}
            asked, of_run = (json.loads(fields[name]) for name in (b"asked", b"found"))
            jobs.append(Job(**text, asked=asked, found=of_run, version=int(fields[b"version"])))
    return jobs


def _fields(job: Job) -> list[str]:
    """Names and values of a hash."""
    values: dict[str, str] = {name: getattr(job, name) for name in _TEXTS}
    values |= {name: canonical_json(getattr(job, name)).decode() for name in ("asked", "found")}
    values["version"] = str(job.version)
    return [part for pair in values.items() for part in pair]


def _told(once: Once | None, answer: Answer | None) -> tuple[str | bytes, ...]:
    if once is None or answer is None:
        return _NO_ANSWER
    return once.key.hex(), once.digest, str(answer.status), answer.body, str(KEPT_SECONDS)


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read again."""
    plain: dict[str, Any] = json.loads(canonical_json(document))
    return plain


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
