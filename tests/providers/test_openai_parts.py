"""What servers of the protocol add to an answer: kept, read the same whole and streamed, and given back to the server that sent it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from surefoot.core.deltas import from_deltas
from surefoot.errors import SurefootError
from surefoot.providers.http.reading import ReadingContext
from surefoot.providers.openai.requests import OpenAIDialect, chat_body
from surefoot.providers.openai.responses import chat_reply
from surefoot.providers.openai.stream import OpenAIChatReader
from surefoot.types import ChatReply, ChatRequest, CitedSource, Delta, File, Image, Message, Opaque, Reasoning, Text, TokenLogprob, ToolCall

HOST = "api.example.com"
VENDOR = f"openai/{HOST}"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
URL = f"data:image/png;base64,{b64encode(PNG).decode()}"
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bergen"}'}}
GIVEN = CALL | {"extra_content": {"google": {"thought_signature": "SIG=="}}}
PROXIED = CALL | {"function": CALL["function"] | {"provider_specific_fields": {"thought_signature": "SIG=="}}}
DETAILS = [
    {"type": "reasoning.text", "text": "hm, yes", "index": 0, "signature": "S"},
    {"type": "reasoning.encrypted", "data": "ZZ", "index": 1},
]
NOTED = [{"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 5}}]
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "hm, yes"}], "closed": True}

# name -> the message that a whole answer has, and the deltas that a stream has
SAID: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "reasoning_content": (
        {"content": None, "reasoning_content": "hm, yes", "tool_calls": [CALL]},
        [{"reasoning_content": "hm, "}, {"reasoning_content": "yes"}, {"tool_calls": [{"index": 0, **CALL}]}],
    ),
    "reasoning": ({"content": "sunny", "reasoning": "hm"}, [{"reasoning": "hm"}, {"content": "sun"}, {"content": "ny"}]),
    "details": (
        {"content": None, "reasoning": "hm, yes", "reasoning_details": DETAILS, "tool_calls": [CALL]},
        [
            {"reasoning": "hm, ", "reasoning_details": [{"type": "reasoning.text", "text": "hm, ", "index": 0}]},
            {"reasoning": "yes", "reasoning_details": [{"type": "reasoning.text", "text": "yes", "index": 0}]},
            {"reasoning_details": [{"type": "reasoning.text", "signature": "S", "index": 0}]},
            {"reasoning_details": DETAILS[1:]},
            {"tool_calls": [{"index": 0, **CALL}]},
        ],
    ),
    "thinking list": (
        {"content": [THOUGHT, {"type": "text", "text": "sunny"}]},
        [
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm, "}]}]},
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "yes"}], "closed": True}]},
            {"content": "sun"},
            {"content": "ny"},
        ],
    ),
    "call's function's own field": (
        {"content": None, "tool_calls": [PROXIED]},
        [{"tool_calls": [{"index": 0, **PROXIED}]}],
    ),
    "no thoughts beside a call": (
        {"content": None, "reasoning_content": "", "tool_calls": [CALL]},
        [{"reasoning_content": ""}, {"tool_calls": [{"index": 0, **CALL}]}],
    ),
    "call's own field": ({"content": None, "tool_calls": [GIVEN]}, [{"tool_calls": [{"index": 0, **GIVEN}]}]),
    "pictures": (
        {"content": "here", "images": [{"type": "image_url", "image_url": {"url": URL}}]},
        [{"content": "here"}, {"images": [{"type": "image_url", "image_url": {"url": URL}}]}],
    ),
    "sources": ({"content": "sunny", "annotations": NOTED}, [{"content": "sunny"}, {"annotations": NOTED}]),
    "never heard of": (
        {"content": "sunny", "mood": "happy", "trace": {"steps": 2}},
        [{"content": "sunny", "mood": "hap"}, {"mood": "py", "trace": {"steps": 2}}],
    ),
}


def context() -> ReadingContext:
    return ReadingContext("t", "r", ChatRequest(messages=(Message.user("?"),)), lambda _: SurefootError("told"), VENDOR)


def whole(message: dict[str, Any], *, finish: str = "stop", choice: dict[str, Any] | None = None, **fields: Any) -> ChatReply:
    row = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **(choice or {})}
    body = {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [row], **fields}
    return chat_reply(msgspec.json.encode(body), "application/json", context())


def deltas_of(*choices: dict[str, Any], **fields: Any) -> list[Delta]:
    reader, out = OpenAIChatReader(context()), []
    for choice in choices:
        chunk = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, **choice}], **fields}
        reader.read(msgspec.json.encode(chunk), out)
    reader.read(b"[DONE]", out)
    reader.end(out)
    return out


def streamed(*deltas: dict[str, Any], finish: str = "stop", **fields: Any) -> ChatReply:
    choices = [{"delta": delta, "finish_reason": None} for delta in deltas]
    return from_deltas(deltas_of(*choices, {"delta": {}, "finish_reason": finish}, **fields))


def sent(*messages: Message, host: str = HOST, model: str = "m", left_out: list[str] | None = None, **fields: Any) -> list[Any]:
    dialect = OpenAIDialect(target="t", host=host, **fields)
    body = chat_body(ChatRequest(messages=messages), model, stream=False, dialect=dialect, left_out=left_out)
    return msgspec.json.decode(body)["messages"]


@pytest.mark.parametrize("name", SAID)
def test_streams_bring_the_same_as_whole_answers(name):
    """Who streams must not lose what the next turn needs."""
    message, pieces = SAID[name]
    finish = "tool_calls" if "tool_calls" in message else "stop"
    one, other = whole(message, finish=finish), streamed(*pieces, finish=finish)
    for field in ("text", "reasoning", "content", "tool_calls", "citations", "response_id", "finish_reason"):
        assert getattr(one, field) == getattr(other, field), field
    assert one.raw["choices"][0]["message"] == {"role": "assistant", **message}
    assert other.raw == one.raw


@pytest.mark.parametrize("mode", ["whole", "stream"])
@pytest.mark.parametrize("name", SAID)
def test_a_server_gets_back_what_it_sent(name, mode):
    """DeepSeek, Moonshot, OpenRouter, Gemini and Mistral refuse a second turn without it; a server takes its own message as it was."""
    message, pieces = SAID[name]
    finish = "tool_calls" if "tool_calls" in message else "stop"
    reply = whole(message, finish=finish) if mode == "whole" else streamed(*pieces, finish=finish)
    left_out: list[str] = []
    assert sent(Message.user("?"), reply.message, left_out=left_out)[1] == {"role": "assistant", **message}
    assert left_out == []


@pytest.mark.parametrize("name", SAID)
def test_another_server_gets_what_all_servers_know(name):
    """An unknown field is a 400 at many; that something was left out is told."""
    message, _ = SAID[name]
    reply = whole(message, finish="tool_calls" if "tool_calls" in message else "stop")
    left_out: list[str] = []
    back = sent(Message.user("?"), reply.message, host="api.other.com", left_out=left_out)[1]
    calls = [CALL] if message.get("tool_calls") else []
    assert back == {"role": "assistant", "content": reply.text or None, **({"tool_calls": calls} if calls else {})}
    assert left_out
    assert all(VENDOR in told or "picture" in told for told in left_out)


def test_thoughts_pictures_and_sources_have_a_common_shape():
    """Whoever reads a reply need not know the server's own words."""
    assert whole(SAID["details"][0], finish="tool_calls").parts == (
        Reasoning(text="hm, yes", kind="reasoning", vendor=VENDOR),
        Opaque(vendor=VENDOR, kind="reasoning_details", data=msgspec.json.encode(DETAILS).decode()),
    )
    assert whole(SAID["thinking list"][0]).reasoning == "hm, yes"
    assert whole(SAID["pictures"][0]).images == (Image(data=PNG, media_type="image/png", vendor=VENDOR),)
    assert whole(SAID["sources"][0]).citations == (CitedSource(url="https://a.example", title="A", start=0, end=5),)
    assert whole({"content": "x"}, citations=["https://b.example"]).citations == (CitedSource(url="https://b.example"),)
    told = [{"title": "C", "url": "https://c.example"}]
    assert streamed({"content": "x"}, search_results=told, citations=["https://c.example"]).citations == (
        CitedSource(url="https://c.example", title="C"),
    )


