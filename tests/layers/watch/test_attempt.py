"""attempt: one line in the trail for each wire attempt."""

from __future__ import annotations

import asyncio

import pytest

from surefoot import ChatModel
from surefoot.core.stack import stack
from surefoot.errors import AuthFailed, ConnectionLost, Overloaded
from surefoot.events import AttemptEnded
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.trace import Trace
from surefoot.testing import Scripted, make_call
from tests.layers.helping import Heard, fails, now

pytestmark = pytest.mark.looptime


async def test_attempt_is_counted_timed_and_priced_as_the_model_that_is_asked():
    """The bill is by the name that was asked; the answer often names a dated one."""
    asked = []
    ask = stack(Scripted("fine", latency_s=2), Attempt(target="t", price=lambda usage, model: asked.append(model) or 0.25))
    call = make_call()
    begun = now()
    await ask(call)
    (record,) = call.state.trail
    assert call.state.attempts == 1
    assert (record.started_s, record.seconds, record.cost_usd) == (begun, pytest.approx(2), 0.25)
    assert asked == [""]


async def test_streams_seconds_run_to_its_end_and_its_usage_is_priced():
    """A stream finishes late; priced at its first token it would always cost nothing."""
    asked = []
    heard = Heard()
    ask = stack(Scripted("one two", delta_gap_s=1), Attempt(target="t", price=lambda usage, model: asked.append((usage, model)) or 0.5))
    call = make_call(stream=True, listeners=(heard,))
    stream = await ask(call)
    assert call.state.trail[0].seconds is None
    async for _ in stream:
        pass
    (record,) = call.state.trail
    assert (record.seconds, record.cost_usd) == (pytest.approx(2), 0.5)
    assert asked == [(stream.usage, "")]
    assert [event.attempt for event in heard.of(AttemptEnded)] == [record]


async def test_failed_attempt_has_its_error_and_no_cost():
    """No provider bills an error."""
    call = make_call()
    await fails(stack(Scripted(Overloaded("busy")), Attempt(price=lambda *_: 1.0)), Overloaded, call=call)
    assert (call.state.trail[0].error, call.state.trail[0].cost_usd) == ("Overloaded", None)


async def test_stream_that_breaks_later_is_a_failed_attempt():
    """Its first token made it answered, not well."""
    call = make_call(stream=True)
    stream = await stack(Scripted(["Hel", ConnectionLost("reset")]), Attempt())(call)
    with pytest.raises(Exception):  # noqa: B017
        async for _ in stream:
            pass
    assert call.state.trail[0].error == "Interrupted"


async def test_stream_its_reader_walked_away_from_is_a_cancelled_attempt():
    """It neither failed nor succeeded."""
    call = make_call(stream=True)
    stream = await stack(Scripted("one two"), Attempt())(call)
    await stream.aclose()
    assert call.state.trail[0].error == "CancelledError"


async def test_dispatch_is_told_once():
    """A hedge counts its delay from here, and only for the runner that asked."""
    told = []
    ask = stack(Scripted(), Attempt())
    call = make_call()
    call.state.on_dispatch = {asyncio.current_task(): lambda: told.append(now())}
    await ask(call)
    await ask(call)
    assert len(told) == 1


async def test_waits_in_queues_and_between_retries_are_in_the_trail():
    """Who looks at a slow call wants to see where its time went: 2 s in the queue, then 1 s of backoff."""
    place = Concurrency(limit=1)
    provider = Scripted("fine", Overloaded("busy"), "fine", latency_s=2)
    ask = stack(provider, Trace(), Retry(target="a", base_s=2, draw=lambda: 0.5), place, Attempt(target="a"))
    first, second = await asyncio.gather(ask(make_call()), ask(make_call()))
    assert [(one.kind, one.wait_s) for one in first.trail] == [("first", 0.0)]
    assert [(one.kind, one.wait_s) for one in second.trail] == [("first", 2.0), ("retry", 1.0)]


async def test_a_refused_key_is_warned_of_once_until_the_target_answers_again(caplog, monkeypatch):
    """Behind a fallback the calls succeed, so nobody would learn of it; and a warning a call would fill the log."""
    monkeypatch.setattr("surefoot.layers.watch.attempt._refused", set())
    provider = Scripted(*(AuthFailed("HTTP 401: no such key") for _ in range(3)), "fine", AuthFailed("revoked"))
    ask = stack(provider, Attempt(target="openai:refused"))
    other = stack(Scripted(Overloaded("busy")), Attempt(target="openai:busy"))
    await fails(ask, AuthFailed, times=3)
    await fails(other, Overloaded, times=1)
    (warning,) = caplog.records
    assert warning.levelname == "WARNING"
    assert warning.getMessage().startswith("openai:refused refuses")
    assert "no such key" in warning.getMessage()
    await ask(make_call())
    await fails(ask, AuthFailed, times=1)
    assert len(caplog.records) == 2


async def test_a_refused_key_is_warned_of_behind_a_fallback(caplog, monkeypatch):
    """Through a model, with real stacks: the answer comes from the next target, the warning all the same, for a stream as for a reply."""
    monkeypatch.setattr("surefoot.layers.watch.attempt._refused", set())
    refusing = Scripted(*(AuthFailed("HTTP 401") for _ in range(4)), name="openai:behind")
    chat = ChatModel(refusing, Scripted(*["fine"] * 4))
    for _ in range(2):
        assert (await chat.ainvoke("Hello")).text == "fine"
    assert "".join([delta.text async for delta in chat.astream("Hello")]) == "fine"
    assert [one.getMessage().split()[0] for one in caplog.records if one.levelname == "WARNING"] == ["openai:behind"]
