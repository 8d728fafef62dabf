"""Identical calls in flight share one answer: one is asked, the others listen.

The flight is a task of its own, not the first caller's: so it outlives him, lasts as long as anybody waits, and takes the latest
waiter's deadline. Nobody's leaving hurts the others; when the last one leaves, it is cancelled. A stream is read once, as fast as the
provider sends, and every caller gets a stream of his own with every delta from the first, also one who joins in its middle.

Only what is repeatable is shared: embeddings, temperature 0, and (`cached`) an unset temperature where a cache would serve both callers
the same answer anyhow. Two people who ask for a poem at temperature 1 want two poems. Tenants never share, nor do the two priorities:
a person must not wait for a batch job's place in the queue.

Where a cache stands outside, a whole answer stays on board for LINGER_S more: who looked into the cache just before the answer was kept,
and asks just after the flight has landed, would else ask the provider again.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable
from typing import Any, TypeAlias

from surefoot.digest import digest
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.events import Coalesced, tell
from surefoot.lines import Line, Lines
from surefoot.settle import Stream, prime
from surefoot.stack import Handler
from surefoot.types import Call, ChatReply, ChatRequest, Delta

LINGER_S = 1.0  # a look into a store of bytes takes a millisecond, on a machine that is busy a good part of a second
Key: TypeAlias = tuple[str, str, str, bool]  # digest, tenant, priority, whether a stream
WHOLE = ("stop", "tool_calls")  # what a cache would keep; a cut or refused answer serves only those who waited for it


class Coalesce:
    """Single flight: `Coalesce()`; `always=True` shares sampled answers too, `cached=True` those of unset temperature.

    Followers pay nothing: their replies have no attempts and cost nothing.
    """

    def __init__(self, *, always: bool = False, cached: bool = False) -> None:
        self.always = always
        self.cached = cached
        self._flights: dict[Key, _Flight] = {}
        self._lines = Lines()

    def idle(self) -> bool:
        """True if nothing is in flight."""
        return all(flight.has_landed for flight in self._flights.values())

    def describe(self) -> str:
        """One line for `describe()`."""
        if self.always:
            return "coalesce: every identical call in flight"
        return f"coalesce: identical calls in flight, temperature 0{' or unset' if self.cached else ''}"

    def __call__(self, call: Call[Any], inner: Handler) -> Awaitable[Any]:
        """Ask, or join who is asking."""
        if not self._may_share(call):
            return inner(call)
        tally = call.tally
        if not tally.digest:
            tally.digest = digest(call.request)
        key = (tally.digest, call.tenant, call.priority, call.stream)
        loop = asyncio.get_running_loop()
        flight = self._flights.get(key)
        is_first = flight is None or flight.loop is not loop  # a flight of a loop that has died lands nowhere
        if flight is None or is_first:
            flight = self._flights[key] = _Flight(self._flights, key, loop, self._lines if self.cached else None)
            flight.depart(inner, call)
        else:
            tell(call, Coalesced, key=tally.digest)
        return flight.board(call, is_first=is_first)

    def _may_share(self, call: Call[Any]) -> bool:
        if self.always or not isinstance(call.request, ChatRequest):
            return True
        temperature = call.request.temperature
        return temperature == 0 or (temperature is None and self.cached)


class _Flight:
    """One call under way for everybody on board; then, for a moment, its answer alone."""

    __slots__ = (
        "_aboard", "_answer", "_call", "_error", "_flights", "_key", "_lines", "_task", "_waiting",
        "has_landed", "is_over", "loop", "moment", "seconds",
    )  # fmt: skip

    def __init__(self, flights: dict[Key, _Flight], key: Key, loop: asyncio.AbstractEventLoop, lines: Lines | None) -> None:
        self.loop = loop
        self.moment = 0.0
        self.seconds = LINGER_S
        self.has_landed = False
        self.is_over = False  # nobody can get on
        self._lines = lines  # in which it lingers
        self._flights = flights
        self._key = key
        self._call: Call[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._aboard = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._answer: Any = None
        self._error: BaseException | None = None

    def depart(self, inner: Handler, call: Call[Any]) -> None:
        """Ask, in a task of its own; the first caller's tally keeps the books."""
        self._call = call
        self._task = self.loop.create_task(self._fly(inner, call))

    async def board(self, call: Call[Any], *, is_first: bool) -> Any:
        """Wait for the answer; a stream is given as one of the caller's own."""
        self._aboard += 1
        if not is_first:
            self._extend(call)
        try:
            while self._answer is None and self._error is None:
                await self.news()
        except BaseException:
            self.leave()
            raise
        if self._answer is None:
            self.leave()
            raise self.failure(is_first=is_first)
        if isinstance(self._answer, Stream):
            return await prime(_Seat(self, is_first=is_first), target=self._answer.target)
        self.leave()
        return self._answer

    def news(self) -> asyncio.Future[None]:
        """What to await until the answer, the next delta or the end has come."""
        future = self.loop.create_future()
        self._waiting.append(future)
        return future

    def leave(self) -> None:
        """One caller fewer; the last one out ends the flight."""
        self._aboard -= 1
        if self._aboard == 0 and self._task is not None:
            self.come()
            self._task.cancel()

    def failure(self, *, is_first: bool) -> BaseException:
        """The error, to raise: the first caller's own, a copy for each other one, else their tracebacks mix."""
        error = self._error
        if isinstance(error, asyncio.CancelledError) or error is None:
            return ConnectionLost("the shared call was cancelled by something other than its callers; it may be asked again")
        if is_first or not isinstance(error, SurefootError):
            return error
        twin = copy.copy(error)
        twin.__cause__ = error.__cause__
        return twin

    @property
    def deltas(self) -> list[Delta]:
        """What has arrived of the stream."""
        return self._answer.deltas  # type: ignore[no-any-return]

    @property
    def has_failed(self) -> bool:
        """The stream broke."""
        return self._error is not None

    def _extend(self, call: Call[Any]) -> None:
        """The latest waiter's deadline holds for everybody inside: see `cutoff.deadline_of`."""
        if self._call is None or self._call.deadline is None:
            return
        theirs, memo = math.inf if call.deadline is None else call.deadline, self._call.tally.memo
        if theirs > memo.get("deadline", self._call.deadline):
            memo["deadline"] = theirs

    async def _fly(self, inner: Handler, call: Call[Any]) -> None:
        """Ask; read a stream to its end, telling everybody of each delta."""
        try:
            answer = self._answer = await inner(call)
            if isinstance(answer, Stream):
                self._tell()
                await self._read(answer)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            self._error = error
            raise
        except BaseException as error:  # noqa: BLE001 - raised to those on board
            self._error = error
        finally:
            self._land()

    async def _read(self, stream: Stream) -> None:
        try:
            async for _ in stream:
                self._tell()
        finally:
            await stream.aclose()

    def _tell(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _land(self) -> None:
        """Over: by answer, end, failure, or because nobody is left. Of the call nothing is held any more."""
        self.has_landed = True
        self._task = self._call = None
        if self._lines is not None and not self.is_over and self._error is None and _is_whole(self._answer):
            self.moment = self.loop.time() + LINGER_S
            self._lines.put(self, self.loop)
        else:
            self.come()
        self._tell()

    # While it lingers: see `surefoot.lines`

    def come(self) -> None:
        """Take no more passengers."""
        self.is_over = True
        if self._flights.get(self._key) is self:
            del self._flights[self._key]

    def stand(self, line: Line) -> None:
        """It is never over before its moment."""

    def alone(self, loop: asyncio.AbstractEventLoop) -> None:
        """With a timer of its own."""
        loop.call_at(self.moment, self.come)


def _is_whole(answer: Any) -> bool:
    """True if `answer` is one that a cache would keep."""
    if isinstance(answer, Stream):
        if answer.outcome is None or not answer.outcome.complete or any(delta.marker for delta in answer.deltas):
            return False
        answer = answer.so_far()
    if not isinstance(answer, ChatReply) or answer.finish_reason not in WHOLE or answer.invalid_tool_calls:
        return False
    return bool(answer.tool_calls or answer.text.strip())


class _Seat:
    """One caller's view of a shared stream: every delta from the first."""

    __slots__ = ("_at", "_flight", "_is_first", "_is_taken")

    def __init__(self, flight: _Flight, *, is_first: bool) -> None:
        self._flight = flight
        self._is_first = is_first
        self._at = 0
        self._is_taken = True

    async def __anext__(self) -> Delta:
        """The next delta; the stream's own error or end after the last."""
        flight = self._flight
        while self._at >= len(flight.deltas):
            if flight.has_landed:
                self._leave()
                if flight.has_failed:
                    raise flight.failure(is_first=self._is_first)
                raise StopAsyncIteration
            await flight.news()
        self._at += 1
        return flight.deltas[self._at - 1]

    async def aclose(self) -> None:
        """Get out; the last one out closes the provider's stream."""
        self._leave()

    def _leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._flight.leave()
