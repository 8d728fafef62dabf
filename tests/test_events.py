"""Events: free without a listener, in order with one, never in a call's way."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from surefoot.events import Retried, Subscriber, emit
from surefoot.testing import make_call
from surefoot.types import CallState


async def test_tell_without_listeners_builds_nothing():
    """The fields would be refused if an event were built."""
    emit(make_call("hi"), Retried, nonsense=1)


async def test_tell_carries_the_call_and_the_clock():
    """Whoever listens can put events of one call together."""
    heard = []
    call = make_call("hi")
    call.state.listeners = (heard.append,)
    call.state.call_id = "c1"
    emit(call, Retried, target="t", attempt=2, wait_s=0.5, cause="RateLimited")
    assert heard == [Retried(call_id="c1", at_s=heard[0].at_s, target="t", attempt=2, wait_s=0.5, cause="RateLimited")]


async def test_a_failing_listener_does_not_fail_the_call(caplog):
    """Looking on is not taking part."""
    call = make_call("hi")
    heard = []
    call.state.listeners = (lambda _: 1 / 0, heard.append)
    emit(call, Retried, target="t", attempt=2, wait_s=0.5, cause="x")
    assert len(heard) == 1
    assert "the call goes on" in caplog.text


def test_a_slow_subscriber_blocks_nobody_and_loses_only_what_does_not_fit(monkeypatch):
    """Its queue is bounded; what is dropped is counted."""
    monkeypatch.setattr("surefoot.events.QUEUE_SIZE", 3)
    guard, heard = threading.Event(), []

    def slow(event):
        guard.wait()
        heard.append(event)

    subscriber = Subscriber(slow)
    for number in range(10):
        subscriber(number)
    assert subscriber.dropped >= 6
    guard.set()
    subscriber.flush()
    assert heard == sorted(heard)
    assert len(heard) + subscriber.dropped == 10


def subscribers_threads():
    return [thread for thread in threading.enumerate() if thread.name == "surefoot-events"]


def until_ended():
    by = time.monotonic() + 20
    while subscribers_threads():
        assert time.monotonic() < by
        time.sleep(0.005)


@pytest.mark.parametrize("how", ["closed", "collected", "idle"])
def test_a_subscribers_thread_ends_after_the_last_event(how, monkeypatch):
    """Else each short-lived subscription would cost a thread for good. The next event starts another."""
    if how == "idle":
        monkeypatch.setattr("surefoot.events.IDLE_S", 0.01)
    gc.collect()
    until_ended()  # those of other tests
    heard = []
    subscribers = [Subscriber(heard.append) for _ in range(20)]
    for number in range(100):
        for subscriber in subscribers:
            subscriber(number)
    if how == "closed":
        for subscriber in subscribers:
            subscriber.close()
    if how == "collected":
        del subscriber
        subscribers.clear()
    until_ended()
    assert sorted(heard) == [number for number in range(100) for _ in range(20)]
    for subscriber in subscribers:
        subscriber("again")
        subscriber.flush()
    assert heard[2000:] == ["again"] * len(subscribers)


def test_no_event_is_lost_while_threads_end(monkeypatch):
    """An event may come in the very moment in which the thread has found nothing to do."""
    monkeypatch.setattr("surefoot.events.IDLE_S", 0.0)
    heard = []
    subscriber = Subscriber(heard.append)
    for number in range(3000):
        subscriber(number)
    subscriber.flush()
    assert heard == list(range(3000))


def test_call_state_starts_empty():
    """Nothing was attempted yet."""
    state = CallState()
    assert (state.attempts, state.hedges, state.trail, state.listeners) == (0, 0, [], ())
