import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from training.evaluation.isotonic import pool_adjacent_violators


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 9)), min_size=1, max_size=30))
def test_runs_have_the_means_of_isotonic_regression(rows: list[tuple[float, int]]) -> None:
    value, weight = (np.array(column, dtype=np.float64) for column in zip(*rows, strict=True))
    found = np.empty(len(rows))
    for run in pool_adjacent_violators(value, weight):
        found[run] = np.average(value[run], weights=weight[run])
    expected = IsotonicRegression().fit_transform(np.arange(len(rows)), value, sample_weight=weight)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("weight", [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 0, 1]])
def test_values_without_weight_join_others(weight: list[float]) -> None:
    value = np.array([0.9, 0.2, 0.1, 0.7, 0.0])
    runs = pool_adjacent_violators(value, np.array(weight, dtype=np.float64))
    assert [row for run in runs for row in range(run.start, run.stop)] == [0, 1, 2, 3, 4]
    means = [np.average(value[run], weights=np.array(weight)[run]) for run in runs if sum(weight[run])]
    assert means == sorted(means)
