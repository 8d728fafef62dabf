"""The shared session against hand-written servers: what is kept, what is dropped, what a broken answer becomes, how much is read."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib

import aiohttp
import pytest
from yarl import URL

from surefoot.errors import ConnectionLost, Interrupted, Misconfigured
from surefoot.providers.http.connections import watch
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.faults import BodyTooLarge, ErrorBoundary, InFlight
from surefoot.providers.http.session import KEEPALIVE_S, MAX_HEAD_FIELD_BYTES, SUSPECT_S, Sender, Session
from surefoot.providers.http.transport import Transport
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.types import Call, CallState, ChatRequest, Message
from tests.providers.http.servers import OK, serving

MANY = 4 * 2**20


def lane(url: str, **transport) -> DirectLane:
    return DirectLane(Transport(address=url, **transport), sign=lambda key: {"authorization": f"Bearer {key}"}, headers={})


async def ask(one: DirectLane, body: bytes = b"{}") -> bytes:
    answer = await one.post("/v1", body, None)
    return await answer.read()


async def test_a_connection_serves_one_call_after_the_other():
    """A new one each time would cost a handshake a call."""
    async with serving(OK, OK, OK) as served:
        one = lane(served.url)
        assert [await ask(one) for _ in range(3)] == [b"ok"] * 3
        assert len(served.writers) == 1
        await one.aclose()


async def test_targets_of_one_loop_share_connections_until_the_last_is_closed():
    """Two models at one host need no two handshakes; closing one of them hurts nobody else."""
    async with serving(OK, OK, OK) as served:
        first, second = lane(served.url), lane(served.url)
        assert [await ask(first), await ask(second)] == [b"ok"] * 2
        await first.aclose()
        assert await ask(second) == b"ok"
        assert len(served.writers) == 1
        session = Session._open[asyncio.get_running_loop()]
        await second.aclose()
        assert session.is_closed
        assert asyncio.get_running_loop() not in Session._open


async def test_a_closed_target_opens_anew():
    """A model that was closed and is asked again answers."""
    async with serving(OK, OK) as served:
        one = lane(served.url)
        assert await ask(one) == b"ok"
        await one.aclose()
        assert await ask(one) == b"ok"
        await one.aclose()
        assert len(served.writers) == 2


async def test_calls_at_once_each_have_a_connection_of_their_own():
    """HTTP/1.1 has one exchange at a time."""
    async with serving(*[OK] * 5) as served:
        one = lane(served.url)
        assert await asyncio.gather(*(ask(one) for _ in range(5))) == [b"ok"] * 5
        assert len(served.writers) == 5
        await one.aclose()


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
    async with serving(answer, OK) as served:
        one = lane(served.url)
        assert [await ask(one), await ask(one)] == [body, b"ok"]
        assert len(served.writers) == 1
        await one.aclose()


async def test_a_body_without_a_length_ends_with_the_connection():
    """As HTTP/1.0 did."""
    async with serving(b"HTTP/1.1 200 OK\r\n\r\nall of it", hangs_up=True) as served:
        one = lane(served.url)
        assert await ask(one) == b"all of it"
        await one.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"SMTP ready\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2 * MAX_HEAD_FIELD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000 + b"\r\n",
    ],
    ids=["cut", "cut chunk", "no HTTP", "nothing", "endless header", "endless head"],
)
async def test_a_broken_answer_is_an_error_and_its_connection_is_dropped(answer):
    """It must neither look complete nor spoil the next call."""
    async with serving(answer, OK, hangs_up=True) as served:
        one = lane(served.url)
        with pytest.raises((aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError)):
            await ask(one)
        assert await ask(one) == b"ok"
        assert len(served.writers) == 2
        await one.aclose()


async def test_a_request_is_never_sent_twice():
    """Whether the first one was answered, and billed, nobody knows; asking again is the retry layer's."""
    async with serving(OK, b"") as served:
        one = lane(served.url)
        await ask(one)
        asked = asyncio.ensure_future(ask(one))
        await served.requests(2)
        served.writers[0].close()
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await asked
        assert len(served.heads) == 2
        await one.aclose()


