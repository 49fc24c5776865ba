"""Whole galleries through translators: by hand, with engines that are matrices.

    ab: (x, y, z) to (y, x, 0)        bc: (x, y, z) to (3y, 4y)

So z has no direction in b, and what was y has none in c.
"""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt
import pytest

from models.confidence import ConfidenceModel
from models.features import FloatArray, ZeroNormError
from service.errors import EngineError, ZeroNormVectorError
from service.inference.blocking import BlockingRoute, BlockingStep
from tests.api.world import FakeEngine

AB = [[0, 1, 0], [1, 0, 0], [0, 0, 0]]
BC = [[0, 0], [3, 4], [0, 0]]
NOTHING = [np.nan, np.nan]


@dataclass
class Matrix(FakeEngine):
    """A linear translator that finds no direction in zero."""

    weight: npt.ArrayLike = ()
    sizes: list[int] = field(default_factory=list)

    def run(self, rows: FloatArray) -> FloatArray:
        super().run(rows)
        self.sizes.append(len(rows))
        mapped: FloatArray = (rows @ np.asarray(self.weight)).astype(np.float32)
        return mapped

    def finish(self, rows: FloatArray) -> FloatArray:
        try:
            return super().finish(rows)
        except ZeroNormError:
            raise ZeroNormVectorError("no direction") from None


@dataclass
class Told:
    """Confidence by the first number of a feature: `least` for those below nought, else `most`; and what it was asked."""

    least: float
    most: float
    asked: list[tuple[FloatArray, FloatArray, FloatArray | None]] = field(default_factory=list)

    def __call__(self, source: FloatArray, translated: FloatArray, norm: FloatArray | None = None) -> FloatArray:
        assert len(source) == len(translated) > 0
        self.asked.append((source, translated, norm))
        return np.where(source[:, 0] < 0, self.least, self.most).astype(np.float32)


def step(bundle: str, weight: npt.ArrayLike, told: Told | None = None, *, max_rows: int = 100) -> BlockingStep:
    engine = Matrix(np.shape(weight)[1], max_rows=max_rows, weight=weight)
    return BlockingStep(bundle, engine, cast("ConfidenceModel", told))


def rows(*given: list[float]) -> FloatArray:
    return np.array(given, dtype=np.float32)


EVERYBODY = rows([1, 0, 0], [0, 0, 1], [0, 1, 0], [-1, 0, 0], [0.6, 0, 0.8])
IN_B = [[0, 1, 0], [np.nan] * 3, [1, 0, 0], [0, -1, 0], [0, 1, 0]]
IN_C = [[0.6, 0.8], NOTHING, NOTHING, [-0.6, -0.8], [0.6, 0.8]]


def test_rows_without_direction_become_nan_and_the_others_are_right() -> None:
    for steps, expected in (([step("ab", AB)], np.array(IN_B)), ([step("ab", AB), step("bc", BC)], np.array(IN_C))):
        found = BlockingRoute(steps, expected.shape[1], is_told=False)(EVERYBODY)
        np.testing.assert_allclose(found.features, expected, atol=1e-6)
        assert found.features.dtype == np.float32
        assert found.route == tuple(one.bundle for one in steps)


def test_what_has_no_direction_is_not_given_to_the_next() -> None:
    steps = [step("ab", AB), step("bc", BC)]
    BlockingRoute(steps, 2, is_told=False)(EVERYBODY)
    assert [cast("Matrix", one.engine).sizes for one in steps] == [[5], [4]]


@pytest.mark.parametrize("lost", [[0, 0, 1], [0, 1, 0]])
def test_where_no_row_has_a_direction_all_become_nan(lost: list[float]) -> None:
    told = Told(0.25, 0.75)
    found = BlockingRoute([step("ab", AB, told), step("bc", BC, told)], 2, is_told=True)(rows(lost, lost))
    assert (found.features.shape, found.route) == ((2, 2), ("ab", "bc"))
    assert np.isnan(found.features).all()
    assert found.confidence is not None
    assert np.isnan(found.confidence).all()


def test_confidence_is_the_least_over_the_steps_and_nan_where_nothing_came() -> None:
    first, second = Told(0.25, 0.75), Told(0.5, 0.5)
    found = BlockingRoute([step("ab", AB, first), step("bc", BC, second)], 2, is_told=True)(EVERYBODY)
    assert found.confidence is not None
    np.testing.assert_array_equal(found.confidence, [0.5, np.nan, np.nan, 0.25, 0.5])


def test_each_step_is_asked_about_what_came_to_it_and_the_first_about_its_norm() -> None:
    first, second = Told(0.25, 0.75), Told(0.5, 0.5)
    route = BlockingRoute([step("ab", AB, first), step("bc", BC, second)], 2, is_told=True)
    route(EVERYBODY, np.array([10, 11, 12, 13, 14], dtype=np.float32))
    ((source, translated, norm),) = first.asked
    np.testing.assert_array_equal(source, EVERYBODY[[0, 2, 3, 4]])
    np.testing.assert_allclose(translated, np.array(IN_B)[[0, 2, 3, 4]])
    assert norm is not None
    assert norm.tolist() == [10, 12, 13, 14]
    ((source, translated, norm),) = second.asked
    np.testing.assert_allclose(source, np.array(IN_B)[[0, 3, 4]])
    np.testing.assert_allclose(translated, np.array(IN_C)[[0, 3, 4]], atol=1e-6)
    assert norm is None


def test_where_not_all_tell_nothing_is_told() -> None:
    told = Told(0.25, 0.75)
    found = BlockingRoute([step("ab", AB, told), step("bc", BC)], 2, is_told=False)(EVERYBODY)
    assert found.confidence is None
    assert told.asked == []


@pytest.mark.parametrize("max_rows", [1, 2, 3, 5, 6])
def test_as_many_rows_as_are_worth_it_are_run_together(max_rows: int) -> None:
    steps = [step("ab", AB, Told(0.25, 0.75), max_rows=max_rows), step("bc", BC, Told(0.5, 0.5), max_rows=max_rows)]
    found = BlockingRoute(steps, 2, is_told=True)(np.tile(EVERYBODY, (3, 1)))
    np.testing.assert_allclose(found.features, IN_C * 3, atol=1e-6)
    assert found.confidence is not None
    np.testing.assert_array_equal(found.confidence, [0.5, np.nan, np.nan, 0.25, 0.5] * 3)
    for one, num in zip(steps, (15, 12), strict=True):
        sizes = cast("Matrix", one.engine).sizes
        assert (sum(sizes), max(sizes), len(sizes)) == (num, min(max_rows, num), -(-num // max_rows))


def test_a_model_that_fails_is_said() -> None:
    broken = step("ab", AB)
    cast("Matrix", broken.engine).fail_with = EngineError("out of memory")
    with pytest.raises(EngineError, match="out of memory"):
        BlockingRoute([broken], 3, is_told=False)(EVERYBODY)


def test_what_came_in_stays_as_it_was() -> None:
    given = EVERYBODY.copy()
    BlockingRoute([step("ab", AB), step("bc", BC)], 2, is_told=False)(given)
    assert given.tolist() == EVERYBODY.tolist()
