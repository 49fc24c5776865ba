"""What every test may use: the real faces and encoders, where the machine has them."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[1]


def shared_folder() -> Path:
    """The folder of real faces and encoders: FACEBRIDGE_SHARED, by default `shared` beside the checkout."""
    return Path(os.environ.get("FACEBRIDGE_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests whose faces or programs this machine has not; with REQUIRE_REAL_FACES and REQUIRE_PROGRAMS that is an error."""
    _skip_without_programs(items)
    _skip_without_faces(items)


def _skip_without_programs(items: Iterable[pytest.Item]) -> None:
    for item in items:
        for marker in item.iter_markers("needs"):
            missing = [program for program in marker.args if shutil.which(program) is None]
            if missing and os.environ.get("REQUIRE_PROGRAMS"):
                raise pytest.UsageError(f"{missing[0]} must be there in CI, and is not")
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"needs {missing[0]}: apt-get install prometheus redis-server"))


def _skip_without_faces(items: Iterable[pytest.Item]) -> None:
    if (shared_folder() / "encoders" / "encoders.json").is_file():
        return
    if os.environ.get("REQUIRE_REAL_FACES"):
        raise pytest.UsageError(f"{shared_folder()}: the real faces must be there in CI, and are not")
    skip = pytest.mark.skip(reason="needs the real faces and encoders (FACEBRIDGE_SHARED)")
    for item in items:
        if item.get_closest_marker("real"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real faces and encoders."""
    return shared_folder()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis that all tests share; who kills it takes one of their own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.close()
