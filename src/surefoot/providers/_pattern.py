"""What a vendor's SDK writes around a body: learned from requests it writes without sending, and used again and again.

An SDK makes the address and the headers of each request anew, which costs it more than sending does; between two requests to one path
only the body differs. So the SDK is given an HTTP client that keeps what it is to send, and writes to each path twice: alike, that is the
pattern for every body to come. An SDK that put a date or a number of its own into each request would be asked each time.

No SDK ever holds a key: it gets STAND_IN, and the key takes its place on the way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from surefoot.secret import Secret

STAND_IN = "key-of-surefoot-stands-here"
_MARK = STAND_IN.encode()
PATHS = 64  # patterns remembered: Gemini puts the model into the path


class Recorder:
    """An HTTP client (httpx or httpx2) for an SDK, which sends nothing: it keeps the request and answers with an empty object."""

    def __init__(self, http: Any) -> None:
        self.request: Any = None
        recorder = self

        class Client(http.AsyncClient):  # type: ignore[misc]
            async def send(self, request: Any, **options: Any) -> Any:  # above transport, proxies and the log: there is nothing to tell
                del options
                recorder.request = request
                return http.Response(200, json={}, request=request)

        self.client = Client(trust_env=False)


class Pattern:
    """One request of an SDK without its body and its key."""

    __slots__ = ("_keyed", "_plain", "_url")

    def __init__(self, request: Any) -> None:
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
        self._url = request.url
        self._plain = [(name, value) for name, value in headers if _MARK not in value]
        self._keyed = [(name, value) for name, value in headers if _MARK in value]

    def is_like(self, other: Pattern) -> bool:
        """True if both would send a body in the same way."""
        return (self._url, self._plain, self._keyed) == (other._url, other._plain, other._keyed)

    def request(self, http: Any, body: bytes, key: Secret | None) -> Any:
        """A request of `http` (httpx or httpx2) with `body`, and the key in its place."""
        keyed = self._keyed if key is None else [(name, value.replace(_MARK, key.reveal().encode())) for name, value in self._keyed]
        headers = [*self._plain, *keyed, (b"Content-Length", b"%d" % len(body))]
        # Given as a stream, it gets these headers and no others; read at once, the transport has it as bytes.
        request = http.Request("POST", self._url, headers=headers, stream=http.ByteStream(body))
        request.read()
        return request


class Patterns:
    """One SDK's patterns by path. `write(path)` has it write a request and gives that back."""

    def __init__(self, write: Callable[[str], Awaitable[Any]]) -> None:
        self._write = write
        self._known: dict[str, Pattern] = {}
        self._turn = asyncio.Lock()

    async def of(self, path: str) -> Pattern:
        """The pattern of `path`. Raises what the SDK raises."""
        known = self._known.get(path)
        if known is not None:
            return known
        async with self._turn:
            if path in self._known:  # somebody else has had it written meanwhile
                return self._known[path]
            first, second = Pattern(await self._write(path)), Pattern(await self._write(path))
            if first.is_like(second):
                if len(self._known) >= PATHS:
                    self._known.clear()
                self._known[path] = second
            return second
