"""`jobs.open(url)`: what a user holds. Sync is a view of async; everything runs on the background loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec

from surefoot import runtime
from surefoot.errors import BadRequest, Misconfigured, SurefootError
from surefoot.jobs import kinds, ledger
from surefoot.jobs.batches import CHUNK as BATCH_CHUNK
from surefoot.jobs.batches import VENDOR_BATCH, cancel_batches
from surefoot.jobs.bodies import unpacked_error
from surefoot.jobs.delivery import Delivery, is_at_hand
from surefoot.jobs.ledger import JOBS
from surefoot.jobs.models import Given, ModelSource
from surefoot.jobs.records import JobStatus, WorkDone
from surefoot.jobs.submitting import chunks_of, new_job, positive, whole
from surefoot.jobs.worker import DEAD_S, GRACE_S, JobWorker, do_one, forget_job
from surefoot.models.opened import OpenedStore
from surefoot.rules.spending import nano
from surefoot.secret import Secret
from surefoot.storage.sql import Database, DatabaseAway, Sql, open_database

T = TypeVar("T")

CHUNK = 100  # items: enough that what a chunk costs is nothing to each, few enough that a killed worker has little under way
CHUNKS_AT_ONCE = 32  # written in one transaction while a job is submitted, so that workers get the database in between
PAGE = 200  # results read at once
FOLLOW_S = 0.2  # between two looks for new results, where somebody waits for them
STATES = ("filling", "open", "paused", "cancelled", "done")


class Jobs:
    """Durable batches in one store: `q = jobs.open("sqlite:.surefoot/jobs.db")`. Each method has a twin for async callers: `asubmit`, ...

    Use it from any thread and loop; `close()` it, or leave that to the end of the process. Every method raises Refused (nothing was
    changed) while the store cannot be reached, and Misconfigured for a job that is not in it.
    """

    def __init__(self, url: str | Secret, *, models: Given = None, config: str | Path | None = None) -> None:
        secret = url if isinstance(url, Secret) else Secret(url)
        self._opened: OpenedStore[Database] = OpenedStore(_database, secret.reveal())
        self._models = models if isinstance(models, ModelSource) else ModelSource(models, config)
        is_served = self._opened.store.dialect == "postgresql" and is_at_hand()
        self._delivery = Delivery(secret, self._opened.store) if is_served else None

    @property
    def _database(self) -> Database:
        self._opened.hold()  # again, after it was closed
        return self._opened.store

    def describe(self) -> str:
        """Where the jobs are, without user or password."""
        return self._opened.store.describe()

    # Submitting

    def submit(self, kind: str, inputs: Iterable[Any], **said: Any) -> str:
        """Submit a job and return its id: a line of text that names it in this store, from any process.

        `kind` says what is done with each input: "chat" asks it (text, messages, or {"prompt": ..., options}), "embed" embeds it, or one
        that was registered. `inputs` is any iterable, read once and written in parts. What else may be said:

        `model="default"`: a name (see `jobs.open`), a target, or targets in order of preference. `key`: a job of the same key is the same
        job, for ever; submitting it again returns it. `priority`: "batch", "interactive" (goes first), or a whole number (smaller first).
        `budget_usd`: the job pauses before it would spend more. `not_before`: seconds since 1970, or a datetime with a time zone.
        `ttl_days=30`: how long it is kept after its end; None for ever. `tenant`, `tags`, `deadline_s` (an item's): as those of a call.
        `how="vendor-batch"`, for "chat": by the batch API of OpenAI, Anthropic or Gemini, half the price for answers within a day.
        `chunk=100`: items a worker takes at once; of a vendor's batches 1,000, each chunk is one. All other options are the kind's: for
        "chat" those of `ChatModel.invoke`, and `system`.

        Raises BadRequest or Misconfigured, before anything is asked, naming the first item or option that could never be done.
        """
        return runtime.run(self._submit(kind, inputs, said))

    async def asubmit(self, kind: str, inputs: Iterable[Any], **said: Any) -> str:
        """`submit` for async callers."""
        return await runtime.arun(self._submit(kind, inputs, said))

    async def _submit(self, kind: str, inputs: Iterable[Any], said: dict[str, Any]) -> str:
        chunk = whole("chunk", said.pop("chunk", BATCH_CHUNK if said.get("how") == VENDOR_BATCH else CHUNK), least=1)
        new = new_job(kind, said, self._models)
        if isinstance(inputs, str | bytes | Mapping) or not isinstance(inputs, Iterable):
            raise BadRequest(f"inputs are a list, or any iterable, of items, not {type(inputs).__name__}; nothing was submitted")
        parts = chunks_of(kinds.find(kind), inputs, chunk)
        first = await runtime.in_thread(_some, parts)
        if not first:
            raise BadRequest("no inputs: nothing was submitted")
        database = self._database
        job, is_ours = await database.run(partial(ledger.begin_job, new=new), JOBS)
        if not is_ours:
            return job
        try:
            total, some = 0, first
            while some:
                await database.run(partial(ledger.add_chunks, job=job, chunks=some), JOBS)
                total = some[-1][1] + some[-1][2]
                some = await runtime.in_thread(_some, parts)
            await database.run(partial(ledger.open_job, job=job, total=total), JOBS)
        except BaseException:
            await asyncio.shield(forget_job(database, job))
            raise
        await self._deliver(job)
        return job

    async def _deliver(self, job: str) -> None:
        """Tell the engine, where there is one, of the job's chunks. If that cannot be done now, a worker's sweep does it."""
        if self._delivery is not None:
            with suppress(DatabaseAway):
                priority, not_before, chunks = await self._read(ledger.open_chunks, job=job)
                await self._delivery.deliver(job, chunks, priority=priority, not_before=not_before)

    # Looking

    def status(self, job: str) -> JobStatus:
        """How far the job is; takes milliseconds, also with a million items."""
        return runtime.run(self._status(job))

    async def astatus(self, job: str) -> JobStatus:
        """`status` for async callers."""
        return await runtime.arun(self._status(job))

    async def _status(self, job: str) -> JobStatus:
        return await self._read(ledger.status, job=job)  # type: ignore[no-any-return]

    def jobs(self, state: str | None = None, *, limit: int = 100) -> list[JobStatus]:
        """The latest jobs, newest first, at most `limit`; only those in `state`, if it is named."""
        return runtime.run(self._jobs(state, limit))

    async def ajobs(self, state: str | None = None, *, limit: int = 100) -> list[JobStatus]:
        """`jobs` for async callers."""
        return await runtime.arun(self._jobs(state, limit))

    async def _jobs(self, state: str | None, limit: int) -> list[JobStatus]:
        if state is not None and state not in STATES:
            raise Misconfigured(f"state = {state!r}: known are {', '.join(STATES)}")
        return await self._read(ledger.statuses, state=state, limit=whole("limit", limit, least=1))  # type: ignore[no-any-return]

    def results(self, job: str, *, start: int = 0, wait: bool = False) -> Iterator[tuple[int, Any]]:
        """Pairs of an item's number and what came of it, in order, as far as done; an error is a value, not raised.

        Of a chat the value is a ChatReply, of an embedding float32 [dim]. They are read in parts, so a million take no memory. `start`
        leaves out what is before that item. With `wait` it goes on until the job has ended, each item in its turn.
        """
        pages = self._pages(job, start, wait=wait)
        while True:
            page = runtime.run(_next(pages))
            if page is None:
                return
            yield from page

    async def aresults(self, job: str, *, start: int = 0, wait: bool = False) -> AsyncIterator[tuple[int, Any]]:
        """`results` for async callers."""
        pages = self._pages(job, start, wait=wait)
        while (page := await runtime.arun(_next(pages))) is not None:
            for one in page:
                yield one

    async def _pages(self, job: str, start: int, *, wait: bool) -> AsyncIterator[list[tuple[int, Any]]]:
        kind = kinds.find(await self._read(ledger.kind_of, job=job))
        while True:
            is_over = not wait or (await self._read(ledger.status, job=job)).state in {"done", "cancelled", "paused"}
            rows = await self._read(ledger.results, job=job, first=start, limit=PAGE)
            if not is_over:  # only what has nothing unfinished before it
                rows = [row for place, row in enumerate(rows, start) if row[0] == place]
            if rows:
                start = rows[-1][0] + 1
                yield [(n, _value(kind, ok, body)) for n, ok, body in rows]
            elif is_over:
                return
            else:
                await asyncio.sleep(FOLLOW_S)

    def inputs(self, job: str) -> Iterator[tuple[int, Any]]:
        """Pairs of an item's number and the item, as they were submitted (in JSON's types)."""
        for no in count():
            found = runtime.run(self._read(ledger.inputs, job=job, no=no))
            if found is None:
                return
            yield from enumerate(msgspec.json.decode(found[1]), found[0])

    async def ainputs(self, job: str) -> AsyncIterator[tuple[int, Any]]:
        """`inputs` for async callers."""
        for no in count():
            found = await runtime.arun(self._read(ledger.inputs, job=job, no=no))
            if found is None:
                return
            for pair in enumerate(msgspec.json.decode(found[1]), found[0]):
                yield pair

    def options(self, job: str) -> dict[str, Any]:
        """What the kind was told when the job was submitted, as JSON values."""
        return dict(runtime.run(self._read(ledger.options_of, job=job)))

    # Steering

    def cancel(self, job: str) -> str:
        """End the job: nothing more is asked after a second or two, what was done is kept. Returns the state it then has."""
        return runtime.run(self._change(job, "cancelled", ("filling", "open", "paused")))

    async def acancel(self, job: str) -> str:
        """`cancel` for async callers."""
        return await runtime.arun(self._change(job, "cancelled", ("filling", "open", "paused")))

    def pause(self, job: str) -> str:
        """Let the job rest: what is under way ends within a second or two, and is asked again after `resume`. Returns the state."""
        return runtime.run(self._change(job, "paused", ("open",)))

    async def apause(self, job: str) -> str:
        """`pause` for async callers."""
        return await runtime.arun(self._change(job, "paused", ("open",)))

    def resume(self, job: str, *, failed: bool = False, budget_usd: float | None = None) -> str:
        """Let a paused job go on, with another budget if one is named; `failed`: items whose result is an error are asked again, too.

        Returns the state. A cancelled job stays cancelled.
        """
        return runtime.run(self._resume(job, failed, budget_usd))

    async def aresume(self, job: str, *, failed: bool = False, budget_usd: float | None = None) -> str:
        """`resume` for async callers."""
        return await runtime.arun(self._resume(job, failed, budget_usd))

    async def _resume(self, job: str, failed: bool, budget_usd: float | None) -> str:  # noqa: FBT001
        budget = positive("budget_usd", budget_usd)

        def go(sql: Sql) -> str:
            if budget is not None:
                ledger.set_budget(sql, job, nano(budget))
            if failed:
                ledger.ask_again(sql, job)
            return ledger.change_state(sql, job, "open", of=("paused",))

        state = await self._database.run(go, JOBS)
        await self._deliver(job)
        return state

    async def _change(self, job: str, state: str, of: tuple[str, ...]) -> str:
        state = await self._database.run(partial(ledger.change_state, job=job, state=state, of=of), JOBS)
        if self._delivery is not None:
            with suppress(DatabaseAway):  # the workers' heartbeats tell them
                await self._delivery.abort(job)
        if state == "cancelled":
            with suppress(DatabaseAway):  # a worker does it
                await cancel_batches(self._database, self._models, job)
        return state

    def forget(self, job: str | None = None, *, older_than_days: float | None = None) -> int:
        """Delete one job, or those that ended so long ago, or (neither named) those that were to be kept no longer; how many.

        Inputs and results go with them, in parts, so that workers are not held up.
        """
        return runtime.run(self._forget(job, older_than_days))

    async def aforget(self, job: str | None = None, *, older_than_days: float | None = None) -> int:
        """`forget` for async callers."""
        return await runtime.arun(self._forget(job, older_than_days))

    async def _forget(self, job: str | None, older_than_days: float | None) -> int:
        if older_than_days is not None and not older_than_days >= 0:
            raise Misconfigured(f"older_than_days = {older_than_days!r} must be at least 0")
        older_than_s = None if older_than_days is None else older_than_days * 86_400.0
        every = [job] if job is not None else await self._read(ledger.to_forget, older_than_s=older_than_s)
        for one in every:
            await forget_job(self._database, one)
        return len(every)

    # Working

    async def work(
        self,
        job: str | None = None,
        *,
        chunks_at_once: int = 2,
        forever: bool = False,
        dead_s: float = DEAD_S,
        grace_s: float = GRACE_S,
    ) -> WorkDone:
        """Work on the store's jobs in this process, most urgent first, under its models' limits, until none is open (`forever`: go on).

        `job`: on this one alone. `chunks_at_once`: more than one, so that a slow item holds up nothing. `dead_s`: after so many seconds
        without a sign of life its chunks are taken by others. Cancelled, it gives calls under way `grace_s` seconds to end, and everything
        else back; what is unfinished is asked again by whoever takes it. Raises Misconfigured for jobs whose kind or model this process
        does not know, once all others are done.
        """
        said = {"chunks_at_once": chunks_at_once, "forever": forever, "dead_s": dead_s, "grace_s": grace_s}
        return await runtime.arun(self._work(job, said))

    def work_sync(self, job: str | None = None, **said: Any) -> WorkDone:
        """`work` for sync callers; Ctrl-C ends it as a cancellation does."""
        return runtime.run(self._work(job, said))

    async def _work(self, job: str | None, said: Mapping[str, Any]) -> WorkDone:
        if job is not None:
            await self._read(ledger.kind_of, job=job)
        return await JobWorker(self._database, self._models, only=job, delivery=self._delivery, **said).run()

    async def run_chunk(self, job: str, no: int, *, dead_s: float = DEAD_S) -> str:
        """Do chunk `no` of the job here, for an engine of your own; see `jobs.run_chunk`."""
        return await runtime.arun(do_one(self._database, self._models, job, no, dead_s=dead_s))

    # Closing

    async def _read(self, fn: Any, **values: Any) -> Any:
        return await self._database.run(partial(fn, **values), JOBS, reads=True)

    def close(self) -> None:
        """Let go of the store and the models that were built here; a later use opens them again."""
        runtime.run(self._close())

    async def aclose(self) -> None:
        """`close` for async callers."""
        await runtime.arun(self._close())

    async def _close(self) -> None:
        await self._models.aclose()
        if self._opened.release():
            await self._opened.store.aclose()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.aclose()


def _database(url: str) -> Database:
    return open_database(url)


async def _next(pages: AsyncIterator[T]) -> T | None:
    return await anext(pages, None)


def _value(kind: kinds.JobKind, ok: int, body: bytes) -> Any:
    if not ok:
        return unpacked_error(body)
    try:
        return kind.value(body)
    except Exception as error:  # noqa: BLE001 - a damaged row costs no other one
        return SurefootError(f"the kept result cannot be read: {error}")


def _some(chunks: Iterator[tuple[int, int, int, bytes]]) -> list[tuple[int, int, int, bytes]]:
    return [chunk for _, chunk in zip(range(CHUNKS_AT_ONCE), chunks, strict=False)]
