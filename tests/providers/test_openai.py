"""The OpenAI protocol over both lanes, against a loopback server that speaks it: every answer read right, every fault named."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import logging
import socket
import traceback
from collections.abc import AsyncIterator, Iterator

import msgspec
import numpy as np
import pytest
import pytest_asyncio
from msgspec.structs import replace

from surefoot import errors
from surefoot.core.stream import Stream, collect, open_stream
from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    BadRequest,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    Interrupted,
    MalformedReply,
    Misconfigured,
    SurefootError,
    Transient,
    Unsupported,
)
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.faults import ErrorBoundary, fault_of
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sse import EventSource
from surefoot.providers.http.transport import Transport
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.providers.openai.requests import OpenAIDialect, chat_body
from surefoot.providers.openai.stream import OpenAIChatReader
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing.wire import OK, Limits, OpenAISim, PlainAnswer, WireFault, fault, faults_for
from surefoot.testing.wire import PlainToolCall as Called
from surefoot.types import (
    Call,
    CallState,
    ChatReply,
    ChatRequest,
    EmbedRequest,
    File,
    Image,
    Message,
    Reasoning,
    Schema,
    Text,
    Tool,
    ToolCall,
    Usage,
)
from tests.providers.http.test_sse import Body

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-CANARY-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WEATHER = Tool.of("weather", "The weather somewhere", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
HELLO = ChatRequest(messages=(Message.user("Merhaba, how are you?"),))


def asking(request: ChatRequest | EmbedRequest = HELLO, *, stream: bool = False) -> Call:
    return Call(request=request, state=CallState(), stream=stream)


def chat(*messages: Message | str, **fields) -> ChatRequest:
    return ChatRequest(messages=tuple(Message.user(m) if isinstance(m, str) else m for m in messages), **fields)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenAISim]:
    with OpenAISim() as sim:
        yield sim


@pytest.fixture
def sim(server) -> OpenAISim:
    server.reset()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sdk", "direct"])
async def provider(request, server) -> AsyncIterator[OpenAIProvider]:
    one = OpenAIProvider(Target("openai:gpt-4.1", base_url=server.url + "/v1", api_key=KEY, lane=request.param), None)
    yield one
    await one.aclose()


def of(provider: OpenAIProvider, **changes) -> OpenAIProvider:
    """Another provider like this one; its connections are closed with the loop."""
    return OpenAIProvider(replace(provider.target, **changes), None)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is closed here was closed on purpose."""
    gc.disable()
    yield
    gc.enable()


async def ask(provider: OpenAIProvider, request: ChatRequest, mode: str) -> ChatReply:
    """The whole answer, asked whole or streamed: they must be the same."""
    answer = await provider.chat(asking(request, stream=mode == "stream"))
    if mode == "chat":
        return answer
    assert isinstance(answer, Stream)
    assert answer.deltas[-1].is_content
    return await collect(answer)


both = pytest.mark.parametrize("mode", ["chat", "stream"])


# Answers


@both
async def test_an_answer_comes_whole_with_its_usage_and_ids(provider, sim, mode):
    """Everything a caller or a bill needs; a collected stream is the same."""
    sim.script("Merhaba! İyiyim, teşekkürler. 👋")
    reply = await ask(provider, HELLO, mode)
    assert reply.text == "Merhaba! İyiyim, teşekkürler. 👋"
    assert (reply.finish_reason, reply.model, reply.target) == ("stop", "gpt-4.1", "openai:gpt-4.1")
    assert await asyncio.to_thread(sim.wait_idle, 2)
    billed = sim.usage_log[reply.request_id]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (billed.input_tokens, billed.output_tokens)


@both
async def test_usage_details_are_reported(provider, sim, mode):
    """Cached, reasoning and audio tokens have prices of their own."""
    thinker = of(provider, name="openai:o4-mini")
    long = chat(Message.system("Be brief. " * 600), "Hello", reasoning_effort="high")
    await ask(thinker, long, mode)
    usage = (await ask(thinker, long, mode)).usage
    assert usage.cached_tokens > 1000
    assert usage.reasoning_tokens == 128
    spoken = await ask(of(provider, name="openai:gpt-4o-audio-preview"), chat("Hi", extra='{"modalities": ["text", "audio"]}'), mode)
    assert spoken.usage.audio_output_tokens > 0
    assert "Hi" in spoken.text
    await thinker.aclose()


