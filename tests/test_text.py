"""Text of any class becomes exactly `str` before an encoder meets it, and means the same as the plain text."""

from __future__ import annotations

import asyncio
import enum
import json
import tracemalloc

import msgspec
import numpy as np
import pytest

from surefoot import ChatModel, EmbedModel, Message, Policy, Schema, Target, Tool, scope
from surefoot.cache.keys import canonical_json, digest
from surefoot.errors import BadRequest
from surefoot.models.requests import chat_request, embed_request
from surefoot.providers.http.body import extra_of, fields, raw
from surefoot.secret import Secret
from surefoot.testing import Scripted
from surefoot.testing.wire import AnthropicSim, GeminiSim, OpenAISim
from surefoot.text import cached_if_short, clean, exact, json_text, plain, text_of
from surefoot.types import ChatReply, ChatRequest, EmbedReply, File, Image, Reasoning, Text, ToolCall
from surefoot.usage.bounds import _extra


class Loud(str):
    """A subclass as frameworks have them: it prints as something else, and no encoder knows it."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()

    def __format__(self, spec: str) -> str:
        return self.upper()


class Colour(enum.StrEnum):
    RED = "red"


class OlderColour(str, enum.Enum):  # noqa: UP042 - str() of it is "OlderColour.RED", which nobody means
    RED = "red"


KINDS = [Loud, np.str_, lambda text: enum.StrEnum("Member", {"IT": text}).IT, lambda text: OlderColour.RED if text == "red" else Loud(text)]


def built(kind):
    """Every record that holds text, all of it of `kind`."""
    call = ToolCall(id=kind("t1"), name=kind("f"), arguments=kind('{"a":1}'), signature=kind("s"))
    messages = (
        Message(role=kind("system"), content=kind("be brief")),
        Message.user(kind("günaydın"), name=kind("ada")),
        Message.user([kind("see"), Text(kind("this")), Image(url=kind("http://x/y.png"), detail=kind("low"))]),
        Message.user([File(data=b"%PDF", media_type=kind("application/pdf"), name=kind("a.pdf"))]),
        Message.assistant([Reasoning(text=kind("hm"), signature=kind("seal")), kind("so")], tool_calls=[call]),
        Message.tool(kind("done"), tool_call_id=kind("t1"), name=kind("f")),
        Message.user(kind("red")),
    )
    return chat_request(
        messages,
        {
            "stop": [kind("END")],
            "model": kind("m"),
            "tool_choice": kind("f"),
            "reasoning_effort": kind("low"),
            "tools": [Tool.of(kind("f"), kind("finds"), {kind("type"): kind("object"), "enum": [kind("red")]})],
            "schema": Schema.of(kind("answer"), {kind("type"): kind("object")}),
            "extra": {kind("user"): kind("ada"), "n": np.int64(3), "x": np.float32(0.5)},
        },
    )


def strings(value):
    """All text in a record, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from strings(getattr(value, name))
    elif isinstance(value, tuple):
        for one in value:
            yield from strings(one)


@pytest.mark.parametrize("kind", KINDS)
def test_no_record_holds_a_subclass(kind):
    """What the encoders see is exactly str, and the request equals the one built from plain text: one digest, one cache key."""
    request, same = built(kind), built(str)
    assert {type(text) for text in strings(request)} == {str}
    assert request == same
    assert digest(request) == digest(same)
    assert msgspec.json.encode(request) == msgspec.json.encode(same)


@pytest.mark.parametrize("field", ["model", "tool_choice", "reasoning_effort", "extra", "stop"])
def test_each_field_of_a_request_is_looked_at(field):
    """One subclass among plain text is enough for an encoder to fail."""
    value, same = ((Loud("x"),), ("x",)) if field == "stop" else (Loud("x"), "x")
    request = ChatRequest(messages=(Message.user("hi"),), **{field: value})
    assert {type(text) for text in strings(request)} == {str}
    assert request == ChatRequest(messages=(Message.user("hi"),), **{field: same})


@pytest.mark.parametrize("field", ["role", "content", "name", "tool_call_id"])
def test_each_field_of_a_message_is_looked_at(field):
    """As of a request."""
    message = Message(**{"role": "user", "content": "hi", field: Loud("user")})
    assert {type(text) for text in strings(message)} == {str}


