"""A server that sends without end: bodies, compressed bodies, headers, streams.

Run as `python -m tests.torture.scenarios.hostile`; prints its port.

The path says what and under which status: http://127.0.0.1:PORT/KIND/STATUS/v1. Each sends up to END_BYTES, or for as long as it is read.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Iterator
from itertools import chain, repeat

END_BYTES = 5 * 2**30
PIECE = 2**18


def deflated(mode: int) -> Iterator[bytes]:
    """END_BYTES of spaces in about a thousandth of the bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, mode)
    plain = b" " * 2**20
    yield packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(plain) + packer.flush(zlib.Z_FULL_FLUSH)  # stands by itself, so it may be repeated
    yield from repeat(piece * 16, END_BYTES // len(plain) // 16)


def repeated(text: bytes) -> Iterator[bytes]:
    """`text` over and over, up to END_BYTES."""
    piece = text * max(1, PIECE // len(text))
    return repeat(piece, END_BYTES // len(piece))


JSON, SSE = b"content-type: application/json\r\n", b"content-type: text/event-stream\r\n"
KINDS = {  # headers, then what follows them
    "body": (JSON, lambda: chain([b'{"choices": "'], repeated(b"x"))),
    "length": (JSON + b"content-length: 5368709120\r\n", lambda: chain([b'{"choices": "'], repeated(b"x"))),
    "nested": (JSON, lambda: repeated(b'{"a":[')),
    "gzip": (JSON + b"content-encoding: gzip\r\n", lambda: deflated(31)),
    "deflate": (JSON + b"content-encoding: deflate\r\n", lambda: deflated(15)),
    "gzip-events": (SSE + b"content-encoding: gzip\r\n", lambda: deflated(31)),
    "one-line": (SSE, lambda: chain([b"data: "], repeated(b"x"))),
    "one-event": (SSE, lambda: repeated(b"data: xxxxxxxxxxxxxxxx\n")),
    "empty-event": (SSE, lambda: repeated(b"data:\n")),
    "comments": (SSE, lambda: repeated(b": ping\n\n")),
    "blank-lines": (SSE, lambda: repeated(b"\n")),
    "no-content": (SSE, lambda: repeated(b'data: {"choices":[]}\n\n')),
    "tiny": (SSE, lambda: repeated(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')),
    "tool-calls": (SSE, lambda: repeated(b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}}]}\n\n')),
    "headers": (b"", lambda: (b"x-header-%d: %s\r\n" % (i, b"x" * 8000) for i in range(END_BYTES // 8000))),
    "one-header": (b"x-header: ", lambda: repeated(b"x")),
    "informational": (b"", lambda: repeated(b"x: y\r\n\r\nHTTP/1.1 100 Continue\r\n")),
    "chunk-lines": (JSON + b"transfer-encoding: chunked\r\n\r\n", lambda: repeated(b"1;x")),
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request and hang up."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, kind, status, *_ = head.split(b" ")[1].decode().split("/")
    headers, body = KINDS[kind]
    status = "100" if kind == "informational" else status
    bare = kind in {"headers", "one-header", "informational", "chunk-lines"}
    writer.write(f"HTTP/1.1 {status} Said\r\n".encode() + headers + (b"" if bare else b"connection: close\r\n\r\n"))
    try:
        for piece in body():
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def main() -> None:
    """Serve until standard input closes."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
