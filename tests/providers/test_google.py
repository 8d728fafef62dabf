"""The Gemini API over both lanes, against a loopback server that speaks it: every answer read right, every fault named."""

from __future__ import annotations

import asyncio
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
from surefoot.providers.google.endpoint import GoogleProvider
from surefoot.providers.google.messages import UNSIGNED
from surefoot.providers.google.parts import SEAL
from surefoot.providers.google.requests import GoogleDialect, chat_body
from surefoot.providers.google.responses import GoogleChatReader, chat_reply, vectors
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.faults import ErrorBoundary, fault_of
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sse import EventSource
from surefoot.providers.http.transport import Transport
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing.wire import OK, GeminiSim, PlainAnswer, WireFault, fault, faults_for
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

KEY = "AIza-CANARY-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WEATHER = Tool.of("weather", "The weather somewhere", {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
HELLO = ChatRequest(messages=(Message.user("Merhaba, how are you?"),))


def asking(request: ChatRequest | EmbedRequest = HELLO, *, stream: bool = False) -> Call:
    return Call(request=request, state=CallState(), stream=stream)


def chat(*messages: Message | str, **fields) -> ChatRequest:
    return ChatRequest(messages=tuple(Message.user(m) if isinstance(m, str) else m for m in messages), **fields)


@pytest.fixture(scope="module")
def server() -> Iterator[GeminiSim]:
    with GeminiSim() as sim:
        yield sim


@pytest.fixture
def sim(server) -> GeminiSim:
    server.reset()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sdk", "direct"])
async def provider(request, server) -> AsyncIterator[GoogleProvider]:
    one = GoogleProvider(Target("google:gemini-3-flash", base_url=server.url, api_key=KEY, lane=request.param), None)
    yield one
    await one.aclose()


def of(provider: GoogleProvider, **changes) -> GoogleProvider:
    """Another provider like this one; its connections are closed with the loop."""
    return GoogleProvider(replace(provider.target, **changes), None)


async def ask(provider: GoogleProvider, request: ChatRequest, mode: str) -> ChatReply:
    """The whole answer, asked whole or streamed: they must be the same."""
    answer = await provider.chat(asking(request, stream=mode == "stream"))
    if mode == "chat":
        return answer
    assert isinstance(answer, Stream)
    return await collect(answer)


def sent(sim: GeminiSim) -> dict:
    return sim.requests[-1].json


both = pytest.mark.parametrize("mode", ["chat", "stream"])


# Answers


@both
async def test_an_answer_comes_whole_with_its_usage_and_ids(provider, sim, mode):
    """Everything a caller or a bill needs; a collected stream is the same."""
    sim.script("Merhaba! İyiyim, teşekkürler. 👋")
    reply = await ask(provider, HELLO, mode)
    assert reply.text == "Merhaba! İyiyim, teşekkürler. 👋"
    assert (reply.finish_reason, reply.model, reply.target) == ("stop", "gemini-3-flash", "google:gemini-3-flash")
    assert await asyncio.to_thread(sim.wait_idle, 2)
    billed = sim.usage_log[reply.request_id]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (billed.input_tokens, billed.output_tokens)


@both
async def test_usage_details_are_reported(provider, sim, mode):
    """Cached, thinking and audio tokens have prices of their own; thoughts are billed as output, which Gemini tells apart."""
    long = chat(Message.system("Be brief. " * 600), "Hello", reasoning_effort="high")
    await ask(provider, long, mode)
    reply = await ask(provider, long, mode)
    assert reply.usage.cached_tokens > 1000
    assert reply.usage.reasoning_tokens == 128
    assert reply.usage.output_tokens > 128
    assert reply.reasoning
    spoken = await ask(provider, chat("Hi", extra='{"generationConfig": {"responseModalities": ["TEXT", "AUDIO"]}}'), mode)
    assert spoken.usage.audio_output_tokens > 0


@both
async def test_finish_reasons_have_one_vocabulary(provider, sim, mode):
    """Gemini says STOP where it calls a tool, and SAFETY where it stops in the middle."""
    assert (await ask(provider, chat("Tell me a long story", max_tokens=2), mode)).finish_reason == "length"
    sim.script([PlainAnswer(text="No.", finish="stop")])
    assert (await ask(provider, HELLO, mode)).finish_reason == "stop"
    sim.script([PlainAnswer(calls=(Called("weather", '{"city": "Ankara"}'),), finish="tools")])
    assert (await ask(provider, chat("x", tools=(WEATHER,)), mode)).finish_reason == "tool_calls"
    sim.script([PlainAnswer(text="Well, one would", finish="refusal")])
    assert (await ask(provider, HELLO, mode)).finish_reason == "content_filter"