def test_probabilities_are_read_whole_and_streamed():
    """They were asked for and paid for."""
    one = {
        "token": "sun",
        "logprob": -0.1,
        "bytes": [1],
        "top_logprobs": [{"token": "sun", "logprob": -0.1}, {"token": "rain", "logprob": -3}],
    }
    other = {"token": "ny", "logprob": -0.2, "bytes": [2], "top_logprobs": []}
    expected = (TokenLogprob(token="sun", logprob=-0.1, top=(("sun", -0.1), ("rain", -3.0))), TokenLogprob(token="ny", logprob=-0.2))
    assert whole({"content": "sunny"}, choice={"logprobs": {"content": [one, other]}}).logprobs == expected
    stream = deltas_of(
        {"delta": {"content": "sun"}, "logprobs": {"content": [one]}},
        {"delta": {"content": "ny"}, "logprobs": {"content": [other]}},
        {"delta": {}, "finish_reason": "stop"},
    )
    assert from_deltas(stream).logprobs == expected
    assert len(from_deltas(stream).raw["choices"][0]["logprobs"]["content"]) == 2


def test_spoken_answers_are_answers_and_go_back_by_their_id():
    """The sound is in the reply, what was said is its text; the API knows the sound by its id, others get the text."""
    sound = b"RIFF" + bytes(20)
    audio = {"id": "audio_1", "expires_at": 9, "data": b64encode(sound).decode(), "transcript": "good morning"}
    reply = whole({"content": None, "audio": audio})
    assert (reply.text, reply.audio[0].data, reply.audio[0].media_type) == ("good morning", sound, "audio/wav")
    assert sent(Message.user("?"), reply.message)[1] == {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    assert sent(Message.user("?"), reply.message, host="other")[1] == {"role": "assistant", "content": "good morning"}
    pieces = [{"id": "audio_1"}, {"transcript": "good "}, {"data": b64encode(b"abcd").decode(), "transcript": "morning"}]
    pieces += [{"data": b64encode(b"ef").decode()}, {"expires_at": 9}]
    stream = deltas_of(*({"delta": {"audio": piece}} for piece in pieces), {"delta": {}, "finish_reason": "stop"})
    assert b"".join(part.data for delta in stream for part in delta.parts) == b"abcdef"
    other = from_deltas(stream)
    assert (other.text, other.audio[0].data) == ("good morning", b"abcdef")
    assert sent(Message.user("?"), other.message)[1]["audio"] == {"id": "audio_1"}


def test_hidden_thoughts_are_a_sign_of_life():
    """Nothing can be read of encrypted thoughts; a reader who waits for a first token must not give up."""
    stream = deltas_of(
        {"delta": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "Z"}]}},
        {"delta": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "Y"}]}},
        {"delta": {"content": "x"}, "finish_reason": "stop"},
    )
    assert [delta.marker for delta in stream] == ["thinking", "", ""]
    assert len(from_deltas(stream).content[0].value()) == 2