async def test_a_cancelled_call_takes_its_connection_along():
    """Its answer may still come, and must not be taken for the next call's."""
    async with serving(b"", OK) as served:
        one = lane(served.url)
        asked = asyncio.ensure_future(ask(one))
        await served.requests(1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert await ask(one) == b"ok"
        assert len(served.writers) == 2
        await one.aclose()


async def test_a_stream_that_is_closed_early_drops_its_connection():
    """A provider bills until its stream is dropped."""
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", OK) as served:
        one = lane(served.url)
        answer = await one.post("/v1", b"{}", None)
        assert await answer.block() == b"half"
        await answer.aclose()
        assert await ask(one) == b"ok"
        assert len(served.writers) == 2
        await one.aclose()


async def test_a_slow_reader_holds_the_sender_back():
    """Else a long stream that nobody reads would fill the memory."""
    size = 32 * 2**20
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size) as served:
        one = lane(served.url)
        answer = await one.post("/v1", b"{}", None)
        got = most = 0
        while block := await answer.block():
            most = max(most, len(block))
            got += len(block)
            for _ in range(20):
                await asyncio.sleep(0)  # turns in which an unchecked connection would read on
        assert got == size
        assert most < 4 * 2**20
        await one.aclose()


async def drain(read):
    while await read():
        pass


