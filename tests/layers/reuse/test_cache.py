"""Answers given twice: which may be, which must not, and what a hit looks like."""

from __future__ import annotations

import asyncio
import gc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.cache.keys import digest
from surefoot.core.deltas import from_deltas, to_deltas
from surefoot.core.stack import stack
from surefoot.core.stream import Stream
from surefoot.errors import BadRequest, CircuitOpen, ContentRefused, Exhausted, Interrupted, Overloaded
from surefoot.events import CacheHit, CacheMiss
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.reuse.cache import Cache, is_whole
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.trace import Trace
from surefoot.storage.memory import MemoryStore
from surefoot.testing import Scripted, make_call
from surefoot.types import ChatReply, ChatRequest, Delta, Message, Opaque, Reasoning, Schema, Text, Tool, ToolCall, Usage
from tests.layers.helping import Heard, Plain, fails, now, read

pytestmark = pytest.mark.looptime


def cached(provider, store=None, **settings):
    """`provider` behind trace, cache and attempt; the cache's clock is the loop's, so that time is virtual."""
    return stack(
        provider, Trace(), Cache(MemoryStore() if store is None else store, clock=now, **settings), Attempt(target="scripted:model")
    )


@pytest.mark.parametrize("make", [MemoryStore, Plain])
async def test_the_second_identical_call_is_free(make):
    """Cached, no attempt, no cost, and the answer is the same in every other field."""
    provider, heard = Scripted("one two", "other"), Heard()
    ask = cached(provider, make())
    first = await ask(make_call(listeners=(heard,)))
    await asyncio.sleep(0)
    second = await ask(make_call(listeners=(heard,)))
    assert (provider.calls, second.cached, second.attempts, second.cost_usd, second.trail) == (1, True, 0, 0.0, ())
    assert not first.cached
    for field in ("text", "finish_reason", "usage", "model", "target", "request_id", "tool_calls"):
        assert getattr(second, field) == getattr(first, field)
    assert [type(event).__name__ for event in heard if isinstance(event, CacheHit | CacheMiss)] == ["CacheMiss", "CacheHit"]
    assert heard[-1].cached


@pytest.mark.parametrize("make", [MemoryStore, Plain])
async def test_a_stream_is_kept_whole_and_comes_back_as_a_stream(make):
    """And each shape answers the other: what was streamed serves a plain call."""
    provider = Scripted("one two three")
    ask = cached(provider, make())
    call = make_call(stream=True)
    assert await read(ask, call) == "one two three"
    await asyncio.sleep(0)
    call = make_call(stream=True)
    stream = await ask(call)
    assert isinstance(stream, Stream)
    deltas = [delta async for delta in stream]
    assert "".join(delta.text for delta in deltas) == "one two three"
    assert (deltas[-1].finish_reason, deltas[-1].usage) == ("stop", Usage(input_tokens=10, output_tokens=5))
    kept = call.state.reply
    assert (kept.cached, kept.attempts, kept.cost_usd) == (True, 0, 0.0)
    assert (await ask(make_call())).text == "one two three"
    assert provider.calls == 1


texts = st.text(alphabet="abç €\n", max_size=12)
tool_calls = st.builds(ToolCall, id=texts, name=texts, arguments=st.sampled_from(['{"a":1}', "{}"]), signature=texts)


@given(
    st.builds(
        ChatReply,
        text=texts,
        reasoning=texts,
        signature=texts,
        tool_calls=st.lists(tool_calls, max_size=3).map(tuple),
        finish_reason=st.sampled_from(["stop", "tool_calls"]),
        usage=st.builds(Usage, input_tokens=st.integers(0, 99), output_tokens=st.integers(0, 99), reasoning_tokens=st.integers(0, 9)),
        model=texts,
        target=st.just("a:m"),
        request_id=texts,
    )
)
def test_a_replayed_stream_loses_no_field(reply):
    """Folding the replay gives the answer that was kept; so does its way through bytes."""
    assert from_deltas(to_deltas(reply), target="a:m") == reply
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(reply), type=ChatReply) == reply


