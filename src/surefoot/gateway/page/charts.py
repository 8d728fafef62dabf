"""Bars as inline SVG: coordinates are attributes and colours classes, since the page's policy lets no style stand in its markup."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from markupsafe import Markup

WIDTH, HEIGHT = 720, 100


class Bar(NamedTuple):
    """One column: parts from below, each with its class, and what is said of it."""

    parts: tuple[tuple[str, float], ...]
    """Pairs of class ("good", "bad", "cost", ...) and value, at least 0."""
    says: str
    """Shown when it is pointed at."""


def columns(bars: Sequence[Bar], label: str) -> Markup:
    """Columns from left to right, as high as the highest; `label` is what a screen reader says of them."""
    most = max((sum(value for _, value in bar.parts) for bar in bars), default=0.0) or 1.0
    step = WIDTH / max(1, len(bars))
    gap = min(2.0, step / 5)
    drawn = []
    for at, bar in enumerate(bars):
        top = float(HEIGHT)
        rects = []
        for kind, value in bar.parts:
            height = value / most * (HEIGHT - 4)
            if value:
                height = max(height, 1.5)
                top -= height
                rects.append(
                    f'<rect class="{kind}" x="{at * step + gap / 2:.1f}" y="{top:.1f}" width="{step - gap:.1f}" height="{height:.1f}"/>'
                )
        rest = f'<rect class="hit" x="{at * step:.1f}" y="0" width="{step:.1f}" height="{HEIGHT}"/>'
        drawn.append(f"<g><title>{escape(bar.says)}</title>{rest}{''.join(rects)}</g>")
    return _svg(HEIGHT, label, drawn, "columns")


def spans(lines: Sequence[tuple[tuple[str, float, float], ...]], label: str, whole: float) -> list[Markup]:
    """For each line a bar of its own: parts of (class, from, to) on a scale from 0 to `whole`."""
    scale = WIDTH / (whole or 1.0)
    found = []
    for line in lines:
        rects = [
            f'<rect class="{kind}" x="{begin * scale:.1f}" y="2" width="{max(2.0, (end - begin) * scale):.1f}" height="10" rx="1"/>'
            for kind, begin, end in line
            if end > begin or kind != "wait"
        ]
        found.append(_svg(14, label, rects, "span"))
    return found


def share_bar(value: float, most: float) -> Markup:
    """How much of the most a line of a table has; decoration beside the number."""
    width = WIDTH * value / most if most else 0.0
    return Markup(  # noqa: S704 - numbers
        f'<svg class="share" viewBox="0 0 {WIDTH} 4" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="cost" x="0" y="0" width="{width:.1f}" height="4"/></svg>'
    )


def _svg(height: int, label: str, inside: Sequence[str], kind: str) -> Markup:
    return Markup(  # noqa: S704 - numbers, classes of ours, and texts that were escaped
        f'<svg class="{kind}" viewBox="0 0 {WIDTH} {height}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{''.join(inside)}</svg>"
    )
