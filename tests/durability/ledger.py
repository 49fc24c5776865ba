"""What a killed process had acknowledged, and whether a folder holds just that."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.entities import Template
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.failpoints import VARIABLE
from tests.durability.writer_process import GALLERY, SPACE, every_template, feature

ROOT = Path(__file__).parents[2]
State = dict[str, str]
"""Subjects by the keys of their templates."""
UNCERTAIN = frozenset({"ReadOnlyError", "StorageError", "DamagedError"})
"""Failures after which it is not known whether something was kept."""


@dataclass
class Run:
    """One run of the writing process."""

    lines: list[dict[str, Any]]
    status: int
    """As the operating system tells it; negative for a signal."""
    log: str = ""
    begun: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    ended: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for line in self.lines:
            place = (line.get("client", -1), line.get("number", -1))
            if "begin" in line:
                self.begun[place] = line["begin"]
            elif "end" in line:
                self.ended[place] = line["end"]

    @property
    def failures(self) -> list[str]:
        """What calls raised, and why."""
        return [f"{line['end']}: {line['why']}" for line in self.lines if "why" in line]

    @property
    def is_closed(self) -> bool:
        """Whether it came to its end."""
        return any("closed" in line for line in self.lines)


def run(
    folder: Path,
    seed: int,
    *,
    clients: int = 4,
    operations: int = 60,
    kill_after: float | None = None,
    failpoint: str = "",
    before: Sequence[str] = (),
) -> Run:
    """Let clients write; kill the process after some seconds of that, or where it gets to a failpoint."""
    command = [*before, sys.executable, "-m", "tests.durability.writer_process"]
    environment = os.environ | {VARIABLE: failpoint, "PYTHONWARNINGS": "default"}
    arguments = [str(folder), str(seed), str(clients), str(operations)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=log, cwd=ROOT, env=environment
        ) as process,
    ):
        assert process.stdout is not None
        data = process.stdout.readline()
        if kill_after is not None:
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        data += process.stdout.read()
        status = process.wait()
        log.seek(0)
        told = log.read().decode()
    # The last line may be half a line.
    lines = [json.loads(line) for line in data.decode().split("\n")[:-1]]
    return Run(lines, status, told)


def apply(state: State, operation: dict[str, Any]) -> State:
    """What an operation makes of a state."""
    kind = operation["kind"]
    if kind in ("enrol", "translated", "replace"):
        return state | {key: subject for subject, key in operation["rows"]}
    if kind == "remove-template":
        return {key: subject for key, subject in state.items() if key != operation["key"]}
    if kind in ("remove-subject", "erase"):
        return {key: subject for key, subject in state.items() if subject != operation["subject"]}
    return state


def possible(state: State, run: Run, client: int) -> list[State]:
    """The states of one client's subjects that a run may have left: what it was told of is in all of them."""
    states = [{key: subject for key, subject in state.items() if subject.startswith(f"{client}/")}]
    numbers = sorted(number for of_client, number in run.begun if of_client == client)
    for number in numbers:
        outcome = run.ended.get((client, number))
        after = [apply(one, run.begun[client, number]) for one in states]
        if outcome == "done":
            states = after
        elif outcome is None or outcome in UNCERTAIN:
            states = [*states, *after]
            if run.begun[client, number]["kind"] == "there-and-back":
                rows = run.begun[client, number]["rows"]
                states += [one | {key: subject for subject, key in rows} for one in states]
    return states


def check(folder: Path, state: State, run: Run, clients: int) -> State:
    """Open the folder as the next start does; what it holds, which must be one of the possible states and agree with itself."""
    store = EmbeddedGalleryStore(folder)
    try:
        if GALLERY not in [gallery.name for gallery in store.list_galleries()]:
            assert not run.ended
            store.create(GALLERY, SPACE)
        templates = every_template(store)
        found = {str(template.key): template.subject for template in templates}
        assert len(found) == len(templates), "a template is there twice"
        for client in range(clients):
            mine = {key: subject for key, subject in found.items() if subject.startswith(f"{client}/")}
            allowed = possible(state, run, client)
            assert mine in allowed, _difference(mine, allowed[0])
        assert store.get(GALLERY).num_templates == len(found)
        assert store.get(GALLERY).num_subjects == len(set(found.values()))
        _check_searches(store, templates)
        unsound = [(one.what, one.detail) for one in store.check(GALLERY) if not one.is_sound]
        assert unsound == []
        return found
    finally:
        store.close()


def _check_searches(store: EmbeddedGalleryStore, templates: list[Template]) -> None:
    """Everybody is found by their own features, and by them alone."""
    if not templates:
        return
    probes_BD = np.stack([feature(str(template.key)) for template in templates])
    found = store.search(GALLERY, probes_BD, SPACE, 1).candidates
    for template, candidates in zip(templates, found, strict=True):
        assert (candidates[0].subject, candidates[0].template_id) == (template.subject, template.template_id)
        assert candidates[0].score > 0.99999
    (everybody,) = store.search(GALLERY, probes_BD[:1], SPACE, 10_000).candidates
    assert sorted(one.subject for one in everybody) == sorted({template.subject for template in templates})


def _difference(found: State, expected: State) -> str:
    lost = {key: subject for key, subject in expected.items() if key not in found}
    more = {key: subject for key, subject in found.items() if key not in expected}
    return f"lost {lost}, more {more}"
