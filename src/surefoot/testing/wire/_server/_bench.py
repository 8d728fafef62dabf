"""How fast the simulators are: requests per CPU-second of the server, driven over raw sockets.

The server runs in a process of its own, so its CPU time is its own; the load comes from this process over a few keep-alive connections.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from surefoot.testing.wire._model._schema import Json
from surefoot.testing.wire._server._process import SimProcess
from surefoot.testing.wire.faults import Vendor

CONNECTIONS = 32

_TALK = [{"role": "user", "content": "How long is the cooldown after a failure?"}]
_WORDS = [f"passage number {n} tells how long the cooldown lasts" for n in range(16)]
_CALLS: tuple[tuple[str, Vendor, str, Json], ...] = (
    ("chat", "openai", "/v1/chat/completions", {"model": "gpt-5-mini", "messages": _TALK}),
    ("stream", "openai", "/v1/chat/completions", {"model": "gpt-5-mini", "messages": _TALK, "stream": True}),
    ("embed 16 x 1536", "openai", "/v1/embeddings", {"model": "text-embedding-3-small", "input": _WORDS, "encoding_format": "base64"}),
    ("chat", "anthropic", "/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": _TALK}),
    ("stream", "anthropic", "/v1/messages", {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": _TALK, "stream": True}),
    ("chat", "google", "/v1beta/models/gemini-3-flash:generateContent", {"contents": [{"parts": [{"text": _TALK[0]["content"]}]}]}),
)


class _Client(asyncio.Protocol):
    """Sends the same request again and again over one connection; an answer is complete when `ends` says so."""

    def __init__(self, request: bytes, count: int, ends: Callable[[bytearray], bool]) -> None:
        self._request, self._left, self._ends = request, count, ends
        self._inbox = bytearray()
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._inbox += data
        if not self._ends(self._inbox) or self._transport is None:
            return
        assert self._inbox.startswith(b"HTTP/1.1 200"), bytes(self._inbox[:400])
        self._inbox.clear()
        self._left -= 1
        if self._left > 0:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.done.set_result(None)


def _is_whole(inbox: bytearray) -> bool:
    head = inbox.find(b"\r\n\r\n")
    if head < 0:
        return False
    at = inbox.find(b"content-length: ", 0, head)
    if at < 0:
        return inbox.endswith(b"\r\n0\r\n\r\n")
    return len(inbox) >= head + 4 + int(inbox[at + 16 : inbox.find(b"\r\n", at)])


async def _drive(url: str, path: str, body: Json, count: int) -> None:
    host, port = url.removeprefix("http://").split(":")
    raw = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer k\r\nx-goog-api-key: k\r\ncontent-type: application/json\r\n"
    request = head.encode() + b"content-length: %d\r\n\r\n" % len(raw) + raw
    loop = asyncio.get_running_loop()
    each = count // CONNECTIONS
    made = [await loop.create_connection(lambda: _Client(request, each, _is_whole), host, int(port)) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(client.done for _, client in made))


def measure(count: int = 6400) -> list[tuple[str, str, float, float]]:
    """(vendor, call, requests per CPU-second of the server, requests per second on the clock) for each kind of call."""
    rows: list[tuple[str, str, float, float]] = []
    for what, vendor, path, body in _CALLS:
        with SimProcess(vendor, "--record", "100") as sim:
            asyncio.run(_drive(sim.url, path, body, CONNECTIONS * 10))
            before, started = sim.stats()["cpu_s"], time.perf_counter()
            asyncio.run(_drive(sim.url, path, body, count))
            took, spent = time.perf_counter() - started, sim.stats()["cpu_s"] - before
        whole = count // CONNECTIONS * CONNECTIONS
        rows.append((vendor, what, whole / spent, whole / took))
    return rows