async def test_limits_of_each_answer_are_noted(provider):
    """The rate layer learns from them, from refusals as well."""
    with OpenAISim(limits=Limits(requests_per_minute=60, tokens_per_minute=9000)) as limited:
        near = of(provider, base_url=limited.url + "/v1")
        call = asking()
        await near.chat(call)
        assert call.state.rate_headers["x-ratelimit-remaining-requests"] == "59"
        limited.script(fault("retry_after_hint"))
        with pytest.raises(errors.RateLimited) as caught:
            await near.chat(call)
        assert caught.value.retry_after_s == 0.05
        assert call.state.rate_headers["retry-after-ms"] == "50"
        await near.aclose()


@both
async def test_finish_reasons_have_one_vocabulary(provider, sim, mode):
    """Servers say "stop" where they mean a tool call, or words of their own."""
    assert (await ask(provider, chat("Tell me a long story", max_tokens=2), mode)).finish_reason == "length"
    sim.script([PlainAnswer(text="No.", finish="stop")])
    assert (await ask(provider, HELLO, mode)).finish_reason == "stop"
    sim.script([PlainAnswer(calls=(Called("weather", '{"city": "Ankara"}'),), finish="stop")])
    assert (await ask(provider, chat("x", tools=(WEATHER,)), mode)).finish_reason == "tool_calls"


@both
async def test_many_calls_at_once_are_not_mixed_up(provider, mode):
    """One client, many calls in flight: each gets its own answer."""
    replies = await asyncio.gather(*(ask(provider, chat(f"question number {i}"), mode) for i in range(64)))
    assert all(f'"question number {i}"' in reply.text for i, reply in enumerate(replies))


# What is sent


def sent(sim: OpenAISim) -> dict:
    return sim.requests[-1].json


async def test_every_setting_reaches_the_wire_under_its_name(provider, sim):
    """A setting lost on the way is a wrong answer nobody notices."""
    request = chat(
        "Hi", temperature=0.5, top_p=0.9, max_tokens=50, stop=("END",), seed=7, reasoning_effort="low", tools=(WEATHER,),
        tool_choice="weather", parallel_tool_calls=False, model="gpt-4o-mini", extra='{"top_k": 5, "metadata": {"b": 1, "a": 1.50}}',
        schema=Schema.of("city", {"type": "object", "properties": {}, "additionalProperties": False}, strict=True),
    )  # fmt: skip
    await provider.chat(asking(request))
    body = sent(sim)
    assert {key: body[key] for key in ("temperature", "top_p", "max_tokens", "stop", "seed", "reasoning_effort", "top_k", "model")} == {
        "temperature": 0.5, "top_p": 0.9, "max_tokens": 50, "stop": ["END"], "seed": 7, "reasoning_effort": "low", "top_k": 5,
        "model": "gpt-4o-mini",
    }  # fmt: skip
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False
    assert body["response_format"]["json_schema"] == {
        "name": "city", "strict": True, "schema": {"type": "object", "properties": {}, "additionalProperties": False},
    }  # fmt: skip
    assert b'"metadata":{"b": 1, "a": 1.50}' in sim.requests[-1].body  # untouched, byte for byte
    await provider.chat(asking())
    assert set(sent(sim)) == {"model", "messages"}


async def test_a_conversation_keeps_its_shape(provider, sim):
    """All roles, calls and their results, failed ones, thoughts left out, lone surrogates mended; the strict server accepts it."""
    called = ToolCall(id="call_1", name="weather", arguments='{"city": "İzmir"}')
    broken = ToolCall(id="call_2", name="weather", arguments='{"city": ', error="cut")
    messages = (
        Message.system("Be brief."),
        Message.user("Hi \ud83d there", name="ada"),
        Message.assistant((Reasoning(text="hm", signature="s"), Text("Looking"))),
        Message.user([Text("What \udc00 now")]),
        Message.assistant("", tool_calls=[called, broken]),
        Message.tool("22 °C", tool_call_id="call_1", name="weather"),
        Message.tool("not JSON", tool_call_id="call_2", is_error=True),
    )
    await provider.chat(asking(ChatRequest(messages=messages, tools=(WEATHER,))))
    assert sent(sim)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi � there", "name": "ada"},
        {"role": "assistant", "content": "Looking"},
        {"role": "user", "content": [{"type": "text", "text": "What � now"}]},
        {
            "role": "assistant", "content": None,
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "İzmir"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": '{"city": '}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "22 °C"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: not JSON"},
    ]  # fmt: skip


