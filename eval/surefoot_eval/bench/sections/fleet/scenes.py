"""What a fleet of processes goes through with one quota: twice the load, half of it, a store that stands still, processes that die.

The provider is a simulator in this process, which counts over sliding minutes and refuses what is beyond them; it notes when each request
came, whose it was and what it was billed. The processes ask it over HTTP.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from surefoot.testing.wire import Limits, OpenAISim
from surefoot_eval.bench.crew import python_of
from surefoot_eval.bench.stores import StoreServer

PROCESSES = 8
REQUESTS, TOKENS = 1_800.0, 90_000.0  # a minute, each of a target of its own
TOKENS_A_CALL = 90.0  # some; so many calls are offered to the one that is bound by tokens
LOAD_S, AWAY_S, AFTER_S = 75.0, 5.0, 8.0
MINUTE_S = 60.0
HALF_S = 20.0
PLACES, WIDTH, CALL_S = 40, 20, 0.5  # places of a target, calls that each process wants to have there, how long each takes
KILL_AT_S, KILL_S = 4.0, 10.0
START_S = 1.5  # what a process needs for its first turns
SOLO = 4  # processes of the comparison
ENVIRONMENTS = {"surefoot": "", "litellm": "litellm-proxy"}  # as `make peers` makes them
FILE = Path(__file__).with_name("worker.py")


class FleetProcesses:
    """Processes of one kind: `with FleetProcesses(8) as fleet:`."""

    def __init__(self, count: int, kind: str = "surefoot") -> None:
        python = python_of(ENVIRONMENTS[kind])
        assert python is not None
        self._commands = [[str(python), str(FILE), f"p{n}", kind] for n in range(count)]
        self.workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        """Start them."""
        for command in self._commands:
            quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            self.workers.append(subprocess.Popen(command, text=True, **quiet))  # type: ignore[call-overload]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End them."""
        for one in self.workers:
            one.kill()
            one.communicate()

    def send(self, **said: Any) -> None:
        """Tell all of them. Each has a seed of its own."""
        for number, one in enumerate(self.workers):
            assert one.stdin is not None
            one.stdin.write(json.dumps(said | {"seed": number}) + "\n")
            one.stdin.flush()

    def hear(self) -> list[dict[str, Any]]:
        """What came of it. Raises RuntimeError where one has died."""
        found = []
        for one in self.workers:
            assert one.stdout is not None
            line = one.stdout.readline()
            while line and not line.startswith("{"):  # a peer prints
                line = one.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(map(str, one.args))} died with code {one.wait()}")  # type: ignore[arg-type]
            found.append(json.loads(line))
        return found

    def open(self, name: str, sim: OpenAISim, store: str, **limits: float) -> None:
        """Give each a model of that name."""
        self.send(open=name, url=f"{sim.url}/v1", store=store, **limits)
        self.hear()

    def kill(self, count: int) -> set[str]:
        """Kill -9 the last ones; the names of those that are left."""
        for one in self.workers[-count:]:
            one.kill()
        for one in self.workers[-count:]:
            one.communicate()
        del self.workers[-count:]
        return {f"p{n}" for n in range(len(self.workers))}


def arrivals(sim: OpenAISim) -> list[tuple[float, str, int | None]]:
    """(moment, whose, tokens or None where it was refused) of every request so far."""
    found = []
    for one in sim.requests:
        if one.method == "POST":
            who = json.loads(one.body)["messages"][-1]["content"].partition(" ")[0]
            bill = sim.usage_log.get(one.id)
            found.append((one.at_s, who, None if bill is None else bill.input_tokens + bill.output_tokens))
    return found


def worst_window(amounts: Sequence[tuple[float, float]], span_s: float = MINUTE_S) -> float:
    """The most that any `span_s` seconds hold."""
    times, total, first, worst = [at for at, _ in amounts], 0.0, 0, 0.0
    for at, amount in amounts:
        total += amount
        while times[first] <= at - span_s:
            total -= amounts[first][1]
            first += 1
        worst = max(worst, total)
    return worst


def within(amounts: Sequence[tuple[float, float]], begin_s: float, end_s: float) -> float:
    """What came between two moments."""
    times = [at for at, _ in amounts]
    return sum(amount for _, amount in amounts[bisect_left(times, begin_s) : bisect_left(times, end_s)])


