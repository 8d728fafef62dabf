"""A job of a million items: how long a look at it takes, what reading its results holds in memory, and whom deleting it holds up."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from surefoot import jobs, runtime
from surefoot.jobs import claims
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.records import ItemRow
from surefoot.storage.sql import Sql, open_database
from surefoot_eval.bench.sections.jobs.worker import KIND, WaitingKind, memory_mb
from surefoot_eval.bench.stores import store

ITEMS = 1_000_000
CHUNK = 100
LOOKS = 30
PAUSE_S = 0.02  # between two writes of the worker that must not be held up


def _series(sql: Sql, count: int) -> str:
    """A query of the numbers from 0 to below `count`, as column n."""
    if sql.dialect == "postgresql":
        return f"SELECT generate_series(0, {count - 1}) AS n"
    return f"WITH RECURSIVE s(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM s WHERE n < {count - 1}) SELECT n FROM s"  # noqa: S608 - a number


def fill(sql: Sql, *, job: str, items: int) -> None:
    """Give a job of one item the results of `items`, as if workers had written them."""
    sql.change("DELETE FROM sf_chunk WHERE job = ?", (job,))
    sql.change("DELETE FROM sf_input WHERE job = ?", (job,))
    chunks, results = _series(sql, items // CHUNK), _series(sql, items)
    sql.change(
        "INSERT INTO sf_chunk (job, no, first, total, done, state) "  # noqa: S608 - our own words
        f"SELECT ?, n, n * {CHUNK}, {CHUNK}, {CHUNK}, 'done' FROM ({chunks}) k",
        (job,),
    )
    sql.change(f"INSERT INTO sf_input (job, no, body) SELECT ?, n, ? FROM ({chunks}) k", (job, b"[" + b"0," * (CHUNK - 1) + b"0]"))  # noqa: S608
    sql.change(
        f"INSERT INTO sf_result (job, n, ok, body, at) SELECT ?, n, 1, ?, 0 FROM ({results}) k",  # noqa: S608 - our own words
        (job, b'{"text": "an answer"}'),
    )
    sql.change("UPDATE sf_job SET total = ?, state = 'done', ended = ? WHERE id = ?", (items, sql.now(), job))
    if sql.dialect == "postgresql":
        sql.change("ANALYZE sf_result")


def on(url: str, fn: Callable[[Sql], Any]) -> Any:
    """Run a function of the tables, by itself."""

    async def go() -> Any:
        database = open_database(url)
        try:
            return await database.run(fn, JOBS)
        finally:
            await database.aclose()

    return runtime.run(go())


async def _write_on(url: str, job: str, until: asyncio.Event) -> list[float]:
    """Write a result now and then, as a worker does; seconds that each write took."""
    database, took = open_database(url), list[float]()
    n = 0
    while not until.is_set():
        begun = time.perf_counter()
        await database.run(partial(claims.put, outcomes=[ItemRow(job, 0, n, ok=True, body=b"{}")]), JOBS)
        took.append(time.perf_counter() - begun)
        n += 1
        await asyncio.sleep(PAUSE_S)
    await database.aclose()
    return took


async def _meanwhile(url: str, job: str, doing: Callable[[], Any]) -> list[float]:
    until = asyncio.Event()
    writing = asyncio.ensure_future(_write_on(url, job, until))
    await doing()
    until.set()
    return await writing


def measure(kind: str, items: int = ITEMS) -> dict[str, float]:
    """Of one store: ms of a look at the job, MB that reading all its results takes, ms that writes take while it is deleted."""
    jobs.register(KIND, WaitingKind())
    with store(kind) as (url, _), jobs.open(url) as q:
        job, other = (q.submit(KIND, [0], call_s=0.0) for _ in range(2))
        on(url, partial(fill, job=job, items=items))
        looks = list[float]()
        for _ in range(LOOKS):
            begun = time.perf_counter()
            assert q.status(job).done == items
            looks.append(time.perf_counter() - begun)
        early_mb = late_mb = 0.0
        begun, spent = time.perf_counter(), time.process_time()
        for n, _ in q.results(job):
            if n in {items // 10, items - 1}:
                early_mb, late_mb = late_mb, memory_mb()
        spent = time.process_time() - spent

        async def rest() -> None:
            await asyncio.sleep(3.0)

        idle = runtime.run(_meanwhile(url, other, rest))
        begun = time.perf_counter()
        busy = runtime.run(_meanwhile(url, other, partial(q.aforget, job)))
        return {
            "status_ms": statistics.median(looks) * 1e3,
            "status_worst_ms": max(looks) * 1e3,
            "read_us": spent / items * 1e6,
            "read_mb": late_mb - early_mb,
            "forget_s": time.perf_counter() - begun,
            "write_idle_ms": statistics.median(idle) * 1e3,
            "write_idle_worst_ms": max(idle) * 1e3,
            "write_ms": statistics.median(busy) * 1e3,
            "write_p99_ms": sorted(busy)[int(0.99 * len(busy))] * 1e3,
            "write_worst_ms": max(busy) * 1e3,
            "writes": len(busy),
        }
