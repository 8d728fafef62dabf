"""`how="vendor-batch"`: a chunk is one batch at its vendor, half the price for an answer within a day.

Every item is a call through the model's layers, so cache, spend limits and the ledger of usage hold as for any other; only the way to the
vendor is another one (`surefoot.providers.batches`). What was submitted is noted beside the chunk: whoever takes it up after a crash
collects the batch that is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from surefoot.errors import BadRequest, Misconfigured, Permanent, SurefootError
from surefoot.jobs import claims
from surefoot.jobs.kinds import ItemResult, Put
from surefoot.jobs.kinds.chat import ChatRunner
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import ItemRow, JobSpec, OpenChunk
from surefoot.models.chat import ChatModel
from surefoot.providers.batches import BATCH_SHARE, AnsweredLane, BatchLane, Keys, SubmittedBatch, VendorBatches, open_batches
from surefoot.rules.spending import nano
from surefoot.settings import Target
from surefoot.storage.sql import Database, DatabaseAway, Sql

VENDOR_BATCH = "vendor-batch"
CHUNK = 1000  # items a batch, where nobody says: a vendor's queue is long for each of them
ENDING = "ending"  # a batch whose vendor was told to end it, and whose answers so far are not written yet
CANCEL_S = 10.0  # for telling vendors that a job was cancelled

_log = logging.getLogger(__name__)
_spec = msgspec.json.Decoder(JobSpec)
_items = msgspec.json.Decoder(tuple[str, ...])


class LedgerNotes:
    """The batches of one chunk, in the job's store."""

    def __init__(self, database: Database, job: str, no: int) -> None:
        self._database = database
        self._job = job
        self._no = no

    async def submitted(self) -> Sequence[SubmittedBatch]:
        """Those whose answers may still be needed, oldest first."""
        found = await self._database.run(partial(noted, job=self._job, no=self._no), JOBS)
        return [batch for _, batch in found]

    async def begin(self, items: Sequence[str]) -> SubmittedBatch:
        """Note these items before they are submitted."""
        made: SubmittedBatch = await self._database.run(partial(_begin, job=self._job, no=self._no, items=tuple(items)), JOBS)
        return made

    async def note(self, batch: SubmittedBatch) -> None:
        """Note the vendor's id."""
        await self._change(batch, "batch", batch.id)

    async def taken(self) -> Collection[str]:
        """The vendors' ids of all batches that are noted lately."""
        statement = "SELECT batch FROM sf_batch WHERE batch <> '' AND begun > ?"
        rows = await self._database.run(lambda sql: sql.rows(statement, (sql.now() - 2 * 86_400.0,)), JOBS)
        return {name for (name,) in rows}

    async def close(self, batch: SubmittedBatch, state: Literal["collected", "refused"]) -> None:
        """It has ended."""
        await self._change(batch, "state", state)

    async def _change(self, batch: SubmittedBatch, column: Literal["batch", "state"], value: str) -> None:
        attempt = int(batch.name.rpartition("-")[2])
        statement = f"UPDATE sf_batch SET {column} = ? WHERE job = ? AND no = ? AND attempt = ?"  # noqa: S608 - one of two words
        await self._patiently(lambda sql: sql.change(statement, (value, self._job, self._no, attempt)))

    async def write(self, rows: Sequence[ItemRow]) -> None:
        """Write results."""
        await self._patiently(partial(claims.put, outcomes=rows))

    async def _patiently(self, fn: Callable[[Sql], Any]) -> None:
        """What is paid for already is noted, however long the database is away."""
        while True:
            try:
                await self._database.run(fn, JOBS)
            except DatabaseAway:
                await asyncio.sleep(1.0)
            else:
                return


