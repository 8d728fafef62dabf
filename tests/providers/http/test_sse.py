"""Event streams, block by block: whatever the blocks, the same events; whatever breaks, never a false end."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.core.stream import collect, open_stream
from surefoot.errors import ConnectionLost, Interrupted, MalformedReply, Overloaded
from surefoot.providers.http.faults import ErrorBoundary
from surefoot.providers.http.sse import MAX_EVENT_BYTES, Bare, EventParser, EventSource, Junk
from surefoot.types import Delta

STREAM = (
    b'\xef\xbb\xbf: hello\n\ndata: {"a":1}\n\nid: 7\n: ping\n\nevent: x\r\ndata: two\r\ndata: lines\r\n\r\n'
    b"data:three\r\rretry: 5\n\ndata: [DONE]\n\n"
)
EVENTS = [b'{"a":1}', b"two\nlines", b"three", b"[DONE]"]


def parsed(*blocks: bytes) -> list[bytes]:
    parser = EventParser()
    events = [event for block in blocks for event in parser.feed(block)]
    return events + parser.close()


def test_events_are_read_as_the_standard_says():
    """Comments, ids, CR, LF, CRLF, a BOM, data in several lines, no space after the colon: all of it is on the wire today."""
    assert parsed(STREAM) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_where_blocks_are_cut_does_not_matter(cuts):
    """TCP cuts where it likes: also between CR and LF, inside a UTF-8 letter, inside the BOM."""
    providers = [0, *sorted(cuts), len(STREAM)]
    assert parsed(*(STREAM[a:b] for a, b in pairwise(providers))) == EVENTS


def test_one_byte_at_a_time_gives_the_same_events():
    """The worst case of the above."""
    assert parsed(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_parser(data):
    """It stands before a foreign server: any bytes are events, junk or nothing."""
    assert all(isinstance(event, bytes) for event in parsed(data))


@pytest.mark.parametrize("line", [b"<!DOCTYPE html>", b"  <h1>Error: 502</h1>", b"502 Bad Gateway"])
def test_a_line_that_is_no_field_is_junk(line):
    """Ignored, as the standard says, a proxy's page would be an empty answer."""
    assert [type(event) for event in parsed(line + b"\n")] == [Junk]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\r", b"\n\n"])
def test_the_last_event_needs_no_blank_line(end):
    """Servers end their last event with the body; whole JSON proves that nothing was cut off, at any other place it was."""
    stream = b'data: {"a": 1}\n\nevent: x\ndata: {"b": {"c": "}"}}'
    assert parsed(stream + end) == [b'{"a": 1}', b'{"b": {"c": "}"}}']
    assert all(parsed(stream[:cut]) == [b'{"a": 1}'] for cut in range(20, len(stream)))
    assert parsed(b"data: [DONE]" + end) == [b"[DONE]"]


def test_an_unfinished_event_is_dropped():
    """Half an event is no event; but the tail of a page is still a page."""
    assert parsed(b'data: {"a"') == []
    assert parsed(b"data: [DO") == []
    assert [type(event) for event in parsed(b"<html>no end of line")] == [Junk]


def test_lines_that_are_whole_json_are_events_of_their_own():
    """Some servers send no blank lines; text over several lines, and JSON over several lines, is one event all the same."""
    assert parsed(b'data: {"a": 1}\ndata: {"b": 2}\ndata:[DONE]\n') == [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]
    assert parsed(b'data: {"a":\ndata: 1}\n\n') == [b'{"a":\n1}']
    assert parsed(b'data: {"a": "\xe9"}\ndata: {"b": NaN}\n\n') == [b'{"a": "\xe9"}', b'{"b": NaN}']


