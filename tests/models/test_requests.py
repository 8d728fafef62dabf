"""From what was typed to a checked call."""

from __future__ import annotations

import math

import pytest

from surefoot.errors import BadRequest, Misconfigured
from surefoot.models.requests import call_of, chat_request, embed_request, scope, with_defaults
from surefoot.settings import Target
from surefoot.types import ChatRequest, Message, Schema


def call(**options):
    return call_of(chat_request("hi", options), options, stream=False, listeners=())


def test_text_messages_and_requests_are_prompts():
    """Three ways to say the same."""
    expected = ChatRequest(messages=(Message.user("hi"),))
    assert chat_request("hi", {}) == chat_request(Message.user("hi"), {}) == chat_request([Message.user("hi")], {}) == expected
    assert chat_request(expected, {}) is expected


def test_options_become_fields():
    """Sequences are frozen, mappings become JSON, None means the default."""
    request = chat_request("hi", {"stop": ["a", "b"], "extra": {"top_k": 5}, "schema": Schema.of("s", {}), "tool_choice": None, "seed": 3})
    assert (request.stop, request.extra, request.tool_choice, request.seed) == (("a", "b"), '{"top_k":5}', "", 3)


SHAPE = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (None, None),
        (Schema(), Schema()),
        (SHAPE, Schema.of("answer", SHAPE)),
        ({**SHAPE, "title": "Person"}, Schema.of("Person", {**SHAPE, "title": "Person"})),
        ({"type": "json_object"}, Schema()),
        ({"type": "text"}, None),
        ({**SHAPE, "type": "json_object"}, Schema.of("answer", {**SHAPE, "type": "json_object"})),
        ({"type": "json_schema", "json_schema": {"name": "n", "schema": SHAPE, "strict": True}}, Schema.of("n", SHAPE, strict=True)),
        ({"type": "json_schema", "json_schema": {"schema": SHAPE}}, Schema.of("answer", SHAPE)),
        ({"type": "json_schema", "json_schema": {"name": "n"}}, Schema.of("n", {"type": "object"})),
        ({"json_schema": {"schema": SHAPE}}, Schema.of("answer", {"json_schema": {"schema": SHAPE}})),
        ({"type": "json_schema"}, Schema.of("answer", {"type": "json_schema"})),
    ],
    ids=str,
)
def test_an_answers_shape_is_said_in_any_of_three_ways(said, meant):
    """A Schema, a JSON schema, or OpenAI's response_format; what only looks like one of these is a JSON schema."""
    assert chat_request("hi", {"schema": said}).schema == meant


@pytest.mark.parametrize("said", ["object", [SHAPE], 3, True])
def test_what_is_no_shape_is_refused(said):
    """Before anything is sent."""
    with pytest.raises(BadRequest, match="JSON schema as a dict"):
        chat_request("hi", {"schema": said})


def test_a_models_own_options_fill_what_a_call_leaves_unsaid():
    """What the call says wins, and so does what a ChatRequest says of itself; fields of `extra` are joined."""
    own = {"temperature": 0.0, "max_tokens": 9, "tenant": "acme", "extra": '{"a":1,"b":1}'}
    assert with_defaults({}, own, "hi") == own
    assert with_defaults({"max_tokens": 5, "extra": {"b": 2}}, own, "hi") == {**own, "max_tokens": 5, "extra": {"a": 1, "b": 2}}
    request = ChatRequest(messages=(Message.user("hi"),), temperature=1.0)
    assert with_defaults({}, own, request) == {name: value for name, value in own.items() if name != "temperature"}


def test_scopes_nest_and_the_shorter_deadline_holds():
    """What is inside adds to what is outside."""
    with scope(tenant="acme", tags={"a": "1"}, deadline_s=30), scope(priority="batch", tags={"b": "2"}, deadline_s=60):
        one = call(deadline_s=40)
        assert (one.tenant, one.priority, one.tags, one.deadline_s) == ("acme", "batch", (("a", "1"), ("b", "2")), 30)
        assert call(deadline_s=None).deadline_s == 30
        assert call(tenant="other").tenant == "other"
    assert call().deadline_s is None  # nothing said: the policy's
    assert call(deadline_s=None).deadline_s == math.inf
    assert (call().tenant, call().tags) == ("", ())


@pytest.mark.parametrize("said", [["a"], "job=x", {"a": None}, {1: "a"}, {"a": ["b"]}])
def test_tags_that_are_no_text_are_refused_before_anything_is_sent(said):
    """Tags name spend limits and stand in ledgers; what is no text would fail there, after the money."""
    with pytest.raises(BadRequest, match="tags"):
        call(tags=said)
    with pytest.raises(BadRequest, match="tags"), scope(tags=said):
        pass


def test_a_number_as_a_tag_is_its_text_and_a_tenant_is_text():
    """User ids are often numbers."""
    assert call(tags={"user": 42, "odd": "a\ud800"}).tags == (("odd", "a\ufffd"), ("user", "42"))
    with pytest.raises(BadRequest, match="tenant"), scope(tenant=123):  # type: ignore[arg-type]
        pass


def test_a_models_name_is_one_printable_line():
    """It stands in logs, events and the ledger."""
    with pytest.raises(BadRequest, match="no name of a model"):
        chat_request("hi", {"model": "m\n2026-11-30 CRITICAL forged"})
    with pytest.raises(Misconfigured, match="provider:model"):
        Target("openai:m\x1b[31m")


def test_a_scope_refuses_an_unknown_priority():
    """Two classes, no third."""
    with pytest.raises(Misconfigured, match="interactive"), scope(priority="urgent"):  # type: ignore[arg-type]
        pass


@pytest.mark.parametrize(
    ("texts", "options", "word"),
    [
        ("one", {}, "list of texts"),
        ([], {}, "no texts"),
        ([1], {}, "text 0 is int"),
        (["a", " "], {}, "text 1 is empty"),
        (["a"], {"dimension": 3}, "dimensions"),
    ],
)
def test_bad_texts_are_refused(texts, options, word):
    """Naming which text, before any vector is paid for."""
    with pytest.raises(BadRequest, match=word):
        embed_request(texts, "document", options)


def test_texts_are_cleaned_and_kept_in_order():
    """Lone surrogates go, nothing else does."""
    assert embed_request(["b", "a\ud800"], "query", {"dimensions": 8}).texts == ("b", "a\ufffd")


@pytest.mark.parametrize(
    "prompt",
    ["", " \n\t", [], [Message.user("")], [Message.system("Be brief."), Message.user("  ")], [Message.user("a"), Message.user(())]],
)
def test_an_empty_question_is_never_sent(prompt):
    """Vendors bill or refuse it; either way nothing was asked."""
    with pytest.raises(BadRequest, match="nothing was sent"):
        chat_request(prompt, {})


@pytest.mark.parametrize(
    "option",
    [
        {"temperature": "hot"},
        {"temperature": float("nan")},
        {"top_p": True},
        {"max_tokens": "many"},
        {"max_tokens": 1.5},
        {"seed": "x"},
        {"deadline_s": "60"},
        {"deadline_s": float("nan")},
        {"extra": {"a": object()}},
    ],
)
def test_an_option_of_the_wrong_kind_is_named(option):
    """A bare TypeError out of the depths names nothing; NaN would go out as null."""
    with pytest.raises(BadRequest, match=next(iter(option))):
        call(**option)
