"""`facebridge migrate`: start and steer migrations, of a running service or of a data folder that no service uses, and translate
feature sets.

Both go through the same requests: a data folder is served in this process, to nobody else.
"""

import asyncio
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from models.feature_set import FeatureSet
from models.parquet import write_parquet
from models.space import Space
from service.app import create_app
from service.client import AsyncClient, Call, Job, Numbers, ProblemError, StrangerError, UnreachableError, calls
from service.command_files import console, read_feature_set
from service.entities import Route
from service.errors import InvalidInputError, NoRouteError
from service.inference.inference import Inference
from service.inference.loading import OnnxEngines, load_bundles
from service.migrate_arguments import DEFAULT_URL, KEY_VARIABLE
from service.settings import Settings

_POLL_SECONDS = 0.25
_SAY_SECONDS = 5.0
"""How often something is said where nobody looks at a bar."""
_REQUEST_SECONDS = 600.0
_AT_ONCE = 8192
_WORKED_ON = ("queued", "running", "verifying")
_WORKERS = ("start", "watch", "resume", "probes")
"""Actions that, with a data folder, do the work of its jobs too."""
_INTERRUPTED = 130
_FAILED = ("failed", "cancelled", "paused")

T = TypeVar("T")
Orders = Callable[[AsyncClient, Mapping[str, Any]], Any]


def run(options: Mapping[str, Any]) -> int:
    """Run an action as parsed; the exit code: 1 where a gate failed, or the job did; 130 where it was interrupted."""
    try:
        return _translate_files(options) if options["action"] == "files" else asyncio.run(_run(options))
    except KeyboardInterrupt:
        return _INTERRUPTED


async def _run(options: Mapping[str, Any]) -> int:
    async with _client(options) as client:
        code: int = await _ACTIONS[options["action"]](client, options)
        return code


@asynccontextmanager
async def _client(options: Mapping[str, Any]) -> AsyncIterator[AsyncClient]:
    """Of a service, or of a data folder. Raises `FacebridgeError`."""
    if options["data"] is None:
        key = os.environ.get(KEY_VARIABLE)
        async with AsyncClient(options["url"], key, timeout_seconds=_REQUEST_SECONDS, retries=1) as client:
            yield client
        return
    if not options["data"].is_dir():
        raise InvalidInputError(f"{options['data']}: there is no such data folder")
    settings = Settings(bundles=options["bundles"], data=options["data"], device=options["device"])
    app = create_app(settings, does_jobs=options["action"] in _WORKERS, needs_keys=False)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with AsyncClient("http://facebridge", transport=transport, timeout_seconds=None, retries=0) as client:
            yield client


async def _ask(client: AsyncClient, make: Callable[[], Call[T]]) -> T:
    """What is answered. Raises `InvalidInputError` saying what the service says."""
    try:
        return await client(make())
    except (httpx.InvalidURL, ValueError):
        raise InvalidInputError("what is asked for cannot stand in a request") from None
    except UnreachableError as failure:
        reason = str(failure).rpartition(" ")[2]
        raise InvalidInputError(f"{client.url}: cannot be reached ({reason})") from None
    except StrangerError:
        raise InvalidInputError(
            f"{client.url}: what answers there is no Facebridge, or another version of it"
        ) from None
    except ProblemError as failure:
        raise InvalidInputError(failure.detail if failure.slug == "unknown" else str(failure)) from None


async def _start(client: AsyncClient, options: Mapping[str, Any]) -> int:
    body: dict[str, Any] = {
        "target": options["target"],
        "mode": options["mode"],
        "gates": options["gates"],
        "retires": not options["keep_translated"],
        "untranslatable": "leave-out" if options["leave_out"] else "refuse",
        "cutover": "auto" if options["cutover"] else "manual",
    }
    if options["route"]:
        body["route"] = options["route"]
    if options["keep_seconds"] is not None:
        body["keep_seconds"] = options["keep_seconds"]
    target = body.pop("target")
    job = await _ask(client, lambda: calls.migrate(options["gallery"], target, **body))
    console().print(f"job {job.job_id}: {job.gallery}, {job.source.name} to {job.target.name}")
    # In a process of its own nobody else would do the work.
    if options["no_wait"] and options["data"] is None:
        return 0
    return await _watch(client, {**options, "job": job.job_id})


