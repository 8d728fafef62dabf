"""Anthropic's API over both lanes, against a loopback server that speaks it: every answer read right, every fault named."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import pytest_asyncio
from msgspec.structs import replace

from surefoot import errors
from surefoot.core.stream import Stream, collect, open_stream
from surefoot.errors import (
    ConnectionLost,
    ContentRefused,
    Interrupted,
    MalformedReply,
    Misconfigured,
    SurefootError,
    Transient,
    Unsupported,
)
from surefoot.providers.anthropic.endpoint import AnthropicProvider
from surefoot.providers.anthropic.requests import AnthropicDialect, chat_body, closed, is_closed
from surefoot.providers.anthropic.responses import AnthropicContext
from surefoot.providers.anthropic.stream import AnthropicChatReader
from surefoot.providers.http.direct import DirectLane
from surefoot.providers.http.faults import ErrorBoundary, fault_of
from surefoot.providers.http.sse import EventSource
from surefoot.providers.http.transport import Transport
from surefoot.secret import Secret
from surefoot.settings import Target
from surefoot.testing.wire import OK, AnthropicSim, Limits, PlainAnswer, WireFault, fault, faults_for
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
from tests.providers.test_openai import Rotating

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-ant-CANARY-0123456789abcdef"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = Tool.of("weather", "The weather somewhere", CITY)
HELLO = ChatRequest(messages=(Message.user("Merhaba, how are you?"),))


def asking(request: ChatRequest = HELLO, *, stream: bool = False) -> Call:
    return Call(request=request, state=CallState(), stream=stream)


def chat(*messages: Message | str, **fields) -> ChatRequest:
    return ChatRequest(messages=tuple(Message.user(m) if isinstance(m, str) else m for m in messages), **fields)


@pytest.fixture(scope="module")
def server() -> Iterator[AnthropicSim]:
    with AnthropicSim() as sim:
        yield sim


@pytest.fixture
def sim(server) -> AnthropicSim:
    server.reset()
    return server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["sdk", "direct"])
async def provider(request, server) -> AsyncIterator[AnthropicProvider]:
    one = AnthropicProvider(Target("anthropic:claude-haiku-4-5", base_url=server.url, api_key=KEY, lane=request.param), None)
    yield one
    await one.aclose()


def of(provider: AnthropicProvider, **changes) -> AnthropicProvider:
    return AnthropicProvider(replace(provider.target, **changes), None)


async def ask(provider: AnthropicProvider, request: ChatRequest, mode: str) -> ChatReply:
    """The whole answer, asked whole or streamed: they must be the same."""
    answer = await provider.chat(asking(request, stream=mode == "stream"))
    if mode == "chat":
        return answer
    assert isinstance(answer, Stream)
    return await collect(answer)


both = pytest.mark.parametrize("mode", ["chat", "stream"])


def sent(sim: AnthropicSim) -> dict:
    return sim.requests[-1].json


def body_of(request: ChatRequest, model: str = "claude-haiku-4-5", **dialect) -> dict:
    return msgspec.json.decode(chat_body(request, model, stream=False, dialect=AnthropicDialect(target="t", **dialect)).data)


# Answers


@both
async def test_an_answer_comes_whole_with_its_usage_and_ids(provider, sim, mode):
    """Everything a caller or a bill needs; a collected stream is the same."""
    sim.script("Merhaba! İyiyim, teşekkürler. 👋")
    reply = await ask(provider, HELLO, mode)
    assert reply.text == "Merhaba! İyiyim, teşekkürler. 👋"
    assert (reply.finish_reason, reply.model, reply.target) == ("stop", "claude-haiku-4-5", "anthropic:claude-haiku-4-5")
    assert await asyncio.to_thread(sim.wait_idle, 2)
    billed = sim.usage_log[reply.request_id]
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (billed.input_tokens, billed.output_tokens)


@both
async def test_cached_prompts_are_marked_and_counted(provider, sim, mode):
    """The API counts cached input apart; ours include it, or a bill would forget the largest part."""
    long = chat(replace(Message.system("Be brief. " * 900), cache=True), "Hello")
    first, second = [(await ask(provider, long, mode)).usage for _ in range(2)]
    assert sent(sim)["system"][0]["cache_control"] == {"type": "ephemeral"}
    assert first.cache_write_tokens == second.cached_tokens > 1000
    assert first.input_tokens == second.input_tokens > 1000


@both
async def test_thoughts_come_with_their_seal_and_go_back_untouched(provider, sim, mode):
    """In a loop of tools the API refuses an answer whose thoughts were changed."""
    sim.script([PlainAnswer(reasoning="Let me see.", calls=(Called("weather", '{"city": "Bursa"}'),), finish="tools")])
    reply = await ask(provider, chat("x", tools=(WEATHER,), reasoning_effort="low"), mode)
    assert reply.reasoning == "Let me see."
    assert reply.signature
    result = Message.tool("12 °C", tool_call_id=reply.tool_calls[0].id)
    await ask(provider, chat("x", reply.message, result, tools=(WEATHER,), reasoning_effort="low"), mode)
    turns = sent(sim)["messages"]
    assert turns[1]["content"][0] == {"type": "thinking", "thinking": "Let me see.", "signature": reply.signature}
    assert turns[1]["content"][1]["input"] == {"city": "Bursa"}
    assert turns[2]["content"][0]["type"] == "tool_result"


async def test_limits_of_each_answer_are_noted(provider):
    """The rate layer learns from them."""
    with AnthropicSim(limits=Limits(requests_per_minute=60, tokens_per_minute=9000)) as limited:
        near = of(provider, base_url=limited.url)
        call = asking()
        await near.chat(call)
        assert call.state.rate_headers["anthropic-ratelimit-requests-remaining"] == "59"
        await near.aclose()


@both
async def test_finish_reasons_have_one_vocabulary(provider, sim, mode):
    """The same words as for every other vendor."""
    assert (await ask(provider, chat("Tell me a long story", max_tokens=2), mode)).finish_reason == "length"
    assert (await ask(provider, chat("x", tools=(WEATHER,), tool_choice="required"), mode)).finish_reason == "tool_calls"
    sim.script(PlainAnswer(text="a", finish="stop_sequence", stopped_by="END"))
    assert (await ask(provider, chat("x", stop=("END",)), mode)).finish_reason == "stop"


# What is sent


async def test_every_setting_reaches_the_wire_under_its_name(provider, sim):
    """A setting lost on the way is a wrong answer nobody notices."""
    request = chat(
        "Hi", temperature=0.5, max_tokens=50, stop=("END",), tools=(WEATHER,), tool_choice="weather", parallel_tool_calls=False,
        model="claude-sonnet-4-5", extra='{"metadata": {"user_id": "b",  "z": 1.50}, "service_tier": "auto"}', seed=7,
    )  # fmt: skip
    await provider.chat(asking(request))
    body = sent(sim)
    assert body == {
        "model": "claude-sonnet-4-5", "max_tokens": 50, "stop_sequences": ["END"], "temperature": 0.5, "service_tier": "auto",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], "metadata": {"user_id": "b", "z": 1.5},
        "tools": [{"name": "weather", "description": "The weather somewhere", "input_schema": CITY}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
    }  # fmt: skip
    assert b'{"user_id": "b",  "z": 1.50}' in sim.requests[-1].body  # untouched, byte for byte
    await provider.chat(asking())
    assert set(sent(sim)) == {"model", "messages", "max_tokens"}


async def test_tool_choices_have_the_apis_words():
    """Our four words and a name, and whether calls may come in parallel."""
    for ours, theirs in {"auto": "auto", "none": "none", "required": "any"}.items():
        assert body_of(chat("x", tools=(WEATHER,), tool_choice=ours))["tool_choice"] == {"type": theirs}
    assert "tool_choice" not in body_of(chat("x", tools=(WEATHER,)))
    serial = body_of(chat("x", tools=(WEATHER,), parallel_tool_calls=False))
    assert serial["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


async def test_a_conversation_is_put_into_turns_that_alternate(provider, sim):
    """System texts apart, results as the user's, blank texts left out, broken arguments as the text they are; the server accepts it."""
    calls = [
        ToolCall(id="toolu_1", name="weather", arguments='{"city":  "İzmir"}'),
        ToolCall(id="toolu_2", name="weather", arguments='{"city'),
    ]
    messages = (
        Message.system("Be brief."),
        Message.user("Hi \ud83d there"),
        Message.assistant((Reasoning(text="another vendor's, unsealed"), Text("Looking"))),
        Message.user(" "),
        Message.user("And?"),
        Message.assistant("", tool_calls=calls),
        Message.tool("22 °C", tool_call_id="toolu_1"),
        Message.tool([Text("broken"), Image(data=PNG)], tool_call_id="toolu_2", is_error=True),
        Message.user("So?"),
        Message.system("Speak Turkish."),
        Message.assistant("It is "),
    )
    await provider.chat(asking(ChatRequest(messages=messages, tools=(WEATHER,))))
    body = sent(sim)
    assert [block["text"] for block in body["system"]] == ["Be brief.", "Speak Turkish."]
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user", "assistant", "user", "assistant"]
    hi, looking, _, called, results, beginning = [turn["content"] for turn in body["messages"]]
    assert hi == [{"type": "text", "text": "Hi � there"}]
    assert looking == [{"type": "text", "text": "Looking"}]
    assert [block["input"] for block in called] == [{"city": "İzmir"}, {"not_json": '{"city'}]
    assert [block["type"] for block in results] == ["tool_result", "tool_result", "text"]
    assert results[1]["is_error"] is True
    assert [block["type"] for block in results[1]["content"]] == ["text", "image"]
    assert beginning[0]["text"] == "It is"
    assert b'"input":{"city":  "\xc4\xb0zmir"}' in sim.requests[-1].body


