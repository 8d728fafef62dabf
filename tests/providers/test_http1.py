"""HTTP/1.1 by hand-written servers: what is kept, what is dropped, and what a broken answer becomes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from urllib.parse import urlsplit

import pytest

from surefoot.errors import Misconfigured
from surefoot.providers._direct import DirectLane
from surefoot.providers._hosts import Host
from surefoot.providers._http1 import ContentEncodingError, ProtocolError, head
from surefoot.secret import Secret

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def serving(*answers: bytes, hangs_up: bool = False):
    """A server that gives `answers` in order, one a request; the host to ask, its connections and requests so far."""
    left, heads, writers = list(answers), [], []

    async def talk(reader, writer):
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while left:
                request = await reader.readuntil(b"\r\n\r\n")
                heads.append(request)
                length = int(request.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(left.pop(0))
                await writer.drain()
                if hangs_up:
                    break
            if not hangs_up:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    host = Host(urlsplit(url), connect_s=None)
    try:
        yield host, writers, heads
    finally:
        host.close()
        server.close()
        for writer in writers:
            writer.close()


def request(body: bytes = b"{}") -> bytes:
    return head("/v1", "h", ()).encode() + b"%d\r\n\r\n%b" % (len(body), body)


async def test_a_connection_serves_one_call_after_the_other():
    """A new one each time would cost a handshake a call."""
    async with serving(OK, OK, OK) as (host, writers, _):
        for _ in range(3):
            answer = await host.send(request())
            assert (answer.status, await answer.read()) == (200, b"ok")
        assert len(writers) == 1


async def test_calls_at_once_each_have_a_connection_of_their_own():
    """HTTP/1.1 has one exchange at a time."""
    async with serving(*[OK] * 5) as (host, writers, _):
        answers = await asyncio.gather(*(host.send(request()) for _ in range(5)))
        assert [await answer.read() for answer in answers] == [b"ok"] * 5
        assert len(writers) == 5


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\ntrailer: t\r\n\r\n", b"abcde"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 0\r\n\r\n", b""),
        (
            b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-length: %d\r\n\r\n%b"
            % (len(zlib.compress(b"zipped")), zlib.compress(b"zipped")),
            b"zipped",
        ),
    ],
    ids=["chunked", "informational", "empty", "no content", "empty and compressed", "deflate"],
)
async def test_every_framing_is_read_and_the_connection_kept(answer, body):
    """What the standard allows, servers do."""
    async with serving(answer, OK) as (host, writers, _):
        assert await (await host.send(request())).read() == body
        assert await (await host.send(request())).read() == b"ok"
        assert len(writers) == 1


async def test_a_body_without_a_length_ends_with_the_connection():
    """As HTTP/1.0 did."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\nall of it", hangs_up=True) as (host, _, _):
        assert await (await host.send(request())).read() == b"all of it"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf", ProtocolError),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab", ProtocolError),
        (b"SMTP ready\r\n", ProtocolError),
        (b"", ProtocolError),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", ProtocolError),
        (OK + b"surplus", ProtocolError),
        (OK + OK, ProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 10\r\n\r\n" + gzip.compress(b"x" * 99)[:10], ContentEncodingError),
    ],
    ids=["cut", "cut chunk", "no HTTP", "nothing", "endless head", "surplus", "two answers", "half an archive"],
)
async def test_a_broken_answer_is_an_error_and_its_connection_is_dropped(answer, error):
    """It must neither look complete nor spoil the next call."""
    async with serving(answer, OK, hangs_up=True) as (host, writers, _):
        with pytest.raises(error):
            await (await host.send(request())).read()
        assert await (await host.send(request())).read() == b"ok"
        assert len(writers) == 2


async def test_a_request_is_never_sent_twice():
    """Whether the first one was answered, and billed, nobody knows; asking again is the retry layer's."""
    async with serving(OK, b"", hangs_up=False) as (host, writers, heads):
        await (await host.send(request())).read()
        asked = asyncio.ensure_future(host.send(request()))
        while len(heads) < 2:
            await asyncio.sleep(0)
        writers[0].close()
        with pytest.raises((ProtocolError, OSError)):
            await asked
        assert len(heads) == 2


async def test_a_cancelled_call_takes_its_connection_along():
    """Its answer may still come, and must not be taken for the next call's."""
    async with serving(b"", OK) as (host, writers, heads):
        asked = asyncio.ensure_future(host.send(request()))
        while not heads:
            await asyncio.sleep(0)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await (await host.send(request())).read() == b"ok"
        assert len(writers) == 2


async def test_a_stream_that_is_closed_early_drops_its_connection():
    """A provider bills until its stream is dropped."""
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", OK) as (host, writers, _):
        answer = await host.send(request())
        assert await answer.block() == b"half"
        answer.close()
        assert await (await host.send(request())).read() == b"ok"
        assert len(writers) == 2


async def test_a_slow_reader_holds_the_sender_back():
    """Else a long stream that nobody reads would fill the memory."""
    size = 32 * 2**20
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size) as (host, _, _):
        answer = await host.send(request())
        got = 0
        most = 0
        while block := await answer.block():
            most = max(most, len(block))
            got += len(block)
            for _ in range(20):
                await asyncio.sleep(0)  # turns in which an unchecked connection would read on
        assert got == size
        assert most < 4 * 2**20


async def test_idle_connections_are_hung_up_after_a_while():
    """A load balancer would do it in the middle of a request."""
    async with serving(OK, OK) as (host, writers, _):
        await (await host.send(request())).read()
        (idle,) = host._idle
        idle.idle_since -= 31.0
        host._sweep()
        assert not host._idle
        assert not idle.is_open
        assert await (await host.send(request())).read() == b"ok"
        assert len(writers) == 2


@pytest.mark.parametrize("header", [("x", "a\r\ny: b"), ("x\n", "a"), ("", "a"), ("x", "a\0")])
async def test_a_header_that_would_break_out_of_its_line_is_refused(header):
    """It would send headers, or a request, that nobody wrote."""
    with pytest.raises(ValueError, match="no header"):
        head("/", "h", [header])
    lane = DirectLane("http://127.0.0.1:9/v1", sign=lambda _: {}, headers=dict([header]), connect_s=1)
    with pytest.raises(Misconfigured, match="headers"):
        await lane.post("/x", b"{}", Secret("k"))


def test_a_path_is_quoted_once():
    """A model's name may hold a space, or be quoted already."""
    assert head("/models/a b:go%20on?x=1", "h", ()).startswith("POST /models/a%20b:go%20on?x=1 HTTP/1.1\r\nhost: h\r\n")
