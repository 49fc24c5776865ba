"""What torch's exporter knows of ONNX, read once in a process and not anew at every export."""

from collections.abc import Iterator
from functools import cache

import pytest
from torch.onnx._internal.exporter._registration import ONNXRegistry


@pytest.fixture(autouse=True, scope="session")
def one_registry() -> Iterator[None]:
    """The exporter only looks things up in it; making it takes longer than the rest of a small network's export."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield
