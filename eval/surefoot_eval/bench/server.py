"""A provider that costs next to nothing: canned answers of the OpenAI protocol over loopback, so that a client's own cost shows.

    python -m surefoot_eval.bench.server [--latency-ms 20 --slow-share 0.02 --slow-ms 1000]

It reads a request's head only as far as its length and path, and answers without parsing the body (an embeddings request: its texts are
counted). A streamed answer's events go out one a turn of the loop, so that a client reads them in many pieces, as it would over a network,
or one every `--gap-ms`. `GET /stats` tells requests, streams under way and CPU seconds; `GET /closed` who (the request's field `user`) hung
up in mid-stream, and when; `capacity()` measures both from a raw client, to show that the server is not the bottleneck.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from struct import pack
from typing import Any
from urllib.request import urlopen

CHUNKS = 60  # events of a streamed answer
DIMENSIONS = 1_536
TEXT = "Retrieval augmented generation looks up passages first and lets the model answer from them, with the sources at hand. "
CONNECTIONS = 32


def _body(value: Any) -> bytes:
    raw = json.dumps(value).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw


USAGE = {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}
CHAT = _body(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-mini",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": TEXT * 2}, "logprobs": None, "finish_reason": "stop"},
        ],
        "usage": USAGE,
    }
)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nx-request-id: req_1\r\ntransfer-encoding: chunked\r\n\r\n"
)


def _event(value: Any) -> bytes:
    raw = b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"
    return b"%x\r\n" % len(raw) + raw + b"\r\n"


def _piece(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return _event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini", "choices": [choice]})


EVENTS = (
    *(_piece({"content": f" word{i}"}) for i in range(CHUNKS - 2)),
    _piece({}, "stop"),
    _event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini", "choices": [], "usage": USAGE}),
    _event(b"[DONE]") + b"0\r\n\r\n",
)
_NUMBERS = [0.1 + i / DIMENSIONS for i in range(DIMENSIONS)]
BASE64_ROW = b64encode(pack(f"<{DIMENSIONS}f", *_NUMBERS)).decode()
_vectors: dict[tuple[int, bool], bytes] = {}


def vectors(count: int, *, packed: bool) -> bytes:
    """An embeddings answer of `count` rows, made once."""
    known = _vectors.get((count, packed))
    if known is None:
        row: Any = BASE64_ROW if packed else _NUMBERS
        data = [{"object": "embedding", "index": i, "embedding": row} for i in range(count)]
        known = _vectors[count, packed] = _body({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": USAGE})
    return known


class Pace:
    """How long answers take, by seed: `latency_s`, and `slow_s` for one in `1 / slow_share`."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.latency_s: float = given.latency_ms / 1e3
        self.slow_s: float = given.slow_ms / 1e3
        self.slow_share = given.slow_share
        self.gap_s: float = given.gap_ms / 1e3
        self._rng = Random(given.seed)
        self.requests = 0
        self.slow = 0
        self.open = 0  # streams under way
        self.closed: list[tuple[str, float]] = []

    def next_s(self) -> float:
        """Seconds until the next answer."""
        self.requests += 1
        if self.slow_share and self._rng.random() < self.slow_share:
            self.slow += 1
            return self.slow_s
        return self.latency_s


