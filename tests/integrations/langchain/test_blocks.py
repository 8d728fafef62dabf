"""What a vendor says through LangChain's messages and back: nothing is lost that the next turn needs, and blocks of its own are sent."""

from __future__ import annotations

import base64
import json

import pytest
from langchain_core.load import dumpd, load
from langchain_core.messages import AIMessage, AIMessageChunk, FunctionMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import StructuredTool

from langchain_surefoot._messages import messages_in
from langchain_surefoot._translate import chunks_out, last_chunk_out, message_out, result_out, tool_in
from surefoot.core.deltas import to_deltas
from surefoot.errors import BadRequest
from surefoot.types import (
    ChatReply,
    ChatRequest,
    CitedSource,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    TokenLogprob,
    ToolCall,
    Usage,
)

PNG64 = base64.b64encode(b"\x89PNG").decode()
SEARCH = Opaque.of("anthropic", {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})
THOUGHT = Reasoning(text="hm", kind="reasoning_content", vendor="openai/h")
SOUND = File(data=b"RIFF", media_type="audio/wav", extra='{"id":"a"}', vendor="openai/h")
REPLIES = {
    "thoughts between calls": ChatReply(
        reasoning="hmso",
        content=(Reasoning(text="hm", signature="A", vendor="anthropic"), Reasoning(text="so", signature="B", vendor="anthropic")),
        tool_calls=(ToolCall(id="1", name="f", after=1), ToolCall(id="2", name="f", extra='{"caller":{}}', vendor="anthropic")),
        finish_reason="tool_calls",
    ),
    "a field of the message": ChatReply(
        text="hi",
        reasoning="hm",
        content=(THOUGHT, Opaque(vendor="openai/h", kind="x", data="[1]"), Text("hi")),
    ),
    "a search": ChatReply(text="found", content=(SEARCH, Text("found", '{"citations":[]}', "anthropic"))),
    "a picture": ChatReply(
        text="here",
        content=(Text("here"), Image(data=b"\x89PNG", media_type="image/png", extra='{"thoughtSignature":"P"}', vendor="google")),
    ),
    "a sound": ChatReply(text="hi", content=(SOUND, Text("hi"))),
}


def streamed(reply: ChatReply) -> AIMessage:
    chunks = [chunk.message for delta in to_deltas(reply) for chunk in chunks_out(delta)]
    last = last_chunk_out(reply, range(len(reply.tool_calls))).message
    whole = AIMessageChunk(content="")
    for chunk in [*chunks, last]:
        whole += chunk
    return whole


@pytest.mark.parametrize("mode", ["whole", "stream", "stored"])
@pytest.mark.parametrize("name", REPLIES)
def test_answers_come_back_as_the_vendor_gave_them(name, mode):
    """Agents, memories and checkpoints hand on LangChain's message alone."""
    reply = REPLIES[name]
    message = streamed(reply) if mode == "stream" else message_out(reply)
    if mode == "stored":
        message = load(json.loads(json.dumps(dumpd(message))))
    assert messages_in([message]) == (reply.message,) or mode == "stream"
    (back,) = messages_in([message])
    assert back.parts == reply.message.parts
    assert [(call.id, call.extra, call.vendor, call.after) for call in back.tool_calls] == [
        (call.id, call.extra, call.vendor, call.after) for call in reply.tool_calls
    ]
    assert str(message.text) == reply.text


def test_a_reader_sees_pictures_and_what_the_vendors_servers_did():
    """As blocks, in the vendor's own words; thoughts stand beside the content as before."""
    assert message_out(REPLIES["a picture"]).content == [
        {"type": "text", "text": "here"},
        {"type": "image", "base64": PNG64, "mime_type": "image/png"},
    ]
    assert message_out(REPLIES["a search"]).content[0] == SEARCH.value()
    assert message_out(REPLIES["a field of the message"]).content == "hi"
    assert {"type": "image", "base64": PNG64, "mime_type": "image/png"} in streamed(REPLIES["a picture"]).content


