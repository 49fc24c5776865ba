"""A verdict as one page of HTML that needs nothing beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from service.api.bars import bars

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0.2rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } p { max-width: 46rem; }
.small { color: #666; font-size: 13px; overflow-wrap: anywhere; } svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.6rem 0; }
th, td { padding: 0.25rem 0.7rem; text-align: right; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #ccc; } th:first-child, td:first-child, td:last-child, th:last-child { text-align: left; }
.passed { color: #1a7f37; } .failed { color: #c62828; font-weight: 600; } .not-measured { color: #8a6d00; }
.badge { display: inline-block; border: 1px solid; border-radius: 6px; padding: 0.1rem 0.7rem; font-weight: 600; }
.pair { display: flex; flex-wrap: wrap; gap: 1rem; } .pair > div { flex: 0 1 455px; }
table.routes th, table.routes td { text-align: left; }
"""


def verdict_page(verdict: Mapping[str, Any]) -> str:
    """The page of a signed verdict."""
    plan = verdict["plan"]
    state = "passed" if verdict["is_passed"] else "failed"
    title = f"{verdict['gallery']}: {plan['source']['name']} to {plan['target']['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p><span class="badge {state}">{state}</span> Job <code>{escape(verdict["job"])}</code></p>',
        *(_of_generation(verdict) if "generation" in verdict else _of_probes_only(plan)),
        "<h2>Routes</h2>",
        _routes(plan),
        f'<p class="small">Signed with Ed25519 by {escape(verdict["public_key"])}: {escape(verdict["signature"])}. '
        "<code>facebridge check-receipt</code> verifies the JSON of this.</p>",
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _of_generation(verdict: Mapping[str, Any]) -> list[str]:
    rank1, confidence = verdict["rank1"], verdict["confidence"]
    missing = f"{verdict['num_missing']:,} of {verdict['num_templates']:,} templates are not in it"
    parts = [
        f"<p>Generation {verdict['generation']} beside generation {verdict['generation_before']}, judged at "
        f"{escape(verdict['judged_at'])}; {missing}.</p>",
        "<h2>Gates</h2>",
        _gates(verdict["gates"]),
        "<p>Templates were drawn, taken out of the gallery and asked about, in either generation alike: so no picture is "
        "needed. Overlap: how many of the ten nearest subjects stay so. Retention: of those who found "
        "their subject first before, the share that does after. Negative flips: the share of all drawn of subjects who have "
        "several templates that did and do not any more. These are means over people, of as many as stand there.</p>",
        '<div class="pair">',
    ]
    if rank1["num"]:
        shown = {
            "before": rank1["before"],
            "after": rank1["after"],
            "native, predicted": rank1["predicted_native"],
        }
        chart = bars(
            "Found first",
            list(shown),
            list(shown.values()),
            axis=f"{rank1['num']:,} drawn templates of {rank1['num_subjects']:,} people",
            most=1.0,
            is_share=True,
        )
        low, high = rank1["predicted_interval"]
        told = (
            f"Probes of the new encoder, whose misses are reckoned from those of translated ones: "
            f"{low:.3f} to {high:.3f} (95 %, for as many people)."
        )
        parts.append(f'<div>{chart}<p class="small">{told}</p></div>')
    overlaps = verdict["overlaps"]
    axis = "of the ten nearest subjects, how many stay so"
    parts.append(f"<div>{bars('Neighbours', [str(num) for num in range(len(overlaps))], overlaps, axis=axis)}</div>")
    if confidence["num"]:
        counts = confidence["histogram"]
        labels = [f"{place / len(counts):.2f}" for place in range(len(counts))]
        parts.append(f"<div>{bars('Confidence in translations', labels, counts, axis='confidence, from')}</div>")
    parts.append("</div>")
    return parts + _labelled(verdict["probes"])


def _gates(gates: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"<tr><td>{escape(gate['name'])}</td><td>{_number(gate['value'])}</td>"
        f"<td>{'at least' if gate['is_least'] else 'at most'} {gate['limit']:g}</td><td>{gate['num']:,}</td>"
        f'<td class="{gate["state"]}">{gate["state"]}</td></tr>'
        for gate in gates
    ]
    return (
        f"<table><tr><th>gate</th><th>measured</th><th>limit</th><th>of</th><th>state</th></tr>{''.join(rows)}</table>"
    )


def _labelled(probes: Mapping[str, Any] | None) -> list[str]:
    if probes is None:
        return ["<h2>Labelled probes</h2><p>None were sent.</p>"]
    rows = []
    for side in ("before", "after"):
        one = probes[side]
        if one is None:
            rows.append(f"<tr><td>{side}</td><td colspan=5>no route leads there from the space of the probes</td></tr>")
            continue
        numbers = (one["rank1"], one["fnir"], one["threshold"])
        cells = "".join(f"<td>{_number(number)}</td>" for number in numbers)
        rows.append(f"<tr><td>{side}</td><td>{one['num_mated']:,}</td><td>{one['num_non_mated']:,}</td>{cells}</tr>")
    rates = [f" at FPIR {one['fpir']:g}" for one in probes.values() if one] or [""]
    head = f"<tr><th></th><th>mated</th><th>others</th><th>rank-1</th><th>FNIR{rates[0]}</th><th>threshold</th></tr>"
    return ["<h2>Labelled probes</h2>", f"<table>{head}{''.join(rows)}</table>"]


def _of_probes_only(plan: Mapping[str, Any]) -> list[str]:
    return [
        f"<p>The gallery stays as it is; probes of {escape(plan['target']['name'])} are translated back by "
        f"{_bundles(plan['probes'])}.</p>"
    ]


def _routes(plan: Mapping[str, Any]) -> str:
    routes = [("templates", route) for route in plan["routes"].values()]
    routes += [("probes, until the cut-over", plan["probes"])] if plan["probes"] else []
    rows = [
        f"<tr><td>{what}</td><td>{escape(route['source'])}</td><td>{escape(route['target'])}</td><td>{_bundles(route)}</td>"
        f"<td>{route['quality']:.3f}</td></tr>"
        for what, route in routes
    ]
    left = "".join(f"<p>Left out: {num:,} of {escape(name)}.</p>" for name, num in sorted(plan["left_out"].items()))
    head = "<tr><th>what</th><th>from</th><th>to</th><th>by</th><th>mean cosine, as measured when fitted</th></tr>"
    return f'<table class="routes">{head}{"".join(rows)}</table>{left}'


def _bundles(route: Mapping[str, Any]) -> str:
    return ", ".join(f"<code>{escape(one['name'])}</code> {escape(one['digest'][:16])}" for one in route["bundles"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
