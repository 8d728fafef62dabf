"""breaker: leaves a sick target alone, and nobody else."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from surefoot.core.stack import stack
from surefoot.errors import (
    AttemptTimedOut,
    AuthFailed,
    BadRequest,
    BudgetExceeded,
    CircuitOpen,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    Interrupted,
    MalformedReply,
    Overloaded,
    QuotaExhausted,
    RateLimited,
)
from surefoot.events import BreakerClosed, BreakerOpened
from surefoot.layers.guards.breaker import Breaker
from surefoot.layers.watch.timeout import Timeout
from surefoot.rules.breaker import CLOSED, HALF_OPEN, OPEN
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import Heard, fails, read

pytestmark = pytest.mark.looptime


def layer(**settings):
    return Breaker(target="t", draw=lambda: 0.0, **settings)


@pytest.mark.parametrize("kind", [Overloaded, ConnectionLost, AttemptTimedOut, MalformedReply])
async def test_dead_target_is_left_alone(kind):
    """After ten failures nothing is sent, and the refusal says for how long."""
    provider, breaker = Scripted(kind("down")), layer()
    ask = stack(provider, breaker)
    await fails(ask, kind, times=10)
    error = await fails(ask, CircuitOpen)
    assert provider.calls == 10
    assert "10 of the last 10 calls failed" in str(error)
    assert 0 < error.retry_after_s <= 5


@pytest.mark.parametrize("kind", [BadRequest, AuthFailed, QuotaExhausted, ContextTooLong, ContentRefused, RateLimited, BudgetExceeded])
async def test_what_is_not_the_targets_sickness_never_opens_it(kind):
    """A 400 says nothing about the provider's health, and one tenant's quota nothing about the others'."""
    provider = Scripted(kind("no"))
    await fails(stack(provider, layer()), kind, times=50)
    assert provider.calls == 50


async def test_cancelled_calls_never_open_it():
    """Half of all callers leaving is no outage."""
    breaker = layer()
    ask = stack(Scripted(STALL), breaker)
    for _ in range(50):
        task = asyncio.create_task(ask(make_call()))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
    assert (breaker.rule.state, breaker.idle()) == (CLOSED, True)


async def test_readers_who_leave_never_open_it():
    """Nor do those who have read enough."""
    breaker = layer()
    ask = stack(Scripted("one two three"), breaker)
    for _ in range(50):
        stream = await ask(make_call(stream=True))
        await stream.__anext__()
        await stream.aclose()
    assert (breaker.rule.state, breaker.idle()) == (CLOSED, True)


async def test_errors_inside_streams_do():
    """A target that answers and then breaks is broken."""
    provider, breaker = Scripted(["Hel", ConnectionLost("reset")]), layer()
    for _ in range(10):
        with pytest.raises(Interrupted):
            await read(stack(provider, breaker), make_call(stream=True))
    assert breaker.rule.state == OPEN


async def test_silent_streams_do():
    """Also when the timer inside ended them."""
    provider, breaker = Scripted(["Hel", STALL]), layer()
    for _ in range(10):
        with pytest.raises(Interrupted):
            await read(stack(provider, breaker, Timeout(idle_s=1)), make_call(stream=True))
    assert breaker.rule.state == OPEN


async def test_weather_does_not_open_it():
    """30 % faults are what retries make good."""
    provider = Scripted(*[step for _ in range(100) for step in (Overloaded("busy"), "fine", "fine")])
    breaker = layer()
    ask = stack(provider, breaker)
    for _ in range(300):
        with suppress(Overloaded):
            await read(ask, make_call())
    assert breaker.rule.state == CLOSED


async def test_it_comes_back_by_a_trial():
    """One trial, then a growing share, then all."""
    provider, breaker = Scripted(*[Overloaded("down")] * 10, "fine"), layer()
    ask = stack(provider, breaker)
    await fails(ask, Overloaded, times=10)
    await fails(ask, CircuitOpen)
    await asyncio.sleep(5.1)
    assert await read(ask, make_call()) == "fine"
    assert breaker.is_on_trial()
    await asyncio.sleep(11)
    assert await read(ask, make_call()) == "fine"
    assert not breaker.is_on_trial()


async def test_trial_that_proves_nothing_frees_its_place():
    """A cancelled trial must not keep the target shut."""
    provider, breaker = Scripted(*[Overloaded("down")] * 10, STALL, "fine"), layer()
    ask = stack(provider, breaker)
    await fails(ask, Overloaded, times=10)
    await fails(ask, CircuitOpen)
    await asyncio.sleep(5.1)
    trial = asyncio.create_task(ask(make_call()))
    await asyncio.sleep(0.1)
    await fails(ask, CircuitOpen)
    assert breaker.rule.state == HALF_OPEN
    trial.cancel()
    await asyncio.wait([trial])
    assert await read(ask, make_call()) == "fine"


async def test_opening_and_closing_are_told():
    """Somebody is paged for the first, and relieved by the second."""
    heard = Heard()
    ask = stack(Scripted(*[Overloaded("down")] * 10, "fine"), layer())
    await fails(ask, Overloaded, times=10, call=make_call(listeners=(heard,)))
    (opened,) = heard.of(BreakerOpened)
    assert (opened.target, opened.failures, opened.calls, opened.wait_s) == ("t", 10, 10, 5.0)
    await fails(ask, CircuitOpen)
    await asyncio.sleep(5.1)
    await read(ask, make_call(listeners=(heard,)))
    assert [event.target for event in heard.of(BreakerClosed)] == ["t"]
