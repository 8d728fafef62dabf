"""LangChain's messages, tools and options into surefoot's, and answers back."""

from __future__ import annotations

import base64

import msgspec
import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_surefoot._messages import messages_in
from langchain_surefoot._translate import (
    chunks_out,
    last_chunk_out,
    message_out,
    metadata_out,
    schema_in,
    tool_choice_in,
    tool_in,
    usage_out,
    wire_of,
)
from surefoot.core._tool_calls import checked_tool_call
from surefoot.core.deltas import to_deltas
from surefoot.errors import BadRequest
from surefoot.types import ChatReply, Delta, File, Image, Message, Reasoning, Text, ToolCall, ToolCallDelta, Usage

PNG = b"\x89PNG"
PNG64 = base64.b64encode(PNG).decode()
PDF64 = base64.b64encode(b"%PDF").decode()


def one(message):
    (found,) = messages_in([message])
    return found


def part(block):
    (found,) = one(HumanMessage([block])).parts
    return found


# --- messages in ---


def test_roles_map_to_ours():
    """developer is OpenAI's newer word for system; human and user are one."""
    asked = [SystemMessage("s"), HumanMessage("u", name="ann"), AIMessage("a"), ChatMessage("d", role="developer")]
    assert messages_in(asked) == (
        Message.system("s"),
        Message.user("u", name="ann"),
        Message.assistant("a"),
        Message.system("d"),
    )


def test_an_unknown_role_is_refused_before_anything_is_sent():
    """Sent as it is, it would come back as a 400 that names nothing."""
    with pytest.raises(BadRequest, match="'oracle'"):
        messages_in([ChatMessage("x", role="oracle")])
    with pytest.raises(BadRequest, match="RemoveMessage"):
        messages_in([RemoveMessage(id="1")])


def test_tool_calls_and_results_keep_their_ids():
    """The id ties a result to its call."""
    asked = [
        AIMessage("", tool_calls=[{"name": "f", "args": {"x": "é"}, "id": "1"}]),
        ToolMessage("5", tool_call_id="1", name="f", status="error"),
    ]
    assert messages_in(asked) == (
        Message.assistant(tool_calls=[ToolCall(id="1", name="f", arguments='{"x": "é"}')]),
        Message.tool("5", tool_call_id="1", name="f", is_error=True),
    )


def test_arguments_that_are_no_json_are_told_before_anything_is_sent():
    """People and middleware write calls, too."""
    made = AIMessage("", tool_calls=[{"name": "weather", "args": {"day": {1, 2}}, "id": "c"}])
    with pytest.raises(BadRequest, match="call of 'weather': its arguments are no JSON"):
        messages_in([HumanMessage("x"), made])


def test_a_legacy_function_message_is_a_tools_result():
    """Old histories still hold them."""
    assert one(FunctionMessage("5", name="f")) == Message.tool("5", tool_call_id="f", name="f")


def test_a_broken_call_is_sent_back_only_where_it_was_answered():
    """A call without a result is refused by every provider; one with a result must stand before it."""
    broken = AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{", "id": "1", "error": None, "type": "invalid_tool_call"}])
    assert one(broken).tool_calls == ()
    answered, _ = messages_in([broken, ToolMessage("mend it", tool_call_id="1")])
    assert answered.tool_calls == (ToolCall(id="1", name="f", arguments="{", error="not valid JSON"),)


def test_one_block_of_text_is_text():
    """Both spellings of the same question must have the same digest."""
    assert one(HumanMessage([{"type": "text", "text": "hi"}])) == one(HumanMessage("hi"))


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG64}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{PNG64}"},
        {"type": "image", "base64": PNG64, "mime_type": "image/png"},
        {"type": "image", "source_type": "base64", "data": PNG64, "mime_type": "image/png"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG64}},
        {"type": "image", "url": f"data:image/png;base64,{PNG64}"},
        {"type": "non_standard", "value": {"type": "image", "base64": PNG64, "mime_type": "image/png"}},
    ],
    ids=["openai", "openai-bare", "v1", "v0", "anthropic", "data-url", "non-standard"],
)
def test_every_dialect_of_a_picture_is_the_same_picture(block):
    """LangChain's users paste whichever spelling their last vendor took."""
    assert part(block) == Image(data=PNG, media_type="image/png")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image", "url": "https://x/y.png", "extras": {"detail": "low"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}, "detail": "low"},
    ],
    ids=["openai", "v1", "anthropic"],
)
def test_a_pictures_address_is_left_to_the_provider(block):
    """Fetching it here would be a request nobody asked for."""
    assert part(block) == Image(url="https://x/y.png", detail="low")


