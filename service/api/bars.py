"""Bar charts as SVG, for pages that need nothing beside them."""

from collections.abc import Sequence
from html import escape

_WIDTH, _HEIGHT = 430, 210
_LEFT, _TOP, _BOTTOM = 46, 28, 44


def bars(
    title: str,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    axis: str,
    most: float | None = None,
    is_share: bool = False,
) -> str:
    """One bar for each value, as high as its part of `most` or of the largest; every so many labels are shown."""
    top = most if most is not None else max([*values, 1])
    width, height = _WIDTH - _LEFT - 10, _HEIGHT - _TOP - _BOTTOM
    step = width / max(1, len(values))
    every = -(-len(labels) // 11)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" font-size="11" fill="#333">',
        f'<text x="{_LEFT}" y="16" font-size="13" font-weight="600">{escape(title)}</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = _TOP + height * (1 - share)
        text = f"{top * share:.2f}" if is_share else f"{top * share:,.0f}"
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for place, (label, value) in enumerate(zip(labels, values, strict=True)):
        bar = height * min(1.0, value / top) if top else 0.0
        x, y = _LEFT + place * step, _TOP + height - bar
        parts.append(
            f'<rect x="{x + step * 0.1:.1f}" y="{y:.1f}" width="{step * 0.8:.1f}" height="{bar:.1f}" fill="#3b6ea5">'
            f"<title>{escape(label)}: {value:,.4g}</title></rect>"
        )
        if is_share and len(values) <= 6:
            place_of_text = f'x="{x + step / 2:.1f}" y="{_TOP + height - 8:.1f}"'
            parts.append(f'<text {place_of_text} text-anchor="middle" fill="#fff">{value:.4f}</text>')
        if place % every == 0:
            middle = x + step / 2
            parts.append(f'<text x="{middle:.1f}" y="{_TOP + height + 15}" text-anchor="middle">{escape(label)}</text>')
    parts.append(f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(axis)}</text></svg>')
    return "".join(parts)
