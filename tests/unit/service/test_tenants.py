"""Tenants whose folders are opened when they are asked for, and the jobs of those that are open."""

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.keys import make_key
from service.app import create_app
from service.entities import Job, JobState
from service.galleries.embedded import EmbeddedGalleryStore
from service.galleries.folder import TENANTS
from service.settings import Settings
from service.state.embedded import EmbeddedJobStore
from service.state.on_redis.events import Event
from tests.api.world import running, write_world

WAIT_SECONDS = 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(bundles=write_world(tmp_path / "bundles"), data=tmp_path / "data", device="cpu")


async def test_whose_first_requests_come_at_once_is_opened_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(settings.data / "keys.json", "gate", tenant="acme").text
    opened: list[Path] = []

    def slowly(
        self: Any, folder: Path, *more: Any, open_: Callable[..., None] = EmbeddedGalleryStore.__init__, **named: Any
    ) -> None:
        opened.append(folder)
        time.sleep(0.2)
        open_(self, folder, *more, **named)

    async with running(create_app(settings)) as client:
        monkeypatch.setattr("service.galleries.embedded.EmbeddedGalleryStore.__init__", slowly)

        async def ask() -> httpx.Response:
            return await client.get("/galleries", headers={"x-api-key": key})

        answers = await asyncio.gather(*(ask() for _ in range(5)))
    assert [answer.status_code for answer in answers] == [200] * 5
    assert opened == [settings.data / TENANTS / "acme"]


class WatchedJobs(EmbeddedJobStore):
    """Says when somebody looks for work."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.looked = threading.Event()

    def lease(self, owner: str, states: Collection[JobState], seconds: float) -> Job | None:
        """See the port."""
        self.looked.set()
        return super().lease(owner, states, seconds)


@pytest.mark.parametrize("state", ["queued", "cut-over"])
async def test_who_hears_of_a_job_looks_for_work_at_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr("service.jobs.runner._LOOK_SECONDS", 600.0)
    jobs = WatchedJobs(settings.data)
    app = create_app(settings, jobs=jobs)
    async with running(app):
        assert await asyncio.to_thread(jobs.looked.wait, WAIT_SECONDS)
        jobs.looked.clear()
        # By itself it would not for ten minutes.
        assert not await asyncio.to_thread(jobs.looked.wait, 0.3)
        app.state.tenants.hear(Event("nobody", "1", "people", state))
        assert not await asyncio.to_thread(jobs.looked.wait, 0.3)
        app.state.tenants.hear(Event("default", "1", "people", state))
        assert await asyncio.to_thread(jobs.looked.wait, WAIT_SECONDS)
