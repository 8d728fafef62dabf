"""Replies: the next turn of a conversation, and what it used."""

from __future__ import annotations

from surefoot.types import ChatReply, ToolCall, Usage


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
