"""What a request asks for in the end, `extra` included."""

from __future__ import annotations

import pytest

from surefoot.types import ChatRequest, EmbedRequest, Message
from surefoot.usage.bounds import answers_asked, model_asked, tokens_asked

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


@pytest.mark.parametrize(
    ("fields", "tokens", "answers"),
    [
        ({}, None, 1),
        ({"max_tokens": 5}, 5, 1),
        ({"max_tokens": 5, "extra": '{"max_tokens": 7}'}, 7, 1),
        ({"extra": '{"max_completion_tokens": 7, "n": 2}'}, 7, 2),
        ({"extra": '{"generationConfig": {"maxOutputTokens": 7, "candidateCount": 3}}'}, 7, 3),
        ({"extra": '{"max_tokens": "many", "n": true}'}, None, 1),
        ({"extra": '{"max_tokens": 0, "generationConfig": 4}'}, None, 1),
    ],
)
def test_bounds_are_those_in_the_body(fields, tokens, answers):
    """Whatever is no number above 0 says nothing."""
    request = ChatRequest(messages=MESSAGES, **fields)
    assert (tokens_asked(request), answers_asked(request)) == (tokens, answers)
