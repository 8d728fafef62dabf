"""A TCP proxy in front of a Redis server: it can lead elsewhere, cut connections, and take its time, as balancers and networks do."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Self


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisProxy:
    """`async with RedisProxy(port) as proxy`: connect to `proxy.url`.

    Set `to` to lead new connections to another port, `cut_next` to close as many connections as soon as the client next sends over them,
    `one_way_s` to delay every byte both ways, `accept_s` to take that long for each new connection, `is_silent` to take connections and
    say nothing. `connections` counts those opened so far.
    """

    def __init__(self, to: int, *, one_way_s: float = 0.0, tls: ssl.SSLContext | None = None) -> None:
        self.to = to
        self.one_way_s = one_way_s
        self.tls = tls
        self.cut_next = 0
        self.connections = 0
        self.is_silent = False
        self.accept_s = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis{'s' if self.tls else ''}://127.0.0.1:{self.port}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Close every connection now, as a server does with idle ones."""
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await asyncio.sleep(self.accept_s)
        if self.is_silent:
            self._open.add(writer)
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, there_writer}
        for source, sink, is_request in ((reader, there_writer, True), (there_reader, writer, False)):
            task = asyncio.create_task(self._pump(source, sink, writer, is_request=is_request))
            self._tasks.add(task)

    async def _pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, client: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        loop, due_s = asyncio.get_running_loop(), 0.0
        try:
            while data := await source.read(65536):
                if is_request and self.cut_next:
                    self.cut_next -= 1
                    client.transport.abort()
                    break
                due_s = max(due_s + 1e-6, loop.time() + self.one_way_s)  # in their order, also where the delay changes meanwhile
                if due_s > loop.time():
                    loop.call_at(due_s, sink.write, data)
                else:
                    sink.write(data)
        except OSError:
            pass
        finally:
            sink.close()
