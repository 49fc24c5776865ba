"""docs/benchmarks.md: one section a benchmark, each replaced by itself when it is measured again."""

import re
from pathlib import Path


def write_section(path: Path, name: str, text: str) -> None:
    """Replace the section between the markers of `name`. Raises `ValueError` where the document has none."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    document = path.read_text(encoding="utf-8")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{path}: has no section {name}")
    section = f"{begin}\n{text.strip()}\n{end}"
    path.write_text(pattern.sub(lambda _: section, document), encoding="utf-8")


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; columns after the first are aligned right."""
    rule = ["---", *("---:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