async def test_pictures_pdfs_and_sounds_are_sent(provider, sim):
    """By bytes or address; what the protocol cannot carry is refused before anything is sent."""
    parts = [
        "Look:", Image(data=PNG), Image(url="https://example.org/a.jpg", detail="low"), Image(data=b"GIF89a", media_type="image/gif"),
        File(data=b"%PDF-1.7", name="a.pdf"), File(data=PNG, media_type="image/png"), File(data=b"RIFF", media_type="audio/x-wav"),
        File(data=b"ID3", media_type="audio/mpeg"),
    ]  # fmt: skip
    await provider.chat(asking(chat(Message.user(parts))))
    content = sent(sim)["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url", "image_url", "image_url", "file", "image_url", *["input_audio"] * 2]
    assert content[1]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert content[2]["image_url"] == {"url": "https://example.org/a.jpg", "detail": "low"}
    assert content[4]["file"]["filename"] == "a.pdf"
    assert content[4]["file"]["file_data"].startswith("data:application/pdf;base64,")
    assert [part["input_audio"] for part in content[6:]] == [{"data": "UklGRg==", "format": "wav"}, {"data": "SUQz", "format": "mp3"}]
    for part in (File(data=b"Ogg", media_type="audio/ogg"), File(data=b"m", media_type="video/mp4"), Image(data=b"BM")):
        with pytest.raises(Unsupported):
            await provider.chat(asking(chat(Message.user([part]))))
    assert len(sim.requests) == 1


async def test_what_a_tool_gave_that_is_no_text_is_said_by_the_user_after_it(provider, sim):
    """This protocol carries text only in a tool's result, and all results of a round stand directly behind their calls."""
    calls = [ToolCall(id=f"call_{n}", name="shot") for n in (1, 2)]
    messages = [
        Message.user("Shoot."),
        Message.assistant(tool_calls=calls),
        Message.tool(["Front:", Image(data=PNG)], tool_call_id="call_1", name="shot"),
        Message.tool([File(data=b"%PDF-1.7", name="a.pdf")], tool_call_id="call_2"),
    ]
    for more in ([], [Message.user("And now?")]):
        await provider.chat(asking(chat(*messages, *more)))
        told = sent(sim)["messages"]
        assert [one["role"] for one in told] == ["user", "assistant", "tool", "tool", "user", *["user"] * len(more)]
        assert [one["content"] for one in told[2:4]] == ["Front:", "The result is in the next message."]
        kinds = [part["type"] for part in told[4]["content"]]
        assert kinds == ["text", "image_url", "text", "file"]
        assert "shot" in told[4]["content"][0]["text"]
        assert "call_2" in told[4]["content"][2]["text"]


async def test_what_is_no_json_or_no_unicode_is_refused_before_sending(provider, sim):
    """Schemas and extras are embedded as text, so they are looked at first."""
    for wrong in ({"extra": "[1]"}, {"extra": "{"}, {"tools": (Tool(name="t", parameters="{"),)}, {"schema": Schema(schema="nope")}):
        with pytest.raises(Misconfigured):
            await provider.chat(asking(chat("Hi", **wrong)))
    with pytest.raises(BadRequest):
        await provider.chat(asking(chat("Hi", model="\ud800")))
    assert not sim.requests


async def test_token_limits_and_sampling_follow_the_server():
    """OpenAI's own models refuse max_tokens and, when they reason, temperature; other servers know nothing else."""
    settings = chat("Hi", temperature=0.5, top_p=0.5, max_tokens=9)

    def keys(model: str, request: ChatRequest = settings, **dialect) -> set[str]:
        return set(msgspec.json.decode(chat_body(request, model, stream=False, dialect=OpenAIDialect(target="t", **dialect)))) - {
            "model",
            "messages",
        }

    both_settings = {"temperature", "top_p"}
    own = {"is_openai": True, "max_tokens_field": "max_completion_tokens"}
    assert keys("any") == {*both_settings, "max_tokens"}
    for model in ("gpt-5-mini", "o4-mini", "o3", "gpt-5"):
        assert keys(model, **own) == {"max_completion_tokens"}
        assert keys(model) == {*both_settings, "max_tokens"}
        assert keys(model, **own, sampling=True) == {*both_settings, "max_completion_tokens"}
    for model in ("gpt-4.1", "gpt-4o-mini", "gpt-5-chat-latest", "gpt-5.2"):
        assert keys(model, **own) == {*both_settings, "max_completion_tokens"}
    assert keys("gpt-5.2", replace(settings, reasoning_effort="high"), **own) == {"max_completion_tokens", "reasoning_effort"}


