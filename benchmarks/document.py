"""docs/benchmarks.md: one section a benchmark, each replaced by itself when it is measured again."""

import os
import re
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "faiss-cpu", "faiss-gpu-cuvs", "torch")


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


def machine(device: str = "cpu") -> str:
    """When, on how many cores and which GPU, and with which versions something is measured."""
    versions = ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name)))
    gpu = f" and {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores{gpu}, {versions}."


def _version(distribution: str) -> str | None:
    """None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
