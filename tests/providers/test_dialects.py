"""What compatible servers really send, whole and streamed, as the vendors' SDKs read it: shapes, pieces of calls, ends of streams."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from msgspec.structs import replace

from surefoot import ChatModel, Policy
from surefoot.core._tool_calls import CUT_OFF
from surefoot.core.stream import Stream, collect, open_stream
from surefoot.errors import ConnectionLost, Interrupted, MalformedReply, Overloaded, SurefootError
from surefoot.providers.anthropic.endpoint import AnthropicProvider
from surefoot.providers.anthropic.responses import AnthropicContext
from surefoot.providers.anthropic.stream import AnthropicChatReader
from surefoot.providers.google.endpoint import GoogleProvider
from surefoot.providers.google.responses import GoogleChatReader
from surefoot.providers.http.faults import ErrorBoundary, fault_of
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.http.sse import EventSource
from surefoot.providers.openai.endpoint import OpenAIProvider
from surefoot.providers.openai.responses import chat_reply
from surefoot.providers.openai.stream import OpenAIChatReader
from surefoot.settings import Target
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Message, Tool
from tests.providers.http.servers import serving
from tests.providers.http.test_sse import Body

TOOLS = (Tool.of("weather", "The weather", {"type": "object"}), Tool.of("now", "The time", {"type": "object"}))
REQUEST = ChatRequest(messages=(Message.user("hi"),), tools=TOOLS)
A, B = '{"city":"A"}', '{"city":"B"}'


def reading() -> ReadingContext:
    return ReadingContext("t", "req", REQUEST, lambda body: fault_of("t", body))


def anthropic_reading(answer_tool: str = "") -> AnthropicContext:
    return AnthropicContext("t", "req", REQUEST, answer_tool, lambda body: fault_of("t", body))


async def streamed(reader: Any, *blocks: bytes) -> ChatReply:
    return await collect(await open_stream(EventSource(Body(*blocks), reader, ErrorBoundary("t")), target="t"))


def event(data: Any) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def chunk(delta: Any = None, finish: Any = None, **fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields})


def called(name: str | None, arguments: Any, **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name is not None else {})
    return {"tool_calls": [{"type": "function", "function": function, **fields}]}


def both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {"tool_calls": one["tool_calls"] + other["tool_calls"]}


CALLS = {
    "index 0, id empty": ([called("weather", A, index=0, id=""), called("weather", B, index=0, id="")], [A, B]),
    "index 0, no id": ([called("weather", A, index=0), called("weather", B, index=0)], [A, B]),
    "index 0, no id, in pieces": (
        [called("weather", '{"city":', index=0), called(None, '"A"}', index=0), called("weather", '{"city":', index=0),
         called(None, '"B"}', index=0)], [A, B],
    ),
    "neither, in one chunk": ([both(called("weather", A), called("weather", B))], [A, B]),
    "neither, and the name with each piece": ([called("weather", '{"city":'), called("weather", '"A"}')], [A]),
    "neither, other tools": ([called("weather", A), called("now", "{}")], [A, "{}"]),
    "a tool without arguments first": ([called("now", "", index=0), called("weather", A, index=0)], ["{}", A]),
    "index as text": ([called("weather", A, index="0", id="a"), called("weather", B, index="1", id="b")], [A, B]),
    "ids as numbers, one index": ([called("weather", A, index=0, id=1), called("weather", B, index=0, id=2)], [A, B]),
    "ids null, indices right": ([called("weather", A, index=0, id=None), called("weather", B, index=1, id=None)], [A, B]),
    "the whole call again": (
        [called("weather", '{"city":', index=0, id="a"), called(None, '"A"}', index=0), called("weather", A, index=0, id="a")], [A],
    ),
    "each whole call again": (
        [both(called("weather", A, index=0, id="a"), called("weather", B, index=1, id="b"))] * 2, [A, B],
    ),
    "an empty object first": ([called("weather", {}, index=0, id="a"), called(None, A, index=0)], [A]),
    "an empty text object first": ([called("weather", "{}", index=0, id="a"), called(None, A, index=0)], [A]),
    "the object itself": ([called("weather", {"city": "A"}, index=0, id="a")], [A]),
    "null": ([called("now", None, index=0, id="a")], ["{}"]),
    "the word null": ([called("now", "null", index=0, id="a")], ["{}"]),
    "text in text": ([called("weather", json.dumps(A), index=0, id="a")], [A]),
    "a name in two pieces": ([called("wea", "", index=0, id="a"), called("ther", A, index=0)], [A]),
    "the old protocol": ([{"function_call": {"name": "weather", "arguments": '{"city":'}}, {"function_call": {"arguments": '"A"}'}}], [A]),
    "interleaved": (
        [called("weather", '{"city":', index=0, id="a"), called("weather", '{"city":', index=1, id="b"), called(None, '"A"}', index=0),
         called(None, '"B"}', index=1)], [A, B],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_pieces_of_tool_calls_find_their_call(name):
    """Melted into one, two calls are lost and broken arguments are left; torn apart, one is run with half of them."""
    deltas, arguments = CALLS[name]
    reply = await streamed(OpenAIChatReader(reading()), *map(chunk, deltas), chunk(finish="tool_calls"))
    assert [json.loads(call.arguments) for call in reply.tool_calls] == [json.loads(one) for one in arguments]
    assert not reply.invalid_tool_calls
    assert {call.name for call in reply.tool_calls} <= {"weather", "now"}


def whole(**fields: Any) -> ChatReply:
    message = {"role": "assistant", "content": "Hello", **fields.pop("message", {})}
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop", **fields.pop("choice", {})}], **fields}
    return chat_reply(json.dumps(body).encode(), "application/json", reading())


SHAPES = [
    {"usage": []}, {"usage": "none"}, {"model": 4}, {"model": None}, {"id": 7}, {"object": []}, {"error": {}}, {"error": None},
    {"choice": {"finish_reason": 0}}, {"choice": {"index": "0"}}, {"choice": {"logprobs": "no"}},
    {"message": {"tool_calls": {}}}, {"message": {"tool_calls": [None]}}, {"message": {"tool_calls": ""}},
    {"message": {"content": ["Hel", "lo"]}}, {"message": {"content": [{"type": "output_text", "text": "Hello"}]}},
    {"message": {"content": [{"type": "text", "text": {"value": "Hello"}}]}}, {"message": {"content": {"type": "text", "text": "Hello"}}},
    {"message": {"content": [{"text": "Hello"}]}}, {"message": {"refusal": False}}, {"message": {"audio": "no"}},
    {"message": {"function_call": []}}, {"message": {"role": 1}},
]  # fmt: skip


@pytest.mark.parametrize("fields", SHAPES, ids=map(str, SHAPES))
async def test_an_answer_is_not_lost_to_a_field_of_another_shape(fields):
    """It was paid for; asked again, the server sends the same."""
    assert whole(**json.loads(json.dumps(fields))).text == "Hello"
    message = {"content": "Hello", **fields.get("message", {})}
    finish = fields.get("choice", {}).get("finish_reason", "stop")
    rest = {name: value for name, value in fields.items() if name not in {"message", "choice"}}
    reply = await streamed(OpenAIChatReader(reading()), chunk(message, **rest), chunk(finish=finish or "stop"))
    assert reply.text == "Hello"


def test_thoughts_of_another_shape_are_read():
    """As an object, or in parts."""
    assert whole(message={"reasoning": {"text": "hm"}}).reasoning == "hm"
    assert whole(message={"reasoning_content": [{"text": "h"}, {"text": "m"}]}).reasoning == "hm"


def test_what_is_no_answer_is_none():
    """Leniency ends where nothing is left."""
    for body in (b'{"choices": "none"}', b'{"choices": [7]}', b'{"choices": [{"message": "hi"}]}', b'{"choices": [{"mess', b"Hello"):
        with pytest.raises(MalformedReply):
            chat_reply(body, "application/json", reading())


START = event({"type": "message_start", "message": {"model": "m", "content": [], "usage": {"input_tokens": 5}}})
TEXT = event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}) + event(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}
)
TOOL = event(
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "id": "a", "name": "weather", "input": {}}}
) + event({"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": A}})
ENDS = {
    "the API's": event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}) + event({"type": "message_stop"}),
    "no end mark": event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
    "OpenAI's end mark": event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}) + event(b"[DONE]"),
    "no reason": event({"type": "message_delta", "delta": {}}) + event({"type": "message_stop"}),
    "the reason beside the delta": event({"type": "message_delta", "stop_reason": "end_turn"}),
    "the reason in the stop": event({"type": "message_stop", "stop_reason": "end_turn"}),
    "usage in the delta": event({"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": {"output_tokens": 2}}}),
    "no blank line": b'data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}',
}


@pytest.mark.parametrize("name", ENDS)
async def test_streams_of_servers_like_anthropics_end_in_their_own_ways(name):
    """Only a stream that no mark ends was cut."""
    assert (await streamed(AnthropicChatReader(anthropic_reading()), START, TEXT, ENDS[name])).text == "Hello"
    for cut in (b"", event(b"[DONE]")):  # OpenAI's mark alone is a proxy's
        with pytest.raises(Interrupted):
            await streamed(AnthropicChatReader(anthropic_reading()), START, TEXT, cut)


async def test_a_call_before_an_end_without_a_reason_may_be_run():
    """The server said that the message is over, and the arguments are whole."""
    reply = await streamed(AnthropicChatReader(anthropic_reading()), START, TOOL, event({"type": "message_stop"}))
    assert (reply.finish_reason, reply.tool_calls[0].parsed(), reply.tool_calls[0].error) == ("tool_calls", {"city": "A"}, "")
    cut = event({"type": "message_delta", "delta": {"stop_reason": "max_tokens"}}) + event({"type": "message_stop"})
    assert (await streamed(AnthropicChatReader(anthropic_reading()), START, TOOL, cut)).tool_calls[0].error == CUT_OFF


async def test_a_message_that_comes_at_once_is_read_as_a_stream():
    """Some servers begin with all they have, some answer a stream's request with the message itself."""
    message = {"type": "message", "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hello"}],
               "stop_reason": "end_turn", "usage": {"input_tokens": 5, "output_tokens": 2}}  # fmt: skip
    for body in (event(message), json.dumps(message, indent=1).encode(), event({"type": "message_start", "message": message})):
        reply = await streamed(AnthropicChatReader(anthropic_reading()), body)
        assert (reply.reasoning, reply.text, reply.usage.total_tokens) == ("hm", "Hello", 7)


