"""The gateway beside a pipe that only copies bytes: CPU of a call and of a chunk, memory, overload, clients that leave.

`surefoot serve` has keys, limits, budgets, ledger and metrics on; the pipe is the same server without any of it. Peers are LiteLLM's proxy
and Portkey, where `make peers` has installed them.

    python -m surefoot_eval bench gateway [--parts cost,memory,overload,aborts,drain,limits,ledger] [--kills 20]
    python -m surefoot_eval bench gateway --load http://127.0.0.1:4000 --key env:SUREFOOT_KEY     a load test of any address
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from surefoot_eval.bench.crew import load
from surefoot_eval.bench.sections.gateway import aborts, cost, drain, outage, overload, page
from surefoot_eval.bench.sections.gateway.subjects import FLOOR, LITELLM, OURS, PORTKEY, SUBJECTS, GatewayProcess, ours
from surefoot_eval.bench.server import Server, server

SLOW_GAP_MS = 100
GAP_MS = 5  # between two chunks of the paced upstream; a model takes 10 to 30
PAGE_ROWS = 10  # rows of the page's ledger, a call of the memory part: a million
Figures = dict[str, Any]
FEW_PLACES = {"max_in_flight": overload.PLACES, "max_queued": overload.QUEUED, "queue_s": 0.5}
Measure = Callable[[GatewayProcess, Server], Figures]
ALONE: tuple[tuple[str, tuple[str, ...], dict[str, Any], Measure], ...] = (  # part, options of the upstream, of `[serve]`, what measures
    ("overload", ("--latency-ms", str(overload.LATENCY_MS)), FEW_PLACES, lambda subject, _: overload.measure(subject)),
    ("aborts", ("--gap-ms", str(GAP_MS)), {}, aborts.measure),
    ("drain", ("--gap-ms", str(SLOW_GAP_MS)), {}, lambda subject, _: drain.measure(subject)),
)


def run(
    *,
    rounds: int = 5,
    parts: str = "cost,memory,overload,aborts,drain,limits,ledger,page",
    calls: int = 100_000,
    killed: int = 0,
    load_test: dict[str, Any] | None = None,
) -> Figures:
    """All parts; `calls` are those over which memory may grow, and which the ledger must have through an outage and `killed` kills.

    The page has ten times as many rows. With an address in `load_test`, that instead.
    """
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
    for name, options, settings, measure in ALONE:
        if name in parts:
            with ExitStack() as stack:
                upstream = stack.enter_context(server(*options))
                subject = ours(upstream.address, **settings)
                stack.callback(subject.stop)
                found[name] = measure(subject, upstream)
    if "limits" in parts:
        found["limits"] = outage.limits()
    if "ledger" in parts:
        found["ledger"] = outage.ledger(calls=calls if killed else 2_000, kills=killed or 3, away_s=60.0 if killed else 5.0)
    if "page" in parts:
        found["page"] = page.measure(calls * PAGE_ROWS, rounds=rounds)
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
    ("slowest view of the page, 95th percentile", lambda r: float(r["page"]["worst_p95_ms"]), "<=", 100, "ms"),
    ("largest view of the page", lambda r: r["page"]["most_bytes"] / 1e3, "<=", 60, "kB"),
    ("answered well at 5 times the peak / at the peak", lambda r: r["overload"]["good_per_s"] / r["overload"]["peak_per_s"], ">=", 0.9, ""),
    ("a refusal for want of a place, median", lambda r: float(r["overload"]["refused_p50_ms"]), "<=", 5, "ms"),
    ("places left after 1,000 aborts", lambda r: float(r["aborts"]["in_flight"]), "<=", 0, ""),
    ("money still held then", lambda r: float(r["aborts"]["held"]), "<=", 0, "$"),
    ("streams upstream that go on", lambda r: float(r["aborts"]["open_upstream"]), "<=", 0, ""),
    ("streams cut by SIGTERM, of 200", lambda r: float(r["drain"]["cut"]), "<=", 0, ""),
    ("SIGTERM until it is not ready", lambda r: float(r["drain"]["not_ready_s"]), "<=", 1.0, "s"),
    ("8 gateways x 64 calls of a cent on a dollar: admitted", lambda r: float(r["limits"]["budget"]["admitted"]), "<=", 100, ""),
    ("the same", lambda r: float(r["limits"]["budget"]["admitted"]), ">=", 98, ""),
    ("8 gateways x 64 calls on 100 a minute: admitted", lambda r: float(r["limits"]["minute"]["admitted"]), "<=", 100, ""),
    ("rows lost by kills and an outage of the ledger", lambda r: float(r["ledger"]["lost"]), "<=", 0, ""),
    ("rows doubled by them", lambda r: float(r["ledger"]["doubled"]), "<=", 0, ""),
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
    if "ledger" in result:
        one = result["ledger"]
        lines.append(f"\nLedger: {one['answered']:,} answered through {one['kills']} kill -9 and {one['away_s']:g} s without Postgres.")
    lines.append(f"\n{result['rounds']} rounds; load before {result['load']}, after {result['load_after']}.")
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)
