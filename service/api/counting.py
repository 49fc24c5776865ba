"""What routes count of translations."""

from service.entities import Route
from service.observability.metrics import Metrics
from service.usecases.trust import Trusted


def count_translated(metrics: Metrics, route: Route, num_rows: int, trusted: Trusted) -> None:
    """So many rows along a route, and how far they can be trusted."""
    metrics.count_translated(route, num_rows, num_judged=trusted.num_judged, num_low=trusted.num_low)