async def test_an_error_of_another_vendors_form_in_a_stream_is_told():
    """Gateways translate the answers, and forget the errors."""
    for body in (event({"error": {"message": "Overloaded", "type": "overloaded_error"}}), b"event: error\ndata: Overloaded\n\n"):
        for reader in (AnthropicChatReader(anthropic_reading()), OpenAIChatReader(reading()), GoogleChatReader(reading())):
            with pytest.raises(Overloaded):
                await streamed(reader, body)


FRAMED = chunk({"content": "Hello"}) + chunk(finish="stop") + event(b"[DONE]")
LINES = b"".join(line[6:] + b"\n" for line in FRAMED.splitlines() if line[:9] == b'data: {"c')
AT_ONCE = b'{"choices": [{"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}]}'
OPENAI = [
    ("text/plain; charset=utf-8", FRAMED), ("application/json", FRAMED), ("application/octet-stream", b": hi\n\n" + FRAMED),
    ("Text/Event-Stream", FRAMED), ("application/x-ndjson", b"\xef\xbb\xbf" + FRAMED), ("", FRAMED), ("text/html", b"\n" + FRAMED),
    ("application/x-ndjson", LINES), ("text/event-stream", LINES), ("text/event-stream", AT_ONCE), ("text/plain", AT_ONCE),
    ("application/json", b"\n  " + AT_ONCE), ("application/json; charset=utf-8", b"\xef\xbb\xbf" + AT_ONCE),
    ("text/event-stream", json.dumps(json.loads(AT_ONCE), indent=2).encode()),
]  # fmt: skip


