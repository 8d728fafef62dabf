"""How much of a quota is used: 800 requests of very different size at a provider that enforces requests or tokens in every 2 s window.

The provider is the OpenAI simulator: it takes 200 ms to answer, and refuses with 429 what exceeds the limit in any 2 s, so bursts do not
help. 64 in flight could do four times what the quota allows. Ideal is the even pace: calls / rate + one answer's time. Real time; subjects
one after the other. The cookbook's processor is its algorithm written anew (eval/bench/cookbook.py).

A limit that is learned takes minutes to be learned, and these windows are shorter than the minute a provider's headers speak of: so that is
measured in virtual time, ten minutes at twice the quota, by the torture suite's own scenario (given beside learned from headers).

    python -m eval bench goodput
"""

from __future__ import annotations

import statistics
from typing import Any

from eval.bench import plot
from eval.bench.crew import Worker, load, python_of
from eval.bench.worker import COOKBOOK, GIVEN, LITELLM_LIMITED, SDK_RETRIES, SUBJECTS
from surefoot.testing.wire._process import SimProcess
from tests.torture.pace import pace

SUBJECT_NAMES = (GIVEN, COOKBOOK, LITELLM_LIMITED, SDK_RETRIES)
CALLS, WIDTH = 800, 64
LATENCY_S, WINDOW_S = 0.2, 2.0
IDEAL_S = 10.0
MOST_ROUNDS = 3
AMPLE = 1e9


def _served(name: str, *, rpm: float, tpm: float) -> dict[str, float]:
    """One subject against a provider of its own."""
    limits = ["--requests-per-minute", str(rpm), "--tokens-per-minute", str(tpm)]
    with SimProcess("openai", "--latency-s", str(LATENCY_S), "--window", "sliding", "--window-s", str(WINDOW_S), *limits) as sim:
        worker = Worker(name)
        try:
            is_batch = name == COOKBOOK  # has no call of its own
            setting = {"url": f"{sim.url}/v1", "rpm": rpm, "tpm": tpm, "prompts": "mixed"}
            before = 0 if is_batch else worker.do(what="ask", setting=setting, width=1, calls=1)["units"]  # imports are no pace
            found = worker.do(what="batch" if is_batch else "ask", setting=setting, width=WIDTH, calls=CALLS)
        finally:
            worker.stop()
        asked: Any = sim.stats()
    return {
        "answered": found["units"],
        "seconds": found["wall_s"],
        "refused": asked["requests"] - before - found["units"],
        "requests": asked["requests"] - before,
        "tokens": asked["input_tokens"] + asked["output_tokens"],
    }


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every subject in both worlds."""
    from tqdm import tqdm

    names = [name for name in SUBJECT_NAMES if python_of(SUBJECTS[name][0])]
    rounds = min(rounds, MOST_ROUNDS)
    tokens = _served(GIVEN, rpm=AMPLE, tpm=AMPLE * 1000)["tokens"]
    worlds = {
        "requests-bound": {"rpm": CALLS / IDEAL_S * 60, "tpm": AMPLE * 1000},
        "tokens-bound": {"rpm": AMPLE, "tpm": tokens / IDEAL_S * 60},
    }
    samples: dict[str, dict[str, list[dict[str, float]]]] = {name: {world: [] for world in worlds} for name in names}
    with tqdm(total=rounds * len(worlds) * len(names), unit="run", desc="goodput", dynamic_ncols=True) as bar:
        for _ in range(rounds):
            for world, limits in worlds.items():
                for name in names:
                    samples[name][world].append(_served(name, **limits))
                    bar.update()
    return {
        "what": "share of the ideal speed, 429s and lost calls; medians",
        "rounds": rounds,
        "load": load(),
        "absent": [name for name in SUBJECT_NAMES if name not in names],
        "figures": {name: {world: _figures(runs) for world, runs in found.items()} for name, found in samples.items()},
        "virtual": {how: {one.name: one.value for one in pace(1, how=how).figures} for how in ("given", "headers")},
    }


def _figures(runs: list[dict[str, float]]) -> dict[str, float]:
    def middle(value: Any) -> float:
        return float(statistics.median(value(one) for one in runs))

    return {
        "share": middle(lambda one: (IDEAL_S * one["answered"] / CALLS + LATENCY_S) / one["seconds"]),
        "refused": middle(lambda one: one["refused"]),
        "refused_share": middle(lambda one: one["refused"] / one["requests"]),
        "lost": middle(lambda one: CALLS - one["answered"]),
    }


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    worlds = next(iter(result["figures"].values()))
    lines = ["| share of the ideal speed (429s; lost) | " + " | ".join(worlds) + " |", "|---" * (len(worlds) + 1) + "|"]
    for name, found in result["figures"].items():
        cells = (f"{one['share']:.1%} ({one['refused']:.0f} = {one['refused_share']:.1%}; {one['lost']:.0f})" for one in found.values())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", f"{CALLS} calls, {WIDTH} in flight, {result['rounds']} rounds; load {result['load']}."]
    for how, found in result["virtual"].items():
        shown = "; ".join(f"{name} {value:.4g}" for name, value in found.items())
        lines += [
            "",
            f"Virtual time, ten minutes at twice the quota, {'limits given' if how == 'given' else 'learned from headers'}: {shown}.",
        ]
    lines += [f"Absent (`make peers`): {', '.join(result['absent'])}."] if result["absent"] else []
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """A chart for each world."""
    worlds = next(iter(result["figures"].values()))
    return {
        f"goodput-{world}": plot.bars(
            f"Share of the ideal speed, {world}", {name: 100 * found[world]["share"] for name, found in result["figures"].items()}, unit="%"
        )
        for world in worlds
    }