def test_sources_probabilities_and_ids_stand_in_the_metadata():
    """Where other classes have them."""
    told = TokenLogprob(token="x", logprob=-1, top=(("y", -2),))
    reply = ChatReply(text="x", citations=(CitedSource(url="https://a", end=1),), response_id="r", logprobs=(told,))
    metadata = message_out(reply).response_metadata
    assert metadata["citations"] == [{"url": "https://a", "end": 1}]
    assert metadata["id"] == "r"
    assert metadata["logprobs"]["content"][0] == {"token": "x", "logprob": -1, "top_logprobs": [{"token": "y", "logprob": -2}]}


def test_a_rewritten_answer_stays_rewritten():
    """Guardrails change the text; what they did not touch is still the model's."""
    message = message_out(REPLIES["a field of the message"]).model_copy(update={"content": "no"})
    assert messages_in([message])[0].parts == (*REPLIES["a field of the message"].content[:2], Text("no"))


def part(block, target="anthropic:claude-haiku-4-5"):
    (found,) = messages_in([HumanMessage([block])], target)[0].parts
    return found


HOUR = {"type": "ephemeral", "ttl": "1h"}


def test_cache_marks_stay_on_their_blocks():
    """A mark that moves to the block that changes is paid for and never read; the usual one at the end is the message's."""
    system = SystemMessage([{"type": "text", "text": "rules", "cache_control": HOUR}, {"type": "text", "text": "now"}])
    (found,) = messages_in([system])
    assert found.content == (Text("rules", json.dumps({"cache_control": HOUR}, separators=(",", ":")), "anthropic"), Text("now"))
    assert not found.cache
    assert messages_in([HumanMessage([{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}])]) == (
        Message(role="user", content="x", cache=True),
    )
    picture = part({"type": "image", "base64": PNG64, "mime_type": "image/png", "cache_control": HOUR})
    assert (picture.vendor, json.loads(picture.extra)) == ("anthropic", {"cache_control": HOUR})


@pytest.mark.parametrize(
    ("block", "target", "vendor", "sent"),
    [
        ({"type": "search_result", "source": "s", "title": "t", "content": []}, "anthropic:claude", "anthropic", None),
        ({"type": "web_search_tool_result", "tool_use_id": "s", "content": []}, "anthropic:claude", "anthropic", None),
        ({"type": "redacted_thinking", "data": "Z"}, "anthropic:claude", "anthropic", None),
        ({"type": "document", "source": {"type": "file", "file_id": "f"}}, "anthropic:claude", "anthropic", None),
        ({"type": "image", "file_id": "f"}, "anthropic:claude", "anthropic", {"type": "image", "source": {"type": "file", "file_id": "f"}}),
        ({"type": "file", "file_id": "f"}, "openai:m", "openai", {"type": "file", "file": {"file_id": "f"}}),
        ({"type": "file", "file": {"file_id": "f"}}, "openai:m", "openai", None),
        ({"type": "video_url", "video_url": {"url": "https://v"}}, "groq:m", "openai", None),
        ({"type": "hologram", "x": 1}, "google:gemini-3-pro", "google", None),
    ],
)
def test_blocks_of_a_vendors_own_go_to_it_as_they_are(block, target, vendor, sent):
    """What its documents describe can be said, whether surefoot knows it or not."""
    found = part(block, target)
    assert (found.vendor, found.value()) == (vendor, sent or block)


def test_a_search_result_is_text_for_all_others():
    """Left out, another question would be answered."""
    block = {"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": "8:15"}]}
    (found,) = messages_in([ToolMessage([block], tool_call_id="1")], "openai:m")
    assert found.text == "8:15"


def test_uploaded_files_are_named_as_each_vendor_knows_them():
    """Gemini by address; what cannot be is refused with the way out."""
    film = part({"type": "media", "mime_type": "video/mp4", "file_uri": "https://g/files/x"}, "google:gemini-3-pro")
    assert film == File(url="https://g/files/x", media_type="video/mp4")
    assert part({"type": "media", "mime_type": "image/png", "data": PNG64}) == Image(data=b"\x89PNG", media_type="image/png")
    assert part({"type": "video", "url": "https://youtu.be/x"}) == File(url="https://youtu.be/x", media_type="video/mp4")
    for block, target in (({"type": "file", "file_id": "f"}, "google:gemini-3-pro"), ({"type": "image", "file_id": "f"}, "openai:m")):
        with pytest.raises(BadRequest, match="url"):
            part(block, target)


