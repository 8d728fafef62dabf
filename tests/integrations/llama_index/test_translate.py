"""LlamaIndex's messages and tools into surefoot's, and answers back."""

from __future__ import annotations

import base64
import copy
import json
from types import SimpleNamespace

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    ChatMessage,
    CitableBlock,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.surefoot._answers import Growing, response_out, selections_out
from llama_index.llms.surefoot._messages import messages_in
from llama_index.llms.surefoot._translate import schema_in, tool_choice_in, tool_in
from surefoot.core._tool_calls import checked_tool_call
from surefoot.core.deltas import to_deltas
from surefoot.errors import BadRequest, InvalidOutput
from surefoot.types import (
    ChatReply,
    CitedSource,
    Delta,
    File,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)

PNG = b"\x89PNG\r\n\x1a\n"


def one(message):
    (found,) = messages_in([message])
    return found


# --- messages in ---


@pytest.mark.parametrize(
    ("role", "ours"),
    [
        (MessageRole.SYSTEM, "system"),
        (MessageRole.DEVELOPER, "system"),
        (MessageRole.USER, "user"),
        (MessageRole.ASSISTANT, "assistant"),
        (MessageRole.MODEL, "assistant"),
        (MessageRole.CHATBOT, "assistant"),
        (MessageRole.TOOL, "tool"),
        (MessageRole.FUNCTION, "tool"),
    ],
)
def test_every_role_has_one_of_ours(role, ours):
    """Histories written for other vendors use their words."""
    assert one(ChatMessage(role=role, content="x")).role == ours


def test_one_block_of_text_is_text():
    """The shortest body, and one digest for both spellings."""
    assert one(ChatMessage(blocks=[TextBlock(text="hi")])) == Message.user("hi")
    assert one(ChatMessage(blocks=[TextBlock(text="a"), TextBlock(text="b")])) == Message.user([Text("a"), Text("b")])


def test_pictures_travel_as_bytes_or_address():
    """An address is the provider's to fetch."""
    bytes_, address, inline = (
        one(ChatMessage(blocks=[block])).parts[0]
        for block in (
            ImageBlock(image=PNG, image_mimetype="image/png", detail="low"),
            ImageBlock(url="https://x/y.png"),
            ImageBlock(url=f"data:image/png;base64,{base64.b64encode(PNG).decode()}"),
        )
    )
    assert bytes_ == Image(data=PNG, media_type="image/png", detail="low")
    assert address == Image(url="https://x/y.png")
    assert inline.data == PNG


def test_documents_and_sounds_travel_as_bytes():
    """With their type and name."""
    document = one(ChatMessage(blocks=[DocumentBlock(data=b"%PDF-1.1", title="a.pdf", document_mimetype="application/pdf")])).parts[0]
    assert document == File(data=b"%PDF-1.1", media_type="application/pdf", name="a.pdf")
    assert one(ChatMessage(blocks=[AudioBlock(audio=b"RIFF\0", format="wav")])).parts[0] == File(data=b"RIFF\0", media_type="audio/wav")


def test_citable_blocks_are_what_they_hold_and_cache_points_mark_the_message():
    """Neither is content by itself."""
    message = one(
        ChatMessage(
            blocks=[
                CitableBlock(title="t", source="s", content=[TextBlock(text="cited")]),
                CachePoint(cache_control=CacheControl(type="ephemeral")),
            ]
        )
    )
    assert (message.text, message.cache) == ("cited", True)


def test_tool_calls_come_from_blocks_or_from_older_places():
    """Other classes keep them in additional_kwargs, as dicts or as objects of their SDK."""
    wire = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    sdk = SimpleNamespace(model_dump=lambda: wire)
    expected = (ToolCall(id="1", name="f", arguments='{"x":1}'),)
    block = ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"x": 1})
    assert one(ChatMessage(role="assistant", blocks=[block])).tool_calls == expected
    assert one(ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [wire]})).tool_calls == expected
    assert one(ChatMessage(role="assistant", content="", additional_kwargs={"tool_calls": [sdk]})).tool_calls == expected


def test_a_tools_result_keeps_its_id():
    """Agents put it into additional_kwargs."""
    message = ChatMessage(role="tool", content="5", additional_kwargs={"tool_call_id": "1", "name": "f", "is_error": True})
    assert one(message) == Message.tool("5", tool_call_id="1", name="f", is_error=True)


