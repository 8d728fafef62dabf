"""How much of a quota is used: 800 requests of very different size at a provider that enforces requests or tokens.

The provider is the OpenAI simulator: it takes 200 ms to answer and refuses with 429 what exceeds the limit; 64 in flight could do four
times what the quota allows. Real time; subjects one after the other. Two kinds of it:

- In *windows* any 2 s hold 2 s of the limit, so bursts do not help. Ideal is the even pace: calls / rate + one answer's time. (The first
  window may be filled at once, so an answer or two early is possible: a share just above 1.)
- *Saved up*, it is a bucket that holds 2 s of the limit and is full at first, as vendors' hold a minute: so much may go at once, and ideal
  is the even pace for the others. It is the world for which the cookbook's processor was made, which spends what is saved up at once and
  takes these 2 s for its minute (eval/surefoot_eval/bench/cookbook.py; in windows its minute's worth is refused, and each of its pauses
  takes 15 s: once is enough). surefoot keeps to what a provider of windows allows, and leaves what was saved up.

Limits that are given, and limits that are learned: after one call, from headers that name the limit per minute, as OpenAI writes them.
What learning costs over a longer time is measured in virtual time, ten minutes at twice the quota of a provider that saves up a minute, by
the torture suite's own scenario (given beside learned from headers).

    python -m surefoot_eval bench goodput
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from surefoot.testing.wire._server._process import SimProcess
from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import Worker, load, python_of
from surefoot_eval.bench.goals import SAVED_UP
from surefoot_eval.bench.worker import COOKBOOK, GIVEN, LEARNED, LITELLM_LIMITED, SDK_RETRIES, SUBJECTS
from tests.torture.scenarios.pace import pace

SUBJECT_NAMES = (GIVEN, LEARNED, COOKBOOK, LITELLM_LIMITED, SDK_RETRIES)
CALLS, WIDTH = 800, 64
LATENCY_S, WINDOW_S = 0.2, 2.0
IDEAL_S = 10.0
MOST_ROUNDS = 3
AMPLE = 1e9


@dataclass(frozen=True)
class ProviderQuota:
    """What the provider grants a minute, and whether it enforces windows or saves up."""

    rpm: float = AMPLE
    tpm: float = AMPLE * 1000
    saves: bool = False

    @property
    def ideal_s(self) -> float:
        """Seconds that the quota asks for all calls to be sent."""
        return IDEAL_S - WINDOW_S * self.saves


def _served(name: str, quota: ProviderQuota) -> dict[str, float]:
    """One subject against a provider of its own."""
    limits = ["--requests-per-minute", str(quota.rpm), "--tokens-per-minute", str(quota.tpm)]
    window = ["--window", "bucket" if quota.saves else "sliding", "--window-s", str(WINDOW_S)]
    with SimProcess("openai", "--latency-s", str(LATENCY_S), *window, *limits) as sim:
        worker = Worker(name)
        try:
            is_batch = name == COOKBOOK  # has no call of its own
            setting = {"url": f"{sim.url}/v1", "rpm": quota.rpm, "tpm": quota.tpm, "prompts": "mixed"}
            setting["minute_s"] = WINDOW_S if quota.saves else 60.0
            before = 0 if is_batch else worker.do(what="ask", setting=setting, width=1, calls=1)["units"]  # imports are no pace
            found = worker.do(what="batch" if is_batch else "ask", setting=setting, width=WIDTH, calls=CALLS)
        finally:
            worker.stop()
        asked: Any = sim.stats()
    return {
        "answered": found["units"],
        "share": (quota.ideal_s * found["units"] / CALLS + LATENCY_S) / found["wall_s"],
        "refused": asked["requests"] - before - found["units"],
        "requests": asked["requests"] - before,
        "tokens": asked["input_tokens"] + asked["output_tokens"],
    }


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every subject in every world."""
    from tqdm import tqdm

    names = [name for name in SUBJECT_NAMES if python_of(SUBJECTS[name][0])]
    rounds = min(rounds, MOST_ROUNDS)
    rpm, tpm = CALLS / IDEAL_S * 60, _served(GIVEN, ProviderQuota())["tokens"] / IDEAL_S * 60
    worlds = {
        "requests-bound": ProviderQuota(rpm=rpm),
        "tokens-bound": ProviderQuota(tpm=tpm),
        f"requests-bound, {SAVED_UP}": ProviderQuota(rpm=rpm, saves=True),
        f"tokens-bound, {SAVED_UP}": ProviderQuota(tpm=tpm, saves=True),
    }
    samples: dict[str, dict[str, list[dict[str, float]]]] = {name: {world: [] for world in worlds} for name in names}
    with tqdm(total=rounds * len(worlds) * len(names), unit="run", desc="goodput", dynamic_ncols=True) as bar:
        for turn in range(rounds):
            for world, quota in worlds.items():
                for name in names:
                    if not turn or quota.saves or name != COOKBOOK:
                        samples[name][world].append(_served(name, quota))
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
        "share": middle(lambda one: one["share"]),
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
        f"goodput-{world.replace(', ', '-').replace(' ', '-')}": plot.bars(
            f"Share of the ideal speed, {world}", {name: 100 * found[world]["share"] for name, found in result["figures"].items()}, unit="%"
        )
        for world in worlds
    }
