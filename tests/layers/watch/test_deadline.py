"""deadline: one, over everything."""

from __future__ import annotations

import asyncio
import contextvars
import math
import time

import pytest

from surefoot.core.stack import stack
from surefoot.errors import AttemptTimedOut, DeadlineExceeded, DeadlineTooNear, Interrupted, Overloaded
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.timeout import Timeout
from surefoot.testing import STALL, Pause, Scripted, make_call
from tests.layers.helping import fails, now, read

pytestmark = pytest.mark.looptime


async def test_call_ends_at_its_deadline():
    """Nobody waits longer than he said."""
    begun = now()
    error = await fails(stack(Scripted(STALL), Deadline(deadline_s=5), Attempt()), DeadlineExceeded)
    assert now() - begun == pytest.approx(5, abs=0.001)
    assert "5 s" in str(error)


async def test_calls_own_deadline_goes_before_the_policys():
    """The caller knows best how long he can wait."""
    begun = now()
    await fails(stack(Scripted(STALL), Deadline(deadline_s=500), Attempt()), DeadlineExceeded, call=make_call(deadline_s=2))
    assert now() - begun == pytest.approx(2, abs=0.001)


async def test_a_call_may_have_no_deadline_where_the_policy_has_one():
    """Infinity is none; for whoever waits inside, too."""
    provider = Scripted("fine", latency_s=1e6)
    assert await read(stack(provider, Deadline(deadline_s=5)), make_call(deadline_s=math.inf)) == "fine"
    assert provider.seen[0].deadline is None


async def test_nothing_sent_is_told_apart_from_something_billed():
    """Was money spent? The class of the error answers."""

    async def queue(call, inner):
        await asyncio.sleep(100)
        return await inner(call)

    provider = Scripted()
    await fails(stack(provider, Deadline(deadline_s=5), queue, Attempt()), DeadlineTooNear)
    await fails(stack(provider, Deadline(deadline_s=0), Attempt()), DeadlineTooNear)
    assert provider.calls == 0


async def test_it_spans_retries_and_says_what_failed_before():
    """A deadline per attempt multiplies."""
    provider = Scripted(Overloaded("busy"), Overloaded("busy"), STALL)
    ask = stack(provider, Deadline(deadline_s=20), Retry(attempts=6, draw=lambda: 0.9), Attempt(target="t"))
    begun = now()
    error = await fails(ask, DeadlineExceeded)
    assert now() - begun == pytest.approx(20, abs=0.001)
    assert "attempt 3" in str(error)
    assert "Overloaded" in str(error)
    assert provider.idle()


@pytest.mark.parametrize("reads", [0, 1])
async def test_stream_is_closed_at_the_deadline_read_or_not(reads):
    """An unread stream holds its slot and is billed; the timer closes it."""
    provider = Scripted(["one ", "two ", STALL])
    stream = await stack(provider, Deadline(deadline_s=5), Attempt())(make_call(stream=True))
    for _ in range(reads):
        await stream.__anext__()
    begun = now()
    await asyncio.sleep(10)
    assert provider.idle()
    assert provider.closed == 1
    with pytest.raises(Interrupted) as caught:
        async for _ in stream:
            pass
    assert isinstance(caught.value.__cause__, DeadlineExceeded)
    assert caught.value.partial.startswith("one")
    assert now() - begun == pytest.approx(10)


async def test_waiting_reader_is_woken_at_the_deadline():
    """A reader inside __anext__ gets the error there and then, and his task stays uncancelled."""
    provider = Scripted(["one ", STALL])
    stream = await stack(provider, Deadline(deadline_s=5), Attempt())(make_call(stream=True))
    begun = now()
    with pytest.raises(Interrupted):
        async for _ in stream:
            pass
    assert now() - begun == pytest.approx(5, abs=0.001)
    assert asyncio.current_task().cancelling() == 0


async def test_cancel_of_ours_is_taken_back():
    """A cancel left behind would end the caller's next TaskGroup or timeout."""
    await fails(stack(Scripted(STALL), Deadline(deadline_s=1)), DeadlineTooNear)
    assert asyncio.current_task().cancelling() == 0
    async with asyncio.timeout(5):
        await asyncio.sleep(1)


async def test_callers_cancel_in_the_same_moment_wins():
    """Cancellation is never turned into an error."""
    task = asyncio.create_task(stack(Scripted(STALL), Deadline(deadline_s=1))(make_call()))
    asyncio.get_running_loop().call_at(now() + 1, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()


async def test_attempts_timer_and_deadline_in_the_same_moment_end_as_deadline():
    """Two cancels at once are two to take back; the outer one must not be lost."""

    async def late(call, inner):
        return await inner(make_call())  # hides the deadline, so that both timers are set for the same moment

    ask = stack(Scripted(STALL), Deadline(deadline_s=3), late, Timeout(first_token_s=3))
    with pytest.raises(DeadlineTooNear):
        await ask(make_call())
    assert asyncio.current_task().cancelling() == 0


async def test_answer_just_in_time_leaves_no_timer_behind():
    """A timer that outlives its call would cancel the caller's later work."""
    ask = stack(Scripted("fine", latency_s=0.9), Deadline(deadline_s=1))
    assert await read(ask, make_call()) == "fine"
    await asyncio.sleep(5)
    assert asyncio.current_task().cancelling() == 0


async def test_no_deadline_is_none():
    """None switches it off."""
    assert await read(stack(Scripted("fine", latency_s=1e6), Deadline(deadline_s=None)), make_call()) == "fine"


async def test_error_made_out_of_our_cancel_is_still_the_deadline():
    """SDKs turn a cancelled connect into a connection error; the reason is ours."""

    async def sdk(call, inner):
        try:
            return await inner(call)
        except asyncio.CancelledError:
            raise AttemptTimedOut("connect failed") from None

    await fails(stack(Scripted(STALL), Deadline(deadline_s=1), Attempt(), sdk), DeadlineExceeded)
    assert asyncio.current_task().cancelling() == 0


async def test_a_stream_that_nobody_reads_ends_in_its_callers_context():
    """Or another caller's trace, tenant or request id is told in the events."""
    who = contextvars.ContextVar("who", default="nobody")
    layer, heard = Deadline(deadline_s=5), []

    async def one(name):
        who.set(name)
        stream = await stack(Scripted(["first", STALL]), layer)(make_call(stream=True))
        stream.watch(lambda _: heard.append(who.get()))
        return stream

    kept = [await asyncio.create_task(one(name)) for name in ("alice", "bob")]
    await asyncio.sleep(6)
    assert heard == ["alice", "bob"]
    assert all(stream.outcome is not None for stream in kept)


async def test_it_starts_when_the_caller_asks():
    """A call that a busy background loop takes up late has less time left there, and says how long it was given."""
    ask = stack(Scripted(Pause(9.0), "late"), Deadline(deadline_s=10))
    call = make_call()
    call.state.asked_s = time.monotonic() - 5
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineTooNear, match="deadline of 10 s passed"):
        await ask(call)
    assert asyncio.get_running_loop().time() - began == pytest.approx(5, abs=0.5)
    call = make_call()
    call.state.asked_s = time.monotonic() - 11
    with pytest.raises(DeadlineTooNear, match="leaves no time"):
        await ask(call)
