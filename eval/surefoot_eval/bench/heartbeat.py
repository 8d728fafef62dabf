"""Does the background loop go on beating while a local model works?

The longest gap between beats, beside an idle loop and a spinning thread.
    python -m surefoot_eval.bench.heartbeat [--models local:extractive local:multilingual-e5-small]

A task on the background loop wakes every millisecond and notes how late it is, and how much CPU the loop's own thread has spent since the
last beat: that is what the loop was blocked by its own work, however busy the machine is. The idle loop shows what the machine adds by
itself; the thread that spins in Python what the interpreter's lock adds, whoever holds it (it changes hands every 5 ms).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from surefoot import ChatModel, EmbedModel, runtime
from surefoot.providers.local.endpoint import CHAT_MODELS

BEAT_S = 0.001
ROUNDS = 3
WORK_S = 2.0  # of each round at least
LIMIT_MS = 20.0  # what the background loop may be blocked at most
MODELS = ("local:extractive", "local:multilingual-e5-small")
SENTENCES = [f"The harbour office number {n} opens at {n % 24:02d}:15 on weekdays." for n in range(400)]
PASSAGES = "<passages>\n" + "\n".join(f'<passage id="{n}">{text}</passage>' for n, text in enumerate(SENTENCES[:40], 1))
PROMPT = f"{PASSAGES}\n</passages>\n<question>When does the harbour office number 17 open?</question>"

Work = Callable[[], Awaitable[object]]


async def _beaten(work: Work) -> tuple[float, float, float, int]:
    """Longest lateness, its 99th percentile and the loop's longest own work in ms while `work` is done, and how often it was done."""
    late: list[float] = []
    own: list[float] = []
    over = False

    async def beat() -> None:
        while not over:
            due, spent = time.perf_counter() + BEAT_S, time.thread_time()
            await asyncio.sleep(BEAT_S)
            late.append((time.perf_counter() - due) * 1000)
            own.append((time.thread_time() - spent) * 1000)

    beating = asyncio.ensure_future(beat())
    until, done = time.perf_counter() + WORK_S, 0
    while time.perf_counter() < until:
        await work()
        done += 1
    over = True
    await beating
    return max(late), statistics.quantiles(late, n=100)[98], max(own), done


async def _spin() -> None:
    def loop() -> None:
        until = time.perf_counter() + 0.5
        while time.perf_counter() < until:
            pass

    thread = threading.Thread(target=loop)
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 - what is measured is this very waking
        await asyncio.sleep(0.01)


def _work_of(name: str) -> Work:
    if name.partition(":")[2] not in CHAT_MODELS:
        embed = EmbedModel(name)
        return lambda: embed.aembed(SENTENCES[:64])
    chat = ChatModel(name)
    asked = PROMPT if name == "local:extractive" else "Write one sentence about the sea."

    async def read() -> None:
        async for _ in chat.astream(asked, max_tokens=24, deadline_s=600):
            pass

    return read


def run(models: tuple[str, ...] = MODELS) -> dict[str, Any]:
    """Gaps in ms for each subject: the worst and the 99th percentile, medians over the rounds."""
    subjects: dict[str, Work] = {"nothing": lambda: asyncio.sleep(0.1), "a thread that spins": _spin}
    subjects |= {name: _work_of(name) for name in models}
    found: dict[str, Any] = {}
    for name, work in subjects.items():
        runtime.run(_once(work))  # loaded before it is measured: that happens on a thread, too, but reads files
        rounds = [runtime.run(_beaten(work)) for _ in range(ROUNDS)]
        worst, late, own, done = (statistics.median(column) for column in zip(*rounds, strict=True))
        gaps = {"worst_ms": round(worst, 2), "p99_ms": round(late, 2), "own_ms": round(own, 2)}
        found[name] = {**gaps, "calls": done, "holds": own <= LIMIT_MS}
    return {"what": f"lateness of a beat every {BEAT_S * 1000:g} ms on the background loop, medians of {ROUNDS} rounds", "found": found}


async def _once(work: Work) -> None:
    await work()


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| while this works | worst gap, ms | p99, ms | the loop's own work, worst, ms | calls a round |", "|---" * 5 + "|"]
    for name, one in result["found"].items():
        lines.append(f"| {name} | {one['worst_ms']} | {one['p99_ms']} | {one['own_ms']} | {one['calls']:g} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(tuple(arguments.models))
    print(json.dumps(result, indent=2) if arguments.json else f"{result['what']}\n\n{table(result)}")


if __name__ == "__main__":
    main()
