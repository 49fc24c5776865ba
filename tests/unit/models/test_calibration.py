from typing import Any

import pytest

from models.calibration import Calibration, ChainCalibration, ScoreScale, parse_calibration, strictest
from models.documents import canonical_json
from models.errors import BundleError
from models.operating_point import OperatingPoint

SCALE = ScoreScale(
    (-0.5, 0.25, 0.25, 0.5), (1.0, 0.1, 0.01, 0.001), (0.0, 0.1, 0.1, 0.4), (-2.0, 0.5, 0.5, 2.5), 90, 40_000
)


@pytest.mark.parametrize(
    ("score", "fmr", "log10_lr"),
    [
        (-0.9, 1.0, -2.0),
        (-0.5, 1.0, -2.0),
        (0.2499, 1.0, -2.0),
        (0.25, 0.01, 0.5),
        (0.49, 0.01, 0.5),
        (0.99, 0.001, 2.5),
    ],
)
def test_a_score_means_what_its_step_says(score: float, fmr: float, log10_lr: float) -> None:
    assert (SCALE.fmr_of(score), SCALE.log10_lr_of(score)) == (fmr, log10_lr)


@pytest.mark.parametrize(("asked", "given"), [(1.0, 1.0), (0.5, 0.1), (0.1, 0.1), (0.0999, 0.01), (0.001, 0.001)])
def test_a_rate_gets_the_threshold_that_keeps_it(asked: float, given: float) -> None:
    point = SCALE.point_at(asked)
    assert point is not None
    assert point.fmr == given <= asked
    assert SCALE.fmr_of(point.threshold) <= given


def test_no_rate_below_the_lowest_is_stated() -> None:
    assert SCALE.point_at(0.00099) is None
    assert SCALE.lowest_fmr == 0.001


def test_the_strictest_of_several_promises_no_more_than_any() -> None:
    other = ScoreScale((-1.0, 0.4, 0.7), (1.0, 0.05, 0.002), (0.0, 0.2, 0.3), (-1.0, 1.0, 1.5), 80, 20_000)
    both = strictest([SCALE, other])
    for score in (-1.0, -0.5, 0.1, 0.25, 0.4, 0.45, 0.5, 0.6, 0.7, 0.9):
        assert both.fmr_of(score) == max(SCALE.fmr_of(score), other.fmr_of(score))
        assert both.log10_lr_of(score) == min(SCALE.log10_lr_of(score), other.log10_lr_of(score))
    point = both.point_at(0.05)
    assert point is not None
    assert point.threshold == 0.4
    assert both.lowest_fmr == 0.002
    assert (both.num_genuine, both.num_impostors) == (80, 20_000)


def test_what_was_measured_at_the_end_of_a_route_survives_the_round_trip() -> None:
    point = OperatingPoint(1e-2, 0.3, 0.1, 80, 3160)
    chain = ChainCalibration({"translated/sketch": (point,)}, {"translated/sketch": SCALE})
    found = Calibration({"translated": (point,)}, counted="people", after={"0" * 16 + "+" + "1" * 16: chain})
    assert parse_calibration(canonical_json(found.to_json())) == found
    assert found.compared == {"translated", "translated/sketch"}
    with_one_other = Calibration(against={"f" * 16: (point,), "f" * 16 + "/sketch": (point,)}, counted="people")
    assert with_one_other.compared == {"translated", "translated/sketch"}
    assert "after" not in Calibration({"translated": (point,)}).to_json()
    document = found.to_json()
    document["after"]["0" * 16 + "+" + "1" * 16]["more"] = {}
    with pytest.raises(BundleError, match="more"):
        parse_calibration(canonical_json(document))


def test_a_calibration_with_scales_survives_the_round_trip_and_an_old_one_is_read() -> None:
    calibration = Calibration(
        scales={"translated": SCALE, "both-translated/sketch": SCALE}, scales_against={"ab": SCALE}
    )
    assert parse_calibration(canonical_json(calibration.to_json())) == calibration
    assert parse_calibration('{"counted": "people", "points": {}}').scales == {}


GOOD: dict[str, Any] = Calibration(scales={"translated": SCALE}).to_json()["scales"]["translated"]


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": []},
        {"threshold": [0.1, 0.2]},
        {"threshold": [0.5, 0.25, 0.25, -0.5]},
        {"threshold": [-0.5, 0.25, 0.25, 7.0]},
        {"fmr": [0.001, 0.01, 0.1, 1.0]},
        {"fmr": [1.0, 0.1, 0.01, -0.1]},
        {"fnmr": [0.4, 0.1, 0.1, 0.0]},
        {"log10_lr": [2.5, 0.5, 0.5, -2.0]},
        {"log10_lr": [-2.0, 0.5, 0.5, 1e9]},
        {"num_genuine": 0},
        {"more": 1},
    ],
)
def test_a_scale_that_cannot_be_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match=r"^calibration\.json: "):
        parse_calibration(canonical_json({"scales": {"translated": GOOD | change}}))


@pytest.mark.parametrize("name", ["other", "translated/", "translated/Sketch", "translated/a/b", "translated\n"])
def test_a_comparison_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(BundleError):
        parse_calibration(canonical_json({"scales": {name: GOOD}}))
