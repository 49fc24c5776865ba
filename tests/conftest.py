"""What every test may use: the real faces and encoders, where the machine has them."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def shared_folder() -> Path:
    """The folder of real faces and encoders: FACEBRIDGE_SHARED, by default `shared` beside the checkout."""
    return Path(os.environ.get("FACEBRIDGE_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Skip tests marked `real` where there are no real faces; with REQUIRE_REAL_FACES that is an error."""
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
