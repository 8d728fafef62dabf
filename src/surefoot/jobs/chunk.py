"""One chunk of a job, done here: what is left of it is asked, each result is written, and the chunk is closed."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.jobs import claims, kinds
from surefoot.jobs.batches import VENDOR_BATCH, BatchRunner
from surefoot.jobs.kinds import ItemResult
from surefoot.jobs.ledger import JOBS, change_state
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import ItemRow, OpenChunk
from surefoot.rules.spending import NANO, nano
from surefoot.settings import SpendLimit
from surefoot.storage.sql import Database, DatabaseAway
from surefoot.usage.accounts.sql import SqlSpendStore

FLUSH_S = 0.005  # results that come within it share a commit
AGAIN_S = 0.3  # before writing again what could not be written

_log = logging.getLogger(__name__)


class ResultWriter:
    """Writes results in groups. What was paid for is kept here and written again until the database takes it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[ItemRow] = []
        self._task: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()  # results put so far, by job
        self.done = 0
        self.failed = 0

    def put(self, outcome: ItemRow) -> None:
        """Write it soon."""
        self._waiting.append(outcome)
        self.counts[outcome.job] += 1
        if outcome.ok:
            self.done += 1
        else:
            self.failed += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def flush(self) -> None:
        """Wait until all that was put is written. Who is cancelled meanwhile leaves the writing undisturbed."""
        while self._task is not None:
            await asyncio.shield(self._task)

    async def _write(self) -> None:
        try:
            await asyncio.sleep(FLUSH_S)
            while self._waiting:
                some, self._waiting = self._waiting, []
                while True:
                    try:
                        await self._database.run(partial(claims.put, outcomes=some), JOBS)
                        break
                    except DatabaseAway as error:
                        _log.info("%d results wait to be written: %s", len(some), error)
                        await asyncio.sleep(AGAIN_S)
        finally:
            self._task = None


class Runners:
    """The runners of the jobs this process works on, each with its model within the job's budget."""

    def __init__(self, database: Database, models: ModelSource) -> None:
        self._database = database
        self._models = models
        self._by_job: dict[tuple[str, int | None], kinds.JobRunner] = {}
        self._stores: list[SqlSpendStore] = []

    def of(self, chunk: OpenChunk) -> kinds.JobRunner:
        """The runner for the chunk's job. Raises Misconfigured for a kind or a model that is not at hand."""
        key = (chunk.job, chunk.budget_nano)
        if key not in self._by_job:
            if len(self._by_job) >= 64:  # jobs come and go
                del self._by_job[next(iter(self._by_job))]
            limited = partial(self._limited, chunk)
            if chunk.spec.how == VENDOR_BATCH:
                self._by_job[key] = BatchRunner(self._database, self._models.model("chat", chunk.spec.model), limited)
            else:
                self._by_job[key] = kinds.find(chunk.kind).open(chunk, self._models, limited)
        return self._by_job[key]

    def _limited(self, chunk: OpenChunk, model: Any) -> Any:
        if chunk.budget_nano is None:
            return model
        store = SqlSpendStore(self._database, account=f"job {chunk.job}")
        self._stores.append(store)
        return model.within(SpendLimit(usd=chunk.budget_nano / NANO), spend_store=store)

    async def aclose(self) -> None:
        """Book what the jobs' calls did cost, as far as the database is there."""
        stores, self._stores = self._stores, []
        self._by_job.clear()
        for store in stores:
            await store.aclose()


async def do_chunk(
    database: Database, runners: Runners, writer: ResultWriter, worker: str, job: str, no: int, waits: Callable[[], None]
) -> bool:
    """Do what is left of a chunk that `worker` has taken; True if it is done. Otherwise, cancelled too, it is given back.

    `waits` is called if from now on it only waits for somebody else, for hours perhaps.

    The job pauses where going on makes no sense: its budget is used up, or its kind failed or left items out, which it would do again.
    Raises Misconfigured where this process cannot do it, DatabaseAway where it cannot even be read.
    """
    is_closed = False
    try:
        try:
            reason = await _do(database, runners, writer, job, no, waits)
        except (Misconfigured, DatabaseAway):
            raise
        except Exception as error:  # noqa: BLE001 - a kind of somebody else's may raise anything
            _log.exception("chunk %d of job %s failed; the job is paused", no, job)
            reason = f"chunk {no} failed: {type(error).__name__}: {error}"
        await writer.flush()
        is_closed = await patiently(database, partial(claims.close_chunk, job=job, no=no))
        if is_closed:
            return True
        reason = reason or f"its kind left items of chunk {no} without a result"
        await patiently(database, partial(change_state, job=job, state="paused", of=("open",), reason=reason))
        return False
    finally:
        if not is_closed:
            await asyncio.shield(_give_back(database, writer, worker, job, no))


async def _do(database: Database, runners: Runners, writer: ResultWriter, job: str, no: int, waits: Callable[[], None]) -> str:
    chunk: OpenChunk = await database.run(partial(claims.open_chunk, job=job, no=no), JOBS, reads=True)
    if chunk.spec.how == VENDOR_BATCH:
        waits()

    def put(result: ItemResult) -> None:
        writer.put(ItemRow(job, no, result.n, result.ok, result.body, nano(result.cost_usd)))

    return await runners.of(chunk).run(chunk, put)


async def _give_back(database: Database, writer: ResultWriter, worker: str, job: str, no: int) -> None:
    await writer.flush()
    try:
        await database.run(partial(claims.release, worker=worker, job=job, no=no), JOBS)
    except DatabaseAway:
        return  # its lease runs out


async def patiently(database: Database, fn: Any) -> Any:
    """What `fn` gives, tried again until the database is there."""
    while True:
        try:
            return await database.run(fn, JOBS)
        except DatabaseAway:
            await asyncio.sleep(AGAIN_S)