def test_our_own_answer_goes_back_as_it_was():
    """Thought, seal and tool signatures survive the round trip."""
    calls = (ToolCall(id="1", name="f", arguments='{"x":1}', signature="T"),)
    reply = ChatReply(text="hi", reasoning="hm", signature="S", tool_calls=calls)
    assert one(response_out(reply).message) == reply.message


def test_thoughts_of_others_keep_their_seal():
    """Anthropic's class keeps the signature in additional_information."""
    block = ThinkingBlock(content="hm", additional_information={"signature": "S"})
    assert one(ChatMessage(role="assistant", blocks=[block])).parts == (Reasoning(text="hm", signature="S"),)


# --- tools and shapes in ---


class Point(BaseModel):
    """A point."""

    x: int


def area(width: int, height: int) -> int:
    """The area."""
    return width * height


def test_tools_come_as_tools_or_dicts():
    """Both are in use."""
    tool = FunctionTool.from_defaults(area)
    assert tool_in(tool) == tool_in(tool.metadata.to_openai_tool())
    assert tool_in(tool).name == "area"
    with pytest.raises(BadRequest, match="is no tool"):
        tool_in("area")


def test_a_vendors_own_tool_is_kept_as_it_is():
    """As through `bind_tools`: sent to its vendor, refused elsewhere."""
    tool = tool_in({"type": "web_search_20250305", "name": "web_search"})
    assert (tool.vendor, tool.parameters) == ("anthropic", "")


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("required", "required"),
        ("any", "required"),
        ("auto", "auto"),
        ({"type": "function", "function": {"name": "f"}}, "f"),
        ({"type": "any"}, "required"),
        (None, ""),
    ],
)
def test_tool_choice_in_any_spelling(given, ours):
    """Programs hand over OpenAI's dict."""
    assert tool_choice_in(given) == ours


def test_shapes_come_in_any_spelling():
    """A class, or OpenAI's response_format."""
    assert schema_in(Point).name == "Point"
    assert schema_in({"type": "json_object"}).schema == ""
    assert schema_in({"type": "json_schema", "json_schema": {"name": "P", "schema": {"type": "object"}, "strict": True}}).strict is True
    assert schema_in({"type": "text"}) is None


# --- answers out ---


def test_tool_calls_stand_in_both_places():
    """In blocks alone, streamed structured prediction silently yields an empty object; in additional_kwargs alone, agents see none."""
    message = response_out(ChatReply(tool_calls=(ToolCall(id="1", name="f", arguments='{"x":1}'),))).message
    assert message.blocks == [ToolCallBlock(tool_call_id="1", tool_name="f", tool_kwargs={"x": 1})]
    assert message.additional_kwargs["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"x":1}'}


def test_without_tool_calls_there_is_no_word_of_them():
    """LlamaIndex takes the key itself for a call."""
    message = response_out(ChatReply(text="hi")).message
    assert "tool_calls" not in message.additional_kwargs
    assert message.content == "hi"


def test_tokens_stand_where_counters_read_them():
    """TokenCountingHandler looks into raw, older code into additional_kwargs."""
    response = response_out(ChatReply(usage=Usage(input_tokens=3, output_tokens=4, cached_tokens=2)))
    assert response.raw["usage"]["prompt_tokens"] == response.additional_kwargs["prompt_tokens"] == 3
    assert response.raw["usage"]["cached_tokens"] == 2


def grown(deltas, reply):
    growing = Growing()
    return [*filter(None, map(growing.add, deltas)), growing.whole(reply)]


def test_every_response_of_a_stream_carries_the_message_so_far():
    """LlamaIndex's rule: accumulated message, new delta."""
    seen = grown(
        [Delta(reasoning="hm"), Delta(text="a"), Delta(text="b"), Delta(finish_reason="stop")], ChatReply(text="ab", reasoning="hm")
    )
    assert [(response.message.content, response.delta) for response in seen] == [("", ""), ("a", "a"), ("ab", "b"), ("ab", "")]
    assert seen[0].additional_kwargs["thinking_delta"] == "hm"


def test_a_stream_ends_with_the_same_message_as_the_whole_answer():
    """Chat engines store the last one."""
    reply = ChatReply(text="ab", reasoning="hm", tool_calls=(ToolCall(id="1", name="f", arguments='{"x":1}'),), finish_reason="tool_calls")
    last = grown(to_deltas(reply), reply)[-1]
    assert last.message == response_out(reply).message
    assert dict(last.raw) | dict(response_out(reply).raw) == dict(last.raw)
    assert (last.raw.choices[0].finish_reason, last.raw.choices[0].delta) == (reply.finish_reason, {})


def test_calls_under_way_are_read_as_far_as_they_go():
    """Streamed structured prediction shows fields as they come; two calls stay two."""
    deltas = [
        Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="f", arguments='{"x": '), ToolCallDelta(index=1, id="2", name="g"))),
        Delta(tool_calls=(ToolCallDelta(index=0, arguments='1, "y": "ab", "z'),)),
    ]
    seen = grown(deltas, ChatReply())[:-1]
    found = [[(one.tool_name, one.tool_kwargs) for one in selections_out(response)] for response in seen]
    assert found[1] == [("f", {"x": 1, "y": "ab"}), ("g", {})]


