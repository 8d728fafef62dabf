"""Calls that belong together, handed over as a vendor's batch and answered when it has ended.

A batch is noted before it is submitted, with a name of its own, and its vendor's id afterwards. Whoever finds a note without an id (the
process died in between, or the connection did) looks at the vendor's for a batch of that name first, so nothing is submitted twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from surefoot._documented import Documented
from surefoot.errors import BadRequest, Misconfigured, Transient
from surefoot.providers.http.body import NO_EXTRA, Extra
from surefoot.secret import Secret

T = TypeVar("T")

QUIET_S = 5.0  # with no further call for so long the batch is handed over: who has not arrived waits for something else (a budget, a cache)
LOOKS_S = (2.0, 60.0)  # between two looks at a batch: at first, and at most
AGAIN_S = 1.0  # before asking again what could not be answered; doubles up to LOOKS_S[1]
GONE = {"error": {"code": "batch_expired", "type": "batch_expired", "message": "the batch ended without an answer to this request"}}

ITEM: ContextVar[str] = ContextVar("surefoot_batch_item")  # which item the call under way is for

_log = logging.getLogger(__name__)


class SubmittedBatch(Struct, Documented, frozen=True, kw_only=True):
    """A batch as it was noted."""

    name: str
    """Ours, unlike any other's: letters, digits and hyphens."""
    items: tuple[str, ...]
    """Its items."""
    begun_at: float
    """When it was about to be submitted, in seconds since 1970."""
    id: str = ""
    """The vendor's name for it; empty: it is not known whether it was submitted."""

    def custom_id(self, item: str) -> str:
        """An item's name at the vendor's: at most 64 characters, unlike that of any other batch's item."""
        return f"{self.name}-{item}"

    def item_of(self, custom_id: str) -> str:
        """The item of that name; empty if it is none of ours."""
        return custom_id.removeprefix(f"{self.name}-") if custom_id.startswith(f"{self.name}-") else ""


class BatchLook(Struct, Documented, frozen=True, kw_only=True):
    """What a look at a batch says."""

    is_over: bool
    """Nothing more will come of it."""
    refused: str = ""
    """Why the vendor would not begin it; empty: it did."""
    said: Any = None
    """What the vendor said of it."""


class BatchNotes(Protocol):
    """Where batches are noted, so that another process finds them."""

    async def submitted(self) -> Sequence[SubmittedBatch]:
        """Those noted so far whose answers may still be needed, oldest first."""

    async def begin(self, items: Sequence[str]) -> SubmittedBatch:
        """Note that these items are about to be submitted, under a new name."""

    async def note(self, batch: SubmittedBatch) -> None:
        """Note the vendor's id."""

    async def taken(self) -> Collection[str]:
        """The vendors' ids of all batches that are noted lately."""

    async def close(self, batch: SubmittedBatch, state: Literal["collected", "refused"]) -> None:
        """It has ended."""


class VendorBatches(Protocol):
    """One vendor's batch API. Every method sends once and raises a Fault."""

    target: str
    most: tuple[int, int]
    """Items and bytes that one batch may have."""

    def group(self, path: str, body: bytes) -> str:
        """Requests of one group may go into one batch."""

    async def submit(self, batch: SubmittedBatch, requests: Mapping[str, tuple[str, bytes]]) -> str:
        """Hand a batch over, each item with the path and the body of its request; the vendor's id."""

    async def find(self, batch: SubmittedBatch, taken: Collection[str]) -> str:
        """The id of a batch that was submitted by that name; empty if none was. Those that are `taken` are others."""

    async def look(self, batch: SubmittedBatch) -> BatchLook:
        """How far it is."""

    def results(self, batch: SubmittedBatch, seen: BatchLook) -> AsyncIterator[tuple[str, int, bytes]]:
        """Of a batch that is over: item, status and body, as if it had been asked alone."""

    async def cancel(self, batch: SubmittedBatch) -> None:
        """End it; what is over stays as it is."""

    async def aclose(self) -> None:
        """Let go of connections."""


class BatchAnswer:
    """An item's answer, read already."""

    __slots__ = ("_body", "headers", "status")

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body
        self.headers: dict[str, str] = {"content-type": "application/json"}

    async def read(self) -> bytes:
        """The whole body."""
        return self._body

    async def block(self) -> bytes:
        """The body, then nothing."""
        body, self._body = self._body, b""
        return body

    async def aclose(self) -> None:
        """There is nothing to give back."""