class Talk(asyncio.Protocol):
    """One connection; requests one after the other."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._inbox = bytearray()
        self._transport: Any = None
        self._user: str | None = None  # whose stream is under way

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Note it, in mid-stream."""
        if self._user is not None:
            self._pace.open -= 1
            self._pace.closed.append((self._user, time.time()))  # noqa: TID251 - two processes share this clock
            self._user = None

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        inbox = self._inbox
        inbox += data
        head = inbox.find(b"\r\n\r\n")
        if head < 0:
            return
        start = bytes(inbox[:head]).lower()
        at = start.find(b"content-length:")
        length = int(start[at + 15 : (start + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0
        if len(inbox) < head + 4 + length:
            return
        body = bytes(inbox[head + 4 : head + 4 + length])
        del inbox[: head + 4 + length]
        if start.startswith(b"get /stats"):
            stats = {"requests": self._pace.requests, "slow": self._pace.slow, "open": self._pace.open, "cpu_s": time.process_time()}
            self._transport.write(_body(stats))
            return
        if start.startswith(b"get /closed"):
            self._transport.write(_body(self._pace.closed))
            return
        if start.find(b"/embeddings", 0, 100) >= 0:
            answer = vectors(max(1, len(json.loads(body)["input"])), packed=b'"base64"' in body)
        else:
            is_stream = b'"stream":true' in body or b'"stream": true' in body
            answer = b"" if is_stream else CHAT
            if is_stream:
                self._pace.open += 1
                self._user = body.partition(b'"user":"')[2].partition(b'"')[0].decode()
        wait_s = self._pace.next_s()
        if wait_s:
            asyncio.get_running_loop().call_later(wait_s, self._answer, answer)
        else:
            self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        if self._transport.is_closing():
            return
        if answer:
            self._transport.write(answer)
        else:
            self._transport.write(STREAM_HEAD)
            self._next(0)

    def _next(self, at: int) -> None:
        if at == len(EVENTS):
            self._pace.open -= self._user is not None  # else it was counted when the client left
            self._user = None
        elif not self._transport.is_closing():
            self._transport.write(EVENTS[at])
            if self._pace.gap_s and at + 1 < len(EVENTS):
                asyncio.get_running_loop().call_later(self._pace.gap_s, self._next, at + 1)
            else:
                asyncio.get_running_loop().call_soon(self._next, at + 1)


async def _serve(given: argparse.Namespace) -> None:
    pace = Pace(given)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Talk(pace), "127.0.0.1", 0, backlog=20_000)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    halt = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, halt.set)
    await halt.wait()


class Server:
    """The server in a process of its own; `url` is the base URL clients take."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "surefoot_eval.bench.server", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()
        self.url = f"{self.address}/v1"

    def stats(self) -> dict[str, float]:
        """Requests so far, slow ones among them, CPU seconds."""
        with urlopen(f"{self.address}/stats", timeout=30) as answer:  # noqa: S310 - loopback
            found: dict[str, float] = json.load(answer)
        return found

    def closed(self) -> list[tuple[str, float]]:
        """Who hung up in mid-stream, and when, in seconds since 1970."""
        with urlopen(f"{self.address}/closed", timeout=30) as answer:  # noqa: S310 - loopback
            return [(user, at) for user, at in json.load(answer)]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


@contextmanager
def server(*options: str) -> Iterator[Server]:
    """The lean server in a process of its own."""
    running = Server(*options)
    try:
        yield running
    finally:
        running.stop()


class _Raw(asyncio.Protocol):
    """Asks again and again over one connection."""

    def __init__(self, request: bytes, size: int, count: int) -> None:
        self._request, self._size, self._left, self._got = request, size, count, 0
        self._transport: Any = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask first."""
        self._transport = transport
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Ask next when the answer is whole."""
        self._got += len(data)
        if self._got < self._size:
            return
        self._got, self._left = 0, self._left - 1
        if self._left:
            self._transport.write(self._request)
        else:
            self._transport.close()
            self.done.set_result(None)


def capacity(running: Server, *, calls: int = 12_800) -> dict[str, float]:
    """Plain answers a CPU-second of the server; CPU-us a call of the rawest client there is (an asyncio protocol, no HTTP parsed)."""
    raw = json.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "x" * 200}]}).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(raw) + raw

    async def drive() -> None:
        loop = asyncio.get_running_loop()
        host, port = running.address.removeprefix("http://").split(":")
        each = calls // CONNECTIONS
        made = [await loop.create_connection(lambda: _Raw(request, len(CHAT), each), host, int(port)) for _ in range(CONNECTIONS)]
        await asyncio.gather(*(one.done for _, one in made))

    before, began = running.stats()["cpu_s"], time.process_time()
    asyncio.run(drive())
    client_s, server_s = time.process_time() - began, running.stats()["cpu_s"] - before
    return {"per_cpu_s": calls / server_s, "raw_us": client_s / calls * 1e6}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--slow-ms", type=float, default=1000.0)
    parser.add_argument("--slow-share", type=float, default=0.0)
    parser.add_argument("--gap-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    asyncio.run(_serve(parser.parse_args()))
