"""Bars are as high as their values, and whatever a name holds stays text."""

from collections.abc import Sequence
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from service.api.bars import bars


def drawn(values: Sequence[float], labels: Sequence[str] | None = None, **more: object) -> ElementTree.Element:
    names = labels if labels is not None else [f"bar {number}" for number in range(len(values))]
    return ElementTree.fromstring(bars("Title", names, values, axis="what it is of", **more))  # type: ignore[arg-type]


def heights(chart: ElementTree.Element) -> list[float]:
    return [float(bar.attrib["height"]) for bar in chart.iter("rect")]


def texts(chart: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in chart.iter("text")]


def lines(chart: ElementTree.Element) -> list[float]:
    """How far down the lines of nought, a half and the whole are."""
    return [float(line.attrib["y1"]) for line in chart.iter("line")]


def test_heights_are_as_values_and_the_largest_reaches_the_upper_line() -> None:
    chart = drawn([10, 20, 40, 0, 30])
    bottom, middle, top = lines(chart)
    assert bottom - middle == pytest.approx(middle - top)
    whole = bottom - top
    assert heights(chart) == [pytest.approx(part * whole, abs=0.1) for part in (0.25, 0.5, 1.0, 0.0, 0.75)]
    for bar in chart.iter("rect"):
        assert float(bar.attrib["y"]) + float(bar.attrib["height"]) == pytest.approx(bottom, abs=0.11)
    assert texts(chart)[1:4] == ["0", "20", "40"]


def test_where_it_is_said_what_the_most_is_heights_are_parts_of_that_and_no_more() -> None:
    chart = drawn([0.25, 0.5, 1.0, 3.0], most=1.0, is_share=True)
    bottom, _, top = lines(chart)
    assert heights(chart) == [pytest.approx(part * (bottom - top), abs=0.1) for part in (0.25, 0.5, 1.0, 1.0)]
    assert texts(chart)[1:4] == ["0.00", "0.50", "1.00"]
    assert {"0.2500", "0.5000", "1.0000", "3.0000"} <= set(texts(chart))


@pytest.mark.parametrize("values", [[0, 0, 0], [0.0], []])
def test_where_there_is_nothing_no_bar_has_a_height(values: list[float]) -> None:
    chart = drawn(values)
    assert heights(chart) == [0.0] * len(values)
    assert texts(chart)[1:4] == ["0", "0", "1"]


def test_bars_stand_side_by_side_within_the_picture() -> None:
    chart = drawn([1] * 20)
    places = [(float(bar.attrib["x"]), float(bar.attrib["width"])) for bar in chart.iter("rect")]
    for (x, width), (following, _) in pairwise(places):
        assert x + width < following
    width_of_all = float(chart.attrib["viewBox"].split()[2])
    assert places[0][0] > 0
    assert sum(places[-1]) < width_of_all


@pytest.mark.parametrize(("num", "shown"), [(3, [0, 1, 2]), (11, list(range(11))), (20, list(range(0, 20, 2)))])
def test_of_many_labels_every_so_many_are_shown_and_all_are_told(num: int, shown: list[int]) -> None:
    chart = drawn([1] * num)
    assert [text for text in texts(chart) if text.startswith("bar")] == [f"bar {number}" for number in shown]
    told = [title.text for title in chart.iter("title")]
    assert told == [f"bar {number}: 1" for number in range(num)]


def test_names_are_escaped_and_come_back_as_they_are() -> None:
    name = """<b>&"'</b><script>"""
    text = bars(name, [name], [1], axis=name)
    assert "<b>" not in text
    assert "<script" not in text
    chart = ElementTree.fromstring(text)
    assert chart.attrib["aria-label"] == name
    assert texts(chart)[0] == texts(chart)[-1] == name
    assert name in texts(chart)[1:-1]
    assert [title.text for title in chart.iter("title")] == [f"{name}: 1"]


def test_it_refers_to_nothing_outside_itself() -> None:
    text = bars("Title", ["a"], [1], axis="axis")
    assert not [what for what in ("http:", "https:", "//", "href", "url(", "src=") if what in text]


def test_as_many_labels_as_values_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        bars("Title", ["a", "b"], [1], axis="axis")
