"""What can be asked of migrations, and of the jobs that they are."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter

from service.client.answers import Document
from service.client.call import Call, content, document, once, path_of, reader
from service.client.face_calls import NPZ
from service.client.gallery_answers import Backlog
from service.client.job_answers import Job, JobPage
from service.client.probes import given

Order = Literal["pause", "resume", "cancel", "cutover", "rollback"]

_job = reader(TypeAdapter(Job))
_jobs = reader(TypeAdapter(JobPage))
_backlog = reader(TypeAdapter(Backlog))


def migrate(
    gallery: str,
    target: str,
    *,
    mode: str | None = None,
    route: Sequence[str] | None = None,
    gates: Mapping[str, Any] | None = None,
    cutover: str | None = None,
    keep_seconds: float | None = None,
    retires: bool | None = None,
    untranslatable: str | None = None,
) -> Call[Job]:
    """Migrate a gallery to another space.

    `mode` is `gallery`, `probe` or `mixed`, `route` the translators, `gates` what it must reach, by their names; `cutover` is
    `manual` or `auto`, `keep_seconds` how long the generation before is kept; `retires` says whether native templates take the
    place of translated ones, `untranslatable` (`refuse`, `leave-out`) what becomes of those from which no route leads there.
    """
    body = {
        "target": target,
        "mode": mode,
        "route": None if route is None else list(route),
        "gates": gates,
        "cutover": cutover,
        "keep_seconds": keep_seconds,
        "retires": retires,
        "untranslatable": untranslatable,
    }
    return Call("POST", path_of("galleries", gallery, "migrations"), _job, json=given(body), headers=once())


def backlog(gallery: str, cursor: str | None = None, *, limit: int | None = None) -> Call[Backlog]:
    """A page of the templates that are not native yet, those of least confidence first."""
    return Call("GET", path_of("galleries", gallery, "backlog"), _backlog, {"cursor": cursor, "limit": limit})


def job(job_id: str) -> Call[Job]:
    """A job, and how far it has come."""
    return Call("GET", path_of("jobs", job_id), _job)


def jobs(gallery: str | None = None, cursor: str | None = None, *, limit: int | None = None) -> Call[JobPage]:
    """A page of jobs, the newest first."""
    return Call("GET", "/jobs", _jobs, {"gallery": gallery, "cursor": cursor, "limit": limit})


def order(job_id: str, action: Order, *, force: bool | None = None, accept_missing: bool | None = None) -> Call[Job]:
    """`pause`, `resume`, `cancel`; `cutover` with `force`, `rollback` with `accept_missing`."""
    body = given({"force": force, "accept_missing": accept_missing})
    return Call("POST", path_of("jobs", job_id, action), _job, json=body or None, headers=once())


def verdict(job_id: str, *, is_page: bool = False) -> Call[bytes]:
    """What was measured of a migration: signed JSON, or a page of HTML."""
    return Call("GET", path_of("jobs", job_id, f"verdict{'.html' if is_page else ''}"), content)


def judge_by_probes(job_id: str, data: bytes, *, media_type: str = NPZ) -> Call[Document]:
    """The verdict by labelled probes too: a feature set with subjects. It is signed, and taken as it is."""
    return Call("POST", path_of("jobs", job_id, "probes"), document, content=data, media_type=media_type)
