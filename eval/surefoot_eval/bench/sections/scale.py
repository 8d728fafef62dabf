"""How cost moves as work grows: calls in flight 1 to 10,000, cache entries 10^3 to 10^6, targets 1 to 100; what 10,000 calls at once hold.

Layers alone, around a provider that answers after a moment, so that nothing but ours can grow: ours, and what Python's garbage collector
makes of it. Two more curves tell them apart: the same calls with the collector told once, at start-up, to leave alone what is there and to
come more rarely (TUNED), and the driver alone, whose calls wait for a future and nothing else. The 10,000 calls at once go over the wire:
the direct lane, 10,000 connections to a server that answers after three seconds.

    python -m surefoot_eval bench scale
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import ROOT, load
from surefoot_eval.bench.server import server
from surefoot_eval.bench.subjects import MODEL, Null

IN_FLIGHT = (1, 10, 100, 1_000, 10_000)
ENTRIES = (1_000, 10_000, 100_000, 1_000_000)
TARGETS = (1, 10, 100)
CALLS = 2_000
AT_ONCE = 10_000
TUNED = (20_000, 50, 100)  # gc.set_threshold after gc.freeze(): what a service with thousands of calls in flight may say at start-up
IN_FLIGHT_TUNED, DRIVER = "in flight, collector tuned", "in flight, the driver alone"
PARTS = ("in flight", IN_FLIGHT_TUNED, DRIVER, "cache entries", "fallback targets", "equal targets")
SIZES: dict[str, tuple[int, ...]] = dict.fromkeys(PARTS, IN_FLIGHT) | {
    "cache entries": ENTRIES,
    "fallback targets": TARGETS,
    "equal targets": TARGETS,
}


class Waiting(Null):
    """Answers when it is told to: what waits inside is held by the layers."""

    def __init__(self) -> None:
        super().__init__("null:waiting")
        self.waiting: list[asyncio.Future[None]] = []

    async def chat(self, call: Any) -> Any:
        """One answer, later."""
        del call
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        await future
        return self.reply


async def _in_flight(width: int, *, alone: bool = False) -> float:
    """CPU-us a call with `width` under way at any time: all are let in, then all are answered, again and again."""
    from surefoot import ChatModel, Policy, runtime

    runtime.adopt()
    provider = Waiting()
    chat = ChatModel(provider, policy=Policy(queue_size=AT_ONCE), cache="memory")
    ask: Any = provider.chat if alone else chat.ainvoke
    turns = max(2, 4_000 // width)
    spent = 0.0
    for turn in range(turns):
        began = time.process_time()
        tasks = [asyncio.create_task(ask(f"question {turn} {i}")) for i in range(width)]
        while len(provider.waiting) < width:  # noqa: ASYNC110 - tasks start at their own pace
            await asyncio.sleep(0)
        for future in provider.waiting:
            future.set_result(None)
        provider.waiting.clear()
        await asyncio.gather(*tasks)
        if turn:  # the first one builds the layers
            spent += time.process_time() - began
    return spent / ((turns - 1) * width) * 1e6


async def _entries(count: int) -> float:
    """CPU-us a hit in a memory cache of `count` entries; the store's bound is raised so that all fit."""
    from surefoot import ChatModel, runtime
    from surefoot.storage.memory import MemoryStore

    runtime.adopt()
    store = MemoryStore(max_bytes=4 * 2**30)
    chat = ChatModel(Null(), cache=store)
    for i in range(500):
        await chat.ainvoke(f"question {i}")
    for i in range(count - len(store)):
        store.remember(f"filler {i}", b"x" * 64, size_bytes=64)
    for i in range(500):
        if not (await chat.ainvoke(f"question {i}")).cached:
            raise SystemExit("no hit")
    began = time.process_time()
    for i in range(CALLS):
        await chat.ainvoke(f"question {i % 500}")
    return (time.process_time() - began) / CALLS * 1e6


async def _targets(count: int, *, equal: bool) -> float:
    """CPU-us a call with `count` targets, of which the first, or any, answers."""
    from surefoot import ChatModel, runtime

    runtime.adopt()
    providers = [Null(f"null:{i}") for i in range(count)]
    chat = ChatModel(providers, cache="memory") if equal else ChatModel(*providers, cache="memory")
    left: Iterator[int] = iter(range(CALLS + 200))
    for _ in range(200):
        await chat.ainvoke(f"question {next(left)}")
    began = time.process_time()
    for i in left:
        await chat.ainvoke(f"question {i}")
    return (time.process_time() - began) / CALLS * 1e6