class BatchLane:
    """Stands in a provider's exchange for `count` calls: `post` waits for the batch; `run` hands it over and collects it."""

    def __init__(self, notes: BatchNotes, *, count: int) -> None:
        self.vendor: VendorBatches | None = None  # known once the provider is built, which is before anything arrives
        self._notes = notes
        self._under_way = count
        self._waiting: dict[str, tuple[str, bytes, asyncio.Future[BatchAnswer]]] = {}
        self._changed = asyncio.Event()

    @property
    def _vendor(self) -> VendorBatches:
        assert self.vendor is not None
        return self.vendor

    @contextmanager
    def item(self, name: str) -> Iterator[None]:
        """Around the call for one item."""
        token = ITEM.set(name)
        try:
            yield
        finally:
            ITEM.reset(token)
            self._under_way -= 1
            self._changed.set()

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> BatchAnswer:
        """The answer to the item that is under way, once its batch has ended."""
        del key
        if extra.headers or extra.query:
            raise Misconfigured(f"{self._vendor.target}: a batch carries no headers or query of a single call; leave them out")
        answered: asyncio.Future[BatchAnswer] = asyncio.get_running_loop().create_future()
        item = ITEM.get()
        self._waiting[item] = (path, body, answered)
        self._changed.set()
        try:
            return await answered
        finally:
            self._waiting.pop(item, None)

    async def connect(self) -> None:
        """Nothing is opened beforehand."""

    async def aclose(self) -> None:
        """Let go of connections."""
        if self.vendor is not None:
            await self.vendor.aclose()

    async def run(self) -> None:
        """Collect what was submitted before, then hand over what waits, until every item has its answer.

        Raises BadRequest where the vendor would not begin a batch, or a Permanent where it takes no requests of ours at all.
        """
        for batch in await self._notes.submitted():
            await self._arrived()
            if self._waiting.keys() & set(batch.items):
                await self._finish(batch)
        while True:
            await self._arrived()
            if self._waiting:
                await self._finish(await self._notes.begin(self._next()), is_new=True)
            elif self._under_way <= 0:
                return

    async def _arrived(self) -> None:
        """Wait until every call that is under way waits here, or no further one comes."""
        while len(self._waiting) < self._under_way:
            self._changed.clear()
            try:
                async with asyncio.timeout(QUIET_S if self._waiting else None):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _next(self) -> tuple[str, ...]:
        """As many of the items that wait as may go into one batch."""
        items: list[str] = []
        size, group = 0, None
        for item, (path, body, _) in self._waiting.items():
            own = self._vendor.group(path, body)
            group = own if group is None else group
            if own == group and len(items) < self._vendor.most[0] and (not items or size + len(body) <= self._vendor.most[1]):
                items.append(item)
                size += len(body) + 256  # what stands around it
        return tuple(items)

    async def _finish(self, batch: SubmittedBatch, *, is_new: bool = False) -> None:
        """Submit it unless that was done, wait for its end, and answer its items."""
        if not batch.id:
            batch = replace(batch, id=await self._submitted(batch, is_new=is_new))
            await self._notes.note(batch)
        wait_s, most_s = LOOKS_S
        while not (seen := await patiently(lambda: self._vendor.look(batch))).is_over:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, most_s)
        if seen.refused:
            await self._notes.close(batch, "refused")
            raise BadRequest(f"{self._vendor.target}: the batch was refused: {seen.refused}", target=self._vendor.target)
        await patiently(lambda: self._collect(batch, seen))
        await self._notes.close(batch, "collected")

    async def _submitted(self, batch: SubmittedBatch, *, is_new: bool) -> str:
        """The vendor's id: of the batch that is there already, unless it was noted just now, else of one submitted now."""
        wait_s, is_there = AGAIN_S, not is_new
        while True:
            if is_there:
                taken = await self._notes.taken()
                if found := await patiently(lambda: self._vendor.find(batch, taken)):  # noqa: B023 - awaited at once
                    return found
            is_there = True
            requests = {item: self._waiting[item][:2] for item in batch.items if item in self._waiting}
            try:
                return await self._vendor.submit(batch, requests)
            except Transient as error:  # it may have arrived all the same
                _log.info("a batch could not be submitted, and is looked for before it is tried again: %s", error)
                await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
                wait_s = min(2 * wait_s, LOOKS_S[1])

    async def _collect(self, batch: SubmittedBatch, seen: BatchLook) -> None:
        async for item, status, body in self._vendor.results(batch, seen):
            self._answer(item, status, body)
        gone = msgspec.json.encode(GONE)
        for item in batch.items:
            self._answer(item, 503, gone)

    def _answer(self, item: str, status: int, body: bytes) -> None:
        waiting = self._waiting.pop(item, None)
        if waiting is not None and not waiting[2].done():
            waiting[2].set_result(BatchAnswer(status, body))


class AnsweredLane(BatchLane):
    """Stands in a provider's exchange for calls whose answers are there already: nothing is waited for, nothing submitted."""

    def __init__(self, notes: BatchNotes) -> None:
        super().__init__(notes, count=0)
        self._answers: dict[str, tuple[int, bytes]] = {}

    async def read(self, batch: SubmittedBatch) -> set[str] | None:
        """The items that the vendor had answered well by the time the batch ended; None while it has not. Raises a Fault."""
        seen = await self._vendor.look(batch)
        if not seen.is_over:
            return None
        found = {} if seen.refused else {item: (status, body) async for item, status, body in self._vendor.results(batch, seen)}
        self._answers = {item: answer for item, answer in found.items() if answer[0] == HTTPStatus.OK}
        return set(self._answers)

    async def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> BatchAnswer:
        """The answer to the item that is under way."""
        del path, body, key, extra
        return BatchAnswer(*self._answers[ITEM.get()])


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives, asked again for as long as its failure may pass by itself."""
    wait_s = AGAIN_S
    while True:
        try:
            return await ask()
        except Transient as error:
            _log.info("a batch could not be looked at, which is tried again: %s", error)
            await asyncio.sleep(max(wait_s, error.retry_after_s or 0.0))
            wait_s = min(2 * wait_s, LOOKS_S[1])
