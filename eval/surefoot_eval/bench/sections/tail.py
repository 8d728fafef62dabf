"""The slowest answers: a provider that takes 20 ms, and a whole second for 2 % of its answers. Real time; the same seed for everybody.

python -m surefoot_eval bench tail
"""

from __future__ import annotations

import statistics
from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Worker, load, python_of
from surefoot_eval.bench.server import server
from surefoot_eval.bench.worker import BARE, DIRECT, HEDGED, LC, LI, LITELLM, PYDANTIC, SUBJECTS

NAMES = (HEDGED, DIRECT, BARE, LC, LI, LITELLM, PYDANTIC)
CALLS, WARM, WIDTH = 1_000, 200, 8
MOST_ROUNDS = 3


def _served(name: str, seed: int) -> dict[str, float]:
    with server("--latency-ms", "20", "--slow-share", "0.02", "--slow-ms", "1000", "--seed", str(seed)) as provider:
        worker = Worker(name)
        try:
            job = {"what": "ask", "setting": {"url": provider.url}, "width": WIDTH, "times": True}
            worker.do(**job, calls=WARM)
            before = provider.stats()["requests"]
            found = worker.do(**job, calls=CALLS)
            extra = provider.stats()["requests"] - before - CALLS
        finally:
            worker.stop()
    took = sorted(seconds for _, seconds, well in found["ended"] if well)
    return {
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[int(0.99 * len(took))] * 1e3,
        "p999_ms": took[int(0.999 * len(took))] * 1e3,
        "extra": extra / CALLS,
        "lost": CALLS - len(took),
    }


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every subject; medians over the rounds, each of another seed."""
    from tqdm import tqdm

    names = [name for name in NAMES if python_of(SUBJECTS[name][0])]
    rounds = min(rounds, MOST_ROUNDS)
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tqdm(total=rounds * len(names), unit="run", desc="tail", dynamic_ncols=True) as bar:
        for seed in range(1, rounds + 1):
            for name in names:
                samples[name].append(_served(name, seed))
                bar.update()
    return {
        "what": "milliseconds; medians",
        "rounds": rounds,
        "load": load(),
        "absent": [name for name in NAMES if name not in names],
        "figures": {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in samples.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| 2 % take 1 s, the others 20 ms | p50, ms | p99, ms | p99.9, ms | extra requests | lost |", "|---" * 6 + "|"]
    for name, one in result["figures"].items():
        speeds = f"{one['p50_ms']:,.0f} | {one['p99_ms']:,.0f} | {one['p999_ms']:,.0f}"
        lines.append(f"| {name} | {speeds} | {one['extra']:.1%} | {one['lost']:.0f} |")
    lines += ["", f"{CALLS:,} calls, {WIDTH} in flight, {result['rounds']} rounds; load {result['load']}."]
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    return {"tail": plot.bars("p99 at a 2 % slow tail", {name: one["p99_ms"] for name, one in result["figures"].items()}, unit="ms")}
