"""The golden corpus, run: each exchange on both lanes, whole and streamed; each stream cut at every byte. See `golden_corpus`.

The vendors' own addresses are asked, over a proxy of ours that answers in their place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from surefoot.core.deltas import from_deltas
from surefoot.core.stream import collect
from surefoot.errors import ConnectionLost, SurefootError
from surefoot.events import LeftOut
from surefoot.facts import provider_of
from surefoot.providers.http.faults import ErrorBoundary
from surefoot.providers.http.sse import EventSource
from surefoot.providers.registry import load
from surefoot.settings import Target
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Message
from tests.providers.golden_corpus import GoldenExchange, at_path, exchanges, told_of, with_made

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-golden-0123456789"
LOST = ConnectionLost("cut")
ENDS = ("closed", "no last chunk", "whole")  # how a cut answer ends: before its length, before its last chunk, or as if it were whole
BY_NAME = {(one.dialect, one.name): one for one in exchanges()}
ALL = [pytest.param(one, id=one.id) for one in exchanges()]
STREAMS = [pytest.param(one, id=one.id) for one in exchanges() if one.has_stream]
WHOLE = [pytest.param(one, id=one.id) for one in exchanges() if "answer" in one.told]


class Proxy:
    """Answers whatever is asked of it in the place of the host that was meant; keeps what was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = b""
        self.hangs_up = False
        self.line = b""
        self.headers: dict[str, str] = {}
        self.body = b""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):  # cancelled at the test's end
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.line, *lines = head.decode().strip().split("\r\n")
                self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                self.body = await reader.readexactly(int(self.headers["content-length"]))
                writer.write(self.answer)
                await writer.drain()
                if self.hangs_up:
                    break
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy():
    found = Proxy()
    server = await asyncio.start_server(found.talk, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def provider(proxy):
    """The provider of an exchange's target, made once."""
    made: dict[Any, Any] = {}

    def of(exchange: GoldenExchange, lane: str) -> Any:
        told = exchange.told
        options = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in told.get("options", {}).items())
        key = (told["model"], told["address"], options, lane)
        if key not in made:
            target = Target(told["model"], base_url=told["address"], api_key=KEY, lane=lane, options=options, proxy=proxy.url)  # type: ignore[arg-type]
            made[key] = load(provider_of(target.provider).path)(target, None)
        return made[key]

    yield of
    for one in made.values():
        await one.aclose()


class Canned:
    """A lane that sends nothing: the answer is at hand, up to where it is cut."""

    def __init__(self, data: bytes, kind: str, *, lost: Exception | None = None) -> None:
        self.status = 200
        self.headers = {"content-type": kind}
        self.sent = b""
        self._blocks = [data] if data else []
        self._lost = lost

    async def post(self, path: str, body: bytes, *_: Any) -> Canned:
        self.sent = body
        return self

    async def read(self) -> bytes:
        return b"".join(self._blocks)

    async def block(self) -> bytes:
        if self._blocks:
            return self._blocks.pop(0)
        if self._lost is not None:
            raise self._lost
        return b""

    async def aclose(self) -> None:
        pass


async def asked(provider: Any, request: ChatRequest, *, stream: bool, lane: Any = None, events: list[Any] | None = None) -> ChatReply:
    """One exchange, a stream read to its end."""
    listeners = () if events is None else (events.append,)
    call = Call(request=request, state=CallState(listeners), stream=stream)
    if lane is None:
        found = await provider.chat(call)
    else:
        real, provider._exchange._lane = provider._exchange._lane, lane
        try:
            found = await provider.chat(call)
        finally:
            provider._exchange._lane = real
    return await collect(found) if stream else found


class _Catching:
    """Stands for a provider's: takes what it would read a stream with."""

    async def stream(self, path: str, body: bytes, call: Any, *, reader: Any, whole: Any) -> Any:
        return reader


async def reader_of(provider: Any, request: ChatRequest) -> Any:
    """What makes a reader of events for an answer to `request`, as the provider makes it on both lanes."""
    real, provider._exchange = provider._exchange, _Catching()
    try:
        return await provider.chat(Call(request=request, state=CallState(), stream=True))
    finally:
        provider._exchange = real


def answer_of(exchange: GoldenExchange, *, stream: bool) -> tuple[bytes, str]:
    if not stream:
        return exchange.answer(), exchange.told.get("content_type", "application/json")
    return exchange.stream(), exchange.told.get("content_type_streamed", "text/event-stream; charset=utf-8")