def test_characters_count_not_what_a_class_prints():
    """str() of an older Enum's member is its name, of a proxy whatever it likes; the text is its characters."""
    assert [exact(one) for one in (Loud("a"), OlderColour.RED, Colour.RED, np.str_("a b"), "x")] == ["a", "red", "red", "a b", "x"]
    assert [text_of(one) for one in (Loud("a"), OlderColour.RED, "x", 5, None)] == ["a", "red", "x", "5", "None"]
    assert {type(clean(one)) for one in (Loud("a"), Loud("ş"), Loud("a\ud800"), OlderColour.RED)} == {str}
    assert clean(Loud("a\ud800")) == "a\ufffd"


def test_plain_text_is_not_copied():
    """The usual text costs one look at its class."""
    text = "günaydın " * 1000
    assert exact(text) is text
    assert clean(text) is text
    assert Message.user(text).content is text


def test_numbers_and_text_of_foreign_classes_become_json():
    """A data frame's values are text and numbers; anything else is no JSON."""
    assert json.loads(json_text({np.str_("k"): [np.int64(1), np.float64(0.5), Loud("v"), OlderColour.RED]})) == {"k": [1, 0.5, "v", "red"]}
    with pytest.raises(TypeError, match="type object"):
        json_text({"k": object()})
    with pytest.raises(TypeError, match="type object"):
        plain(object())


def test_surrogates_are_replaced_in_parts_and_arguments_too():
    """A lone surrogate in a part broke the digest, where the same text alone did not."""
    call = ToolCall(id="1", name="f", arguments='{"a":"\ud800"}')
    request = ChatRequest(messages=(Message(role="user", content=(Text("x\ud800"),)), Message.assistant("", tool_calls=[call])))
    assert request.messages[0].text == "x\ufffd"
    assert request.messages[1].tool_calls[0].parsed() == {"a": "\ufffd"}
    assert len(digest(request)) == 40


@pytest.mark.parametrize("kind", KINDS)
def test_texts_to_embed_are_exact(kind):
    """A column of texts, its role and the provider's own fields."""
    request = embed_request([kind("red"), kind("ş")], kind("query"), {"extra": {kind("user"): kind("a")}, "dimensions": np.int64(8)})
    assert request == embed_request(["red", "ş"], "query", {"extra": {"user": "a"}, "dimensions": 8})
    assert {type(text) for text in (*request.texts, request.role, request.extra)} == {str}
    assert type(request.dimensions) is int
    assert embed_request(np.array(["a", "b"]), "document", {}).texts == ("a", "b")