def test_a_document_that_shall_be_cited_stays_one():
    """As text it could not be cited; without that it is text, which all vendors read."""
    source = {"type": "text", "media_type": "text/plain", "data": "The sky is blue."}
    found = part({"type": "document", "source": source, "citations": {"enabled": True}, "title": "Sky"})
    own = '{"citations":{"enabled":true}}'
    assert found == File(data=b"The sky is blue.", media_type="text/plain", name="Sky", extra=own, vendor="anthropic")
    assert part({"type": "document", "source": source}) == Text("The sky is blue.")


def test_a_turn_of_another_class_keeps_its_order():
    """ChatAnthropic's own messages have calls between thoughts in the content."""
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "A"},
        {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        {"type": "thinking", "thinking": "so", "signature": "B"},
        {"type": "tool_use", "id": "2", "name": "f", "input": {}},
    ]
    calls = [{"name": "f", "args": {}, "id": "1"}, {"name": "f", "args": {}, "id": "2"}]
    found = messages_in([AIMessage(content, tool_calls=calls), ToolMessage("x", tool_call_id="1")])[0]
    assert [call.after for call in found.tool_calls] == [1, None]
    code = AIMessage([{"type": "executable_code", "executable_code": "print(1)", "language": "PYTHON"}, "text"])
    assert messages_in([code])[0].parts[0].value() == {"executableCode": {"language": "PYTHON", "code": "print(1)"}}
    spoken = AIMessage("", additional_kwargs={"audio": {"id": "audio_1", "transcript": "hi"}})
    known = '{"id":"audio_1","transcript":"hi"}'
    assert messages_in([spoken])[0].parts == (File(media_type="audio/wav", extra=known, vendor="openai"), Text("hi"))


def test_a_tools_extras_are_anthropics_words():
    """Caching middleware marks the last tool there."""
    tool = StructuredTool.from_function(lambda x: x, name="f", description="d", extras={"cache_control": HOUR, "mine": 1})
    assert json.loads(tool_in(tool).raw)["cache_control"] == HOUR
    assert "mine" not in tool_in(tool).raw


def stored(content, provider="", **more):
    """A turn that another class has stored."""
    (found,) = messages_in([AIMessage(content, response_metadata={"model_provider": provider}, **more)], "openai:gpt-5-mini")
    return found


@pytest.mark.parametrize(
    ("provider", "block", "vendor", "kind"),
    [
        ("anthropic", {"type": "redacted_thinking", "data": "x"}, "anthropic", "redacted_thinking"),
        ("anthropic", {"type": "whatever_comes", "x": 1}, "anthropic", "whatever_comes"),
        ("", {"type": "compaction", "content": "so far"}, "anthropic", "compaction"),
        ("openai", {"type": "web_search_call", "id": "ws", "index": 1}, "openai.responses", "web_search_call"),
        ("openai", {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "e"}, "openai.responses", "reasoning"),
        ("google_genai", {"type": "executable_code", "executable_code": "1", "language": "PYTHON"}, "google", "executableCode"),
        ("anthropic", {"type": "server_tool_call", "id": "s", "name": "web_search", "args": {"q": 1}}, "anthropic", "server_tool_use"),
        (
            "anthropic",
            {"type": "server_tool_result", "tool_call_id": "s", "output": [], "extras": {"block_type": "web_search_tool_result"}},
            "anthropic",
            "web_search_tool_result",
        ),
    ],
)
def test_a_stored_block_goes_back_to_the_vendor_of_the_class_that_stored_it(provider, block, vendor, kind):
    """Not to the model that is asked now: it is left out for that one, and told."""
    (found,) = stored([block], provider).content
    assert (found.vendor, found.kind) == (vendor, kind)
    assert "index" not in found.value()


def test_a_stored_seal_is_its_vendors():
    """Claude refuses a thought that Gemini has sealed, and the other way round."""
    block = {"type": "thinking", "thinking": "hm", "signature": "S"}
    assert stored([block], "anthropic").content == (Reasoning(text="hm", signature="S", vendor="anthropic"),)
    assert stored([block], "google_genai").content == (Reasoning(text="hm", signature="google:S", vendor="google"),)
    call = {"name": "f", "args": {}, "id": "c"}
    made = stored("", "google_genai", tool_calls=[call], additional_kwargs={"__gemini_function_call_thought_signatures__": {"c": "S"}})
    assert made.tool_calls[0].signature == "google:S"


