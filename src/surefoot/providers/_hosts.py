"""One host's connections: made as needed, kept while idle, hung up in time.

Addresses are raced as RFC 8305 says (aiohappyeyeballs, aiohttp's own) and remembered for ten seconds.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult

from surefoot.providers._http import KEEPALIVE_S
from surefoot.providers._http1 import Connection, Response

ADDRESSES_S = 10.0  # aiohttp's default: long enough for a burst, short enough for a host that moves
ATTEMPT_S = 0.25  # until the next address is tried beside the first: RFC 8305


class Host:
    """One host's connections: idle ones are used again, last in first out; new ones are made as needed.

    How many there are is bounded by the calls in flight, which the concurrency layer bounds.
    """

    def __init__(self, address: SplitResult, *, connect_s: float | None) -> None:
        import aiohappyeyeballs
        import httptools

        self.parser = httptools.HttpResponseParser
        self._race = aiohappyeyeballs.start_connection
        assert address.hostname is not None
        self._name = address.hostname
        self._port = address.port or (443 if address.scheme == "https" else 80)
        self._tls = _tls() if address.scheme == "https" else None
        self._literal = _literal(self._name, self._port)
        self._connect_s = connect_s
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._addresses: tuple[float, asyncio.Future[Any]] | None = None
        self._sweeping: asyncio.TimerHandle | None = None

    async def send(self, request: bytes) -> Response:
        """Send over an idle connection or a new one; returns with the head of the answer. Raises OSError or ProtocolError."""
        idle = self._idle
        connection: Connection | None = None
        while idle:
            connection = idle.pop()
            if connection.is_open:
                break
            connection = None
        response = (connection or await self._connect()).send(request)
        del request  # ten thousand prompts need not be held while their answers are awaited
        try:
            await response.head()
        except BaseException:
            response.close()
            raise
        return response

    def keep(self, connection: Connection) -> None:
        """An answer is whole: its connection is idle."""
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeping is None:
            self._sweeping = loop.call_later(KEEPALIVE_S, self._sweep)

    def forget(self, connection: Connection) -> None:
        """It has been closed."""
        self._open.discard(connection)

    def _sweep(self) -> None:
        """Hang up what has been idle for too long; the oldest lie at the bottom."""
        loop = asyncio.get_running_loop()
        until = loop.time() - KEEPALIVE_S
        kept = [connection for connection in self._idle if connection.is_open and connection.idle_since > until]
        for connection in self._idle:
            if connection.idle_since <= until:
                connection.abort()
        self._idle = kept
        self._sweeping = loop.call_later(KEEPALIVE_S, self._sweep) if kept else None

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._connect_s):
            sock = await self._race(await self._resolved(), happy_eyeballs_delay=ATTEMPT_S, interleave=1)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                name = self._name if self._tls is not None else None
                _, connection = await loop.create_connection(lambda: Connection(self), sock=sock, ssl=self._tls, server_hostname=name)
            except BaseException:
                sock.close()
                raise
        self._open.add(connection)
        if not connection.is_open:  # closed in the very step in which it was made
            self._open.discard(connection)
        return connection

    async def _resolved(self) -> Any:
        """The host's addresses; many who ask at once share one look-up."""
        if self._literal is not None:
            return self._literal
        loop = asyncio.get_running_loop()
        known = self._addresses
        if known is None or known[0] < loop.time() or (known[1].done() and (known[1].cancelled() or known[1].exception() is not None)):
            asked = asyncio.ensure_future(loop.getaddrinfo(self._name, self._port, type=socket.SOCK_STREAM))
            known = self._addresses = (loop.time() + ADDRESSES_S, asked)
        return await asyncio.shield(known[1])

    def close(self) -> None:
        """Hang up everywhere."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        everyone, self._open, self._idle = self._open, set(), []
        for connection in everyone:
            connection.abort()


def _literal(name: str, port: int) -> Any:
    """The one address of a host that is given as one; None for a name, which takes a look-up in a thread."""
    try:
        family = socket.AF_INET6 if ip_address(name).version == 6 else socket.AF_INET
    except ValueError:
        return None
    where = (name, port, 0, 0) if family is socket.AF_INET6 else (name, port)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificates; made once, since reading them takes tens of milliseconds."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