@both
async def test_many_calls_at_once_are_not_mixed_up(provider, mode):
    """One client, many calls in flight: each gets its own answer."""
    replies = await asyncio.gather(*(ask(provider, chat(f"question number {i}"), mode) for i in range(64)))
    assert all(f'"question number {i}"' in reply.text for i, reply in enumerate(replies))


# What is sent


async def test_every_setting_reaches_the_wire_under_its_name(provider, sim):
    """A setting lost on the way is a wrong answer nobody notices."""
    request = chat(
        Message.system("Be brief."), "Hi", temperature=0.5, top_p=0.9, max_tokens=50, stop=("END",), seed=7, reasoning_effort="low",
        tools=(WEATHER,), tool_choice="weather", model="gemini-3-pro", schema=Schema.of("city", {"type": "object", "properties": {}}),
        extra='{"generationConfig": {"topK": 5}, "safetySettings": [{"b": 1, "a": 1.50}]}',
    )  # fmt: skip
    await provider.chat(asking(request))
    body = sent(sim)
    assert sim.requests[-1].path == "/v1beta/models/gemini-3-pro:generateContent"
    assert body["generationConfig"] == {
        "temperature": 0.5, "topP": 0.9, "maxOutputTokens": 50, "seed": 7, "stopSequences": ["END"], "topK": 5,
        "responseMimeType": "application/json", "responseJsonSchema": {"type": "object", "properties": {}},
        "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
    }  # fmt: skip
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}}
    assert body["tools"][0]["functionDeclarations"][0]["parametersJsonSchema"]["required"] == ["city"]
    assert b'"safetySettings":[{"b": 1, "a": 1.50}]' in sim.requests[-1].body  # untouched, byte for byte
    await provider.chat(asking())
    assert set(sent(sim)) == {"contents"}


async def test_thinking_is_asked_for_in_the_models_own_terms():
    """2.5 takes a number of tokens, 3 a word; a number given is a number."""

    def thinking(model: str, effort: str, **dialect) -> dict:
        body = chat_body(chat("x", reasoning_effort=effort), model, dialect=GoogleDialect(target="t", **dialect))
        return msgspec.json.decode(body).get("generationConfig", {}).get("thinkingConfig", {})

    assert thinking("gemini-2.5-flash", "high") == {"thinkingBudget": 24_576, "includeThoughts": True}
    assert thinking("gemini-2.5-flash", "none") == {"thinkingBudget": 0}
    assert thinking("gemini-3-flash", "medium") == {"thinkingLevel": "MEDIUM", "includeThoughts": True}
    assert thinking("gemini-3-flash", "none") == {"thinkingLevel": "MINIMAL"}
    assert thinking("gemini-3-pro", "512", thoughts=False) == {"thinkingBudget": 512}
    assert thinking("gemini-3-pro", "") == {}
    assert thinking("gemini-3-pro", "", thoughts=True) == {"includeThoughts": True}


