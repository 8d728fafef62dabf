"""Hand-written HTTP servers: what they send is written out byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


class Served:
    """What a server saw: its address, a writer for each connection, the head and body of each request."""

    def __init__(self) -> None:
        self.url = ""
        self.writers: list[asyncio.StreamWriter] = []
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def requests(self, count: int) -> None:
        """Wait until `count` requests have come."""
        async with asyncio.timeout(30):
            while len(self.heads) < count:
                await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def serving(*answers: bytes, hangs_up: bool = False, ssl: Any = None) -> AsyncIterator[Served]:
    """A server that gives `answers` in order, one a request; with `hangs_up` it closes after each."""
    left, served = list(answers), Served()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # cancelled at the test's end
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                served.bodies.append(await reader.readexactly(length))
                served.heads.append(head)
                writer.write(left.pop(0))
                await writer.drain()
                if hangs_up:
                    break
            if not hangs_up:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=ssl)
    served.url = f"{'https' if ssl else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield served
    finally:
        server.close()
        for writer in served.writers:
            writer.close()
