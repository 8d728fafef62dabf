"""Chunks delivered by procrastinate (extra `surefoot[jobs]`), where the store is Postgres: it wakes workers, aborts, and finds the stalled.

The ledger stays what is true. The engine is told which chunks there are; a worker that is handed one takes it in the ledger first, so that
a chunk delivered twice, or to a worker that takes chunks by itself, is done once. What the engine lost, or was never told, is delivered
again by a sweep: open chunks that nobody holds and no live job of the engine's stands for. Its retries bring back a chunk whose worker was
told to stop; an item is never retried by it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

from surefoot.jobs.ledger import JOBS
from surefoot.secret import Secret
from surefoot.storage.sql import Database, DatabaseAway, Sql

TASK = "surefoot.chunk"
QUEUE = "surefoot"
AT_ONCE = 500  # chunks told in one statement
SWEPT = 2_000  # chunks delivered again by one sweep, at most
POLL_S = 1.0  # how soon a worker looks for a chunk that nobody woke it for
POOL = 4  # connections: one listens, one beats, two fetch and finish
OPEN_S = 5.0  # a server that takes longer to let somebody in is away
PART = "procrastinate"  # its own tables, as `sf_meta` calls them

_log = logging.getLogger(__name__)
RunChunk = Callable[[str, int], Awaitable[object]]


def is_at_hand() -> bool:
    """Whether the engine is installed; without it workers take chunks from the ledger by themselves."""
    return find_spec("procrastinate") is not None


class Delivery:
    """The engine for one store: `deliver` tells it of chunks, `serve` works off what it hands out."""

    def __init__(self, url: Secret, database: Database) -> None:
        self._url = url
        self._database = database
        self._is_ready = False

    async def deliver(self, job: str, chunks: Sequence[int], *, priority: int, not_before: float) -> None:
        """Tell the engine that these chunks may be worked on. Raises DatabaseAway."""
        if chunks:
            async with self._opened(None) as app:
                await _defer(app, job, chunks, priority=priority, not_before=not_before)

    async def abort(self, job: str) -> None:
        """Have the workers that are at it told at once, where a heartbeat would tell them within a second. Raises DatabaseAway."""
        async with self._opened(None) as app:
            for one in await app.job_manager.list_jobs_async(task=TASK, status="doing"):
                if one.task_kwargs.get("job") == job:
                    await app.job_manager.cancel_job_by_id_async(one.id, abort=True)

    async def serve(self, run: RunChunk, *, chunks_at_once: int, dead_s: float, grace_s: float) -> None:
        """Run what is delivered, `chunks_at_once` at a time, until cancelled; what then goes on longer than `grace_s` is cancelled, too.

        Meanwhile: bring back what dead workers held, and deliver again what got lost. Raises DatabaseAway while the server is away.
        """
        async with self._opened(run) as app:
            await self._deliver_lost(app)
            tending = asyncio.create_task(self._tend(app, dead_s))
            try:
                await app.run_worker_async(
                    queues=[QUEUE],
                    concurrency=chunks_at_once,
                    wait=True,
                    fetch_job_polling_interval=POLL_S,
                    abort_job_polling_interval=POLL_S,
                    shutdown_graceful_timeout=grace_s,
                    delete_jobs="always",
                    install_signal_handlers=False,
                    update_heartbeat_interval=dead_s / 4,
                    stalled_worker_timeout=dead_s,
                )
            finally:
                tending.cancel()

    async def _tend(self, app: Any, dead_s: float) -> None:
        """Bring back what dead workers held as soon as they count as dead, and look for what got lost now and then: that costs more."""
        every_s = min(POLL_S, dead_s / 4)
        turns = max(1, round(dead_s / 2 / every_s))
        for turn in count(1):
            await asyncio.sleep(every_s)
            try:
                for one in await app.job_manager.get_stalled_jobs(queue=QUEUE, task_name=TASK, seconds_since_heartbeat=dead_s):
                    await app.job_manager.retry_job(one)
                if turn % turns == 0:
                    await self._deliver_lost(app)
            except Exception as error:  # noqa: BLE001 - the engine's own, such as a server that is away
                _log.info("what dead workers held could not be looked for: %s", error)

    async def _deliver_lost(self, app: Any) -> None:
        """Deliver again what no live job of the engine's stands for."""
        for job, priority, not_before, chunks in await self._database.run(undelivered, JOBS, reads=True):
            await _defer(app, job, chunks, priority=priority, not_before=not_before)

    @asynccontextmanager
    async def _opened(self, run: RunChunk | None) -> AsyncIterator[Any]:
        """The engine's app, its tables in place."""
        import procrastinate
        import psycopg
        from procrastinate.exceptions import ConnectorException
        from psycopg_pool import PoolTimeout

        if not self._is_ready:
            await self._database.run(_make_tables, JOBS)
            self._is_ready = True
        size: dict[str, Any] = {"min_size": 1, "max_size": POOL if run is not None else 1}
        app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(conninfo=self._url.reveal(), timeout=OPEN_S, reconnect_timeout=OPEN_S, **size)
        )
        app.task(name=TASK, queue=QUEUE, pass_context=True, retry=procrastinate.RetryStrategy(wait=1))(partial(_chunk, run))
        try:
            async with app.open_async():
                yield app
        except (ConnectorException, PoolTimeout, psycopg.OperationalError) as error:
            raise DatabaseAway(
                f"{self._database.describe()} cannot be used now ({error}); nothing was changed", retry_after_s=1.0
            ) from error


