"""The direct lane: the same bodies over connections of our own (`_http1`), without the vendor's SDK. A fraction of the SDK lane's cost.

Through a proxy, and to addresses with a user name in them, it goes over an aiohttp session, which knows how.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from surefoot.errors import Misconfigured
from surefoot.providers._hosts import Host
from surefoot.providers._http import CONNECTIONS, KEEPALIVE_S, lowered
from surefoot.providers._http1 import Response, head
from surefoot.secret import Secret

USER_AGENT = "surefoot"
PATHS = 64  # heads remembered: Gemini puts the model into the path


class DirectAnswer:
    """An answer over our own connection, its body unread."""

    __slots__ = ("_response", "block", "headers", "read", "status")

    def __init__(self, response: Response) -> None:
        self._response = response
        self.status = response.status
        self.headers = response.headers
        self.read, self.block = response.read, response.block

    async def aclose(self) -> None:
        """Drop the connection, unless the body was read to its end."""
        self._response.close()


class SessionAnswer:
    """An aiohttp response, its body unread."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: Any) -> None:
        self._response = response
        self.status: int = response.status
        self.headers = lowered(response.raw_headers)

    async def read(self) -> bytes:
        """The whole body."""
        body: bytes = await self._response.read()
        return body

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        block: bytes = await self._response.content.readany()
        return block

    async def aclose(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class DirectLane:
    """Posts over connections that open with the first call, on that call's loop, and are kept.

    `sign` turns a key into headers. Redirects are not followed: followed, a key in a header of its own would go along to any host.
    """

    def __init__(
        self,
        base_url: str,
        *,
        sign: Callable[[str], Mapping[str, str]],
        headers: Mapping[str, str],
        connect_s: float | None,
        query: str = "",
    ) -> None:
        try:
            import aiohttp
            import httptools
        except ImportError as error:
            raise Misconfigured('lane="direct" needs aiohttp and httptools: run  pip install aiohttp httptools') from error
        del httptools
        self._aiohttp = aiohttp
        self._base_url = base_url.rstrip("/")
        self._query = query
        self._sign = sign
        self._headers = {"content-type": "application/json", "user-agent": USER_AGENT, **headers}
        self._connect_s = connect_s
        self._session: Any = None
        self._proxy, self._proxy_headers = proxy_for(self._base_url)
        self._host: Host | None = None
        self._where = urlsplit(self._base_url)
        self._heads: dict[str, tuple[Secret | None, Secret]] = {}  # by path: the key it was made with, the head with that key in it

    def _open(self) -> Any:
        http = self._aiohttp
        self._session = http.ClientSession(
            connector=http.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S),
            timeout=http.ClientTimeout(total=None, sock_connect=self._connect_s),
            headers=self._headers,
            cookie_jar=http.DummyCookieJar(),
            proxy=self._proxy,
        )
        return self._session

    async def post(self, path: str, body: bytes, key: Secret | None) -> DirectAnswer | SessionAnswer:
        """Send `body` once. An answer with any status is an answer; what the transport raises passes through (stand in a Door)."""
        if self._host is None:
            if self._proxy is not None or not _plain(self._where):
                return await self._post_by_session(path, body, key)
            self._host = Host(self._where, connect_s=self._connect_s)
        known = self._heads.get(path)
        if known is None or known[0] is not key:
            known = self._heads[path] = (key, self._head(path, key))
            if len(self._heads) > PATHS:
                self._heads = {path: known}
        return DirectAnswer(await self._host.send(b"%b%d\r\n\r\n%b" % (known[1].reveal().encode("latin-1"), len(body), body)))

    def _head(self, path: str, key: Secret | None) -> Secret:
        signed = self._sign(key.reveal()) if key is not None else {}
        host = self._where.netloc.rpartition("@")[2]
        try:
            return Secret(head(self._where.path + path + self._query, host, {**self._headers, **signed}.items()))
        except ValueError as error:
            raise Misconfigured(f"the request's head cannot be written: {error}; check the target's headers") from None

    async def _post_by_session(self, path: str, body: bytes, key: Secret | None) -> SessionAnswer:
        session = self._session or self._open()
        address = self._base_url + path + self._query
        signed = self._sign(key.reveal()) if key is not None else None
        return SessionAnswer(
            await session.post(address, data=body, headers=signed, proxy_headers=self._proxy_headers, allow_redirects=False)
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._host is not None:
            self._host.close()
        if self._session is not None:
            await self._session.close()


def _plain(address: SplitResult) -> bool:
    """An address our own connections can go to; any other one is aiohttp's to open or to complain of."""
    try:
        name = address.hostname or ""
        return address.scheme in {"http", "https"} and bool(name.isascii() and name) and "@" not in address.netloc and address.port != 0
    except ValueError:  # no port is written so
        return False


def proxy_for(address: str) -> tuple[str | None, dict[str, str] | None]:
    """The system's proxy for `address` and the headers it wants, read once: aiohttp looks it up in a thread at every request.

    Raises Misconfigured for a proxy that aiohttp does not speak to.
    """
    parts = urlsplit(address)
    proxies = getproxies()
    given = proxies.get(parts.scheme) or proxies.get("all")
    if not given or proxy_bypass(parts.hostname or ""):
        return None, None
    proxy = urlsplit(given if "://" in given else f"http://{given}")
    if proxy.scheme not in {"http", "https"}:
        raise Misconfigured(f'the proxy for {parts.hostname} speaks {proxy.scheme}, which lane="direct" does not; use lane="sdk"')
    plain = f"{proxy.scheme}://{proxy.hostname}:{proxy.port or 80}"
    if not proxy.username:
        return plain, None
    credentials = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return plain, {"Proxy-Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}
