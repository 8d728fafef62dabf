"""One quota, many processes: whether they keep to it and use it, what sharing costs, and what a store or a process that fails does to it.

8 processes at twice the limit through Redis, Postgres and SQLite; half the load; a store that stands still for 5 s; half of the processes
killed. Beside it 4 processes that share it, 4 that do not, and 4 of LiteLLM's Router with Redis.

    python -m surefoot_eval bench fleet
    python -m surefoot_eval bench fleet --parts redis,compared
"""

from __future__ import annotations

from typing import Any

from surefoot.rules.token_bucket.slices import DEAD_S
from surefoot_eval.bench.crew import load
from surefoot_eval.bench.sections.fleet import cost, scenes
from surefoot_eval.bench.stores import SHARED, store

Figures = dict[str, Any]
Row = tuple[str, str, str, float, float, str]  # (store, what, sense, goal, measured, unit)
PARTS = ",".join((*SHARED, "compared"))


def run(*, rounds: int = 5, parts: str = PARTS) -> Figures:  # noqa: ARG001 - one round is long enough
    """Every scene in the stores that `parts` names, and (`compared`) the others."""
    unknown = set(parts.split(",")) - set(PARTS.split(","))
    if unknown:
        raise SystemExit(f"fleet: no part {', '.join(sorted(unknown))}: there are {PARTS}")
    found: Figures = {"what": scenes.describe(), "load": load(), "stores": {}}
    for kind in parts.split(","):
        if kind in SHARED:
            with store(kind) as (url, server):
                found["stores"][kind] = {
                    "cost": cost.measure(url),
                    "half": scenes.half(url),
                    "killed": scenes.killed(url),
                    "load": scenes.load(url, server),
                }
    if "compared" in parts:
        with store("redis") as (url, _):
            found["compared"] = scenes.compared(url)
    return found | {"load_after": load()}


def judged(result: Figures) -> list[Row]:
    """Everything that was run beside its goal."""
    rows: list[Row] = []
    for kind, one in result["stores"].items():
        for name, of in one["load"].items():
            rows += [
                (kind, f"{name}: fullest minute, of the limit", "<=", 1.0, of["worst"], ""),
                (kind, f"{name}: refused by the provider", "<=", 0, of["refused"], ""),
                (kind, f"{name}: of the limit used", ">=", 0.98, of["used"], ""),
                (kind, f"{name}: of the limit used while the store stands still", ">=", 0.75, of["used_away"], ""),
            ]
        added_ms = one["half"]["shared_p99_ms"] - one["half"]["alone_p99_ms"]
        rows += [
            (kind, "CPU added to a call in hand", "<=", 5.0, one["cost"]["added_us"], "us"),
            (kind, "half the load: added to the 99th percentile", "<=", 10.0, added_ms, "ms"),
            (kind, "most calls under way, of 40 places", "<=", scenes.PLACES, one["killed"]["peak"], ""),
            (kind, "4 of 8 killed: the others have all places after", "<=", DEAD_S + 0.5, one["killed"]["back_s"], "s"),
        ]
    return rows


NAMES = {"shared": "surefoot, shared through Redis", "unshared": "surefoot, each by itself", "litellm": "LiteLLM Router with Redis"}


def table(result: Figures) -> str:
    """The result as Markdown."""
    lines = [f"{result['what']}; load {result['load']}, after {result['load_after']}."]
    if result["stores"]:
        lines += ["", "| store | what | goal | measured | met |", "|---|---|---|---|---|"]
    for kind, what, sense, goal, measured, unit in judged(result):
        met = measured <= goal if sense == "<=" else measured >= goal
        lines.append(f"| {kind} | {what} | {sense} {goal:g} {unit} | {measured:.3g} {unit} | {'yes' if met else 'NO'} |")
    for kind, one in result["stores"].items():
        at_half, guards = one["half"], one["cost"]
        lines.append(
            f"\n{kind}: at half the load p50 {at_half['shared_p50_ms']:.1f} ms (alone {at_half['alone_p50_ms']:.1f}), p99 "
            f"{at_half['shared_p99_ms']:.1f} ({at_half['alone_p99_ms']:.1f}) of {at_half['calls']:.0f} calls each; guards "
            f"{guards['shared_us']:.1f} us ({guards['alone_us']:.1f}); before the kill the others had {one['killed']['before']:.1f} places."
        )
    if "compared" in result:
        title = f"{scenes.SOLO} processes each, {scenes.LOAD_S:g} s"
        lines += ["", f"| {title} | requests | fullest minute | 429s | limit used | lost | answered, least and most of a process |"]
        lines.append("|---" * 7 + "|")
        for name, of in result["compared"].items():
            shown = "absent (`make peers`) | | | | |" if of is None else (
                f"{of['requests']:,.0f} | {of['worst']:.2f} | {of['refused_share']:.1%} | {of['used']:.1%} | {of['lost']:,.0f} | "
                f"{of['least']:.0f}, {of['most']:.0f}"
            )  # fmt: skip
            lines.append(f"| {NAMES[name]} | {shown} |")
    return "\n".join(lines)