def answer(content_type: str, body: bytes) -> bytes:
    kind = f"content-type: {content_type}\r\n" if content_type else ""
    return f"HTTP/1.1 200 OK\r\n{kind}content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode() + body


async def asked(provider: Any, answers: list[bytes]) -> list[ChatReply | SurefootError]:
    """What each of `answers` is to a stream."""
    found: list[ChatReply | SurefootError] = []
    for _ in answers:
        call = Call(request=REQUEST, state=CallState(), stream=True)
        try:
            stream = await provider.chat(call)
            assert isinstance(stream, Stream)
            found.append(await collect(stream))
        except SurefootError as error:
            found.append(error)
    await provider.aclose()
    return found


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_a_stream_is_known_by_what_it_begins_with(lane):
    """Proxies and small servers call their streams what they like; the SDKs do not look."""
    answers = [answer(*one) for one in OPENAI]
    async with serving(*answers, hangs_up=True) as server:
        told = await asked(OpenAIProvider(Target("openai:m", base_url=server.url, api_key="k", lane=lane), None), answers)
    assert [one.text if isinstance(one, ChatReply) else one for one in told] == ["Hello"] * len(OPENAI)
    pages = [answer("text/html", b"<html>data: no</html>"), answer("text/plain", b"upstream: gone"), answer("application/json", b"")]
    async with serving(*pages, hangs_up=True) as server:
        told = await asked(OpenAIProvider(Target("openai:m", base_url=server.url, api_key="k", lane=lane), None), pages)
    assert [type(one) for one in told] == [MalformedReply] * len(pages)


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_geminis_chunks_are_read_in_an_array_as_well(lane):
    """Where a gateway drops `alt=sse`, the chunks come as one JSON array; an error, too."""
    first, last = (
        {"candidates": [{"content": {"parts": [{"text": text}]}, **more}]} for text, more in (("Hel", {}), ("lo", {"finishReason": "STOP"}))
    )
    errors = [{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]
    bodies = [json.dumps([first, last], indent=1).encode(), json.dumps([first]).encode(), json.dumps(errors, indent=1).encode()]
    answers = [answer(kind, body) for kind in ("application/json", "text/event-stream") for body in bodies]
    async with serving(*answers, hangs_up=True) as server:
        told = await asked(GoogleProvider(Target("google:gemini-3-flash", base_url=server.url, api_key="k", lane=lane), None), answers)
    assert [one.text if isinstance(one, ChatReply) else type(one) for one in told] == ["Hello", Interrupted, Overloaded] * 2


@pytest.mark.parametrize("lane", ["sdk", "direct"])
async def test_anthropics_message_is_read_where_a_stream_was_asked_for(lane):
    """A gateway that does not stream answers with what it has."""
    body = json.dumps({"type": "message", "content": [{"type": "text", "text": "Hello"}], "stop_reason": "end_turn"}).encode()
    answers = [answer(kind, body) for kind in ("application/json", "text/plain", "text/event-stream", "")]
    async with serving(*answers, hangs_up=True) as server:
        told = await asked(AnthropicProvider(Target("anthropic:m", base_url=server.url, api_key="k", lane=lane), None), answers)
    assert [one.text if isinstance(one, ChatReply) else one for one in told] == ["Hello"] * len(answers)


NO_ERRORS = [{"error": {"message": "", "type": "", "param": "", "code": None}}, {"base_resp": {"status_code": 0, "status_msg": "success"}}]
ERRORS_INSTEAD = [
    {"choices": None, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, {"code": 503, "msg": "overloaded"},
    {"code": "Throttling.RateQuota", "message": "slow down"}, {"detail": "not found"}, {"error": "boom"}, {"type": "error", "message": "x"},
]  # fmt: skip


@pytest.mark.parametrize("body", ERRORS_INSTEAD, ids=map(str, ERRORS_INSTEAD))
async def test_an_error_in_place_of_an_answer_is_told_as_what_it_is(body):
    """With status 200, in a body or in a stream: asked again as a malformed answer, an empty account is asked three times."""
    kind = type(fault_of("t", json.dumps(body).encode()))
    assert kind is not MalformedReply
    with pytest.raises(kind):
        chat_reply(json.dumps(body).encode(), "application/json", reading())
    for reader in (OpenAIChatReader(reading()), AnthropicChatReader(anthropic_reading()), GoogleChatReader(reading())):
        with pytest.raises(kind):
            await streamed(reader, event(body))


@pytest.mark.parametrize("fields", NO_ERRORS, ids=map(str, NO_ERRORS))
async def test_an_error_that_says_nothing_is_none(fields):
    """Gateways send the empty object of their own type along with the answer."""
    assert whole(**fields).text == "Hello"
    reply = await streamed(OpenAIChatReader(reading()), chunk({"content": "Hello"}, **fields), chunk(finish="stop", **fields))
    assert reply.text == "Hello"


CALLED = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": A}}]}


@pytest.mark.parametrize("piece", [{"content": "Half an ans"}, CALLED], ids=["text", "call"])
async def test_an_end_mark_without_a_finish_reason_is_no_end(piece):
    """Proxies write it after an answer that broke off behind them: half a text, or one call of two, would pass for the whole."""
    with pytest.raises(Interrupted, match="end_mark"):
        await streamed(OpenAIChatReader(reading()), chunk(piece), event(b"[DONE]"))
    with pytest.raises(ConnectionLost, match="end_mark"):
        await streamed(OpenAIChatReader(reading()), event(b"[DONE]"))
    text = {"candidates": [{"content": {"parts": [{"text": "Half an ans"}]}}]}
    with pytest.raises(Interrupted):
        await streamed(GoogleChatReader(reading()), event(text), event(b"[DONE]"))


async def test_a_server_that_never_gives_a_finish_reason_can_be_said_to():
    """The remedy that the error names."""
    asked = replace(reading(), mark_ends=True)
    reply = await streamed(OpenAIChatReader(asked), chunk({"content": "All"}), event(b"[DONE]"))
    assert (reply.text, reply.finish_reason) == ("All", "other")
    with pytest.raises(Interrupted):
        await streamed(OpenAIChatReader(asked), chunk({"content": "Half an ans"}))
    async with serving(lambda _: HEAD + chunk({"content": "All"}) + event(b"[DONE]"), hangs_up=True) as at:
        for options, ends in ((), False), ((("end_mark", True),), True):
            chat = ChatModel(Target("openai:m", base_url=at.url, api_key="k", options=options), policy=Policy(attempts=1, breaker=False))
            with contextlib.nullcontext() if ends else pytest.raises(Interrupted):
                assert [delta.text async for delta in chat.astream("hi") if delta.text] == ["All"]
            await chat.aclose()


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