@pytest.mark.parametrize(
    "block",
    [
        {"type": "file", "base64": PDF64, "mime_type": "application/pdf", "filename": "a.pdf"},
        {"type": "file", "source_type": "base64", "data": PDF64, "mime_type": "application/pdf", "metadata": {"filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF64}", "filename": "a.pdf"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF64}, "title": "a.pdf"},
    ],
    ids=["v1", "v0", "openai", "anthropic"],
)
def test_every_dialect_of_a_document_is_the_same_document(block):
    """As for pictures."""
    assert part(block) == File(data=b"%PDF", media_type="application/pdf", name="a.pdf")


def test_sounds_keep_their_format():
    """A wav sent as mp3 is noise."""
    wav = base64.b64encode(b"RIFF").decode()
    assert part({"type": "input_audio", "input_audio": {"data": wav, "format": "mp3"}}) == File(data=b"RIFF", media_type="audio/mp3")
    assert part({"type": "audio", "base64": wav, "mime_type": "audio/wav"}) == File(data=b"RIFF", media_type="audio/wav")


def test_plain_text_documents_become_text():
    """No vendor needs the detour over bytes."""
    assert part({"type": "text-plain", "text": "t", "mime_type": "text/plain"}) == Text("t")
    assert part({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "t"}}) == Text("t")


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ({"type": "hologram"}, "hologram"),
        ({"type": "image", "file_id": "f"}, "uploaded elsewhere"),
        ({"type": "image", "base64": "abc", "mime_type": "image/png"}, "no base64"),
    ],
)
def test_a_block_nobody_can_send_is_named(block, names):
    """Dropping it in silence would answer another question."""
    with pytest.raises(BadRequest, match=names):
        messages_in([HumanMessage([block])])


def test_anthropics_history_keeps_its_sealed_thoughts():
    """Anthropic refuses a tool turn whose thinking block lost its signature."""
    message = AIMessage(
        [
            {"type": "thinking", "thinking": "hm", "signature": "S"},
            {"type": "text", "text": "hi"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}},
        ],
        tool_calls=[{"name": "f", "args": {}, "id": "1"}],
    )
    assert one(message) == Message.assistant(
        [Reasoning(text="hm", signature="S"), Text("hi")], tool_calls=[ToolCall(id="1", name="f", arguments="{}")]
    )


def test_anthropics_tool_results_come_out_of_the_human_message():
    """There a tool result is a block of the user's turn; elsewhere it is a message of its own."""
    blocks = [
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "5"}], "is_error": True},
        {"type": "text", "text": "so?"},
    ]
    assert messages_in([HumanMessage(blocks)]) == (Message.tool("5", tool_call_id="1", is_error=True), Message.user("so?"))


def test_cache_control_marks_the_message():
    """Anthropic caches the prompt up to the mark."""
    assert one(HumanMessage([{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}])).cache


def test_our_own_answer_goes_back_as_it_was():
    """Thought, seal and tool signatures survive the round trip: vendors want them back untouched."""
    reply = ChatReply(
        text="hi", reasoning="hm", signature="S", tool_calls=(ToolCall(id="1", name="f", arguments='{"x": 1}', signature="T"),), model="m"
    )
    assert one(message_out(reply)) == reply.message


# --- tools and shapes in ---


class Point(BaseModel):
    """A point."""

    x: int


@tool
def area(width: int, height: int) -> int:
    """The area."""
    return width * height


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (area, "area"),
        (Point, "Point"),
        ({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}, "f"),
        ({"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}, "f"),
        ({"title": "f", "type": "object", "properties": {}}, "f"),
    ],
    ids=["langchain", "pydantic", "openai", "anthropic", "json-schema"],
)
def test_tools_come_in_any_spelling(given, name):
    """bind_tools takes them all."""
    found = tool_in(given)
    assert found.name == name
    assert '"type":"object"' in found.parameters


@pytest.mark.parametrize(
    "given", [{"type": "web_search_preview"}, {"type": "bash_20250124", "name": "bash"}, {"google_search": {}}], ids=str
)
def test_a_providers_own_tool_is_bound_as_it_is(given):
    """LangChain's conversion would make a function without parameters of one that has a name."""
    assert wire_of(given, strict=True) == given
    assert (msgspec.json.decode(tool_in(given).raw), tool_in(given).parameters) == (given, "")


def test_what_is_no_tool_is_told_with_the_way_out():
    """In our words, as an error that frameworks do not ask again for."""
    with pytest.raises(BadRequest, match="extra="):
        wire_of({"tool": "what"})


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("area", "area"),
        ({"type": "function", "function": {"name": "area"}}, "area"),
        ({"type": "tool", "name": "area"}, "area"),
        ({"type": "any"}, "required"),
        (None, ""),
    ],
)
def test_tool_choice_in_any_spelling(given, ours):
    """LangChain says any, OpenAI required, Anthropic a dict."""
    assert tool_choice_in(given) == ours


