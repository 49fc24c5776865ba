"""One thread, so that sums are made in one order, and two cores are left to others."""

import pytest
import torch

from tests.exporting import one_registry  # noqa: F401


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)
