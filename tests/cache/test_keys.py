"""The digest: equal for equal meaning, different for any semantic field."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surefoot.cache.keys import canonical, digest
from surefoot.types import ChatRequest, EmbedRequest, File, Image, Message, Schema, Tool, ToolCall

BASE = ChatRequest(messages=(Message.user("hi"),))
CHANGES = {
    "messages": (Message.user("ho"),),
    "temperature": 0.0,
    "top_p": 0.9,
    "max_tokens": 5,
    "stop": ("x",),
    "seed": 1,
    "reasoning_effort": "low",
    "tools": (Tool.of("t", "d", {"type": "object"}),),
    "tool_choice": "required",
    "parallel_tool_calls": False,
    "schema": Schema.of("s", {"type": "object"}),
    "model": "other",
    "extra": '{"k":1}',
}


def test_every_field_of_a_request_is_tested_here():
    """A field added later must be thought of."""
    assert {*CHANGES, "prompt_cache"} == set(ChatRequest.__struct_fields__)


def test_what_a_vendor_keeps_of_the_prompt_does_not_matter():
    """No answer shows it."""
    assert digest(BASE) == digest(msgspec.structs.replace(BASE, prompt_cache="1h"))


@pytest.mark.parametrize("field", CHANGES)
def test_any_semantic_field_matters(field):
    """Two requests that differ in anything are two requests."""
    assert digest(BASE) != digest(msgspec.structs.replace(BASE, **{field: CHANGES[field]}))


@pytest.mark.parametrize(
    "message",
    [
        Message(role="assistant", content="hi"),
        Message.user("hi", name="Ada"),
        Message(role="user", content="hi", tool_call_id="1"),
        Message(role="user", content="hi", is_error=True),
        Message(role="user", content="hi", tool_calls=(ToolCall(id="1", name="f"),)),
        Message.user([Image(data=b"1", media_type="image/png")]),
        Message.user([Image(data=b"2", media_type="image/png")]),
        Message.user([File(data=b"1")]),
    ],
)
def test_every_part_of_a_message_matters(message):
    """Also the picture's bytes."""
    assert digest(BASE) != digest(ChatRequest(messages=(message,)))


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none(), min_size=2))
def test_argument_order_never_matters(fields):
    """Schemas and extras written in another order mean the same."""
    turned = dict(reversed(fields.items()))
    one = ChatRequest(messages=BASE.messages, extra=msgspec.json.encode(fields).decode(), tools=(Tool.of("t", "", fields),))
    two = ChatRequest(messages=BASE.messages, extra=msgspec.json.encode(turned).decode(), tools=(Tool.of("t", "", turned),))
    assert digest(one) == digest(two)


@given(st.text(), st.text(), st.text(), st.text())
def test_scopes_never_run_together(a, b, c, d):
    """Tenant "ab" with "c" is not tenant "a" with "bc"."""
    a, b, c, d = (clean.encode("utf-8", "replace").decode() for clean in (a, b, c, d))
    assert (digest(BASE, a, b) == digest(BASE, c, d)) == ((a, b) == (c, d))


def test_chat_and_embeddings_never_share():
    """The kinds are told apart by their first byte."""
    assert canonical(BASE)[:1] != canonical(EmbedRequest(texts=("hi",)))[:1]
    assert digest(EmbedRequest(texts=("a",))) != digest(EmbedRequest(texts=("a",), role="query"))
    assert digest(EmbedRequest(texts=("a", "b"))) != digest(EmbedRequest(texts=("ab",)))
