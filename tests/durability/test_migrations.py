"""A gallery that is being migrated while the service is killed: it goes on where it was, nothing is lost, nothing is there twice.

A short version runs with every change; `make crash` kills twenty times in every phase (FACEBRIDGE_CRASHES).
"""

import os
import signal
import sqlite3
import sys
import threading
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.linear import LinearMap
from service.galleries.failpoints import OF_MIGRATIONS
from service.galleries.folder import RECORD
from tests.api.world import A_TO_B, A, B, Rows, feature_set, features, unit, write_translator
from tests.serving import WAIT_SECONDS, serving

CRASHES = int(os.environ.get("FACEBRIDGE_CRASHES", "6"))
KILLS = 20 if CRASHES >= 20 else 1
"""In each phase."""
NUM = 2000
GALLERY = "people"
GATES = {"min_overlap": 0.0, "min_retention": 0.0, "max_negative_flips": 1.0, "num_samples": 40}
_BACK = LinearMap(np.linalg.pinv(A_TO_B.weight_ST).astype(np.float32), np.zeros(8, dtype=np.float32))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    write_translator(folder / "a-to-b", A_TO_B, A, B, quality=0.9)
    write_translator(folder / "b-to-a", _BACK, B, A, quality=0.9)
    return folder


@dataclass
class Ledger:
    """What the service has acknowledged: subjects by keys, in its space the feature of each."""

    sure: dict[str, str] = field(default_factory=dict)
    perhaps: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    """Subjects who may be there or not, as somebody was removing them."""
    wrong: list[str] = field(default_factory=list)
    num_answers: int = 0


def feature_of(key: str) -> Rows:
    (row,) = unit(features(1, 8, seed=zlib.crc32(key.encode())))
    return np.asarray(row)


class Client(threading.Thread):
    """Enrols, asks and removes until the service is gone."""

    def __init__(self, url: str, number: int, seed: int, ledger: Ledger) -> None:
        super().__init__(name=f"client-{number}")
        self.url, self.number, self.ledger = url, number, ledger
        self.rng = np.random.default_rng([seed, number])
        self.tag = f"{seed}.{number}"

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=WAIT_SECONDS, trust_env=False) as client:
            number = 0
            while True:
                number += 1
                try:
                    self.step(client, number)
                except httpx.HTTPError:
                    return

    def step(self, client: httpx.Client, number: int) -> None:
        key = f"{self.tag}.{number}"
        subject = f"{key}/s"
        template = {"subject": subject, "key": key, "feature": feature_of(key).tolist()}
        self.ledger.perhaps[key] = subject
        response = client.post(f"/galleries/{GALLERY}/templates", json={"space": "a", "templates": [template]})
        self.expect(response, 201)
        self.ledger.sure[key] = self.ledger.perhaps.pop(key)
        probe = {"space": "a", "feature": template["feature"]}
        response = client.post("/identify", json={"gallery": GALLERY, "top_k": 1, "probe": probe})
        self.expect(response, 200)
        answer = response.json()
        space = answer["route"]["target"]["name"]
        if answer["candidates"][0]["subject"] != subject:
            self.ledger.wrong.append(f"{subject} is not found in generation {answer['generation']} ({space})")
        if number % 5 == 0:
            self.ledger.gone.add(subject)
            self.expect(client.delete(f"/galleries/{GALLERY}/subjects/{subject}"), 200)
            self.ledger.sure.pop(key)
            self.ledger.gone.discard(subject)

    def expect(self, response: httpx.Response, status: int) -> None:
        self.ledger.num_answers += 1
        if response.status_code != status:
            self.ledger.wrong.append(response.text)


