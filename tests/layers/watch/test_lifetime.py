"""lifetime: a model's calls end when it is closed, and keep what they need until then."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref

import pytest

from surefoot.core.stack import stack
from surefoot.core.stream import collect
from surefoot.errors import ConnectionLost, Interrupted, Refused
from surefoot.layers.reuse.coalesce import Coalesce
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.lifetime import Lifetime, until
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import fails, now, read

pytestmark = pytest.mark.looptime


async def under_way(ask, call):
    """A task that has asked and waits."""
    task = asyncio.create_task(read(ask, call))
    await asyncio.sleep(1)
    return task


@pytest.mark.parametrize("call", [make_call(), make_call(stream=True), make_call(["a text"])], ids=["chat", "stream", "embed"])
async def test_a_call_that_was_sent_is_told_at_once(call):
    """It may have been paid for: ConnectionLost says so."""
    lifetime, provider = Lifetime(), Scripted(STALL)
    task = await under_way(stack(provider, lifetime, Attempt()), call)
    begun = now()
    lifetime.end()
    with pytest.raises(ConnectionLost, match="closed while the call was under way"):
        await task
    assert now() == begun
    assert provider.idle()
    assert lifetime.idle()
    assert task.cancelling() == 0


async def test_a_call_that_was_not_sent_is_refused():
    """Waiting in a queue, or coming after the end: nothing was spent."""

    async def queue(call, inner):
        await asyncio.sleep(1e6)
        return await inner(call)

    lifetime, provider = Lifetime(), Scripted("too late", times=2)
    ask = stack(provider, lifetime, queue)
    task = await under_way(ask, make_call())
    lifetime.end()
    with pytest.raises(Refused, match="nothing was spent"):
        await task
    await fails(ask, Refused)
    assert provider.calls == 0


async def test_a_stream_being_read_keeps_what_arrived():
    """The partial text belongs to the reader."""
    lifetime, provider = Lifetime(), Scripted(["one ", "two", STALL])
    stream = await stack(provider, lifetime)(make_call(stream=True))
    assert (await anext(stream)).text == "one "
    asyncio.get_running_loop().call_later(3, lifetime.end)
    begun = now()
    with pytest.raises(Interrupted) as caught:
        async for _ in stream:
            pass
    assert now() - begun == pytest.approx(3)
    assert caught.value.partial == "one two"
    assert isinstance(caught.value.__cause__, ConnectionLost)
    assert provider.idle()


async def test_a_stream_that_nobody_reads_is_dropped_in_its_callers_context():
    """A provider bills until its stream is dropped; whoever hears of it hears whose it was."""
    whose = contextvars.ContextVar("whose", default="nobody's")
    lifetime, provider = Lifetime(), Scripted(["one", STALL])
    heard = []
    whose.set("the caller's")
    stream = await stack(provider, lifetime)(make_call(stream=True))
    stream.watch(lambda outcome: heard.append((whose.get(), type(outcome.error))))
    whose.set("somebody's")
    lifetime.end()
    assert heard == [("the caller's", Interrupted)]
    await asyncio.sleep(0)
    assert provider.idle()


async def test_a_shared_call_is_told_to_all_who_share_it():
    """The shared call is a task of its own, inside which the call is ended."""
    lifetime = Lifetime()
    ask = stack(Scripted(STALL), Coalesce(always=True), lifetime, Attempt())
    tasks = [await under_way(ask, make_call()) for _ in range(3)]
    lifetime.end()
    assert [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [ConnectionLost] * 3


async def test_the_callers_own_cancellation_wins():
    """Who gave up in the same moment must see that it did."""
    lifetime = Lifetime()
    task = await under_way(stack(Scripted(STALL), lifetime), make_call())
    task.cancel()
    lifetime.end()
    with pytest.raises(asyncio.CancelledError):
        await task


class Connections:
    """Something that calls need."""


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_held_lives_as_long_as_a_call_under_way(stream):
    """A model that nobody holds any more must not lose its connections under a reader."""
    held = Connections()
    alive = weakref.ref(held)
    ask = stack(Scripted("one two three", latency_s=2), Lifetime(held))
    answer = ask(make_call(stream=stream))
    if stream:
        answer = await answer
    del held, ask
    gc.collect()
    assert alive() is not None
    assert await (collect(answer) if stream else answer)
    del answer
    gc.collect()
    assert alive() is None


async def test_a_stream_that_is_forgotten_is_not_kept():
    """Nobody could close it, and what it holds would never be given back."""
    lifetime = Lifetime()
    stream = await stack(Scripted(["one", STALL]), lifetime)(make_call(stream=True))
    assert not lifetime.idle()
    del stream
    gc.collect()
    assert lifetime.idle()


async def test_waiting_ends_when_it_is_so_or_at_its_bound():
    """A model that closes gives its calls so long to unwind, and no longer."""
    begun = now()
    await until(lambda: False, 1.0)
    assert now() - begun == pytest.approx(1.0)
    await until(lambda: now() - begun >= 1.5, 5.0)
    assert 1.5 <= now() - begun < 1.6
