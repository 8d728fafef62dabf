"""Messages and tools: free of what no wire carries."""

from __future__ import annotations

import pytest

from surefoot.types import Image, Message, Text, ToolCall, clean


def test_lone_surrogates_are_replaced_and_pairs_kept():
    """A lone surrogate can be neither hashed nor sent; an emoji is two halves that belong together."""
    assert clean("a\ud800b") == "a\ufffdb"
    assert clean("günaydın 👋") == "günaydın 👋"
    assert Message.user("x\udc00").text == "x\ufffd"
    assert Message.user(["y\udc00"]).text == "y\ufffd"


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
