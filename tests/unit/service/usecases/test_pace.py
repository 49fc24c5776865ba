"""Work gives way to requests for as long as its share says, and not at all while there are none."""

import time

import pytest

from service.usecases.pace import Pace


@pytest.mark.parametrize(("share", "rested"), [(0.5, 0.03), (0.25, 0.09), (0.75, 0.01), (0.1, 0.27)])
def test_while_there_are_requests_its_share_of_the_time_is_worked(share: float, rested: float) -> None:
    """Of 0.03 / share seconds it works 0.03."""
    slept: list[float] = []
    Pace(lambda: True, share, slept.append).rest(0.03)
    assert slept == [pytest.approx(rested)]


@pytest.mark.parametrize("is_busy", [True, False])
def test_with_all_of_the_time_it_never_rests(is_busy: bool) -> None:
    slept: list[float] = []
    Pace(lambda: is_busy, 1.0, slept.append).rest(1.0)
    assert slept == []


def test_while_there_are_none_it_never_rests() -> None:
    slept: list[float] = []
    Pace(lambda: False, 0.1, slept.append).rest(1.0)
    assert slept == []


def test_it_is_asked_anew_each_time_whether_somebody_is_there() -> None:
    slept: list[float] = []
    busy = iter([True, False, True])
    pace = Pace(lambda: next(busy), 0.5, slept.append)
    for worked in (1.0, 2.0, 3.0):
        pace.rest(worked)
    assert slept == [1.0, 3.0]


def test_pieces_are_small_while_there_are_requests() -> None:
    busy = iter([True, False])
    pace = Pace(lambda: next(busy))
    assert pace.piece_seconds == pytest.approx(0.03)
    assert pace.piece_seconds == pytest.approx(0.5)


def test_between_pieces_it_rests_for_what_each_took() -> None:
    slept: list[float] = []
    rest = Pace(lambda: True, 0.5, slept.append).resting()
    time.sleep(0.02)
    rest()
    rest()
    first, second = slept
    assert first >= 0.02
    assert second < first


def test_by_default_there_is_nobody_to_give_way_to() -> None:
    pace = Pace()
    assert (pace.is_busy(), pace.share, pace.sleep) == (False, 1.0, time.sleep)