def http_answer(data: bytes, kind: str, *, is_chunked: bool) -> bytes:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n".encode()
    if not is_chunked:
        return head + b"content-length: %d\r\n\r\n" % len(data) + data
    return head + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(data) + data + b"\r\n0\r\n\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def request_of(provider):
    """An exchange's request; what it gives back of another is read of that one's answer, in the same form."""

    async def of(exchange: GoldenExchange, *, stream: bool) -> ChatRequest:
        earlier: dict[str, Message] = {}
        for message in exchange.told["request"]["messages"]:
            if (name := message.get("reply_of", "")) and name not in earlier:
                other = BY_NAME[tuple(name.split("/"))] if "/" in name else BY_NAME[exchange.dialect, name]
                form = stream if stream in other.forms else other.forms[0]
                lane = Canned(*answer_of(other, stream=form))
                earlier[name] = (await asked(provider(other, "direct"), await of(other, stream=form), stream=form, lane=lane)).message
        return exchange.request(earlier.__getitem__)

    return of


@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("exchange", ALL)
async def test_what_is_sent_and_what_is_read(exchange: GoldenExchange, lane: str, proxy: Proxy, provider: Any, request_of: Any):
    """Body, path and key as the vendor's document says; the reply with all that the answer holds, whole and streamed."""
    asks, told = provider(exchange, lane), exchange.told
    for stream in exchange.forms:
        request = await request_of(exchange, stream=stream)
        proxy.answer = http_answer(*answer_of(exchange, stream=stream), is_chunked=stream)
        asks._notes._told.clear()  # what is left out is told once a target
        events: list[Any] = []
        failure, reply = None, None
        try:
            reply = await asked(asks, request, stream=stream, events=events)
        except SurefootError as error:
            failure = error
        path = told["path_streamed"] if stream and "path_streamed" in told else told["path"]
        assert proxy.line == f"POST {told['address']}{path} HTTP/1.1"
        header, form = told["key_header"], told.get("key_form", "{}")
        if lane == "sdk" and header == "x-api-key" and anthropic.__version__ >= "2":  # as Anthropic's SDK writes it since 2.0
            header, form = "authorization", "Bearer {}"
        assert proxy.headers[header] == form.format(KEY)
        sent = json.loads(proxy.body)
        assert sent == with_made(exchange.body(stream=stream), sent)
        assert sorted(name for event in events if isinstance(event, LeftOut) for name in event.parameters) == told.get("left_out", [])
        if "error" in told:
            check_error(failure, told["error"])
            continue
        if failure is not None:
            raise failure
        read = told_of(reply)
        assert read == with_made(exchange.reply(stream=stream), read)
        for where, value in told.get("raw", {}).items():
            assert at_path(reply.raw, where) == value, where
        assert reply.raw


def check_error(failure: SurefootError | None, wanted: dict[str, Any]) -> None:
    fault = failure.__cause__ if type(failure).__name__ == "Interrupted" and wanted["class"] != "Interrupted" else failure
    found = {"class": type(fault).__name__, **{name: getattr(fault, name, None) for name in wanted if name != "class"}}
    assert found == wanted, failure


def without_bill(reply: dict[str, Any]) -> dict[str, Any]:
    """What an answer says: the count of its tokens may come after its end."""
    return {name: value for name, value in reply.items() if name != "usage"}


def check_cut(reply: ChatReply, whole: dict[str, Any], at: int) -> None:
    """A cut answer that was not refused: all that it says must have come."""
    read = without_bill(told_of(reply))
    assert read == with_made(without_bill(whole), read), at


@pytest.mark.parametrize("exchange", STREAMS)
async def test_no_cut_stream_looks_whole(exchange: GoldenExchange, provider: Any, request_of: Any):
    """At every byte, closed there or cleanly ended: an error, or an answer of which all has come."""
    reader = await reader_of(provider(exchange, "direct"), await request_of(exchange, stream=True))
    data, kind = answer_of(exchange, stream=True)
    boundary = ErrorBoundary("t")
    for at in range(len(data)):
        for lost in (None, LOST):
            body, deltas = Canned(data[:at], kind, lost=lost), []
            source = EventSource(body, reader(body, boundary), boundary)
            with contextlib.suppress(SurefootError, StopAsyncIteration):
                while True:
                    deltas.append(await anext(source))
            if deltas and deltas[-1].finish_reason:  # else a Stream raises Interrupted
                assert "error" not in exchange.told, at
                check_cut(from_deltas(deltas), exchange.reply(stream=True), at)


@pytest.mark.parametrize("exchange", WHOLE)
async def test_no_cut_body_is_an_answer(exchange: GoldenExchange, provider: Any, request_of: Any):
    """At every byte."""
    asks, request = provider(exchange, "direct"), await request_of(exchange, stream=False)
    data, kind = answer_of(exchange, stream=False)
    for at in range(len(data.rstrip())):
        with pytest.raises(SurefootError):
            await asked(asks, request, stream=False, lane=Canned(data[:at], kind))


