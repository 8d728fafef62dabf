"""The direct lane: our bodies over the shared aiohttp session, without the vendor's SDK. A fraction of the SDK lane's cost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from surefoot.errors import Misconfigured
from surefoot.providers.http.body import NO_EXTRA, Extra
from surefoot.providers.http.session import Sender, SessionAnswer, checked
from surefoot.providers.http.transport import Transport
from surefoot.secret import Secret

USER_AGENT = "surefoot"
PATHS = 64  # addresses and headers remembered: Gemini puts the model into the path
SAFE = "/:@!$&'()*+,;=%-._~?"  # of a path; what is quoted already stays


class DirectLane:
    """Posts over the session of the loop that the first call runs on. `sign` turns a key into headers."""

    def __init__(
        self,
        transport: Transport,
        *,
        sign: Callable[[str], Mapping[str, str]],
        headers: Mapping[str, str],
        query: str = "",
    ) -> None:
        try:
            import aiohttp
        except ImportError as error:
            raise Misconfigured('lane="direct" needs aiohttp: run  pip install aiohttp') from error
        del aiohttp
        self._address = transport.address.rstrip("/")
        self._query = query
        self._sign = sign
        self._headers = {"content-type": "application/json", "user-agent": USER_AGENT, **headers}
        self._sender = Sender(transport)
        self._known: dict[str, tuple[Secret | None, Any, Any]] = {}  # by path: the key it was made with, the address, the signed headers

    def post(self, path: str, body: bytes, key: Secret | None, extra: Extra = NO_EXTRA) -> Awaitable[SessionAnswer]:
        """Send `body` once. An answer with any status is an answer.

        What the transport raises passes through (call it inside an ErrorBoundary).
        """
        if extra.headers or extra.query:
            return self._sender.send(*self._ready(path, key, extra), body)
        known = self._known.get(path)
        if known is None or known[0] is not key:
            if len(self._known) >= PATHS:
                self._known.clear()
            known = self._known[path] = (key, *self._ready(path, key, extra))
        return self._sender.send(known[1], known[2], body)

    def send(self, method: str, path: str, body: bytes, key: Secret | None, *, headers: Mapping[str, str]) -> Awaitable[SessionAnswer]:
        """The same by another method, or with other headers: for what a provider offers beside calls."""
        address, signed = self._ready(path, key, NO_EXTRA)
        signed.update(headers)
        return self._sender.send(address, signed, body, method)

    def _ready(self, path: str, key: Secret | None, extra: Extra) -> tuple[Any, Any]:
        from multidict import CIMultiDict
        from yarl import URL

        try:
            headers = checked(extra.over({**self._headers, **(self._sign(key.reveal()) if key is not None else {})}))
        except ValueError as error:
            raise Misconfigured(f"the request's headers cannot be written: {error}; check the target's headers") from None
        return URL(extra.path(f"{self._address}{quote(path, safe=SAFE)}{self._query}")), CIMultiDict(headers)

    async def connect(self) -> None:
        """Open a connection for the first request; nothing is sent."""
        await self._sender.connect()

    async def aclose(self) -> None:
        """Drop what is still being answered, and the connections unless another target uses them."""
        await self._sender.aclose()