def test_shapes_come_in_any_spelling():
    """response_format is OpenAI's; agents hand over that, people a class."""
    named = schema_in({"type": "json_schema", "json_schema": {"name": "P", "schema": {"type": "object"}, "strict": True}})
    assert (named.name, named.strict) == ("P", True)
    assert schema_in({"type": "json_object"}).schema == ""
    assert schema_in(Point).name == "Point"
    assert schema_in({"type": "text"}) is None


# --- answers out ---


def test_usage_has_details_only_where_there_are_any():
    """LangChain adds details up; a zero nobody measured is a false statement."""
    assert usage_out(Usage(input_tokens=5, output_tokens=2)) == {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
    full = usage_out(Usage(input_tokens=9, output_tokens=4, cached_tokens=3, cache_write_tokens=2, reasoning_tokens=1))
    assert full["input_token_details"] == {"cache_creation": 2, "cache_read": 3}
    assert full["output_token_details"] == {"reasoning": 1}


def test_metadata_names_the_model_also_where_the_provider_did_not():
    """LangChain's usage counters need a name."""
    assert metadata_out(ChatReply(target="openai:m"))["model_name"] == "m"


def test_broken_calls_stand_apart():
    """An agent runs what stands in tool_calls."""
    reply = ChatReply(
        tool_calls=(checked_tool_call(id="1", name="f", arguments='{"x"'), checked_tool_call(id="2", name="g", arguments="{}")),
        target="a:b",
    )
    message = message_out(reply)
    assert [call["name"] for call in message.tool_calls] == ["g"]
    assert [(call["name"], call["args"]) for call in message.invalid_tool_calls] == [("f", '{"x"')]


def joined(deltas, reply):
    chunks = [chunk.message for delta in deltas for chunk in chunks_out(delta)]
    indices = sorted({piece.index for delta in deltas for piece in delta.tool_calls})
    whole = AIMessageChunk(content="")
    for chunk in [*chunks, last_chunk_out(reply, indices).message]:
        whole = whole + chunk
    return whole


def test_a_stream_joins_to_the_same_message_as_the_whole_answer():
    """Chains must not see a difference."""
    reply = ChatReply(
        text="hello there",
        reasoning="hm",
        tool_calls=(ToolCall(id="1", name="f", arguments='{"x": 1}'),),
        usage=Usage(input_tokens=3, output_tokens=4),
        target="a:b",
        finish_reason="tool_calls",
    )
    streamed, plain = joined(to_deltas(reply), reply), message_out(reply)
    assert streamed.content == plain.content
    assert streamed.tool_calls == plain.tool_calls
    assert streamed.usage_metadata == plain.usage_metadata
    assert streamed.response_metadata == plain.response_metadata
    assert streamed.additional_kwargs == plain.additional_kwargs
    assert streamed.chunk_position == "last"


def test_thought_text_and_calls_never_share_a_chunk():
    """LangChain shows a half call as a whole one where text stands beside it."""
    delta = Delta(text="t", reasoning="r", tool_calls=(ToolCallDelta(index=0, id="1", name="f", arguments="{"),))
    assert [len(chunk.message.content_blocks) for chunk in chunks_out(delta)] == [1, 1, 1]


def test_two_calls_streamed_at_once_stay_two():
    """Pieces are told apart by index alone."""
    pieces = [
        Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="f"), ToolCallDelta(index=1, id="2", name="g"))),
        Delta(tool_calls=(ToolCallDelta(index=1, arguments="{}"), ToolCallDelta(index=0, arguments='{"x": 1}'))),
    ]
    whole = joined(pieces, ChatReply(target="a:b"))
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("f", {"x": 1}), ("g", {})]


@pytest.mark.parametrize("cut", ['{"city": "Par', '{"a": {"b": 1', '{"a": [1, 2', "{", '{"a": "x\\', '{"a": "}'])
def test_a_call_cut_in_its_middle_is_never_run_with_half_its_arguments(cut):
    """LangChain repairs partial JSON when it joins chunks: `transfer(amount=1000)` cut after the first digit would move 1."""
    deltas = [Delta(tool_calls=(ToolCallDelta(index=0, id="1", name="f", arguments=cut),))]
    reply = ChatReply(tool_calls=(checked_tool_call(id="1", name="f", arguments=cut),), finish_reason="length", target="a:b")
    whole = joined(deltas, reply)
    assert whole.tool_calls == []
    assert whole.invalid_tool_calls[0]["args"].startswith(cut)


def test_a_resumed_stream_says_where_it_begins_again():
    """Text before the mark is repeated after it."""
    (chunk,) = chunks_out(Delta(marker="resumed"))
    assert chunk.message.response_metadata == {"marker": "resumed"}
