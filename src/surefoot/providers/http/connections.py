"""aiohttp's connector, with what it leaves open: how fast new connections are opened, and how one is noticed whose host has vanished.

Imported when a target is made ready, on a worker thread, since importing aiohttp takes time. `_create_connection`, `_release` and `_conns`
are aiohttp's own; no public hook may wait before a connection is opened. tests/providers/http/test_connections.py holds what is expected of
them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import Any

import aiohttp

try:
    from aiolimiter import AsyncLimiter
except ImportError:  # without it connections are opened as they are asked for
    AsyncLimiter = None

NEW_PER_S = 20.0  # connections to one host after the burst: a cold start or a reconnect of hundreds must not look like an attack
PROBE_AFTER_S = 20  # of silence the system asks whether the other side is still there: NATs forget a connection without a word
PROBE_EVERY_S = 10
PROBES = 3
UNACKED_MS = 20_000  # what is sent must be acknowledged within this: a host that vanished is noticed before a first token is due


class Connector(aiohttp.TCPConnector):
    """Opens connections to one host at a pace, within one limit for name look-up, TCP and TLS, and has the system watch them.

    The pace is aiolimiter's, where that is installed (the provider extras bring it): `expect()` says how many a host takes at once, more
    follow at NEW_PER_S. A call that waits for its turn takes a connection that another call gives back meanwhile.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._paces: dict[tuple[str | None, int | None], Any] = {}
        self._queues: dict[Any, deque[asyncio.Future[Any]]] = {}

    def expect(self, host: str | None, port: int | None, burst: int) -> None:
        """`burst` connections may be opened at once to this host, or as many as somebody else said of it, if that is more."""
        pace = self._paces.get((host, port))
        if AsyncLimiter is None or (pace is not None and pace.max_rate >= burst):
            return
        self._paces[host, port] = AsyncLimiter(burst, burst / NEW_PER_S)

    def drop_idle(self, host: str | None, port: int | None, *, unused_since_s: float) -> None:
        """Close the idle connections to this host that nobody has used since that moment of `time.monotonic()`."""
        for key in [one for one in self._conns if (one.host, one.port) == (host, port)]:
            idle = self._conns.pop(key)
            for protocol, released_s in idle:
                if released_s <= unused_since_s:
                    protocol.close()
            proven = [one for one in idle if one[1] > unused_since_s]
            if proven:
                self._conns[key] = type(idle)(proven)

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's signature
        key = req.connection_key
        pace = self._paces.get((key.host, key.port))
        if pace is not None:
            kept = await self._turn(key, pace)
            if kept is not None:
                return kept
        try:
            async with asyncio.timeout(timeout.sock_connect):
                protocol = await super()._create_connection(req, traces, timeout)
        except OSError:
            self.clear_dns_cache(key.host, key.port)  # it may have moved: the next attempt looks it up anew
            raise
        if protocol.transport is not None:
            watch(protocol.transport.get_extra_info("socket"))
        return protocol

    async def _turn(self, key: Any, pace: Any) -> Any:
        """Wait until a connection may be opened, or one to this host has been given back: that one."""
        if pace.has_capacity():
            await pace.acquire()
            return None
        queue = self._queues.setdefault(key, deque())
        kept: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        queue.append(kept)
        turn = asyncio.ensure_future(pace.acquire())
        try:
            await asyncio.wait({kept, turn}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if kept.done():
                self._conns[key].append((kept.result(), time.monotonic()))
            raise
        finally:
            turn.cancel()
            if not kept.done():
                queue.remove(kept)
            if not queue:
                self._queues.pop(key, None)
        return kept.result() if kept.done() and kept.result().is_connected() else None

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        queue = self._queues.get(key)
        if queue and (idle := self._conns.get(key)):
            queue.popleft().set_result(idle.pop()[0])
            if not idle:
                del self._conns[key]


def watch(sock: Any) -> None:
    """Have the system probe an idle connection and give up on one that no longer acknowledges, where it can."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {"TCP_KEEPIDLE": PROBE_AFTER_S, "TCP_KEEPINTVL": PROBE_EVERY_S, "TCP_KEEPCNT": PROBES, "TCP_USER_TIMEOUT": UNACKED_MS}
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