class Operator(threading.Thread):
    """Starts a migration to the space that the gallery is not in, and steers it, until the service is gone."""

    def __init__(self, url: str, *, cancels: bool) -> None:
        super().__init__(name="operator")
        self.url, self.cancels = url, cancels
        self.failures: list[str] = []

    def run(self) -> None:
        with (
            suppress(httpx.HTTPError),
            httpx.Client(base_url=self.url, timeout=WAIT_SECONDS, trust_env=False) as client,
        ):
            while True:
                job = open_job(client) or start(client)
                self.steer(client, job)

    def steer(self, client: httpx.Client, job: str) -> None:
        if self.cancels:
            # What was not begun is not dropped.
            while client.get(f"/jobs/{job}").json()["generation"] is None:
                time.sleep(0.005)
            client.post(f"/jobs/{job}/cancel")
            return
        if client.post(f"/jobs/{job}/pause").status_code == 200:
            client.post(f"/jobs/{job}/resume")
        until_ready(client, job)
        for order in ("cutover", "rollback", "cutover"):
            response = client.post(f"/jobs/{job}/{order}", json={})
            if response.status_code != 200:
                self.failures.append(response.text)


def open_job(client: httpx.Client) -> str | None:
    states = ("queued", "running", "paused", "verifying", "ready")
    jobs = client.get("/jobs", params={"gallery": GALLERY}).json()["jobs"]
    return next((job["job_id"] for job in jobs if job["state"] in states), None)


def start(client: httpx.Client) -> str:
    now = client.get(f"/galleries/{GALLERY}").json()["space"]["name"]
    body = {"target": "b" if now == "a" else "a", "gates": GATES, "keep_seconds": 3600}
    response = client.post(f"/galleries/{GALLERY}/migrations", json=body)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


def until_ready(client: httpx.Client, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found: dict[str, Any] = client.get(f"/jobs/{job}").json()
        if found["state"] == "paused":
            client.post(f"/jobs/{job}/resume")
        if found["state"] in ("ready", "cut-over", "rolled-back", "failed", "cancelled"):
            return found
        time.sleep(0.01)
    raise AssertionError(found)


def enrol_many(client: httpx.Client, num: int = NUM) -> None:
    """Everybody once, in the space a."""
    assert client.post("/galleries", json={"name": GALLERY, "space": "a"}).status_code == 201
    body = feature_set(A, unit(features(num, 8, seed=4)), [f"base{row}/s" for row in range(num)])
    response = client.post(
        f"/galleries/{GALLERY}/templates", content=body, headers={"content-type": "application/x-npz"}
    )
    assert response.status_code == 201, response.text


def all_templates(client: httpx.Client) -> list[dict[str, Any]]:
    templates: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"/galleries/{GALLERY}/templates?limit=1000" + (f"&cursor={cursor}" if cursor else "")).json()
        templates += page["templates"]
        cursor = page["next_cursor"]
    return templates


def check(client: httpx.Client, ledger: Ledger) -> None:
    """What is there is what was acknowledged, in whichever generation is the active one, and everybody is found in it."""
    templates = all_templates(client)
    found = {one["key"]: one["subject"] for one in templates}
    assert len(found) == len(templates), "a template is there twice"
    mine = {key: subject for key, subject in found.items() if not subject.startswith("base")}
    lost = {key for key, subject in ledger.sure.items() if key not in mine and subject not in ledger.gone}
    more = mine.keys() - ledger.sure.keys() - ledger.perhaps.keys()
    assert (lost, more) == (set(), set())
    assert len(found) - len(mine) == NUM
    gallery = client.get(f"/galleries/{GALLERY}").json()
    assert gallery["num_templates"] == len(templates)
    checks = client.get(f"/galleries/{GALLERY}/check").json()
    assert checks["is_sound"], checks
    keys = sorted(mine)
    rows = np.concatenate([unit(features(NUM, 8, seed=4)), *(feature_of(key)[None] for key in keys)])
    stream = feature_set(A, rows, ["x"] * len(rows))
    response = client.post(
        f"/identify?gallery={GALLERY}&top_k=1", content=stream, headers={"content-type": "application/x-npz"}
    )
    assert response.status_code == 200, response.text
    answers = response.json()["results"]
    subjects = [*(f"base{row}/s" for row in range(NUM)), *(mine[key] for key in keys)]
    wrong = [
        (subject, answer["candidates"][0])
        for subject, answer in zip(subjects, answers, strict=True)
        if answer["candidates"][0]["subject"] != subject or answer["candidates"][0]["score"] < 0.999
    ]
    assert wrong == []
    # What was there before the kill and what came since is settled now.
    ledger.sure, ledger.perhaps, ledger.gone = mine, {}, set()