NOT_WHOLE = {
    "cut at its token limit": ChatReply(text="half an ans", finish_reason="length"),
    "filtered": ChatReply(text="I", finish_reason="content_filter"),
    "refused": ChatReply(text="I cannot help with that", finish_reason="refusal"),
    "unknown ending": ChatReply(text="hm", finish_reason="other"),
    "broken tool call": ChatReply(finish_reason="malformed_tool_call"),
    "invalid arguments": ChatReply(finish_reason="tool_calls", tool_calls=(ToolCall(id="1", name="f", arguments="{", error="no JSON"),)),
    "empty": ChatReply(text=""),
    "blank": ChatReply(text=" \n"),
}


@pytest.mark.parametrize("what", NOT_WHOLE)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_not_whole_is_never_kept(what, stream):
    """An answer that is no answer must not be repeated for a day."""
    provider, store = Scripted(NOT_WHOLE[what]), MemoryStore()
    ask = cached(provider, store)
    for _ in range(2):
        await read(ask, make_call(stream=stream))
    assert (provider.calls, len(store)) == (2, 0)
    assert not is_whole(NOT_WHOLE[what])


async def test_a_stream_left_early_broken_or_resumed_is_never_kept():
    """Only who saw the terminal marker knows that the answer is whole."""
    store = MemoryStore()
    provider = Scripted(["one ", "two"], ["Hel", Overloaded("reset")], ["a", Delta(marker="resumed"), "b"])
    ask = cached(provider, store)
    stream = await ask(make_call(stream=True))
    await stream.__anext__()
    await stream.aclose()
    with pytest.raises(Interrupted):
        await read(ask, make_call(stream=True))
    await read(ask, make_call(stream=True))
    assert (provider.calls, len(store)) == (3, 0)


async def test_a_stream_left_after_its_terminal_marker_is_whole():
    """Nobody reads on after the last word; what they have is complete."""
    provider = Scripted("one two")
    ask = cached(provider)
    stream = await ask(make_call(stream=True))
    while (await stream.__anext__()).finish_reason is None:
        pass
    await stream.aclose()
    assert (await ask(make_call())).cached


async def test_failures_are_never_kept():
    """The next call may succeed."""
    provider = Scripted(BadRequest("no such field"), Overloaded("busy"), "fine")
    ask = cached(provider)
    await fails(ask, BadRequest)
    await fails(ask, Overloaded)
    assert (await ask(make_call())).text == "fine"


@pytest.mark.parametrize(
    ("sampled", "temperature", "hits"),
    [(None, None, 1), (None, 0, 1), (None, 0.7, 0), (True, 0.7, 1), (False, None, 0), (False, 0, 1)],
)
async def test_sampled_answers_are_kept_only_when_asked_for(sampled, temperature, hits):
    """Two calls at temperature 0.7 want two answers; `cache=` counts as asking where no temperature is given."""
    provider = Scripted("one")
    ask = cached(provider, sampled=sampled)
    request = ChatRequest(messages=(Message.user("hi"),), temperature=temperature)
    replies = [await ask(make_call(request)) for _ in range(2)]
    assert [reply.cached for reply in replies] == [False, bool(hits)]


async def test_a_temperature_in_the_extras_counts():
    """It is sent like any other."""
    provider = Scripted("one")
    ask = cached(provider)
    request = ChatRequest(messages=(Message.user("hi"),), extra='{"temperature":0.9}')
    for _ in range(2):
        await ask(make_call(request))
    assert provider.calls == 2


async def test_an_answer_is_fresh_for_its_time_less_a_jitter_drawn_from_its_key():
    """What was filled together does not empty together, and every process agrees when."""
    cache = Cache(MemoryStore(), ttl_s=100)
    fresh = {cache._fresh_s(f"c:{i:040x}") for i in range(0, 2**32, 2**28)}
    assert 90 <= min(fresh) < 91
    assert 99 < max(fresh) <= 100
    provider = Scripted("one", "two")
    ask = cached(provider, ttl_s=100)
    await ask(make_call())
    await asyncio.sleep(89)
    assert (await ask(make_call())).text == "one"
    await asyncio.sleep(12)
    assert (await ask(make_call())).text == "two"


