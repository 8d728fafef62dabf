"""The SDK lane: what a vendor's SDK writes, sent over its own kind of HTTP client, and the answer unread.

The SDK keeps what it is good at: addresses, headers, how a key is shown; and its HTTP library what that is good at: proxies, connections.
Bodies and answers are ours. Neither retries, nor do they time anything but connecting: time belongs to the timeout layer, retries to the
retry layer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from surefoot.providers._faults import Door
from surefoot.providers._pattern import Patterns, Recorder
from surefoot.secret import Secret

CONNECT_S = 5.0  # TCP and TLS take 3 round trips; 5 s is three SYN retransmissions
CONNECTIONS = 10_000  # the concurrency layer bounds what is in flight; a pool smaller than that would be a second, hidden queue
KEEPALIVE_S = 30.0  # reused within a burst, gone before a load balancer (60 s is common) hangs up on us in mid-request
UNREAD = {"X-Stainless-Raw-Response": "stream"}


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
    """Posts what a vendor's SDK would, over an HTTP client of its library; lives on one loop, connections open with the first call.

    `write(path)` has the SDK write a request to `path` (see `_pattern`); `pool` sends it with our body and the key in it.
    """

    def __init__(self, pool: Any, write: Callable[[str], Awaitable[Any]]) -> None:
        self._pool = pool
        self._http = http_module(type(pool))
        self._patterns = Patterns(write)

    async def post(self, path: str, body: bytes, key: Secret | None) -> SdkAnswer:
        """Send `body` once. An answer with any status is an answer; what the transport raises passes through (stand in a Door)."""
        pattern = await self._patterns.of(path)
        request = pattern.request(self._http, body, key)
        if self._pool.cookies:  # a gateway's, by which it finds the same node again
            self._pool.cookies.set_cookie_header(request)
        return SdkAnswer(await self._pool.send(request, stream=True))

    async def aclose(self) -> None:
        """Close all connections."""
        with Door("closing"):
            await self._pool.aclose()


def writing(client: Any, recorder: Recorder, **headers: str) -> Callable[[str], Awaitable[Any]]:
    """How openai's and anthropic's clients, made with `recorder`, write a request: by the low-level call that both have."""
    response_type = http_module(type(recorder.client)).Response

    async def write(path: str) -> Any:
        await client.post(path, content=b"{}", cast_to=response_type, options={"headers": UNREAD | headers})
        return recorder.request

    return write


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


def timeouts(http: Any, *, connect_s: float | None) -> Any:
    """A client's own timeouts: connecting only. Answers are timed by the timeout layer, which pings do not fool."""
    return http.Timeout(None, connect=connect_s)


def pooled_client(sdk: Any, *, connect_s: float | None) -> Any:
    """An HTTP client for `sdk` (the module openai or anthropic): over aiohttp, which keeps its pace with many calls in flight.

    Without the SDK's aiohttp extra, over its default transport: several times slower at 32 calls in flight, and httpx 0.28 loses
    connections to cancelled calls.
    """
    http = http_module(sdk.DefaultAsyncHttpxClient)
    options = pool_options(http, connect_s=connect_s)
    try:
        return sdk.DefaultAioHttpClient(**options)
    except RuntimeError:  # the aiohttp extra is not installed
        return sdk.DefaultAsyncHttpxClient(**options)


def pool_options(http: Any, *, connect_s: float | None) -> dict[str, Any]:
    """What our HTTP clients of `http` (httpx or httpx2) have in common."""
    return {
        "limits": http.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
        "timeout": timeouts(http, connect_s=connect_s),
        "follow_redirects": False,  # a key in a header of its own would follow to any host
    }