def killed(bundles: Path, data: Path, ledger: Ledger, seed: int, *, failpoint: str = "", after: float = 0.0) -> int:
    """Run the service under load until it is killed; its exit status."""
    with serving(bundles, data, "--log-level", "error", failpoint=failpoint) as served:
        clients = [Client(served.url, number, seed, ledger) for number in range(2)]
        operator = Operator(served.url, cancels=failpoint.startswith(("cancel", "drop")))
        for thread in (*clients, operator):
            thread.start()
        if not failpoint:
            time.sleep(after)
            served.process.send_signal(signal.SIGKILL)
        status = served.process.wait(WAIT_SECONDS)
        for thread in (*clients, operator):
            thread.join(WAIT_SECONDS)
        assert operator.failures == []
    return status


def goes_on(bundles: Path, data: Path, ledger: Ledger) -> None:
    """The next start finds everything, takes the job up that was under way, and brings it to its end in both directions."""
    with (
        serving(bundles, data, "--log-level", "error") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, trust_env=False) as client,
    ):
        check(client, ledger)
        job = open_job(client)
        if job is None:
            return
        state = until_ready(client, job)["state"]
        assert state in ("ready", "cut-over", "rolled-back")
        for order in ("cutover", "rollback", "cutover")[state == "cut-over" :]:
            response = client.post(f"/jobs/{job}/{order}", json={})
            assert response.status_code == 200, response.text
            check(client, ledger)


@pytest.fixture
def data(tmp_path: Path, bundles: Path) -> Path:
    folder = tmp_path / "data"
    with (
        serving(bundles, folder, "--log-level", "error") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, trust_env=False) as client,
    ):
        enrol_many(client)
        served.process.send_signal(signal.SIGTERM)
        served.process.wait(WAIT_SECONDS)
    return folder


@pytest.mark.parametrize("name", OF_MIGRATIONS)
def test_a_kill_in_any_phase_costs_nothing(data: Path, bundles: Path, name: str) -> None:
    ledger = Ledger()
    for number in range(KILLS):
        nth = 1 + number % 4
        status = killed(bundles, data, ledger, number, failpoint=f"{name}:{nth}")
        assert status == -signal.SIGKILL, f"{name} was not reached"
        assert ledger.wrong == []
        goes_on(bundles, data, ledger)
    assert ledger.wrong == []
    sys.stdout.write(f"{KILLS} kills at {name}, {ledger.num_answers} answers: nothing lost, nothing twice\n")


def test_kills_at_any_time_cost_nothing(data: Path, bundles: Path) -> None:
    ledger, rng = Ledger(), np.random.default_rng(CRASHES)
    for number in range(max(1, KILLS * 2)):
        killed(bundles, data, ledger, number, after=float(rng.uniform(0.05, 1.5)))
        assert ledger.wrong == []
        goes_on(bundles, data, ledger)
    assert ledger.num_answers > 10
    sys.stdout.write(
        f"{max(1, KILLS * 2)} kills at any time, {ledger.num_answers} answers: nothing lost, nothing twice\n"
    )


def test_what_was_recorded_before_a_kill_is_not_translated_again(data: Path, bundles: Path) -> None:
    with (
        serving(bundles, data, "--log-level", "error", failpoint="fill-before-commit:3") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, trust_env=False) as client,
    ):
        job = start(client)
        assert served.process.wait(WAIT_SECONDS) == -signal.SIGKILL
    with sqlite3.connect(f"file:{data / RECORD}?mode=ro", uri=True) as db:
        (recorded,) = db.execute("SELECT COUNT(*) FROM translated").fetchone()
    assert 0 < recorded < NUM
    with (
        serving(bundles, data, "--log-level", "error") as served,
        httpx.Client(base_url=served.url, timeout=WAIT_SECONDS, trust_env=False) as client,
    ):
        assert until_ready(client, job)["state"] == "ready"
        metrics = client.get("/metrics").text
    (line,) = [line for line in metrics.splitlines() if line.startswith("facebridge_migrated_templates_total{")]
    assert float(line.split()[-1]) == NUM - recorded