async def test_a_stale_answer_is_served_while_one_call_refreshes_it():
    """Nobody waits for what he can have now, and a crowd sends one."""
    provider, heard = Scripted("old", "new", latency_s=1), Heard()
    ask = cached(provider, ttl_s=100, stale_s=100)
    await ask(make_call())
    await asyncio.sleep(120)
    begun = now()
    texts = [(await ask(make_call(listeners=(heard,)))).text for _ in range(10)]
    assert (texts, now() - begun) == (["old"] * 10, 0)
    assert all(hit.stale for hit in heard.of(CacheHit))
    await asyncio.sleep(2)
    assert ((await ask(make_call())).text, provider.calls) == ("new", 2)


async def test_a_stale_answer_outlives_an_outage_and_then_ends():
    """stale_s is how long."""
    provider = Scripted("old", Overloaded("down"))
    ask = cached(provider, ttl_s=100, stale_s=100)
    await ask(make_call())
    await asyncio.sleep(150)
    assert (await ask(make_call())).text == "old"
    await asyncio.sleep(60)
    await fails(ask, Overloaded)


def two_targets(a, b, store, **settings):
    inner = Fallback(handlers=(stack(a, Attempt(target="a:m")), stack(b, Attempt(target="b:m"))), names=("a:m", "b:m"))
    return stack(inner, Trace(), Cache(store, names=("a:m", "b:m"), clock=now, **settings))


async def test_a_fallbacks_answer_never_stands_in_for_the_primary_except_for_an_error():
    """The primary is asked again as soon as it may answer; only when nobody can, the fallback's old answer is better than none."""
    a = Scripted(Overloaded("busy"), Overloaded("busy"), Overloaded("busy"), "from a", name="a:m")
    b = Scripted("from b", Overloaded("busy"), name="b:m")
    ask, heard = two_targets(a, b, MemoryStore()), Heard()
    assert (await ask(make_call())).target == "b:m"
    again = await ask(make_call(listeners=(heard,)))
    assert (again.text, again.cached, a.calls, b.calls) == ("from b", True, 2, 2)
    assert [hit.stale for hit in heard.of(CacheHit)] == [True]
    await ask(make_call())
    fresh = await ask(make_call())
    assert (fresh.text, fresh.cached) == ("from a", False)
    assert (await ask(make_call())).text == "from a"
    assert a.calls == 4


async def test_a_wrong_question_is_not_answered_from_the_cache():
    """A 400 or a refusal is an answer to this call; an old one would hide it."""
    for error, told in ((BadRequest("no such field"), BadRequest), (ContentRefused("no"), Exhausted)):
        a, b = Scripted(Overloaded("busy"), error, name="a:m"), Scripted("from b", error, name="b:m")
        ask = two_targets(a, b, MemoryStore(), stale_s=100)
        await ask(make_call())
        await fails(ask, told)


async def test_a_refusal_of_ours_is_helped_by_an_old_answer():
    """An open circuit spends nothing; neither does the cache."""
    a, b = Scripted(Overloaded("busy"), CircuitOpen("a"), name="a:m"), Scripted("from b", CircuitOpen("b"), name="b:m")
    ask = two_targets(a, b, MemoryStore())
    await ask(make_call())
    assert (await ask(make_call())).text == "from b"


async def test_equals_are_primaries_all():
    """Two targets that share the load answer for each other."""
    a, b = Scripted(Overloaded("busy"), "from a", name="a:m"), Scripted("from b", name="b:m")
    ask = two_targets(a, b, MemoryStore(), equals=2)
    await ask(make_call())
    assert (await ask(make_call())).text == "from b"
    assert (a.calls, b.calls) == (1, 1)


