"""Gemini's parts in their order: seals on texts, pictures and calls, code it ran, sources; kept, and given back as they came."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
import pytest

from surefoot.core.deltas import from_deltas
from surefoot.errors import SurefootError
from surefoot.providers.google.requests import GoogleDialect, chat_body
from surefoot.providers.google.responses import GoogleChatReader, chat_reply
from surefoot.providers.http.reading import ReadingContext
from surefoot.types import ChatReply, ChatRequest, CitedSource, Delta, File, Image, Message, Opaque, Reasoning, Text, TokenLogprob, ToolCall

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
PICTURE = {"inlineData": {"mimeType": "image/png", "data": b64encode(PNG).decode()}, "thoughtSignature": "P=="}
CODE = {"executableCode": {"language": "PYTHON", "code": "print(1)"}, "thoughtSignature": "C=="}
RAN = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
CALL = {"functionCall": {"name": "weather", "id": "c1", "args": {"city": "Bergen"}}, "thoughtSignature": "F=="}
OTHER = {"functionCall": {"name": "clock", "id": "c2", "args": {}}}
PAUSED = {"functionCall": {"name": "clock", "id": "c3", "args": {}, "willContinue": True}, "partMetadata": {"k": 1}}
SEALED = {"text": "sunny", "thoughtSignature": "T=="}
END = {"text": "", "thoughtSignature": "E=="}

SAID: dict[str, list[dict[str, Any]]] = {
    "calls": [CALL, OTHER],
    "a seal at the end": [{"text": "sunny"}, END],
    "texts with seals": [SEALED, {"text": " and dry"}],
    "code between texts": [{"text": "Let me see."}, CODE, RAN, {"text": "It is 1."}],
    "pictures": [{"text": "Here."}, PICTURE],
    "a text after a call": [CALL, {"text": "wait"}],
    "never heard of": [{"toolCall": {"id": "t", "toolType": "URL_CONTEXT"}}, {"text": "x"}],
    "fields of a call": [PAUSED],
}


def context() -> ReadingContext:
    return ReadingContext("t", "", ChatRequest(messages=(Message.user("?"),)), lambda _: SurefootError("told"), "google")


def answer(parts: list[dict[str, Any]], *, finish: str | None = "STOP", **fields: Any) -> bytes:
    candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **({"finishReason": finish} if finish else {}), **fields}
    usage = {"promptTokenCount": 1, "candidatesTokenCount": 2}
    return msgspec.json.encode({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m", "responseId": "r-1"})


def whole(parts: list[dict[str, Any]], **fields: Any) -> ChatReply:
    return chat_reply(answer(parts, **fields), "application/json", context())


def deltas_of(*chunks: bytes) -> list[Delta]:
    reader, out = GoogleChatReader(context()), []
    for chunk in chunks:
        reader.read(chunk, out)
    reader.end(out)
    return out


def streamed(parts: list[dict[str, Any]], **fields: Any) -> ChatReply:
    """Each part in a chunk of its own; texts without a seal in two."""
    chunks: list[dict[str, Any]] = []
    for part in parts:
        text = part.get("text", "")
        cut = len(text) // 2 if set(part) == {"text"} else 0
        chunks += [{"text": text[:cut]}, {"text": text[cut:]}] if cut else [part]
    return from_deltas(deltas_of(*(answer([part], finish=None) for part in chunks[:-1]), answer(chunks[-1:], **fields)))


def sent(*messages: Message, left_out: list[str] | None = None, model: str = "gemini-3-pro", **fields: Any) -> dict[str, Any]:
    request = ChatRequest(messages=messages, **fields)
    return msgspec.json.decode(chat_body(request, model, dialect=GoogleDialect(target="t"), left_out=left_out))


@pytest.mark.parametrize("name", SAID)
def test_streams_bring_the_same_as_whole_answers(name):
    """Who streams must not lose what the next turn needs."""
    one, other = whole(SAID[name]), streamed(SAID[name])
    for field in ("text", "reasoning", "signature", "content", "tool_calls", "response_id", "finish_reason", "usage"):
        assert getattr(one, field) == getattr(other, field), field
    assert other.raw == one.raw


@pytest.mark.parametrize("mode", ["whole", "stream"])
@pytest.mark.parametrize("name", SAID)
def test_gemini_gets_back_what_it_said_in_its_own_order(name, mode):
    """A seal belongs to its part; on another one, or joined with another text, it is refused."""
    reply = whole(SAID[name]) if mode == "whole" else streamed(SAID[name])
    results = [Message.tool("ok", tool_call_id=call.id, name=call.name) for call in reply.tool_calls] or [Message.user("and?")]
    left_out: list[str] = []
    back = sent(Message.user("?"), reply.message, *results, left_out=left_out)["contents"][1]["parts"]
    if name == "fields of a call":
        assert back[0].pop("thoughtSignature") == "skip_thought_signature_validator"  # this call came without one
    assert back == SAID[name]
    assert left_out == []


def test_another_vendor_gets_what_all_vendors_know():
    """And that something was left out is told."""
    left_out: list[str] = []
    foreign = [
        Reasoning(text="hm", signature="S", vendor="anthropic"),
        Opaque.of("anthropic", {"type": "server_tool_use"}),
        Text("sunny", '{"citations":[]}', "anthropic"),
        Image(data=PNG, vendor="openai/h"),
    ]
    call = ToolCall(id="1", name="f", extra='{"caller":{}}', vendor="anthropic")
    body = sent(Message.user("?"), Message.assistant(foreign, tool_calls=[call]), Message.tool("ok", tool_call_id="1"), left_out=left_out)
    said = body["contents"][1]["parts"]
    assert [part.keys() for part in said] == [{"text"}, {"functionCall", "thoughtSignature"}]
    told = ["reasoning of anthropic", "server_tool_use of anthropic", "citations of anthropic", "a picture of an answer"]
    assert sorted(left_out) == sorted([*told, "caller of anthropic"])


def test_pictures_and_sounds_of_answers_are_read():
    """As they come in a stream, too; raw samples come in pieces of one sound."""
    reply = whole(SAID["pictures"])
    assert [(picture.data, picture.media_type) for picture in reply.images] == [(PNG, "image/png")]
    pieces = [{"inlineData": {"mimeType": "audio/L16;codec=pcm;rate=24000", "data": b64encode(one).decode()}} for one in (b"ab", b"cd")]
    deltas = deltas_of(answer(pieces[:1], finish=None), answer(pieces[1:]))
    assert [part.data for delta in deltas for part in delta.parts if isinstance(part, File)] == [b"ab", b"cd"]
    assert [sound.data for sound in from_deltas(deltas).audio] == [b"abcd"]


def test_sources_have_a_common_shape():
    """The API counts bytes of UTF-8; characters are what a reader marks."""
    text = "Günaydın: it opens at 8."
    grounding = {
        "webSearchQueries": ["q"],
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {"title": "B", "text": "8:00"}}],
        "groundingSupports": [{"segment": {"startIndex": 12, "endIndex": len(text.encode())}, "groundingChunkIndices": [0, 1]}],
    }
    for reply in (whole([{"text": text}], groundingMetadata=grounding), streamed([{"text": text}], groundingMetadata=grounding)):
        assert reply.citations == (
            CitedSource(url="https://a.example", title="A", start=10, end=24),
            CitedSource(title="B", text="8:00", start=10, end=24),
        )
        assert reply.raw["candidates"][0]["groundingMetadata"]["webSearchQueries"] == ["q"]
    bare = whole([{"text": "x"}], groundingMetadata={"groundingChunks": grounding["groundingChunks"][:1]})
    assert bare.citations == (CitedSource(url="https://a.example", title="A"),)
    quoted = whole([{"text": "xyz"}], citationMetadata={"citationSources": [{"endIndex": 2, "uri": "https://c.example"}]})
    assert quoted.citations == (CitedSource(url="https://c.example", start=0, end=2),)


def test_probabilities_are_read():
    """They were asked for by responseLogprobs."""
    told = {
        "chosenCandidates": [{"token": "sun", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "sun", "logProbability": -0.5}, {"token": "rain", "logProbability": -2}]}],
    }
    assert whole([{"text": "sun"}], logprobsResult=told).logprobs == (
        TokenLogprob(token="sun", logprob=-0.5, top=(("sun", -0.5), ("rain", -2.0))),
    )


def test_instructions_alone_are_what_is_asked():
    """The API wants a content; texts of instructions stay apart."""
    two = Message(role="system", content=(Text("Write."), Text("Briefly.")))
    body = sent(two)
    assert body["contents"] == [{"role": "user", "parts": [{"text": "Write."}, {"text": "Briefly."}]}]
    assert "systemInstruction" not in body
    assert sent(two, Message.user("?"))["systemInstruction"] == {"parts": [{"text": "Write."}, {"text": "Briefly."}]}


def test_files_by_address_and_parts_of_the_callers_own():
    """Uploaded files, films on YouTube, whatever the API's documents describe."""
    film = File(url="https://www.youtube.com/watch?v=x", media_type="video/*", extra='{"videoMetadata":{"fps":5}}', vendor="google")
    upload = File(url="https://generativelanguage.googleapis.com/v1beta/files/x", media_type="application/pdf")
    parts = sent(Message.user([film, upload, Opaque(vendor="google", kind="newPart", data='{"newPart":{}}'), "?"]))["contents"][0]["parts"]
    assert parts[0] == {
        "fileData": {"fileUri": "https://www.youtube.com/watch?v=x", "mimeType": "video/*"}, "videoMetadata": {"fps": 5},
    }  # fmt: skip
    assert parts[1]["fileData"]["mimeType"] == "application/pdf"
    assert parts[2] == {"newPart": {}}