@pytest.mark.parametrize("cut", ['{"amount": 1', '{"a": [1', "not json", "[1]"])
def test_a_whole_answer_with_broken_arguments_is_never_run(cut):
    """LlamaIndex repairs partial JSON: `transfer(amount=1000)` cut after the first digit would move 1."""
    reply = ChatReply(tool_calls=(checked_tool_call(id="1", name="transfer", arguments=cut),), finish_reason="length")
    with pytest.raises(InvalidOutput, match="transfer") as caught:
        selections_out(response_out(reply))
    assert caught.value.partial == cut


def test_a_resumed_stream_says_where_it_begins_again():
    """Text before the mark is repeated after it."""
    assert Growing().add(Delta(marker="resumed")).additional_kwargs == {"marker": "resumed"}


SEARCH = Opaque.of("anthropic", {"type": "server_tool_use", "id": "s"})
PICTURE = Image(data=b"\x89PNG", media_type="image/png", extra="{}", vendor="google")
THOUGHT = Reasoning(text="hm", kind="reasoning_content", vendor="openai/h")
SOUND = File(data=b"RIFF", media_type="audio/wav", extra='{"id":"a"}', vendor="openai/h")
REPLIES = {
    "thoughts between calls": ChatReply(
        content=(Reasoning(text="hm", signature="A", vendor="anthropic"), Reasoning(text="so", signature="B", vendor="anthropic")),
        tool_calls=(ToolCall(id="1", name="f", after=1), ToolCall(id="2", name="f", extra='{"caller":{}}', vendor="anthropic")),
    ),
    "a field of the message": ChatReply(
        text="hi",
        reasoning="hm",
        content=(THOUGHT, Opaque(vendor="openai/h", kind="x", data="[1]"), Text("hi")),
    ),
    "a search": ChatReply(text="found", content=(SEARCH, Text("found", '{"citations":[]}', "anthropic"))),
    "a picture": ChatReply(
        text="here", content=(Text("here"), Image(data=b"\x89PNG", media_type="image/png", extra="{}", vendor="google"))
    ),
    "a sound": ChatReply(text="hi", content=(SOUND, Text("hi"))),
}


@pytest.mark.parametrize("mode", ["whole", "stored"])
@pytest.mark.parametrize("name", REPLIES)
def test_answers_come_back_as_the_vendor_gave_them(name, mode):
    """Agents and memories hand on LlamaIndex's message alone."""
    reply = REPLIES[name]
    message = response_out(reply).message
    if mode == "stored":
        message = ChatMessage.model_validate_json(message.model_dump_json())
    (back,) = messages_in([message])
    assert back.parts == reply.message.parts
    assert back.tool_calls == reply.tool_calls


def test_pictures_sources_and_probabilities_stand_where_llamaindex_has_them():
    """Blocks, and the response's own fields."""
    assert isinstance(response_out(REPLIES["a picture"]).message.blocks[-1], ImageBlock)
    told = TokenLogprob(token="x", logprob=-1, top=(("y", -2),))
    reply = ChatReply(text="x", citations=(CitedSource(url="https://a"),), logprobs=(told,))
    response = response_out(reply)
    assert response.additional_kwargs["citations"] == [{"url": "https://a"}]
    assert [(one.token, one.logprob) for one in response.logprobs[0]] == [("y", -2)]  # as its own classes give them


def test_cache_points_mark_the_block_before_them():
    """A mark that moves to the block that changes is paid for and never read; the usual one at the end is the message's."""
    mark = CachePoint(cache_control=CacheControl(type="ephemeral", ttl="1h"))
    (found,) = messages_in([ChatMessage(role="user", blocks=[TextBlock(text="long"), mark, TextBlock(text="?")])])
    assert found.content == (Text("long", '{"cache_control":{"type":"ephemeral","ttl":"1h"}}', "anthropic"), Text("?"))
    assert not found.cache


