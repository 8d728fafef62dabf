"""The direct lane: the same bodies over a shared aiohttp session, without the vendor's SDK. About a quarter of the SDK lane's cost."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from surefoot.errors import Misconfigured
from surefoot.providers._http import CONNECTIONS, KEEPALIVE_S, lowered
from surefoot.secret import Secret

USER_AGENT = "surefoot"


class DirectAnswer:
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
    """Posts through one aiohttp session; it and its connections open with the first call, on that call's loop.

    `sign` turns a key into headers. Redirects are not followed: aiohttp takes every header but Authorization along to any host, so a key in
    a header of its own would leak.
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
        except ImportError as error:
            raise Misconfigured('lane="direct" needs aiohttp, not installed here: run  pip install aiohttp') from error
        self._aiohttp = aiohttp
        self._base_url = base_url.rstrip("/")
        self._query = query
        self._sign = sign
        self._headers = {"content-type": "application/json", "user-agent": USER_AGENT, **headers}
        self._connect_s = connect_s
        self._session: Any = None
        self._proxy, self._proxy_headers = proxy_for(self._base_url)

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

    async def post(self, path: str, body: bytes, key: Secret | None) -> DirectAnswer:
        """Send `body` once. An answer with any status is an answer; what the transport raises passes through (stand in a Door)."""
        session = self._session or self._open()
        address = self._base_url + path + self._query
        signed = self._sign(key.reveal()) if key is not None else None
        return DirectAnswer(
            await session.post(address, data=body, headers=signed, proxy_headers=self._proxy_headers, allow_redirects=False)
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()


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
