"""balance: equal targets share the load."""

from __future__ import annotations

import asyncio
import random

import pytest

from surefoot.core.stack import describe, stack
from surefoot.errors import AuthFailed, BadRequest, CircuitOpen, ContextTooLong, Exhausted, Overloaded, QuotaExhausted, RateLimited
from surefoot.events import FellBack
from surefoot.layers.repeat.balance import Balance
from surefoot.layers.repeat.fallback import Fallback
from surefoot.layers.watch.attempt import Attempt
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import Heard, fails, now, read, together

pytestmark = pytest.mark.looptime


def layer(*providers, **settings):
    return Balance(handlers=providers, draw=random.Random(5).random, **settings)


async def test_equals_share_the_load():
    """Half each, about."""
    a, b = Scripted(latency_s=1, name="a"), Scripted(latency_s=1, name="b")
    ask = layer(a, b)
    for _ in range(10):
        await together(ask, [make_call() for _ in range(20)])
    assert abs(a.calls - b.calls) <= 20
    assert ask.idle()


async def test_faster_one_gets_more():
    """Least latency times load, not turns."""
    slow, fast = Scripted(latency_s=2, name="slow"), Scripted(latency_s=1, name="fast")
    ask = layer(slow, fast)
    until = now() + 100

    async def work():
        while now() < until:
            await read(ask, make_call())

    await asyncio.gather(*(work() for _ in range(20)))
    assert fast.calls > 1.3 * slow.calls


async def test_open_streams_count_as_load():
    """A target that is still writing is busy."""
    a, b = Scripted(["one ", STALL], name="a"), Scripted(["one ", STALL], name="b")
    ask = layer(a, b)
    streams = [await ask(make_call(stream=True)) for _ in range(10)]
    assert (a.in_flight, b.in_flight) == (5, 5)
    for stream in streams:
        await stream.aclose()
    assert ask.idle()


@pytest.mark.parametrize("kind", [Overloaded, RateLimited, QuotaExhausted, AuthFailed, CircuitOpen])
async def test_call_that_fails_at_one_goes_to_its_equal(kind):
    """Before fallback looks for another model."""
    bad, good = Scripted(kind("no"), name="bad"), Scripted("fine", name="good")
    ask = layer(bad, good)
    for _ in range(20):
        assert await read(ask, make_call()) == "fine"
    assert good.calls == 20


@pytest.mark.parametrize("kind", [BadRequest, ContextTooLong])
async def test_what_all_would_refuse_alike_is_asked_once(kind):
    """Equals are equal in this, too."""
    a, b = Scripted(kind("no"), name="a"), Scripted(kind("no"), name="b")
    await fails(layer(a, b), kind)
    assert a.calls + b.calls == 1


async def test_bad_one_of_ten_gets_less_than_one_percent():
    """And the callers never notice."""
    providers = [Scripted(Overloaded("down") if i == 3 else "fine", latency_s=0.1, name=str(i)) for i in range(10)]
    ask = layer(*providers)

    async def serve(seconds):
        until = now() + seconds

        async def work():
            while now() < until:
                await read(ask, make_call())

        await asyncio.gather(*(work() for _ in range(20)))
        return [provider.calls for provider in providers]

    before = await serve(10)
    after = await serve(50)
    calls = [b - a for a, b in zip(before, after, strict=True)]
    assert calls[3] < 0.01 * sum(calls)


async def test_all_bad_is_never_nobody():
    """A fault that all have is not theirs; somebody must still be asked."""
    providers = [Scripted(Overloaded("down"), name=str(i)) for i in range(3)]
    ask = layer(*providers)
    for _ in range(50):
        error = await fails(ask, Exhausted)
        assert len(error.exceptions) == 3


async def test_cancelled_calls_say_nothing():
    """And leave nothing behind."""
    ask = layer(Scripted(STALL), Scripted(STALL))
    tasks = [asyncio.create_task(ask(make_call())) for _ in range(20)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert ask.idle()
    assert len(ask._picker.live) == 2
    assert [target.in_flight for target in ask._picker._targets] == [0, 0]


async def test_attempts_bound_the_equals_too():
    """The policy's number is the whole call's."""
    providers = [Scripted(Overloaded("down"), name=str(i)) for i in range(4)]
    await fails(layer(*[stack(provider, Attempt()) for provider in providers], attempts=2), Exhausted)
    assert sum(provider.calls for provider in providers) == 2


async def test_it_stands_inside_fallback_as_one_target():
    """Two equals, then another model."""
    heard = Heard()
    equals = [Scripted(Overloaded("down"), name=name) for name in ("a", "b")]
    other = Scripted("fine", name="c")
    ask = Fallback(handlers=[layer(*equals), other])
    assert await read(ask, make_call(listeners=(heard,))) == "fine"
    assert [provider.calls for provider in (*equals, other)] == [1, 1, 1]
    assert all(provider.seen[0].others for provider in equals)
    assert [event.next_target for event in heard.of(FellBack)] == ["a | b", "c"]


async def test_describe_names_the_equals():
    """The picture a user prints."""
    text = describe(layer(*[stack(Scripted(), name=name) for name in ("x", "y")]))
    assert "balance: 2 equal targets" in text
    assert text.index("x") < text.index("y")