async def test_tenants_never_share():
    """Not even that somebody else has asked."""
    provider = Scripted("for acme", "for bolt")
    ask = cached(provider)
    for tenant, text in (("acme", "for acme"), ("bolt", "for bolt"), ("acme", "for acme")):
        assert (await ask(make_call(tenant=tenant))).text == text
    assert provider.calls == 2


@given(st.text(), st.text(), st.text(), st.text())
def test_keys_of_tenants_and_targets_never_meet(tenant, other, scope, another):
    """Prefix-free: no two pairs of words make the same key."""
    one, two = Cache(MemoryStore(), names=("m",), identities=(scope,)), Cache(MemoryStore(), names=("m",), identities=(another,))
    assert (one._prefixes_of(tenant) == two._prefixes_of(other)) == ((tenant, scope) == (other, another))


REQUEST = ChatRequest(
    messages=(Message.system("Be brief."), Message.user("hi")),
    tools=(Tool.of("f", "does", {"type": "object", "properties": {"a": {"type": "string"}, "b": {}}}),),
    schema=Schema.of("s", {"type": "object", "title": "t"}),
    extra='{"x":1,"y":2}',
)
CHANGES = {
    "messages": [
        (Message.user([Opaque(vendor="openai", kind="k", data="1")]),),
        (Message.user([Opaque(vendor="openai/h", kind="k", data="1")]),),
        (Message.user([Text("hi", '{"cache_control":{}}', "anthropic")]),),
        (Message.user([Reasoning(text="hi", kind="reasoning", vendor="openai/h")]),),
        (Message.assistant(tool_calls=[ToolCall(id="1", name="f", extra="{}")]),),
        (Message.assistant(tool_calls=[ToolCall(id="1", name="f", after=0)]),),
        REQUEST.messages[:1],
        (*REQUEST.messages, Message.assistant("x")),
        REQUEST.messages[::-1],
    ],
    "temperature": [0.0, 1.0],
    "top_p": [0.5],
    "max_tokens": [5],
    "stop": [("a",), ("a", "b"), ("b", "a")],
    "seed": [1],
    "reasoning_effort": ["low"],
    "tools": [
        (),
        (msgspec.structs.replace(REQUEST.tools[0], description="other"),),
        (msgspec.structs.replace(REQUEST.tools[0], strict=True),),
        (msgspec.structs.replace(REQUEST.tools[0], vendor="openai", raw='{"type":"web_search"}'),),
        (msgspec.structs.replace(REQUEST.tools[0], vendor="openai", raw='{"type":"file_search"}'),),
    ],
    "tool_choice": ["auto", "none"],
    "parallel_tool_calls": [True, False],
    "schema": [None, Schema.of("s", {"type": "object", "title": "u"})],
    "model": ["other"],
    "extra": ["", '{"x":2,"y":2}'],
}


def test_every_field_of_a_request_is_in_its_key():
    """A field added later and forgotten here fails this test, not a user."""
    assert {*CHANGES, "prompt_cache"} == set(ChatRequest.__struct_fields__)
    keys = [
        digest(REQUEST),
        *(digest(msgspec.structs.replace(REQUEST, **{name: value})) for name, many in CHANGES.items() for value in many),
    ]
    assert len(set(keys)) == len(keys)
    for part, names in PARTS.items():
        assert part.__struct_fields__ == names


PARTS = {
    Message: ("role", "content", "name", "tool_calls", "tool_call_id", "is_error", "cache"),
    Tool: ("name", "description", "parameters", "strict", "vendor", "raw"),
    Schema: ("name", "schema", "strict"),
    ToolCall: ("id", "name", "arguments", "error", "signature", "extra", "vendor", "after"),
    Reasoning: ("text", "signature", "kind", "vendor"),
    Text: ("text", "extra", "vendor"),
    Opaque: ("vendor", "kind", "data"),
}
FIELDS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in CHANGES.items()})


