"""The SDK lane: a raw, unread answer over a vendor SDK's own client.

The SDK keeps what it is good at: auth, addresses, headers, proxies, connections. Bodies and answers are ours. openai and anthropic share
this low-level call: `client.post(path, content=..., cast_to=<raw response>)` with the header that asks for an unread body. Their retries
and timeouts are switched off where the client is built (connecting excepted): time belongs to the timeout layer, retries to the retry
layer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from surefoot.providers._faults import Door
from surefoot.secret import Secret

CONNECT_S = 5.0  # TCP and TLS take 3 round trips; 5 s is three SYN retransmissions
CONNECTIONS = 10_000  # the concurrency layer bounds what is in flight; a pool smaller than that would be a second, hidden queue
KEEPALIVE_S = 30.0  # reused within a burst, gone before a load balancer (60 s is common) hangs up on us in mid-request
UNREAD = {"X-Stainless-Raw-Response": "stream"}

_opened: ContextVar[list[Any]] = ContextVar("surefoot_opened")  # the responses of the request this task is sending


async def _note(response: Any) -> None:
    """An event hook of the HTTP client: a response has begun."""
    _opened.get([]).append(response)


class SdkAnswer:
    """An SDK client's raw response (httpx or httpx2), its body unread."""

    __slots__ = ("_blocks", "_response", "headers", "status")

    def __init__(self, response: Any) -> None:
        self._response = response
        self._blocks: Any = None
        self.status: int = response.status_code
        self.headers = lowered(response.headers.raw)

    async def read(self) -> bytes:
        """The whole body."""
        body: bytes = await self._response.aread()
        return body

    async def block(self) -> bytes:
        """The next bytes of the body; empty at its end."""
        if self._blocks is None:
            self._blocks = self._response.aiter_bytes()
        try:
            block: bytes = await self._blocks.__anext__()
        except StopAsyncIteration:
            return b""
        return block or await self.block()  # a decoder may need more before it gives anything

    async def aclose(self) -> None:
        """Give the connection back, or drop it if the body was not read to its end."""
        try:
            if self._blocks is not None:
                await self._blocks.aclose()
        finally:
            await self._response.aclose()


class SdkLane:
    """Posts through a vendor SDK's async client, one loop at a time; connections open with the first call."""

    def __init__(
        self, client: Any, *, response_type: type[Any], status_error: type[Exception], sign: Callable[[str], dict[str, str]] | None = None
    ) -> None:
        self._client = client
        self._sign = sign  # headers beside those the SDK makes of its `api_key`
        self._response_type = response_type
        self._status_error = status_error

    async def post(self, path: str, body: bytes, key: Secret | None) -> SdkAnswer:
        """Send `body` once. An answer with any status is an answer; what the transport raises passes through (stand in a Door)."""
        client = self._client
        headers = UNREAD
        if key is not None:
            # Set just before the request is signed: a rotated key is used at once, and no frame's locals hold it.
            client.api_key = key.reveal()
            if self._sign is not None:
                headers = UNREAD | self._sign(key.reveal())
        opened: list[Any] = []
        token = _opened.set(opened)
        try:
            response = await client.post(path, content=body, cast_to=self._response_type, options={"headers": headers})
        except self._status_error as failed:
            response = failed.response  # type: ignore[attr-defined]  # the SDK has read its body
        except BaseException:
            for left in opened:
                await left.aclose()  # the SDK leaves an error's answer open when reading it is cancelled or fails
            raise
        finally:
            _opened.reset(token)
        return SdkAnswer(response)

    async def aclose(self) -> None:
        """Close all connections."""
        with Door("closing"):
            await self._client.close()


def lowered(raw: Any) -> dict[str, str]:
    """Headers as they came, pairs of bytes, as a plain dict with lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def http_module(client_type: type[Any]) -> Any:
    """The HTTP library an SDK stands on (httpx or httpx2), found through the ancestry of its public client class."""
    for ancestor in client_type.__mro__:
        root = ancestor.__module__.partition(".")[0]
        if root in {"httpx", "httpx2"}:
            return import_module(root)
    raise TypeError(f"{client_type.__module__}.{client_type.__name__} stands on neither httpx nor httpx2")


def timeouts(sdk: Any, *, connect_s: float | None) -> Any:
    """The client's own timeouts: connecting only. Answers are timed by the timeout layer, which pings do not fool."""
    return http_module(sdk.DefaultAsyncHttpxClient).Timeout(None, connect=connect_s)


def pooled_client(sdk: Any, *, connect_s: float | None) -> Any:
    """An HTTP client for `sdk` (the module openai or anthropic): over aiohttp, which keeps its pace with many calls in flight.

    Without the SDK's aiohttp extra, over its default transport: several times slower at 32 calls in flight, and httpx 0.28 loses
    connections to cancelled calls. Our own connections (`_http1`) cost less; they stay with the direct lane: who takes the
    vendor's client gets its transport, too.
    """
    http = http_module(sdk.DefaultAsyncHttpxClient)
    limits = http.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S)
    options = {"limits": limits, "timeout": timeouts(sdk, connect_s=connect_s), "event_hooks": {"response": [_note]}}
    try:
        return sdk.DefaultAioHttpClient(**options)
    except RuntimeError:  # the aiohttp extra is not installed
        return sdk.DefaultAsyncHttpxClient(**options)