async def test_options_and_headers_of_the_target_are_used(provider, sim):
    """Gateways want headers, Azure a version and its own key header, old servers no stream_options."""
    options = (("api_version", "2026-01-01"), ("organization", "org-1"), ("stream_usage", False), ("max_tokens_field", "max_new_tokens"))
    other = of(provider, options=options, headers=(("x-tenant", "acme"),))
    await ask(other, chat("Hi", max_tokens=5000), "stream")
    request = sim.requests[-1]
    assert (request.path, request.query) == ("/v1/chat/completions", "api-version=2026-01-01")
    named = {name: request.headers.get(name) for name in ("x-tenant", "api-key", "openai-organization")}
    assert named == {"x-tenant": "acme", "api-key": KEY, "openai-organization": "org-1"}
    assert "stream_options" not in sent(sim)
    assert sent(sim)["max_new_tokens"] == 5000
    with pytest.raises(Misconfigured, match="did you mean 'organization'"):
        of(provider, options=(("organisation", "x"),))
    await other.aclose()


# Tools


@both
async def test_tool_calls_come_whole_in_parallel_and_in_any_script(provider, sim, mode):
    """Arguments are the text as it came, streamed in pieces or not."""
    sim.script([PlainAnswer(calls=(Called("weather", '{"city": "İstanbul 🌧"}'), Called("weather", '{"city": "東京"}')), finish="tools")])
    reply = await ask(provider, chat("Weather?", tools=(WEATHER,)), mode)
    assert [call.parsed()["city"] for call in reply.tool_calls] == ["İstanbul 🌧", "東京"]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert reply.finish_reason == "tool_calls"
    assert not reply.invalid_tool_calls


@both
async def test_broken_arguments_are_an_invalid_call_with_its_text(provider, sim, mode):
    """Turned into {} they would run: a tool that deletes with no filter deletes all."""
    sim.script([fault("malformed_tool_json")])
    reply = await ask(provider, chat("x", tools=(WEATHER,), tool_choice="required"), mode)
    (call,) = reply.invalid_tool_calls
    assert call.arguments.endswith(',"')
    assert call.error


@both
async def test_calls_cut_by_the_token_limit_are_not_to_be_run(provider, sim, mode):
    """Half of the arguments may happen to be valid JSON."""
    sim.script([PlainAnswer(calls=(Called("weather", "{}"), Called("weather", '{"city"')), finish="length")])
    reply = await ask(provider, chat("x", tools=(WEATHER,)), mode)
    assert reply.finish_reason == "length"
    assert len(reply.invalid_tool_calls) == 2


async def test_a_forced_tool_and_structured_output_are_honoured(provider):
    """The server fills the schema only if it got it."""
    reply = await provider.chat(asking(chat("x", tools=(WEATHER,), tool_choice="weather")))
    assert reply.tool_calls[0].parsed().keys() == {"city"}
    shape = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
    reply = await provider.chat(asking(chat("x", schema=Schema.of("person", shape, strict=True))))
    assert msgspec.json.decode(reply.text).keys() == {"name"}
    reply = await provider.chat(asking(chat("Some json please", schema=Schema())))
    assert isinstance(msgspec.json.decode(reply.text), dict)


def reader(request: ChatRequest = HELLO) -> OpenAIChatReader:
    return OpenAIChatReader(ReadingContext("t", "r", request, lambda error: fault_of("t", error)))


def chunk(delta: dict | None = None, finish: str | None = None, **fields) -> bytes:
    return b"data: " + msgspec.json.encode({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}) + b"\n\n"


async def read(*events: bytes, request: ChatRequest = HELLO) -> ChatReply:
    return await collect(await open_stream(EventSource(Body(*events), reader(request), ErrorBoundary("t")), target="t"))