def test_each_piece_of_a_stream_has_its_raw():
    """As OpenAI's class has its chunks there, for every vendor, and fit to be stored with the events of an agent."""
    call = ToolCallDelta(index=0, id="c", name="f", arguments="{")
    text, thought, tool = (
        Growing().add(delta).raw for delta in (Delta(text="a", model="m"), Delta(reasoning="hm"), Delta(tool_calls=(call,)))
    )
    assert (text.choices[0].delta.content, text.model, text.usage) == ("a", "m", None)
    assert thought.choices[0].delta.reasoning_content == "hm"
    assert tool.choices[0].delta.tool_calls[0].function.name == "f"
    assert json.loads(json.dumps(tool))["choices"][0]["finish_reason"] is None


def test_raw_is_the_vendors_own_json_read_either_way():
    """Tracers read keys, people attributes; counts stand under one name for all vendors, and all of it can be stored."""
    raw_json = b'{"id":"msg","usage":{"input_tokens":3},"choices":[{"index":0}]}'
    usage = Usage(input_tokens=3, output_tokens=2, cached_tokens=1, reasoning_tokens=1)
    raw = response_out(ChatReply(text="x", raw_json=raw_json, usage=usage, model="m")).raw
    assert (raw.usage.prompt_tokens, raw["usage"]["input_tokens"], raw.id, raw.choices[0].index) == (3, 3, "msg", 0)
    assert raw.usage.prompt_tokens_details.cached_tokens == 1
    assert raw.usage.completion_tokens_details.reasoning_tokens == 1
    assert json.loads(json.dumps(raw)) == raw
    assert raw.get("usage").input_tokens == raw.get("usage")["input_tokens"] == 3
    assert raw.get("nothing", 7) == 7
    assert [one.index for one in dict(raw.items())["choices"]] == [0]
    assert copy.deepcopy(raw) == raw
    assert response_out(ChatReply(text="x", usage=usage)).raw.usage.total_tokens == 5
    with pytest.raises(AttributeError):
        _ = raw.nothing


BAD = ChatReply(tool_calls=(checked_tool_call(id="c", name="area", arguments='{"width": 3'),), finish_reason="tool_calls")


def test_an_agent_tells_the_model_of_a_broken_call():
    """It calls a tool that nobody has, so nothing is run with half of its arguments; a program that needs the call gets the error."""
    response = response_out(BAD)
    (found,) = selections_out(response, tolerant=True)
    assert found.tool_name.startswith("area (not run: ")
    assert (found.tool_id, found.tool_kwargs) == ("c", {})
    with pytest.raises(InvalidOutput, match="tool area"):
        selections_out(response)


def test_a_broken_call_goes_back_only_where_it_was_answered():
    """A call without a result is refused by every provider, and one with broken arguments by most."""
    message = response_out(BAD).message
    assert one(message).tool_calls == ()
    answer = ChatMessage(role="tool", content="mend it", additional_kwargs={"tool_call_id": "c"})
    assert messages_in([message, answer])[0].tool_calls[0].error


def test_items_of_openais_other_api_go_back_to_it():
    """LlamaIndex's class for it keeps them beside the text, and in thoughts."""
    about = {"id": "rs_1", "summary": [], "encrypted_content": "e", "type": "reasoning"}
    thought = ThinkingBlock(content="hm", additional_information=about)
    kwargs = {"built_in_tool_calls": [{"type": "web_search_call", "id": "ws"}, {"type": "other"}]}
    found = one(ChatMessage(role="assistant", blocks=[thought, TextBlock(text="hi")], additional_kwargs=kwargs)).content
    assert [(part.vendor, part.kind) for part in found[:2]] == [("openai.responses", "web_search_call"), ("openai.responses", "reasoning")]
    assert found[2] == Text("hi")


def test_addresses_of_documents_go_to_those_who_fetch_them():
    """Claude and Gemini do, and Claude cites what may be cited; others get bytes."""
    block = DocumentBlock(url="https://example.org/a.pdf")
    (claude,) = messages_in([ChatMessage(role="user", blocks=[block])], "anthropic:claude-haiku-4-5")
    assert claude.content == (File(url="https://example.org/a.pdf", media_type="application/pdf"),)
    citable = CitableBlock(title="T", source="S", content=[TextBlock(text="x")])
    (cited,) = messages_in([ChatMessage(role="user", blocks=[citable])], "anthropic:claude-haiku-4-5")
    assert cited.content[0].value()["citations"] == {"enabled": True}
    (plain,) = messages_in([ChatMessage(role="user", blocks=[citable])], "openai:gpt-5-mini")
    assert plain.content == "x"
