"""Streams, and the two events of every call: answered and finished.

A call is *answered* when its await returns: the whole value, or a Stream with its first token in hand. It has *finished* when nothing more
will come: returned, stream ended, failed, cancelled or abandoned; `stack.through` and `when_finished()` report that, exactly once.

A Stream is one object from the provider to the reader: layers do not wrap it, they `watch` it. So a chunk costs the same with one layer or
ten, and no inner `finally` is left to the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from surefoot.core.deltas import from_deltas
from surefoot.errors import AttemptTimedOut, ConnectionLost, Interrupted, SurefootError
from surefoot.types import ChatReply, Delta, Usage

if TYPE_CHECKING:
    from surefoot.types import EmbedReply

STOOD_STILL_S = 0.2  # a timer that fires so late: the process was suspended, or its loop held up
READ_FIRST_S = 0.2  # what it then gets to read what has arrived meanwhile, before a silence is judged

R = TypeVar("R")


class Outcome:
    """How a call ended, as a layer sees it when it has finished.

    `error` is None for success; a CancelledError if the caller cancelled; `abandoned` is True if a reader left a stream before its end.
    `reply` is the whole answer, collected on demand for a stream (partial unless `complete`). `cost_usd` is what it cost, None where nobody
    has priced it.
    """

    __slots__ = ("_reply", "abandoned", "cost_usd", "error", "stream")

    def __init__(
        self,
        *,
        reply: ChatReply | EmbedReply | None = None,
        error: BaseException | None = None,
        stream: Stream | None = None,
        abandoned: bool = False,
    ) -> None:
        self._reply = reply
        self.error = error
        self.stream = stream
        self.abandoned = abandoned
        self.cost_usd: float | None = None

    @property
    def complete(self) -> bool:
        """The answer is whole: nothing failed, nobody left early."""
        return self.error is None and not self.abandoned

    @property
    def cancelled(self) -> bool:
        """The caller gave up; says nothing about the provider."""
        return self.abandoned or isinstance(self.error, asyncio.CancelledError)

    @property
    def reply(self) -> ChatReply | EmbedReply | None:
        """The answer, or what there is of it; None if nothing came."""
        if self._reply is None and self.stream is not None and self.stream.deltas:
            self._reply = self.stream.so_far()
        return self._reply

    def of(self, stream: Stream | None) -> Outcome:
        """The same of `stream`, or without one."""
        copied = Outcome(error=self.error, stream=stream, abandoned=self.abandoned)
        copied.cost_usd = self.cost_usd
        return copied

    @property
    def usage(self) -> Usage | None:
        """Tokens the provider reported, or None if it never did."""
        if self.stream is not None:
            return self.stream.usage
        return None if self._reply is None else self._reply.usage


OnFinished = Callable[[Outcome], None]
AtEnd = Callable[[Delta, list[Delta], Usage | None], Delta]  # the last delta, those before it, the usage they told -> the last delta


class Source(Protocol):
    """Where a stream's deltas come from: a provider's parsed wire, or a replay."""

    async def __anext__(self) -> Delta:
        """The next delta; StopAsyncIteration at the end."""

    async def aclose(self) -> None:
        """Drop the connection; a provider bills until its stream is dropped."""


class Stream:
    """An answered stream: its first delta is in hand. One reader.

    The end is complete only after a delta with `finish_reason`; a source that stops without one raises Interrupted (ConnectionLost if
    nothing had been delivered), because a cut stream must never look complete. `complete` may be relied on once finished.
    """

    __slots__ = (
        "__weakref__", "_at_end", "_cancels", "_ended", "_failure", "_head", "_idle_s", "_idle_timer", "_reader", "_silent_s", "_source",
        "_waiting_since", "_watchers",
        "deltas", "finish_reason", "target", "usage",
    )  # fmt: skip

    def __init__(self, source: Source, *, target: str = "", at_end: AtEnd | None = None) -> None:
        self._source = source
        self._at_end = at_end
        self._watchers: list[OnFinished] = []
        self._head = 0  # deltas below this index were delivered to the reader
        self._failure: BaseException | None = None
        self._reader: asyncio.Task[Any] | None = None
        self._cancels = 0  # cancels the reader already carried when it began to read
        self._idle_s = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None
        self._silent_s = 0.0  # waited for the provider since its last content, in reads that brought none
        self._waiting_since: float | None = None
        self.deltas: list[Delta] = []
        self.finish_reason: str | None = None
        self.usage: Usage | None = None
        self.target = target
        self._ended: Outcome | None = None  # once finished, and then without this stream: what refers to itself is not freed at once

    def watch(self, on_finished: OnFinished) -> None:
        """Call `on_finished` once, when the stream has finished; at once if it already is. First to watch is first told."""
        if self._ended is not None:
            on_finished(self._ended.of(self))
        else:
            self._watchers.append(on_finished)

    def __aiter__(self) -> Stream:
        """The stream itself."""
        return self

    async def __anext__(self) -> Delta:
        """The next delta. Raises Interrupted, or the failure with which a layer closed the stream."""
        if self._head < len(self.deltas):
            self._head += 1
            return self.deltas[self._head - 1]
        if self._ended is not None:
            if self._failure is not None:
                raise self._failure
            raise StopAsyncIteration
        delta = await self._read()
        self._head += 1
        return delta

    def at_hand(self) -> list[Delta]:
        """The deltas that have arrived already, for a reader who can use several at once; `anext` gives those after them."""
        found = self.deltas[self._head :]
        more = getattr(self._source, "at_hand", None)
        if self._ended is None and self._failure is None and more is not None:
            while (delta := more()) is not None:
                found.append(self._noted(delta, None))
        self._head = len(self.deltas)
        return found

    async def _read(self) -> Delta:
        """Take one delta from the source and record it; finishes the stream at its end."""
        reader = self._reader = asyncio.current_task()
        if reader is not None:
            self._cancels = reader.cancelling()
        if self._idle_s:
            self._waiting_since = asyncio.get_running_loop().time()
        try:
            delta = await self._source.__anext__()
        except StopAsyncIteration:
            if self.finish_reason is None:
                error = self._broken(ConnectionLost("the stream ended without its terminal marker", target=self.target))
                self._finish(Outcome(error=error, stream=self))
                raise error from error.__cause__
            self._finish(Outcome(stream=self))
            raise
        except asyncio.CancelledError as cancelled:
            failure = self._failure
            if failure is not None and reader is not None and reader.uncancel() <= self._cancels:
                # A layer of ours cancelled the read to deliver `failure`; that cancel is taken back so it does not spread.
                await self._drop(Outcome(error=failure, stream=self))
                raise failure from failure.__cause__
            await self._drop(Outcome(error=cancelled, stream=self))
            raise
        except SurefootError as fault:
            error = self._broken(fault)
            await self._drop(Outcome(error=error, stream=self))
            raise error from error.__cause__
        except BaseException as foreign:
            await self._drop(Outcome(error=foreign, stream=self))
            raise
        finally:
            self._reader = None
            waiting_since, self._waiting_since = self._waiting_since, None
        return self._noted(delta, waiting_since)

    def _noted(self, delta: Delta, waiting_since: float | None) -> Delta:
        """Record what came; `waiting_since` is when it began to be waited for."""
        if waiting_since is not None:  # a ping does not end a silence
            self._silent_s = 0.0 if delta.is_content else self._silent_s + asyncio.get_running_loop().time() - waiting_since
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
            if self._at_end is not None:
                delta = self._at_end(delta, self.deltas, self.usage)
        if delta.usage is not None:
            self.usage = delta.usage  # snapshots are cumulative: the last one wins
        self.deltas.append(delta)
        return delta

    def _broken(self, fault: SurefootError) -> SurefootError:
        """`fault` before the first content; after it, Interrupted with what arrived."""
        if isinstance(fault, Interrupted) or not any(delta.is_content for delta in self.deltas):
            self._failure = fault
            return fault
        partial = "".join(delta.text for delta in self.deltas)
        error = Interrupted(f"the stream broke after {len(partial)} characters: {fault}", partial=partial, target=self.target)
        error.__cause__ = fault
        self._failure = error
        return error

    def fail(self, fault: SurefootError) -> None:
        """Close the stream from outside with `fault`: a layer's timer fired. Works also when nobody is reading."""
        if self._ended is not None or self._failure is not None:
            return
        error = self._broken(fault)
        if self._reader is not None:
            self._reader.cancel()
            return
        self._close_soon(Outcome(error=error, stream=self))

    def abandon(self) -> None:
        """The reader is gone without closing; settle now, drop the connection soon."""
        if self._ended is None:
            self._close_soon(Outcome(stream=self, abandoned=True))

    def _close_soon(self, outcome: Outcome) -> None:
        self._finish(outcome)
        task = asyncio.get_running_loop().create_task(self._source.aclose())
        _closing.add(task)
        task.add_done_callback(_closed)

    def guard_silence(self, idle_s: float) -> None:
        """Fail with AttemptTimedOut when the provider, while waited for, sends no content for `idle_s` seconds.

        A slow reader never trips it: only time spent waiting for the provider counts.
        """
        if self._ended is None:
            self._idle_s = idle_s
            self._idle_timer = asyncio.get_running_loop().call_later(idle_s, self._check_silence)

    def _check_silence(self) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time() if self._idle_timer is None else self._idle_timer.when()
        if loop.time() - due_at > STOOD_STILL_S:  # suspended, or held up: what arrived meanwhile is read first
            self._idle_timer = loop.call_later(READ_FIRST_S, self._check_silence)
            return
        is_idle = self._waiting_since is not None and not self._thinks_unseen()
        waited_s = self._silent_s + loop.time() - (self._waiting_since or 0.0) if is_idle else 0.0
        if waited_s >= self._idle_s - 1e-6:
            self.fail(AttemptTimedOut(f"no content for {self._idle_s:g} s in mid-stream", target=self.target))
        else:
            self._idle_timer = loop.call_later(self._idle_s - waited_s, self._check_silence)

    def _thinks_unseen(self) -> bool:
        """Whether the last that came says that the model thinks; then the deadline alone bounds how long."""
        return next((delta.is_thinking for delta in reversed(self.deltas) if delta.is_thinking or delta.is_content), False)

    async def _drop(self, outcome: Outcome) -> None:
        """Close the source, then finish; a cancel during the close finishes all the same."""
        try:
            await self._source.aclose()
        finally:
            self._finish(outcome)

    async def aclose(self) -> None:
        """Stop reading: the connection is dropped, every layer is told. Safe to call twice.

        Also reads nothing further when the terminal marker has been seen: such a stream is complete.
        """
        if self._ended is None:
            done = self.finish_reason is not None and self._head >= len(self.deltas)
            await self._drop(Outcome(stream=self, abandoned=not done))

    def _finish(self, outcome: Outcome) -> None:
        if self._ended is not None:
            return
        self._ended = outcome
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher(outcome)
        self._ended = outcome.of(None)

    @property
    def outcome(self) -> Outcome | None:
        """How it ended; None until then."""
        return None if self._ended is None else self._ended.of(self)

    @property
    def is_resumed(self) -> bool:
        """True if the answer began anew on another target: what was read is not of one piece."""
        return any(delta.is_restart for delta in self.deltas)

    def so_far(self) -> ChatReply:
        """The reply made of what has arrived."""
        return from_deltas(self.deltas, target=self.target)


