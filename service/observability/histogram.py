"""A histogram that is told of several things in every request, and so counts in plain lists: the library's own finds its
series by name, and takes a lock for each number.

Told by one thread, the event loop's; read by any.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class LabelledHistogram(Collector):
    """By labels: how many values are in each bucket, and their sum."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str], *, buckets: Sequence[float], registry: CollectorRegistry
    ) -> None:
        """`buckets` are their upper bounds, growing; what is above the last is counted too."""
        self._name, self._text, self._labels, self._bounds = name, text, labels, tuple(buckets)
        self._told = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        self._counts: dict[tuple[str, ...], list[float]] = {}
        """Of each bucket alone, and at the end the sum of all values."""
        registry.register(self)

    def observe(self, labels: tuple[str, ...], value: float) -> None:
        """One value."""
        counts = self._counts.get(labels)
        if counts is None:
            counts = self._counts[labels] = [0.0] * (len(self._told) + 1)
        counts[bisect_left(self._bounds, value)] += 1
        counts[-1] += value

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants it: each bucket with those below it."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._labels)
        for labels, counts in list(self._counts.items()):
            *alone, total = list(counts)
            num, buckets = 0.0, []
            for told, count in zip(self._told, alone, strict=True):
                num += count
                buckets.append((told, num))
            family.add_metric(labels, buckets, total)
        yield family
