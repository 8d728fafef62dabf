"""Replies: the next turn of a conversation, and what it used."""

from __future__ import annotations

import msgspec

from surefoot.types import ChatReply, CitedSource, File, Image, Opaque, Reasoning, Text, TokenLogprob, ToolCall, Usage


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


def test_reply_of_several_parts_becomes_the_next_turn_in_its_own_order():
    """Claude thinks between what it says; what is out of order, or lost, is refused at the next turn."""
    search = Opaque.of("anthropic", {"type": "server_tool_use", "id": "s1"})
    content = (Reasoning(text="a", signature="A", vendor="anthropic"), search, Text("hi"), Reasoning(text="b", signature="B"))
    call = ToolCall(id="1", name="f", after=1)
    reply = ChatReply(text="hi", reasoning="ab", content=content, tool_calls=(call,))
    assert reply.parts == reply.message.parts == content
    assert reply.message.tool_calls == (call,)


def test_plain_reply_has_its_parts_too():
    """Whoever reads parts need not know whether there is anything unusual."""
    assert ChatReply(text="hi").parts == (Text("hi"),)
    assert ChatReply(text="hi", reasoning="hm").parts == (Reasoning(text="hm"), Text("hi"))
    assert ChatReply(text="hi", reasoning="hm").message.content == "hi"
    assert ChatReply().parts == ()


def test_raw_is_the_vendors_json_decoded_when_asked_for():
    """Also what only a lenient reader understands; a reply made by hand has none."""
    assert ChatReply(raw_json=b'{"service_tier":"flex"}').raw == {"service_tier": "flex"}
    assert ChatReply(raw_json=b'{"x": NaN}').raw["x"] != 0
    assert ChatReply(raw_json=b"\xffno").raw == "\ufffdno"
    assert ChatReply().raw is None
    assert repr(ChatReply(text="hi", raw_json=b"12345")) == "ChatReply(text='hi', raw_json=<5 bytes>)"


def test_pictures_and_sounds_are_read_off_the_reply():
    """Answers of pictures or sound are answers."""
    picture, sound, paper = Image(data=b"p"), File(data=b"s", media_type="audio/wav"), File(data=b"d")
    reply = ChatReply(content=(picture, Text("x"), sound, paper))
    assert reply.images == (picture,)
    assert reply.audio == (sound,)


def test_replies_survive_being_stored():
    """The cache keeps all of an answer, also in another process; a row of an earlier release is read."""
    reply = ChatReply(
        text="hi",
        content=(Opaque.of("openai/h", [1], kind="reasoning_details"), Text("hi", extra='{"citations":[]}', vendor="anthropic")),
        tool_calls=(ToolCall(id="1", name="f", extra='{"extra_content":{}}', vendor="openai/h", after=0),),
        citations=(CitedSource(url="https://x", start=0, end=2),),
        logprobs=(TokenLogprob(token="hi", logprob=-0.1, top=(("ho", -2.0),)),),
        raw_json=b"{}",
        response_id="r",
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=ChatReply) == reply
    old = {"text": "hi", "tool_calls": [{"id": "1", "name": "f", "arguments": "{}", "error": "", "signature": ""}], "model": "m"}
    assert msgspec.convert(old, ChatReply) == ChatReply(text="hi", tool_calls=(ToolCall(id="1", name="f"),), model="m")
