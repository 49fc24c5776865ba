"""What all dashboards are made of: panels over queries of Prometheus."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.models.dashboard import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${source}")
_WIDTH, _HEIGHT = 8, 8
_STAT_WIDTH, _STAT_HEIGHT = 4, 4
_RATE = "$__rate_interval"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, and what each of its lines is called."""

    expression: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Lines over time. `unit` is one of Grafana's: `s`, `reqps`, `percentunit`, `bytes`, `short`."""

    title: str
    text: str
    unit: str
    queries: tuple[Query, ...]

    def panel(self) -> timeseries.Panel:
        """For Grafana."""
        panel = timeseries.Panel().title(self.title).description(self.text).unit(self.unit).min(0)
        panel = panel.datasource(SOURCE).span(_WIDTH).height(_HEIGHT)
        for place, query in enumerate(self.queries):
            target = prometheus.Dataquery().expr(query.expression).legend_format(query.name or "__auto")
            panel = panel.with_target(target.ref_id(chr(ord("A") + place)))
        return panel


@dataclass(frozen=True, slots=True)
class Number:
    """One number as it is now."""

    title: str
    text: str
    unit: str
    query: Query

    @property
    def queries(self) -> tuple[Query, ...]:
        """The one."""
        return (self.query,)

    def panel(self) -> stat.Panel:
        """For Grafana."""
        target = prometheus.Dataquery().expr(self.query.expression).legend_format(self.query.name or "__auto").instant()
        target = target.ref_id("A")
        panel = stat.Panel().title(self.title).description(self.text).unit(self.unit)
        return panel.datasource(SOURCE).span(_STAT_WIDTH).height(_STAT_HEIGHT).with_target(target)


@dataclass(frozen=True, slots=True)
class Row:
    """Panels about one promise."""

    title: str
    panels: tuple[Graph | Number, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    rows: tuple[Row, ...]

    @property
    def queries(self) -> list[str]:
        """All of its PromQL."""
        return [query.expression for row in self.rows for panel in row.panels for query in panel.queries]

    def build(self) -> dashboard.Dashboard:
        """For Grafana."""
        source = dashboard.DatasourceVariable("source").label("Prometheus").type("prometheus")
        board = (
            dashboard.Dashboard(f"Facebridge: {self.title}")
            .uid(self.uid)
            .tags(["facebridge"])
            .refresh("30s")
            .time("now-6h", "now")
            .timezone("browser")
            .readonly()
            .with_variable(source)
        )
        for row in self.rows:
            board = board.with_row(dashboard.Row(row.title))
            for panel in row.panels:
                board = board.with_panel(panel.panel())
        return board


def rate(metric: str, by: str = "", where: str = "") -> str:
    """A counter a second, summed."""
    return f"sum{f' by ({by})' if by else ''} (rate(facebridge_{metric}{where}[{_RATE}]))"


def quantile(share: float, metric: str, by: str = "", where: str = "") -> str:
    """Of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate(facebridge_{metric}_bucket{where}[{_RATE}])))"


def mean(metric: str, by: str) -> str:
    """Of a histogram."""
    return f"{rate(f'{metric}_sum', by)} / {rate(f'{metric}_count', by)}"


def share(part: str, whole: str) -> str:
    """Nothing of nothing is 0."""
    return f"({part}) / clamp_min({whole}, 1e-9)"
