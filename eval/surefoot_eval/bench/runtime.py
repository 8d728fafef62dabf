"""What it costs to cross to the background loop: time and CPU for a call, CPU for a streamed chunk.

`python -m surefoot_eval.bench.runtime` prints the figures. CPU is the whole process's (`time.process_time`), all its threads; each figure
is the median of `ROUNDS` rounds. Beside ours stands the same work without a crossing, and with asyncio's own `run_coroutine_threadsafe`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

from surefoot import runtime

ROUNDS = 5
CALLS = 2_000
CHUNKS = 5_000
PACED_CHUNKS = 400
PACE_S = 0.001  # a chunk each millisecond: slow enough that every chunk finds its reader asleep

Ask = Callable[[Coroutine[Any, Any, None]], Awaitable[None]]


async def _call() -> None:
    """A call that waits once, as every call does."""
    await asyncio.sleep(0)


async def _directly(coro: Coroutine[Any, Any, None]) -> None:
    await coro


async def _naively(coro: Coroutine[Any, Any, None]) -> None:
    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coro, runtime.home()))


class Chunks:
    """A stream of `count` chunks, ready at once or one each `pace_s`."""

    def __init__(self, count: int, pace_s: float | None) -> None:
        self._left = count
        self._pace_s = pace_s

    def __aiter__(self) -> AsyncIterator[str]:
        """The stream itself."""
        return self

    async def __anext__(self) -> str:
        """The next chunk."""
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        if self._pace_s is not None:
            await asyncio.sleep(self._pace_s)
        return "chunk"

    async def aclose(self) -> None:
        """Nothing to close."""


async def _open(count: int, pace_s: float | None) -> Chunks:
    return Chunks(count, pace_s)


async def _in_flight(ask: Ask, calls: int, width: int) -> float:
    """CPU-us per call, `width` workers taking turns."""

    async def worker() -> None:
        for _ in range(calls // width):
            await ask(_call())

    began_s = time.process_time()
    await asyncio.gather(*(worker() for _ in range(width)))
    return (time.process_time() - began_s) / calls * 1e6


async def _latencies_ms(ask: Ask, calls: int) -> list[float]:
    """Milliseconds of each of `calls` calls, one after the other."""
    taken_ms: list[float] = []
    for _ in range(calls):
        began_s = time.perf_counter()
        await ask(_call())
        taken_ms.append((time.perf_counter() - began_s) * 1e3)
    return taken_ms


def _sync_latencies_ms(calls: int) -> list[float]:
    taken_ms: list[float] = []
    for _ in range(calls):
        began_s = time.perf_counter()
        runtime.run(_call())
        taken_ms.append((time.perf_counter() - began_s) * 1e3)
    return taken_ms


async def _piped(count: int, pace_s: float | None) -> float:
    """CPU-us per chunk read from another loop."""
    began_s = time.process_time()
    async for _ in await runtime.pipe(_open(count, pace_s)):
        pass
    return (time.process_time() - began_s) / count * 1e6


async def _piped_naively(count: int, pace_s: float | None) -> float:
    """CPU-us per chunk when each is fetched by a crossing of its own."""
    stream = Chunks(count, pace_s)
    began_s = time.process_time()
    for _ in range(count):
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(stream.__anext__(), runtime.home()))
    return (time.process_time() - began_s) / count * 1e6


async def _unpiped(count: int, pace_s: float | None) -> float:
    """CPU-us per chunk read on the loop the stream is on."""
    began_s = time.process_time()
    async for _ in Chunks(count, pace_s):
        pass
    return (time.process_time() - began_s) / count * 1e6


def _piped_sync(count: int, pace_s: float | None) -> float:
    began_s = time.process_time()
    for _ in runtime.pipe_sync(_open(count, pace_s)):
        pass
    return (time.process_time() - began_s) / count * 1e6


def _median(measure_once: Callable[[], float]) -> float:
    return round(statistics.median(measure_once() for _ in range(ROUNDS)), 2)


def measure() -> dict[str, float]:
    """All figures, by name; the unit is the name's last word (`us`: CPU microseconds of the process, `ms`: wall-clock milliseconds)."""
    runtime.run(_call())  # the home's thread is up
    figures: dict[str, float] = {}
    for width in (1, 32, 256):
        for name, ask in (("in_loop", _directly), ("arun", runtime.arun), ("naive", _naively)):
            figures[f"call_{name}_{width}_in_flight_us"] = _median(lambda ask=ask, width=width: asyncio.run(_in_flight(ask, CALLS, width)))  # type: ignore[misc]
    for name, taken_ms in (
        ("arun", asyncio.run(_latencies_ms(runtime.arun, CALLS))),
        ("naive", asyncio.run(_latencies_ms(_naively, CALLS))),
        ("run", _sync_latencies_ms(CALLS)),
    ):
        figures[f"hop_{name}_p50_ms"] = round(statistics.median(taken_ms), 4)
        figures[f"hop_{name}_p95_ms"] = round(statistics.quantiles(taken_ms, n=20)[-1], 4)
    for pace, count, pace_s in (("ready", CHUNKS, None), ("turn", CHUNKS, 0.0), ("paced", PACED_CHUNKS, PACE_S)):
        figures[f"chunk_{pace}_in_loop_us"] = _median(lambda c=count, p=pace_s: asyncio.run(_unpiped(c, p)))  # type: ignore[misc]
        figures[f"chunk_{pace}_pipe_us"] = _median(lambda c=count, p=pace_s: asyncio.run(_piped(c, p)))  # type: ignore[misc]
        figures[f"chunk_{pace}_pipe_sync_us"] = _median(lambda c=count, p=pace_s: _piped_sync(c, p))  # type: ignore[misc]
        figures[f"chunk_{pace}_naive_us"] = _median(lambda c=count, p=pace_s: asyncio.run(_piped_naively(c, p)))  # type: ignore[misc]
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