async def test_pictures_documents_and_texts_are_sent_and_sounds_refused(provider, sim):
    """By bytes or address; what the API cannot carry is refused before anything is sent."""
    parts = [
        "Look:", Image(data=PNG), Image(url="https://example.org/a.jpg"), Image(url="data:image/webp;base64,AAAA"),
        File(data=b"%PDF-1.7", name="a.pdf"), File(data=b"metin", media_type="text/plain"), File(data=PNG, media_type="image/png"),
    ]  # fmt: skip
    await provider.chat(asking(chat(Message.user(parts))))
    content = sent(sim)["messages"][0]["content"]
    assert [part["type"] for part in content] == ["text", "image", "image", "image", "document", "document", "image"]
    kinds = [(part["source"]["type"], part["source"].get("media_type")) for part in content[1:]]
    assert kinds == [
        ("base64", "image/png"), ("url", None), ("base64", "image/webp"), ("base64", "application/pdf"), ("text", "text/plain"),
        ("base64", "image/png"),
    ]  # fmt: skip
    assert content[4]["title"] == "a.pdf"
    for part in (File(data=b"RIFF", media_type="audio/wav"), Image(data=b"BM")):
        with pytest.raises(Unsupported):
            await provider.chat(asking(chat(Message.user([part]))))
    with pytest.raises(Unsupported, match="embeddings"):
        await provider.embed(Call(request=EmbedRequest(texts=("a",)), state=CallState()))
    assert len(sim.requests) == 1
    assert provider.traits.embed is False


