"""Every promise of the README has a row of a dashboard, and an alert or a reason for none: docs/operators/promises.md."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.grafana.__main__ import FOLDER
from tests.deploy.described import INSTALL, ROOT

PAGE = ROOT / "docs" / "operators" / "promises.md"
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
TEXT = PAGE.read_text(encoding="utf-8")
SHOWN, _, NOT_SHOWN = TEXT.partition("## What no dashboard can show")
ALERTS = set(re.findall(r"^ +- alert: (\w+)$", (ROOT / "deploy/prometheus/alerts.yml").read_text(), re.MULTILINE))
PROMISE_NOTHING = (
    "`facebridge serve --help` lists every setting",
    "A probe or template is a `feature`",
    "`facebridge gallery list | check | export | import`",
    "It does not detect presentation attacks",
)
"""Beginnings of what the README says of the service to tell how it is used, or what it does not do."""


@dataclass(frozen=True, slots=True)
class Promise:
    """A row of the page's tables."""

    quoted: str
    board: str
    row: str
    panels: tuple[str, ...]
    alert: str


def _cells(text: str) -> list[list[str]]:
    """Of every table's rows but its head, with what is promised without its quotation marks."""
    lines = [line for line in text.splitlines() if line.startswith("|") and line[:5] not in ("| pro", "| ---")]
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert all(re.fullmatch(r'".+"', row[0]) for row in rows)
    return [[first[1:-1], *others] for first, *others in rows]


def _promise(quoted: str, board: str, where: str, alert: str) -> Promise:
    (row,) = re.findall(r"\*\*(.+?)\*\*", where)
    return Promise(quoted, board, row, tuple(re.findall(r" \*([^*]+)\*", where)), alert)


PROMISES = [_promise(*cells) for cells in _cells(SHOWN)]
QUOTED = [one.quoted for one in PROMISES] + [cells[0] for cells in _cells(NOT_SHOWN)]
each = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.quoted[:40])


def _rows() -> dict[tuple[str, str], set[str]]:
    """Of every dashboard as Grafana reads it, the rows, and titles of their panels."""
    found: dict[tuple[str, str], set[str]] = {}
    for path in FOLDER.glob("facebridge-*.json"):
        row = ""
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            if panel["type"] == "row":
                row = panel["title"]
                found[path.stem.removeprefix("facebridge-"), row] = {one["title"] for one in panel["panels"]}
            else:
                found[path.stem.removeprefix("facebridge-"), row].add(panel["title"])
    return found


ROWS = _rows()


def test_there_are_promises_rows_and_alerts() -> None:
    assert len(PROMISES) > 30
    assert len(ROWS) > 10
    assert {rule["alert"] for group in _groups() for rule in group["rules"] if "alert" in rule} == ALERTS


def _groups() -> list[dict[str, list[dict[str, str]]]]:
    groups: list[dict[str, list[dict[str, str]]]] = yaml.safe_load(
        (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text(encoding="utf-8")
    )["groups"]
    return groups


@pytest.mark.parametrize("quoted", QUOTED, ids=lambda quoted: quoted[:40])
def test_a_promise_is_the_readmes_own_words(quoted: str) -> None:
    assert quoted in README
    assert QUOTED.count(quoted) == 1


@each
def test_a_promise_is_shown_by_panels_that_there_are(promise: Promise) -> None:
    assert promise.panels
    assert {*promise.panels} <= ROWS[promise.board, promise.row]


@each
def test_somebody_is_called_when_it_is_not_kept_or_it_is_said_why_not(promise: Promise) -> None:
    named = re.findall(r"\[(\w+)\]\(alerts\.md#(\w+)\)", promise.alert)
    assert {name for name, _ in named} <= ALERTS
    assert all(anchor == name.lower() for name, anchor in named)
    assert promise.alert.startswith("[") or re.match(r"none: .{20,}", promise.alert)


def test_every_row_shows_a_promise_and_every_alert_is_of_one() -> None:
    assert {(one.board, one.row) for one in PROMISES} == ROWS.keys()
    assert set(re.findall(r"\[(Facebridge\w+)\]", SHOWN)) == ALERTS


def test_what_no_dashboard_can_show_is_held_by_tests_that_there_are() -> None:
    for _, tests in _cells(NOT_SHOWN):
        named = re.findall(r"`(tests/[\w/]+\.py)`", tests)
        assert named
        assert [name for name in named if not (ROOT / name).is_file()] == []


def _said() -> list[str]:
    """What the README says first, and of the service: each point of a list, and each paragraph."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    first = text.partition("\n## ")[0].partition("\n\n")[2]
    of_service = text.partition("\n## The service\n")[2].partition("\n## ")[0]
    parts = re.split(r"\n(?=- )|\n\n", first + "\n\n" + of_service)
    return [" ".join(part.removeprefix("- ").split()) for part in parts if part.strip() and part.strip()[0] not in "|#"]


@pytest.mark.parametrize("said", _said(), ids=lambda said: said[:40])
def test_whatever_the_readme_says_of_the_service_is_a_promise_or_none(said: str) -> None:
    has_promise = any(quoted in said for quoted in QUOTED)
    assert has_promise is not said.startswith(PROMISE_NOTHING)


def test_the_page_is_found_from_where_operators_begin() -> None:
    assert "(docs/operators/promises.md)" in README
    assert "(promises.md)" in INSTALL.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(PAGE.parent.glob("*.md")), ids=lambda page: page.name)
def test_links_of_operators_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([\w-]+))?\)", page.read_text(encoding="utf-8"))
    for link, anchor in links:
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        names = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in names, (link, anchor)
