"""The HTTP server itself, over raw sockets: every byte where it was asked for."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import openai
import pytest

from surefoot.testing.wire import OK, RECORDINGS, OpenAISim, PlainAnswer, fault, recorded_stream
from surefoot.testing.wire._server._http import WireReply, steps_of

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}]}).encode()
STREAMED = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}).encode()


@pytest.fixture(scope="module")
def server():
    with OpenAISim() as sim:
        yield sim


@pytest.fixture
def sim(server):
    server.reset()
    server.__dict__.update(answer=None, latency_s=0.0, gap_s=0.0)
    return server


@pytest.fixture
def line(sim):
    host, port = sim.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        yield sock


def post(body, *more, length=True):
    head = ["POST /v1/chat/completions HTTP/1.1", "host: x", "authorization: Bearer k", *more]
    if length:
        head.append(f"content-length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def read_all(sock):
    """All bytes until the end, and how it ended."""
    data = bytearray()
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return bytes(data), "reset"
    return bytes(data), "close"


def read_answer(sock):
    data = bytearray()
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return head, body


def unchunk(data):
    """Payload of a chunked body, and whether its terminator came."""
    body = bytearray()
    while data:
        size, _, rest = data.partition(b"\r\n")
        if not size or (not rest and size):
            break
        if int(size, 16) == 0:
            return bytes(body), True
        body += rest[: int(size, 16)]
        data = rest[int(size, 16) + 2 :]
    return bytes(body), False


def test_one_connection_serves_many_requests(sim, line):
    """Keep-alive, also for requests sent before the answers are read."""
    line.sendall(post(BODY) * 3)
    answers = b""
    while answers.count(b"HTTP/1.1 200 OK") < 3 or not answers.endswith(b"}"):
        answers += line.recv(65536)
    assert sim.request_count == 3


def test_bytes_may_dribble_in(sim, line):
    """A request is complete when its length is, however it is cut."""
    for byte in post(BODY):
        line.sendall(bytes([byte]))
    assert json.loads(read_answer(line)[1])["object"] == "chat.completion"


def test_chunked_requests_and_expectations(sim, line):
    """Both ways to send a body whose length the head does not say."""
    pieces = [BODY[:10], BODY[10:]]
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
    line.sendall(post(b"", "transfer-encoding: chunked", length=False) + chunked)
    assert read_answer(line)[1]
    assert sim.requests[0].body == BODY
    head = post(BODY, "expect: 100-continue")
    line.sendall(head[: -len(BODY)])
    assert line.recv(100).startswith(b"HTTP/1.1 100")
    line.sendall(BODY)
    assert read_answer(line)[1]


def test_connection_close_is_obeyed(sim, line):
    """The client may end the connection by asking."""
    line.sendall(post(BODY, "connection: close"))
    assert read_all(line)[1] == "close"


def test_requests_are_recorded_with_lazy_headers_and_query(sim, line):
    """The record shows what was sent; its repr shows no key."""
    line.sendall(post(BODY).replace(b"completions HTTP", b"completions?api-version=1%202 HTTP"))
    read_answer(line)
    request = sim.requests[-1]
    assert (request.method, request.path, request.query) == ("POST", "/v1/chat/completions", "api-version=1%202")
    assert request.headers["authorization"] == "Bearer k"
    assert "Bearer" not in repr(request)


@pytest.mark.parametrize("cut", ["end", "close", "reset"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_streams_are_cut_at_exactly_that_byte(sim, line, cut, share):
    """Cleanly framed, by FIN, or by RST: the bytes before are the same."""
    whole = b"".join(sim.serve(_request(STREAMED)).chunks)
    sim.reset()
    at = int(len(whole) * share)
    sim.script([OK.but(cut_at=at, cut=cut)])
    line.sendall(post(STREAMED, "connection: close"))
    data, ending = read_all(line)
    body, terminated = unchunk(data.partition(b"\r\n\r\n")[2])
    assert body == whole[:at]
    assert ending == ("reset" if cut == "reset" else "close")
    assert terminated == (cut == "end")


def _request(body):
    from surefoot.testing.wire import WireRequest

    return WireRequest(post(body).partition(b"\r\n\r\n")[0], body, at_s=0.0)


@pytest.mark.parametrize("cut", ["close", "reset"])
def test_plain_answers_are_cut_too(sim, line, cut):
    """A length that is promised and not kept."""
    sim.script([OK.but(cut_at=30, cut=cut)])
    line.sendall(post(BODY))
    data, ending = read_all(line)
    assert len(data.partition(b"\r\n\r\n")[2]) == 30
    assert ending == cut


def test_drop_and_raw_and_length(sim):
    """Nothing at all, something else, or a lie."""
    for row, ending, check in (
        (fault("reset_before_answer"), "reset", lambda d: d == b""),
        (fault("closed_before_answer"), "close", lambda d: d == b""),
        (fault("not_http"), "close", lambda d: d.startswith(b"\x16\x03")),
        (
            fault("content_length_long"),
            "close",
            lambda d: int(d.partition(b"content-length: ")[2].split()[0]) == len(d.partition(b"\r\n\r\n")[2]) + 7,
        ),
    ):
        sim.script([row])
        host, port = sim.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5) as sock:
            sock.sendall(post(BODY))
            data, ended = read_all(sock)
            assert ended == ending
            assert check(data)


def test_every_recording_can_be_cut_everywhere():
    """The layout of each cut: exactly k bytes of payload, for each k of a short recording, for strides of the long ones."""
    for vendor in ("openai", "responses", "anthropic", "google"):
        for name in RECORDINGS:
            body = recorded_stream(vendor, name)
            pieces = [body[n : n + 97] for n in range(0, len(body), 97)]
            for at in range(0, len(body), 1 if len(body) < 2000 else 61):
                reply = WireReply(chunks=pieces)
                reply.cut_at, reply.cut = at, "close"
                steps, ending = steps_of(reply)
                assert ending == "close"
                assert unchunk(b"".join(s.data for s in steps[1:]))[0] == body[:at]


def test_recordings_hold_text_tools_usage_and_a_terminal_marker():
    """What a reader of cut streams must be able to tell."""
    ends = {"openai": b"[DONE]", "responses": b'"response.completed"', "anthropic": b'"message_stop"', "google": b'"finishReason":"STOP"'}
    for vendor, marker in ends.items():
        body = recorded_stream(vendor)
        assert marker in body
        for word in (b"get_weather", b"my_adder_tool", b"Let"):
            assert word in body
        assert b"usage" in body
        assert body == recorded_stream(vendor)


@pytest.mark.looptime
async def test_thirty_virtual_seconds_cost_none():
    """Stalls of any length, in tests that take no time."""
    started = time.perf_counter()
    async with OpenAISim(latency_s=30, gap_s=5, answer="a b c") as sim:
        client = openai.AsyncOpenAI(base_url=sim.url, api_key="k", max_retries=0, timeout=60)
        loop = asyncio.get_running_loop()
        before = loop.time()
        chunks = [
            c async for c in await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        ]
        virtual = loop.time() - before
        await client.close()
    assert 30 + 5 * (len(chunks) - 1) <= virtual < 60
    assert time.perf_counter() - started < 5


def test_a_mistake_of_the_simulator_is_a_500_that_names_it(sim, line):
    """Never silence: a hanging test tells nothing."""
    sim.answer = lambda ask: 1 / 0
    line.sendall(post(BODY))
    head, body = read_answer(line)
    assert b" 500 " in head
    assert b"ZeroDivisionError" in body


def test_bad_json_and_unknown_paths_are_refused_natively(sim, line):
    """400 and 404 with the vendor's error object."""
    line.sendall(post(b"{nonsense"))
    head, body = read_answer(line)
    assert b" 400 " in head
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    line.sendall(post(BODY).replace(b"/v1/chat/completions", b"/v1/nowhere"))
    assert b" 404 " in read_answer(line)[0]


def test_stopping_ends_open_connections_and_bills_them():
    """A test that ends early leaves nothing behind."""
    sim = OpenAISim(gap_s=10, answer=PlainAnswer(text="a b c")).start()
    host, port = sim.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(post(STREAMED))
        assert sock.recv(100)
        sim.stop()
        assert read_all(sock)[1] in ("close", "reset")
    (bill,) = sim.usage_log.values()
    assert not bill.complete


def test_an_answer_that_ends_after_a_reset_is_forgotten_with_the_rest():
    """The client has its last byte before the server has written its books: whoever resets in between must not confuse them."""
    sim = OpenAISim()
    late = sim.serve(_request(STREAMED))
    sim.reset()
    late.on_end(len(late.chunks), True)
    assert sim.billed.total == 0
    after = sim.serve(_request(STREAMED))
    assert not sim.wait_idle(0)
    after.on_end(len(after.chunks), True)
    assert sim.wait_idle(0)
    assert sim.billed.total > 0
