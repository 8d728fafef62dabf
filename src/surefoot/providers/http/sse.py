"""Server-sent events, read by blocks, and the Source that turns them into deltas.

Parsed by ourselves because the SDKs' parsers call a cut stream complete, an HTML page an empty answer, and break on a ping after an `id:`
line (openai-python#2722). A block is whatever the transport hands over at once; it holds a part of an event or many of them.

Source: WHATWG HTML, 9.2.6 "Interpreting an event stream". Deviations: a line that cannot be a field (a page, a bare JSON error) is reported
as Junk instead of ignored, because ignoring it made pages into empty answers. An event that the stream ends in the middle of is one if its
data is whole JSON, for many servers end their last event with the body; and a line of data that is whole JSON is an event by itself, for
some servers send no blank lines.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Protocol

import msgspec

from surefoot.core.stream import READ_FIRST_S, STOOD_STILL_S
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.providers.http.answers import lenient
from surefoot.providers.http.faults import ErrorBoundary, fault_of, malformed
from surefoot.providers.http.redact import snippet
from surefoot.types import Delta

MAX_EVENT_BYTES = 32 * 1024 * 1024  # one event beyond this is an attack or a bug; a 20 MB picture in base64 still fits
AFTER_FINISH_S = 2.0  # after the last token only usage and the end mark are due: a server that dawdles there has answered all the same
LINE_BYTES = 64  # what a line of an unfinished event takes in memory beside its text: a million empty ones are an attack, too
MAX_DELTAS = 500_000  # of one answer, some 100 MB; the longest answer of any model is shorter, token by token
DRAIN_S = 0.25  # the end of the body travels with the end mark; waiting longer than this costs more than a new connection
BEGINNING = 6  # bytes that tell an event stream from an answer in one piece
_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?::|(?:data|event|id|retry)\s?:)")
SILENT = frozenset({  # events that say that somebody is there; their data is whatever a server likes
    b"ping", b"pong", b"heartbeat", b"keepalive", b"keep-alive", b"keep_alive", b"comment", b"open", b"connected", b"ready",
    b"end", b"done", b"close", b"closed", b"finish",
})  # fmt: skip
BOM = b"\xef\xbb\xbf"


class Junk(bytes):
    """A line that is no field of an event stream."""

    __slots__ = ()


class Bare(bytes):
    """JSON that came without the frame of an event."""

    __slots__ = ()


class EventParser:
    """Feed blocks, get the data of whole events. An event the stream ended in the middle of is dropped, unless its data is whole JSON."""

    __slots__ = ("_bare", "_data", "_data_bytes", "_name", "_rest", "_skip_lf", "_started", "size_bytes")

    def __init__(self) -> None:
        self._bare: list[bytes] | None = None  # JSON that came without a frame, from its first line on
        self._rest: list[bytes] = []  # pieces of an unfinished line; joined only when its end arrives
        self._data: list[bytes] = []  # data lines of an unfinished event
        self._data_bytes = 0  # what these take
        self._name = b""  # of an unfinished event
        self._skip_lf = False  # the last block ended in CR: an LF that follows belongs to it
        self._started = False
        self.size_bytes = 0  # held back so far

    def feed(self, block: bytes) -> list[bytes]:
        """The data of each event finished by `block`, in order; Bare for JSON without a frame, Junk for what is no field of an event."""
        if self._bare is not None:
            self._bare.append(block)
            self._hold(self.size_bytes + len(block))
            return []
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
            if line[:6] == b"data: " and not data:
                data.append(line[6:])
            elif not line:
                if data:
                    self._end(events)
                    told = 0
                self._name = b""
            elif line[:1] != b":":
                name, colon, value = line.partition(b":")
                if name == b"data":
                    if len(data) == 1 and is_whole(data[0]):  # no blank line between two events
                        self._end(events)
                        told = 0
                    data.append(value.removeprefix(b" "))
                elif name == b"event":
                    self._name = value.strip()
                elif not (name.isalpha() if colon else name in {b"id", b"retry"}) and self._is_bare(line, whole, events):
                    break
        if self._bare is not None:
            self._hold(sum(map(len, self._bare)))
            return events
        self._data_bytes += sum(map(len, data[told:])) + LINE_BYTES * (len(data) - told)
        self._hold(self._data_bytes + len(keep))
        return events

    def _end(self, events: list[bytes]) -> None:
        """Add the event that is under way, unless it has nothing to say."""
        data = self._data
        event = data[0] if len(data) == 1 else b"\n".join(data)
        data.clear()
        self._data_bytes = 0
        if self._name and (event[:1] != b"{" or self._name == b"error"):
            event = named(self._name, event)
        if event:
            events.append(event)

    def _is_bare(self, line: bytes, whole: bytes, events: list[bytes]) -> bool:
        """Take a line that is no field: as an event if it is whole JSON, as Junk if it is none. True if it only begins JSON."""
        if line.lstrip()[:1] not in {b"{", b"["}:
            events.append(Junk(line))
            return False
        if line.strip() == b"[DONE]" or is_whole(line):
            events.append(Bare(line))
            return False
        begin = re.search(rb"(?:^|[\r\n])" + re.escape(line) + rb"(?:[\r\n]|$)", whole)
        self._bare = [whole[begin.start() if begin else 0 :], *self._rest]
        return True

    def _hold(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        if size_bytes > MAX_EVENT_BYTES:
            raise OverflowError(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def close(self) -> list[bytes]:
        """The stream has ended: the event that it broke off in, if that is whole; Junk for the tail of a page, or of bare JSON."""
        rest = b"".join(self._rest if self._bare is None else self._bare).strip()
        if self._bare is not None or rest[:1] in {b"<", b"{", b"["}:
            self._rest, self._data, self._bare = [], [], None
            try:
                return [*map(Bare, lenient.documents(rest))] if rest[:1] != b"<" else [Junk(rest)]
            except (ValueError, RecursionError):
                return [Junk(rest)]
        return [event for event in self.feed(b"\n\n") if type(event) is bytes and (is_whole(event) or is_end_mark(event))]


def named(name: bytes, data: bytes) -> bytes:
    """The data of an event called `name`: an "error" as an error object, whatever is in it; of a ping nothing, unless it is JSON."""
    if name != b"error":
        return b"" if name in SILENT and data.lstrip()[:1] not in {b"{", b"["} else data
    try:
        value = lenient.document(data)
    except (ValueError, RecursionError):
        value = data.decode("utf-8", "replace")
    if isinstance(value, dict) and ("error" in value or value.get("type") == "error"):
        return data
    return msgspec.json.encode({"type": "error", "error": value if isinstance(value, dict) else {"message": lenient.text_of(value)}})


def is_error(data: bytes) -> bool:
    """Whether `data` is an error object, as vendors send it."""
    if data.find(b'"error"') < 0:
        return False
    try:
        value = lenient.document(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("error"))


def is_several(data: bytes) -> bool:
    """Whether a body holds several JSON documents: in an array, or one a line."""
    data = data.removeprefix(BOM).lstrip()
    first, _, rest = data.partition(b"\n")
    return data[:1] == b"[" or (bool(rest.strip()) and is_whole(first))


def is_whole(data: bytes) -> bool:
    """Whether `data` is one JSON object from beginning to end; nothing that was cut is."""
    if data.lstrip()[:1] != b"{" or data.rstrip()[-1:] != b"}":
        return False
    try:
        _any_json.decode(data)
    except ValueError:
        try:
            lenient.document(data)
        except (ValueError, RecursionError):
            return False
    except RecursionError:
        return False
    return True


def is_end_mark(data: bytes) -> bool:
    """Whether `data` is OpenAI's end mark, also as servers write it that never saw one."""
    return data[:1] != b"{" and data[:24].strip().strip(b'"').upper().startswith((b"[DONE]", b"DONE"))