def noted(sql: Sql, job: str, no: int | None = None, states: tuple[str, ...] = ("open", "collected")) -> list[tuple[int, SubmittedBatch]]:
    """A chunk's batches whose answers may still be needed, oldest first, each with its chunk; of all chunks, if none is named."""
    where, values = ("", ()) if no is None else (" AND no = ?", (no,))
    marks = ", ".join("?" * len(states))
    found = sql.rows(
        f"SELECT no, attempt, batch, items, begun FROM sf_batch WHERE job = ? AND state IN ({marks}){where} "  # noqa: S608
        "ORDER BY no, attempt",
        (job, *states, *values),
    )
    return [
        (chunk, SubmittedBatch(name=_name(job, chunk, attempt), items=_items.decode(items), begun_at=begun, id=batch))
        for chunk, attempt, batch, items, begun in found
    ]


def _begin(sql: Sql, job: str, no: int, items: tuple[str, ...]) -> SubmittedBatch:
    now = sql.now()
    last = sql.row("SELECT max(attempt) FROM sf_batch WHERE job = ? AND no = ?", (job, no))
    attempt = 1 + (last[0] or 0 if last else 0)
    sql.change(
        "INSERT INTO sf_batch (job, no, attempt, items, begun) VALUES (?, ?, ?, ?, ?)",
        (job, no, attempt, msgspec.json.encode(items).decode(), now),
    )
    return SubmittedBatch(name=_name(job, no, attempt), items=items, begun_at=now)


def _name(job: str, no: int, attempt: int) -> str:
    return f"sf-{job}-{no}-{attempt}"


def check_batches(models: ModelSource, names: tuple[str, ...]) -> None:
    """Raise Misconfigured for a model whose vendor takes no batches, as far as this process knows it."""
    try:
        model = models.model("chat", names)
    except Misconfigured:
        return
    model.rerouted(_nowhere, share=BATCH_SHARE)


def _nowhere(target: Target, keys: Keys) -> BatchLane:
    """Of a view that is only looked at."""
    raise AssertionError(target, keys)


def rerouted(model: ChatModel, lane: BatchLane) -> ChatModel:
    """A view of `model` that asks by batches. Raises Misconfigured if its first target's vendor takes none."""

    def send_by(target: Target, keys: Keys) -> BatchLane:
        lane.vendor = open_batches(target, keys)
        return lane

    return model.rerouted(send_by, share=BATCH_SHARE)


class BatchRunner:
    """Works on chunks of one job, each by batches of its own."""

    def __init__(self, database: Database, model: ChatModel, limited: Callable[[Any], Any]) -> None:
        self._database = database
        self._model = model
        self._limited = limited

    async def run(self, chunk: OpenChunk, put: Put) -> str:
        """Ask every item by a batch. Why the job shall pause where the vendor takes none, or ""."""
        lane = BatchLane(LedgerNotes(self._database, chunk.job, chunk.no), count=len(chunk.items))
        view: ChatModel = self._limited(rerouted(self._model, lane))
        spec = replace(chunk.spec, deadline_s=chunk.spec.deadline_s or DAYS_S)
        asking = asyncio.ensure_future(_BatchItems(chunk, view, lane).run(replace(chunk, spec=spec), put))
        collecting = asyncio.ensure_future(lane.run())
        try:
            await asyncio.wait({asking, collecting}, return_when=asyncio.FIRST_EXCEPTION)
            if collecting.done() and not asking.done() and (error := collecting.exception()) is not None:
                return _reason(error)
            return await asking
        except asyncio.CancelledError:
            await _cancelled(asking, collecting)  # before the batch is ended: what it has not answered is no error of the items
            if lane.vendor is not None:
                await asyncio.shield(self._end(chunk, lane.vendor))
            raise
        finally:
            await _cancelled(asking, collecting)
            await view.aclose()

    async def _end(self, chunk: OpenChunk, vendor: VendorBatches) -> None:
        """The chunk is taken from us: if its job was cancelled, so is its batch."""
        with suppress(SurefootError, TimeoutError):
            async with asyncio.timeout(CANCEL_S):
                found = await self._database.run(lambda sql: sql.row("SELECT state FROM sf_job WHERE id = ?", (chunk.job,)), JOBS)
                if found is not None and found[0] == "cancelled":
                    await _cancel(self._database, chunk.job, chunk.no, vendor)