async def _chunk(run: RunChunk | None, context: Any, job: str, no: int) -> None:
    """The engine's one task."""
    from procrastinate import exceptions
    from procrastinate.job_context import AbortReason

    assert run is not None  # who only delivers runs nothing
    try:
        await run(job, no)
    except asyncio.CancelledError:
        if context.abort_reason() is AbortReason.SHUTDOWN:
            raise  # its retries bring it back
        raise exceptions.JobAborted from None


async def _defer(app: Any, job: str, chunks: Sequence[int], *, priority: int, not_before: float) -> None:
    at = datetime.fromtimestamp(not_before, UTC) if not_before > 0 else None
    task = app.configure_task(TASK, queue=QUEUE, priority=-priority, schedule_at=at)
    for first in range(0, len(chunks), AT_ONCE):
        await task.batch_defer_async(*({"job": job, "no": no} for no in chunks[first : first + AT_ONCE]))


def undelivered(sql: Sql) -> list[tuple[str, int, float, list[int]]]:
    """(job, its priority, when it may begin, chunks): open chunks that nobody holds and no live job of the engine's stands for."""
    found = sql.rows(
        "SELECT j.id, j.priority, j.not_before, array_agg(c.no ORDER BY c.no) FROM ("  # noqa: S608 - our own words
        "SELECT c.job, c.no FROM sf_chunk c JOIN sf_job j ON j.id = c.job "
        "WHERE j.state = 'open' AND c.state <> 'done' AND (c.state = 'wait' OR c.lease < ?) AND NOT EXISTS ("
        f"SELECT 1 FROM procrastinate_jobs p WHERE p.task_name = '{TASK}' AND p.status IN ('todo', 'doing') "
        "AND p.args->>'job' = c.job AND (p.args->>'no')::int = c.no) "
        f"ORDER BY j.priority, c.no LIMIT {SWEPT}) c JOIN sf_job j ON j.id = c.job GROUP BY 1, 2, 3",
        (sql.now(),),
    )
    return [(job, priority, not_before, list(chunks)) for job, priority, not_before, chunks in found]


def _make_tables(sql: Sql) -> None:
    """The engine's own tables, brought up to the installed version. Those that somebody else made are used as they are."""
    from procrastinate.schema import SchemaManager

    installed = _number(metadata.version("procrastinate"))
    sql.rows("SELECT pg_advisory_xact_lock(hashtext('surefoot-procrastinate'))")
    is_there = sql.row("SELECT to_regclass('procrastinate_jobs') IS NOT NULL")
    noted = sql.row("SELECT version FROM sf_meta WHERE part = ?", (PART,))
    if is_there and is_there[0]:
        if noted is None or noted[0] >= installed:
            return
        for file in sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql")):
            if _number(file.name.partition("_")[0]) > noted[0]:
                sql.script(file.read_text(encoding="utf-8"))
        sql.change("UPDATE sf_meta SET version = ? WHERE part = ?", (installed, PART))
        return
    sql.script(SchemaManager.get_schema())
    sql.change("INSERT INTO sf_meta (part, version) VALUES (?, ?)", (PART, installed))


def _number(version: str) -> int:
    """A version as one number: 3.10.0 is 31000."""
    parts = [int("".join(filter(str.isdigit, one)) or 0) for one in version.split(".")[:3]]
    return parts[0] * 10_000 + parts[1] * 100 + parts[2]
