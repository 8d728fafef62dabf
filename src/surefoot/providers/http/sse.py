"""Server-sent events, read by blocks, and the Source that turns them into deltas.

Parsed by ourselves because the SDKs' parsers call a cut stream complete, an HTML page an empty answer, and break on a ping after an `id:`
line (openai-python#2722). A block is whatever the transport hands over at once; it holds a part of an event or many of them.

Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". One deviation: a line that cannot be a field (a page, a bare JSON error) is
reported as Junk instead of ignored, because ignoring it made pages into empty answers.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from surefoot.core.stream import READ_FIRST_S, STOOD_STILL_S
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.providers.http.faults import ErrorBoundary, fault_of, malformed
from surefoot.providers.http.redact import snippet
from surefoot.types import Delta

MAX_EVENT_BYTES = 32 * 1024 * 1024  # one event beyond this is an attack or a bug; a 20 MB picture in base64 still fits
AFTER_FINISH_S = 2.0  # after the last token only usage and the end mark are due: a server that dawdles there has answered all the same
LINE_BYTES = 64  # what a line of an unfinished event takes in memory beside its text: a million empty ones are an attack, too
MAX_DELTAS = 500_000  # of one answer, some 100 MB; the longest answer of any model is shorter, token by token
DRAIN_S = 0.25  # the end of the body travels with the end mark; waiting longer than this costs more than a new connection
BOM = b"\xef\xbb\xbf"


class Junk(bytes):
    """A line that is no field of an event stream."""

    __slots__ = ()


class EventParser:
    """Feed blocks, get the data of whole events. An event the stream ended in the middle of is dropped, as the standard says."""

    __slots__ = ("_data", "_data_bytes", "_rest", "_skip_lf", "_started", "size_bytes")

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # pieces of an unfinished line; joined only when its end arrives
        self._data: list[bytes] = []  # data lines of an unfinished event
        self._data_bytes = 0  # what these take
        self._skip_lf = False  # the last block ended in CR: an LF that follows belongs to it
        self._started = False
        self.size_bytes = 0  # held back so far

    def feed(self, block: bytes) -> list[bytes]:
        """The data of each event finished by `block`, in order; Junk for a line that is no field."""
        if not self._started:
            block = b"".join([*self._rest, block])
            self._rest.clear()
            if len(block) < len(BOM) and BOM.startswith(block):
                self._rest.append(block)
                return []
            block, self._started = block.removeprefix(BOM), True
        if self._skip_lf:
            block = block.removeprefix(b"\n")
        if not block:
            return []
        self._skip_lf = block.endswith(b"\r")
        end = max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        if not end:
            self._rest.append(block)
            self._hold(self.size_bytes + len(block))
            return []
        whole = b"".join([*self._rest, block[:end]]) if self._rest else block[:end]
        return self._lines(whole, keep=block[end:])

    def _lines(self, whole: bytes, *, keep: bytes) -> list[bytes]:
        self._rest = [keep] if keep else []
        events: list[bytes] = []
        data, told = self._data, len(self._data)  # lines counted already
        for line in whole.splitlines():
            if line[:6] == b"data: ":
                data.append(line[6:])
            elif not line:
                if data:
                    event = data[0] if len(data) == 1 else b"\n".join(data)
                    data.clear()
                    self._data_bytes = told = 0
                    if event:
                        events.append(event)
            elif line[:1] != b":":
                name, colon, value = line.partition(b":")
                if name == b"data":
                    data.append(value)
                elif not (name.isalpha() if colon else name in {b"event", b"id", b"retry"}):
                    events.append(Junk(line))
        self._data_bytes += sum(map(len, data[told:])) + LINE_BYTES * (len(data) - told)
        self._hold(self._data_bytes + len(keep))
        return events

    def _hold(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        if size_bytes > MAX_EVENT_BYTES:
            raise OverflowError(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def close(self) -> list[bytes]:
        """The stream has ended: Junk if its unfinished line is the tail of a page or of a bare JSON error; else nothing."""
        rest = b"".join(self._rest).strip()
        self._rest, self._data = [], []
        return [Junk(rest)] if rest[:1] in {b"<", b"{", b"["} else []


class UnreadBody(Protocol):
    """An answer whose body is unread; the transports make these."""

    status: int
    headers: dict[str, str]

    async def read(self) -> bytes:
        """The whole body."""

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""

    async def aclose(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""


class EventReader(Protocol):
    """A vendor's reading of its own events."""

    finished: bool  # the last token has been seen: what follows is bookkeeping
    done: bool  # the end mark has been seen: nothing follows

    def read(self, data: bytes, out: list[Delta]) -> None:
        """Append what the event `data` says to `out`. Raises a Fault for an error event or one that is no JSON."""

    def end(self, out: list[Delta]) -> None:
        """The events are over: append the last delta, if the terminal marker was among them. Raises MalformedReply for an empty answer."""


