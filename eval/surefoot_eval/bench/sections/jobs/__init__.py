"""Durable jobs: what they cost beyond their calls, how they grow, and (`--kills 20`) what is lost when workers and servers are killed.

10,000 items of 20 ms, a worker or four, in SQLite and Postgres; the cost is CPU of the workers beyond the same calls made without a job.
Then a job of a million items. Each figure stands beside its goal.

    python -m surefoot_eval bench jobs --kills 20
    python -m surefoot_eval bench jobs --parts corpus        # 100,000 passages indexed twice: half an hour
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from surefoot_eval.bench.crew import load
from surefoot_eval.bench.sections.jobs import corpus, cost, kills, million
from surefoot_eval.bench.sections.jobs.worker import KIND
from surefoot_eval.bench.stores import STORES

Figures = dict[str, Any]
Read = Callable[[Figures, Figures, Figures], float]
COST: tuple[tuple[str, Read, str, dict[str, float], str], ...] = (  # what, of (one worker, four, bare calls), sense, goal by store, unit
    ("CPU beyond the call, an item", lambda one, _, bare: one["cpu_ms"] - bare[KIND], "<=", {"sqlite": 0.08, "postgresql": 0.12}, "ms"),
    ("CPU of submitting, an item", lambda one, *_: one["submit_ms"], "<=", dict.fromkeys(STORES, 0.1), "ms"),
    ("memory above an idle worker", lambda one, *_: one["grown_mb"], "<=", dict.fromkeys(STORES, 20), "MB"),
    ("items a second, four workers over one", lambda one, four, _: four["per_s"] / one["per_s"], ">=", dict.fromkeys(STORES, 2.5), "x"),
    ("calls beyond one an item", lambda one, four, _: one["calls"] + four["calls"] - 2 * cost.ITEMS, "<=", dict.fromkeys(STORES, 0), ""),
    ("items without a result", lambda one, four, _: 2 * cost.ITEMS - one["results"] - four["results"], "<=", dict.fromkeys(STORES, 0), ""),
)
MILLION = (
    ("a look at a job of 1,000,000 items", "status_ms", 15.0, "ms"),
    ("memory that grows while its results are read", "read_mb", 20.0, "MB"),
    ("longest write of a worker while it is deleted", "write_worst_ms", 100.0, "ms"),
)
NAMES = {"one": "one, waiting", "four": "four, waiting", "chat": "one, chat"}


def run(*, rounds: int = 5, killed: int = 0, parts: str = "cost,million,kills") -> Figures:  # noqa: ARG001 - one round is long enough
    """All parts, in both stores; `killed` workers are killed in each, none by default."""
    found: Figures = {"load": load(), "killed": killed}
    if "cost" in parts:
        found["bare"] = cost.bare()
        found["cost"] = {
            kind: {"one": cost.worked(kind, KIND, 1), "four": cost.worked(kind, KIND, 4), "chat": cost.worked(kind, "chat", 1)}
            for kind in STORES
        }
    if "million" in parts:
        found["million"] = {kind: million.measure(kind) for kind in STORES}
    if killed and "kills" in parts:
        found["kills"] = {kind: kills.measure(kind, kills=killed, seed=1) for kind in STORES}
    if "corpus" in parts:
        found["corpus"] = corpus.measure()
    found["load_after"] = load()
    return found


def judged(result: Figures) -> list[tuple[str, str, str, float, float, str]]:
    """(store, what, sense, goal, measured, unit) of everything that was run."""
    rows: list[tuple[str, str, str, float, float, str]] = []
    for kind, one in result.get("cost", {}).items():
        for what, read, sense, goals, unit in COST:
            rows.append((kind, what, sense, goals[kind], read(one["one"], one["four"], result["bare"]), unit))
    for kind, one in result.get("million", {}).items():
        rows += [(kind, what, "<=", goal, one[key], unit) for what, key, goal, unit in MILLION]
    for kind, one in result.get("kills", {}).items():
        rows += _of_kills(kind, one)
    if "corpus" in result:
        one, what = result["corpus"], f"{result['corpus']['passages']:,} passages, a worker killed twice"
        rows.append(("sqlite", f"{what}: missing in the index", "<=", 0, one["missing"], ""))
        rows.append(("sqlite", f"{what}: unlike those of an undisturbed run", "<=", 0, one["different"], ""))
    return rows


def _of_kills(kind: str, one: Figures) -> list[tuple[str, str, str, float, float, str]]:
    workers, sigterm, halted, gone = one["workers"], one["sigterm"], one["stopped"], one["store"]
    name = f"Postgres killed {gone['kills']} times" if gone["kills"] else "file locked for 5 s"
    every = (workers, sigterm, halted, gone)
    return [
        (kind, f"{workers['kills']} kill -9 of workers, and the rest: results lost", "<=", 0, sum(each["lost"] for each in every), ""),
        (kind, "results or counts beyond one an item", "<=", 0, sum(each["doubled"] for each in every), ""),
        (kind, "calls made twice, of those under way at the kills", "<=", workers["under_way"], workers["twice"], ""),
        (kind, "taken up after a kill", "<=", kills.DEAD_S + 2, workers["taken_up_s"], "s"),
        (kind, "SIGTERM until a busy worker has ended", "<=", 1.0, sigterm["sigterm_s"], "s"),
        (kind, "SIGSTOP for two deadlines: calls made twice, of those under way", "<=", halted["under_way"], halted["twice"], ""),
        (kind, f"{name}: workers that died", "<=", 0, gone["died"], ""),
        (kind, f"{name}: calls made twice", "<=", 0, gone["twice"], ""),
        (kind, f"{name}: next call after it was back", "<=", 6.0, gone["resumed_s"], "s"),
    ]


def table(result: Figures) -> str:
    """The result as Markdown."""
    lines = ["| store | what | goal | measured | met |", "|---|---|---|---|---|"]
    for kind, what, sense, goal, measured, unit in judged(result):
        met = measured <= goal if sense == "<=" else measured >= goal
        lines.append(f"| {kind} | {what} | {sense} {goal:g} {unit} | {measured:.3g} {unit} | {'yes' if met else 'NO'} |")
    if "cost" in result:
        lines += [
            "",
            "| store | workers, kind | items/s | worker CPU ms an item | server CPU ms an item | MB above idle |",
            "|---" * 6 + "|",
        ]
        for kind, one in result["cost"].items():
            for name, of in one.items():
                figures = f"{of['per_s']:,.0f} | {of['cpu_ms']:.3f} | {of['server_ms']:.3f} | {of['grown_mb']:.1f}"
                lines.append(f"| {kind} | {NAMES[name]} | {figures} |")
        bare = result["bare"]
        lines.append(f"\nThe calls alone: waiting {bare[KIND]:.3f} ms, `ChatModel.ainvoke` {bare['chat']:.3f} ms of CPU each.")
    for kind, one in result.get("million", {}).items():
        lines.append(
            f"\n{kind}, 1,000,000 items: a look {one['status_ms']:.1f} ms (at worst {one['status_worst_ms']:.1f}); a result read "
            f"{one['read_us']:.1f} us; deleted in {one['forget_s']:.0f} s, meanwhile a write {one['write_ms']:.1f} ms (p99 "
            f"{one['write_p99_ms']:.1f}, at worst {one['write_worst_ms']:.1f} of {one['writes']}), without it {one['write_idle_ms']:.1f} "
            f"(at worst {one['write_idle_worst_ms']:.1f})."
        )
    lines.append(f"\nLoad before {result['load']}, after {result['load_after']}.")
    return "\n".join(lines)
