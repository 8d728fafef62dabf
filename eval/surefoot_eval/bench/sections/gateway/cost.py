"""CPU of a call and of a streamed chunk, memory at rest and its growth: each subject beside the byte pipe, taking turns."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from surefoot_eval.bench.sections.gateway.client import ask_all, request_of
from surefoot_eval.bench.sections.gateway.subjects import LITELLM, OURS, PORTKEY, GatewayProcess, body
from surefoot_eval.bench.server import CHUNKS

WIDTH = 32
CALLS, STREAMS = 2_000, 200  # a round, of a subject that is quick
SLOW = {LITELLM: 20, PORTKEY: 4}  # who is so many times slower has so many times fewer
WARM = 10_000  # calls before memory is looked at for the first time: until then buffers, caches and windows fill
PATH = "/v1/chat/completions"


def _us(subject: GatewayProcess, *, stream: bool, count: int, width: int = WIDTH) -> float:
    """CPU-us a call, or a chunk. Raises RuntimeError where a call failed."""
    request = request_of(PATH, body(stream=stream), subject.headers)
    before = subject.cpu_s()
    found = asyncio.run(ask_all(subject.address, request, calls=count, width=width))
    spent = subject.cpu_s() - before
    if set(found) != {200}:
        raise RuntimeError(f"statuses {found}")
    return spent / count / (CHUNKS if stream else 1) * 1e6


def costs(running: dict[str, GatewayProcess], paced: dict[str, GatewayProcess], *, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by subject: `call` and `chunk` over an upstream without pause, `paced` over one that sends a chunk every few ms."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in running}
    for turn in range(rounds + 1):  # the first warms up
        names = list(running)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            share = SLOW.get(name, 1)
            jobs = (
                ("call", running[name], False, CALLS // share), ("chunk", running[name], True, STREAMS // share),
                ("paced", paced[name], True, STREAMS // share),
            )  # fmt: skip
            for what, subject, stream, count in jobs:
                try:
                    us = _us(subject, stream=stream, count=count)
                except RuntimeError:
                    continue
                if turn:
                    samples[name].setdefault(what, []).append(us)
    return {name: {what: statistics.median(runs) for what, runs in found.items()} for name, found in samples.items()}


def memory(running: dict[str, GatewayProcess], *, calls: int) -> dict[str, dict[str, float]]:
    """Ours: megabytes after the first calls, and how much more after `calls` further ones."""
    subject = running[OURS]
    request = request_of(PATH, body(stream=False), subject.headers)
    asyncio.run(ask_all(subject.address, request, calls=WARM, width=WIDTH))
    before = subject.rss_mb()
    found: Any = asyncio.run(ask_all(subject.address, request, calls=calls, width=WIDTH))
    return {OURS: {"before_mb": before, "grown_mb": subject.rss_mb() - before, "calls": calls, "failed": calls - found.get(200, 0)}}