class EventSource:
    """A Source of deltas: blocks of an answer, cut into events, read by the vendor's reader.

    What arrived before a fault is delivered before it. Complete only if the reader saw its terminal marker; a connection that breaks
    after the last token, or dawdles there, has still answered.
    """

    __slots__ = ("_answer", "_at", "_boundary", "_deltas", "_events", "_failure", "_over", "_parser", "_reader", "_ready")

    def __init__(self, answer: UnreadBody, reader: EventReader, boundary: ErrorBoundary) -> None:
        self._answer = answer
        self._reader = reader
        self._boundary = boundary
        self._parser = EventParser()
        self._ready: list[Delta] = []
        self._at = 0
        self._events = 0
        self._deltas = 0
        self._failure: SurefootError | None = None
        self._over = False

    async def __anext__(self) -> Delta:
        """The next delta. Raises ConnectionLost, MalformedReply or the fault of an error event."""
        while self._at >= len(self._ready):
            if self._failure is not None:
                raise self._failure
            if self._over:
                await self._drain()
                raise StopAsyncIteration
            await self._more()
        self._at += 1
        return self._ready[self._at - 1]

    async def _more(self) -> None:
        """Take one block and read its events into `_ready`."""
        self._ready.clear()
        self._at = 0
        reader = self._reader
        try:
            block = await self._tail() if reader.finished else await self._block()
        except ConnectionLost:
            if not reader.finished:
                raise
            block = b""
        try:
            for data in self._parser.feed(block) if block else self._parser.close():
                self._events += 1
                if type(data) is Junk:
                    raise self._no_event(data)
                reader.read(data, self._ready)
                if reader.done:
                    break
            self._deltas += len(self._ready)
            if self._deltas > MAX_DELTAS:
                self._failure = malformed(self._boundary.target, f"an answer of more than {MAX_DELTAS} pieces")
            if not block and not self._events:
                raise malformed(self._boundary.target, "an event stream without any event")
            if not block or reader.done:
                self._over = True
                reader.end(self._ready)
        except OverflowError as error:
            self._failure = malformed(self._boundary.target, str(error))
        except SurefootError as error:
            self._failure = error.with_traceback(None)  # its frames hold the block as it came, and a hostile server repeats the key

    async def _block(self) -> bytes:
        with self._boundary:
            return await self._answer.block()

    async def _tail(self) -> bytes:
        """The next block after the last token: empty if it does not come soon."""
        loop = asyncio.get_running_loop()
        end_at = loop.time() + AFTER_FINISH_S
        with suppress(TimeoutError):
            async with asyncio.timeout_at(end_at):
                return await self._block()
        if loop.time() - end_at > STOOD_STILL_S:  # what arrived meanwhile may hold the usage
            with suppress(TimeoutError):
                async with asyncio.timeout(READ_FIRST_S):
                    return await self._block()
        return b""

    def _no_event(self, line: bytes) -> SurefootError:
        if line[:1] == b"{" and b'"error"' in line:
            return fault_of(self._boundary.target, line, key=self._boundary.key)
        return malformed(self._boundary.target, f"the stream holds what is no event: {snippet(line, key=self._boundary.key)}")

    async def _drain(self) -> None:
        """Read the end of the body, so that the connection can be used again; a server that keeps it open loses it."""
        with suppress(TimeoutError, SurefootError):
            async with asyncio.timeout(DRAIN_S):
                while await self._block():
                    pass
        await self.aclose()

    async def aclose(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        self._over = True
        with suppress(SurefootError), self._boundary:
            await self._answer.aclose()
