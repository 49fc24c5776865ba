from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.preprocessing import normalize

from models.errors import ContractError
from models.features import NonFiniteError, ZeroNormError, unit_features, unit_features_and_norms


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int32])
def test_rows_are_normalised_as_sklearn_does_it(dtype: str) -> None:
    raw = (np.random.default_rng(0).normal(size=(50, 16)) * 100).astype(dtype)
    unit = unit_features(raw)
    assert unit.dtype == np.float32
    assert unit.dtype.isnative
    np.testing.assert_allclose(unit, normalize(raw.astype(np.float64)), atol=1e-7)


def test_the_input_is_left_as_it_was() -> None:
    raw = np.array([[3.0, 4.0]], dtype=np.float32)
    unit = unit_features(raw)
    assert raw.tolist() == [[3.0, 4.0]]
    assert not np.shares_memory(raw, unit)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (np.array([[1e38, 1e38, 1e38, 1e38]], dtype=np.float32), [0.5, 0.5, 0.5, 0.5]),
        (np.array([[3e300, -4e300]]), [0.6, -0.8]),
        (np.array([[1.7e308, 1.7e308, 1.7e308, -1.7e308]]), [0.5, 0.5, 0.5, -0.5]),
        (np.array([[1e300, 1e-300]]), [1.0, 0.0]),
        (np.array([[3e-5, 4e-5]]), [0.6, 0.8]),
        (np.array([[5e-324, 2.0]]), [0.0, 1.0]),
        (np.array([[-0.5]]), [-1.0]),
    ],
)
def test_extreme_magnitudes_neither_overflow_nor_vanish(
    raw: npt.NDArray[np.floating[Any]], expected: list[float]
) -> None:
    np.testing.assert_allclose(unit_features(raw)[0], expected, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int32])
def test_the_norms_that_rows_had_come_along(dtype: str) -> None:
    raw = (np.random.default_rng(0).normal(size=(20_000, 16)) * 100).astype(dtype)
    unit, norm = unit_features_and_norms(raw)
    np.testing.assert_array_equal(unit, unit_features(raw))
    assert norm.dtype == np.float32
    np.testing.assert_allclose(norm, np.linalg.norm(raw.astype(np.float64), axis=1), rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "norm"),
    [
        ([3e300, 4e300], np.nan),
        ([0.6, 0.8], np.nan),
        ([0.6005, 0.8], np.nan),
        ([0.61, 0.81], 1.014),
        ([3e-5, 4e-5], 5e-5),
    ],
)
def test_a_norm_of_one_and_one_beyond_all_numbers_say_nothing(raw: list[float], norm: float) -> None:
    found = unit_features_and_norms(np.array([raw]))[1][0]
    assert found == pytest.approx(norm, rel=1e-3, nan_ok=True)


def test_of_half_precision_a_norm_of_one_is_still_one() -> None:
    unit = unit_features(np.random.default_rng(0).normal(size=(500, 512)))
    assert np.isnan(unit_features_and_norms(unit.astype(np.float16))[1]).all()


def test_tiny_entries_of_a_long_vector_still_have_a_direction() -> None:
    unit = unit_features(np.full((1, 10_000), 2e-8))  # of length 2e-6
    np.testing.assert_allclose(unit, 0.01, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_the_first_row_with_nan_or_infinity_is_named(bad: float) -> None:
    raw = np.ones((9, 4))
    raw[5, 3] = raw[7, 0] = bad
    with pytest.raises(NonFiniteError, match=r"^probe 5 holds NaN or infinity"):
        unit_features(raw, what="probe")


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 1e-40, 1e-300, 4.9e-7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_first_row_without_a_direction_is_named(value: float, dtype: type[np.floating[Any]]) -> None:
    raw = np.ones((6, 4), dtype=dtype)
    raw[3] = raw[4] = value
    with pytest.raises(ZeroNormError, match=r"^feature 3 is a zero vector"):
        unit_features(raw)


def test_the_shortest_vector_that_is_taken_has_length_one_millionth() -> None:
    np.testing.assert_allclose(unit_features(np.array([[1.01e-6, 0.0]])), [[1.0, 0.0]])
    with pytest.raises(ZeroNormError):
        unit_features(np.array([[0.99e-6, 0.0]]))


def test_nan_is_reported_before_a_zero_row() -> None:
    with pytest.raises(NonFiniteError, match="feature 1 "):
        unit_features(np.array([[0.0, 0.0], [np.nan, 1.0]]))


def test_no_rows_and_no_dimension_are_not_a_crash() -> None:
    assert unit_features(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ZeroNormError):
        unit_features(np.zeros((2, 0)))


@pytest.mark.parametrize("dimension", [1, 2, 3, 5, 8, 16, 128, 512])
def test_normalising_twice_gives_the_same_bits(dimension: int) -> None:
    raw = np.random.default_rng(dimension).normal(size=(50_000 if dimension <= 16 else 500, dimension))
    once = unit_features(raw)
    assert unit_features(once).tobytes() == once.tobytes()
    assert unit_features(once.astype(">f4")).tobytes() == once.tobytes()


def test_both_errors_are_errors_of_the_contract() -> None:
    assert issubclass(NonFiniteError, ContractError)
    assert issubclass(ZeroNormError, ContractError)