def test_turns_of_before_tools_are_calls_and_results():
    """A result without a call is refused everywhere."""
    legacy = AIMessage("", additional_kwargs={"function_call": {"name": "f", "arguments": '{"x":1}'}})
    call, result = messages_in([legacy, FunctionMessage("5", name="f")])
    assert call.tool_calls == (ToolCall(id="f", name="f", arguments='{"x":1}'),)
    assert result.tool_call_id == "f"


def test_bedrocks_places_and_guards_are_no_content():
    """A cache point marks the message; a text that a guard of Bedrock's shall read is Bedrock's alone."""
    (found,) = messages_in([HumanMessage([{"type": "text", "text": "hi"}, {"cachePoint": {"type": "default"}}])])
    assert (found.content, found.cache) == ("hi", True)
    (told,) = messages_in([HumanMessage([{"type": "guard_content", "text": "x"}, {"type": "text", "text": "hi"}])])
    assert told.content == "hi"
    (result,) = messages_in([ToolMessage([{"type": "json", "json": {"a": 1}}], tool_call_id="1")])
    assert result.content == '{"a": 1}'


RAW = {
    "id": "chatcmpl-1", "system_fingerprint": "fp", "service_tier": "flex", "stop_reason": None,
    "choices": [
        {"message": {"content": "one"}, "finish_reason": "stop", "logprobs": {"content": [{"token": "x"}], "refusal": None}},
        {"message": {"content": "two"}, "finish_reason": "length"},
        {
            "message": {"content": None, "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]},
            "finish_reason": "tool_calls",
        },
    ],
}  # fmt: skip


def test_what_only_the_vendor_tells_stands_in_the_metadata():
    """Fingerprint, tier and logprobs as its own class gives them; an answer that is no JSON has none."""
    told = message_out(ChatReply(raw_json=json.dumps(RAW).encode(), logprobs=(TokenLogprob(token="x", logprob=-1.0),))).response_metadata
    assert (told["system_fingerprint"], told["service_tier"], told["logprobs"]["refusal"]) == ("fp", "flex", None)
    assert "stop_reason" not in told
    claude = message_out(ChatReply(raw_json=b'{"stop_reason":"end_turn","stop_sequence":null}')).response_metadata
    assert claude["stop_reason"] == "end_turn"
    gemini = message_out(ChatReply(raw_json=b'{"candidates":[{"safetyRatings":[{"category":"X"}]}]}')).response_metadata
    assert gemini["safety_ratings"] == [{"category": "X"}]
    assert "service_tier" not in message_out(ChatReply(text="x", raw_json=b"data: {")).response_metadata


def test_each_of_several_answers_is_a_generation():
    """They are billed together, so the first one alone has the usage; a cut call among them is not run."""
    reply = ChatReply(text="one", raw_json=json.dumps(RAW).encode(), usage=Usage(input_tokens=3, output_tokens=5), model="m")
    request = ChatRequest(messages=(Message.user("hi"),), extra='{"n":3}')
    first, second, third = [one.message for one in result_out(reply, request).generations]
    assert [first.text, second.text, third.text] == ["one", "two", ""]
    assert (first.usage_metadata["output_tokens"], second.usage_metadata) == (5, None)
    assert (second.response_metadata["finish_reason"], second.response_metadata["model_name"]) == ("length", "m")
    assert third.invalid_tool_calls[0]["name"] == "f"
    assert len(result_out(reply, ChatRequest(messages=(Message.user("hi"),))).generations) == 1


def test_geminis_candidates_are_generations_too():
    """Its word for `n` is another, its shape, too."""
    parts = [{"text": "hm", "thought": True}, {"text": "two"}, {"functionCall": {"name": "f", "args": {"x": 1}}}]
    raw = {"candidates": [{}, {"content": {"parts": parts}, "finishReason": "STOP"}]}
    request = ChatRequest(messages=(Message.user("hi"),), extra='{"generationConfig":{"candidateCount":2}}')
    _, second = [one.message for one in result_out(ChatReply(raw_json=json.dumps(raw).encode()), request).generations]
    assert (second.text, second.tool_calls[0]["args"], second.response_metadata["finish_reason"]) == ("two", {"x": 1}, "tool_calls")
