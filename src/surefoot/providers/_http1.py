"""HTTP/1.1 as the direct lane needs it: one POST after the other over kept connections. Parsed by httptools (llhttp, Node's parser).

General clients pay for what a POST of JSON to one host never uses: redirects, cookies, tracing, sessions, a task and a timer an exchange.
Left out here and left to aiohttp by `_direct`: proxies, user names in addresses. A request is never sent twice: whether it was answered
is unknown, and asking again is the retry layer's.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import quote

MAX_HEAD_BYTES = 64 * 1024  # eight times what aiohttp takes of one header
MAX_AHEAD_BYTES = 256 * 1024  # of a body that is read slower than it comes
ALL = -(1 << 62)  # bytes ahead of a reader who takes everything
SAFE = "/:@!$&'()*+,;=%-._~"  # of a path; what is quoted already stays
AUTO = 47  # zlib's word for gzip or zlib, whichever it is


class Keeper(Protocol):
    """Who holds a host's connections."""

    parser: Any  # makes a parser for a connection

    def keep(self, connection: Connection) -> None:
        """An answer is whole: its connection is idle."""

    def forget(self, connection: Connection) -> None:
        """It has been closed."""


class ProtocolError(Exception):
    """The other side does not speak HTTP as it should, or hung up in the middle."""


class ContentEncodingError(ProtocolError):
    """A compressed body that is none, or only half of one."""


