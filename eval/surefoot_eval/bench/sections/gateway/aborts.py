"""Clients that leave in mid-stream, at a random chunk: what is left of them, and how soon the provider may stop."""

from __future__ import annotations

import asyncio
import re
import time
from random import Random
from typing import Any

from surefoot_eval.bench.sections.gateway.client import KeptConnection, Unanswered, request_of
from surefoot_eval.bench.sections.gateway.cost import PATH
from surefoot_eval.bench.sections.gateway.subjects import GatewayProcess, body
from surefoot_eval.bench.server import CHUNKS, Server

ABORTS = 1_000
WIDTH = 16
LOOKS = 50  # a tenth of a second apart, until what was begun must have ended


def measure(subject: GatewayProcess, upstream: Server, *, seed: int = 1) -> dict[str, Any]:
    """ABORTS streams, each dropped at a chunk drawn by `seed`; the provider notes when it is hung up on."""
    return asyncio.run(_measure(subject, upstream, seed))


async def _measure(subject: GatewayProcess, upstream: Server, seed: int) -> dict[str, Any]:
    draw, left = Random(seed), iter(range(ABORTS))
    asked = body(stream=True)
    loop = asyncio.get_running_loop()
    dropped: dict[str, float] = {}

    async def leave(number: int) -> None:
        connection, gone = KeptConnection(subject.address), loop.create_future()
        last = draw.randrange(CHUNKS - 5)

        def look(events: int) -> None:
            if events > last and not gone.done():
                gone.set_result(None)

        connection.on_data = look
        name = f"abort-{number}"
        answer = asyncio.ensure_future(connection.ask(request_of(PATH, {**asked, "user": name}, subject.headers)))
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        connection.drop()
        dropped[name] = time.time()  # noqa: TID251 - two processes share this clock
        try:
            await answer
        except Unanswered:
            return

    async def some() -> None:
        for number in left:
            await leave(number)

    await asyncio.gather(*(some() for _ in range(WIDTH)))
    for _ in range(LOOKS):
        await asyncio.sleep(0.1)
        state = await _state(subject)
        if not state["in_flight"] + state["queued"]:
            break
    await asyncio.sleep(0.5)  # what was reserved is booked beside the call
    closed = dict(upstream.closed())
    took = sorted(closed[name] - at for name, at in dropped.items() if name in closed)
    return {
        "aborts": ABORTS,
        "in_flight": state["in_flight"] + state["queued"],
        "held": held(subject),
        "open_upstream": upstream.stats()["open"],
        "heard": len(took),
        "closed_p50_ms": took[len(took) // 2] * 1e3 if took else float("nan"),
        "closed_p99_ms": took[int(0.99 * len(took))] * 1e3 if took else float("nan"),
    }


async def _state(subject: GatewayProcess) -> dict[str, float]:
    """Places taken and requests that wait, as /metrics tells."""
    connection = KeptConnection(subject.address)
    await connection.ask(request_of("/metrics", None, {}), keeps=True)
    connection.drop()
    text = connection.body.decode()
    return {
        name: float(m[1]) if (m := re.search(rf"^surefoot_{name} (\S+)$", text, re.MULTILINE)) else 0.0 for name in ("in_flight", "queued")
    }


def held(subject: GatewayProcess) -> float:
    """US dollars still reserved in the accounts of keys and teams."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{subject.folder}/state.db?mode=ro", uri=True)) as database:
        return float(database.execute("SELECT coalesce(sum(reserved), 0) FROM sf_account").fetchone()[0] / 1e9)