def piece(name: str | None, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **fields}


A, B, C = '{"city":"A"}', '{"city":"B"}', '{"city":"C"}'


@pytest.mark.parametrize(
    ("chunks", "calls"),
    [
        ([[piece("f", A, index=0, id="")], [piece("f", B, index=0, id="")], [piece("f", C, index=0)]], [("f", A), ("f", B), ("f", C)]),
        ([[piece("f", A), piece("g", "{}"), piece("f", C)]], [("f", A), ("g", "{}"), ("f", C)]),
        ([[piece("f", '{"ci', index=0)], [piece("f", 'ty":"A"}', index=0)], [piece("f", B, index=0)]], [("f", A), ("f", B)]),
        ([[piece("f", "", index=0)], [piece("f", A, index=0)], [piece("f", "", index=0)]], [("f", A)]),
        ([[piece("f", A, index=0, id="x")], [piece("f", A, index=0, id="x")]], [("f", A)]),
        ([[piece("f", {}, index=0, id="x")], [piece(None, A, index=0)]], [("f", A)]),
        ([[piece("f", "{}", index=0, id="x")], [piece(None, A, index=0)]], [("f", A)]),
        ([[piece("f", "{}", index=0, id="x")], [piece("g", "{}", index=1, id="y")]], [("f", "{}"), ("g", "{}")]),
    ],
)
def test_streamed_calls_are_told_apart_without_ids(chunks, calls):
    """Some servers send no ids, or index 0 for all; melted into one, the arguments are broken."""
    reply = streamed(*({"tool_calls": chunk} for chunk in chunks), finish="tool_calls")
    assert [(call.name, call.arguments) for call in reply.tool_calls] == calls
    assert len({call.id for call in reply.tool_calls if call.id}) == len(calls)
    assert not reply.invalid_tool_calls


