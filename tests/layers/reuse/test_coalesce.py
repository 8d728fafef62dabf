"""coalesce: one shared call for identical calls."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.stack import stack
from surefoot.core.stream import collect
from surefoot.errors import ConnectionLost, DeadlineExceeded, Interrupted, Overloaded
from surefoot.events import Coalesced
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.reuse.coalesce import LINGER_S, Coalesce
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.layers.watch.trace import Trace
from surefoot.testing import STALL, Scripted, make_call
from surefoot.types import ChatReply, ChatRequest, Message
from tests.layers.helping import Heard, now, read, together

pytestmark = pytest.mark.looptime


def question(text="same", temperature=0.0):
    return ChatRequest(messages=(Message.user(text),), temperature=temperature)


def calls(count, *, stream=False, request=None, **fields):
    return [make_call(request or question(), stream=stream, **fields) for _ in range(count)]


@pytest.mark.parametrize("stream", [False, True])
async def test_identical_calls_share_one_request(stream):
    """A hundred users with one question are one question."""
    provider = Scripted("one answer", latency_s=1, delta_gap_s=0.1)
    layer = Coalesce()
    assert await together(stack(provider, layer), calls(100, stream=stream)) == ["one answer"] * 100
    assert provider.calls == 1
    assert layer.idle()


async def test_embeddings_are_shared():
    """The same text has the same vector."""
    provider = Scripted(latency_s=1)
    ask = stack(provider, Coalesce())
    replies = await asyncio.gather(*(ask(make_call(["one"])) for _ in range(3)))
    assert provider.calls == 1
    assert (replies[0].vectors == replies[2].vectors).all()


@pytest.mark.parametrize(
    ("settings", "temperature", "wire_calls"),
    [({}, 0.0, 1), ({}, 0.7, 2), ({}, None, 2), ({"cached": True}, None, 1), ({"cached": True}, 0.7, 2), ({"always": True}, 0.7, 1)],
)
async def test_only_what_is_repeatable_is_shared(settings, temperature, wire_calls):
    """Two people who ask for a poem want two poems."""
    provider = Scripted("fine", latency_s=1)
    await together(stack(provider, Coalesce(**settings)), calls(2, request=question(temperature=temperature)))
    assert provider.calls == wire_calls


@pytest.mark.parametrize("other", [{"tenant": "b"}, {"priority": "batch"}, {"request": question("different")}])
async def test_different_calls_tenants_and_priorities_do_not_share(other):
    """Another tenant's answer is a leak; a batch job's place in the queue is a delay."""
    provider = Scripted("fine", latency_s=1)
    await together(stack(provider, Coalesce()), [*calls(1, tenant="a"), *calls(1, **{"tenant": "a", **other})])
    assert provider.calls == 2


async def test_answered_calls_are_not_in_flight():
    """Single flight is no cache."""
    provider = Scripted("fine", latency_s=1)
    ask = stack(provider, Coalesce())
    for call in calls(3):
        await read(ask, call)
    assert provider.calls == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_shared_call_outlives_its_first_caller(stream):
    """He who asked first may leave first."""
    provider = Scripted("one answer", latency_s=5, delta_gap_s=1)
    ask = stack(provider, Coalesce())
    first, second = (asyncio.create_task(read(ask, call)) for call in calls(2, stream=stream))
    await asyncio.sleep(2)
    first.cancel()
    assert await second == "one answer"
    assert first.cancelled()
    assert provider.calls == 1


async def test_last_one_out_ends_the_shared_call():
    """Nobody waits, nobody pays."""
    provider = Scripted(STALL)
    layer = Coalesce()
    tasks = [asyncio.create_task(read(stack(provider, layer), call)) for call in calls(3)]
    await asyncio.sleep(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0)
    assert (provider.in_flight, layer.idle()) == (0, True)


async def test_first_callers_deadline_is_his_alone():
    """The shared call takes the latest waiter's deadline, also for the layers inside."""
    provider = Scripted(Overloaded("busy"), "late", latency_s=4)
    ask = stack(provider, Deadline(), Coalesce(), Retry(draw=lambda: 0.5), Attempt(), Timeout())
    hasty = asyncio.create_task(read(ask, make_call(question(), deadline_s=3)))
    low_priority = asyncio.create_task(read(ask, make_call(question(), deadline_s=30)))
    await asyncio.wait([hasty, low_priority])
    assert isinstance(hasty.exception(), DeadlineExceeded)
    assert low_priority.result() == "late"
    assert provider.calls == 2  # one failure, one retry: not one call each


async def test_reader_who_joins_in_the_middle_gets_every_delta():
    """A stream joined late is the same stream."""
    provider = Scripted("one two three four", delta_gap_s=1)
    ask = stack(provider, Coalesce())
    first = asyncio.create_task(read(ask, make_call(question(), stream=True)))
    await asyncio.sleep(2.5)
    assert await read(ask, make_call(question(), stream=True)) == "one two three four"
    assert await first == "one two three four"
    assert provider.calls == 1