async def _watch(client: AsyncClient, options: Mapping[str, Any]) -> int:
    job = await _ask(client, lambda: calls.job(options["job"]))
    try:
        with _Bar() as bar:
            while job.state in _WORKED_ON or _is_about_to_be_cut_over(job):
                bar.show(job)
                await asyncio.sleep(_POLL_SECONDS)
                job = await _ask(client, lambda: calls.job(options["job"]))
            bar.show(job)
    except asyncio.CancelledError:
        goes_on = "goes on" if options["data"] is None else "has stopped, and loses nothing"
        console().print(f"the job {goes_on}; next: {_command('watch', job, options)}", soft_wrap=True)
        raise
    return _tell(job, options)


def _is_about_to_be_cut_over(job: Job) -> bool:
    """Whether whoever works on it does that next, without being told to."""
    return job.state == "ready" and job.cutover == "auto" and bool(job.is_passed) and not job.reason


async def _status(client: AsyncClient, options: Mapping[str, Any]) -> int:
    return _tell(await _ask(client, lambda: calls.job(options["job"])), options)


async def _order(client: AsyncClient, options: Mapping[str, Any]) -> int:
    bodies = {"cutover": {"force": options.get("force")}, "rollback": {"accept_missing": options.get("accept_missing")}}
    action = options["action"]
    job = await _ask(client, lambda: calls.order(options["job"], action, **bodies.get(action, {})))
    if action == "resume" and options["data"] is not None:
        return await _watch(client, options)
    _say(job)
    return 0


async def _list(client: AsyncClient, options: Mapping[str, Any]) -> int:
    table = Table("job", "gallery", "from", "to", "state", "done", "passed", "begun")
    cursor: str | None = None
    while True:
        page = await _ask(client, partial(calls.jobs, options["gallery"], cursor))
        for job in page.jobs:
            numbers = job.progress
            done = f"{numbers.done:,} of {numbers.total:,}" if numbers else ""
            passed = {None: "", True: "yes", False: "no"}[job.is_passed]
            spaces = (job.source.name, job.target.name)
            table.add_row(job.job_id, job.gallery, *spaces, job.state, done, passed, job.created_at)
        cursor = page.next_cursor
        if cursor is None:
            break
    console().print(table)
    return 0


async def _verdict(client: AsyncClient, options: Mapping[str, Any]) -> int:
    page = options["out"].suffix.lower() == ".html"
    options["out"].write_bytes(await _ask(client, lambda: calls.verdict(options["job"], is_page=page)))
    console().print(f"{options['out']}: written", soft_wrap=True)
    return 0


async def _probes(client: AsyncClient, options: Mapping[str, Any]) -> int:
    path: Path = options["probes"]
    media_type, data = calls.NPZ if path.suffix == ".npz" else calls.PARQUET, path.read_bytes()
    await _ask(client, lambda: calls.judge_by_probes(options["job"], data, media_type=media_type))
    return await _status(client, options)


_ACTIONS: dict[str, Orders] = {
    "start": _start,
    "watch": _watch,
    "status": _status,
    "list": _list,
    "verdict": _verdict,
    "probes": _probes,
    **dict.fromkeys(("pause", "resume", "cancel", "cutover", "rollback"), _order),
}


