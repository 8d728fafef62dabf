"""What a request asks for in the end, `extra` included."""

from __future__ import annotations

import pytest

from surefoot.bounds import model_asked
from surefoot.types import ChatRequest, EmbedRequest, Message

MESSAGES = (Message.user("hi"),)


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({}, ""),
        ({"model": "gpt-4o"}, "gpt-4o"),
        ({"extra": '{"model": "gpt-4o"}'}, "gpt-4o"),
        ({"model": "gpt-4o-mini", "extra": '{"model": "gpt-4o"}'}, "gpt-4o"),
        ({"model": "gpt-4o-mini", "extra": '{"user": "x"}'}, "gpt-4o-mini"),
        ({"model": "gpt-4o-mini", "extra": '{"model": 5}'}, "gpt-4o-mini"),
        ({"model": "gpt-4o-mini", "extra": "no json"}, "gpt-4o-mini"),
    ],
)
def test_the_model_asked_is_the_one_in_the_body(fields, model):
    """A field of `extra` is laid over what we build, so it is what the provider sees and bills."""
    assert model_asked(ChatRequest(messages=MESSAGES, **fields)) == model


def test_embeddings_name_another_model_only_in_extra():
    """There is no option for it."""
    assert model_asked(EmbedRequest(texts=("a",))) == ""
    assert model_asked(EmbedRequest(texts=("a",), extra='{"model": "text-embedding-3-large"}')) == "text-embedding-3-large"
