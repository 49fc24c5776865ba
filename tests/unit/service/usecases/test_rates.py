"""How fast work goes, by a clock that these tests turn."""

import pytest

from service.usecases.rates import Rate
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(500.0)


@pytest.fixture
def rate(clock: Clock) -> Rate:
    return Rate(clock)


def test_nothing_is_said_before_anything_is_done(rate: Rate, clock: Clock) -> None:
    assert rate.per_second is None
    clock.now += 100
    assert rate.per_second is None


def test_within_the_first_ten_seconds_it_is_of_the_time_since_it_began(rate: Rate, clock: Clock) -> None:
    clock.now += 2
    rate.add(30)
    assert rate.per_second == pytest.approx(30 / 2)
    clock.now += 2
    rate.add(50)
    assert rate.per_second == pytest.approx(80 / 4)
    clock.now += 4
    assert rate.per_second == pytest.approx(80 / 8)


def test_afterwards_it_is_of_the_last_ten_seconds(rate: Rate, clock: Clock) -> None:
    for second in range(1, 31):
        clock.now += 1
        rate.add(second)
    # What was done from the 20th second to the 30th, that of both ends.
    assert rate.per_second == pytest.approx(sum(range(20, 31)) / 10)


def test_what_was_done_longer_ago_than_that_does_not_count(rate: Rate, clock: Clock) -> None:
    rate.add(1_000_000)
    clock.now += 10.5
    rate.add(70)
    assert rate.per_second == pytest.approx(7.0)


def test_at_the_moment_when_it_began_it_is_a_number_all_the_same(rate: Rate) -> None:
    rate.add(5)
    assert rate.per_second is not None
    assert rate.per_second > 0


def test_nothing_done_is_no_rate_but_nought(rate: Rate, clock: Clock) -> None:
    clock.now += 1
    rate.add(0)
    assert rate.per_second == 0.0
