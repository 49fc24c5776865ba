"""Apps with small bundles, over both gallery stores; their lifespan runs, so micro-batchers do."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.world import running, write_world

MakeApp = Callable[..., FastAPI]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of bundles; nobody changes it."""
    return write_world(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def make_app(bundles: Path, tmp_path: Path) -> MakeApp:
    """Makes an app over an oracle store; keywords are settings, and `engines` and `store`."""

    def make(*, engines: Any = None, store: Any = None, **settings: Any) -> FastAPI:
        chosen = Settings(**({"bundles": bundles, "data": tmp_path / "data", "device": "cpu"} | settings))
        return create_app(chosen, engines=engines, store=store or OracleGalleryStore())

    return make


@pytest.fixture(params=["embedded", "oracle"])
def app(request: pytest.FixtureRequest, bundles: Path, tmp_path: Path) -> FastAPI:
    settings = Settings(bundles=bundles, data=tmp_path / "data", device="cpu")
    return create_app(settings, store=OracleGalleryStore() if request.param == "oracle" else None)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app over each store."""
    async with running(app) as opened:
        yield opened


@pytest.fixture
async def oracle_client(make_app: MakeApp) -> AsyncIterator[httpx.AsyncClient]:
    """A client of one app, for what no store has a say in."""
    async with running(make_app()) as opened:
        yield opened