def piece(arguments: str, **fields) -> dict:
    name = fields.pop("name", None)
    return {"tool_calls": [{**fields, "function": {"arguments": arguments, **({"name": name} if name else {})}}]}


async def test_tool_pieces_are_joined_whatever_the_server_calls_them():
    """Some send no index, some 0 for all of them, some repeat the name with each piece, some send the object itself."""
    same_index = [chunk(piece("{}", index=0, id="a", name="f")), chunk(piece('{"x":1}', index=0, id="b", name="g"))]
    no_index = [chunk(piece('{"x"', id="a", name="f")), chunk(piece(":1}", name="f")), chunk(piece("{}", id="b", name="g"))]
    mixed = [chunk(piece("{", index=0, id="a", name="f")), chunk(piece("{", index=1, id="b", name="g")), chunk(piece("}", index=0, id="a")),
             chunk(piece("}", index=1))]  # fmt: skip
    for events in (same_index, no_index, mixed):
        reply = await read(*events, chunk(finish="tool_calls"))
        assert [(call.id, call.name) for call in reply.tool_calls] == [("a", "f"), ("b", "g")]
        assert not reply.invalid_tool_calls
    as_object = b'data: {"choices": [{"delta": {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]}}]}\n\n'
    assert (await read(as_object, chunk(finish="stop"))).tool_calls[0].parsed() == {"x": 1}


async def test_other_servers_dialects_are_read():
    """Thoughts under two names, content in parts, usage in every chunk, further choices, nulls where objects belong."""
    thinking = [chunk({"reasoning_content": "h"}), chunk({"reasoning": "m"}), chunk({"content": [{"type": "text", "text": "a"}]}),
                chunk({"content": "b", "tool_calls": None, "refusal": None}, usage={"prompt_tokens": 1, "completion_tokens": 2.0}),
                b'data: {"choices": [{"index": 1, "delta": {"content": "other"}}], "usage": null}\n\n', b"data: {}\n\n",
                chunk(finish="eos", usage={"prompt_tokens": 3, "completion_tokens": 4, "prompt_tokens_details": None})]  # fmt: skip
    reply = await read(*thinking)
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("hm", "ab", "stop")
    assert reply.usage == Usage(input_tokens=3, output_tokens=4)


# Faults

SURPRISES = {
    # Surplus bytes: aiohttp sees a broken connection, httpx (openai 2) stops at the promised length and leaves JSON that is cut off.
    "content_length_short": (ConnectionLost, MalformedReply),
}
ROWS = [
    (row, surface)
    for surface in ("chat", "stream", "embed")
    for row in faults_for("openai", surface)
    if not (row.delay_s or row.stall_s or row.gap_s)
]


@pytest.mark.parametrize(("row", "surface"), ROWS, ids=[f"{surface}-{row.name}" for row, surface in ROWS])
async def test_each_row_of_the_fault_table_is_told_as_what_it_is(provider, sim, row: WireFault, surface):
    """The class says whether money was spent and whether to ask again; one request is sent, and the key appears nowhere."""
    sim.script(row)
    tools = (WEATHER,) if "tool" in row.name else ()
    request = EmbedRequest(texts=("a", "b", "c")) if surface == "embed" else chat("My secret is xyzzy-plugh.", tools=tools)
    call = asking(request, stream=surface == "stream")
    caught: BaseException | None = None
    try:
        answer = await (provider.embed(call) if surface == "embed" else provider.chat(call))
        if isinstance(answer, Stream):
            await collect(answer)
    except BaseException as error:
        caught = error
    assert len(sim.requests) == 1
    if not row.means:
        assert caught is None
        return
    assert isinstance(caught, SurefootError)
    assert isinstance(caught, SURPRISES.get(row.name) or getattr(errors, row.means))
    assert caught.retryable == row.retryable
    printed = "".join(traceback.TracebackException.from_exception(caught, capture_locals=True).format())
    assert "CANARY" not in printed
    assert "xyzzy" not in str(caught)
    if isinstance(caught, errors.Fault) and caught.status and caught.status >= 400 and row.body is None:
        assert caught.request_id.startswith("req_")


