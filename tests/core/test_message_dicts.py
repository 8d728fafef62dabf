"""Messages as OpenAI's clients write them: all kinds of content, and what an SDK gave, back as it was."""

from __future__ import annotations

import msgspec
import pytest

from surefoot.core.message_dicts import message_of
from surefoot.errors import BadRequest
from surefoot.providers.openai.requests import OpenAIDialect, chat_body
from surefoot.types import ChatRequest, File, Image, Message, Opaque, Reasoning, Text, ToolCall

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}


CALLED = ToolCall(id="1", name="f", arguments='{"x":1}')


def sent(*given: dict) -> list[dict]:
    request = ChatRequest(messages=tuple(message_of(one) for one in given))
    return msgspec.json.decode(chat_body(request, "m", stream=False, dialect=OpenAIDialect(target="t", host="h")))["messages"]


PICTURE = {"type": "image_url", "image_url": {"url": "https://p", "detail": "low"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "mp3"}}
PAPER = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERg==", "filename": "a.pdf"}}
UPLOAD = {"type": "file", "file": {"file_id": "f"}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role": "user", "content": "hi"}, Message.user("hi")),
        ({"role": "developer", "content": "be"}, Message.system("be")),
        ({"role": "user", "content": [{"type": "text", "text": "hi"}], "name": "ann"}, Message.user("hi", name="ann")),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, Message.assistant(tool_calls=[CALLED])),
        ({"role": "tool", "content": "5", "tool_call_id": "1"}, Message.tool("5", tool_call_id="1")),
        ({"role": "function", "content": "5", "name": "f"}, Message.tool("5", tool_call_id="f", name="f")),
        ({"role": "assistant", "content": None, "refusal": "no"}, Message.assistant("no")),
        ({"role": "user", "content": [PICTURE]}, Message.user([Image(url="https://p", detail="low")])),
        ({"role": "user", "content": [SOUND]}, Message.user([File(data=b"RIFF", media_type="audio/mp3")])),
        ({"role": "user", "content": [PAPER]}, Message.user([File(data=b"%PDF", name="a.pdf")])),
        ({"role": "user", "content": [UPLOAD]}, Message.user([Opaque.of("openai", UPLOAD)])),
    ],
)
def test_openais_messages_are_messages(given, message):
    """Each role, and each kind of content of the API reference."""
    assert message_of(given) == message


def test_a_message_of_an_sdk_goes_back_as_it_was():
    """`messages.append(response.choices[0].message.model_dump())` is how everybody goes on; thoughts and signatures are among it."""
    given = {
        "role": "assistant", "content": "hi", "refusal": None, "annotations": [], "audio": None, "function_call": None,
        "reasoning_content": "hm", "reasoning_details": [{"data": "Z"}], "tool_calls": [CALL | {"extra_content": {"google": {}}}],
    }  # fmt: skip
    assert message_of(given).parts[0] == Reasoning(text="hm", kind="reasoning_content", vendor="openai")
    assert sent(given) == [{name: value for name, value in given.items() if value}]
    spoken = {"role": "assistant", "content": None, "audio": {"id": "a", "data": "x", "transcript": "hi"}}
    assert sent(spoken) == [{"role": "assistant", "content": None, "audio": {"id": "a"}}]
    assert message_of(spoken).text == "hi"


def test_calls_of_older_and_other_spellings_are_calls():
    """One function call before there were tools; Anthropic's blocks; arguments as an object."""
    legacy = message_of({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}})
    assert legacy.tool_calls == (ToolCall(id="f", name="f"),)
    block = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": 1}}
    turn = message_of({"role": "assistant", "content": [{"type": "text", "text": "so"}, block, {"type": "text", "text": "and"}]})
    assert turn.tool_calls == (ToolCall(id="1", name="f", arguments='{"x":1}', after=1),)
    assert turn.content == (Text("so"), Text("and"))
    assert message_of({"role": "assistant", "tool_calls": [{"id": "1", "name": "f", "arguments": {"x": 1}}]}).tool_calls[0].parsed() == {
        "x": 1
    }


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"content": "x"}, "the role None"),
        ({"role": "oracle", "content": "x"}, "'oracle'"),
        ({"role": "user", "content": 5}, "not int"),
        ({"role": "user", "content": [5]}, "parts are dicts"),
        ({"role": "user", "content": [{"x": 1}]}, "content block of type ''"),
        ({"role": "assistant", "tool_calls": [{"id": "1"}]}, "names no function"),
        ({"role": "assistant", "tool_calls": "f"}, "list of dicts"),
        ({"role": "user", "content": "x", "mood": object()}, "mood of a message"),
    ],
)
def test_what_is_no_message_is_told_before_anything_is_sent(given, names):
    """Naming what was wrong."""
    with pytest.raises(BadRequest, match=names):
        message_of(given)
