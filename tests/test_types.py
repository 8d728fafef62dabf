"""The records: frozen, hashable, free of what no wire carries."""

from __future__ import annotations

import pytest

from surefoot.types import ChatReply, ChatRequest, Image, Message, Text, Tool, ToolCall, Usage, clean


def test_lone_surrogates_are_replaced_and_pairs_kept():
    """A lone surrogate can be neither hashed nor sent; an emoji is two halves that belong together."""
    assert clean("a\ud800b") == "a\ufffdb"
    assert clean("günaydın 👋") == "günaydın 👋"
    assert Message.user("x\udc00").text == "x\ufffd"
    assert Message.user(["y\udc00"]).text == "y\ufffd"


def test_requests_are_hashable_and_equal_by_value():
    """A request is a key."""
    one = ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "", {"a": 1}),))
    two = ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "", {"a": 1}),))
    assert one == two
    assert len({one, two}) == 1


def test_requests_are_frozen():
    """Rooms change a call only by making another."""
    with pytest.raises(AttributeError):
        ChatRequest(messages=()).temperature = 1  # type: ignore[misc]


def test_message_text_leaves_out_what_is_not_text():
    """Parts that are no text have none."""
    message = Message.user(["see ", Image(url="http://x/y.png"), Text("this")])
    assert message.text == "see this"
    assert len(message.parts) == 3
    assert Message.user("").parts == ()


def test_tool_arguments_must_be_an_object():
    """A list or a number is no set of arguments."""
    assert ToolCall(id="1", name="f", arguments='{"ş": 1}').parsed() == {"ş": 1}
    with pytest.raises(ValueError, match="not an object"):
        ToolCall(id="1", name="f", arguments="[1]").parsed()


def test_reply_becomes_the_next_turn():
    """A conversation goes on from the reply; a sealed thought goes back untouched."""
    call = ToolCall(id="1", name="f", arguments="{}")
    reply = ChatReply(text="hi", tool_calls=(call,), reasoning="hm", signature="seal")
    assert reply.message.tool_calls == (call,)
    assert reply.message.parts[0].signature == "seal"  # type: ignore[union-attr]
    assert reply.message.text == "hi"
    assert ChatReply(tool_calls=(ToolCall(id="1", name="f", arguments="{", error="broken"),)).invalid_tool_calls[0].error == "broken"


def test_usage_sums_inputs_and_outputs():
    """Cached and reasoning tokens are parts of these, never beside them."""
    assert Usage(input_tokens=3, output_tokens=4, cached_tokens=2, reasoning_tokens=1).total_tokens == 7
