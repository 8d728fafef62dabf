"""Calls: changed only by making another, with one record for all copies."""

from __future__ import annotations

import msgspec
import pytest

from surefoot.types import Call, CallState, ChatRequest, Message


def test_copies_of_a_call_share_its_record():
    """What one layer counts, all others see, however often the call was replaced in between."""
    call = Call(request=ChatRequest(messages=(Message.user("hi"),)), state=CallState())
    later = msgspec.structs.replace(call, attempt=2, hedged=True)
    later.state.attempts += 1
    assert call.state.attempts == 1
    assert (call.attempt, call.hedged) == (1, False)


def test_a_call_is_frozen():
    """A layer that changed it in place would change it for those outside as well."""
    call = Call(request=ChatRequest(messages=(Message.user("hi"),)), state=CallState())
    with pytest.raises(AttributeError):
        call.attempt = 2  # type: ignore[misc]