@both
async def test_compressed_answers_are_read_and_broken_ones_told(provider, sim, mode):
    """Proxies compress; a torn archive is a malformed answer, not a zlib error."""
    events = chunk({"content": "zipped"}, finish="stop") + b"data: [DONE]\n\n"
    whole = msgspec.json.encode({"choices": [{"message": {"content": "zipped"}, "finish_reason": "stop"}]})
    packed = gzip.compress(events if mode == "stream" else whole)
    row = OK.but(headers=(("content-encoding", "gzip"),), content_type="text/event-stream" if mode == "stream" else "")
    sim.script([row.but(body=packed), row.but(body=b"\x1f\x8b no archive at all, only its first two bytes")])
    assert (await ask(provider, HELLO, mode)).text == "zipped"
    with pytest.raises(MalformedReply):
        await ask(provider, HELLO, mode)


async def test_no_log_of_any_library_holds_the_key(provider, sim, caplog):
    """At DEBUG the HTTP libraries and SDKs tell what they send; the key is not among it, also under Azure's own header."""
    caplog.set_level(logging.DEBUG)
    azure = of(provider, options=(("api_version", "2026-01-01"),))
    sim.script([OK, fault("status_401"), fault("reset_before_answer")])
    for one, mode in ((provider, "chat"), (azure, "chat"), (provider, "stream"), (azure, "stream")):
        with contextlib.suppress(SurefootError):
            await ask(one, HELLO, mode)
    assert "CANARY" not in caplog.text
    assert "CANARY" not in repr((provider, azure, vars(provider), azure.target))
    await azure.aclose()


async def test_a_refused_connection_and_a_wrong_address_are_told_apart(provider):
    """One passes, the other is a setting to mend."""
    with OpenAISim() as gone:
        address = gone.url
    lost = of(provider, base_url=address + "/v1")
    with pytest.raises(ConnectionLost):
        await lost.chat(asking())
    with pytest.raises(Misconfigured, match="base_url"):
        of(provider, base_url="localhost:1/v1")
    await lost.aclose()


