"""Whether somebody is being served, by a clock that these tests turn."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.observability.traffic import Traffic
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def traffic(clock: Clock) -> Traffic:
    return Traffic(clock)


def test_nobody_is_served_at_first(traffic: Traffic) -> None:
    assert not traffic.is_busy


def test_it_is_busy_from_when_a_request_comes_to_half_a_second_after_its_answer(traffic: Traffic, clock: Clock) -> None:
    assert traffic.begin("/identify") is True
    assert traffic.is_busy
    clock.now = 60.0
    assert traffic.is_busy
    traffic.end()
    for seconds, is_busy in ((0.0, True), (0.25, True), (0.49, True), (0.5, False), (9.0, False)):
        clock.now = 60.0 + seconds
        assert traffic.is_busy == is_busy, seconds


def test_of_several_requests_the_last_counts(traffic: Traffic, clock: Clock) -> None:
    for _ in range(3):
        traffic.begin("/translate")
    for now in (1.0, 2.0):
        clock.now = now
        traffic.end()
    clock.now = 5.0
    assert traffic.is_busy
    traffic.end()
    clock.now = 5.25
    assert traffic.is_busy
    clock.now = 6.0
    assert not traffic.is_busy


@pytest.mark.parametrize("path", ["/jobs", "/jobs?gallery=people", "/jobs/5f/cutover", "/healthz", "/metrics"])
def test_who_only_looks_on_is_nobody_to_give_way_to(traffic: Traffic, path: str) -> None:
    assert traffic.begin(path) is False
    assert not traffic.is_busy


@pytest.mark.parametrize("path", ["/identify", "/galleries/jobs/templates", "/galleries", "/"])
def test_everybody_else_is(traffic: Traffic, path: str) -> None:
    assert traffic.begin(path) is True
    assert traffic.is_busy


def test_requests_of_many_threads_are_all_counted_and_all_end(clock: Clock) -> None:
    traffic, barrier = Traffic(clock), threading.Barrier(4)

    def serve(num: int) -> None:
        barrier.wait(10)
        for _ in range(num):
            traffic.begin("/verify")
            traffic.end()

    with ThreadPoolExecutor(4) as executor:
        list(executor.map(serve, [500] * 4))
    assert traffic.is_busy
    clock.now += 1
    assert not traffic.is_busy
