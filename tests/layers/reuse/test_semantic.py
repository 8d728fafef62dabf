"""The same question in other words: what hits, what must never, and what a hit looks like."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from surefoot.core.stack import stack
from surefoot.core.stream import Stream
from surefoot.errors import ContentRefused, Interrupted, Overloaded
from surefoot.events import CacheHit, CacheMiss
from surefoot.layers.reuse.cache import Cache
from surefoot.layers.reuse.semantic import Semantic
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.trace import Trace
from surefoot.rules.paraphrase import MAX_CHARS
from surefoot.storage.memory import MemoryStore
from surefoot.testing import Scripted, make_call
from surefoot.types import ChatReply, ChatRequest, Image, Message, Schema, Text, Tool, ToolCall
from tests.layers.helping import Heard, Plain, fails, now, read

pytestmark = pytest.mark.looptime

KNOWN = "How do I reset my Gmail password?"
ASKED = "please tell me how to reset my gmail password"
OTHER = "How do I reset my Yahoo password?"


class Alike:
    """Any two questions are `likeness` alike; counts how often it is asked."""

    def __init__(self, likeness=1.0, *, takes_s=0.0, error=None):
        self.likeness, self.takes_s, self.error = likeness, takes_s, error
        self.pairs = []

    async def __call__(self, call, one, other):
        self.pairs.append((one, other))
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.likeness


def asking(provider, alike=None, store=None, **settings):
    """`provider` behind trace, cache, semantic and attempt, in virtual time."""
    cache = Cache(MemoryStore() if store is None else store, clock=now, **settings)
    semantic = Semantic(cache, alike=alike or Alike(), threshold=0.9)
    return stack(provider, Trace(), cache, semantic, Attempt(target="scripted:model"))


def said(text, *, earlier=(), tenant="", stream=False, listeners=(), **fields):
    """A call whose last message is `text` (or is the message `text`)."""
    last = text if isinstance(text, Message) else Message.user(text)
    call = make_call(ChatRequest(messages=(*earlier, last), **fields), stream=stream, listeners=listeners)
    return replace(call, tenant=tenant)


@pytest.mark.parametrize("make", [MemoryStore, Plain])
async def test_the_same_question_in_other_words_is_free(make):
    """Marked as cached, with an event that says how alike the two are and nothing of what they say."""
    provider, heard, alike = Scripted("one", "two"), Heard(), Alike(0.93)
    ask = asking(provider, alike, make())
    first = await ask(said(KNOWN))
    await asyncio.sleep(0)
    second = await ask(said(ASKED, listeners=(heard,)))
    assert (first.text, second.text, provider.calls) == ("one", "one", 1)
    assert (second.cached, second.attempts, second.cost_usd) == (True, 0, 0.0)
    (hit,) = heard.of(CacheHit)
    assert (hit.semantic, hit.similarity, hit.stale) == (True, 0.93, False)
    assert "gmail" not in repr(heard).lower()
    assert alike.pairs == [(KNOWN, ASKED)]
    again = await ask(said(KNOWN, listeners=(heard,)))
    assert again.cached
    assert [hit.semantic for hit in heard.of(CacheHit)] == [True, False]


async def test_the_rule_and_the_vectors_must_agree():
    """A list of rewritings may have a hole, and vectors cannot tell a reversal: neither is trusted alone."""
    provider, alike = Scripted("one", "two", "three"), Alike(1.0)
    ask = asking(provider, alike)
    assert await read(ask, said(KNOWN)) == "one"
    assert await read(ask, said(OTHER)) == "two"
    assert alike.pairs == []  # what the rule calls another question is not even compared
    alike.likeness = 0.89
    heard = Heard()
    assert await read(ask, said(ASKED, listeners=(heard,))) == "three"
    assert [miss.why for miss in heard.of(CacheMiss)] == ["absent", "unlike"]


@pytest.mark.parametrize("likeness", [float("nan"), float("-inf"), -1.0])
async def test_a_likeness_that_is_no_number_is_a_miss(likeness):
    """A broken embedding must not lead to a wrong hit."""
    provider = Scripted("one", "two")
    ask = asking(provider, Alike(likeness))
    await read(ask, said(KNOWN))
    assert await read(ask, said(ASKED)) == "two"


@pytest.mark.parametrize("alike", [Alike(error=Overloaded("busy")), Alike(takes_s=5.0)], ids=["fails", "slow"])
async def test_an_embedding_model_in_trouble_makes_a_miss(alike):
    """Comparing is a convenience; the call goes on, at the latest after a second."""
    provider, heard = Scripted("one", "two"), Heard()
    ask = asking(provider, alike)
    await read(ask, said(KNOWN))
    start = now()
    assert await read(ask, said(ASKED, listeners=(heard,))) == "two"
    assert now() - start <= 1.01
    assert [miss.why for miss in heard.of(CacheMiss)] == ["absent", "not compared"]


async def test_comparing_ends_with_the_calls_own_deadline():
    """What is left of the call's time is not spent on looking it up."""
    provider = Scripted("one", "two")
    ask = asking(provider, Alike(takes_s=5.0))
    await read(ask, said(KNOWN))
    start = now()
    await read(ask, replace(said(ASKED), deadline=start + 0.25))
    assert now() - start == pytest.approx(0.25)


