from importlib import metadata
from pathlib import Path

import pytest
import torch

from benchmarks.document import machine, table, write_section

PAGE = "# Page\n<!-- begin one -->\nold\n<!-- end one -->\nbetween\n<!-- begin two -->\nkept\n<!-- end two -->\n"


def test_a_section_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    write_section(page, "one", r"new \1 text")
    assert page.read_text() == PAGE.replace("old", r"new \1 text")


def test_a_section_that_the_page_has_not_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(ValueError, match="three"):
        write_section(page, "three", "text")
    assert page.read_text() == PAGE


def test_a_table_has_its_header_rule_and_rows() -> None:
    assert table(["name", "figure"], [["a", "1"]]) == "| name | figure |\n| --- | ---: |\n| a | 1 |"


def test_a_machine_is_described_by_what_is_installed_there(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"numpy": "1.2", "onnxruntime-gpu": "3.4", "torch": "5.6"}

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A GPU")
    assert machine().endswith("cores, numpy 1.2, onnxruntime-gpu 3.4, torch 5.6.")
    assert "cores and A GPU, numpy 1.2" in machine("cuda")
