"""What a verdict says is on its page, as text, and nothing is fetched for it."""

from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from service.api.verdict_page import verdict_page

ROUTE = {
    "source": "space-a",
    "target": "space-b",
    "bundles": [{"name": "a-to-b", "digest": "0123456789abcdef" * 4}],
    "quality": 0.8765,
}
BACK = ROUTE | {"source": "space-b", "target": "space-a", "bundles": [{"name": "b-to-a", "digest": "f" * 64}]}
PLAN = {
    "source": {"name": "space-a"},
    "target": {"name": "space-b"},
    "routes": {"print": ROUTE},
    "left_out": {},
    "probes": None,
}
SIGNED = {"job": "5f5f", "gallery": "people", "public_key": "KEY", "signature": "SIGNATURE", "is_passed": True}
SIDE = {"num_mated": 1200, "num_non_mated": 40, "rank1": 0.95, "fpir": 0.05, "threshold": 0.321, "fnir": 0.0625}


def gate(name: str, value: float | None, state: str, *, is_least: bool = True) -> dict[str, Any]:
    return {"name": name, "value": value, "limit": 0.25, "is_least": is_least, "num": 12345, "state": state}


def verdict(**more: Any) -> dict[str, Any]:
    """Of a generation."""
    judged = {
        "plan": PLAN,
        "generation": 8,
        "generation_before": 7,
        "judged_at": "2026-11-01T10:00:00.000+00:00",
        "num_missing": 1,
        "num_templates": 54321,
        "gates": [
            gate("neighbour overlap@10", 0.4321, "passed"),
            gate("negative flips", 0.3, "failed", is_least=False),
            gate("low confidence", None, "not-measured", is_least=False),
        ],
        "rank1": {
            "num": 400,
            "num_subjects": 200,
            "before": 0.9,
            "after": 0.8,
            "predicted_native": 0.85,
            "predicted_interval": [0.7951, 0.8921],
        },
        "overlaps": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        "confidence": {"num": 3, "histogram": [0] * 18 + [1, 2]},
        "probes": None,
    }
    return SIGNED | judged | more


