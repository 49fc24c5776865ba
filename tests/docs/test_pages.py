"""The pages name only what is there: files, settings, routes, commands."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from benchmarks.__main__ import BENCHMARKS
from models.bundle import Manifest
from service.access.keys import SCOPES
from service.settings import Settings
from training.cli import COMMANDS
from training.recipes.translators import METHODS

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/contract.md",
    "docs/layouts.md",
    "docs/papers.md",
    "docs/reliability.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "operators").glob("*.md")),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "decisions").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_files_that_a_page_names_are_there(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    rooms = "models|service|training|tests|benchmarks|deploy|docs"
    named = set(re.findall(rf"`((?:{rooms})/[\w/.-]+?)/?`", text))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_names_every_method_and_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in text] == []
    assert [name for name in COMMANDS if name not in text] == []


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_no_page_has_a_gap_to_be_filled_in() -> None:
    gaps = re.compile(r"\b(?:TODO|TBD|FIXME|JOURNEY_[A-Z]+)\b")
    assert [page for page in PAGES if gaps.search((ROOT / page).read_text(encoding="utf-8"))] == []


def test_every_benchmark_has_its_section_with_figures_and_command() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    for name in BENCHMARKS:
        section = text.partition(f"<!-- begin {name} -->")[2].partition(f"<!-- end {name} -->")[0]
        assert f"`python -m benchmarks --only {name}`" in section
        assert re.search(r"\*\*[-+]?[\d.]+", section), name


def test_every_scope_of_a_key_is_explained() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [scope for scope in SCOPES if f"| `{scope}` |" not in text] == []


def test_the_contract_names_every_part_of_a_bundle() -> None:
    text = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    parts = [field.name for field in fields(Manifest) if field.name not in ("format", "sampling")]
    assert [name for name in parts if f"`{name}`" not in text] == []
    assert [kind for kind in get_args(get_type_hints(Manifest)["kind"]) if f"| `{kind}` |" not in text] == []
