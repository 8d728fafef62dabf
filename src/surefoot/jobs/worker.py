"""Works on jobs in this process: takes chunks, does them, says that it is alive, and gives back what it does not finish."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from surefoot.errors import Misconfigured
from surefoot.jobs import claims
from surefoot.jobs.batches import cancel_batches
from surefoot.jobs.chunk import ResultWriter, Runners, do_chunk
from surefoot.jobs.delivery import Delivery
from surefoot.jobs.ledger import JOBS, to_forget
from surefoot.jobs.models import ModelSource
from surefoot.jobs.records import WorkDone
from surefoot.storage.sql import Database, DatabaseAway

BEAT_S = 1.0  # between two signs of life; also how soon a worker hears that its job was cancelled
DEAD_S = 30.0  # a worker that gave none for so long is taken for dead, and its chunks are taken by others
GRACE_S = 0.5  # what calls under way get to end by themselves when a worker is told to stop; with the rest it makes less than a second
POLL_S = (0.05, 0.5)  # between two looks for work: at first, and at most
AWAY_S = 0.5  # before looking again for a database that is away
SWEEP_S = 60.0  # between two looks for jobs whose time to be kept is over
MOST_WAITING = 64  # batches of vendors that a worker waits for beside its work; each keeps its items in memory
RATE_SHARE = 0.3  # of the newest second in the pace that is shown

_log = logging.getLogger(__name__)


class Holder:
    """The chunks that this process holds under one name, the tasks that do them, and the heartbeat that keeps them."""

    def __init__(self, database: Database, models: ModelSource, *, dead_s: float = DEAD_S) -> None:
        self.name = secrets.token_hex(8)
        self.writer = ResultWriter(database)
        self.chunks = 0
        self.dead_s = dead_s
        self._database = database
        self._runners = Runners(database, models)
        self._tasks: dict[asyncio.Task[bool], tuple[str, int]] = {}
        self._waits: dict[asyncio.Task[bool], asyncio.Future[None]] = {}  # done once a chunk only waits for somebody else
        self._beats: asyncio.Task[None] | None = None
        self._rates: dict[str, float] = {}
        self._lost_s = 0.0

    def __len__(self) -> int:
        """Chunks being done."""
        return len(self._tasks)

    @property
    def busy(self) -> int:
        """The same without those that only wait for somebody else, as far as they are not too many."""
        waiting = sum(waits.done() for waits in self._waits.values())
        return len(self._tasks) - min(waiting, MOST_WAITING)

    def start(self, job: str, no: int) -> asyncio.Task[bool]:
        """Do a chunk that was taken under our name, in a task of its own.

        The same task where it is being done already: it was handed out twice (once more when its job was resumed), or our own lease of it
        had run out while this machine stood still. No item is asked twice.
        """
        for task, chunk in self._tasks.items():
            if chunk == (job, no):
                return task
        loop = asyncio.get_running_loop()
        waits: asyncio.Future[None] = loop.create_future()
        told = partial(_once, waits)
        task = loop.create_task(do_chunk(self._database, self._runners, self.writer, self.name, job, no, told))
        self._tasks[task] = (job, no)
        self._waits[task] = waits
        task.add_done_callback(self._ended)
        if self._beats is None:
            self._beats = asyncio.get_running_loop().create_task(self._beat_on())
        return task

    async def until_waiting(self, task: asyncio.Task[bool]) -> None:
        """Wait until it is done, or only waits for somebody else; then it goes on by itself. Cancelled, it is cancelled, too."""
        try:
            ends: set[asyncio.Future[Any]] = {task, self._waits[task]} if task in self._waits else {task}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        if task.done():
            await task

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._tasks.pop(task, None)
        self._waits.pop(task).cancel()
        if not task.cancelled() and task.exception() is None and task.result():
            self.chunks += 1

    async def wait(self, timeout_s: float) -> Iterable[asyncio.Task[bool]]:
        """The tasks that ended, as soon as one does."""
        done, _ = await asyncio.wait(self._tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        return done

    async def close(self, grace_s: float) -> None:
        """Let what is under way end for `grace_s`, end the rest, write what there is, give everything back."""
        tasks = set(self._tasks)
        if tasks and grace_s > 0:
            await asyncio.wait(tasks, timeout=grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.writer.flush()
        await self._runners.aclose()
        if self._beats is not None:
            self._beats.cancel()
            self._beats = None
        try:
            await self._database.run(partial(claims.leave, worker=self.name), JOBS)
        except DatabaseAway:
            return  # our leases run out

    async def _beat_on(self) -> None:
        """Say that we are alive; end what we do not hold any more: cancelled, paused, or taken over while we stood still."""
        loop = asyncio.get_running_loop()
        every_s = min(BEAT_S, self.dead_s / 4)
        before_s, counts = loop.time(), dict(self.writer.counts)
        while True:
            await asyncio.sleep(every_s)
            now_s, jobs = loop.time(), {job for job, _ in self._tasks.values()}
            for job in jobs:
                lately = (self.writer.counts[job] - counts.get(job, 0)) / (now_s - before_s)
                self._rates[job] = lately if job not in self._rates else RATE_SHARE * lately + (1 - RATE_SHARE) * self._rates[job]
            before_s, counts = now_s, dict(self.writer.counts)
            self._rates = {job: rate for job, rate in self._rates.items() if job in jobs}
            mine = dict(self._tasks)
            try:
                held = await self._database.run(partial(claims.beat, worker=self.name, lease_s=self.dead_s, rates=self._rates), JOBS)
            except DatabaseAway as error:
                _log.info("a heartbeat could not be written: %s", error)
                continue
            for task, chunk in mine.items():
                if chunk not in held and not task.done():
                    task.cancel()


def _once(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class JobWorker:
    """Takes chunks of open jobs, most urgent first, `chunks_at_once` at a time, until nothing is left or (`forever`) it is cancelled."""

    def __init__(
        self,
        database: Database,
        models: ModelSource,
        *,
        chunks_at_once: int = 2,
        forever: bool = False,
        dead_s: float = DEAD_S,
        grace_s: float = GRACE_S,
        only: str | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        if chunks_at_once < 1 or not dead_s > 0 or not grace_s >= 0:
            raise Misconfigured(
                f"work: chunks_at_once = {chunks_at_once} starts at 1, dead_s = {dead_s:g} must be above 0, grace_s = {grace_s:g} not below"
            )
        self._database = database
        self._chunks_at_once = chunks_at_once
        self._forever = forever
        self._only = only
        self._delivery = delivery if only is None else None  # the engine hands out everybody's chunks, not one job's
        self._grace_s = grace_s
        self._models = models
        self._holder = Holder(database, models, dead_s=dead_s)
        self._unable: dict[str, Misconfigured] = {}  # jobs that this process cannot do, and why
        self._swept_s = float("-inf")

    async def run(self) -> WorkDone:
        """Work. Cancelled, it lets calls under way end for `grace_s`, gives everything back and is cancelled.

        Raises Misconfigured, once nothing else is left, for jobs this process cannot do (a model or a kind it does not know).
        """
        try:
            with suppress(DatabaseAway):  # a later look does it
                await cancel_batches(self._database, self._models)
            await (self._work() if self._delivery is None else self._serve(self._delivery))
        finally:
            await asyncio.shield(self._holder.close(self._grace_s))
        if self._unable:
            raise next(iter(self._unable.values()))
        writer = self._holder.writer
        return WorkDone(chunks=self._holder.chunks, done=writer.done, failed=writer.failed)

    async def _work(self) -> None:
        poll_s = POLL_S[0]
        while True:
            try:
                is_found = self._holder.busy < self._chunks_at_once and await self._take()
                if not is_found and not len(self._holder) and not self._forever and not await self._is_work_left():
                    return
            except DatabaseAway as error:
                _log.warning("no chunk can be taken: %s", error)
                is_found, poll_s = False, AWAY_S
            if is_found:
                poll_s = POLL_S[0]
                continue
            if len(self._holder):
                self._heed(await self._holder.wait(POLL_S[1]))
                poll_s = POLL_S[0]
            else:
                await self._sweep()
                await asyncio.sleep(poll_s)
                poll_s = min(2 * poll_s, POLL_S[1])

    async def _serve(self, delivery: Delivery) -> None:
        """Have chunks handed out by the engine, until nothing is left."""
        said = {"chunks_at_once": self._chunks_at_once, "dead_s": self._holder.dead_s, "grace_s": self._grace_s}
        serving: asyncio.Task[None] | None = None
        poll_s = POLL_S[0]
        try:
            while True:
                if serving is None or serving.done():
                    if serving is not None:
                        _log.warning("the delivery of chunks ended (%s) and is begun again", serving.exception())
                        await asyncio.sleep(AWAY_S)
                    serving = asyncio.create_task(delivery.serve(self._handed, **said))  # type: ignore[arg-type]  # by name
                await asyncio.wait({serving}, timeout=poll_s)
                poll_s = min(2 * poll_s, POLL_S[1])
                with suppress(DatabaseAway):
                    if not len(self._holder) and not self._forever and not await self._is_work_left():
                        return
                    if not len(self._holder):
                        await self._sweep()
        finally:
            if serving is not None:
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)

    async def _handed(self, job: str, no: int) -> None:
        """A chunk from the engine: take it in the ledger, do it. Who has it and lives does it; a job that is not open needs nobody."""
        if job in self._unable:
            raise self._unable[job]  # the engine hands it out again, perhaps to somebody who can
        holder, loop = self._holder, asyncio.get_running_loop()
        take = partial(claims.claim_chunk, job=job, no=no, worker=holder.name, lease_s=holder.dead_s)
        until = loop.time() + holder.dead_s + BEAT_S
        while (state := await self._database.run(take, JOBS)) == "held" and loop.time() < until:  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(min(POLL_S[1], holder.dead_s / 4))  # perhaps by one who died, whose lease runs out
        if state == "taken":
            task = holder.start(job, no)
            task.add_done_callback(partial(self._look, job))
            await holder.until_waiting(task)

    async def _take(self) -> bool:
        """Take and begin a chunk, if there is one."""
        holder, without = self._holder, tuple(self._unable)
        taking = asyncio.ensure_future(
            self._database.run(partial(claims.claim, worker=holder.name, lease_s=holder.dead_s, without=without, only=self._only), JOBS)
        )
        found = await asyncio.shield(taking)  # cancelled here, the chunk is given back with all that is ours
        if found is None:
            return False
        task = holder.start(*found)
        task.add_done_callback(partial(self._look, found[0]))
        return True

    def _look(self, job: str, task: asyncio.Task[bool]) -> None:
        """What ended badly: a job that cannot be done here is left to others."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Misconfigured):
            if job not in self._unable:
                _log.warning("job %s cannot be done in this process: %s", job, error)
            self._unable[job] = error
        elif error is not None and not isinstance(error, DatabaseAway):
            _log.error("a chunk of job %s failed and was given back", job, exc_info=error)

    def _heed(self, ended: Iterable[asyncio.Task[bool]]) -> None:
        for task in ended:
            if not task.cancelled():
                task.exception()  # looked at already

    async def _is_work_left(self) -> bool:
        return await self._database.run(partial(claims.is_work_left, without=tuple(self._unable), only=self._only), JOBS, reads=True)

    async def _sweep(self) -> None:
        """Now and then, while there is nothing to do: forget the jobs whose time to be kept is over."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._swept_s < SWEEP_S:
            return
        self._swept_s = now_s
        try:
            await cancel_batches(self._database, self._models)
            for job in await self._database.run(partial(to_forget, older_than_s=None), JOBS, reads=True):
                await forget_job(self._database, job)
        except DatabaseAway:
            return


async def forget_job(database: Database, job: str) -> None:
    """Delete a job in parts small enough that no worker waits for long. Raises DatabaseAway, Misconfigured for no such job."""
    from surefoot.jobs.ledger import drop_job, retire

    await database.run(partial(retire, job=job), JOBS)
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        if not await database.run(partial(drop_job, job=job), JOBS):
            return
        await asyncio.sleep(loop.time() - began_s)  # others get as much of the database as we


async def do_one(database: Database, models: ModelSource, job: str, no: int, *, dead_s: float) -> str:
    """Do chunk `no` of `job` here, or wait until who has it is done: "done", or the state of a job that is not open.

    Raises Misconfigured for no such job or chunk, or where this process cannot do it; DatabaseAway.
    """
    holder = Holder(database, models, dead_s=dead_s)
    try:
        while True:
            taking = asyncio.ensure_future(
                database.run(partial(claims.claim_chunk, job=job, no=no, worker=holder.name, lease_s=dead_s), JOBS)
            )
            state = await asyncio.shield(taking)
            if state == "held":
                await asyncio.sleep(min(POLL_S[1], dead_s / 4))
            elif state != "taken":
                return state
            else:
                task = holder.start(job, no)
                await asyncio.wait({task})
                if not task.cancelled() and task.exception() is not None:
                    raise task.exception()  # type: ignore[misc]  # just seen
                if task.cancelled():
                    await asyncio.sleep(POLL_S[0])
    finally:
        await asyncio.shield(holder.close(0.0))
