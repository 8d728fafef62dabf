"""Messages and tools: free of what no wire carries."""

from __future__ import annotations

import msgspec
import pytest

from surefoot.types import Image, Message, Opaque, Reasoning, Text, ToolCall, clean, is_for


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


def test_opaque_parts_keep_the_vendors_json_and_say_whose_it_is():
    """A block says by its type what it is; the value of a message's field has to be named."""
    block = Opaque.of("anthropic", {"type": "server_tool_use", "id": "s1", "input": {"query": "ş"}})
    assert (block.kind, block.value()["input"]) == ("server_tool_use", {"query": "ş"})
    details = Opaque.of("openai/openrouter.ai", [{"data": "Z"}], kind="reasoning_details")
    assert details.data == '[{"data":"Z"}]'
    with pytest.raises(ValueError, match="needs a kind"):
        Opaque.of("openai", [1])
    message = Message.assistant([block, "found", details])
    assert message.text == "found"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message


@pytest.mark.parametrize(
    ("vendor", "goes"),
    [("openai", True), ("openai/api.deepseek.com", True), ("openai/api.moonshot.ai", False), ("anthropic", False), ("", False)],
)
def test_what_is_one_servers_own_goes_to_that_server(vendor, goes):
    """A name alone is any server of the protocol; with a host it is that one, for another would refuse what it does not know."""
    assert is_for(vendor, "openai", "api.deepseek.com") is goes


def test_messages_stored_before_vendors_fields_existed_are_read():
    """A conversation on disk outlives a release."""
    stored = {
        "role": "assistant",
        "content": [{"type": "reasoning", "text": "hm", "signature": "seal"}, {"type": "text", "text": "hi"}],
        "tool_calls": [{"id": "1", "name": "f", "arguments": "{}", "error": "", "signature": "google:s"}],
    }
    message = msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=Message)
    assert message.parts == (Reasoning(text="hm", signature="seal"), Text("hi"))
    assert message.tool_calls == (ToolCall(id="1", name="f", signature="google:s"),)
