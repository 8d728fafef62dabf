"""The aiohttp session that all targets of one event loop share: connections kept per host, watched by the system, replaced when suspect.

A request is never sent twice: whether it was answered is unknown, and asking again is the retry layer's. Redirects are not followed: a key
in a header of its own would go along to any host.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakSet

from surefoot.providers._faults import BodyTooLarge
from surefoot.providers.http.transport import Transport

if TYPE_CHECKING:
    import aiohttp

KEEPALIVE_S = 30.0  # reused within a burst, gone before a load balancer (60 s is common) hangs up on us in mid-request
PROBE_AFTER_S = 20  # of silence the system asks whether the other side is still there: NATs forget a connection without a word
PROBE_EVERY_S = 10
PROBES = 3
UNACKED_MS = 20_000  # what is sent must be acknowledged within this: a host that vanished is noticed before a first token is due
SUSPECT_S = 5.0  # a call given up after so long without an answer: the kept connections to that host may be as dead as its own
MAX_HEAD_FIELD_BYTES = 32 * 1024  # of one header; aiohttp takes 128 of them
LARGE_BYTES = 1024 * 1024  # from here on aiohttp is given a file, which it writes piece by piece


class Answer:
    """An answer whose body is unread: status, headers with lower-case names, then `read()` or `block()`s.

    Both raise BodyTooLarge beyond `limit` bytes, counted after decompression, which aiohttp does in bounded pieces.
    """

    __slots__ = ("__weakref__", "_limit", "_response", "_size", "headers", "raw_headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._size = 0
        self.status = response.status
        self.raw_headers = response.raw_headers
        self.headers = lowered(response.raw_headers)

    async def read(self) -> bytes:
        """The whole body."""
        content = self._response.content
        blocks = []
        while not content.at_eof():
            block = await content.readany()
            self._count(block)
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        block = await self._response.content.readany()
        self._count(block)
        return block

    def _count(self, block: bytes) -> None:
        self._size += len(block)
        if self._size > self._limit:
            self._response.close()
            raise BodyTooLarge(self._limit)

    def close(self) -> None:
        """Drop the connection, unless the body was read to its end: then it is kept already. Whoever reads is told."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()

    async def aclose(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        self.close()


class Sender:
    """Sends one target's requests over the loop's session; `await aclose()` drops what is still being answered."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._session: Session | None = None
        self._answers: WeakSet[Answer] = WeakSet()
        self._settings: dict[str, Any] = {}

    async def send(self, url: Any, headers: Any, body: bytes) -> Answer:
        """POST once. An answer with any status is an answer; what aiohttp raises passes through (stand in a Door)."""
        session = self._session
        if session is None or session.is_closed:
            session = self._open()
        if self._transport.proxy_headers and url.scheme == "http":  # aiohttp gives them to proxies that open a tunnel only
            headers = {**headers, **self._transport.proxy_headers}
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            response = await session.client.post(
                url, data=body if len(body) < LARGE_BYTES else BytesIO(body), headers=headers, **self._settings
            )
        except BaseException:
            if loop.time() - began > SUSPECT_S:
                session.drop_idle(url.host, url.port)
            raise
        answer = Answer(response, self._transport.max_body_bytes)
        self._answers.add(answer)
        return answer

    def _open(self) -> Session:
        import aiohttp

        at = self._transport
        self._settings = {
            "ssl": at.tls or True,
            "timeout": aiohttp.ClientTimeout(total=None, sock_connect=at.connect_s),
            "allow_redirects": False,
            "proxy": at.proxy,
            "proxy_headers": at.proxy_headers,
        }
        self._session = Session.of_loop()
        return self._session

    async def aclose(self) -> None:
        """Let go of the session; the last one closes it."""
        session, self._session = self._session, None
        answers, self._answers = list(self._answers), WeakSet()
        for answer in answers:
            answer.close()
        if session is not None:
            await session.release()


class Session:
    """One loop's aiohttp session, counted by its users. Make it with `Session.of_loop()`, let go of it with `release()`."""

    _open: ClassVar[dict[asyncio.AbstractEventLoop, Session]] = {}

    def __init__(self) -> None:
        import aiohttp

        self._users = 0
        self._connector = _connector_class()(limit=0, keepalive_timeout=KEEPALIVE_S)
        self.client = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEAD_FIELD_BYTES,
            max_field_size=MAX_HEAD_FIELD_BYTES,
        )

    @classmethod
    def of_loop(cls) -> Session:
        """The running loop's session, opened if there is none; the caller is one more user of it."""
        loop = asyncio.get_running_loop()
        session = cls._open.get(loop)
        if session is None:
            for gone in [one for one in cls._open if one.is_closed()]:
                del cls._open[gone]
            session = cls._open[loop] = cls()
        session._users += 1
        return session

    @property
    def is_closed(self) -> bool:
        """True once the last user has let go."""
        return self.client.closed

    async def release(self) -> None:
        """One user less; the last one closes all connections."""
        self._users -= 1
        if self._users <= 0:
            self._open.pop(asyncio.get_running_loop(), None)
            await self.client.close()

    def drop_idle(self, host: str | None, port: int | None) -> None:
        """Close the idle connections to a host whose last answer never came."""
        self._connector.drop_idle(host, port)


_connectors: list[Any] = []


def _connector_class() -> Any:
    """Aiohttp's connector with what it leaves to the system's settings; made at first use, since importing aiohttp takes time."""
    if _connectors:
        return _connectors[0]
    import aiohttp

    class Connector(aiohttp.TCPConnector):
        """Connections that notice a vanished host, within one limit for name look-up, TCP and TLS."""

        async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> Any:  # noqa: ASYNC109 - aiohttp's signature
            try:
                async with asyncio.timeout(timeout.sock_connect):
                    protocol = await super()._create_connection(req, traces, timeout)
            except OSError:
                key = req.connection_key
                self.clear_dns_cache(key.host, key.port)  # it may have moved: the next attempt looks it up anew
                raise
            if protocol.transport is not None:
                watch(protocol.transport.get_extra_info("socket"))
            return protocol

        def drop_idle(self, host: str | None, port: int | None) -> None:
            for key in [one for one in self._conns if (one.host, one.port) == (host, port)]:
                for protocol, _ in self._conns.pop(key):
                    protocol.close()

    _connectors.append(Connector)
    return Connector


def watch(sock: Any) -> None:
    """Have the system probe an idle connection and give up on one that no longer acknowledges, where it can."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {"TCP_KEEPIDLE": PROBE_AFTER_S, "TCP_KEEPINTVL": PROBE_EVERY_S, "TCP_KEEPCNT": PROBES, "TCP_USER_TIMEOUT": UNACKED_MS}
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def lowered(raw: Any) -> dict[str, str]:
    """Headers as they came, pairs of bytes, as a plain dict with lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`headers`, if each can be written. Raises ValueError for one that would break out of its line."""
    for name, value in headers.items():
        if not name.isascii() or not name or any(mark in name + value for mark in "\r\n\0"):
            raise ValueError(f"header {name!r} holds characters that no header carries")
    return headers