@given(FIELDS, FIELDS)
def test_different_requests_have_different_keys_and_equal_ones_equal(one, other):
    """Any semantic difference counts, and only that."""
    first, second = msgspec.structs.replace(REQUEST, **one), msgspec.structs.replace(REQUEST, **other)
    assert (digest(first) == digest(second)) == (first == second)


json_values = st.recursive(
    st.integers() | st.text(max_size=3), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4), max_leaves=9
)


@given(st.dictionaries(st.text(min_size=1, max_size=4), json_values, max_size=5), st.randoms())
def test_the_order_of_arguments_never_matters(schema, random):
    """Keys of schemas, of tool parameters and of extras, at any depth."""

    def shuffled(value):
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    def ask(value):
        return ChatRequest(
            messages=REQUEST.messages,
            tools=(Tool.of("f", "", value),),
            schema=Schema.of("s", value),
            extra=msgspec.json.encode(value).decode(),
        )

    assert digest(ask(schema)) == digest(ask(shuffled(schema)))


@pytest.mark.parametrize(
    "poison",
    [b"", b"garbage", b"\x80\x04cos\nsystem\n(S'false'\ntR.", b'{"lc": 1, "type": "constructor", "id": ["os", "system"]}', "text", 7, None],
)
async def test_a_poisoned_row_is_a_miss_and_an_event_and_never_code(poison):
    """Whoever can write the store can at most make us ask again; the row is removed."""
    store, heard = Plain(), Heard()
    provider = Scripted("right", "right again")
    ask = cached(provider, store)
    await ask(make_call())
    await asyncio.sleep(0)
    (key,) = store.rows
    good = store.rows[key]
    rows = [poison, good[:-1], good[:20] + bytes([good[20] ^ 1]) + good[21:]]
    for row in rows:
        store.rows[key] = row
        heard.clear()
        reply = await ask(make_call(listeners=(heard,)))
        assert not reply.cached
        assert [miss.why for miss in heard.of(CacheMiss)] == ["absent" if row is None else "corrupt"]
        await asyncio.sleep(0)


async def test_another_keys_row_is_a_miss():
    """A row copied from one tenant to another does not open."""
    store, provider = Plain(), Scripted("for acme", "for bolt")
    ask = cached(provider, store)
    for tenant in ("acme", "bolt"):
        await ask(make_call(tenant=tenant))
    await asyncio.sleep(0)
    one, two = store.rows
    store.rows[one], store.rows[two] = store.rows[two], store.rows[one]
    assert not (await ask(make_call(tenant="acme"))).cached


async def test_a_store_that_fails_never_fails_a_call():
    """The cache is a convenience; the call is the point."""

    class Broken(Plain):
        async def set(self, key, value, *, ttl_s=None):
            raise OSError("disk full")

    provider = Scripted("one", "two")
    ask = cached(provider, Broken())
    assert [(await ask(make_call())).text for _ in range(2)] == ["one", "two"]


async def test_a_hit_spends_no_attempt_and_meets_no_room_inside():
    """A free answer is never refused."""
    provider = Scripted("one", CircuitOpen("never asked"))
    ask = cached(provider)
    for _ in range(5):
        assert (await ask(make_call())).text == "one"
    assert provider.calls == 1


async def test_the_settings_are_described_without_secrets():
    """describe() is for logs."""
    assert Cache(MemoryStore(), ttl_s=60).describe() == "cache: memory, at most 256 MiB, fresh for 60 s"
    assert Cache(Plain(), ttl_s=60, stale_s=5).describe() == "cache: Plain, fresh for 60 s, stale for 5 s more"


async def test_kept_answers_are_nothing_to_the_garbage_collector():
    """100,000 of them would else be visited again and again, some 30 ms each time, by every full collection."""
    store = MemoryStore()
    ask = stack(Scripted("fine", times=3), Cache(store))
    for question in ("a", "b", "c"):
        await ask(make_call(question))
    gc.collect()
    for row in store._rows.values():
        assert not any(map(gc.is_tracked, (row, row.value, row.value.reply)))
