"""A histogram of our own says what the library's says."""

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from service.observability.histogram import LabelledHistogram

BOUNDS = (0.001, 0.01, 0.25, 1.0, 10.0)


def samples(registry: CollectorRegistry) -> dict[str, float]:
    """Of its text, without when series were made."""
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if "_created" not in name}


def test_it_tells_what_the_librarys_tells() -> None:
    own, other = CollectorRegistry(), CollectorRegistry()
    mine = LabelledHistogram("took", "How long.", ("stage", "route"), buckets=BOUNDS, registry=own)
    theirs = Histogram("took", "How long.", ("stage", "route"), buckets=BOUNDS, registry=other)
    random = np.random.default_rng(0)
    # Bounds belong to what is below them.
    values = [*(10 ** random.uniform(-4, 2, 300)).tolist(), *BOUNDS, 0.0]
    for number, value in enumerate(values):
        labels = (("decode", "search")[number % 2], f"/route/{number % 3}")
        mine.observe(labels, value)
        theirs.labels(*labels).observe(value)
    assert samples(own) == pytest.approx(samples(other))
    assert len(samples(own)) == 6 * (len(BOUNDS) + 1 + 2)


def test_nothing_is_told_of_what_was_not_seen() -> None:
    registry = CollectorRegistry()
    LabelledHistogram("took", "How long.", ("stage",), buckets=BOUNDS, registry=registry)
    assert samples(registry) == {}
    assert b"# TYPE took histogram" in generate_latest(registry)