TOOL = Tool(name="lookup")
BEFORE = (Message.system("Be brief."), Message.user("Hello"), Message.assistant("Hi"))
FIELDS = {
    "tenant": {"tenant": "b"},
    "system prompt": {"earlier": (Message.system("Be long."), *BEFORE[1:])},
    "an earlier question": {"earlier": (BEFORE[0], Message.user("Hey"), BEFORE[2])},
    "an earlier answer": {"earlier": (*BEFORE[:2], Message.assistant("Ho"))},
    "no earlier turn": {"earlier": ()},
    "tools": {"tools": (TOOL,)},
    "tool choice": {"tools": (TOOL,), "tool_choice": "none"},
    "model": {"model": "other"},
    "temperature": {"temperature": 0},
    "top_p": {"top_p": 0.5},
    "max_tokens": {"max_tokens": 5},
    "stop": {"stop": ("x",)},
    "seed": {"seed": 7},
    "reasoning": {"reasoning_effort": "high"},
    "schema": {"schema": Schema()},
    "extra": {"extra": '{"a":1}'},
}


@pytest.mark.parametrize("field", FIELDS)
async def test_everything_but_the_last_question_must_be_equal(field):
    """Another tenant, instruction, turn, tool or setting is another conversation."""
    provider = Scripted("one", "two")
    ask = asking(provider)
    plain = {"tenant": "a", "earlier": BEFORE}
    assert await read(ask, said(KNOWN, **plain)) == "one"
    assert await read(ask, said(ASKED, **plain)) == "one"
    assert await read(ask, said(ASKED, **plain | FIELDS[field])) == "two"


async def test_every_field_of_a_request_was_tried():
    """A field added to requests later belongs in the list above."""
    tried = {"messages"} | {name for change in FIELDS.values() for name in change if name not in {"tenant", "earlier"}}
    assert set(ChatRequest.__struct_fields__) - tried == {"parallel_tool_calls", "prompt_cache"}
    provider = Scripted("one", "two")
    ask = asking(provider)
    await read(ask, said(KNOWN))
    assert await read(ask, said(ASKED, prompt_cache="1h")) == "one"  # what the vendor keeps of the prompt, which no answer shows
    assert await read(ask, said(ASKED, parallel_tool_calls=True)) == "two"


CALL = ToolCall(id="1", name="lookup")
PICTURE = Image(data=b"x", media_type="image/png")
NOT_FOR_WORDS_ALONE = {
    "a picture": lambda text: said(Message.user([text, PICTURE])),
    "an earlier picture": lambda text: said(text, earlier=(Message.user(["see", PICTURE]), Message.assistant("I see"))),
    "tool calls before": lambda text: said(
        text, earlier=(Message.user("a"), Message.assistant(tool_calls=(CALL,)), Message.tool("b", tool_call_id="1"))
    ),
    "a tool's result": lambda text: said(Message.tool(text, tool_call_id="1"), earlier=(Message.user("a"), Message.assistant("b"))),
    "temperature above 0": lambda text: said(text, temperature=0.7),
    "temperature in extra": lambda text: said(text, extra='{"temperature":1}'),
    "a long text": lambda text: said(text + " In other words:" + " x" * MAX_CHARS),
    "several parts": lambda text: said(Message.user([Text(text), Text(" now")])),
}


@pytest.mark.parametrize("why", NOT_FOR_WORDS_ALONE)
async def test_what_depends_on_more_than_words_is_asked_every_time(why):
    """Two pictures with one question are two questions."""
    provider, alike = Scripted("one", "two"), Alike()
    ask, make = asking(provider, alike), NOT_FOR_WORDS_ALONE[why]
    assert await read(ask, make(KNOWN)) == "one"
    assert await read(ask, make(ASKED)) == "two"
    assert alike.pairs == []


async def test_sampled_answers_are_shared_where_that_is_asked_for():
    """As the exact cache decides."""
    provider = Scripted("one", "two")
    ask = asking(provider, sampled=True)
    await read(ask, said(KNOWN, temperature=0.7))
    assert await read(ask, said(ASKED, temperature=0.7)) == "one"


