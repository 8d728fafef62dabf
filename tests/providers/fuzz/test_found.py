"""What damaged answers have shown, each with the least that shows it."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from surefoot.errors import MalformedReply, SurefootError
from surefoot.providers.http.answers import lenient
from surefoot.types import ChatReply, ChatRequest, Message
from tests.providers.fuzz.damage import Damaged
from tests.providers.fuzz.exchanges import GoodAnswer
from tests.providers.fuzz.judge import HowItEnded, end_of, provider_of, wrong_with

DEEP = b"[" * 300 + b"]" * 300
CHUNK = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}]}
LAST = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
COMPLETED = {"type": "response.completed", "response": {"id": "r", "status": "completed", "output": []}}
SPOKEN = {"type": "response.output_text.delta", "output_index": 0, "delta": "hi"}
START = {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}}
USED = {"type": "tool_use", "id": "t", "name": "weather", "input": {}}


async def end(api: str, *values: Any, streamed: bool = False) -> HowItEnded:
    """How an answer of these events, or of this one value, ends; nothing may be wrong with it."""
    bodies = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in values]
    body = b"".join(b"data: %b\n\n" % one for one in bodies) if streamed else bodies[0]
    kind = "text/event-stream" if streamed else "application/json"
    exchange = GoodAnswer(api, "stream" if streamed else "whole", list(values), ChatRequest(messages=(Message.user("hi"),)))
    given = Damaged(exchange, 200, {"content-type": kind}, body, [])
    found = await end_of(provider_of(api), given, Random(1))
    assert not wrong_with(given, found)
    return found


async def text(api: str, *values: Any, streamed: bool = True) -> str:
    found = await end(api, *values, streamed=streamed)
    assert isinstance(found.reply, ChatReply), found.told
    return found.reply.text


@pytest.mark.parametrize("odd", [[], {}, [0], {"a": 1}])
async def test_a_list_or_an_object_where_a_word_is_expected_is_no_word(odd):
    """They cannot be looked up in a set: a TypeError left the library."""
    assert await text("chat", {"choices": [{**CHUNK["choices"][0], "index": odd}, {"own": 1}], "usage": "x"}, LAST) == "hi"
    assert await text("chat", {"choices": [{"index": 0, "delta": {"content": [{"type": odd, "text": "x"}]}}]}, CHUNK, LAST) == "hi"
    answer = {"choices": [{"index": 0, "message": {"content": "hi", "x": 1}, "finish_reason": "stop"}], "base_resp": {"status_code": odd}}
    assert await text("chat", answer, streamed=False) == "hi"
    message = {"content": [{"type": "text", "text": "hi"}, {"type": odd, "x": 1}], "stop_reason": "end_turn"}
    assert await text("anthropic", message, streamed=False) == "hi"
    parts = [{"type": "output_text", "text": "hi", "annotations": [{"type": odd}]}, {"type": odd, "text": "x"}]
    items = [{"type": "message", "content": parts}]
    assert await text("responses", {"status": "completed", "output": items}, streamed=False) == "hi"


@pytest.mark.parametrize("item", [b"NaN", b"7", b"[]", b'"x"', b'{"type": 7}'])
async def test_an_item_that_is_none_is_no_reason_to_lose_the_answer(item):
    """The beginning of an item was read strictly: a ValidationError of msgspec's left the library."""
    added = b'{"type": "response.output_item.added", "output_index": 0, "item": %b}' % item
    found = await end("responses", added, SPOKEN, COMPLETED, streamed=True)
    assert isinstance(found.error, MalformedReply) or found.reply.text == "hi"


@pytest.mark.parametrize(
    "odd", ["x", None, [], {"a": 1}, [[1]], [{"token": 1, "logprob": "x", "top_logprobs": [[], 7]}], 10**350], ids=range(7)
)
async def test_odd_probabilities_cost_no_answer(odd):
    """Nobody needs them to read the text; a number of 350 digits fits no float, and OverflowError left the library."""
    part = {"type": "output_text", "text": "hi", "logprobs": odd}
    assert await text("responses", {"status": "completed", "output": [{"type": "message", "content": [part]}]}, streamed=False) == "hi"
    answer = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop", "logprobs": {"content": odd}}]}
    assert await text("chat", answer, streamed=False) == "hi"
    chosen = {"chosenCandidates": [{"token": "a", "logProbability": odd}]}
    answer = {"candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP", "logprobsResult": chosen}]}
    assert await text("google", answer, streamed=False) == "hi"


