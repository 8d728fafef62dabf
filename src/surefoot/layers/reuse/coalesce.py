"""Identical calls in flight share one answer: one is asked, the others listen.

The shared call is a task of its own, not the first caller's: it goes on when the first caller leaves, lasts as long as anybody waits, and
takes the latest waiter's deadline. A caller that leaves does not affect the others; when the last one leaves, the task is cancelled. A
stream is read once, as fast as the provider sends, and every caller gets a stream of his own with every delta from the first, also one who
joins in its middle.

Only what is repeatable is shared: embeddings, temperature 0, and (`cached`) an unset temperature where a cache would serve both callers
the same answer anyhow. Two people who ask for a poem at temperature 1 want two poems. Tenants never share, nor do the two priorities:
a person must not wait for a batch job's place in the queue.

Behind a cache a finished answer stays joinable for LINGER_S seconds: a call that missed the cache just before the answer was stored, and
comes just after the shared call has finished, would otherwise ask the provider again.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable
from typing import Any

from surefoot.cache.keys import digest
from surefoot.core.stack import Handler
from surefoot.core.stream import Stream, open_stream
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.events import Coalesced, emit
from surefoot.runtime.timers import TimerQueue, TimerQueues
from surefoot.types import Call, ChatReply, ChatRequest, Delta
from surefoot.types.calls import loop_of

LINGER_S = 1.0  # a look into a store of bytes takes a millisecond, on a machine that is busy a good part of a second
WHOLE = ("stop", "tool_calls")  # what a cache would keep; a cut or refused answer serves only those who waited for it


class Coalesce:
    """Single flight: `Coalesce()`; `always=True` shares sampled answers too, `cached=True` those of unset temperature.

    Followers pay nothing: their replies have no attempts and cost nothing.
    """

    def __init__(self, *, always: bool = False, cached: bool = False) -> None:
        self.always = always
        self.cached = cached
        self._shared_calls: dict[str, SharedCall] = {}  # by digest, priority, whether a stream, tenant
        self._timers = TimerQueues()

    def idle(self) -> bool:
        """True if nothing is in flight."""
        return all(shared.is_finished for shared in self._shared_calls.values())

    def describe(self) -> str:
        """One line for `describe()`."""
        if self.always:
            return "coalesce: every identical call in flight"
        return f"coalesce: identical calls in flight, temperature 0{' or unset' if self.cached else ''}"

    def __call__(self, call: Call[Any], inner: Handler) -> Awaitable[Any]:
        """Ask, or join who is asking."""
        if not self._may_share(call):
            return inner(call)
        state = call.state
        if not state.digest:
            state.digest = digest(call.request)
        key = (
            f"{state.digest} {call.priority} {call.stream} {call.tenant}"  # one text: it is kept for a while, and a tuple is looked through
        )
        loop = loop_of(call)
        shared = self._shared_calls.get(key)
        is_first = shared is None or shared.loop is not loop  # a shared call of a closed loop never finishes
        if shared is None or is_first:
            shared = self._shared_calls[key] = SharedCall(self._shared_calls, key, loop, self._timers if self.cached else None)
            shared.start(inner, call)
        else:
            emit(call, Coalesced, key=state.digest)
        return shared.join(call, is_first=is_first)

    def _may_share(self, call: Call[Any]) -> bool:
        if self.always or not isinstance(call.request, ChatRequest):
            return True
        temperature = call.request.temperature
        return temperature == 0 or (temperature is None and self.cached)


class SharedCall:
    """One running call and its waiters; afterwards, for a moment, only its answer."""

    __slots__ = (
        "_answer",
        "_call",
        "_error",
        "_key",
        "_shared_calls",
        "_task",
        "_timers",
        "_waiters",
        "_waiting",
        "delay_s",
        "expires_at",
        "is_finished",
        "is_over",
        "loop",
    )  # fmt: skip

    def __init__(self, shared_calls: dict[str, SharedCall], key: str, loop: asyncio.AbstractEventLoop, timers: TimerQueues | None) -> None:
        self.loop = loop
        self.expires_at = 0.0
        self.delay_s = LINGER_S
        self.is_finished = False
        self.is_over = False  # nobody can join
        self._timers = timers  # in which it lingers
        self._shared_calls = shared_calls
        self._key = key
        self._call: Call[Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiters = 0
        self._waiting: list[asyncio.Future[None]] | None = None
        self._answer: Any = None
        self._error: BaseException | None = None

    def start(self, inner: Handler, call: Call[Any]) -> None:
        """Call, in a task of its own, with the first caller's state."""
        self._call = call
        self._task = self.loop.create_task(self._run(inner, call))

    async def join(self, call: Call[Any], *, is_first: bool) -> Any:
        """Wait for the answer; a stream is given as one of the caller's own."""
        self._waiters += 1
        if not is_first:
            self._extend(call)
        try:
            while self._answer is None and self._error is None:
                await self.progress()
        except BaseException:
            self.leave()
            raise
        if self._answer is None:
            self.leave()
            raise self.failure(is_first=is_first)
        if isinstance(self._answer, Stream):
            return await open_stream(SharedView(self, is_first=is_first), target=self._answer.target)
        self.leave()
        return self._answer

    def progress(self) -> asyncio.Future[None]:
        """What to await until the answer, the next delta or the end has come."""
        future = self.loop.create_future()
        if self._waiting is None:
            self._waiting = [future]
        else:
            self._waiting.append(future)
        return future

    def leave(self) -> None:
        """One waiter fewer; the last one cancels the call."""
        self._waiters -= 1
        if self._waiters == 0 and self._task is not None:
            self.fire()
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
        theirs, state = math.inf if call.deadline is None else call.deadline, self._call.state
        if theirs > (self._call.deadline if state.deadline_at is None else state.deadline_at):
            state.deadline_at = theirs

    async def _run(self, inner: Handler, call: Call[Any]) -> None:
        """Ask; read a stream to its end, telling everybody of each delta."""
        try:
            answer = self._answer = await inner(call)
            if isinstance(answer, Stream):
                self._notify()
                await self._read(answer)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            self._error = error
            raise
        except BaseException as error:  # noqa: BLE001 - raised to the waiters
            self._error = error
        finally:
            self._finish()

    async def _read(self, stream: Stream) -> None:
        try:
            async for _ in stream:
                self._notify()
        finally:
            await stream.aclose()

    def _notify(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, None
            for future in waiting:
                if not future.done():
                    future.set_result(None)

    def _finish(self) -> None:
        """Over: by answer, end, failure, or because nobody is left. Of the call nothing is held any more."""
        self.is_finished = True
        self._task = self._call = None
        if self._timers is not None and not self.is_over and self._error is None and _is_whole(self._answer):
            self.expires_at = self.loop.time() + LINGER_S
            self._timers.put(self, self.loop)
        else:
            self.fire()
        self._notify()

    # While it lingers: see `surefoot.timers`

    def fire(self) -> None:
        """Let nobody join any more."""
        self.is_over = True
        if self._shared_calls.get(self._key) is self:
            del self._shared_calls[self._key]

    def enqueue(self, queue: TimerQueue) -> None:
        """It is never over before its moment."""

    def own_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        """With a timer of its own."""
        loop.call_at(self.expires_at, self.fire)


def _is_whole(answer: Any) -> bool:
    """True if `answer` is one that a cache would keep."""
    if isinstance(answer, Stream):
        if answer.outcome is None or not answer.outcome.complete or answer.is_resumed:
            return False
        answer = answer.so_far()
    if not isinstance(answer, ChatReply) or answer.finish_reason not in WHOLE:
        return False
    return not answer.invalid_tool_calls if answer.tool_calls else bool(answer.text.strip())


class SharedView:
    """One caller's view of a shared stream: every delta from the first."""

    __slots__ = ("_at", "_is_first", "_is_taken", "_shared")

    def __init__(self, shared: SharedCall, *, is_first: bool) -> None:
        self._shared = shared
        self._is_first = is_first
        self._at = 0
        self._is_taken = True

    async def __anext__(self) -> Delta:
        """The next delta; the stream's own error or end after the last."""
        shared = self._shared
        while self._at >= len(shared.deltas):
            if shared.is_finished:
                self._leave()
                if shared.has_failed:
                    raise shared.failure(is_first=self._is_first)
                raise StopAsyncIteration
            await shared.progress()
        self._at += 1
        return shared.deltas[self._at - 1]

    async def aclose(self) -> None:
        """Stop waiting; the last waiter closes the provider's stream."""
        self._leave()

    def _leave(self) -> None:
        if self._is_taken:
            self._is_taken = False
            self._shared.leave()