@pytest.mark.parametrize(
    ("model", "effort", "shown"),
    [("gemini-3-pro", "", True), ("gemini-2.5-flash", "none", None), ("gemini-2.0-flash", "", None), ("gemini-3-pro", "low", True)],
)
def test_a_stream_asks_to_see_the_thoughts_that_come_anyway(model, effort, shown):
    """Else nothing is seen of it for minutes, and it looks like a server that has stalled."""
    request = ChatRequest(messages=(Message.user("?"),), reasoning_effort=effort)
    body = msgspec.json.decode(chat_body(request, model, dialect=GoogleDialect(target="t"), stream=True))
    assert body.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts") is shown


@pytest.mark.parametrize("model", ["gemini-2.5-flash", "gemini-3-pro"])
def test_pictures_of_a_tools_result_reach_every_model(model):
    """Inside the result from Gemini 3 on; before it in the same turn for older ones, which refuse them inside."""
    results = [Message.tool(["seen", Image(data=PNG)], tool_call_id="c1", name="look"), Message.tool("ok", tool_call_id="c2", name="look")]
    calls = [ToolCall(id="c1", name="look"), ToolCall(id="c2", name="look")]
    parts = sent(Message.user("?"), Message.assistant(tool_calls=calls), *results, model=model)["contents"][-1]["parts"]
    picture = {"inlineData": {"mimeType": "image/png", "data": b64encode(PNG).decode()}}
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert [result["id"] for result in results] == ["c1", "c2"]
    assert results[0]["response"] == {"output": "seen"}
    beside = [part for part in parts if "functionResponse" not in part]
    assert (beside, results[0].get("parts")) == (([picture], None) if model == "gemini-2.5-flash" else ([], [picture]))