@pytest.mark.parametrize("count", [10**350, -(10**350), 1e300, "9" * 400])
async def test_counts_beyond_all_floats_are_no_counts(count):
    """Of two reports of a stream the larger one counts: comparing them raised OverflowError."""
    used = {"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": 1}}
    found = await end("chat", CHUNK, used, used, LAST, streamed=True)
    assert found.reply.usage.input_tokens < 100
    assert found.reply.usage.estimated


@pytest.mark.parametrize("where", ["content", "error", "refusal", "reasoning_details"])
async def test_what_goes_too_deep_is_refused_or_left_out(where):
    """What reads a value by recursion ended in a RecursionError that nobody caught."""
    delta = b'{"choices": [{"index": 0, "delta": {"content": "hi", "x": 1, "%b": %b}}]}' % (where.encode(), DEEP)
    found = await end("chat", delta, LAST, streamed=True)
    assert isinstance(found.error, MalformedReply) or found.reply.text in {"hi", ""}


@pytest.mark.parametrize("levels", [150, 300, 700, 900])
async def test_what_goes_too_deep_for_us_and_not_for_msgspec(levels):
    """It decodes nearly a thousand levels; what walks through them has fewer left."""
    deep = b"[" * levels + b"]" * levels
    said = b'{"type": "message", "content": [{"type": "output_text", "text": %b}, {"text": "hi"}]}' % deep
    assert await text("responses", b'{"status": "completed", "output": [%b]}' % said, streamed=False) == "hi"
    used = b'{"choices": [], "usage": {"prompt_tokens": 1, "deep": %b}}' % (b'{"a":' * levels + b"1" + b"}" * levels)
    found = await end("chat", CHUNK, used, used, LAST, streamed=True)
    assert isinstance(found.error, SurefootError) or found.reply.text == "hi"


def test_depth_is_bounded_for_all_readers_of_foreign_values():
    """Vendors go to ten levels."""
    inside, beyond = (b'{"a":' * levels + b"1" + b"}" * levels for levels in (lenient.MAX_DEPTH, lenient.MAX_DEPTH + 2))
    assert isinstance(lenient.document(inside), dict)
    with pytest.raises(ValueError, match="levels"):
        lenient.document(beyond)
    assert lenient.document(b"[%b]" % b",".join([b"{}"] * 1000)) == [{}] * 1000


async def test_bytes_that_are_no_text_in_a_calls_own_field_cost_no_answer():
    """What is kept as it was sent is looked at by nobody: decoding it raised UnicodeDecodeError."""
    call = b'{"id": "c", "function": {"name": "weather", "arguments": "{}"}, "own": "\xed\xa0\xbd"}'
    answer = b'{"choices": [{"index": 0, "message": {"content": null, "tool_calls": [%b]}, "finish_reason": "tool_calls"}]}' % call
    found = await end("chat", answer)
    assert found.reply.tool_calls[0].extra == '{"own":"\ufffd\ufffd\ufffd"}'


async def test_calls_are_told_apart_whatever_their_ids():
    """Results are matched to calls by their ids: two calls under one id would both get the first result."""
    part = {"functionCall": {"id": "a", "name": "weather", "args": {}}}
    google = {"candidates": [{"content": {"parts": [part, part]}, "finishReason": "STOP"}]}
    item = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"}
    for found in (
        await end("google", google),
        await end("google", google, streamed=True),
        await end("anthropic", {"content": [USED, USED], "stop_reason": "tool_use"}),
        await end("responses", {"status": "completed", "output": [item, item]}),
        await end("responses", {"type": "response.completed", "response": {"status": "completed", "output": [item, item]}}, streamed=True),
    ):
        first, second = found.reply.tool_calls
        assert first.id in {"a", "t"}
        assert second.id not in {"a", "t", ""}


async def test_a_block_that_begins_twice_is_one():
    """A repeated event made two calls of one, the first without its arguments."""
    begins = {"type": "content_block_start", "index": 0, "content_block": USED}
    piece = {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": '{"city": "x"}'}}
    ends = {"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"}
    found = await end("anthropic", START, begins, begins, piece, *ends, streamed=True)
    assert [(call.id, call.parsed()) for call in found.reply.tool_calls] == [("t", {"city": "x"})]


async def test_objects_are_no_text():
    """A `text` that is an object was shown as Python prints it."""
    item = {"type": "message", "content": [{"type": "output_text", "text": {"value": "hi"}}]}
    assert await text("responses", {"status": "completed", "output": [item]}, streamed=False) == "hi"
    assert await text("responses", {**SPOKEN, "delta": {"text": "hi"}}, COMPLETED) == "hi"
