"""A provider that is gone for three seconds: who loses calls, who keeps asking it, who comes back. Real time.

Two OpenAI simulators of 50 ms; from the second to the fifth second the first one answers everything with 503. Whoever can has the other
one to fall back to; the bare SDK has its own retries.

    python -m surefoot_eval bench outage
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from surefoot.testing.wire._server._process import SimProcess
from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Worker, load, python_of
from surefoot_eval.bench.worker import DIRECT, LC, LITELLM, PYDANTIC, SDK_RETRIES, SUBJECTS

NAMES = (DIRECT, LC, LITELLM, PYDANTIC, SDK_RETRIES)
WIDTH, LATENCY_S = 8, 0.05
BEGIN_S, END_S, ALL_S = 2.0, 5.0, 9.0
MOST_ROUNDS = 3


def _served(name: str) -> dict[str, float]:
    options = ("--latency-s", str(LATENCY_S))
    with SimProcess("openai", *options) as sim, SimProcess("openai", *options) as spare:
        worker = Worker(name)
        try:
            job = {"what": "ask", "setting": {"url": f"{sim.url}/v1", "spare": f"{spare.url}/v1"}, "width": WIDTH, "times": True}
            worker.do(**job, calls=2 * WIDTH)
            worker.send(**job, seconds=ALL_S)
            time.sleep(BEGIN_S)
            sim.script("status_503", always=True)
            before: Any = sim.stats()["requests"]
            time.sleep(END_S - BEGIN_S)
            after: Any = sim.stats()["requests"]
            sim.script()
            found = worker.receive()
            last: Any = sim.stats()["requests"]
        finally:
            worker.stop()
    during = [(seconds, well) for at, seconds, well in found["ended"] if BEGIN_S <= at < END_S]
    took = sorted(seconds for seconds, well in during if well)
    return {
        "lost": sum(not well for _, _, well in found["ended"]),
        "calls": len(found["ended"]),
        "answered_per_s": len(took) / (END_S - BEGIN_S),
        "p99_ms": took[int(0.99 * len(took))] * 1e3 if took else float("nan"),
        "asked_while_gone": after - before,
        "asked_after": last - after,
    }


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every subject; medians."""
    from tqdm import tqdm

    names = [name for name in NAMES if python_of(SUBJECTS[name][0])]
    rounds = min(rounds, MOST_ROUNDS)
    samples: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tqdm(total=rounds * len(names), unit="run", desc="outage", dynamic_ncols=True) as bar:
        for _ in range(rounds):
            for name in names:
                samples[name].append(_served(name))
                bar.update()
    return {
        "what": "medians",
        "rounds": rounds,
        "load": load(),
        "absent": [name for name in NAMES if name not in names],
        "figures": {name: {key: statistics.median(one[key] for one in runs) for key in runs[0]} for name, runs in samples.items()},
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    head = "| gone for 3 of 9 s | lost | of calls | answers a second then | p99 then, ms | requests to it then | and after |"
    lines = [head, "|---" * 7 + "|"]
    for name, one in result["figures"].items():
        lines.append(
            f"| {name} | {one['lost']:.0f} | {one['calls']:,.0f} | {one['answered_per_s']:,.0f} | {one['p99_ms']:,.0f} | "
            f"{one['asked_while_gone']:,.0f} | {one['asked_after']:,.0f} |"
        )
    lines += ["", f"{WIDTH} in flight, {result['rounds']} rounds; load {result['load']}."]
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """One chart."""
    values = {name: one["answered_per_s"] for name, one in result["figures"].items()}
    return {"outage": plot.bars("Answers a second while the first provider is gone", values, unit="/s")}
