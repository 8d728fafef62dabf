"""Answered and settled: the two moments every call has.

A call is *answered* when its await returns: the whole value, or a Stream with its first token in hand. It is *settled* when nothing
more will come: returned, stream ended, failed, cancelled, or walked away from; `stack.through` and `settle()` tell that, exactly once.

A Stream is one object from the provider's door to the reader: rooms do not wrap it, they `watch` it. So a chunk costs the same with one
room or ten, and no inner `finally` is left to the garbage collector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from surefoot._tool_calls import checked_tool_call, is_runnable
from surefoot.errors import AttemptTimedOut, ConnectionLost, Interrupted, SurefootError
from surefoot.types import ChatReply, Delta, ToolCall, ToolCallDelta, Usage

if TYPE_CHECKING:
    from surefoot.types import EmbedReply

R = TypeVar("R")


class Outcome:
    """How a call ended, as a room sees it when it is settled.

    `error` is None for success; a CancelledError if the caller cancelled; `abandoned` is True if a reader walked away from a stream
    before its end. `reply` is the whole answer, folded on demand for a stream (partial unless `complete`).
    """

    __slots__ = ("_reply", "abandoned", "error", "stream")

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

    @property
    def usage(self) -> Usage | None:
        """Tokens the provider reported, or None if it never did."""
        if self.stream is not None:
            return self.stream.usage
        return None if self._reply is None else self._reply.usage


OnSettled = Callable[[Outcome], None]


class Source(Protocol):
    """Where a stream's deltas come from: a provider's parsed wire, or a replay."""

    async def __anext__(self) -> Delta:
        """The next delta; StopAsyncIteration at the end."""

    async def aclose(self) -> None:
        """Drop the connection; a provider bills until its stream is dropped."""


class Stream:
    """An answered stream: its first delta is in hand. One reader.

    The end is complete only after a delta with `finish_reason`; a source that stops without one raises Interrupted (ConnectionLost if
    nothing had been delivered), because a cut stream must never look complete. `complete` may be relied on once settled.
    """

    __slots__ = (
        "__weakref__", "_cancels", "_failure", "_head", "_idle_s", "_idle_timer", "_reader", "_silent_s", "_source", "_waiting_since",
        "_watchers",
        "deltas", "finish_reason", "outcome", "target", "usage",
    )  # fmt: skip

    def __init__(self, source: Source, *, target: str = "") -> None:
        self._source = source
        self._watchers: list[OnSettled] = []
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
        self.outcome: Outcome | None = None  # set once, when settled

    def watch(self, on_settled: OnSettled) -> None:
        """Call `on_settled` once, when the stream is settled; at once if it already is. First to watch is first told."""
        if self.outcome is not None:
            on_settled(self.outcome)
        else:
            self._watchers.append(on_settled)

    def __aiter__(self) -> Stream:
        """The stream itself."""
        return self

    async def __anext__(self) -> Delta:
        """The next delta. Raises Interrupted, or the failure a keeper closed the stream with."""
        if self._head < len(self.deltas):
            self._head += 1
            return self.deltas[self._head - 1]
        if self.outcome is not None:
            if self._failure is not None:
                raise self._failure
            raise StopAsyncIteration
        delta = await self._read()
        self._head += 1
        return delta

    async def _read(self) -> Delta:
        """Take one delta from the source, keeping books; settles the stream at its end."""
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
                self._settle(Outcome(error=error, stream=self))
                raise error from error.__cause__
            self._settle(Outcome(stream=self))
            raise
        except asyncio.CancelledError as cancelled:
            failure = self._failure
            if failure is not None and reader is not None and reader.uncancel() <= self._cancels:
                # Our own keeper cancelled the read to deliver `failure`; that cancel is taken back so it does not spread.
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
        if waiting_since is not None:  # a ping does not end a silence
            self._silent_s = 0.0 if delta.is_content else self._silent_s + asyncio.get_running_loop().time() - waiting_since
        if delta.usage is not None:
            self.usage = delta.usage  # snapshots are cumulative: the last one wins
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
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
        """Close the stream from outside with `fault`: a keeper's timer fired. Works also when nobody is reading."""
        if self.outcome is not None or self._failure is not None:
            return
        error = self._broken(fault)
        if self._reader is not None:
            self._reader.cancel()
            return
        self._close_soon(Outcome(error=error, stream=self))

    def abandon(self) -> None:
        """The reader is gone without closing; settle now, drop the connection soon."""
        if self.outcome is None:
            self._close_soon(Outcome(stream=self, abandoned=True))

    def _close_soon(self, outcome: Outcome) -> None:
        self._settle(outcome)
        task = asyncio.get_running_loop().create_task(self._source.aclose())
        _closing.add(task)
        task.add_done_callback(_closed)

    def guard_silence(self, idle_s: float) -> None:
        """Fail with AttemptTimedOut when the provider, while waited for, sends no content for `idle_s` seconds.

        A slow reader never trips it: only time spent waiting for the provider counts.
        """
        if self.outcome is None:
            self._idle_s = idle_s
            self._idle_timer = asyncio.get_running_loop().call_later(idle_s, self._check_silence)

    def _check_silence(self) -> None:
        loop = asyncio.get_running_loop()
        waited_s = 0.0 if self._waiting_since is None else self._silent_s + loop.time() - self._waiting_since
        if waited_s >= self._idle_s - 1e-6:
            self.fail(AttemptTimedOut(f"no content for {self._idle_s:g} s in mid-stream", target=self.target))
        else:
            self._idle_timer = loop.call_later(self._idle_s - waited_s, self._check_silence)

    async def _drop(self, outcome: Outcome) -> None:
        """Close the source, then settle; a cancel during the close settles all the same."""
        try:
            await self._source.aclose()
        finally:
            self._settle(outcome)

    async def aclose(self) -> None:
        """Stop reading: the connection is dropped, every room settles. Safe to call twice.

        Also reads nothing further when the terminal marker has been seen: such a stream is complete.
        """
        if self.outcome is None:
            done = self.finish_reason is not None and self._head >= len(self.deltas)
            await self._drop(Outcome(stream=self, abandoned=not done))

    def _settle(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher(outcome)

    def so_far(self) -> ChatReply:
        """The reply folded from what has arrived."""
        return joined(self.deltas, target=self.target)


_closing: set[asyncio.Task[None]] = set()  # strong references, else a close may be collected before it ran


def _closed(task: asyncio.Task[None]) -> None:
    _closing.discard(task)
    if not task.cancelled():
        task.exception()  # a connection that fails while being dropped is dropped


async def prime(source: Source, *, target: str = "") -> Stream:
    """Read up to the first content (or the end) of `source`; holding the Stream means the first token arrived.

    A fault before it is raised as itself, so that retry and fallback stay invisible. An answer with no content at all is still a
    stream if it has its terminal marker.
    """
    stream = Stream(source, target=target)
    try:
        while True:
            delta = await stream._read()  # noqa: SLF001 - same module, one class
            if delta.is_content or delta.finish_reason is not None:
                return stream
    except StopAsyncIteration:
        return stream


async def settle(answer: Awaitable[R], on_settled: OnSettled) -> R:
    """Await `answer` and call `on_settled` exactly once, when the call is settled: now for a value, at its end for a stream."""
    try:
        value = await answer
    except BaseException as error:
        on_settled(Outcome(error=error))
        raise
    if isinstance(value, Stream):
        value.watch(on_settled)
    else:
        on_settled(Outcome(reply=value))  # type: ignore[arg-type]
    return value


async def fold(stream: Stream) -> ChatReply:
    """Read `stream` to its end and return the whole reply."""
    async for _ in stream:
        pass
    return stream.so_far()


class Replay:
    """A Source that yields deltas already at hand: a cached answer, served as the stream it was."""

    __slots__ = ("_deltas", "_next")

    def __init__(self, deltas: list[Delta] | tuple[Delta, ...]) -> None:
        self._deltas = deltas
        self._next = 0

    async def __anext__(self) -> Delta:
        """The next delta at hand."""
        if self._next >= len(self._deltas):
            raise StopAsyncIteration
        self._next += 1
        return self._deltas[self._next - 1]

    async def aclose(self) -> None:
        """Nothing to close."""
        self._next = len(self._deltas)


def split(reply: ChatReply) -> tuple[Delta, ...]:
    """A whole reply as the deltas of a stream: content first, the terminal marker with usage last."""
    calls = tuple(
        ToolCallDelta(index=i, id=call.id, name=call.name, arguments=call.arguments, signature=call.signature)
        for i, call in enumerate(reply.tool_calls)
    )
    head = Delta(text=reply.text, reasoning=reply.reasoning, signature=reply.signature, tool_calls=calls, model=reply.model)
    tail = Delta(finish_reason=reply.finish_reason, usage=reply.usage, model=reply.model, request_id=reply.request_id)
    return (head, tail) if head.is_content or head.signature else (tail,)


def joined(deltas: list[Delta] | tuple[Delta, ...], *, target: str = "") -> ChatReply:
    """The whole reply out of a stream's deltas. Usage snapshots are cumulative: the last one wins. After a restart only what came since."""
    usage = Usage()
    finish: Any = None
    model = request_id = signature = ""
    calls: dict[int, list[ToolCallDelta]] = {}
    for at, delta in enumerate(deltas):
        if delta.marker == "resumed":
            return joined(deltas[at + 1 :], target=delta.model or target)  # never a splice of two answers
        usage = delta.usage or usage
        finish = delta.finish_reason or finish
        model = delta.model or model
        request_id = delta.request_id or request_id
        signature += delta.signature
        for piece in delta.tool_calls:
            calls.setdefault(piece.index, []).append(piece)
    return ChatReply(
        text="".join([delta.text for delta in deltas]),
        reasoning="".join([delta.reasoning for delta in deltas]),
        signature=signature,
        tool_calls=tuple(_tool_call(calls[index], is_cut=not is_runnable(finish)) for index in sorted(calls)),
        finish_reason=finish or "other",
        usage=usage,
        model=model,
        target=target,
        request_id=request_id,
    )


def _tool_call(pieces: list[ToolCallDelta], *, is_cut: bool) -> ToolCall:
    return checked_tool_call(
        is_cut=is_cut,
        id="".join([piece.id for piece in pieces[:1]]) or next((piece.id for piece in pieces if piece.id), ""),
        name="".join([piece.name for piece in pieces]),
        arguments="".join([piece.arguments for piece in pieces]),
        signature="".join([piece.signature for piece in pieces]),
    )