@pytest.mark.parametrize("how", ["read", "block"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
async def test_an_answer_is_read_up_to_a_limit_after_decompression(how, packed):
    """A server that never stops, or 3 GB in 3 MB of gzip, must not take the process along."""
    body = gzip.compress(bytes(MANY)) if packed else bytes(MANY)
    coding = b"content-encoding: gzip\r\n" if packed else b""
    head = b"HTTP/1.1 200 OK\r\n%bcontent-length: %d\r\n\r\n" % (coding, len(body))
    async with serving(head + body, head + body, OK) as served:
        ample, tight = lane(served.url, max_body_bytes=MANY), lane(served.url, max_body_bytes=MANY // 2)
        answer = await ample.post("/v1", b"{}", None)
        assert len(await answer.read()) == MANY
        answer = await tight.post("/v1", b"{}", None)
        with pytest.raises(BodyTooLarge, match=f"{MANY // 2} bytes;.*max_body_bytes"):
            await drain(getattr(answer, how))
        assert await ask(tight) == b"ok"
        assert packed or len(served.writers) == 2  # what is left of it is not read
        await ample.aclose()
        await tight.aclose()


async def test_large_requests_arrive_whole():
    """Pictures and thousands of texts; aiohttp warns of large bytes, so they go as a file."""
    body = bytes(range(256)) * 16_384
    async with serving(OK, OK) as served:
        one = lane(served.url)
        for sent in (body, b"{}"):
            assert await ask(one, sent) == b"ok"
        assert served.bodies == [body, b"{}"]
        assert b"content-length: %d" % len(body) in served.heads[0].lower()
        await one.aclose()


async def test_closing_tells_whoever_waits_or_reads():
    """A reader of a connection that is gone would wait until its deadline."""
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
    async with serving(half) as served:
        one = lane(served.url)
        answer = await one.post("/v1", b"{}", None)
        assert await answer.block() == b"half"
        reading = asyncio.ensure_future(answer.block())
        await asyncio.sleep(0)
        await one.aclose()
        async with asyncio.timeout(10):
            with pytest.raises(aiohttp.ClientError):
                await reading
        with pytest.raises(ConnectionLost), ErrorBoundary("t"):
            await answer.block()


@pytest.mark.parametrize("lane", ["sdk", "direct"])
@pytest.mark.parametrize("is_begun", [False, True], ids=["before the answer", "in mid-stream"])
async def test_whoever_waits_for_a_closed_target_is_told_at_once(lane, is_begun):
    """Another target at the same host goes on; the one that is closed says so, and its caller was not cancelled."""
    event = b'data: {"choices": [{"delta": {"content": "fi"}}]}\n\n'
    begun = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 900\r\n\r\n" + event
    async with serving(begun if is_begun else b"", begun) as served:
        targets = [Target("openai:m", base_url=served.url, api_key="k", lane=lane) for _ in range(2)]
        closed, other = (OpenAIProvider(target, None) for target in targets)
        call = Call(request=ChatRequest(messages=(Message.user("hi"),)), state=CallState(), stream=True)

        async def read(provider: OpenAIProvider) -> None:
            async for _ in await provider.chat(call):
                pass

        reading = asyncio.ensure_future(read(closed))
        await served.requests(1)
        going_on = asyncio.ensure_future(read(other))
        await served.requests(2)
        await asyncio.sleep(0.05)  # both wait for what does not come
        await closed.aclose()
        async with asyncio.timeout(10):
            with pytest.raises((ConnectionLost, Interrupted), match="closed while it was answering"):
                await reading
        assert not reading.cancelled()
        assert not going_on.done()
        await other.aclose()
        with pytest.raises((ConnectionLost, Interrupted)):
            await going_on


async def test_a_callers_cancel_stays_one_while_its_target_is_closed():
    """Whoever gave up gets no error of ours in its place."""
    in_flight = InFlight()

    async def wait() -> None:
        with ErrorBoundary("t", None, in_flight):
            await asyncio.Event().wait()

    waiting = asyncio.ensure_future(wait())
    await asyncio.sleep(0)
    waiting.cancel()
    in_flight.emit()
    in_flight.emit()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not in_flight.waiting
    assert not in_flight.told


def idle(session: Session) -> int:
    return sum(len(kept) for kept in session.connector._conns.values())


@pytest.mark.parametrize(("wait_s", "kept"), [(SUSPECT_S - 1, 1), (SUSPECT_S + 1, 0)], ids=["soon", "late"])
async def test_kept_connections_are_suspect_after_a_long_wait_for_nothing(monkeypatch, wait_s, kept):
    """A firewall that forgot one connection has forgotten the others; the retry must not take the next dead one."""
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no"
    async with serving(half, half, b"", OK) as served:
        one = lane(served.url)
        answers = [await one.post("/v1", b"{}", None) for _ in range(2)]  # both under way, so each has a connection
        for writer, answer in zip(served.writers, answers, strict=True):
            writer.write(b"k")
            assert await answer.read() == b"ok"
        loop, session = asyncio.get_running_loop(), one._sender._session
        assert idle(session) == 2
        asked = asyncio.ensure_future(ask(one))
        await served.requests(3)
        clock = loop.time
        monkeypatch.setattr(loop, "time", lambda: clock() + wait_s)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        monkeypatch.undo()
        assert idle(session) == kept
        assert await ask(one) == b"ok"
        assert len(served.writers) == 3 - kept
        await one.aclose()


async def test_connections_are_watched_by_the_system():
    """A host that vanished without a word is noticed before a first token is due, and an idle connection never outlives a NAT's memory."""
    with socket.socket() as sock:
        watch(sock)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        for name, most in (("TCP_KEEPIDLE", 60), ("TCP_USER_TIMEOUT", 30_000)):
            if hasattr(socket, name):
                assert 0 < sock.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) <= most
    async with serving(OK) as served:
        one = lane(served.url)
        await ask(one)
        ((kept, _),) = next(iter(one._sender._session.connector._conns.values()))
        assert kept.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert one._sender._session.connector._keepalive_timeout == KEEPALIVE_S < 60
        await one.aclose()


async def test_connecting_has_a_limit_of_its_own():
    """Name look-up included: a name server that does not answer is no server that thinks."""
    one = Sender(Transport(address="http://name.invalid", connect_s=0.05))

    async def never(*_args, **_fields):
        await asyncio.Event().wait()

    session = one._open()
    session.connector._resolver.resolve = never
    with pytest.raises(aiohttp.ConnectionTimeoutError, match="timeout to host"):
        await one.send(URL("http://name.invalid/v1"), {}, b"{}")
    await one.aclose()


async def test_a_host_that_refuses_is_looked_up_anew():
    """It may have moved; the name's old address must not be asked until it is forgotten."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        one = Sender(Transport(address=""))
        session = one._open()
        looked_up = []
        real = session.connector._resolver.resolve

        async def resolve(host, *rest, **fields):
            looked_up.append(host)
            return await real(host, *rest, **fields)

        session.connector._resolver.resolve = resolve
        for _ in range(2):
            with pytest.raises(OSError):
                await one.send(URL(f"http://localhost:{port}/v1"), {}, b"{}")
        assert looked_up == ["localhost"] * 2
        await one.aclose()


@pytest.mark.parametrize("header", [("x", "a\r\ny: b"), ("x\n", "a"), ("", "a"), ("x", "a\0")])
async def test_a_header_that_would_break_out_of_its_line_is_refused(header):
    """It would send headers, or a request, that nobody wrote."""
    one = DirectLane(Transport(address="http://127.0.0.1:9/v1"), sign=lambda _: {}, headers=dict([header]))
    with pytest.raises(Misconfigured, match="headers"):
        await one.post("/x", b"{}", Secret("k"))


async def test_a_path_is_quoted_once_and_a_new_key_is_sent():
    """A model's name may hold a space, or be quoted already; keys rotate between two calls."""
    async with serving(OK, OK) as served:
        one = lane(served.url)
        for key in ("first", "second"):
            await (await one.post("/models/a b:go%20on?x=1", b"{}", Secret(key))).read()
        assert served.heads[0].startswith(b"POST /models/a%20b:go%20on?x=1 HTTP/1.1\r\n")
        assert [b"bearer " + key in head.lower() for key, head in zip((b"first", b"second"), served.heads, strict=True)] == [True, True]
        await one.aclose()