async def test_sampling_and_effort_follow_the_model():
    """Models after 4.6 refuse temperature; those of generation 4 both at once; efforts are budgets before 4.6."""
    sampled = chat("x", temperature=1.5, top_p=0.5)
    for model, settings in {
        "claude-3-haiku-20240307": {"temperature", "top_p"}, "claude-haiku-4-5": {"temperature"}, "claude-opus-4-6": {"temperature"},
        "claude-opus-4-7": set(), "claude-sonnet-5": set(), "claude-mythos-preview": set(), "MiniMax-M2": {"temperature", "top_p"},
    }.items():  # fmt: skip
        assert set(body_of(sampled, model)) & {"temperature", "top_p"} == settings, model
    assert body_of(sampled)["temperature"] == 1.0
    assert body_of(chat("x", top_p=0.5))["top_p"] == 0.5
    assert body_of(sampled, "claude-opus-5", sampling=True)["temperature"] == 1.5
    hard = chat("x", reasoning_effort="high", temperature=0.1)
    old = body_of(hard)
    assert (old["thinking"], old["max_tokens"]) == ({"type": "enabled", "budget_tokens": 16_384}, 8192 + 16_384)
    assert "temperature" not in old
    assert body_of(replace(hard, max_tokens=4000))["thinking"]["budget_tokens"] == 2000
    assert "thinking" not in body_of(replace(hard, max_tokens=100))
    new = body_of(hard, "claude-opus-4-6")
    assert (new["thinking"], new["output_config"]) == ({"type": "adaptive"}, {"effort": "high"})
    assert "thinking" not in body_of(replace(hard, tools=(WEATHER,), tool_choice="required"), "claude-opus-4-6")
    assert body_of(replace(hard, reasoning_effort="none"), "claude-opus-5")["thinking"] == {"type": "disabled"}
    assert "thinking" not in body_of(hard, "claude-3-5-haiku-latest")


