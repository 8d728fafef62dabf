"""Calls: changed only by making another, with one record for all copies."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from surefoot.core.stack import stack
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.layers.watch.trace import Trace
from surefoot.testing.scripted import Scripted
from surefoot.types import Call, CallState, ChatReply, ChatRequest, Message
from surefoot.types.calls import loop_of


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


async def test_the_loop_of_a_call_is_asked_of_asyncio_once(monkeypatch):
    """Up to Python 3.11 each such question is a system call, and a dozen layers have it."""
    call = Call(request=ChatRequest(messages=(Message.user("hi"),)), state=CallState())
    loop = asyncio.get_running_loop()
    assert loop_of(call) is loop, "a layer by itself"
    asked = []

    async def fine(_: Call) -> ChatReply:
        return ChatReply(text="fine")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "get_running_loop", lambda: asked.append(1) or loop)
        layers = stack(fine, Trace(), Deadline(deadline_s=60), Retry(target="t"), Breaker(target="t"), Timeout(target="t"))
        assert (await layers(call)).text == "fine"
        assert (call.state.loop, len(asked)) == (loop, 1)


def test_a_call_that_is_made_again_on_another_loop_runs_there():
    """A retried job keeps its record; the loop it once ran on may be closed."""
    call = Call(request=ChatRequest(messages=(Message.user("hi"),)), state=CallState())
    layers = stack(Scripted("fine", "again"), Trace(), Deadline(deadline_s=60), Timeout(target="t"))
    assert [asyncio.run(layers(call)).text for _ in range(2)] == ["fine", "again"]