class Page(HTMLParser):
    """The texts and cells of a page, and whether its tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag != "meta":
            self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self._open and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(self.texts)


def charts(page: str) -> Iterator[ElementTree.Element]:
    for piece in page.split("<svg")[1:]:
        yield ElementTree.fromstring(f"<svg{piece.partition('</svg>')[0]}</svg>")


def test_gates_are_shown_with_what_was_measured_the_limit_and_the_state() -> None:
    page = Page(verdict_page(verdict()))
    assert page.rows[:4] == [
        ["gate", "measured", "limit", "of", "state"],
        ["neighbour overlap@10", "0.4321", "at least 0.25", "12,345", "passed"],
        ["negative flips", "0.3000", "at most 0.25", "12,345", "failed"],
        ["low confidence", "", "at most 0.25", "12,345", "not-measured"],
    ]
    classes = [value for name, value in page.attributes if name == "class"]
    assert [one for one in classes if one in ("passed", "failed", "not-measured")] == [
        "passed",
        "failed",
        "not-measured",
    ]
    for piece in ("people: space-a to space-b", "Generation 8 beside generation 7", "1 of 54,321", "5f5f", "SIGNATURE"):
        assert piece in page.text


@pytest.mark.parametrize(("is_passed", "state"), [(True, "passed"), (False, "failed")])
def test_it_says_at_the_top_whether_it_has_passed(is_passed: bool, state: str) -> None:
    page = Page(verdict_page(verdict(is_passed=is_passed)))
    assert ("class", f"badge {state}") in page.attributes
    assert len([one for one in page.attributes if (one[1] or "").startswith("badge")]) == 1


def test_charts_show_what_was_found_first_neighbours_and_confidence() -> None:
    page = verdict_page(verdict())
    assert [chart.attrib["aria-label"] for chart in charts(page)] == [
        "Found first",
        "Neighbours",
        "Confidence in translations",
    ]
    assert [len(list(chart.iter("rect"))) for chart in charts(page)] == [3, 11, 20]
    told = [(title.text or "").rpartition(": ")[2] for title in next(charts(page)).iter("title")]
    assert told == ["0.9", "0.8", "0.85"]
    assert "400 drawn templates of 200 people" in page
    assert "0.795 to 0.892 (95 %" in page


def test_what_was_not_measured_has_no_chart() -> None:
    nothing = {"num": 0, "before": None, "after": None, "predicted_native": None, "predicted_interval": None}
    page = verdict_page(verdict(rank1=nothing, confidence={"num": 0, "quantiles": {}, "histogram": []}))
    Page(page)
    assert [chart.attrib["aria-label"] for chart in charts(page)] == ["Neighbours"]


def test_without_labelled_probes_it_says_so() -> None:
    assert "None were sent." in Page(verdict_page(verdict())).text


def test_labelled_probes_are_shown_before_and_after() -> None:
    after = SIDE | {"rank1": None, "threshold": None, "fnir": None}
    page = Page(verdict_page(verdict(probes={"before": SIDE, "after": after})))
    assert "None were sent." not in page.text
    assert page.rows[4:7] == [
        ["", "mated", "others", "rank-1", "FNIR at FPIR 0.05", "threshold"],
        ["before", "1,200", "40", "0.9500", "0.0625", "0.3210"],
        ["after", "1,200", "40", "", "", ""],
    ]


def test_where_no_route_leads_from_the_probes_it_says_so() -> None:
    page = Page(verdict_page(verdict(probes={"before": None, "after": SIDE})))
    assert page.rows[4][4] == "FNIR at FPIR 0.05"
    assert page.rows[5] == ["before", "no route leads there from the space of the probes"]
    assert page.rows[6][:3] == ["after", "1,200", "40"]


def test_routes_are_shown_with_their_translators_and_what_is_left_out() -> None:
    plan = PLAN | {"probes": BACK, "left_out": {"space-z": 1234, "space-y": 5}}
    page = Page(verdict_page(verdict(plan=plan)))
    assert page.rows[-2:] == [
        ["templates", "space-a", "space-b", "a-to-b 0123456789abcdef", "0.876"],
        ["probes, until the cut-over", "space-b", "space-a", "b-to-a ffffffffffffffff", "0.876"],
    ]
    assert "Left out: 5 of space-y.Left out: 1,234 of space-z." in page.text


def test_of_probes_alone_there_are_routes_and_no_gates() -> None:
    plan = PLAN | {"routes": {}, "probes": BACK}
    text = verdict_page(SIGNED | {"plan": plan, "gates": []})
    page = Page(text)
    assert "The gallery stays as it is; probes of space-b are translated back by b-to-a" in page.text
    assert len(page.rows) == 2
    assert "<svg" not in text
    assert "Gates" not in page.text


def test_names_are_text_whatever_they_hold() -> None:
    name = """<b>&"'</b><script>"""
    route = {"source": name, "target": name, "bundles": [{"name": name, "digest": "0"}], "quality": 1.0}
    plan = {
        "source": {"name": name},
        "target": {"name": name},
        "routes": {name: route},
        "left_out": {name: 1},
        "probes": route,
    }
    signed = dict.fromkeys(("job", "gallery", "public_key", "signature"), name) | {"is_passed": True, "plan": plan}
    whole = verdict(gates=[gate(name, 0.5, "passed")], judged_at=name)
    for text in (verdict_page(whole | signed), verdict_page(signed)):
        assert "<b>" not in text
        assert "<script" not in text
        page = Page(text)
        assert f"{name}: {name} to {name}" in page.texts
        assert f"Left out: 1 of {name}." in page.text
        assert not [attribute for attribute in page.attributes if name in (attribute[1] or "")]


def test_nothing_is_fetched() -> None:
    probes = {"before": SIDE, "after": SIDE}
    for text in (verdict_page(verdict(probes=probes)), verdict_page(SIGNED | {"plan": PLAN | {"probes": BACK}})):
        assert not [what for what in ("http:", "https:", "//", "url(", "@import", "<script", "<link") if what in text]
        assert not {name for name, _ in Page(text).attributes} & {"src", "href", "srcset", "xlink:href", "style"}
