"""On a machine with CUDA: bundles run there, say so, and give the CPU's numbers. Skipped elsewhere."""

import numpy as np
import onnxruntime as ort
import pytest

from models.linear import LinearMap
from models.runtime import Session
from training.export.linear_graph import linear_graph

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="no CUDA on this machine"),
]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_translator_on_cuda_gives_the_cpus_numbers_and_says_where_it_ran(device: str) -> None:
    rng = np.random.default_rng(0)
    model = LinearMap(rng.standard_normal((128, 512)).astype(np.float32), rng.standard_normal(512).astype(np.float32))
    graph = linear_graph(model, 128)
    rows = rng.standard_normal((1000, 128)).astype(np.float32)
    session = Session(graph, device=device)  # type: ignore[arg-type]
    assert session.device == "cuda"
    np.testing.assert_allclose(session.run(rows), Session(graph, device="cpu").run(rows), atol=1e-3)
