"""The gateway beside a pipe that only copies bytes: CPU of a call and of a chunk, memory, overload, clients that leave.

`surefoot serve` has keys, limits, budgets, ledger and metrics on; the pipe is the same server without any of it. Peers are LiteLLM's proxy
and Portkey, where `make peers` has installed them.

    python -m surefoot_eval bench gateway
    python -m surefoot_eval bench gateway --load http://127.0.0.1:4000 --key env:SUREFOOT_KEY     a load test of any address
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from surefoot_eval.bench.crew import load
from surefoot_eval.bench.sections.gateway import aborts, cost, overload
from surefoot_eval.bench.sections.gateway.subjects import FLOOR, LITELLM, OURS, PORTKEY, SUBJECTS, GatewayProcess, ours
from surefoot_eval.bench.server import server

GAP_MS = 5  # between two chunks of the paced upstream; a model takes 10 to 30
Figures = dict[str, Any]


def run(
    *, rounds: int = 5, parts: str = "cost,memory,overload,aborts", calls: int = 100_000, load_test: dict[str, Any] | None = None
) -> Figures:
    """All parts; `calls` are those over which memory may grow. With an address in `load_test`, that instead."""
    if load_test is not None and load_test["url"]:
        from surefoot_eval.bench.sections.gateway.load_test import run_load

        return {"load_test": run_load(**load_test)}
    found: Figures = {"load": load(), "rounds": rounds, "absent": [name for name, (_, here) in SUBJECTS.items() if not here()]}
    if "cost" in parts or "memory" in parts:
        with ExitStack() as stack:
            quick, slow = (stack.enter_context(server("--gap-ms", str(gap))) for gap in (0, GAP_MS))
            names = [name for name in SUBJECTS if name not in found["absent"]]
            running, paced = ({name: _started(stack, name, one.address) for name in names} for one in (quick, slow))
            if "cost" in parts:
                found["cost"] = cost.costs(running, paced, rounds=rounds)
            found["rest_mb"] = {name: subject.rss_mb() for name, subject in running.items()}
            if "memory" in parts:
                found["memory"] = cost.memory(running, calls=calls)
    if "overload" in parts:
        with ExitStack() as stack:
            upstream = stack.enter_context(server("--latency-ms", str(overload.LATENCY_MS)))
            subject = ours(upstream.address, max_in_flight=overload.PLACES, max_queued=overload.QUEUED, queue_s=0.5)
            stack.callback(subject.stop)
            found["overload"] = overload.measure(subject)
    if "aborts" in parts:
        with ExitStack() as stack:
            upstream = stack.enter_context(server("--gap-ms", str(GAP_MS)))
            subject = ours(upstream.address)
            stack.callback(subject.stop)
            found["aborts"] = aborts.measure(subject, upstream)
    found["load_after"] = load()
    return found


def _started(stack: ExitStack, name: str, upstream: str) -> GatewayProcess:
    subject = SUBJECTS[name][0](upstream)
    stack.callback(subject.stop)
    return subject


def _over(mine: str, theirs: str, what: str) -> Callable[[Figures], float]:
    return lambda found: float(found["cost"][mine][what] / found["cost"][theirs][what])


GOALS: tuple[tuple[str, Callable[[Figures], float], str, float, str], ...] = (  # what, measured, sense, goal, unit
    ("a call / the byte pipe, CPU", _over(OURS, FLOOR, "call"), "<=", 2.0, "x"),
    ("a call, CPU", lambda r: float(r["cost"][OURS]["call"]) / 1e3, "<=", 0.4, "ms"),
    ("a streamed chunk / the byte pipe, CPU", _over(OURS, FLOOR, "chunk"), "<=", 2.0, "x"),
    (f"a chunk every {GAP_MS} ms / the byte pipe, CPU", _over(OURS, FLOOR, "paced"), "<=", 2.0, "x"),
    ("LiteLLM proxy / ours, CPU of a call", _over(LITELLM, OURS, "call"), ">=", 40, "x"),
    ("Portkey / ours, CPU of a call", _over(PORTKEY, OURS, "call"), ">=", 6, "x"),
    ("memory at rest", lambda r: float(r["rest_mb"][OURS]), "<=", 100, "MB"),
    ("memory grown, each 100,000 calls", lambda r: r["memory"][OURS]["grown_mb"] * 1e5 / r["memory"][OURS]["calls"], "<=", 5, "MB"),
    ("live probe at 5 times the peak, slowest", lambda r: float(r["overload"]["probe_worst_ms"]), "<=", 50, "ms"),
    ("answered well at 5 times the peak / at the peak", lambda r: r["overload"]["good_per_s"] / r["overload"]["peak_per_s"], ">=", 0.9, ""),
    ("a refusal for want of a place, median", lambda r: float(r["overload"]["refused_p50_ms"]), "<=", 5, "ms"),
    ("places left after 1,000 aborts", lambda r: float(r["aborts"]["in_flight"]), "<=", 0, ""),
    ("money still held then", lambda r: float(r["aborts"]["held"]), "<=", 0, "$"),
    ("streams upstream that go on", lambda r: float(r["aborts"]["open_upstream"]), "<=", 0, ""),
    ("client gone until upstream is closed, p99", lambda r: float(r["aborts"]["closed_p99_ms"]), "<=", 100, "ms"),
)


def table(result: Figures) -> str:
    """The result as Markdown."""
    if "load_test" in result:
        from surefoot_eval.bench.sections.gateway.load_test import report

        return report(result["load_test"])
    lines = ["| what | goal | measured | met |", "|---|---|---|---|"]
    for what, read, sense, goal, unit in GOALS:
        try:
            measured = read(result)
        except KeyError:
            lines.append(f"| {what} | {sense} {goal:g} {unit} | not measured | - |")
            continue
        met = measured <= goal if sense == "<=" else measured >= goal
        lines.append(f"| {what} | {sense} {goal:g} {unit} | {measured:.3g} {unit} | {'yes' if met else 'NO'} |")
    if "cost" in result:
        lines += ["", f"| CPU-us | a call | a chunk | a chunk every {GAP_MS} ms | MB at rest |", "|---" * 5 + "|"]
        for name, one in result["cost"].items():
            figures = [f"{one[what]:,.1f}" if what in one else "failed" for what in ("call", "chunk", "paced")]
            lines.append(f"| {name} | {' | '.join(figures)} | {result['rest_mb'][name]:.0f} |")
    if "overload" in result:
        one = result["overload"]
        lines.append(
            f"\nOverload: {one['offered_per_s']:,.0f} calls/s offered, {one['good_per_s']:,.0f} answered (peak {one['peak_per_s']:,.0f}), "
            f"{one['refused']:,} refused (median {one['refused_p50_ms']:.1f} ms, p99 {one['refused_p99_ms']:.1f} ms), others "
            f"{one['others']}; probe p99 {one['probe_p99_ms']:.1f} ms of {one['probes']}."
        )
    lines.append(f"\n{result['rounds']} rounds; load before {result['load']}, after {result['load_after']}.")
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)