async def test_options_and_headers_of_the_target_are_used(provider, sim):
    """Gateways want headers, features behind a flag a beta header."""
    other = of(provider, options=(("beta", "context-1m"), ("max_tokens", 77)), headers=(("x-tenant", "acme"),))
    await other.chat(asking())
    headers = sim.requests[-1].headers
    assert (headers["anthropic-beta"], headers["x-tenant"], sent(sim)["max_tokens"]) == ("context-1m", "acme", 77)
    assert headers["anthropic-version"]
    with pytest.raises(Misconfigured, match="did you mean 'beta'"):
        of(provider, options=(("betas", "x"),))
    await other.aclose()


# Tools and structured output


@both
async def test_tool_calls_come_whole_in_parallel_and_in_any_script(provider, sim, mode):
    """Arguments are the text as it came, streamed in pieces or not."""
    sim.script(
        PlainAnswer(text="Two.", calls=(Called("weather", '{"city": "İstanbul 🌧"}'), Called("weather", '{"city": "東京"}')), finish="tools")
    )
    reply = await ask(provider, chat("Weather?", tools=(WEATHER,)), mode)
    assert [call.parsed()["city"] for call in reply.tool_calls] == ["İstanbul 🌧", "東京"]
    assert len({call.id for call in reply.tool_calls}) == 2
    assert (reply.text, reply.finish_reason) == ("Two.", "tool_calls")


async def test_broken_arguments_are_an_invalid_call_with_its_text(provider, sim):
    """Turned into {} they would run: a tool that deletes with no filter deletes all."""
    sim.script(fault("malformed_tool_json"))
    reply = await ask(provider, chat("x", tools=(WEATHER,), tool_choice="required"), "stream")
    assert reply.invalid_tool_calls[0].arguments.endswith(',"')


@both
async def test_calls_cut_by_the_token_limit_are_not_to_be_run(provider, sim, mode):
    """Unstreamed, the API gives an empty object for arguments that were cut."""
    sim.script(PlainAnswer(calls=(Called("weather", '{"city"'),), finish="length"))
    reply = await ask(provider, chat("x", tools=(WEATHER,)), mode)
    assert (reply.finish_reason, len(reply.invalid_tool_calls)) == ("length", 1)


@both
async def test_structured_output_is_native_where_it_can_be_and_a_tool_where_not(provider, sim, mode):
    """Old models and open schemas go through a forced tool; the answer is the same: its text is the JSON."""
    shut = Schema.of("city card", {**CITY, "additionalProperties": False})
    wide = Schema.of("city card", CITY)
    for schema, model in ((shut, ""), (wide, ""), (shut, "claude-sonnet-4-0"), (Schema(), "")):
        reply = await ask(provider, chat("x", schema=schema, model=model), mode)
        is_native = schema is shut and not model
        assert ("output_config" in sent(sim), "tools" in sent(sim)) == (is_native, not is_native)
        assert isinstance(msgspec.json.decode(reply.text), dict)
        assert (reply.finish_reason, reply.tool_calls) == ("stop", ())
        if schema.schema:
            assert msgspec.json.decode(reply.text).keys() == {"city"}
    with_tools = body_of(chat("x", schema=shut, tools=(WEATHER,)))
    assert with_tools["output_config"]["format"]["type"] == "json_schema"
    assert with_tools["tools"][0]["name"] == "weather"
    assert body_of(chat("x", schema=wide, tools=(WEATHER,)))["output_config"] == with_tools["output_config"]
    with pytest.raises(Unsupported):
        body_of(chat("x", schema=Schema(), tools=(WEATHER,)))
    nested = msgspec.json.encode({"type": "object", "additionalProperties": False, "properties": {"a": {"items": CITY}}}).decode()
    assert not is_closed(nested)


