"""A small HTTP/1.1 server whose every byte can be dictated.

It does what a simulator needs and no more: keep-alive, request bodies with a length or in chunks, plain answers,
chunked streams, and every way of going wrong that a real connection has (a lie in Content-Length, an end at any byte
by FIN or RST, a stall, junk instead of HTTP). A plain answer takes one pass through one `asyncio.Protocol` callback.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Literal
from urllib.parse import unquote

import msgspec

MAX_HEAD_BYTES = 256 * 1024  # a head beyond this is an attack or a bug; the connection ends
FLUSH_POLL_S = 0.002  # how often we look whether the last bytes have left before a reset

Ending = Literal["end", "close", "reset"]
"""How a cut body ends: "end" finishes the HTTP framing as if all were well, "close" sends FIN, "reset" sends RST."""

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_HEADS: dict[tuple[int, str], bytes] = {}


class WireRequest:
    """One request as it arrived: `method`, `path` (decoded, without query), `query`, `body`, and when it came.

    `at_s` is the server loop's time in seconds, `index` counts the simulator's requests from 0, `id` is the request id the answer
    carries. Headers are parsed when first asked for, so that an unread head costs nothing.
    """

    __slots__ = ("_head", "_headers", "at_s", "body", "id", "index", "method", "path", "query")

    def __init__(self, head: bytes, body: bytes, *, at_s: float) -> None:
        """Take a raw head (without its blank line) and a decoded body."""
        line = head[: head.find(b"\r\n")] if b"\r\n" in head else head
        method, _, rest = line.partition(b" ")
        target = rest.rpartition(b" ")[0].decode("latin-1")
        path, _, self.query = target.partition("?")
        self.method = method.decode("latin-1")
        self.path = unquote(path) if "%" in path else path
        self.body = body
        self.at_s = at_s
        self.index = 0
        self.id = ""
        self._head = head
        self._headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers, names in lower case; of a repeated header the last one counts."""
        if self._headers is None:
            pairs = (line.partition(":") for line in self._head.decode("latin-1").split("\r\n")[1:])
            self._headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return self._headers

    @property
    def json(self) -> dict[str, object]:
        """The body decoded from JSON. Raises msgspec.DecodeError when it is not a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    def __repr__(self) -> str:
        """Method, path and size; never the headers, they carry keys."""
        return f"<WireRequest {self.index} {self.method} {self.path} {len(self.body)} bytes>"


class WireReply:
    """What goes back, byte by byte.

    `body` is a plain answer with a Content-Length; `chunks` (then `body` is unused) a chunked stream, one HTTP chunk each, `gap_s`
    seconds apart. `delay_s` passes before the first byte, `first_gap_s` between the head and the first chunk. Offsets (`cut_at`,
    `stall_at`) count bytes of the body, framing excluded. `drop` ends the connection before any byte; `raw` replaces everything and then
    closes. `length_off` is added to the true Content-Length. `on_end(chunks_sent, complete)` is called exactly once.
    """

    __slots__ = (
        "body", "chunks", "content_type", "cut", "cut_at", "delay_s", "drop", "first_gap_s", "gap_s", "headers", "length_off",
        "on_end", "raw", "stall_at", "stall_s", "status",
    )  # fmt: skip

    def __init__(  # every field a keyword with a default: a reply is mostly defaults
        self,
        *,
        status: int = 200,
        body: bytes = b"",
        chunks: Sequence[bytes] | None = None,
        content_type: str = "application/json",
        headers: str = "",
    ) -> None:
        """Make a faultless reply; spoil it by setting its other attributes. `headers` are ready lines ending in CRLF."""
        self.status = status
        self.body = body
        self.chunks = chunks
        self.content_type = content_type
        self.headers = headers
        self.delay_s = 0.0
        self.first_gap_s = 0.0
        self.gap_s = 0.0
        self.cut_at: int | None = None
        self.cut: Ending = "close"
        self.stall_at: int | None = None
        self.stall_s = 0.0
        self.length_off = 0
        self.drop: Literal["", "close", "reset"] = ""
        self.raw: bytes | None = None
        self.on_end: Callable[[int, bool], None] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether one write sends it all."""
        return (
            self.chunks is None
            and self.raw is None
            and self.cut_at is None
            and self.stall_at is None
            and not self.length_off
            and not self.drop
        )

    def head(self, *, length: int | None) -> bytes:
        """The status line and headers; `length` None announces chunks."""
        key = (self.status, self.content_type)
        start = _HEADS.get(key)
        if start is None:
            reason = _REASONS.get(self.status, "Unknown")
            start = f"HTTP/1.1 {self.status} {reason}\r\ncontent-type: {self.content_type}\r\n".encode()
            _HEADS[key] = start
        framing = b"transfer-encoding: chunked\r\n\r\n" if length is None else b"content-length: %d\r\n\r\n" % length
        return start + self.headers.encode("latin-1", "replace") + framing


