"""Requests: frozen, hashable, equal by value."""

from __future__ import annotations

import pytest

from surefoot.types import ChatRequest, Message, Tool


def test_requests_are_hashable_and_equal_by_value():
    """A request is a key."""
    one = ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "", {"a": 1}),))
    two = ChatRequest(messages=(Message.user("hi"),), tools=(Tool.of("t", "", {"a": 1}),))
    assert one == two
    assert len({one, two}) == 1


def test_requests_are_frozen():
    """Layers change a call only by making another."""
    with pytest.raises(AttributeError):
        ChatRequest(messages=()).temperature = 1  # type: ignore[misc]