_closing: set[asyncio.Task[None]] = set()  # strong references, else a close may be collected before it ran


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()  # a connection that fails while being dropped is dropped


async def open_stream(source: Source, *, target: str = "", at_end: AtEnd | None = None) -> Stream:
    """Read up to the first content (or the end) of `source`; holding the Stream means the first token arrived, or that the model thinks.

    A fault before it is raised as itself, so that retry and fallback stay invisible. An answer with no content at all is still a
    stream if it has its terminal marker. `at_end` completes the last delta before anybody sees it.
    """
    stream = Stream(source, target=target, at_end=at_end)
    try:
        while True:
            delta = await stream._read()  # noqa: SLF001 - same module, one class
            if delta.is_content or delta.finish_reason is not None or delta.is_thinking:
                return stream
    except StopAsyncIteration:
        return stream


async def when_finished(answer: Awaitable[R], on_finished: OnFinished) -> R:
    """Await `answer` and call `on_finished` exactly once, when the call has finished: now for a value, at its end for a stream."""
    try:
        value = await answer
    except BaseException as error:
        on_finished(Outcome(error=error))
        raise
    if isinstance(value, Stream):
        value.watch(on_finished)
    else:
        on_finished(Outcome(reply=value))  # type: ignore[arg-type]
    return value


async def collect(stream: Stream) -> ChatReply:
    """Read `stream` to its end and return the whole reply."""
    async for _ in stream:
        pass
    return stream.so_far()
