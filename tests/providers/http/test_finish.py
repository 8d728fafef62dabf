"""How answers end: whose tool calls may be run, what is an answer, and when a server gave up."""

from __future__ import annotations

import msgspec
import pytest

from surefoot import ChatModel, Policy
from surefoot.core._tool_calls import CUT_OFF
from surefoot.core.deltas import from_deltas
from surefoot.errors import Overloaded, SurefootError
from surefoot.providers.anthropic import responses as anthropic_responses
from surefoot.providers.anthropic import stream as anthropic_stream
from surefoot.providers.google import responses as google_responses
from surefoot.providers.http.finish import FINISHES, GAVE_UP, finish_of
from surefoot.providers.openai import responses as openai_responses
from surefoot.providers.openai import stream as openai_stream
from surefoot.testing import Scripted
from surefoot.types import ChatReply, ChatRequest, Delta, Message, Schema, ToolCallDelta

HELLO = ChatRequest(messages=(Message.user("hi"),))
ARGUMENTS = '{"city":"Bergen"}'
USAGE = {"prompt_tokens": 1, "completion_tokens": 1}


def openai(word, *, text=None, call=True, stream=False, request=HELLO) -> ChatReply:
    """What is read of an answer that ends with `word`."""
    calls = [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": ARGUMENTS}}]
    said = {"content": text, **({"tool_calls": calls} if call else {})}
    asked = openai_responses.ReadingContext("openai:m", "", request, lambda _: SurefootError("told"))
    if not stream:
        body = {"choices": [{"message": said, "finish_reason": word}], "usage": USAGE}
        return openai_responses.chat_reply(msgspec.json.encode(body), "", asked)
    return read(
        openai_stream.OpenAIChatReader(asked), [{"choices": [{"delta": said}]}, {"choices": [{"delta": {}, "finish_reason": word}]}]
    )


def anthropic(word, *, text=None, call=True, stream=False, request=HELLO) -> ChatReply:
    """As `openai`."""
    blocks = [{"type": "text", "text": text}] if text else []
    asked = anthropic_responses.AnthropicContext("anthropic:m", "", request, "", lambda _: SurefootError("told"))
    if not stream:
        tool = [{"type": "tool_use", "id": "c1", "name": "weather", "input": msgspec.Raw(ARGUMENTS.encode())}] if call else []
        body = {"type": "message", "content": [*blocks, *tool], "stop_reason": word, "usage": {"input_tokens": 1}}
        return anthropic_responses.chat_reply(msgspec.json.encode(body), "", asked)
    events = [{"type": "content_block_start", "index": 0, "content_block": one} for one in blocks]
    if call:
        start = {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}
        events += [
            {"type": "content_block_start", "index": 1, "content_block": start},
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": ARGUMENTS}},
        ]
    return read(anthropic_stream.AnthropicChatReader(asked), [*events, {"type": "message_delta", "delta": {"stop_reason": word}}])


def google(word, *, text=None, call=True, stream=False, request=HELLO) -> ChatReply:
    """As `openai`."""
    parts = [{"text": text}] if text else []
    if call:
        parts.append({"functionCall": {"name": "weather", "args": msgspec.Raw(ARGUMENTS.encode())}})
    answer = {"candidates": [{"content": {"parts": parts}, "finishReason": word}]}
    asked = openai_responses.ReadingContext("google:m", "", request, lambda _: SurefootError("told"))
    if not stream:
        return google_responses.chat_reply(msgspec.json.encode(answer), "", asked)
    return read(google_responses.GoogleChatReader(asked), [answer])


def read(reader, events) -> ChatReply:
    deltas: list[Delta] = []
    for event in events:
        reader.read(msgspec.json.encode(event), deltas)
    reader.end(deltas)
    return from_deltas(deltas)


CUT = {
    openai: ("length", "max_tokens", "MAX_TOKENS", "model_length", "content_filter", "SAFETY", "some_new_word"),
    anthropic: ("max_tokens", "model_context_window_exceeded", "length", "refusal", "pause_turn", "some_new_word"),
    google: ("MAX_TOKENS", "SAFETY", "RECITATION", "OTHER", "LANGUAGE", "SOME_NEW_WORD"),
}
WHOLE = {openai: ("tool_calls", "tool_use", "stop", "STOP", "eos_token", None), anthropic: ("tool_use", "end_turn"), google: ("STOP",)}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("vendor", "word"), [(vendor, word) for vendor, words in CUT.items() for word in words])
def test_a_call_of_an_answer_that_did_not_come_to_its_end_is_not_run(vendor, word, stream):
    """Its arguments may look whole and lack their last filter; an unknown word may be the next one for "cut"."""
    (call,) = vendor(word, stream=stream).tool_calls
    assert (call.arguments, call.error) == (ARGUMENTS, CUT_OFF)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("vendor", "word"), [(vendor, word) for vendor, words in WHOLE.items() for word in words])