NOT_WHOLE = [
    ChatReply(text="cut", finish_reason="length"),
    ChatReply(text="no", finish_reason="refusal"),
    ChatReply(text="no", finish_reason="content_filter"),
    ChatReply(text=" "),
    ChatReply(text="I call", tool_calls=(CALL,), finish_reason="tool_calls"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("reply", NOT_WHOLE, ids=lambda reply: f"{reply.finish_reason}-{reply.text.strip()}")
async def test_only_whole_answers_are_given_to_another_wording(reply, stream):
    """Cut, refused, empty, or a tool call, which acts."""
    provider = Scripted(reply, "fine")
    ask = asking(provider)
    await read(ask, said(KNOWN, stream=stream))
    assert await read(ask, said(ASKED, stream=stream)) == "fine"


async def test_a_failure_is_not_given_to_another_wording():
    """Errors are nobody's answer."""
    provider = Scripted(ContentRefused("no"), "fine")
    ask = asking(provider)
    await fails(ask, ContentRefused, call=said(KNOWN))
    assert await read(ask, said(ASKED)) == "fine"


async def test_a_stream_is_replayed_as_a_stream_and_serves_plain_calls():
    """Deltas, the end, and the mark of a cached answer; also from plain to stream."""
    provider = Scripted("one two three", "other")
    ask = asking(provider)
    assert await read(ask, said(KNOWN, stream=True)) == "one two three"
    call = said(ASKED, stream=True)
    stream = await ask(call)
    assert isinstance(stream, Stream)
    deltas = [delta async for delta in stream]
    assert "".join(delta.text for delta in deltas) == "one two three"
    assert deltas[-1].finish_reason == "stop"
    assert call.state.reply.cached
    assert (await ask(said(ASKED))).cached
    assert provider.calls == 1


async def test_a_broken_or_abandoned_stream_is_not_remembered():
    """Only what its reader has seen the end of."""
    provider = Scripted(["Hel", Interrupted("reset", partial=None)], ["a", "b"], "fine")
    ask = asking(provider)
    with pytest.raises(Interrupted):
        await read(ask, said(KNOWN, stream=True))
    stream = await ask(said(KNOWN, stream=True))
    await stream.aclose()
    assert await read(ask, said(ASKED)) == "fine"


async def test_an_answer_too_old_for_the_same_words_is_too_old_for_others():
    """One time-to-live: the answer is fetched from the exact cache."""
    provider = Scripted("one", "two")
    ask = asking(provider, ttl_s=100)
    await read(ask, said(KNOWN))
    await asyncio.sleep(80)
    assert await read(ask, said(ASKED)) == "one"
    await asyncio.sleep(25)
    assert await read(ask, said(ASKED)) == "two"


async def test_an_answer_is_not_kept_young_by_other_wordings():
    """A replayed stream is no new answer: else wording after wording would carry it on for ever."""
    provider = Scripted("one", "two")
    ask = asking(provider, ttl_s=100)
    await read(ask, said(KNOWN))
    await asyncio.sleep(80)
    assert await read(ask, said(ASKED, stream=True)) == "one"
    await asyncio.sleep(25)
    assert await read(ask, said(ASKED)) == "two"


async def test_a_stale_answer_is_renewed_by_asking():
    """Another wording's answer would leave it stale for ever."""
    provider = Scripted("one", "two", "three")
    ask = asking(provider, ttl_s=100, stale_s=1000)
    await read(ask, said(KNOWN))
    await asyncio.sleep(150)
    assert await read(ask, said(ASKED)) == "two"
    assert await read(ask, said(KNOWN)) == "one"
    await asyncio.sleep(1)
    assert provider.calls == 3
    assert await read(ask, said(KNOWN)) == "three"


@given(rows=st.binary(max_size=80))
async def test_a_torn_or_foreign_row_is_a_miss_and_goes(rows):
    """The store may hold anything."""
    store, provider = Plain(), Scripted("one", "two")
    ask = asking(provider, store=store)
    await read(ask, said(KNOWN))
    await asyncio.sleep(0)
    store.rows = {key: (rows if key.startswith("s") else value) for key, value in store.rows.items()}
    assert await read(ask, said(ASKED)) == "two"


async def test_memory_is_the_stores_own_bound():
    """A tenant with a million questions evicts the oldest: there is no index beside the store."""
    store = MemoryStore(max_bytes=20_000)
    ask = asking(Scripted("fine"), store=store)
    for number in range(500):
        await read(ask, said(f"How do I open door {number}?"))
    provider_calls = ask.provider.calls
    await read(ask, said("how to open door 499"))
    assert ask.provider.calls == provider_calls
    await read(ask, said("how to open door 0"))
    assert ask.provider.calls == provider_calls + 1


WORDS = st.sampled_from([KNOWN, ASKED, OTHER, "how to reset my Yahoo password", "How do I not reset my Gmail password?"])


@given(asked=st.lists(st.tuples(WORDS, st.sampled_from(["", "a", "b"]), st.booleans()), max_size=12))
async def test_whoever_asks_gets_an_answer_to_this_question_of_this_tenant(asked):
    """Whatever was asked before, in any order: the provider answers with what it was asked, so a wrong hit shows."""
    provider = Scripted(
        lambda call: f"{'Yahoo' in call.request.messages[-1].text} {' not ' in call.request.messages[-1].text} {call.tenant}"
    )
    ask = asking(provider)
    for text, tenant, stream in asked:
        assert await read(ask, said(text, tenant=tenant, stream=stream)) == f"{'Yahoo' in text} {' not ' in text} {tenant}"
    assert provider.calls == len({("Yahoo" in text, " not " in text, tenant) for text, tenant, _ in asked})
