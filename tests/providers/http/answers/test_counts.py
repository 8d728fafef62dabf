"""Tokens that nobody counted are estimated and flagged, in the reply as on the bill; of two counts the larger is the answer's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from surefoot import ChatModel, EmbedModel, Policy, Target
from surefoot.providers.anthropic.responses import usage_of as anthropic_usage
from surefoot.providers.google.responses import usage_of as google_usage
from surefoot.providers.http.answers.counts import MOST, EndOfStream, count, counted, larger, with_usage
from surefoot.providers.openai.responses import usage_of as openai_usage
from surefoot.types import ChatReply, ChatRequest, Delta, Message, Usage
from surefoot.usage.ledger import Ledger
from tests.providers.http.servers import serving

REQUEST = ChatRequest(messages=(Message.user("How much is the fish?"),))
SAID = "The fish is three euros, as it was yesterday."


@pytest.mark.parametrize(
    ("value", "found"),
    [(7, 7), (7.0, 7), ("7", 7), (" 7.0 ", 7), ("1,024", 1024), (0, 0), (-3, 0), (None, 0), (True, 0), ("many", 0), ("nan", 0),
     (float("inf"), 0), ([7], 0), ({"n": 7}, 0), ("9" * 50, 0), (MOST, 0)],
)  # fmt: skip
def test_counts_are_read_in_every_form(value, found):
    """As text they come from PHP and from templates."""
    assert count({"n": value}, "n") == found
    assert count({"other": value, "n": 5}, "missing", "n") == 5
    assert count([value], "n") == 0


def test_of_two_reports_the_larger_counts():
    """Some streams end with a report of zeros, or with one that has forgotten the prompt."""
    first = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}, "service": "x"}
    last = {"prompt_tokens": 0, "completion_tokens": "7", "prompt_tokens_details": None, "service": "y", "cost": 0.1}
    found = larger(first, last)
    assert openai_usage(found) == Usage(input_tokens=10, output_tokens=7, cached_tokens=4)
    assert found["service"] == "y"
    assert larger(None, first) is first
    assert larger(first, None) is first
    assert larger(None, None) is None


OPENAI: list[tuple[dict[str, Any], Usage]] = [
    ({"prompt_tokens": "5", "completion_tokens": "2"}, Usage(input_tokens=5, output_tokens=2)),
    ({"input_tokens": 5, "output_tokens": 2}, Usage(input_tokens=5, output_tokens=2)),
    ({"total_tokens": 7, "prompt_tokens": 5}, Usage(input_tokens=5, output_tokens=2)),
    ({"total_tokens": 7, "completion_tokens": 2}, Usage(input_tokens=5, output_tokens=2)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5},
     Usage(input_tokens=9, output_tokens=2, cached_tokens=4)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11, "cached_tokens": 4},
     Usage(input_tokens=9, output_tokens=2, cached_tokens=4)),
    ({"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3},
     Usage(input_tokens=9, output_tokens=2, cached_tokens=4, cache_write_tokens=3)),
    ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 400}},
     Usage(input_tokens=3, output_tokens=2, cached_tokens=3)),
    ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": [], "completion_tokens_details": {"reasoning_tokens": None}},
     Usage(input_tokens=3, output_tokens=2)),
]  # fmt: skip


@pytest.mark.parametrize(("told", "usage"), OPENAI, ids=range(len(OPENAI)))
def test_compatible_servers_count_under_other_names(told, usage):
    """What is cached is never more than what was sent."""
    assert openai_usage(told) == usage


def test_what_is_kept_for_an_hour_is_told_apart():
    """It has a price of its own."""
    told = {"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30, "cache_read_input_tokens": 4,
            "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}}  # fmt: skip
    assert anthropic_usage(told) == Usage(
        input_tokens=35, output_tokens=2, cached_tokens=4, cache_write_tokens=30, cache_write_1h_tokens=20
    )
    assert google_usage({"promptTokenCount": "5", "candidatesTokenCount": None, "thoughtsTokenCount": 3}) == Usage(
        input_tokens=5, output_tokens=3, reasoning_tokens=3
    )


def test_what_was_not_counted_is_estimated():
    """All of it, or what is missing; a count that is there is never replaced."""
    whole = counted(None, REQUEST, SAID, target="openai:m")
    assert whole.estimated
    assert 5 < whole.input_tokens < 20
    assert 5 < whole.output_tokens < 20
    assert counted(Usage(input_tokens=5), REQUEST, SAID, target="t") == Usage(
        input_tokens=5, output_tokens=counted(None, REQUEST, SAID, target="t").output_tokens, estimated=True
    )
    assert counted(Usage(output_tokens=5), REQUEST, SAID, target="openai:m").output_tokens == 5
    both = Usage(input_tokens=5, output_tokens=6)
    assert counted(both, REQUEST, SAID, target="t") is both
    nothing_said = Usage(input_tokens=5)
    assert counted(nothing_said, REQUEST, "", target="t") is nothing_said
    reply = ChatReply(text=SAID, usage=both)
    assert with_usage(reply, REQUEST) is reply


def test_the_end_of_a_stream_is_counted():
    """From what all its deltas said; a count that came earlier holds."""
    end = EndOfStream(REQUEST, "openai:m")
    last, before = Delta(finish_reason="stop"), [Delta(text=SAID[:20]), Delta(text=SAID[20:], reasoning="hm")]
    assert end(last, before, None).usage == counted(None, REQUEST, "hm" + SAID, target="openai:m")
    assert end(last, before, Usage(input_tokens=3, output_tokens=4)) is last
    assert end(last, before, Usage(input_tokens=3)).usage.input_tokens == 3
    told = Delta(finish_reason="stop", usage=Usage(input_tokens=3, output_tokens=4))
    assert end(told, before, None) is told


USAGES: list[Any] = [None, {}, [], {"prompt_tokens": None}, {"prompt_tokens": 0, "completion_tokens": 0}, "none"]


def answers(usage: Any) -> tuple[bytes, bytes]:
    """The same answer, whole and as a stream."""
    body = {"choices": [{"index": 0, "message": {"content": SAID}, "finish_reason": "stop"}], "usage": usage}
    events = [
        {"choices": [{"index": 0, "delta": {"content": SAID}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    sent = [json.dumps(body).encode(), b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in events) + b"data: [DONE]\n\n"]
    kinds = ["application/json", "text/event-stream"]
    whole, stream = (
        f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(one)}\r\n\r\n".encode() + one
        for kind, one in zip(kinds, sent, strict=True)
    )
    return whole, stream


@pytest.mark.parametrize("usage", USAGES, ids=map(str, USAGES))
async def test_reply_frameworks_budget_and_ledger_say_the_same(tmp_path, usage):
    """A call without a count is neither free nor known: everywhere the same estimate, flagged."""
    from langchain_surefoot import ChatSurefoot
    from llama_index.llms.surefoot import Surefoot

    ledger = Ledger(tmp_path / "u.db")
    whole, stream = answers(usage)
    async with serving(whole, stream, whole, stream, whole) as server:
        target = Target("openai:gpt-5-mini", base_url=server.url, api_key="k", input_usd_per_mtok=1000.0, output_usd_per_mtok=1000.0)
        async with ChatModel(target, policy=Policy(budget_usd=5.0, attempts=1), ledger=ledger) as chat:
            reply = await chat.ainvoke("How much is the fish?")
            async with chat.astream("How much is the fish?") as reading:
                deltas = [delta async for delta in reading]
            message = await ChatSurefoot(chat=chat).ainvoke("How much is the fish?")
            chunks = [chunk async for chunk in ChatSurefoot(chat=chat).astream("How much is the fish?")]
            answer = await Surefoot(chat=chat).acomplete("How much is the fish?")
    assert reply.usage.estimated
    assert min(reply.usage.input_tokens, reply.usage.output_tokens) > 5
    assert reading.reply.usage == deltas[-1].usage == reply.usage
    assert message.usage_metadata["total_tokens"] == reply.usage.total_tokens
    assert message.response_metadata["usage_estimated"]
    assert sum((chunk.usage_metadata or {}).get("total_tokens", 0) for chunk in chunks) == reply.usage.total_tokens
    assert answer.raw["usage"]["estimated"]
    assert reply.cost_usd == pytest.approx(reply.usage.total_tokens / 1000)
    ledger.flush()
    row = ledger.sums(by=())[0]
    ledger.close()
    assert (row.input_tokens, row.output_tokens, row.estimated) == (5 * reply.usage.input_tokens, 5 * reply.usage.output_tokens, 5)
    assert row.cost_usd == pytest.approx(5 * reply.cost_usd)


async def test_vectors_without_a_count_are_estimated():
    """Many servers of embeddings count nothing."""
    body = json.dumps({"data": [{"embedding": [1.0, 0.0]}], "usage": []}).encode()
    sent = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    async with serving(sent) as server:
        embed = EmbedModel(Target("openai:m", base_url=server.url, api_key="k"))
        reply = await embed.areply(["How much is the fish?"])
        await embed.aclose()
    assert reply.usage.estimated
    assert reply.usage.input_tokens > 3