async def test_open_schemas_are_closed_beside_tools_wherever_schemas_stand():
    """A property may be called like a keyword; keys without names cannot be asked for, and that is told before anything is sent."""
    words = {"type": {"type": "string"}, "properties": CITY, "items": {"anyOf": [CITY, {"type": "null"}]}}
    schema = {"type": "object", "properties": words, "$defs": {"one": CITY}, "required": ["type"], "enum": [{"type": "object"}]}
    found = msgspec.json.decode(closed(msgspec.json.encode(schema).decode()))
    shut = {**CITY, "additionalProperties": False}
    assert found["properties"] == {"type": {"type": "string"}, "properties": shut, "items": {"anyOf": [shut, {"type": "null"}]}}
    assert (found["$defs"], found["enum"], found["additionalProperties"]) == ({"one": shut}, [{"type": "object"}], False)
    free = Schema.of(
        "counts", {"type": "object", "properties": {"counts": {"type": "object", "additionalProperties": {"type": "integer"}}}}
    )
    with pytest.raises(Unsupported, match="keys of any name"):
        body_of(chat("x", schema=free, tools=(WEATHER,)))


# Faults

SURPRISES = {"content_length_short": ConnectionLost}  # as for OpenAI
ROWS = [
    (row, surface)
    for surface in ("chat", "stream")
    for row in faults_for("anthropic", surface)
    if not (row.delay_s or row.stall_s or row.gap_s)
]


@pytest.mark.parametrize(("row", "surface"), ROWS, ids=[f"{surface}-{row.name}" for row, surface in ROWS])
async def test_each_row_of_the_fault_table_is_told_as_what_it_is(provider, sim, row: WireFault, surface):
    """The class says whether money was spent and whether to ask again; one request is sent, and the key appears nowhere."""
    sim.script(row)
    tools = (WEATHER,) if "tool" in row.name else ()
    caught: BaseException | None = None
    try:
        await ask(provider, chat("My secret is xyzzy-plugh.", tools=tools), surface)
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
async def test_an_answer_with_nothing_in_it_is_allowed_only_with_a_reason(provider, sim, mode):
    """Cut by its limit while thinking, stopped at its first word, or ended with nothing to say: right. Withheld, or no JSON: not."""
    sim.script([PlainAnswer(text="", finish="length"), PlainAnswer(text="", finish="stop_sequence", stopped_by="a")])
    assert (await ask(provider, HELLO, mode)).text == ""
    assert (await ask(provider, chat("x", stop=("a",)), mode)).text == ""
    sim.script([*[fault("empty_completion")] * 2, fault("refusal")])
    assert (await ask(provider, HELLO, mode)).finish_reason == "stop"
    with pytest.raises(MalformedReply, match="empty"):
        await ask(provider, chat("x", schema=Schema()), mode)
    with pytest.raises(ContentRefused, match="declines"):
        await ask(provider, HELLO, mode)


# Streams


async def read(*blocks: bytes | BaseException) -> ChatReply:
    asked = AnthropicContext("t", "r", HELLO, "", lambda error: fault_of("t", error))
    return await collect(await open_stream(EventSource(Body(*blocks), AnthropicChatReader(asked), ErrorBoundary("t")), target="t"))


def event(**fields) -> bytes:
    return b"event: " + fields["type"].encode() + b"\ndata: " + msgspec.json.encode(fields) + b"\n\n"


@pytest.mark.parametrize("seal", ["google:c2ln", '[{"type": "text", "text": "x"}]', "[no JSON", '["a"]', ""])
async def test_seals_of_other_vendors_are_left_out(provider, sim, seal):
    """A conversation that fell back here carries Gemini's thoughts; their seal would be refused as a corrupt one."""
    foreign = Message.assistant([Reasoning(text="hm", signature=seal), Text("Looking")])
    await provider.chat(asking(chat("x", foreign, "y")))
    assert sent(sim)["messages"][1]["content"] == [{"type": "text", "text": "Looking"}]
    await provider.chat(asking(chat("x", Message.assistant([Reasoning(text="hm", signature=seal)]), "y")))
    assert [turn["role"] for turn in sent(sim)["messages"]] == ["user"]