async def test_a_conversation_keeps_its_shape(provider, sim):
    """All roles, calls with signatures, results in one turn, failed ones, thoughts left out; the strict server accepts it."""
    called = ToolCall(id="call_1", name="weather", arguments='{"city": "İzmir"}', signature=SEAL + "c2ln")
    broken = ToolCall(id="call_2", name="weather", arguments='{"city": ', error="cut")
    messages = (
        Message.system("Be brief."),
        Message.user("Hi \ud83d there"),
        Message.assistant((Reasoning(text="hm", signature=SEAL + "dGV4dA=="), Text("Looking"))),
        Message.assistant((Reasoning(text="hm", signature="another vendor's"),)),
        Message.user([Text("What \udc00 now")]),
        Message.assistant("", tool_calls=[called, broken]),
        Message.tool("22 °C", tool_call_id="call_1"),
        Message.tool("not JSON", tool_call_id="call_2", name="weather", is_error=True),
    )
    await provider.chat(asking(ChatRequest(messages=messages, tools=(WEATHER,))))
    assert sent(sim)["contents"] == [
        {"role": "user", "parts": [{"text": "Hi � there"}]},
        {"role": "model", "parts": [{"text": "Looking", "thoughtSignature": "dGV4dA=="}]},
        {"role": "user", "parts": [{"text": "What � now"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"name": "weather", "id": "call_1", "args": {"city": "İzmir"}}, "thoughtSignature": "c2ln"},
                {"functionCall": {"name": "weather", "id": "call_2", "args": {"invalid_json": '{"city": '}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": "22 °C"}, "id": "call_1"}},
                {"functionResponse": {"name": "weather", "response": {"error": "not JSON"}, "id": "call_2"}},
            ],
        },
    ]
    with pytest.raises(BadRequest, match="names no tool"):
        await provider.chat(asking(chat("x", Message.tool("22", tool_call_id="unknown"))))


async def test_pictures_and_pdfs_are_sent(provider, sim):
    """By bytes, by address or as data URLs; also in a tool's result, where the model takes them."""
    parts = [
        "Look:", Image(data=PNG), Image(url="https://example.org/a.jpg?x=1"), Image(url="data:image/gif;base64,R0lGODlh"),
        File(data=b"%PDF-1.7", name="a.pdf"), File(data=b"RIFF", media_type="audio/wav"),
    ]  # fmt: skip
    await provider.chat(asking(chat(Message.user(parts))))
    found = sent(sim)["contents"][0]["parts"]
    assert found[1]["inlineData"]["mimeType"] == "image/png"
    assert found[1]["inlineData"]["data"].startswith("iVBOR")
    assert found[2:5] == [
        {"fileData": {"fileUri": "https://example.org/a.jpg?x=1", "mimeType": "image/jpeg"}},
        {"inlineData": {"mimeType": "image/gif", "data": "R0lGODlh"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjc="}},
    ]
    assert found[5]["inlineData"]["mimeType"] == "audio/wav"
    with pytest.raises(Unsupported, match="neither PNG"):
        await provider.chat(asking(chat(Message.user([Image(data=b"BM")]))))
    called = Message.assistant(tool_calls=[ToolCall(id="1", name="weather")])
    shown = chat("x", called, Message.tool(["see", Image(data=PNG)], tool_call_id="1"), tools=(WEATHER,))
    await provider.chat(asking(shown))
    result = sent(sim)["contents"][-1]["parts"][0]["functionResponse"]
    assert (result["response"], len(result["parts"])) == ({"output": "see"}, 1)
    await provider.chat(asking(replace(shown, model="gemini-2.5-flash")))  # an older one takes none inside: they stand before it
    picture, result = sent(sim)["contents"][-1]["parts"]
    assert (picture["inlineData"]["mimeType"], result["functionResponse"]["response"]) == ("image/png", {"output": "see"})


async def test_what_is_no_json_or_no_unicode_is_refused_before_sending(provider, sim):
    """Schemas and extras are embedded as text, so they are looked at first."""
    wrongs = (
        {"extra": "[1]"},
        {"extra": '{"generationConfig": 1}'},
        {"tools": (Tool(name="t", parameters="{"),)},
        {"schema": Schema(schema="nope")},
    )
    for wrong in wrongs:
        with pytest.raises(Misconfigured):
            await provider.chat(asking(chat("Hi", **wrong)))
    with pytest.raises(BadRequest):
        await provider.chat(asking(chat("Hi", reasoning_effort="\ud800")))
    assert not sim.requests


@pytest.mark.parametrize(
    "model",
    ["../../v1beta/files?x=", "x/../../../admin/keys", "..", "models/..", "a/./b", "/models/m", "m/", "m%2f..%2fadmin", "m?key=1", "m#",
     "m\\..", "a b\r\nX-Evil: 1", "m\x00", "m\u2028x"],
)  # fmt: skip
async def test_a_models_name_cannot_leave_its_place_in_the_path(provider, sim, model):
    """It often comes from whoever calls a service, and the key of the service goes along."""
    for stream in (False, True):
        with pytest.raises(BadRequest, match="no name of a model; nothing was sent") as refused:
            await provider.chat(asking(chat("Hi", model=model), stream=stream))
        assert str(refused.value).isprintable()
    if model.isprintable():
        near = of(provider, name=f"google:{model}")
        with pytest.raises(BadRequest):
            await near.embed(asking(EmbedRequest(texts=("a",))))
        await near.aclose()
    else:
        with pytest.raises(Misconfigured, match="write it as 'provider:model'"):  # as a target's own name it is refused when it is said
            of(provider, name=f"google:{model}")
    assert not sim.requests


async def test_a_name_with_a_slash_stays_among_the_models(provider, sim):
    """Only Gemini's own collections stand for themselves."""
    for model, path in {
        "gemini-3-flash": "models/gemini-3-flash",
        "models/gemini-3-flash": "models/gemini-3-flash",
        "tunedModels/mine": "tunedModels/mine",
        "openai/gpt-4.1": "models/openai/gpt-4.1",
        "files/abc": "models/files/abc",
        "projects/p/locations/l/endpoints/1": "models/projects/p/locations/l/endpoints/1",
    }.items():
        await provider.chat(asking(chat("Hi", model=model)))
        assert sim.requests[-1].path == f"/v1beta/{path}:generateContent"


async def test_options_and_headers_of_the_target_are_used(provider, sim):
    """Gateways want headers, some another version of the API; a tuned model brings its own collection."""
    other = of(provider, name="google:tunedModels/mine", options=(("api_version", "v1"),), headers=(("x-tenant", "acme"),))
    await other.chat(asking())
    request = sim.requests[-1]
    assert request.path == "/v1/tunedModels/mine:generateContent"
    assert (request.headers["x-tenant"], request.headers["x-goog-api-key"]) == ("acme", KEY)
    with pytest.raises(Misconfigured, match="did you mean 'api_version'"):
        of(provider, options=(("api_versio", "x"),))
    await other.aclose()


# Tools


@both
async def test_tool_calls_come_whole_in_parallel_and_in_any_script(provider, sim, mode):
    """Each with an id and the text of its arguments."""
    sim.script([PlainAnswer(calls=(Called("weather", '{"city": "İstanbul 🌧"}'), Called("weather", '{"city": "東京"}')), finish="tools")])
    reply = await ask(provider, chat("Weather?", tools=(WEATHER,)), mode)
    assert [call.parsed()["city"] for call in reply.tool_calls] == ["İstanbul 🌧", "東京"]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert not reply.invalid_tool_calls
    assert [call.signature for call in reply.tool_calls] == [SEAL + "c3VyZWZvb3Q=", ""]


@both
async def test_signatures_go_back_as_they_came(provider, mode):
    """Gemini 3 refuses a round of calls whose seal is missing; calls of another model's get the documented word instead."""
    with GeminiSim(signatures=True) as sealed:
        near = of(provider, base_url=sealed.url)
        sealed.script([PlainAnswer(calls=(Called("weather", "{}"),) * 2, finish="tools")])
        asked = chat("Weather?", tools=(WEATHER,))
        reply = await ask(near, asked, mode)
        results = [Message.tool("22", tool_call_id=call.id) for call in reply.tool_calls]
        again = replace(asked, messages=(*asked.messages, reply.message, *results))
        assert (await ask(near, again, mode)).text
        parts = sent(sealed)["contents"][1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == ["c3VyZWZvb3Q=", None]
        foreign = Message.assistant(tool_calls=[ToolCall(id="toolu_1", name="weather", signature="another vendor's")])
        assert (await ask(near, replace(asked, messages=(*asked.messages, foreign, Message.tool("22", tool_call_id="toolu_1"))), mode)).text
        assert sent(sealed)["contents"][1]["parts"][0]["thoughtSignature"] == UNSIGNED
        await near.aclose()


@pytest.mark.parametrize("option", ["project", "location", "vertexai", "credentials"])
async def test_vertex_is_refused_with_the_way_to_it(provider, option):
    """The same SDK, another API: taken for a typo, the hint would lead nowhere."""
    with pytest.raises(Misconfigured, match="OpenAI-compatible"):
        of(provider, options=((option, "x"),))


@both
async def test_one_call_at_a_time_is_the_first_of_several(provider, sim, mode):
    """Gemini has no switch for it; who cannot take two calls at once must not get two, and the round goes on with one."""
    sim.script([PlainAnswer(calls=(Called("weather", '{"city": "Ankara"}'), Called("weather", '{"city": "Bursa"}')), finish="tools")])
    asked = chat("Weather?", tools=(WEATHER,), parallel_tool_calls=False)
    reply = await ask(provider, asked, mode)
    assert [call.parsed() for call in reply.tool_calls] == [{"city": "Ankara"}]
    result = Message.tool("22", tool_call_id=reply.tool_calls[0].id)
    assert (await ask(provider, replace(asked, messages=(*asked.messages, reply.message, result)), mode)).text


@both
async def test_calls_cut_by_the_token_limit_are_not_to_be_run(provider, sim, mode):
    """They may not be all that was meant."""
    sim.script([PlainAnswer(calls=(Called("weather", "{}"),), finish="length")])
    reply = await ask(provider, chat("x", tools=(WEATHER,)), mode)
    assert reply.finish_reason == "length"
    assert len(reply.invalid_tool_calls) == 1


async def test_a_forced_tool_and_structured_output_are_honoured(provider):
    """The server fills the schema only if it got it."""
    reply = await provider.chat(asking(chat("x", tools=(WEATHER,), tool_choice="weather")))
    assert reply.tool_calls[0].parsed().keys() == {"city"}
    shape = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False}
    reply = await provider.chat(asking(chat("x", schema=Schema.of("person", shape, strict=True))))
    assert msgspec.json.decode(reply.text).keys() == {"name"}
    reply = await provider.chat(asking(chat("Some json please", schema=Schema())))
    assert isinstance(msgspec.json.decode(reply.text), dict)


# Reading, below the wire


def asked(request: ChatRequest = HELLO) -> ReadingContext:
    return ReadingContext("t", "", request, lambda error: fault_of("t", error))


def chunk(*parts: dict, finish: str | None = None, **fields) -> bytes:
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": 0} | ({"finishReason": finish} if finish else {})
    return msgspec.json.encode({"candidates": [candidate | fields.pop("candidate", {})], **fields})


async def read(*chunks: bytes, request: ChatRequest = HELLO) -> ChatReply:
    body = Body(*(b"data: " + one + b"\r\n\r\n" for one in chunks))
    return await collect(await open_stream(EventSource(body, GoogleChatReader(asked(request)), ErrorBoundary("t")), target="t"))


async def test_parts_of_all_kinds_are_read():
    """Thoughts, seals on text, further candidates, nulls, calls without id or arguments, usage in every chunk."""
    reply = await read(
        chunk({"text": "hm", "thought": True}, usageMetadata={"promptTokenCount": 1}),
        chunk({"text": "a", "thoughtSignature": "b25l"}, candidate={"safetyRatings": []}),
        msgspec.json.encode({"candidates": [{"index": 1, "content": {"parts": [{"text": "other"}]}}]}),
        msgspec.json.encode({"candidates": None, "usageMetadata": None}),
        chunk({"text": "b"}, {"executableCode": {"code": "1"}}, {"functionCall": {"name": "f"}}),
        chunk({"text": "", "thoughtSignature": "dHdv"}, finish="STOP",
              usageMetadata={"promptTokenCount": 3, "candidatesTokenCount": 4.0, "thoughtsTokenCount": 2, "toolUsePromptTokenCount": 5}),
    )  # fmt: skip
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("hm", "ab", "tool_calls")
    assert reply.signature == SEAL + "dHdv"
    assert reply.usage == Usage(input_tokens=8, output_tokens=6, reasoning_tokens=2)
    (call,) = reply.tool_calls
    assert (call.name, call.arguments, call.error) == ("f", "{}", "")
    assert call.id


async def test_a_malformed_call_beside_text_is_an_invalid_call_with_its_words():
    """Alone it is a failure worth a second try; beside text the caller sees what the model wrote, and nothing is run."""
    last = chunk({"text": "Let me see. "}, finish="MALFORMED_FUNCTION_CALL", candidate={"finishMessage": "print(weather(city='"})
    for reply in (await read(last), chat_reply(last, "application/json", asked())):
        assert reply.finish_reason == "malformed_tool_call"
        (call,) = reply.invalid_tool_calls
        assert call.arguments == "print(weather(city='"
    with pytest.raises(MalformedReply, match="malformed_tool_call"):
        await read(chunk(finish="MALFORMED_FUNCTION_CALL"))


async def test_a_whole_answer_needs_its_finish_reason_too():
    """A gateway that cuts and re-frames an answer must not make it complete."""
    with pytest.raises(MalformedReply, match="finish reason"):
        chat_reply(chunk({"text": "half"}), "application/json", asked())


# Faults

SURPRISES = {
    "content_length_short": (ConnectionLost, MalformedReply),  # the surplus bytes are no HTTP: aiohttp sees a broken connection
}
FINE = {"pings_google"}  # comments are legal in an event stream; only the SDK's parser fails on them
ROWS = [
    (row, surface)
    for surface in ("chat", "stream", "embed")
    for row in faults_for("google", surface)
    if not (row.delay_s or row.stall_s or row.gap_s)
]


@pytest.mark.parametrize(("row", "surface"), ROWS, ids=[f"{surface}-{row.name}" for row, surface in ROWS])
async def test_each_row_of_the_fault_table_is_told_as_what_it_is(provider, sim, row: WireFault, surface):
    """The class says whether money was spent and whether to ask again; one request is sent, and the key appears nowhere."""
    sim.script(row)
    request = EmbedRequest(texts=("a", "b", "c")) if surface == "embed" else chat("My secret is xyzzy-plugh.")
    call = asking(request, stream=surface == "stream")
    caught: BaseException | None = None
    try:
        answer = await (provider.embed(call) if surface == "embed" else provider.chat(call))
        if isinstance(answer, Stream):
            await collect(answer)
    except BaseException as error:
        caught = error
    assert len(sim.requests) == 1
    if not row.means or row.name in FINE:
        assert caught is None
        return
    assert isinstance(caught, SurefootError)
    assert isinstance(caught, SURPRISES.get(row.name) or getattr(errors, row.means))
    assert caught.retryable == row.retryable
    printed = "".join(traceback.TracebackException.from_exception(caught, capture_locals=True).format())
    assert "CANARY" not in printed
    assert "xyzzy" not in str(caught)


async def test_hints_come_from_the_body(provider, sim):
    """Google sends no Retry-After: RetryInfo stands among the error's details."""
    sim.script([fault("retry_after_hint"), fault("retry_after_long")])
    for seconds in (0.05, 121.0):
        with pytest.raises(errors.RateLimited) as caught:
            await provider.chat(asking())
        assert caught.value.retry_after_s == seconds


async def test_a_blocked_prompt_names_the_reason(provider, sim):
    """There is no candidate to carry it."""
    sim.script(fault("prompt_blocked"))
    for mode in ("chat", "stream"):
        with pytest.raises(ContentRefused, match="PROHIBITED_CONTENT") as caught:
            await ask(provider, HELLO, mode)
        assert caught.value.code == "prohibited_content"


async def test_a_refused_connection_and_a_wrong_address_are_told_apart(provider):
    """One passes, the other is a setting to mend."""
    with GeminiSim() as gone:
        address = gone.url
    lost = of(provider, base_url=address)
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
        swallowed = of(provider, base_url=f"http://127.0.0.1:{full.getsockname()[1]}", options=(("connect_s", 0.05),))
        with pytest.raises(AttemptTimedOut):
            await asyncio.wait_for(swallowed.chat(asking()), 5)
    await swallowed.aclose()


async def test_a_server_that_does_not_stream_is_read_all_the_same(provider, sim):
    """Some gateways ignore the wish; a whole answer is a stream of one piece."""
    sim.script(OK.but(body=chunk({"text": "whole"}, finish="STOP", usageMetadata={"promptTokenCount": 1}), content_type="application/json"))
    reply = await ask(provider, HELLO, "stream")
    assert (reply.text, reply.finish_reason, reply.usage.input_tokens) == ("whole", "stop", 1)


@both
async def test_an_answer_with_nothing_in_it_is_allowed_only_with_a_reason(provider, sim, mode):
    """Cut by its limit while thinking, stopped at its first word, or ended with nothing to say: right. Withheld, or no JSON: not."""
    sim.script([PlainAnswer(text="", finish="length")])
    assert (await ask(provider, HELLO, mode)).text == ""
    sim.script([PlainAnswer(text="")])
    assert (await ask(provider, chat("x", stop=("a",)), mode)).text == ""
    sim.script([fault("empty_completion")] * 2)
    assert (await ask(provider, HELLO, mode)).finish_reason == "stop"
    with pytest.raises(MalformedReply, match="empty"):
        await ask(provider, chat("x", schema=Schema()), mode)
    sim.script([fault("refusal")])
    with pytest.raises(ContentRefused, match="SAFETY"):
        await ask(provider, HELLO, mode)


# Streams


async def recorded(server: GeminiSim, request: ChatRequest, said: PlainAnswer | None) -> bytes:
    lane = DirectLane(Transport(address=server.url + "/v1beta"), sign=lambda key: {"x-goog-api-key": key}, headers={})
    server.reset()
    server.script(said)
    path = "/models/gemini-3-flash:streamGenerateContent?alt=sse"
    answer = await lane.post(path, chat_body(request, "gemini-3-flash", dialect=GoogleDialect(target="t")), Secret("any"))
    body = await answer.read()
    await lane.aclose()
    return body


async def read_raw(*blocks) -> ChatReply:
    return await collect(await open_stream(EventSource(Body(*blocks), GoogleChatReader(asked()), ErrorBoundary("t")), target="t"))


@pytest.mark.parametrize("ending", [bytes, ConnectionResetError], ids=["clean", "reset"])
@pytest.mark.parametrize(
    "said", [None, PlainAnswer(calls=(Called("weather", '{"city": "İzmir"}'),) * 2, finish="tools")], ids=["text", "tools"]
)
async def test_a_stream_cut_at_any_byte_is_never_complete(server, ending, said):
    """The whole answer or a typed error that carries what arrived; never a part that passes for the whole."""
    body = await recorded(server, HELLO, said)
    whole = await read_raw(body)
    ends: list[tuple[str, bool]] = []
    for cut in range(len(body) + 1):
        try:
            reply = await read_raw(body[:cut], ending())
        except (Interrupted, ConnectionLost, MalformedReply) as error:
            ends.append((type(error).__name__, whole.text.startswith(getattr(error, "partial", ""))))
        else:
            is_same = (reply.text, reply.tool_calls, reply.finish_reason) == (whole.text, whole.tool_calls, whole.finish_reason)
            ends.append(("whole", is_same and b'"finishReason":"' in body[:cut]))
    assert all(right for _, right in ends)
    before = "MalformedReply" if ending is bytes else "ConnectionLost"  # before the first event
    assert {name for name, _ in ends} >= {"whole", "Interrupted", before}


@pytest.mark.parametrize("cut", ["close", "reset", "end"])
async def test_a_stream_cut_on_the_wire_is_never_complete(provider, sim, cut):
    """The same over real sockets, at a sample of offsets, by FIN, by RST, and framed as if it were whole."""
    total = len(await recorded(sim, HELLO, None))
    for at in range(0, total - 500, 211):
        sim.reset()
        sim.script(fault("stream_cut").but(cut_at=at, cut=cut))
        with pytest.raises((ConnectionLost, Interrupted, MalformedReply)):
            await ask(provider, HELLO, "stream")


async def test_a_stream_left_early_drops_its_connection(provider):
    """A provider bills until its stream is dropped."""
    with GeminiSim(gap_s=0.02) as slow:
        near = of(provider, base_url=slow.url)
        stream = await near.chat(asking(stream=True))
        await stream.aclose()
        assert await asyncio.to_thread(slow.wait_idle, 2)
        assert stream.outcome.abandoned
        await near.aclose()


@pytest.mark.parametrize("when", ["before the head", "in the body", "in an error's body"])
async def test_a_cancelled_call_leaves_nothing_behind(provider, when):
    """Cancellation at any moment frees the connection; the next call finds the client well."""
    with GeminiSim() as slow:
        near = of(provider, base_url=slow.url)
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


# Keys


class Rotating:
    """A key that is renewed once."""

    def __init__(self, *keys: str) -> None:
        self.keys = [Secret(key) for key in keys]

    async def get(self) -> Secret | None:
        return self.keys[0]

    async def renew(self, bad: Secret) -> Secret | None:
        if len(self.keys) > 1 and self.keys[0] == bad:
            self.keys.pop(0)
        return self.keys[0]


async def test_a_refused_key_is_renewed_once_and_the_call_may_be_repeated(provider):
    """Gemini says 400 to a wrong key; rotation works all the same."""
    with GeminiSim(expected_key="new") as guarded:
        one = GoogleProvider(replace(provider.target, base_url=guarded.url), Rotating("old", "new"))
        with pytest.raises(Transient, match="newer"):
            await one.chat(asking())
        assert (await one.chat(asking())).text
        guarded.expected_key = "third"
        with pytest.raises(AuthFailed):
            await one.chat(asking())
        await one.aclose()


async def test_a_missing_key_is_told_before_anything_is_sent(provider, sim):
    """With the name of the variable to set."""
    nowhere = GoogleProvider(Target("google:m", lane=provider.target.lane), None)
    with pytest.raises(Misconfigured, match="GEMINI_API_KEY"):
        await nowhere.chat(asking())
    assert not sim.requests


# Embeddings


async def test_vectors_come_in_order_as_float32_of_unit_length(provider, sim):
    """One row a text: the SDK's own call would merge the texts into one vector."""
    near = of(provider, name="google:gemini-embedding-001", dimensions=64)
    texts = tuple(f"text number {i}" for i in range(50))
    reply = await near.embed(asking(EmbedRequest(texts=texts)))
    assert (reply.vectors.dtype, reply.vectors.shape) == (np.float32, (50, 64))
    assert np.allclose(np.linalg.norm(reply.vectors, axis=1), 1, atol=1e-6)
    assert reply.usage.input_tokens > 50
    body = sent(sim)["requests"]
    assert body[0] == {
        "model": "models/gemini-embedding-001", "taskType": "RETRIEVAL_DOCUMENT", "outputDimensionality": 64,
        "content": {"parts": [{"text": "text number 0"}]},
    }  # fmt: skip
    single = await near.embed(asking(EmbedRequest(texts=(texts[7],))))
    assert np.allclose(single.vectors[0], reply.vectors[7])
    raw = await near.embed(asking(EmbedRequest(texts=("a",), unit_length=False)))
    assert np.linalg.norm(raw.vectors[0]) < 0.5  # shorter than a unit where the dimension is not the full one
    assert raw.space == "google/gemini-embedding-001/64/as-is/RETRIEVAL_DOCUMENT|RETRIEVAL_QUERY"
    await near.aclose()


async def test_queries_and_documents_are_told_apart(provider, sim):
    """By a field for one model, in the text for the next; the space says how."""
    newer = of(provider, name="google:gemini-embedding-2", dimensions=8)
    await newer.embed(asking(EmbedRequest(texts=("a",), role="query")))
    assert sent(sim)["requests"][0]["content"] == {"parts": [{"text": "task: search result | query: a"}]}
    assert "taskType" not in sent(sim)["requests"][0]
    assert newer.traits.space == "google/gemini-embedding-2/8/unit/title: none | text: |task: search result | query: "
    older = of(provider, name="google:gemini-embedding-001", options=(("task_types", ("", "")),))
    await older.embed(asking(EmbedRequest(texts=("a",), role="query", extra='{"title": "t"}')))
    assert set(sent(sim)["requests"][0]) == {"model", "content", "title"}
    assert older.traits.space == "google/gemini-embedding-001/3072/unit/no-prefix"
    await newer.aclose()
    await older.aclose()


async def test_vectors_of_another_size_than_asked_are_refused(provider, sim):
    """A server that ignores the dimension would fill an index with vectors that cannot be compared."""
    near = of(provider, name="google:gemini-embedding-001", dimensions=8)
    sim.script(OK.but(body=b'{"embeddings": [{"values": [1.0, 2.0]}]}'))
    with pytest.raises(MalformedReply, match="2 numbers came back, 8 were expected"):
        await near.embed(asking(EmbedRequest(texts=("a",))))
    await near.aclose()


async def test_a_text_too_long_is_told_so_that_the_batch_can_be_split(provider, sim):
    """One long text must not lose the batch: the layer above bisects on this error."""
    near = of(provider, name="google:gemini-embedding-001")
    with pytest.raises(ContextTooLong):
        await near.embed(asking(EmbedRequest(texts=("short", "word " * 40_000))))
    await near.aclose()


async def test_numbers_that_are_none_are_no_vectors():
    """NaN would be nearest to nothing, infinity to everything; numbers beyond float32 become one."""
    for values in ("[1e999, 2.0]", "[1e39, 2.0]", '["NaN", 2.0]', "[]", "null"):
        with pytest.raises(MalformedReply):
            vectors(b'{"embeddings": [{"values": %b}]}' % values.encode(), "", count=1, target="t", emit=lambda _: AssertionError())


async def test_a_missing_package_is_told_with_what_to_install(monkeypatch):
    """Extras are optional; the remedy belongs into the message."""
    monkeypatch.setitem(__import__("sys").modules, "google.genai", None)
    monkeypatch.delattr("google.genai", raising=False)
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[google\]"'):
        GoogleProvider(Target("google:m", lane="sdk"), None)


async def test_a_placeholder_key_is_a_word_an_answer_may_hold(provider, sim):
    """Keys are masked in what a server sends; "not-needed" is none, and an answer must not be changed for it."""
    own = of(provider, api_key=None)
    sim.script("An umbrella is not-needed today.")
    assert (await own.chat(asking())).text == "An umbrella is not-needed today."
    await own.aclose()