def test_calls_of_a_whole_answer_are_run(vendor, word, stream):
    """Also where a server says "stop", or nothing at all, after the calls."""
    if word is None and stream:
        return  # a stream without its end mark is cut
    reply = vendor(word, stream=stream)
    assert [(call.arguments, call.error) for call in reply.tool_calls] == [(ARGUMENTS, "")]
    assert reply.finish_reason == "tool_calls" or vendor is anthropic


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("vendor", "word"), [(openai, "stop"), (anthropic, "end_turn"), (google, "STOP")])
def test_an_end_with_nothing_to_say_is_an_answer(vendor, word, stream):
    """After a tool's result there is often nothing to add; asked again, the model says so again and bills it again."""
    reply = vendor(word, call=False, stream=stream)
    assert (reply.text, reply.tool_calls, reply.finish_reason) == ("", (), "stop")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", [openai, anthropic, google])
def test_nothing_is_no_answer_where_json_was_asked_for_or_no_known_end_came(vendor, stream):
    """Passed on, the failure would show as a parser's error, far from its cause."""
    end = {openai: "stop", anthropic: "end_turn", google: "STOP"}[vendor]
    for word, request in ((end, msgspec.structs.replace(HELLO, schema=Schema())), ("some_new_word", HELLO)):
        with pytest.raises(SurefootError, match="empty answer"):
            vendor(word, call=False, stream=stream, request=request)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("word", ["abort", "insufficient_system_resource", "ABORTED"])
def test_a_server_that_gave_up_is_asked_again(word, stream):
    """Half an answer under an end of its own would pass for a whole one, and be cached."""
    with pytest.raises(Overloaded, match="gave up in mid-answer"):
        openai(word, text="The answer is fort", call=False, stream=stream)


def test_each_word_means_one_thing():
    """A word for a normal end and for giving up would be either by chance."""
    assert not GAVE_UP & set(FINISHES)
    assert all(word == word.lower() for word in (*FINISHES, *GAVE_UP))
    assert finish_of(None, "t") == finish_of("no such word", "t") == "other"


def test_an_empty_answer_costs_one_request():
    """Not three, and no error at the end of an agent's work; streamed or not."""
    for stream in (False, True):
        provider = Scripted(ChatReply(text="", finish_reason="stop"), ChatReply(text="again"))
        chat = ChatModel(provider, policy=Policy(backoff_base_s=0.0))
        if stream:
            with chat.stream("hi") as deltas:
                assert "".join(delta.text for delta in deltas) == ""
        else:
            assert chat.invoke("hi").text == ""
        assert len(provider.requests) == 1


def test_a_broken_stream_offers_no_runnable_call():
    """What is there of an answer that broke off is for people to read, not for tools to run."""
    call = ToolCallDelta(index=0, id="c1", name="drop", arguments="{}")
    assert from_deltas([Delta(tool_calls=(call,))]).tool_calls[0].error == CUT_OFF