async def test_slow_reader_delays_nobody():
    """Each has a place of his own in the stream."""
    provider = Scripted("one two three", delta_gap_s=1)
    ask = stack(provider, Coalesce())
    slow, fast = [await ask(call) for call in calls(2, stream=True)]
    await slow.__anext__()
    begun = now()
    assert "".join([delta.text async for delta in fast]) == "one two three"
    assert now() - begun == pytest.approx(3)
    assert [delta.text async for delta in slow] == ["two ", "three", ""]


async def test_reader_who_leaves_hurts_nobody():
    """One caller's cancellation is his own."""
    provider = Scripted("one two three", delta_gap_s=1)
    ask = stack(provider, Coalesce())
    leaver, stayer = [await ask(call) for call in calls(2, stream=True)]
    await leaver.__anext__()
    await leaver.aclose()
    assert "".join([delta.text async for delta in stayer]) == "one two three"
    assert provider.closed == 0


async def test_failure_reaches_everybody_each_with_his_own_copy():
    """One exception raised in ten tasks mixes their tracebacks."""
    provider = Scripted(Overloaded("busy", status=503), latency_s=1)
    errors = await together(stack(provider, Coalesce()), calls(3))
    assert [(type(error), error.status, str(error)) for error in errors] == [(Overloaded, 503, "busy")] * 3
    assert len({id(error) for error in errors}) == 3
    assert provider.calls == 1


async def test_broken_stream_is_interrupted_for_everybody():
    """With the partial text, for each."""
    provider = Scripted(["Hel", "lo", ConnectionLost("reset")], delta_gap_s=1)
    errors = await together(stack(provider, Coalesce()), calls(2, stream=True))
    assert [(type(error), error.partial) for error in errors] == [(Interrupted, "Hello")] * 2
    assert all(isinstance(error.__cause__, ConnectionLost) for error in errors)


async def test_followers_pay_nothing_and_are_told():
    """What was paid once must not be booked twice."""
    heard = Heard()
    provider = Scripted("fine", latency_s=1)
    ask = stack(provider, Trace(), Coalesce(), Attempt(price=lambda *_: 0.5))
    first, second = await asyncio.gather(*(ask(call) for call in calls(2, listeners=(heard,))))
    assert [(reply.attempts, reply.cost_usd) for reply in (first, second)] == [(1, 0.5), (0, 0.0)]
    assert len(heard.of(Coalesced)) == 1


def test_shared_call_of_a_dead_loop_is_joined_by_nobody():
    """Joining it would be waiting for ever."""
    layer = Coalesce()
    kept = []

    async def open_and_leave():
        kept.append(await stack(Scripted("one two", delta_gap_s=100), layer)(make_call(question(), stream=True)))

    async def life():
        return await read(stack(Scripted("fine"), layer), make_call(question(), stream=True))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(open_and_leave())
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False
    loop.close()
    assert asyncio.run(life()) == "fine"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_who_missed_the_cache_by_a_moment_still_gets_on(stream):
    """Looked before the answer was kept, asks after the shared call has finished: with a cache outside, it is the same answer."""
    provider, layer = Scripted("one two three", times=9), Coalesce(cached=True)
    ask = stack(provider, layer)
    for _ in range(3):
        answer = await ask(make_call(stream=stream))
        assert (await collect(answer)).text == "one two three" if stream else answer.text == "one two three"
    assert (provider.calls, layer.idle()) == (1, True)
    await asyncio.sleep(LINGER_S + 0.1)
    answer = await ask(make_call(stream=stream))
    assert provider.calls == 2
    if stream:
        await collect(answer)


@pytest.mark.parametrize("finish", ["length", "refusal", "content_filter"])
async def test_what_no_cache_would_keep_does_not_linger(finish):
    """A cut answer serves those who waited for it and nobody after them; nor does one linger where no cache is asked for."""
    provider = Scripted(ChatReply(text="cut", finish_reason=finish), times=9)
    ask = stack(provider, Coalesce(cached=True))
    await ask(make_call())
    await ask(make_call())
    assert provider.calls == 2
    provider = Scripted("fine", times=9)
    ask = stack(provider, Coalesce(always=True))
    await ask(make_call())
    await ask(make_call())
    assert provider.calls == 2


async def test_a_shared_call_that_is_cancelled_from_inside_tells_everybody():
    """A transport torn down under it: nobody may wait on for an answer that no one is fetching."""

    def torn_down(call):
        raise asyncio.CancelledError("torn down")

    layer = Coalesce()
    ask = stack(Scripted(torn_down, latency_s=1), layer)
    answers = await asyncio.wait_for(asyncio.gather(*(ask(one) for one in calls(3)), return_exceptions=True), 10)
    assert [type(one) for one in answers] == [ConnectionLost] * 3
    assert layer.idle()
