"""The streams that `astream` and `stream` give."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self

from surefoot import runtime
from surefoot.core.stream import Stream
from surefoot.types import AttemptRecord, ChatReply, Delta


class ChatStream:
    """A streamed answer for async callers: iterate once, then read `.reply`. Also an async context manager."""

    def __init__(self, open_stream: Callable[[], Coroutine[Any, Any, Any]], call: Any) -> None:
        self._open = open_stream
        self._call = call
        self._inner: Any = None
        self._ended = False  # the background loop reads ahead of us; the reply is shown when this reader has seen the end

    def __aiter__(self) -> Self:
        """The stream itself."""
        return self

    async def __anext__(self) -> Delta:
        """The next delta; the first one is asked for here."""
        if self._inner is None:
            self._inner = await self._open()
        try:
            return await self._inner.__anext__()  # type: ignore[no-any-return]
        except StopAsyncIteration:
            self._ended = True
            raise

    def at_hand(self) -> list[Delta]:
        """The deltas after the last one that have arrived already; none where they come from another loop."""
        return self._inner.at_hand() if isinstance(self._inner, Stream) else []

    @property
    def reply(self) -> ChatReply | None:
        """The whole reply with usage, cost and attempts, once the stream has ended; None before."""
        return self._call.state.reply if self._ended else None

    @property
    def trail(self) -> tuple[AttemptRecord, ...]:
        """The wire attempts so far, in order; after the first delta the last one is that which answers. Empty for a cached answer."""
        return tuple(self._call.state.trail)

    def keep_events(self) -> None:
        """Before the first delta: let each carry, as `Delta.events`, what it was read from, for whoever passes it on."""
        self._call.state.wants_events = True

    async def aclose(self) -> None:
        """Stop reading and drop the connection."""
        if self._inner is not None:
            await self._inner.aclose()

    def __del__(self) -> None:
        """A reader that walks away closes the stream; one that crosses to the background loop does so by itself."""
        if isinstance(self._inner, Stream) and self._inner.outcome is None:
            runtime.post(self._inner.abandon)

    async def __aenter__(self) -> Self:
        """Nothing is asked before the first delta."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Drop the connection if the end was not reached."""
        await self.aclose()


class ChatStreamSync(Iterator[Delta]):
    """A streamed answer for sync callers: iterate once, then read `.reply`. Also a context manager."""

    def __init__(self, inner: Any, call: Any) -> None:
        self._inner = inner
        self._call = call
        self._ended = False

    def __iter__(self) -> Self:
        """The stream itself."""
        return self

    def __next__(self) -> Delta:
        """The next delta."""
        try:
            return next(self._inner)  # type: ignore[no-any-return]
        except StopIteration:
            self._ended = True
            raise

    @property
    def reply(self) -> ChatReply | None:
        """The whole reply, once the stream has ended; None before."""
        return self._call.state.reply if self._ended else None

    def close(self) -> None:
        """Stop reading and drop the connection."""
        self._inner.close()

    def __enter__(self) -> Self:
        """The stream itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Drop the connection if the end was not reached."""
        self.close()