async def test_sealed_and_hidden_thoughts_are_kept_apart():
    """Each goes back under its own seal, hidden ones as the cipher they came as."""
    stream = [
        event(type="message_start", message={"model": "m", "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1}}),
        event(type="content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}),
        event(type="content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "one"}),
        event(type="content_block_delta", index=0, delta={"type": "signature_delta", "signature": "s1"}),
        event(type="content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "cipher"}),
        event(type="content_block_start", index=2, content_block={"type": "text", "text": ""}),
        event(type="content_block_delta", index=2, delta={"type": "text_delta", "text": "hi"}),
        event(type="something_new", index=9),
        event(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5, "input_tokens": None}),
        event(type="message_stop"),
    ]
    reply = await read(*stream)
    assert (reply.reasoning, reply.text) == ("one", "hi")
    assert reply.usage == Usage(input_tokens=5, cached_tokens=2, output_tokens=5)
    again = body_of(chat("x", reply.message, "y"))["messages"][1]["content"]
    assert again == [
        {"type": "thinking", "thinking": "one", "signature": "s1"},
        {"type": "redacted_thinking", "data": "cipher"},
        {"type": "text", "text": "hi"},
    ]


async def recorded(server: AnthropicSim, said: PlainAnswer | None) -> bytes:
    lane = DirectLane(Transport(address=server.url), sign=lambda key: {"x-api-key": key}, headers={})
    server.reset()
    server.script(said)
    answer = await lane.post(
        "/v1/messages", chat_body(HELLO, "claude-haiku-4-5", stream=True, dialect=AnthropicDialect(target="t")).data, Secret("any")
    )
    body = await answer.read()
    await lane.aclose()
    return body


@pytest.mark.parametrize("ending", [bytes, ConnectionResetError], ids=["clean", "reset"])
@pytest.mark.parametrize(
    "said", [None, PlainAnswer(reasoning="Hm.", calls=(Called("weather", '{"city": "İzmir"}'),) * 2, finish="tools")], ids=["text", "tools"]
)
async def test_a_stream_cut_at_any_byte_is_never_complete(server, ending, said):
    """The whole answer or a typed error that carries what arrived; never a part that passes for the whole."""
    body = await recorded(server, said)
    whole = await read(body)
    ends: list[tuple[str, bool]] = []
    for cut in range(len(body) + 1):
        try:
            reply = await read(body[:cut], ending())
        except (Interrupted, ConnectionLost, MalformedReply) as error:
            ends.append((type(error).__name__, whole.text.startswith(getattr(error, "partial", ""))))
        else:
            ends.append(("whole", reply == whole and b"message_delta" in body[:cut]))
    assert all(right for _, right in ends)
    assert {"whole", "Interrupted", "ConnectionLost"} <= {name for name, _ in ends}


@pytest.mark.parametrize("cut", ["close", "reset", "end"])
async def test_a_stream_cut_on_the_wire_is_never_complete(provider, sim, cut):
    """The same over real sockets, at a sample of offsets, by FIN, by RST, and framed as if it were whole."""
    total = len(await recorded(sim, None))
    for at in range(0, total - 500, 97):
        sim.reset()
        sim.script(fault("stream_cut").but(cut_at=at, cut=cut))
        with pytest.raises((ConnectionLost, Interrupted, MalformedReply)):
            await ask(provider, HELLO, "stream")


@pytest.mark.parametrize("when", ["before the head", "in the body", "in an error's body"])
async def test_a_cancelled_call_leaves_nothing_behind(provider, when):
    """Cancellation at any moment frees the connection; the next call finds the client well."""
    with AnthropicSim() as slow:
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


async def test_a_refused_key_is_renewed_once_and_a_missing_one_named(provider):
    """Rotation without restart, by the retry layer; nothing is sent without a key."""
    with AnthropicSim(expected_key="new") as guarded:
        keys = Rotating("old", "new")
        one = AnthropicProvider(replace(provider.target, base_url=guarded.url), keys)
        with pytest.raises(Transient, match="newer"):
            await one.chat(asking())
        assert (await one.chat(asking())).text
        assert (keys.renewed, len(guarded.requests)) == (1, 2)
        await one.aclose()
    nowhere = AnthropicProvider(Target("anthropic:m", lane=provider.target.lane), None)
    with pytest.raises(Misconfigured, match="ANTHROPIC_API_KEY"):
        await nowhere.chat(asking())


async def test_a_missing_package_is_told_with_what_to_install(monkeypatch):
    """Extras are optional; the remedy belongs into the message."""
    monkeypatch.setitem(__import__("sys").modules, "anthropic", None)
    with pytest.raises(Misconfigured, match=r'pip install "surefoot\[anthropic\]"'):
        AnthropicProvider(Target("anthropic:m", lane="sdk"), None)
