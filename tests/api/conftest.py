"""Apps with small bundles, over both gallery stores; their lifespan runs, so micro-batchers do.

One app a store serves all tests, which begin without galleries; whoever needs other settings makes an app.
"""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from service.app import create_app
from service.galleries.oracle import OracleGalleryStore
from service.settings import Settings
from tests.api.world import running, write_world

MakeApp = Callable[..., FastAPI]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here share one event loop, because the apps do."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of bundles; nobody changes it."""
    return write_world(tmp_path_factory.mktemp("bundles"))


@pytest.fixture
def make_app(bundles: Path, tmp_path: Path) -> MakeApp:
    """Makes an app over an oracle store; keywords are settings, and `engines` and `store`."""

    def make(*, engines: Any = None, store: Any = None, **settings: Any) -> FastAPI:
        given: dict[str, Any] = {"bundles": bundles, "data": tmp_path / "data", "device": "cpu"} | settings
        chosen = Settings(**given)
        return create_app(chosen, engines=engines, store=store or OracleGalleryStore())

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["embedded", "oracle"])
async def shared_client(
    request: pytest.FixtureRequest, bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(bundles=bundles, data=tmp_path_factory.mktemp("data"), device="cpu")
    store = OracleGalleryStore() if request.param == "oracle" else None
    async with running(create_app(settings, store=store)) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def client(shared_client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an app without galleries, over each store."""
    return await without_galleries(shared_client)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_oracle_client(
    bundles: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(bundles=bundles, data=tmp_path_factory.mktemp("data"), device="cpu")
    async with running(create_app(settings, store=OracleGalleryStore())) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def oracle_client(shared_oracle_client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of one app without galleries, for what no store has a say in."""
    return await without_galleries(shared_oracle_client)


@pytest_asyncio.fixture(loop_scope="session")
async def people(oracle_client: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client of an app with one empty gallery, `people`, in the space a."""
    assert (await oracle_client.post("/galleries", json={"name": "people", "space": "a"})).status_code == 201
    return oracle_client


async def without_galleries(client: httpx.AsyncClient) -> httpx.AsyncClient:
    for gallery in (await client.get("/galleries")).json()["galleries"]:
        assert (await client.delete(f"/galleries/{gallery['name']}")).status_code == 204
    return client