@contextmanager
def halted(url: str, server: StoreServer | None) -> Iterator[None]:
    """The store stands still: its server is stopped, or somebody else has the file's lock."""
    if server is not None:
        server.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            server.signal(signal.SIGCONT)
        return
    with closing(sqlite3.connect(url.removeprefix("sqlite:"), isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


Amounts = Callable[[OpenAISim], list[tuple[float, float]]]
BOUND: dict[str, tuple[float, Amounts]] = {  # a minute's limit, and what of each request counts against it
    "requests": (REQUESTS, lambda sim: [(at, 1.0) for at, _, _ in arrivals(sim)]),
    "tokens": (TOKENS, lambda sim: [(at, float(tokens)) for at, _, tokens in arrivals(sim) if tokens is not None]),
}


def load(url: str, server: StoreServer | None) -> dict[str, Any]:
    """Twice the limit for LOAD_S; then the store stands still for AWAY_S, and comes back."""
    with ExitStack() as opened:
        sims = {
            "requests": opened.enter_context(OpenAISim(limits=Limits(requests_per_minute=REQUESTS), latency_s=0.05)),
            "tokens": opened.enter_context(OpenAISim(limits=Limits(tokens_per_minute=TOKENS), latency_s=0.05)),
        }
        fleet = opened.enter_context(FleetProcesses(PROCESSES))
        fleet.open("requests", sims["requests"], url, rpm=REQUESTS)
        fleet.open("tokens", sims["tokens"], url, tpm=TOKENS)
        offered = {"requests": 2 * REQUESTS / 60 / PROCESSES, "tokens": 2 * TOKENS / TOKENS_A_CALL / 60 / PROCESSES}
        fleet.send(ask=offered, seconds=START_S + LOAD_S + AWAY_S + AFTER_S)
        time.sleep(START_S)
        begin_s = time.monotonic()
        time.sleep(LOAD_S)
        with halted(url, server):
            away_s = time.monotonic()
            time.sleep(AWAY_S)
        back_s = time.monotonic()
        said = fleet.hear()
        found: dict[str, Any] = {}
        for name, (limit, amounts) in BOUND.items():
            came = amounts(sims[name])
            found[name] = {
                "worst": worst_window(came) / limit,
                "used": within(came, begin_s, begin_s + LOAD_S) / (limit * LOAD_S / MINUTE_S),
                "used_away": within(came, away_s, back_s) / (limit * (back_s - away_s) / MINUTE_S),
                "refused": sum(tokens is None for _, _, tokens in arrivals(sims[name])),
                "lost": sum(sum(one["lost"][name].values()) for one in said),
            }
        return found


def half(url: str) -> dict[str, float]:
    """Half the limit: how much later calls are answered than those of the same processes that share nothing, taking turns."""
    with OpenAISim(latency_s=0.02) as sim, FleetProcesses(PROCESSES) as fleet:
        fleet.open("shared", sim, url, rpm=REQUESTS)
        fleet.open("alone", sim, "", rpm=REQUESTS)
        rate = REQUESTS / 2 / 60 / PROCESSES
        for seconds in (START_S, HALF_S):  # once to warm up
            fleet.send(ask={"shared": rate, "alone": rate}, seconds=seconds)
            said = fleet.hear()
        found: dict[str, float] = {}
        for name in ("shared", "alone"):
            took = sorted(seconds for one in said for seconds in one["took"][name])
            found |= {f"{name}_p50_ms": statistics.median(took) * 1e3, f"{name}_p99_ms": took[int(0.99 * len(took))] * 1e3}
        return found | {"calls": float(len(took))}


def killed(url: str) -> dict[str, float]:
    """Half of the processes are killed with half of the places: when the others have all of them."""
    with OpenAISim(latency_s=CALL_S) as sim, FleetProcesses(PROCESSES) as fleet:
        fleet.open("places", sim, url, places=PLACES)
        fleet.send(hold="places", width=WIDTH, seconds=KILL_S)
        time.sleep(KILL_AT_S)
        kill_s = time.monotonic()
        left = fleet.kill(PROCESSES // 2)
        fleet.hear()
        peak = sim.concurrency_peak
        begun = [at for at, who, _ in arrivals(sim) if who in left]
    have = [(at, at - kill_s, _under_way(begun, at)) for at in begun]
    before = [count for _, since_s, count in have if -1.0 < since_s < 0.0]
    full = [since_s for _, since_s, count in have if since_s > 0.0 and count >= PLACES]
    return {"back_s": min(full, default=KILL_S), "peak": float(peak), "before": statistics.fmean(before) if before else 0.0}


def _under_way(begun: Sequence[float], at: float) -> int:
    """Calls under way just after one has begun at `at`."""
    return sum(at - CALL_S < one <= at for one in begun)


def compared(redis: str) -> dict[str, dict[str, float] | None]:
    """Twice the limit in SOLO processes each, all at once: shared, each by itself, and LiteLLM's Router; None for who is absent."""
    subjects = {"shared": ("surefoot", redis), "unshared": ("surefoot", ""), "litellm": ("litellm", redis)}
    absent = {name for name, (kind, _) in subjects.items() if kind != "surefoot" and python_of(ENVIRONMENTS[kind]) is None}
    with ExitStack() as opened:
        sims, fleets = {}, {}
        for name, (kind, store) in subjects.items():
            if name not in absent:
                sims[name] = opened.enter_context(OpenAISim(limits=Limits(requests_per_minute=REQUESTS), latency_s=0.05))
                fleets[name] = opened.enter_context(FleetProcesses(SOLO, kind))
                fleets[name].open("requests", sims[name], store, rpm=REQUESTS)
        for fleet in fleets.values():
            fleet.send(ask={"requests": 2 * REQUESTS / 60 / SOLO}, seconds=START_S + LOAD_S)
        found: dict[str, dict[str, float] | None] = dict.fromkeys(subjects)
        for name, fleet in fleets.items():
            said = fleet.hear()
            came, each = arrivals(sims[name]), [len(one["took"]["requests"]) for one in said]
            refused, lost = sum(tokens is None for _, _, tokens in came), sum(sum(one["lost"]["requests"].values()) for one in said)
            found[name] = {
                "requests": len(came),
                "worst": worst_window([(at, 1.0) for at, _, _ in came]) / REQUESTS,
                "refused_share": refused / max(1, len(came)),
                "answered": sum(each),
                "used": sum(each) / (REQUESTS * (START_S + LOAD_S) / MINUTE_S),
                "lost": lost,
                "least": min(each),
                "most": max(each),
            }
        return found


def describe() -> str:
    """The scene in a sentence."""
    return (
        f"{PROCESSES} processes, {REQUESTS:g} requests a minute at one target, {TOKENS:g} tokens a minute at another, "
        f"twice that offered for {LOAD_S:g} s; {os.cpu_count()} cores"
    )