class Response:
    """An answer as it comes in: status and headers, then blocks of the body."""

    __slots__ = ("_ahead", "_blocks", "_connection", "_error", "_inflate", "_is_compressed", "_waiter", "done", "headers", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection  # until the last byte is in
        self._blocks: list[bytes] = []  # a deque takes 600 bytes before it holds anything
        self._ahead = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._inflate: Any = None
        self._is_compressed = False  # something compressed has come; an empty body is none
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False

    # What the connection calls

    def begin(self) -> None:
        """The head is whole."""
        if self.headers.get("content-encoding", "").lower() in {"gzip", "x-gzip", "deflate"}:
            self._inflate = zlib.decompressobj(AUTO)
        self._rouse()

    def take(self, block: bytes) -> None:
        """A piece of the body."""
        if self._inflate is not None:
            self._is_compressed = True
            try:
                block = self._inflate.decompress(block)
            except zlib.error:
                self.fail(ContentEncodingError("the body is not compressed as its head says"))
                return
        if block:
            self._blocks.append(block)
            self._ahead += len(block)
            if self._ahead > MAX_AHEAD_BYTES and self._connection is not None:
                self._connection.pause()
        self._rouse()

    def end(self) -> None:
        """The body is whole."""
        if self._is_compressed and not self._inflate.eof:
            self.fail(ContentEncodingError("the compressed body ends too early"))
            return
        self.done = True
        self._connection = None
        self._rouse()

    def fail(self, error: Exception) -> None:
        """No more will come."""
        if self.done or self._error is not None:
            return
        self._error = error
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._rouse()

    def _rouse(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # What a reader calls

    async def head(self) -> None:
        """Wait until status and headers are in. Raises what ended the connection."""
        while not self.status:
            await self._news()

    async def _news(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read(self) -> bytes:
        """The whole body."""
        self._ahead = ALL  # whoever wants it whole waits for no reader
        if self._connection is not None:
            self._connection.resume()
        while not self.done:
            await self._news()
        blocks = self._blocks
        body = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        return body

    async def block(self) -> bytes:
        """What has come of the body since the last time; empty at its end."""
        while not self._blocks:
            if self.done:
                return b""
            await self._news()
        blocks = self._blocks
        block = blocks[0] if len(blocks) == 1 else b"".join(blocks)
        blocks.clear()
        self._ahead = 0
        if self._connection is not None:
            self._connection.resume()
        return block

    def close(self) -> None:
        """Drop the connection, unless the body was read to its end: then it is kept already."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()


class Connection(asyncio.Protocol):
    """One connection; one exchange at a time. It gives itself back to its host when an answer is whole."""

    __slots__ = (
        "_head_bytes",
        "_host",
        "_informs",
        "_names",
        "_parser",
        "_paused",
        "_response",
        "_transport",
        "idle_since",
        "is_open",
    )

    def __init__(self, host: Keeper) -> None:
        self._host = host
        self._transport: Any = None
        self._response: Response | None = None
        self._parser: Any = None
        self._names: dict[str, str] = {}
        self._head_bytes = 0
        self._informs = False
        self._paused = False
        self.is_open = False
        self.idle_since = 0.0

    def send(self, request: bytes) -> Response:
        """Write a request; its answer comes in by itself, a compressed body as what it was."""
        response = self._response = Response(self)
        self._names, self._head_bytes = response.headers, 0
        self._transport.write(request)
        return response

    def abort(self) -> None:
        """Hang up at once."""
        self._response = None
        self.is_open = False
        self._transport.abort()

    def pause(self) -> None:
        """Read no further for now."""
        if not self._paused and self.is_open:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and self.is_open:
            self._paused = False
            self._transport.resume_reading()

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected, TLS included."""
        self._transport = transport
        self._parser = self._host.parser(self)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        response = self._response
        if response is None:  # unasked: whatever it is, this connection is of no more use
            self.abort()
            return
        try:
            self._parser.feed_data(data)
        except Exception as error:  # noqa: BLE001 - the parser's own classes are a C extension's
            self.abort()
            response.done = False  # where surplus bytes stand right behind it, its length was wrong: what is in may be cut
            response.fail(_error_of(error))

    def eof_received(self) -> bool:
        """The other side is done; the transport closes itself."""
        self.is_open = False
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone. A body that runs until the end of the connection is whole now."""
        self.is_open = False
        self._host.forget(self)
        response, self._response = self._response, None
        if response is None:
            return
        headers = response.headers
        is_unbounded = response.status and "content-length" not in headers and "transfer-encoding" not in headers
        if is_unbounded and exc is None:
            response.end()
        else:
            response.fail(exc or ProtocolError("the connection was closed before the answer was whole"))

    # What the parser calls

    def on_message_begin(self) -> None:
        """An answer begins, or a further one behind it, which nobody asked for."""
        if self._response is None:
            raise ProtocolError("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise ProtocolError("a head without end")
        self._names[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is in; one of 1xx only announces another."""
        response = self._response
        status = self._parser.get_status_code()
        self._informs = status < 200
        if self._informs:
            self._names.clear()
        elif response is not None:
            response.status = status
            response.begin()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._response is not None:
            self._response.take(body)

    def on_message_complete(self) -> None:
        """The answer is whole: the connection may serve the next."""
        response = self._response
        if self._informs or response is None:
            return
        keeps = self._parser.should_keep_alive()
        response.end()
        self._response = None
        if keeps and response.done:
            self.resume()
            self._host.keep(self)
        else:
            self.abort()


def _error_of(error: Exception) -> Exception:
    """What was wrong with the bytes; the parser wraps what its callbacks raise."""
    inner = error.__context__
    if isinstance(inner, ProtocolError):
        return inner
    return ProtocolError("the answer is no HTTP")  # its own words may quote the bytes


def head(path: str, host: str, headers: Iterable[tuple[str, str]]) -> str:
    """The head of a POST up to its length. Raises ValueError for a header that would break out of its line."""
    lines = [f"POST {quote(path, safe=SAFE + '?')} HTTP/1.1", f"host: {host}", "accept-encoding: gzip, deflate"]
    for name, value in headers:
        if not name.isascii() or not name or any(mark in name + value for mark in "\r\n\0"):
            raise ValueError(f"header {name!r} holds characters that no header carries")
        lines.append(f"{name}: {value}")
    return "\r\n".join(lines) + "\r\ncontent-length: "