def test_calls_without_an_id_get_one():
    """A result is matched to its call by it."""
    calls = whole({"content": None, "tool_calls": [piece("f", A), piece("f", B)]}, finish="tool_calls").tool_calls
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)
    same = whole({"content": None, "tool_calls": [piece("f", A, id="0"), piece("f", B, id="0")]}, finish="tool_calls").tool_calls
    assert same[0].id == "0"
    assert same[1].id not in {"", "0"}


ROUND = (
    Message.assistant(tool_calls=[ToolCall(id="toolu_01A", name="f"), ToolCall(id="toolu_01B", name="f")]),
    Message.tool("1", tool_call_id="toolu_01A"),
    Message.tool("2", tool_call_id="toolu_01B"),
)


@pytest.mark.parametrize(
    ("host", "model", "rows"), [("api.mistral.ai", "m", ""), ("h:8000", "mistral-large", ""), ("h:8000", "m", "mistral")]
)
def test_ids_are_mapped_where_the_server_takes_others(host, model, rows):
    """Mistral takes nine letters and digits; each result still goes with its call, and its own ids stay."""
    own = (Message.assistant(tool_calls=[ToolCall(id="abcDEF123", name="f")]), Message.tool("3", tool_call_id="abcDEF123"))
    said = sent(Message.user("?"), *ROUND, *own, host=host, model=model, rows=rows)
    ids = [call["id"] for message in said for call in message.get("tool_calls", ())]
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert [message["tool_call_id"] for message in said if message["role"] == "tool"] == ids
    assert ids[2] == "abcDEF123"
    assert sent(Message.user("?"), *ROUND, *own, host=host, model=model, rows=rows) == said


def test_ids_stay_where_they_fit():
    """Moonshot's template reads its own ids; only what OpenAI would refuse as too long is replaced there."""
    assert sent(*ROUND)[0]["tool_calls"][0]["id"] == "toolu_01A"
    long = Message.assistant(tool_calls=[ToolCall(id="x" * 60, name="f")])
    call, result = sent(long, Message.tool("1", tool_call_id="x" * 60), is_openai=True)
    assert len(call["tool_calls"][0]["id"]) <= 40
    assert result["tool_call_id"] == call["tool_calls"][0]["id"]


def test_deepseek_gets_the_thoughts_of_the_round_under_way():
    """It wants them back within a round of calls, and has refused those of earlier answers."""
    thought = Reasoning(text="hm", kind="reasoning_content", vendor="openai/api.deepseek.com")
    call = ToolCall(id="1", name="f")
    said = sent(
        Message.user("a"), Message.assistant([thought, "b"]), Message.user("c"), Message.assistant([thought], tool_calls=[call]),
        Message.tool("d", tool_call_id="1"), host="api.deepseek.com",
    )  # fmt: skip
    assert [message.get("reasoning_content") for message in said] == [None, None, None, "hm", None]


def test_blocks_and_fields_of_the_callers_own_go_out_in_their_place():
    """What a server's documents describe and surefoot does not know can be said."""
    block = Opaque.of("openai", {"type": "video_url", "video_url": {"url": "https://v.example"}})
    marked = Text("long", '{"cache_control":{"type":"ephemeral"}}', "anthropic")
    message = Message.user([marked, block, "what is it?", Opaque.of("openai", True, kind="partial")])
    left_out: list[str] = []
    content = [{"type": "text", "text": "long"}, block.value(), {"type": "text", "text": "what is it?"}]
    assert sent(message, left_out=left_out)[0] == {"role": "user", "content": content, "partial": True}
    assert left_out == ["cache_control of anthropic"]
    routed = sent(message, host="openrouter.ai")[0]["content"][0]
    assert routed["cache_control"] == {"type": "ephemeral"}


def test_somebody_speaks_last_where_the_server_wants_it():
    """Mistral refuses a conversation that ends with instructions; OpenAI takes instructions alone."""
    alone = Message.system("Write a poem.")
    assert sent(alone)[0]["role"] == "system"
    assert sent(alone, rows="mistral")[0] == {"role": "user", "content": "Write a poem."}
    named = (Message.user("hi", name="ann"), Message.assistant("yes?"), alone)
    assert [one["role"] for one in sent(*named, host="api.mistral.ai")] == ["user", "assistant", "user"]


def test_a_document_of_text_is_text_here():
    """The protocol's files are PDF; what Claude may cite is read by all others."""
    paper = File(data=b"The sky is blue.", media_type="text/plain", name="Sky")
    assert sent(Message.user([paper, "why?"]))[0]["content"][0] == {"type": "text", "text": "The sky is blue."}
