from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.calibration import Calibration, parse_calibration
from models.documents import canonical_json
from models.errors import BundleError
from models.operating_point import RULE_OF, STATED_RATES, OperatingPoint, operating_points, point_at, threshold_at

POINT = OperatingPoint(fmr=1e-3, threshold=0.5, fnmr=0.25, num_genuine=4, num_impostors=30_000)


def num_reaching(scores: npt.NDArray[np.floating[Any]], threshold: float) -> int:
    return sum(score >= threshold for score in scores.tolist())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num", [3000, 9999, 34_567])
def test_with_distinct_scores_the_realised_rate_is_the_largest_allowed(dtype: type[np.floating[Any]], num: int) -> None:
    generator = np.random.default_rng(num)
    impostor = generator.permutation(np.linspace(-0.9, 0.9, num)).astype(dtype)
    assert len(set(impostor.tolist())) == num
    genuine = generator.uniform(0.2, 1.0, size=501).astype(dtype)
    points = operating_points(genuine, impostor, rates=(1e-1, 1e-2, 3e-3, 1e-3))
    assert [point.fmr for point in points] == [rate for rate in (1e-1, 1e-2, 3e-3, 1e-3) if rate * num >= 30]
    for point in points:
        assert num_reaching(impostor, point.threshold) == int(point.fmr * num + 1e-9)
        assert point.fnmr == pytest.approx(1 - num_reaching(genuine, point.threshold) / 501)
        assert (point.num_genuine, point.num_impostors) == (501, num)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("levels", [1, 2, 7, 50, 400])
def test_with_ties_the_realised_rate_never_exceeds_the_stated_one(dtype: type[np.floating[Any]], levels: int) -> None:
    generator = np.random.default_rng(levels)
    impostor = (generator.integers(0, levels, size=5000) / 997).astype(dtype)
    genuine = (generator.integers(0, levels, size=300) / 997).astype(dtype)
    points = operating_points(genuine, impostor, rates=(0.5, 0.1, 0.01))
    assert len(points) == 3
    distinct = sorted(set(impostor.tolist()))
    for point in points:
        assert num_reaching(impostor, point.threshold) <= point.fmr * 5000
        # Scores may also be compared in their own type, where a threshold that is no float32 would be rounded.
        assert int((impostor >= point.threshold).sum()) <= point.fmr * 5000
        assert int((genuine < point.threshold).sum()) / 300 == pytest.approx(point.fnmr)
        assert sum(score < point.threshold for score in genuine.tolist()) / 300 == pytest.approx(point.fnmr)
        lower = [score for score in distinct if score < point.threshold]
        if lower:
            assert num_reaching(impostor, lower[-1]) > point.fmr * 5000  # no lower threshold would do


def test_a_rate_needs_thirty_expected_false_matches() -> None:
    genuine, rates = np.array([0.9]), (1e-2,)
    assert RULE_OF == 30
    assert operating_points(genuine, np.linspace(0, 1, 2999), rates) == ()
    assert len(operating_points(genuine, np.linspace(0, 1, 3000), rates)) == 1


def test_a_million_impostors_state_four_of_the_five_rates() -> None:
    points = operating_points(np.array([0.5]), np.linspace(-1, 1, 3_000_000), STATED_RATES)
    assert [point.fmr for point in points] == [1e-2, 1e-3, 1e-4, 1e-5]
    thresholds = [point.threshold for point in points]
    assert thresholds == sorted(thresholds)


def test_without_genuine_or_impostor_scores_there_is_no_point() -> None:
    nothing = np.array([])
    assert operating_points(nothing, np.linspace(0, 1, 10_000)) == ()
    assert operating_points(np.array([0.5]), nothing) == ()
    assert operating_points(nothing, nothing) == ()


def test_a_rate_of_one_lets_every_impostor_pass() -> None:
    impostor = np.linspace(-0.5, 0.5, 100)
    (point,) = operating_points(np.array([0.0, -0.6]), impostor, rates=(1.0,))
    assert point.threshold == -0.5
    assert point.fnmr == 0.5


def test_the_threshold_at_a_rate_that_too_few_scores_can_show_is_none() -> None:
    assert threshold_at(np.linspace(0, 1, 9), 0.1) is None
    assert threshold_at(np.linspace(0, 1, 10), 0.1) == 1.0


def test_the_order_of_scores_does_not_matter_and_they_are_not_changed() -> None:
    generator = np.random.default_rng(0)
    impostor, genuine = generator.normal(size=4000) / 5, generator.normal(size=50) / 5
    before = impostor.copy()
    expected = operating_points(genuine, np.sort(impostor), rates=(1e-2,))
    assert operating_points(genuine[::-1], impostor, rates=(1e-2,)) == expected
    np.testing.assert_array_equal(impostor, before)


def test_only_the_stated_rate_is_found() -> None:
    calibration = Calibration({"translated": (POINT,)})
    assert point_at(calibration.points["translated"], 1e-3) == POINT
    assert point_at(calibration.points["translated"], 10**-3.0) == POINT
    assert point_at(calibration.points["translated"], 1.001e-3) is None
    assert point_at(calibration.points["translated"], 0.0) is None
    assert point_at((), 1e-3) is None


def test_a_calibration_survives_the_round_trip_through_json() -> None:
    points = operating_points(np.linspace(0, 1, 77), np.random.default_rng(0).uniform(-1, 1, 40_000))
    calibration = Calibration({"translated": points, "native-target": (POINT,)})
    assert len(points) == 2
    assert parse_calibration(canonical_json(calibration.to_json())) == calibration
    assert parse_calibration("{}") == Calibration()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        b"\xff",
        '{"point": {}}',
        '{"points": {"other": []}}',
        '{"points": {"translated": [{}]}}',
        *(
            canonical_json({"points": {"translated": [{**Calibration({"translated": (POINT,)}).to_json(), **change}]}})
            for change in ({}, {"fmr": 1})
        ),
        *(
            canonical_json({"points": {"translated": [bad]}})
            for bad in (
                {"fmr": 1.5, "threshold": 0.5, "fnmr": 0.1, "num_genuine": 1, "num_impostors": 1},
                {"fmr": -0.1, "threshold": 0.5, "fnmr": 0.1, "num_genuine": 1, "num_impostors": 1},
                {"fmr": 0.1, "threshold": 2, "fnmr": 0.1, "num_genuine": 1, "num_impostors": 1},
                {"fmr": 0.1, "threshold": 0.5, "fnmr": 1.1, "num_genuine": 1, "num_impostors": 1},
                {"fmr": 0.1, "threshold": 0.5, "fnmr": 0.1, "num_genuine": 0, "num_impostors": 1},
                {"fmr": 0.1, "threshold": 0.5, "fnmr": 0.1, "num_genuine": 1, "num_impostors": "1"},
                {"fmr": 0.1, "threshold": 0.5, "fnmr": 0.1, "num_genuine": 1, "num_impostors": 1, "x": 1},
            )
        ),
        '{"points": {"translated": [{"fmr": NaN, "threshold": 0, "fnmr": 0, "num_genuine": 1, "num_impostors": 1}]}}',
        '{"points": {"translated": [{"fmr": 0, "threshold": NaN, "fnmr": 0, "num_genuine": 1, "num_impostors": 1}]}}',
    ],
)
def test_a_malformed_calibration_is_refused(text: bytes | str) -> None:
    with pytest.raises(BundleError, match=r"^calibration\.json: "):
        parse_calibration(text)