def test_named_events_are_read_by_their_names():
    """A ping says what it likes; an error is one, whatever is in it."""
    assert parsed(b"event: ping\ndata: ping\n\nevent: heartbeat\ndata: 1\n\nevent: x\ndata: {}\n\n") == [b"{}"]
    assert parsed(b"event: ping\n\ndata: x\n\n") == [b"x"]
    for data in (b'{"message": "no"}', b"no", b'"no"'):
        assert json.loads(parsed(b"event: error\ndata: " + data + b"\n\n")[0]) == {"type": "error", "error": {"message": "no"}}
    whole = b'{"type": "error", "error": {"message": "no"}}'
    assert parsed(b"event: error\ndata: " + whole + b"\n\n") == [whole]


@pytest.mark.parametrize(
    "body", [b'{"a": 1}\n{"a": 2}\n', b'[{"a": 1},\n{"a": 2}]', b'[{\n"a": 1\n}\n,\n{"a": 2}', b'{"a": 1}\n\n{\n  "a": 2\n}\n'],
)  # fmt: skip
def test_json_without_a_frame_is_read_as_it_stands(body):
    """Lines of JSON, or Gemini's array of chunks where `alt=sse` was lost on the way, in blocks of any size."""
    for size in (1, 3, len(body)):
        found = parsed(*(body[at : at + size] for at in range(0, len(body), size)))
        assert [json.loads(one) for one in found] == [{"a": 1}, {"a": 2}]
        assert {type(one) for one in found} == {Bare}
    assert parsed(b'{"a": [1, 2')[0] == b'{"a": [1, 2'
    assert type(parsed(b'{"a": [1, 2')[0]) is Junk


def test_a_large_event_in_small_blocks_costs_no_squares():
    """Joining what is held back at every block made one 20 MB picture take minutes."""
    parser = EventParser()
    for _ in range(20_000):
        assert parser.feed(b"x" * 50 if parser.size_bytes else b"data: ") == []
    assert len(parser.feed(b"\n\n")[0]) == 19_999 * 50


def test_an_endless_event_is_refused(monkeypatch):
    """A server that never ends a line must not fill the memory."""
    monkeypatch.setattr("surefoot.providers.http.sse.MAX_EVENT_BYTES", 1000)
    parser = EventParser()
    for _ in range(9):
        parser.feed(b"data: " + b"x" * 100)
    with pytest.raises(OverflowError):
        parser.feed(b"x" * 200)


async def test_an_answer_of_endless_pieces_is_refused(monkeypatch):
    """Each piece takes memory beside its text: an endless stream of single letters must end long before its bytes are many."""
    monkeypatch.setattr("surefoot.providers.http.sse.MAX_DELTAS", 100)
    assert (await told(Body(b"data: a\n\n" * 99 + b"data: !end\n\ndata: !done\n\n"))).text == "a" * 99
    with pytest.raises(Interrupted, match="an answer of more than 100 pieces") as failed:
        await told(Body(*[b"data: a\n\n" * 30] * 5))
    assert failed.value.partial.startswith("a" * 100)


class Reader:
    """Reads `text`, `!end` (the last token), `!done` (the end mark)."""

    def __init__(self) -> None:
        self.finished = self.done = False

    def read(self, data: bytes, out: list[Delta]) -> None:
        if data == b"!end":
            self.finished = True
        elif data == b"!done":
            self.done = True
        else:
            out.append(Delta(text=data.decode()))

    def end(self, out: list[Delta]) -> None:
        if self.finished:
            out.append(Delta(finish_reason="stop"))


class Body:
    """A body of given blocks; an exception among them is raised, None waits for ever."""

    status = 200

    def __init__(self, *blocks: bytes | BaseException | None) -> None:
        self.headers: dict[str, str] = {}
        self.blocks = list(blocks)
        self.closed = 0

    async def read(self) -> bytes:
        raise NotImplementedError

    async def block(self) -> bytes:
        block = self.blocks.pop(0) if self.blocks else b""
        if block is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(block, BaseException):
            raise block
        return block

    async def aclose(self) -> None:
        self.closed += 1


