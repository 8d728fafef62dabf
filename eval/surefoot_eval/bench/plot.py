"""A small chart as SVG, without a library: bars for who costs what, lines for how cost moves as work grows; numbers beside the marks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, BAR, LEFT, RIGHT = 900, 18, 300, 90
COLOURS = ("#3b6ea8", "#c8553d", "#4f8a5b", "#8d6a9f", "#b88a2d", "#5b5b5b", "#2a9d8f", "#a23b72")
OURS = "#3b6ea8"
THEIRS = "#b9bec4"


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">'
    back = f'<rect width="{WIDTH}" height="{height:.0f}" fill="white"/>'
    return "\n".join([head, back, f'<text x="12" y="20" font-size="15" font-weight="bold">{escape(title)}</text>', *parts, "</svg>\n"])


def bars(title: str, values: Mapping[str, float], *, unit: str) -> str:
    """One horizontal bar a name; names that begin with surefoot's are coloured. `unit` stands at the numbers."""
    most = max(values.values(), default=1.0) or 1.0
    parts: list[str] = []
    y = 36.0
    for name, value in values.items():
        is_ours = "surefoot" in name.lower()
        size = (WIDTH - LEFT - RIGHT) * value / most
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13:.0f}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect x="{LEFT}" y="{y:.0f}" width="{max(1.0, size):.1f}" height="{BAR - 4}" fill="{OURS if is_ours else THEIRS}"/>')
        parts.append(f'<text x="{LEFT + size + 6:.1f}" y="{y + 12:.0f}">{value:,.3g} {escape(unit)}</text>')
        y += BAR
    return _svg(y + 12, parts, title)


def lines(title: str, series: Mapping[str, Mapping[float, float]], *, unit: str, across: str) -> str:
    """Lines over a logarithmic axis of work; the vertical axis begins at 0."""
    xs = sorted({x for points in series.values() for x in points})
    most = max((y for points in series.values() for y in points.values()), default=1.0) * 1.1 or 1.0
    low, high = math.log10(min(xs)), math.log10(max(xs))
    span = (high - low) or 1.0

    def at(x: float, y: float) -> tuple[float, float]:
        return 70 + (WIDTH - 350) * (math.log10(x) - low) / span, 340 - 290 * y / most

    parts = [f'<text x="12" y="40">{escape(unit)}</text>', f'<text x="{WIDTH - 270}" y="380" text-anchor="end">{escape(across)}</text>']
    for step in range(5):
        value = most * step / 4
        _, y = at(xs[0], value)
        parts.append(f'<line x1="70" y1="{y:.1f}" x2="{WIDTH - 280}" y2="{y:.1f}" stroke="#e3e3e3"/>')
        parts.append(f'<text x="64" y="{y + 4:.1f}" text-anchor="end">{value:,.3g}</text>')
    for x in xs:
        left, _ = at(x, 0)
        parts.append(f'<text x="{left:.1f}" y="358" text-anchor="middle">{x:,.0f}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        spots = [at(x, y) for x, y in sorted(points.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        parts.append(f'<text x="{WIDTH - 260}" y="{56 + 18 * number}" fill="{colour}">{escape(name)}</text>')
    return _svg(392, parts, title)