async def _cancelled(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


DAYS_S = 7 * 86_400.0  # for an item, where nobody says: a batch takes a day at most, and may be followed by another


def _reason(error: BaseException) -> str:
    if isinstance(error, Misconfigured) or not isinstance(error, Permanent):
        raise error
    return str(error)


class _BatchItems(ChatRunner):
    """The items of a chunk, each as a call that says which one it is."""

    def __init__(self, chunk: OpenChunk, model: ChatModel, lane: BatchLane) -> None:
        super().__init__(chunk, model)
        self._lane = lane

    async def _ask(self, n: int, item: Any) -> ItemResult:
        with self._lane.item(str(n)):
            return await super()._ask(n, item)


async def cancel_batches(database: Database, models: ModelSource, job: str | None = None) -> None:
    """Tell the vendors of cancelled jobs' batches that nobody wants them any more, as far as this process knows the models.

    What a vendor had answered by the time such a batch has ended is on its bill: it is written as those items' results.
    """
    where, values = ("", ()) if job is None else (" AND j.id = ?", (job,))
    statement = (
        "SELECT DISTINCT j.id, j.spec FROM sf_job j JOIN sf_batch b ON b.job = j.id "  # noqa: S608 - question marks
        f"WHERE j.state = 'cancelled' AND b.state IN ('open', '{ENDING}'){where}"
    )
    found = await database.run(lambda sql: sql.rows(statement, values), JOBS)
    with suppress(TimeoutError):  # the next look goes on
        async with asyncio.timeout(CANCEL_S):
            for name, spec in found:
                try:
                    await _end_job(database, models.model("chat", _spec.decode(spec).model), name)
                except SurefootError as error:
                    _log.info("the batches of job %s could not be cancelled here: %s", name, error)


async def _end_job(database: Database, model: ChatModel, job: str) -> None:
    lane = AnsweredLane(LedgerNotes(database, job, 0))
    async with rerouted(model, lane) as view:
        await view.awarm()
        if lane.vendor is None:
            return
        await _cancel(database, job, None, lane.vendor)
        for no, batch in await database.run(partial(noted, job=job, states=(ENDING,)), JOBS):
            answered = await lane.read(batch)
            if answered is not None and await database.run(partial(_close, job=job, no=no, batch=batch), JOBS):
                await _write(database, view, lane, (job, no), answered)


async def _write(database: Database, view: ChatModel, lane: AnsweredLane, place: tuple[str, int], answered: set[str]) -> None:
    """Put the answers through the model's layers, as any others, and write what comes out."""
    job, no = place
    chunk: OpenChunk = await database.run(partial(claims.open_chunk, job=job, no=no), JOBS, reads=True)
    spec = replace(chunk.spec, deadline_s=chunk.spec.deadline_s or DAYS_S)
    chunk = replace(chunk, spec=spec, items=[(n, item) for n, item in chunk.items if str(n) in answered])
    rows: list[ItemRow] = []
    await _BatchItems(chunk, view, lane).run(chunk, lambda one: rows.append(ItemRow(job, no, one.n, one.ok, one.body, nano(one.cost_usd))))
    await LedgerNotes(database, job, no).write(rows)


async def _cancel(database: Database, job: str, no: int | None, vendor: VendorBatches) -> None:
    """Those that are under way; of the ones whose submission was not noted nothing is known that could be ended."""
    for chunk, batch in await database.run(partial(noted, job=job, no=no, states=("open",)), JOBS):
        if batch.id:
            with suppress(BadRequest):  # over already
                await vendor.cancel(batch)
        await database.run(partial(_close, job=job, no=chunk, batch=batch, of="open", state=ENDING if batch.id else "closed"), JOBS)


def _close(sql: Sql, job: str, no: int, batch: SubmittedBatch, of: str = ENDING, state: str = "closed") -> bool:
    """Whether it is us who give the batch another state."""
    attempt = int(batch.name.rpartition("-")[2])
    statement = "UPDATE sf_batch SET state = ? WHERE job = ? AND no = ? AND attempt = ? AND state = ?"
    return sql.change(statement, (state, job, no, attempt, of)) > 0
