"""Plots as inline SVG: no script, no font, no address. Colours follow the page's light or dark scheme through CSS classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from surefoot_eval.report.costs import CostPoint
from surefoot_eval.run.results import Summary

__all__ = ["distribution", "intervals", "map_of"]

WIDTH, ROW, LEFT, RIGHT = 720, 26, 190, 70
COLOURS = 6  # classes c0 ... c5 in the page's style


def intervals(title: str, rows: Mapping[str, Summary]) -> str:
    """A dot and its 95 % interval for each system, on a scale from 0 to 1."""
    height = ROW * len(rows) + 34
    parts = [_axis(0.0, 1.0, height, [0.0, 0.25, 0.5, 0.75, 1.0], lambda value: f"{value:g}")]
    families = list(dict.fromkeys(name.partition(" / ")[0] for name in rows))  # a system has one colour under all faults
    for row, (name, summary) in enumerate(rows.items()):
        at, y = families.index(name.partition(" / ")[0]), ROW * row + 18
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(_short(name))}</text>')
        if summary.mean is None:
            parts.append(f'<text x="{LEFT}" y="{y + 4}" class="dim">none</text>')
            continue
        if summary.interval:
            low, high = _x(summary.interval.low, 0, 1), _x(summary.interval.high, 0, 1)
            parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" class="bar c{at % COLOURS}"/>')
        x = _x(summary.mean, 0, 1)
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="4.5" class="dot c{at % COLOURS}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y + 4}">{summary.mean:.3f}</text>')
    return _svg(title, height, parts)


def distribution(title: str, series: Mapping[str, Sequence[float]]) -> str:
    """Latency as cumulative curves on a logarithmic scale: how many of the questions were answered within so many seconds."""
    kept = {name: sorted(max(value, 1e-4) for value in values) for name, values in series.items() if values}
    if not kept:
        return ""
    low = 10 ** math.floor(math.log10(min(values[0] for values in kept.values())))
    high = 10 ** math.ceil(math.log10(max(values[-1] for values in kept.values()) * 1.001))
    plot, legend = 220, ROW * len(kept)
    ticks = [10.0**power for power in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    parts = [_axis(math.log10(low), math.log10(high), plot + 24, [math.log10(one) for one in ticks], lambda value: _seconds(10**value))]
    for share in (0.5, 0.95, 1.0):
        y = 8 + (1 - share) * (plot - 16)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" class="dim">{share:.0%}</text>')
    for at, (name, values) in enumerate(kept.items()):
        spots = []
        for rank, value in enumerate(values, 1):
            x = _x(math.log10(value), math.log10(low), math.log10(high))
            spots.append(f"{x:.1f},{8 + (1 - rank / len(values)) * (plot - 16):.1f}")
        parts.append(f'<polyline points="{" ".join(spots)}" class="curve c{at % COLOURS}"/>')
        y = plot + 40 + ROW * at
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + 28}" y1="{y}" y2="{y}" class="curve c{at % COLOURS}"/>')
        parts.append(f'<text x="{LEFT + 38}" y="{y + 4}">{escape(name)}</text>')
    return _svg(title, plot + 34 + legend, parts)


def map_of(title: str, points: Sequence[CostPoint], *, of: str) -> str:
    """Quality over money (`of` is "usd") or latency ("s"); hollow are systems that another one is ahead of."""
    values = {one.name: (one.usd_per_1k if of == "usd" else one.p95_s) for one in points}
    kept = [one for one in points if values[one.name] is not None]
    if not kept:
        return ""
    found = [values[one.name] or 0.0 for one in kept]
    most = max(found) * 1.1 or 1.0
    least = min(found) * 0.9 if min(found) > most / 2 else 0.0  # near each other: the axis need not begin at 0
    floor = max(0.0, math.floor((min(one.quality for one in kept) - 0.02) * 20) / 20)
    top = min(1.0, math.ceil((max(one.quality for one in kept) + 0.02) * 20) / 20)
    plot = 240
    label = (lambda value: f"${value:.3g}") if of == "usd" else _seconds
    parts = [_axis(least, most, plot + 24, [least + (most - least) * step / 4 for step in range(5)], label)]
    for share in (floor, (top + floor) / 2, top):
        y = 10 + (top - share) / (top - floor) * (plot - 20)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end" class="dim">{share:.3g}</text>')
    for at, one in enumerate(points):
        value = values[one.name]
        if value is None:
            continue
        x, y = _x(value, least, most), 10 + (top - one.quality) / (top - floor) * (plot - 20)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" class="{"ring" if one.behind else "dot"} c{at % COLOURS}"/>')
        parts.append(f'<text x="{x + 10:.1f}" y="{y + (14 if at % 2 else -6):.1f}">{escape(_short(one.name))}</text>')
    return _svg(title, plot + 34, parts)


def _axis(low: float, high: float, height: int, ticks: Sequence[float], label: object) -> str:
    parts = []
    for value in ticks:
        x = _x(value, low, high)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 20}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 4}" text-anchor="middle" class="dim">{escape(label(value))}</text>')  # type: ignore[operator]
    return "".join(parts)


def _x(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / ((high - low) or 1.0) * (WIDTH - LEFT - RIGHT)


def _svg(title: str, height: float, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _seconds(value: float) -> str:
    if value >= 1:
        return f"{value:.3g} s"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} µs"


def _short(name: str) -> str:
    return name if len(name) <= 26 else name[:25] + "…"
