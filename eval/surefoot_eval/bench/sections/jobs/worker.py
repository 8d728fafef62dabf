"""A worker of the measurements, in a process of its own: items that wait, and nothing else.

    python -m surefoot_eval.bench.sections.jobs.worker STORE [--log FILE] ...

It says a JSON line when it is ready, begins at a line on its standard input, and says what it did. With `--log` it puts down each call as
it begins: moment, process, item. A call waits `call_s`, or (an option of the job) a share of it that depends on its item.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from surefoot import ChatModel, jobs, runtime
from surefoot.jobs import ItemResult, OpenChunk
from surefoot_eval.bench.subjects import Null

KIND = "wait"
WARM = "warm-up"  # the key of a job that a worker does before it is measured
ANSWER = b'{"text": "an answer of a few words, as long as most of them are"}'


class WaitingKind:
    """Items are numbers; each is done by waiting."""

    def __init__(self, log: str | None = None) -> None:
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if log else None
        self.calls = 0

    def check(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """`call_s`, and whether it differs by item."""
        return dict(options)

    def item(self, given: Any) -> Any:
        """As it is."""
        return given

    def open(self, chunk: OpenChunk, models: Any, limited: Any) -> WaitingRunner:  # noqa: ARG002 - no model is asked
        """The runner of a job."""
        return WaitingRunner(self, chunk.spec.options["call_s"], varied=chunk.spec.options.get("varied", False))

    def value(self, body: bytes) -> bytes:
        """As it was put."""
        return body


class WaitingRunner:
    """All items of a chunk at once, as the kind `chat` does."""

    def __init__(self, kind: WaitingKind, call_s: float, *, varied: bool) -> None:
        self._kind = kind
        self._call_s = call_s
        self._varied = varied

    async def run(self, chunk: OpenChunk, put: Any) -> str:
        """Do every item."""
        async with asyncio.TaskGroup() as group:
            for n, item in chunk.items:
                group.create_task(self._one(n, item, put))
        return ""

    async def _one(self, n: int, item: Any, put: Any) -> None:
        self._kind.calls += 1
        if self._kind.log is not None:
            os.write(self._kind.log, f"{time.monotonic():.4f} {os.getpid()} {item}\n".encode())
        await call(self._call_s, item if self._varied else None)
        put(ItemResult(n, ok=True, body=ANSWER))


async def call(call_s: float, item: int | None = None) -> bytes:
    """What stands for a call: it takes `call_s`, or from a half to three halves of it, by item."""
    await asyncio.sleep(call_s if item is None else call_s * (0.5 + item * 7919 % 1000 / 1000))
    return ANSWER


def memory_mb(*, peak: bool = False) -> float:
    """Memory in RAM now, or at most so far."""
    if peak or sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1 << 20)
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20


class SlowNull(Null):
    """A provider that answers after `call_s`, and costs nothing itself."""

    def __init__(self, call_s: float) -> None:
        super().__init__()
        self._call_s = call_s

    async def chat(self, call: Any) -> Any:
        """One answer, made beforehand."""
        await asyncio.sleep(self._call_s)
        return await super().chat(call)


def _say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


async def _work(args: argparse.Namespace) -> None:
    kind = WaitingKind(args.log)
    jobs.register(KIND, kind)
    opened = jobs.open(args.store, models=ChatModel(SlowNull(args.call_s)))
    await opened.ajobs()
    idle_mb = memory_mb()
    if args.warm:
        await opened.work(chunks_at_once=args.chunks_at_once)
    _say(ready=True, idle_mb=idle_mb, pid=os.getpid())
    if not args.forever:
        await asyncio.to_thread(sys.stdin.readline)
    kind.calls = 0
    begun, spent = time.perf_counter(), time.process_time()
    working = asyncio.ensure_future(opened.work(chunks_at_once=args.chunks_at_once, forever=args.forever, dead_s=args.dead_s))

    def end() -> None:
        gc.freeze()  # as `surefoot jobs work` ends
        working.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    with suppress(asyncio.CancelledError):
        await working
    spent, took = time.process_time() - spent, time.perf_counter() - begun
    _say(cpu_s=spent, wall_s=took, calls=kind.calls, peak_mb=memory_mb(peak=True), idle_mb=idle_mb)
    await opened.aclose()


async def _bare(args: argparse.Namespace) -> None:
    """The calls alone, `width` at a time, for the same number of items."""

    async def one(n: int) -> None:  # noqa: ARG001 - as a worker's
        await call(args.call_s)

    async def ask(n: int) -> None:
        await chat.ainvoke(f"question {n}", deadline_s=None)

    chat = ChatModel(SlowNull(args.call_s))
    for what, do in (("wait", one), ("chat", ask)):
        width = args.width
        for first in (0, 1):  # once to warm up
            total = args.items if first else 10 * width
            spent = time.process_time()
            for start in range(0, total, width):
                async with asyncio.TaskGroup() as group:
                    for n in range(start, min(start + width, total)):
                        group.create_task(do(n))
            spent = time.process_time() - spent
        _say(what=what, cpu_ms=spent / args.items * 1e3)
    await chat.aclose()


def main() -> None:
    """Read the command line, work."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--log")
    parser.add_argument("--call-s", type=float, default=0.02)
    parser.add_argument("--dead-s", type=float, default=30.0)
    parser.add_argument("--chunks-at-once", type=int, default=1)
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--items", type=int, default=0)
    parser.add_argument("--forever", action="store_true")
    parser.add_argument("--warm", action="store_true")
    args = parser.parse_args()
    if args.items:
        runtime.run(_bare(args))
    else:
        asyncio.run(_work(args))  # here, so that signals reach it; jobs are worked on in the background loop


if __name__ == "__main__":
    main()
