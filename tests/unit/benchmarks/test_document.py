from pathlib import Path

import pytest

from benchmarks.document import table, write_section

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