async def test_connecting_has_a_time_limit_of_its_own(provider):
    """A host that swallows packets must not hold an attempt for minutes; answers are not timed here."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())  # the one place in the queue: the next handshake is swallowed
        swallowed = of(provider, base_url=f"http://127.0.0.1:{full.getsockname()[1]}/v1", options=(("connect_s", 0.05),))
        with pytest.raises(AttemptTimedOut):
            await asyncio.wait_for(swallowed.chat(asking()), 5)
    await swallowed.aclose()


async def test_a_server_that_does_not_stream_is_read_all_the_same(provider, sim):
    """Some gateways ignore the wish; a whole answer is a stream of one piece."""
    whole = msgspec.json.encode({"choices": [{"message": {"content": "whole"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}})
    sim.script(OK.but(body=whole, content_type="application/json"))
    reply = await ask(provider, HELLO, "stream")
    assert (reply.text, reply.finish_reason, reply.usage.input_tokens) == ("whole", "stop", 1)


@both
async def test_an_answer_with_nothing_in_it_is_allowed_only_with_a_reason(provider, sim, mode):
    """Cut by its limit while thinking, stopped at its first word, or ended with nothing to say: right. Withheld, or no JSON: not."""
    sim.script([PlainAnswer(text="", finish="length")])
    assert (await provider.chat(asking())).text == ""
    sim.script([PlainAnswer(text="")])
    assert (await provider.chat(asking(chat("x", stop=("a",))))).text == ""
    sim.script([fault("empty_completion")] * 2)
    answer = await provider.chat(asking(HELLO, stream=mode == "stream"))
    assert (await collect(answer) if mode == "stream" else answer).finish_reason == "stop"
    with pytest.raises(MalformedReply, match="empty"):
        await ask(provider, chat("in json", schema=Schema()), mode)
    sim.script([fault("refusal")])
    with pytest.raises(ContentRefused, match="assist"):
        await ask(provider, HELLO, mode)


# Streams


async def recorded(server: OpenAISim, request: ChatRequest, said: PlainAnswer | None) -> bytes:
    lane = DirectLane(Transport(address=server.url + "/v1"), sign=lambda key: {"authorization": f"Bearer {key}"}, headers={})
    server.reset()
    server.script(said)
    answer = await lane.post(
        "/chat/completions", chat_body(request, "gpt-4.1", stream=True, dialect=OpenAIDialect(target="t")), Secret("any")
    )
    body = await answer.read()
    await lane.aclose()
    return body


@pytest.mark.parametrize("ending", [bytes, ConnectionResetError], ids=["clean", "reset"])
@pytest.mark.parametrize(
    "said", [None, PlainAnswer(calls=(Called("weather", '{"city": "İzmir"}'),) * 2, finish="tools")], ids=["text", "tools"]
)
async def test_a_stream_cut_at_any_byte_is_never_complete(server, ending, said):
    """The whole answer or a typed error that carries what arrived; never a part that passes for the whole."""
    body = await recorded(server, HELLO, said)
    whole = await read(body)
    ends: list[tuple[str, bool]] = []
    for cut in range(len(body) + 1):
        try:
            reply = await read(body[:cut], ending())
        except (Interrupted, ConnectionLost, MalformedReply) as error:
            ends.append((type(error).__name__, whole.text.startswith(getattr(error, "partial", ""))))
        else:
            is_same = (reply.text, reply.tool_calls, reply.finish_reason) == (whole.text, whole.tool_calls, whole.finish_reason)
            ends.append(("whole", is_same and b'"finish_reason":"' in body[:cut]))
    assert all(right for _, right in ends)
    assert {"whole", "Interrupted", "ConnectionLost"} <= {name for name, _ in ends}


@pytest.mark.parametrize("cut", ["close", "reset", "end"])
async def test_a_stream_cut_on_the_wire_is_never_complete(provider, sim, cut):
    """The same over real sockets, at a sample of offsets, by FIN, by RST, and framed as if it were whole."""
    total = len(await recorded(sim, HELLO, None))
    for at in range(0, total - 500, 97):
        sim.reset()
        sim.script(fault("stream_cut").but(cut_at=at, cut=cut))
        with pytest.raises((ConnectionLost, Interrupted, MalformedReply)):
            await ask(provider, HELLO, "stream")


async def test_a_stream_left_early_drops_its_connection(provider, server):
    """A provider bills until its stream is dropped."""
    with OpenAISim(gap_s=0.5) as slow:
        near = of(provider, base_url=slow.url + "/v1")
        stream = await near.chat(asking(stream=True))
        await stream.aclose()
        assert await asyncio.to_thread(slow.wait_idle, 2)
        assert stream.outcome.abandoned
        await near.aclose()


@pytest.mark.parametrize("when", ["before the head", "in the body", "in an error's body"])
async def test_a_cancelled_call_leaves_nothing_behind(provider, when, no_collector):
    """Cancellation at any moment frees the connection, without the garbage collector's help; the next call finds the client well."""
    with OpenAISim() as slow:
        near = of(provider, base_url=slow.url + "/v1")
        row = {
            "before the head": OK.but(delay_s=30.0),
            "in the body": OK.but(stall_at=5, stall_s=30.0),
            "in an error's body": fault("status_503").but(stall_at=5, stall_s=30.0),
        }[when]
        for _ in range(3):
            slow.script([row])
            task = asyncio.ensure_future(near.chat(asking()))
            while not slow.concurrency:
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(slow.wait_idle, 2)
        assert (await near.chat(asking())).text
        await near.aclose()


async def test_a_stray_cancel_in_the_client_is_a_lost_connection(provider, monkeypatch):
    """Name resolution and pools cancel themselves at times; the caller did not."""

    async def stray(*_args, **_kwargs):
        raise asyncio.CancelledError

    monkeypatch.setattr(provider._exchange._lane, "post", stray)
    with pytest.raises(ConnectionLost):
        await provider.chat(asking())


# Keys


class Rotating:
    """A key that is renewed once."""

    def __init__(self, *keys: str) -> None:
        self.keys = [Secret(key) for key in keys]
        self.renewed = 0

    async def get(self) -> Secret | None:
        return self.keys[0] if self.keys else None

    async def renew(self, bad: Secret) -> Secret | None:
        self.renewed += 1
        if len(self.keys) > 1 and self.keys[0] == bad:
            self.keys.pop(0)
        return self.keys[0]