class _Bar:
    """How far a job has come: a bar where somebody looks at it, else a line now and then."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[told]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console(),
            disable=not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("queued", total=None, told="")
        self._said = 0.0
        self._state = ""

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, job: Job) -> None:
        """As it is now."""
        progress = job.progress or Numbers(done=0, total=0, failed=0, rate=None)
        rate = f", {progress.rate:,.0f}/s" if progress.rate else ""
        told = f"{progress.done:,} of {progress.total:,}{rate}" + (f" ({job.reason})" if job.reason else "")
        self._bar.update(self._task, description=job.state, completed=progress.done, total=progress.total, told=told)
        is_new = job.state != self._state or time.monotonic() - self._said > _SAY_SECONDS
        if self._bar.disable and is_new:
            self._said, self._state = time.monotonic(), job.state
            console().print(f"{job.state}: {told}", soft_wrap=True)


def _command(action: str, job: Job, options: Mapping[str, Any]) -> str:
    """What is typed next, and reaches the same service or data folder."""
    where = f" --url {options['url']}" if options["url"] != DEFAULT_URL else ""
    if options["data"] is not None:
        where = f" --data {shlex.quote(str(options['data']))} --bundles {shlex.quote(str(options['bundles']))}"
    return f"facebridge migrate {action} {job.job_id}{where}"


def _say(job: Job) -> None:
    reason = f": {job.reason}" if job.reason else ""
    console().print(f"job {job.job_id} is {job.state}{reason}", soft_wrap=True)


def _tell(job: Job, options: Mapping[str, Any]) -> int:
    _say(job)
    if job.gates:
        table = Table("gate", "measured", "limit", "of", "state")
        for gate in job.gates:
            measured = "" if gate.value is None else f"{gate.value:.4f}"
            limit = f"{'at least' if gate.is_least else 'at most'} {gate.limit:g}"
            style = {"passed": "green", "failed": "bold red", "not-measured": "yellow"}[gate.state]
            table.add_row(gate.name, measured, limit, f"{gate.num:,}", f"[{style}]{gate.state}[/]")
        console().print(table)
    if job.state == "ready":
        action = "cutover" if job.is_passed else "cutover --force"
        console().print(f"next: {_command(action, job, options)}", soft_wrap=True)
    # Of one that was to be cut over by itself and is not, whoever waits for that must not go on.
    is_kept_back = job.cutover == "auto" and job.reason
    is_in_vain = job.state == "ready" and (not job.is_passed or is_kept_back)
    return 1 if job.state in _FAILED or is_in_vain else 0


def _translate_files(options: Mapping[str, Any]) -> int:
    """Feature sets into a space, as Parquet. Raises `FacebridgeError`, `FeatureSetError`."""
    loaded = load_bundles(options["bundles"], OnnxEngines(options["device"], 1))
    inference = Inference(loaded, batch_rows=_AT_ONCE, queue_rows=_AT_ONCE, queue_pictures=1)
    target = inference.catalog.find_space(options["target"])
    if target is None:
        raise InvalidInputError("the target space is not known here; see the bundles")
    folder: Path = options["out"]
    sets = {path: read_feature_set(path) for path in options["files"]}
    routes = {path: _route_of(inference, path, one, target) for path, one in sets.items()}
    outs = {path: folder / f"{path.stem}.{target.name}.parquet" for path in sets}
    if len(set(outs.values())) < len(options["files"]):
        raise InvalidInputError("two of these would be written to one file; name them otherwise")
    folder.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), disable=not sys.stdout.isatty()) as bar:
        for path, one in sets.items():
            task = bar.add_task(path.name, total=len(one))
            translated, num_left = _translated(inference, one, routes[path], partial(bar.advance, task))
            out = outs[path]
            draft = out.with_name(f".{out.name}.draft")
            draft.write_bytes(write_parquet(translated))
            draft.replace(out)
            left = f", {num_left:,} without a direction there left out" if num_left else ""
            console().print(f"{out}: {len(translated):,} features{left}", soft_wrap=True)
    return 0


def _route_of(inference: Inference, path: Path, one: FeatureSet, target: Space) -> Route:
    """Raises `InvalidInputError`, `NoRouteError`, saying of which file."""
    try:
        route = inference.catalog.route(one.space, target)
    except NoRouteError as failure:
        raise NoRouteError(f"{path}: {failure}") from None
    if not route.steps:
        raise InvalidInputError(f"{path}: is in the space {target.name} already")
    return route


def _translated(
    inference: Inference, one: FeatureSet, route: Route, on_done: Callable[[int], None]
) -> tuple[FeatureSet, int]:
    """A feature set along a route, with the confidence in each translation as a label; and how many were left out."""
    blocking = inference.blocking(route.steps)
    features, confidences = [], []
    for start in range(0, len(one), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        made = blocking(one.feature[part], one.norms[part])
        features.append(made.features)
        confidences.append(np.full(len(made.features), np.nan) if made.confidence is None else made.confidence)
        on_done(len(made.features))
    feature_ND, confidence_N = np.concatenate(features), np.concatenate(confidences)
    rows = np.flatnonzero(~np.isnan(feature_ND).any(axis=1))
    kept = one.take(rows).moved(route.target, feature_ND[rows], translated_by="+".join(route.bundles))
    if not np.isnan(confidence_N).all():
        kept = replace(kept, labels={**kept.labels, "confidence": confidence_N[rows].astype(np.float64)})
    return kept, len(one) - len(rows)