async def _at_once(url: str) -> dict[str, float]:
    """Memory above idle while AT_ONCE calls are in flight over the wire, and how many were answered."""
    from surefoot import ChatModel, Policy, Target, runtime

    runtime.adopt()
    target = Target(f"openai:{MODEL}", base_url=url, api_key="bench", lane="direct", concurrency=AT_ONCE)
    chat = ChatModel(target, policy=Policy(deadline_s=300, connect_s=60, first_token_s=120, queue_size=AT_ONCE), cache="memory")
    await chat.ainvoke("warm")
    idle = _rss_mb()
    most = idle
    answers = asyncio.gather(*(chat.ainvoke(f"question {i}") for i in range(AT_ONCE)), return_exceptions=True)
    while not answers.done():
        await asyncio.sleep(0.05)
        most = max(most, _rss_mb())
    replies = await answers
    well = sum(getattr(one, "text", "") != "" for one in replies)
    return {"mb": most - idle, "answered": well, "attempts": sum(getattr(one, "attempts", 0) for one in replies)}


def _rss_mb() -> float:
    """Memory held now; where the system does not say, the most there ever was."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - no file, a kernel's answer
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _part(name: str, size: int) -> float:
    if name in {"in flight", IN_FLIGHT_TUNED, DRIVER}:
        if name == IN_FLIGHT_TUNED:
            gc.freeze()
            gc.set_threshold(*TUNED)
        return asyncio.run(_in_flight(size, alone=name == DRIVER))
    if name == "cache entries":
        return asyncio.run(_entries(size))
    return asyncio.run(_targets(size, equal=name == "equal targets"))


def run(*, rounds: int = 5) -> dict[str, Any]:
    """Every size of every part in a process of its own; medians."""
    from tqdm import tqdm

    jobs = [(name, size) for name in PARTS for size in SIZES[name]]
    samples: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES[name]} for name in PARTS}
    with tqdm(total=rounds * len(jobs) + 1, unit="run", desc="scale", dynamic_ncols=True) as bar:
        for _ in range(rounds):
            for name, size in jobs:
                samples[name][size].append(float(_python("--part", name, "--size", str(size))))
                bar.update()
        with server("--latency-ms", "3000") as provider:
            held = json.loads(_python("--at-once", provider.url))
        bar.update()
    curves = {name: {str(size): statistics.median(runs) for size, runs in found.items()} for name, found in samples.items()}
    flat = {name: max(points.values()) / min(points.values()) for name, points in curves.items()}
    return {"what": "CPU-us a call, medians", "rounds": rounds, "load": load(), "curves": curves, "most_over_least": flat, "at_once": held}


def _python(*arguments: str) -> str:
    command = [sys.executable, "-m", "surefoot_eval.bench.sections.scale", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| CPU-us a call | by size | most over least | last over first |", "|---|---|---|---|"]
    for name, points in result["curves"].items():
        shown = ", ".join(f"{int(size):,}: {value:.1f}" for size, value in points.items())
        first, *_, last = points.values()
        lines.append(f"| {name} | {shown} | {result['most_over_least'][name]:.2f} | {last / first:.2f} |")
    held = result["at_once"]
    well = f"{held['answered']:,} answered, {held['attempts']:,} attempts"
    lines += ["", f"{AT_ONCE:,} calls in flight over the wire: {held['mb']:.0f} MB above idle, {well}. Load {result['load']}."]
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """A chart of all curves."""
    series = {name: {float(size): value for size, value in points.items()} for name, points in result["curves"].items()}
    return {"scale": plot.lines("Cost of one call as work grows", series, unit="CPU-us a call", across="calls in flight, entries, targets")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--size", type=int)
    parser.add_argument("--at-once")
    arguments = parser.parse_args()
    if arguments.at_once:
        print(json.dumps(asyncio.run(_at_once(arguments.at_once))))
    else:
        print(_part(arguments.part, arguments.size))