async def test_a_refused_key_is_renewed_once_and_the_call_may_be_repeated(provider):
    """Rotation without restart: the retry layer, the one owner of retries, sends again with the new key."""
    with OpenAISim(expected_key="new") as guarded:
        keys = Rotating("old", "new")
        one = OpenAIProvider(replace(provider.target, base_url=guarded.url + "/v1"), keys)
        with pytest.raises(Transient, match="newer") as caught:
            await one.chat(asking())
        assert not isinstance(caught.value, AuthFailed)
        assert (await one.chat(asking())).text
        guarded.expected_key = "third"
        with pytest.raises(AuthFailed):
            await one.chat(asking())
        assert (keys.renewed, len(guarded.requests)) == (2, 3)
        await one.aclose()


async def test_a_missing_or_impossible_key_is_told_before_anything_is_sent(provider, sim):
    """With the name of the variable to set; a server of one's own gets a placeholder."""
    nowhere = OpenAIProvider(Target("openai:m", lane=provider.target.lane), None)
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        await nowhere.chat(asking())
    with pytest.raises(Misconfigured, match="line break"):
        await of(provider, api_key="sk-abc\n").chat(asking())
    assert not sim.requests
    own = of(provider, api_key=None)
    assert (await own.chat(asking())).text
    assert sim.requests[-1].headers["authorization"] == "Bearer not-needed"
    await own.aclose()


# Embeddings


async def test_vectors_come_in_order_as_float32_of_unit_length(provider, sim):
    """One row a text; the server's order is not trusted, its index is."""
    texts = tuple(f"text number {i}" for i in range(50))
    sim.script([OK, fault("embed_reordered")])
    reply, again = [await provider.embed(asking(EmbedRequest(texts=texts))) for _ in range(2)]
    assert (reply.vectors.dtype, reply.vectors.shape) == (np.float32, (50, 1536))
    assert np.allclose(np.linalg.norm(reply.vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(reply.vectors, again.vectors)
    assert sent(sim)["encoding_format"] == "base64"
    assert reply.usage.input_tokens == next(iter(sim.usage_log.values())).input_tokens
    single = await provider.embed(asking(EmbedRequest(texts=(texts[7],))))
    assert np.array_equal(single.vectors[0], reply.vectors[7])


async def test_dimensions_and_prefixes_make_a_space_of_their_own(provider, sim):
    """Vectors may be compared only if provider, model, dimension, normalisation and prefix are the same."""
    e5 = of(provider, options=(("query_prefix", "query: "), ("document_prefix", "passage: ")), dimensions=64)
    documents = await e5.embed(asking(EmbedRequest(texts=("a",))))
    assert sent(sim)["input"] == ["passage: a"]
    assert documents.vectors.shape == (1, 64)
    queries = await e5.embed(asking(EmbedRequest(texts=("a",), role="query")))
    assert sent(sim)["input"] == ["query: a"]
    assert documents.space == queries.space == e5.traits.space == "openai/gpt-4.1/64/unit/passage: |query: "
    narrow = await provider.embed(asking(EmbedRequest(texts=("a",), dimensions=8, unit_length=False)))
    assert narrow.space == "openai/gpt-4.1/8/as-is/no-prefix"
    await e5.aclose()


async def test_vectors_of_another_size_than_asked_are_refused(provider):
    """A server that ignores `dimensions` would fill an index with vectors that cannot be compared."""
    with OpenAISim(dimensions=12) as fixed:
        fixed.script(lambda _request: OK.but(body=b'{"data": [{"index": 0, "embedding": [1.0, 2.0]}]}'))
        near = of(provider, base_url=fixed.url + "/v1", dimensions=8)
        with pytest.raises(MalformedReply, match="2 numbers came back, 8 were expected"):
            await near.embed(asking(EmbedRequest(texts=("a",))))
        near = of(provider, base_url=fixed.url + "/v1")
        assert (await near.embed(asking(EmbedRequest(texts=("a",), unit_length=False)))).vectors.tolist() == [[1.0, 2.0]]


async def test_a_text_too_long_is_told_so_that_the_batch_can_be_split(provider):
    """One long text must not lose the batch: the layer above bisects on this error."""
    with pytest.raises(ContextTooLong):
        await provider.embed(asking(EmbedRequest(texts=("short", "word " * 40_000))))


async def test_a_missing_package_is_told_with_what_to_install(monkeypatch):
    """Extras are optional; the remedy belongs into the message."""
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[openai\]"'):
        OpenAIProvider(Target("openai:m", lane="sdk"), None)
