"""What is given to Prometheus and Grafana: checked by their own tools, and asked of a Prometheus that scraped a service."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploy.grafana.__main__ import FOLDER, written
from deploy.grafana.boards import BOARDS
from deploy.grafana.panels import Board
from service.access.keys import Scope, make_key
from service.api import problems
from service.api.scopes import NEEDS
from service.observability.metrics import Metrics
from tests.api.test_migrations import LOOSE
from tests.api.world import features, write_world
from tests.by_hand import confidence_model
from tests.serving import serving

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus"
RULES_OF_ALL = [
    rule for group in yaml.safe_load((RULES / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES_OF_ALL if "alert" in rule]
RUNBOOK = ROOT / "docs" / "operators" / "alerts.md"
SECONDS = 60
POOR = [-0.6, 0.8, 0, 0, 0, 0, 0, 0]

needs_prometheus = pytest.mark.needs("prometheus", "promtool")


def promtool(*arguments: str) -> None:
    ran = subprocess.run(["promtool", *arguments], cwd=RULES, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def known_metrics() -> set[str]:
    """Names that a scrape may hold."""
    found = {"up"}
    for family in Metrics().registry.collect():
        found |= {family.name, *(f"{family.name}_{ending}" for ending in ("total", "bucket", "sum", "count"))}
    return found


def named_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:facebridge_\w+|process_\w+|up)\b(?![^{]*\"})", expression))


@needs_prometheus
def test_rules_are_sound_and_are_raised_when_they_should_be() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


@needs_prometheus
def test_the_configuration_is_sound(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("fb_x")
    text = (RULES / "prometheus.yml").read_text().replace("/run/secrets/metrics-key", str(tmp_path / "key"))
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(RULES / "alerts.yml", tmp_path)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))


def test_every_alert_is_tested_where_it_is_raised_and_where_it_is_not() -> None:
    tests = yaml.safe_load((RULES / "alerts_test.yml").read_text())["tests"]
    raised = {case["alert_rule_test"][0]["alertname"] for case in tests if case["alert_rule_test"][0]["exp_alerts"]}
    quiet = {case["alert_rule_test"][0]["alertname"] for case in tests if not case["alert_rule_test"][0]["exp_alerts"]}
    assert raised == quiet == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_to_be_done(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / page == RUNBOOK
    assert anchor == rule["alert"].lower()
    assert f"### {rule['alert']}\n\n*{rule['labels']['severity'].title()}.*" in RUNBOOK.read_text()
    assert named_in(rule["expr"]) <= known_metrics()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_dashboards_are_as_they_are_made(board: Board) -> None:
    text = (FOLDER / f"{board.uid}.json").read_text(encoding="utf-8")
    assert text == written(board), "python -m deploy.grafana"
    document = json.loads(text)
    assert (document["uid"], document["editable"]) == (board.uid, False)
    for query in board.queries:
        assert named_in(query), query
        assert named_in(query) <= known_metrics(), query


def test_what_is_asked_for_by_name_is_there() -> None:
    """A type or a route that nobody has gives nothing, and nobody would see it."""
    asked = [*(query for board in BOARDS for query in board.queries), *(rule["expr"] for rule in RULES_OF_ALL)]
    for label, known in (("type", problems.meanings().keys()), ("route", {path for _, path in NEEDS})):
        values = [value for query in asked for value in re.findall(rf'\b{label}=~?"([^"]+)"', query)]
        assert values
        for one in {part for value in values for part in value.split("|")}:
            assert any(one == name or (label == "type" and re.fullmatch(one, name)) for name in known), one


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus that has scraped a service at work some times, with a key."""
    folder = tmp_path_factory.mktemp("prometheus")
    data = folder / "data"
    scopes: list[Scope] = ["translate", "search", "enrol", "erase", "gallery-admin", "migrate"]
    key = make_key(data / "keys.json", "everything", scopes).text
    (folder / "key").write_text(make_key(data / "keys.json", "prometheus", ["metrics"]).text)
    stats = confidence_model(8, 16, stream_limit=1e6).to_bytes()
    with serving(write_world(folder / "bundles", more={"stats.npz": stats}), data) as served:
        config = {
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [
                {
                    "job_name": "facebridge",
                    "authorization": {"credentials_file": str(folder / "key")},
                    "static_configs": [{"targets": [served.url.removeprefix("http://")]}],
                }
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with httpx.Client(base_url=served.url, headers={"x-api-key": key}) as client, _running(folder) as asked:
            _wait_for(asked, 'up{job="facebridge"} == 1')
            for _ in range(4):
                _work(client)
                time.sleep(1)
            yield asked


class _running:  # noqa: N801
    """A Prometheus on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> httpx.Client:
        for port in range(29090, 29190):
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                    "--log.level=error",
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}")
            if self._is_ready():
                return self._client
        raise AssertionError("no Prometheus came up")

    def _is_ready(self) -> bool:
        for _ in range(SECONDS * 10):
            if self._process.poll() is not None:
                return False
            try:
                if self._client.get("/-/ready").status_code == 200:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        return False

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(SECONDS)


def _work(client: httpx.Client) -> None:
    """Everything that is measured, a little."""
    rows = features(40)
    if client.get("/galleries/people").status_code == 404:
        client.post("/galleries", json={"name": "people", "space": "a"}).raise_for_status()
        templates = [{"subject": f"s{number // 2}", "feature": row.tolist()} for number, row in enumerate(rows)]
        client.post("/galleries/people/templates", json={"space": "a", "templates": templates}).raise_for_status()
        client.post("/galleries", json={"name": "one", "space": "a"}).raise_for_status()
        one = {"space": "a", "templates": templates[:1]}
        client.post("/galleries/one/templates", json=one).raise_for_status()
        started = client.post("/galleries/people/migrations", json={"target": "b", "gates": LOOSE})
        started.raise_for_status()
    for sign, decision in ((1, "match"), (-1, "nobody")):
        probe = {"space": "a", "feature": (sign * rows[0]).tolist()}
        found = client.post("/identify", json={"gallery": "one", "probe": probe, "fmr": 0.01}).raise_for_status()
        assert found.json()["decision"] == decision
    stranger = {"space": "a", "templates": [{"subject": "gone", "feature": (-rows[1]).tolist()}]}
    client.post("/galleries/one/templates", json=stranger).raise_for_status()
    client.post("/galleries/one/erasures", json={"subjects": ["gone"]}).raise_for_status()
    # Of the second nothing can be trusted much.
    asked = {"source": "a", "target": "b", "features": [rows[0].tolist(), POOR]}
    assert client.post("/translate", json=asked).raise_for_status().json()["flagged"] == [1]
    both = {"a": {"space": "a", "feature": POOR}, "b": {"space": "b", "feature": features(1, 16)[0].tolist()}}
    assert client.post("/verify", json=both).raise_for_status().json()["flagged"]
    client.post("/translate", json={"source": "a", "target": "d", "features": [rows[0].tolist()]})


def _wait_for(client: httpx.Client, query: str) -> None:
    for _ in range(SECONDS * 5):
        if _asked(client, query):
            return
        time.sleep(0.2)
    raise AssertionError(query)


def _asked(client: httpx.Client, query: str) -> list[Any]:
    """What a query gives now; Grafana puts the interval in."""
    answer = client.get("/api/v1/query", params={"query": query.replace("$__rate_interval", "20s")})
    assert answer.status_code == 200, (query, answer.text)
    found: list[Any] = answer.json()["data"]["result"]
    return found


ABSENT = (
    # Of a GPU, of what failed, and of a migration that takes longer than a moment.
    "facebridge_gpu_memory_bytes",
    'status=~"5.."',
    "facebridge_migration_seconds_left",
)


@needs_prometheus
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_query_of_a_dashboard_is_answered(board: Board, prometheus: httpx.Client) -> None:
    empty = [query for query in board.queries if not _asked(prometheus, query)]
    assert [query for query in empty if not any(part in query for part in ABSENT)] == []


@needs_prometheus
def test_every_alert_can_be_asked(prometheus: httpx.Client) -> None:
    met = [rule["alert"] for rule in ALERTS if _asked(prometheus, rule["expr"])]
    assert all(_asked(prometheus, rule["expr"].replace("[2m]", "[20s]")) for rule in RULES_OF_ALL if "record" in rule)
    # Of which somebody hears in a day.
    assert met in ([], ["FacebridgeMigrationWaits"])
