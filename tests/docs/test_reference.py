"""`docs/operators/reference.md`: settings, routes, metrics, problems; `python -m tests.docs.test_reference` writes it."""

import re
from collections.abc import Iterable
from pathlib import Path

from service.api import problems
from service.api.scopes import NEEDS, OPEN
from service.observability.metrics import Metrics
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operators" / "reference.md"
_OF_PROMETHEUS = ("process_", "python_")


def _table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(header), ["---"] * len(list(header)), *map(list, rows)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines
    )


def _settings() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "off" if field.default is False else str(field.default) if field.default not in (None, "", {}) else ""
        flag = f"`--{name.replace('_', '-')}`"
        rows.append([flag, f"`{PREFIX}{name.upper()}`", f"`{default}`" if default else "", field.description or ""])
    return _table(["flag", "variable", "default", "what"], rows)


def _routes() -> str:
    rows = [
        [f"`{method} {path.replace(':path}', '}')}`", f"`{needed}`" if needed else "any key"]
        for (method, path), needed in NEEDS.items()
    ]
    return _table(["route", "scope"], [*rows, *([f"`GET {path}`", "no key"] for path in sorted(OPEN))])


def _metrics() -> str:
    rows = []
    for family in Metrics().registry.collect():
        if family.name.startswith(_OF_PROMETHEUS):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rows.append([f"`{name}`", family.type, family.documentation])
    return _table(["metric", "type", "what"], sorted(rows))


def _problems() -> str:
    found = sorted(problems.meanings().items(), key=lambda item: (item[1][0], item[0]))
    return _table(["status", "type", "what"], [[str(status), f"`{slug}`", text] for slug, (status, text) in found])


def page() -> str:
    return "\n\n".join(
        [
            "# Reference",
            "Written by `python -m tests.docs.test_reference`, from the code.",
            "## Settings",
            "Flags of `facebridge serve`, and variables of the environment; flags win. What there is not, or contradicts itself, "
            "is refused at the start in one line.",
            _settings(),
            "## Routes, and what they need of a key",
            "Where there are keys ([README](../../README.md#keys-tenants-and-who-did-what)).",
            _routes(),
            "## Metrics",
            "At `/metrics`, with those of the process (`process_*`, `python_*`).",
            _metrics(),
            "## Problems",
            "Answers that are no success are `application/problem+json`; their `type` is `urn:facebridge:problem:` and one of "
            "these.",
            _problems(),
            "",
        ]
    )


def test_the_reference_is_of_this_version() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.docs.test_reference"


def test_every_problem_that_is_answered_is_explained() -> None:
    named: dict[str, int] = {}
    for path in (ROOT / "service").rglob("*.py"):
        for status, slug in re.findall(r"Problem\(\s*(\d{3}),\s*\"([a-z-]+)\"", path.read_text(encoding="utf-8")):
            named[slug] = int(status)
    found = problems.meanings()
    assert {slug: status for slug, status in named.items() if slug not in found} == {}
    assert {slug: (status, found[slug][0]) for slug, status in named.items() if found[slug][0] != status} == {}
    assert [slug for slug, (_, text) in found.items() if not text] == []


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
