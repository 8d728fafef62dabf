"""The least client of HTTP there is, so that asking costs little beside what is asked: kept connections, a request at a time on each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

END = b"0\r\n\r\n"  # of a body in chunks
TAIL = 16  # bytes kept to find the end of one


class Unanswered(Exception):
    """The connection broke before the answer was whole."""


class KeptConnection(asyncio.Protocol):
    """One connection: `status = await connection.ask(request)`; `await` again for the next. It is opened anew when it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        where = urlsplit(address)
        self._host, self._port = where.hostname or "127.0.0.1", where.port or 80
        self._transport: Any = None
        self._answer: asyncio.Future[int] | None = None
        self._head = bytearray()
        self._left = -1  # bytes of the body to come; -1: the head is not whole; -2: the body comes in chunks
        self._status = 0
        self._tail = b""
        self._keeps = False
        self.head = b""
        """The last answer's head, in lower case."""
        self.body = b""
        """The last answer's body, where it was said to be kept."""
        self.first_at = 0.0
        """When the first byte of the last answer came, by the loop's clock."""
        self.on_data: Callable[[int], None] | None = None
        """Told how many events of a stream have come, at each block."""
        self.events = 0

    async def ask(self, request: bytes, *, keeps: bool = False) -> int:
        """Send, and wait for the whole answer; its status. Raises Unanswered."""
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            try:
                await loop.create_connection(lambda: self, self._host, self._port)
            except OSError as error:
                raise Unanswered(str(error)) from error
        self._answer = loop.create_future()
        self._left, self._status, self._tail, self.events, self.first_at = -1, 0, b"", 0, 0.0
        self._head.clear()
        self.body, self._keeps = b"", keeps
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed; whoever waits is told."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unanswered(str(exc or "closed")))

    def data_received(self, data: bytes) -> None:
        """Read as far as the end of the answer has to be known."""
        if self._answer is None or self._answer.done():
            return
        if self._left == -1:
            if not self._head:
                self.first_at = asyncio.get_running_loop().time()
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.head = bytes(self._head[:end]).lower()
            self._status = int(head[9:12])
            data = bytes(self._head[end + 4 :])
            at = head.find(b"\ncontent-length:")
            self._left = -2 if at < 0 else int(head[at + 16 :].split(b"\r", 1)[0])
        if self._keeps:
            self.body += data
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._answer.set_result(self._status)
            return
        self.events += data.count(b"data: ")
        if self.on_data is not None:
            self.on_data(self.events)
        self._tail = (self._tail + data)[-TAIL:]
        if self._tail.endswith(END) and not self._answer.done():
            self._answer.set_result(self._status)

    def drop(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()


def request_of(path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> bytes:
    """A request as it stands on the wire: POST with a body, GET without."""
    raw = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    said = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    method = "GET" if body is None else "POST"
    length = "" if body is None else f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{length}{said}\r\n".encode() + raw


async def ask_all(address: str, request: bytes, *, calls: int, width: int) -> dict[int, int]:
    """`calls` requests, `width` at a time; how many had which status (0: unanswered)."""
    left = iter(range(calls))
    found: dict[int, int] = {}
    await asyncio.gather(*(ask_over(address, request, left, found) for _ in range(width)))
    return found


async def ask_over(address: str, request: bytes, times: Iterable[int], found: dict[int, int]) -> None:
    """Ask over one connection, once for each of `times`, and count into `found` how many had which status (0: unanswered)."""
    connection = KeptConnection(address)
    for _ in times:
        try:
            status = await connection.ask(request)
        except Unanswered:
            status = 0
        found[status] = found.get(status, 0) + 1
    connection.drop()
