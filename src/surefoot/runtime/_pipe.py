"""Streams read outside the background loop: a bounded pipe, a pump task on the background loop, a reader that is woken only when it sleeps.

The pump asks the stream for its next item only while the pipe has room. So a slow reader stops the asking, no silence timer runs
meanwhile, and memory stays bounded. Opening, reading and closing all happen in the one pump task.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from surefoot.runtime._crossing import Crossing, never

if TYPE_CHECKING:
    from surefoot.runtime._home import BackgroundLoop

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

DEPTH = 64  # items read ahead: enough that a reader busy for a moment does not stop the provider, a few kilobytes of text


class AsyncStream(Protocol[T_co]):
    """A stream of items: iterate it once, close it when you leave early."""

    def __aiter__(self) -> AsyncIterator[T_co]:
        """The stream itself."""

    async def __anext__(self) -> T_co:
        """The next item; StopAsyncIteration at the end."""

    async def aclose(self) -> None:
        """Stop; nothing more will come."""


class Pipe(Generic[T]):
    """The items on their way from the background loop, and the crossing of the pump that fills it.

    It knows nothing of its reader, so that a reader that is dropped is collected, and its `__del__` closes the stream.
    """

    __slots__ = ("_depth", "_home", "_low", "_open_stream", "_parked", "_space", "begun", "closed", "crossing", "items", "opened")

    def __init__(self, open_stream: Coroutine[Any, Any, AsyncStream[T]], home: BackgroundLoop, depth: int) -> None:
        self._open_stream = open_stream
        self._home = home
        self._depth = depth
        self._low = depth // 2  # the pump is woken for half a pipe, not for every item
        self._parked = False
        self._space: asyncio.Future[None] | None = None
        self.items: deque[T] = deque()
        self.begun = False
        self.opened = False
        self.closed = False  # by its reader
        self.crossing: Crossing[None] = Crossing(self._pump(), home)

    async def _pump(self) -> None:
        self.begun = True
        stream = await self._open_stream
        try:
            crossing, items = self.crossing, self.items
            self.opened = True
            crossing.wake()
            async for item in stream:
                items.append(item)
                if crossing.slept_on:
                    crossing.wake()
                if len(items) >= self._depth:
                    await self._until_space()
        finally:
            await stream.aclose()

    async def _until_space(self) -> None:
        while len(self.items) > self._low:
            self._space = self._home.loop.create_future()
            self._parked = True
            if len(self.items) > self._low:
                await self._space
        self._parked = False

    def _make_space(self) -> None:
        if self._space is not None and not self._space.done():
            self._space.set_result(None)

    def take(self) -> T:
        """The next item, which must be there."""
        item = self.items.popleft()
        if self._parked and len(self.items) <= self._low:
            self._parked = False
            self._home.wake_ups.post(self._make_space)
        return item

    def is_open(self) -> bool:
        """The stream is open, or has already been read to its end."""
        return self.opened

    def has_item(self) -> bool:
        """There is something to take."""
        return bool(self.items)

    def check_opened(self) -> None:
        """Raise what opening raised, if it did."""
        if not self.opened:
            self.crossing.result()

    def drop_unopened(self) -> None:
        """Opening was given up before it began: say so to the coroutine, or Python complains that it was never awaited."""
        if not self.begun:
            self._open_stream.close()

    def end(self) -> BaseException | None:
        """How it ended: an error to raise once, then None."""
        error, self.crossing.error = self.crossing.error, None
        return None if self.closed else error

    def forsake(self) -> None:
        """The reader was cancelled in mid-read and the stream with it; a mere refusal to block leaves it open."""
        if self.crossing.asked:
            self.shut()

    def shut(self) -> None:
        """Nothing more is delivered."""
        self.closed = True
        self.items.clear()

    def close(self) -> bool:
        """Ask the pump to stop, once, without waiting; True if there is an end to wait for."""
        self.shut()
        if self.crossing.over:
            return False
        if not self.crossing.asked:
            self.crossing.ask_cancel()
        return True

    def check_closed(self) -> None:
        """Raise what closing the stream raised, if it did; our own cancellation is the way it is closed, no error."""
        error, self.crossing.error = self.crossing.error, None
        if error is not None and not isinstance(error, asyncio.CancelledError):
            raise error


class PipedStream(Generic[T]):
    """The reader's end, for any event loop. One reader at a time."""

    __slots__ = ("__weakref__", "_pipe")

    def __init__(self, pipe: Pipe[T]) -> None:
        self._pipe = pipe

    def __aiter__(self) -> PipedStream[T]:
        """The stream itself."""
        return self

    async def __anext__(self) -> T:
        """The next item. Cancelled here, it closes the stream, as it would on the background loop, and waits until it is closed."""
        pipe = self._pipe
        while not pipe.items or pipe.closed:
            if pipe.closed:
                raise StopAsyncIteration
            if pipe.crossing.over:
                if pipe.items:  # the pump's last item came between the two looks
                    break
                error = pipe.end()
                pipe.shut()
                raise StopAsyncIteration if error is None else error
            try:
                await pipe.crossing.until(pipe.has_item)
            except BaseException:
                pipe.forsake()
                raise
        return pipe.take()

    async def aclose(self) -> None:
        """Close the stream on the background loop and wait until it is closed. Safe to call twice."""
        pipe = self._pipe
        if pipe.close():
            await pipe.crossing.until(never)
            pipe.check_closed()

    def __del__(self) -> None:
        """A reader that walks away closes the stream."""
        self._pipe.close()


class PipedIterator(Generic[T]):
    """The reader's end, for a thread. Leave it early by `close()`, by `contextlib.closing`, or by dropping it."""

    __slots__ = ("__weakref__", "_pipe")

    def __init__(self, pipe: Pipe[T]) -> None:
        self._pipe = pipe

    def __iter__(self) -> PipedIterator[T]:
        """The iterator itself."""
        return self

    def __next__(self) -> T:
        """The next item. Ctrl-C in here closes the stream and waits until it is closed."""
        pipe = self._pipe
        while not pipe.items or pipe.closed:
            if pipe.closed:
                raise StopIteration
            if pipe.crossing.over:
                if pipe.items:  # the pump's last item came between the two looks
                    break
                error = pipe.end()
                pipe.shut()
                raise StopIteration if error is None else error
            try:
                pipe.crossing.until_in_thread(pipe.has_item)
            except BaseException:
                pipe.forsake()
                raise
        return pipe.take()

    def close(self) -> None:
        """Close the stream on the background loop and wait until it is closed. Safe to call twice."""
        pipe = self._pipe
        if pipe.close():
            pipe.crossing.until_in_thread(never)
            pipe.check_closed()

    def __del__(self) -> None:
        """A reader that walks away closes the stream."""
        self._pipe.close()


async def open_piped(pipe: Pipe[T]) -> PipedStream[T]:
    """Send the pump off and wait, on the running loop, until the stream is open."""
    reader = PipedStream(pipe)
    try:
        await pipe.crossing.until(pipe.is_open)
    finally:
        if pipe.crossing.over:
            pipe.drop_unopened()
    pipe.check_opened()
    return reader


def open_piped_in_thread(pipe: Pipe[T]) -> PipedIterator[T]:
    """Send the pump off and block this thread until the stream is open."""
    reader = PipedIterator(pipe)
    try:
        pipe.crossing.until_in_thread(pipe.is_open)
    finally:
        if pipe.crossing.over:
            pipe.drop_unopened()
    pipe.check_opened()
    return reader
