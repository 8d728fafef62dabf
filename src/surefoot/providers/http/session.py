"""The aiohttp session that all targets of one event loop share: connections kept per host, watched by the system, replaced when suspect.

A request is never sent twice: whether it was answered is unknown, and asking again is the retry layer's. Redirects are not followed: a key
in a header of its own would go along to any host.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit
from weakref import WeakSet

from surefoot.core.deadlines import TIMED_OUT
from surefoot.providers.http.answers.compression import BY_AIOHTTP, Unpacker, unpacker
from surefoot.providers.http.faults import BodyTooLarge
from surefoot.providers.http.transport import Transport

if TYPE_CHECKING:
    import aiohttp

KEEPALIVE_S = 30.0  # reused within a burst, gone before a load balancer (60 s is common) hangs up on us in mid-request
SUSPECT_S = 5.0  # a call given up after so long without an answer: the kept connections to that host may be as dead as its own
MAX_HEAD_FIELD_BYTES = 32 * 1024  # of one header; aiohttp takes 128 of them
LARGE_BYTES = 1024 * 1024  # from here on aiohttp is given a file, which it writes piece by piece


class _Connected(Exception):
    """The connection stands; nothing more is to be done with it."""


class SessionAnswer:
    """An answer whose body is unread: status, headers with lower-case names, then `read()` or `block()`s.

    Both raise BodyTooLarge beyond `limit` bytes, counted after decompression, which aiohttp does in bounded pieces.
    """

    __slots__ = ("__weakref__", "_coding", "_limit", "_response", "_size", "_unpacker", "headers", "raw_headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, limit: int) -> None:
        self._response = response
        self._limit = limit
        self._size = 0
        self.status = response.status
        self.raw_headers = response.raw_headers
        self.headers = lowered(response.raw_headers)
        coding = self.headers.get("content-encoding", "")
        self._coding = "" if coding.lower() in BY_AIOHTTP else coding  # what is left to undo
        self._unpacker: Unpacker | None = None

    async def read(self) -> bytes:
        """The whole body."""
        content = self._response.content
        blocks = []
        while not content.at_eof():
            block = await content.readany()
            if self._coding:
                block = self._unpacked(block)
            self._count(block)
            blocks.append(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        block = await self._response.content.readany()
        if self._coding:
            while block and not (plain := self._unpacked(block)):  # it may need more before it gives anything
                block = await self._response.content.readany()
            block = plain if block else b""
        self._count(block)
        return block

    def _unpacked(self, block: bytes) -> bytes:
        if self._unpacker is None:
            self._unpacker = unpacker(self._coding, self._limit)
        return block if self._unpacker is None else self._unpacker.feed(block)

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
        from surefoot.providers.http import connections  # here, on a worker thread, and not with the first request on the event loop

        del connections
        self._transport = transport
        self._session: Session | None = None
        self._answers: WeakSet[SessionAnswer] = WeakSet()
        self._settings: dict[str, Any] = {}

    async def send(self, url: Any, headers: Any, body: bytes, method: str = "POST") -> SessionAnswer:
        """Send once. An answer with any status is an answer; what aiohttp raises passes through (call it inside an ErrorBoundary)."""
        loop = asyncio.get_running_loop()
        session = self._session
        if session is None or session.loop is not loop or session.is_closed:
            session = self._open()
        if self._transport.proxy_headers and url.scheme == "http":  # aiohttp gives them to proxies that open a tunnel only
            headers = {**headers, **self._transport.proxy_headers}
        began, began_s = loop.time(), time.monotonic()
        try:
            response = await session.client.request(
                method, url, data=body if len(body) < LARGE_BYTES else BytesIO(body), headers=headers, **self._settings
            )
        except BaseException as error:
            if TIMED_OUT in error.args or loop.time() - began > SUSPECT_S:
                session.connector.drop_idle(url.host, url.port, unused_since_s=began_s)
            raise
        answer = SessionAnswer(response, self._transport.max_body_bytes)
        self._answers.add(answer)
        return answer

    async def connect(self) -> None:
        """Open a connection, TLS and proxy included, and keep it for the first request. Nothing is sent to the server."""
        from yarl import URL

        session = self._of_loop()

        async def only(request: Any, _: Any) -> Any:
            (await session.connector.connect(request, [], self._settings["timeout"])).release()
            raise _Connected

        with suppress(_Connected):  # aiohttp writes the request, whose host, proxy and certificates are those of any other
            await session.client.get(URL(self._transport.address), middlewares=(only,), **self._settings)

    def _of_loop(self) -> Session:
        session = self._session
        if session is None or session.loop is not asyncio.get_running_loop() or session.is_closed:
            session = self._open()
        return session

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
        session = self._session = Session.of_loop()
        where = urlsplit(at.address)
        session.connector.expect(where.hostname, where.port or {"https": 443}.get(where.scheme, 80), at.burst)
        return session

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

        from surefoot.providers.http.connections import Connector

        self.loop = asyncio.get_running_loop()
        self._users = 0
        self.connector = Connector(limit=0, keepalive_timeout=KEEPALIVE_S)
        self.client = aiohttp.ClientSession(
            connector=self.connector,
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
        """One user less; the last one closes all connections. On another loop than theirs they are left to that loop's end."""
        self._users -= 1
        if self._users <= 0 and self.loop is asyncio.get_running_loop():
            self._open.pop(self.loop, None)
            await self.client.close()


def lowered(raw: Any) -> dict[str, str]:
    """Headers as they came, pairs of bytes, as a plain dict with lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """`headers`, if each can be written. Raises ValueError for one that would break out of its line."""
    for name, value in headers.items():
        if not name.isascii() or not name or any(mark in name + value for mark in "\r\n\0"):
            raise ValueError(f"header {name!r} holds characters that no header carries")
    return headers