async def told(body: Body):
    return await collect(await open_stream(EventSource(body, Reader(), ErrorBoundary("t:m")), target="t:m"))


async def test_a_stream_is_complete_only_with_its_terminal_marker():
    """A clean end of the body proves nothing: proxies end bodies cleanly when the model behind them dies."""
    assert (await told(Body(b"data: a\n\ndata: !end\n\n"))).text == "a"
    with pytest.raises(Interrupted) as caught:
        await told(Body(b"data: a\n\n"))
    assert caught.value.partial == "a"


async def test_what_arrived_before_a_fault_is_delivered():
    """Also when both came in one block: the reader has a right to what was paid for."""
    with pytest.raises(Interrupted) as caught:
        await told(Body(b'data: a\n\n{"error": {"type": "overloaded_error", "message": "Overloaded"}}\n'))
    assert caught.value.partial == "a"
    assert isinstance(caught.value.__cause__, Overloaded)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), EOFError(), asyncio.CancelledError("from the transport")])
async def test_a_connection_that_breaks_is_lost(error):
    """Whatever the transport raises, a cancel of its own making included, reaches the reader as ours and closes the body."""
    body = Body(error)
    with pytest.raises(ConnectionLost) as caught:
        await told(body)
    assert caught.value.__cause__ is error
    assert body.closed


async def test_a_stream_broken_after_its_last_token_has_answered():
    """Only bookkeeping was still to come; calling it a failure would pay twice for a whole answer."""
    assert (await told(Body(b"data: a\n\ndata: !end\n\n", ConnectionResetError()))).finish_reason == "stop"


@pytest.mark.looptime
async def test_a_server_that_dawdles_after_its_last_token_has_answered():
    """The end mark may never come; two seconds are enough to wait for it."""
    assert (await told(Body(b"data: a\n\ndata: !end\n\n", None))).text == "a"
    assert 1.9 < asyncio.get_running_loop().time() < 2.5


@pytest.mark.looptime
async def test_the_end_of_the_body_is_read_so_that_its_connection_can_be_used_again():
    """Leaving the last bytes unread costs a new connection a call; waiting long for them costs more."""
    read = Body(b"data: a\n\ndata: !end\n\ndata: !done\n\n", b"")
    await told(read)
    assert not read.blocks
    await told(Body(b"data: a\n\ndata: !end\n\ndata: !done\n\n", None))
    assert asyncio.get_running_loop().time() < 0.5


async def test_a_stream_without_any_event_is_malformed():
    """Neither an answer nor a cut: something that is no model has answered."""
    with pytest.raises(MalformedReply):
        await told(Body(b": ping\n\n"))


async def test_a_cancel_of_the_caller_stays_a_cancel():
    """Cancellation is never a failure: it passes the error boundary, and the connection is dropped."""
    body = Body(b": ping\n\n", None)
    task = asyncio.ensure_future(told(body))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert body.closed


@pytest.mark.parametrize("line", [b"data:\n", b"data: x\n", b"data: " + b"x" * 500 + b"\n"], ids=["empty", "short", "long"])
def test_an_event_of_endless_lines_is_refused_before_it_fills_the_memory(line):
    """Each line takes memory beside its text, so a million empty ones count, too; and counting them takes no squares."""
    parser, block = EventParser(), line * (160_000 // len(line))

    def feed_on():
        for _ in range(2000):
            parser.feed(block)

    with pytest.raises(OverflowError):
        feed_on()
    held = sum(map(sys.getsizeof, parser._data)) + sys.getsizeof(parser._data)
    assert held < 2 * MAX_EVENT_BYTES


def test_whole_events_between_do_not_count():
    """A stream of many short events, each of several lines, never comes near the bound."""
    parser = EventParser()
    for _ in range(300):
        assert len(parser.feed(b"data: x\ndata: y\n\n" * 5000)) == 5000
    assert parser.size_bytes == 0