_any_json = msgspec.json.Decoder(msgspec.Raw)


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


class BegunBody:
    """An answer whose first bytes have been read already: they come again."""

    __slots__ = ("_answer", "_begin", "headers", "is_events", "status")

    def __init__(self, answer: UnreadBody, begin: bytes) -> None:
        self._answer = answer
        self._begin = begin
        self.status = answer.status
        self.headers = answer.headers
        self.is_events = _BEGINS.match(begin) is not None

    async def read(self) -> bytes:
        """The whole body."""
        begin, self._begin = self._begin, b""
        return begin + await self._answer.read()

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        begin, self._begin = self._begin, b""
        return begin or await self._answer.block()

    async def aclose(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""
        await self._answer.aclose()


class EventReader(Protocol):
    """A vendor's reading of its own events."""

    @property
    def finished(self) -> bool:
        """The last token has been seen: what follows is bookkeeping."""

    @property
    def done(self) -> bool:
        """The end mark has been seen: nothing follows."""

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

    def at_hand(self) -> Delta | None:
        """The next delta if it has been read already; None where one would have to wait, or where the end or a fault comes next."""
        if self._at >= len(self._ready):
            return None
        self._at += 1
        return self._ready[self._at - 1]

    async def _more(self) -> None:
        """Take one block and read its events into `_ready`."""
        self._ready.clear()
        self._at = 0
        reader = self._reader
        lost: SurefootError | None = None
        try:
            block = await self._tail() if reader.finished else await self._block()
        except ConnectionLost as error:
            block, lost = b"", error
        try:
            for data in self._parser.feed(block) if block else self._parser.close():
                self._events += 1
                if type(data) is not bytes and (failure := self._no_event(data)) is not None:
                    if lost is not None:
                        break
                    raise failure
                reader.read(data, self._ready)
                if reader.done:
                    break
            self._deltas += len(self._ready)
            if self._deltas > MAX_DELTAS:
                self._failure = malformed(self._boundary.target, f"an answer of more than {MAX_DELTAS} pieces")
            if lost is not None and not reader.finished:
                raise lost
            if not block and not self._events:
                raise malformed(self._boundary.target, "an event stream without any event")
            if not block or reader.done:
                self._over = True
                reader.end(self._ready)
        except (OverflowError, RecursionError) as error:
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

    def _no_event(self, data: bytes) -> SurefootError | None:
        """What JSON without a frame, or what is no event at all, comes to; None for JSON that may be an event."""
        if isinstance(data, Bare):
            return fault_of(self._boundary.target, data, key=self._boundary.key) if is_error(data) else None
        return malformed(self._boundary.target, f"the stream holds what is no event: {snippet(data, key=self._boundary.key)}")

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