async def cut_over_sockets(exchange: GoldenExchange, proxy: Proxy, asks: Any, request: ChatRequest, *, at: int, end: str) -> None:
    data, kind = answer_of(exchange, stream=True)
    if end == "whole":
        proxy.answer = http_answer(data[:at], kind, is_chunked=True)
    else:
        whole = http_answer(data, kind, is_chunked=end == "no last chunk")
        proxy.answer = whole[: whole.index(b"\r\n\r\n") + 4 + at]
    proxy.hangs_up = True
    try:
        reply = await asked(asks, request, stream=True)
    except SurefootError:
        return
    finally:
        proxy.hangs_up = False
    assert "error" not in exchange.told, (at, end)
    check_cut(reply, exchange.reply(stream=True), at)


@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("exchange", STREAMS)
async def test_no_connection_that_breaks_makes_an_answer(exchange: GoldenExchange, lane: str, proxy: Proxy, provider: Any, request_of: Any):
    """The same over sockets, at bytes drawn by a seed: each end once."""
    asks, request = provider(exchange, lane), await request_of(exchange, stream=True)
    luck = Random(f"{exchange.id}/{lane}")
    size = len(exchange.stream())
    for end in ENDS:
        await cut_over_sockets(exchange, proxy, asks, request, at=luck.randrange(size), end=end)


@pytest.mark.heavy
@pytest.mark.parametrize("lane", ["direct", "sdk"])
@pytest.mark.parametrize("exchange", STREAMS)
async def test_no_connection_that_breaks_anywhere_makes_an_answer(
    exchange: GoldenExchange, lane: str, proxy: Proxy, provider: Any, request_of: Any
):
    """At every sixtieth byte, over sockets, by each ending in turn; a host is given new connections at a pace."""
    asks, request = provider(exchange, lane), await request_of(exchange, stream=True)
    for number, at in enumerate(range(len(exchange.id) % 60, len(exchange.stream()), 60)):
        await cut_over_sockets(exchange, proxy, asks, request, at=at, end=ENDS[number % len(ENDS)])


OWN_TYPES = {
    "openai_chat": (ChatCompletion, ChatCompletionChunk),
    "openai_responses": (Response, ResponseStreamEvent),
    "anthropic": (AnthropicMessage, RawMessageStreamEvent),
    "gemini": (GenerateContentResponse, GenerateContentResponse),
}
UNDOCUMENTED = {"choices.0.delta.annotations"}  # OpenAI's search models send them in streams, too


def unknown_fields(value: Any, path: str = "") -> Iterator[str]:
    """The fields of an SDK's object that its type does not have."""
    if isinstance(value, BaseModel):
        yield from (f"{path}{name}" for name in value.model_extra or ())
        value = {name: getattr(value, name) for name in type(value).model_fields}
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield from unknown_fields(one, f"{path}{name}.")


@pytest.mark.skipif(openai.__version__ < "3", reason="the types of older SDKs lack what the vendors have added since")
@pytest.mark.parametrize("dialect", OWN_TYPES)
async def test_the_answers_are_such_as_the_vendors_types_allow(dialect: str):
    """Every field is one that the vendor's own SDK knows, with a value that it takes: else the corpus would prove nothing."""
    whole, event = (TypeAdapter(kind) for kind in OWN_TYPES[dialect])
    seen = 0
    for exchange in exchanges():
        if exchange.dialect != dialect:
            continue
        found = [(whole, exchange.told["answer"])] if "answer" in exchange.told else []
        events = [exchange.event(one) for one in exchange.told.get("events", ()) if isinstance(one, dict)]
        found += [(event, one) for one in events if one.get("type") not in {"ping", "error"} and "error" not in one]
        for kind, told in found:
            assert set(unknown_fields(kind.validate_python(told))) <= UNDOCUMENTED, exchange.id
        seen += len(found)
    assert seen > OF_EACH


LEAST, OF_EACH = 140, 9


async def test_the_corpus_is_as_large_as_it_is_said_to_be(record_property: Any):
    """No dialect is thin."""
    counts = Counter(one.dialect for one in exchanges())
    record_property("exchanges", dict(counts))
    print(f"golden corpus: {counts.total()} exchanges, {len(STREAMS)} of them streamed: {dict(counts)}")  # shown by -rA
    assert counts.total() >= LEAST
    assert min(counts.values()) >= OF_EACH
    assert len({(one.dialect, one.name) for one in exchanges()}) == counts.total()