@pytest.mark.parametrize("wrong", [np.array("a"), (text for text in "ab"), None, 5], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_list_of_texts_is_refused(wrong):
    """An array without dimensions, a generator that could be read only once."""
    with pytest.raises(BadRequest, match="takes a list of texts, not"):
        embed_request(wrong, "document", {})


def test_numbers_of_a_request_are_exact():
    """numpy.float64 is a float that no encoder takes; a whole number stays one, and text is none."""
    request = chat_request("hi", {"temperature": np.float64(0.5), "top_p": np.float32(0.5), "max_tokens": np.int64(5), "seed": np.int32(7)})
    assert [(type(value), value) for value in (request.temperature, request.top_p, request.max_tokens, request.seed)] == [
        (float, 0.5), (float, 0.5), (int, 5), (int, 7),
    ]  # fmt: skip
    for wrong in ({"max_tokens": 5.0}, {"temperature": "0.5"}, {"temperature": np.float64("nan")}, {"seed": True}):
        with pytest.raises(BadRequest, match="nothing was sent"):
            chat_request("hi", wrong)


def test_a_tenant_and_tags_are_exact():
    """They are keys of limits and columns of the ledger; one tenant in two classes of text is one tenant."""
    provider = Scripted("ok")
    chat = ChatModel(provider)
    with scope(tenant=Loud("acme"), tags={Loud("team"): np.str_("search")}):
        chat.invoke("hi", tags={OlderColour.RED: Colour.RED})
    chat.invoke("hi", tenant=OlderColour.RED)
    first, second = provider.seen
    assert (first.tenant, first.tags, second.tenant) == ("acme", (("red", "red"), ("team", "search")), "red")
    assert {type(text) for text in (first.tenant, second.tenant, *first.tags[0], *first.tags[1])} == {str}
    with pytest.raises(BadRequest, match="tenant = 5 must be text"):
        chat.invoke("hi", tenant=5)


def test_targets_and_keys_are_exact():
    """Names of models are often an Enum's members."""
    target = Target(Loud("openai:m"), base_url=Loud("http://h/v1"), api_key=Loud("k"), headers=((Loud("a"), np.str_("b")),))
    assert target == Target("openai:m", base_url="http://h/v1", api_key="k", headers=(("a", "b"),))
    assert {type(text) for text in (target.name, target.base_url, *target.headers[0], Secret(Loud("k")).reveal())} == {str}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cache", ["memory", "sqlite"])
def test_one_cache_entry_for_all_kinds(kind, cache, tmp_path):
    """An answer and a vector kept for plain text are found by the same text of another class, and the other way round."""
    store = "memory" if cache == "memory" else f"sqlite:{tmp_path}/c.db"
    provider, other = Scripted("ok"), Scripted("ok")
    chat, embed = ChatModel(provider, cache=store), EmbedModel(other, cache=store)
    assert [chat.invoke(one, temperature=0).cached for one in (kind("red"), "red", kind("blue"), "blue")] == [False, True, False, True]
    assert [embed.reply([one]).cached for one in (kind("red"), "red", "blue", kind("blue"))] == [False, True, False, True]
    assert (provider.calls, other.calls) == (2, 2)


def test_answers_of_a_foreign_provider_are_kept(tmp_path):
    """A provider of one's own may answer in any class of text; the store keeps it all the same."""
    reply = ChatReply(text=Loud("yes"), model=np.str_("m"))
    chat = ChatModel(Scripted(reply, reply), cache=f"sqlite:{tmp_path}/c.db")
    chat.invoke("hi", temperature=0)
    again = chat.invoke("hi", temperature=0)
    assert (again.cached, again.text, again.model) == (True, "yes", "m")
    vectors = EmbedReply(vectors=np.ones((1, 4), np.float32), model=np.str_("m"), space=Loud("s"))
    embed = EmbedModel(Scripted(vectors, vectors), cache=f"sqlite:{tmp_path}/e.db")
    assert [embed.reply(["a"]).cached for _ in range(2)] == [False, True]


@pytest.mark.parametrize(("provider", "sim_class"), [("openai", OpenAISim), ("anthropic", AnthropicSim), ("google", GeminiSim)])
@pytest.mark.parametrize("lane", ["sdk", "direct"])
def test_the_body_is_that_of_plain_text(provider, sim_class, lane):
    """Byte for byte, whichever vendor and lane."""
    with sim_class(strict=False) as sim:
        address = f"{sim.url}/v1" if provider == "openai" else sim.url
        for kind in (str, Loud):
            target = Target(kind(f"{provider}:m"), base_url=kind(address), api_key=kind("k"), lane=lane)
            chat = ChatModel(target, policy=Policy(attempts=1))
            tools = [Tool.of(kind("f"), kind("finds"), {kind("type"): kind("object")})]
            call = ToolCall(id=kind("t1"), name=kind("f"), arguments=kind('{"a":1}'))
            said = [Message.user([kind("a"), kind("b")]), Message.assistant(kind("c"), tool_calls=[call])]
            said += [Message.tool(kind("d"), tool_call_id=kind("t1")), Message.user(kind("e"))]
            asyncio.run(chat.ainvoke(said, tools=tools, stop=kind("END"), temperature=0.5 if kind is str else np.float64(0.5)))
        one, other = (request.body for request in sim.requests)
        assert one == other


def test_what_is_cached_of_texts_is_bounded_in_bytes():
    """A document in an `extra`, or in a tool call's arguments, differs from call to call: hundreds of them were kept."""
    kept = [canonical_json, raw, fields, extra_of, _extra]
    tracemalloc.start()
    try:
        for i in range(40):
            text = f'{{"number": {i}, "document": "{"x" * 1_000_000}"}}'
            for fn in kept:
                fn(text, "what") if fn is raw else fn(text)
        del text
        assert tracemalloc.get_traced_memory()[0] < 10_000_000
    finally:
        tracemalloc.stop()


def test_short_texts_are_cached():
    """A tool's schema is the same in every call."""
    asked = []

    @cached_if_short(8)
    def count(text, more=0):
        asked.append(text)
        return len(text) + more

    assert [count("ab"), count("ab"), count("ab", more=1), count("x" * 20_000), count("x" * 20_000)] == [2, 2, 3, 20_000, 20_000]
    assert len(asked) == 4