def as_chunk(data: bytes) -> bytes:
    """`data` as one HTTP chunk; empty data gives nothing, for an empty chunk would end the stream."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class Step(msgspec.Struct, frozen=True):
    """One write: wait `pause_s`, send `data`; `counts` how many chunks are delivered with it."""

    pause_s: float
    data: bytes
    counts: int = 0


def steps_of(reply: WireReply) -> tuple[list[Step], Ending]:
    """Lay a reply out as timed writes, and say how the connection ends ("end" keeps it alive)."""
    if reply.raw is not None:
        return [Step(reply.delay_s, reply.raw)], "close"
    if reply.drop:
        return [Step(reply.delay_s, b"")], reply.drop
    chunked = reply.chunks is not None
    pieces = list(reply.chunks) if reply.chunks is not None else [reply.body]
    total = sum(map(len, pieces))
    steps = [Step(reply.delay_s, reply.head(length=None if chunked else max(0, total + reply.length_off)))]
    ending: Ending = "close" if reply.length_off else "end"
    limit = total
    if reply.cut_at is not None and (reply.cut_at < total or reply.cut != "end"):
        limit, ending = min(reply.cut_at, total), reply.cut
    stall_at = None if reply.stall_at is None else min(reply.stall_at, limit)
    offset = 0
    for number, piece in enumerate(pieces):
        free_bytes = limit - offset
        if free_bytes <= 0:
            break
        pause, kept = reply.gap_s if number else reply.first_gap_s, piece[:free_bytes]
        if stall_at is not None and offset <= stall_at < offset + len(kept):
            before, kept = kept[: stall_at - offset], kept[stall_at - offset :]
            steps.append(Step(pause, as_chunk(before) if chunked else before))
            pause, stall_at = reply.stall_s, None
        steps.append(Step(pause, as_chunk(kept) if chunked else kept, int(len(piece) <= free_bytes)))
        offset += len(piece)
    if stall_at is not None:  # a stall at or past the end holds back the terminator
        steps.append(Step(reply.stall_s, b""))
    if chunked and ending == "end":
        steps.append(Step(0.0, b"0\r\n\r\n"))
    return steps, ending


class Connection(asyncio.Protocol):
    """One client connection: reads requests one at a time, asks `serve`, plays the reply."""

    def __init__(self, serve: Callable[[WireRequest], WireReply], live: set[Connection], loop: asyncio.AbstractEventLoop) -> None:
        """`live` is the server's set of open connections, to end them all at once."""
        self._serve = serve
        self._live = live
        self._loop = loop
        self._inbox = bytearray()
        self._need = 0
        self._transport: asyncio.Transport | None = None
        self._reply: WireReply | None = None
        self._steps: list[Step] = []
        self._at = 0
        self._sent = 0
        self._ending: Ending = "end"
        self._timer: asyncio.TimerHandle | None = None
        self._last = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport; answers are written at once, without Nagle's delay."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._live.add(self)

    def data_received(self, data: bytes) -> None:
        """Collect bytes; serve as soon as a whole request is there and the line is free."""
        self._inbox += data
        if self._reply is None and len(self._inbox) >= self._need:
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """The client left, or we ended it: an answer under way ends as incomplete."""
        self._live.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._finish(complete=False)
        self._transport = None

    def abort(self) -> None:
        """End the connection now, without ceremony."""
        if self._transport is not None:
            self._transport.abort()

    def _advance(self) -> None:
        while self._reply is None and self._transport is not None and (request := self._next_request()) is not None:
            self._start(self._serve(request))

    def _next_request(self) -> WireRequest | None:
        inbox = self._inbox
        end = inbox.find(b"\r\n\r\n")
        if end < 0:
            if len(inbox) > MAX_HEAD_BYTES:
                self.abort()
            return None
        head = bytes(inbox[:end])
        found = _LENGTH.search(head)
        if found is not None:
            stop = end + 4 + int(found[1])
            if len(inbox) < stop:
                self._ask_to_go_on(head, end)
                self._need = stop
                return None
            body = bytes(inbox[end + 4 : stop])
        elif _CHUNKED.search(head) is not None:
            self._ask_to_go_on(head, end)
            unpacked = unchunk(inbox, end + 4)
            if unpacked is None:
                return None
            body, stop = unpacked
        else:
            body, stop = b"", end + 4
        del inbox[:stop]
        self._need = 0
        self._last = _CLOSE.search(head) is not None
        return WireRequest(head, body, at_s=self._loop.time())

    def _ask_to_go_on(self, head: bytes, end: int) -> None:
        if len(self._inbox) == end + 4 and self._transport is not None and _EXPECT.search(head) is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start(self, reply: WireReply) -> None:
        assert self._transport is not None
        self._reply, self._sent = reply, 0
        if reply.is_plain and not reply.delay_s:
            self._transport.write(reply.head(length=len(reply.body)) + reply.body)
            self._sent = 1
            self._finish(complete=True)
            if self._last:
                self._transport.close()
            return
        self._steps, self._ending = steps_of(reply)
        self._at = 0
        self._play()

    def _play(self) -> None:
        """Write all that is due; set a timer for the rest."""
        transport, steps, due = self._transport, self._steps, bytearray()
        if transport is None:
            return
        while self._at < len(steps):
            step = steps[self._at]
            if step.pause_s:
                if due:
                    transport.write(bytes(due))
                if step.pause_s != float("inf"):  # an endless pause lasts until the client leaves
                    self._timer = self._loop.call_later(step.pause_s, self._resume)
                return
            due += step.data
            self._sent += step.counts
            self._at += 1
        if due:
            transport.write(bytes(due))
        self._end_with(transport)

    def _resume(self) -> None:
        """The pause before the next step is over: write it, then play on."""
        self._timer = None
        step = self._steps[self._at]
        self._steps[self._at] = Step(0.0, step.data, step.counts)
        self._play()

    def _end_with(self, transport: asyncio.Transport) -> None:
        ending = self._ending
        if ending == "reset":
            self._reset(transport)
            return
        self._finish(complete=ending == "end" and self._reply is not None and self._reply.cut_at is None)
        if ending == "close" or self._last:
            transport.close()
        else:
            self._advance()

    def _reset(self, transport: asyncio.Transport) -> None:
        """RST once the bytes before it have left: linger 0 turns the close into a reset."""
        if transport.get_write_buffer_size():
            self._timer = self._loop.call_later(FLUSH_POLL_S, self._reset, transport)
            return
        self._finish(complete=False)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def _finish(self, *, complete: bool) -> None:
        reply, self._reply = self._reply, None
        if reply is not None and reply.on_end is not None:
            reply.on_end(self._sent, complete)


def unchunk(data: bytearray, start: int) -> tuple[bytes, int] | None:
    """Decode a chunked request body from `start`: the body and the offset after it, or None while bytes are missing."""
    body = bytearray()
    at = start
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(bytes(data[at:line_end]).split(b";")[0], 16)
        at = line_end + 2
        if size == 0:
            end = data.find(b"\r\n", at)
            return None if end < 0 else (bytes(body), end + 2)
        if len(data) < at + size + 2:
            return None
        body += data[at : at + size]
        at += size + 2
