"""A graph as a translator, by the numbers of numpy; what a bundle adds is seen by the tests of the commands."""

import numpy as np
import numpy.typing as npt
import pytest

from models.linear import LinearMap
from training.export import loaded
from training.export.linear_graph import linear_graph
from training.export.loaded import GraphTranslator

FloatArray = npt.NDArray[np.float32]


@pytest.fixture
def linear() -> LinearMap:
    weight = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    return LinearMap(weight, np.array([0.5, 0.0, -0.25], dtype=np.float32))


def rows(num: int) -> FloatArray:
    random = np.random.default_rng(num).normal(size=(num, 5))
    unit: FloatArray = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.mark.parametrize("num", [1, 3, 4, 5, 9])
def test_it_gives_what_the_map_gives_however_many_runs_it_takes(
    linear: LinearMap, monkeypatch: pytest.MonkeyPatch, num: int
) -> None:
    monkeypatch.setattr(loaded, "_ROWS_A_RUN", 4)
    translated = GraphTranslator(linear_graph(linear, 5), "cpu")(rows(num))
    raw = rows(num) @ linear.weight_ST + linear.bias_T
    np.testing.assert_allclose(translated, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(translated, axis=1), 1.0, atol=1e-6)
