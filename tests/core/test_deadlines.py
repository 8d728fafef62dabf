"""cutoff: await something, but not beyond a moment."""

from __future__ import annotations

import asyncio

import pytest

from surefoot.core.deadlines import deadline_of, run_until
from surefoot.errors import AttemptTimedOut, Interrupted
from surefoot.testing import STALL, Scripted, make_call
from tests.layers.helping import now

pytestmark = pytest.mark.looptime


def late():
    return AttemptTimedOut("late")


async def slow(seconds, result="done"):
    await asyncio.sleep(seconds)
    return result


async def test_answer_in_time_is_the_answer():
    """And the timer is gone."""
    assert await run_until(slow(1), expires_at=now() + 2, failure=late) == "done"
    await asyncio.sleep(5)
    assert asyncio.current_task().cancelling() == 0


async def test_answer_too_late_is_the_failure():
    """At the moment, not after it."""
    begun = now()
    with pytest.raises(AttemptTimedOut):
        await run_until(slow(5), expires_at=now() + 2, failure=late)
    assert now() - begun == pytest.approx(2)
    assert asyncio.current_task().cancelling() == 0


async def test_failure_is_made_when_it_happens():
    """Its message may tell what happened meanwhile."""
    attempts = []

    async def trying():
        attempts.append(1)
        await asyncio.sleep(5)

    with pytest.raises(AttemptTimedOut, match="1 attempts"):
        await run_until(trying(), expires_at=now() + 1, failure=lambda: AttemptTimedOut(f"{len(attempts)} attempts"))


async def test_own_error_in_time_is_itself():
    """The timer says nothing about other failures."""

    async def broken():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await run_until(broken(), expires_at=now() + 1, failure=late)


async def test_cancel_from_outside_is_a_cancel():
    """Before the moment, and in it."""
    for at in (1.0, 2.0):
        task = asyncio.create_task(run_until(slow(5), expires_at=now() + 2, failure=late))
        asyncio.get_running_loop().call_at(now() + at, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled(), at


async def test_nested_timers_in_the_same_moment_take_back_one_cancel_each():
    """The outer one wins, and the task is clean afterwards."""
    expires_at = now() + 1
    with pytest.raises(AttemptTimedOut, match="outer"):
        await run_until(
            run_until(slow(5), expires_at=expires_at, failure=late), expires_at=expires_at, failure=lambda: AttemptTimedOut("outer")
        )
    assert asyncio.current_task().cancelling() == 0


async def test_work_that_ignores_the_cancel_is_late_but_whole():
    """What was paid for is delivered, and the cancel taken back."""

    async def stubborn():
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return "anyway"

    assert await run_until(stubborn(), expires_at=now() + 1, failure=late) == "anyway"
    assert asyncio.current_task().cancelling() == 0


@pytest.mark.parametrize("until_finished", [False, True])
async def test_stream_is_followed_only_when_asked(until_finished):
    """An attempt ends at its first token, a deadline with the stream."""
    provider = Scripted(["one ", STALL])
    stream = await run_until(provider(make_call(stream=True)), expires_at=now() + 2, failure=late, until_finished=until_finished)
    await asyncio.sleep(5)
    assert provider.idle() is until_finished
    if until_finished:
        with pytest.raises(Interrupted):
            async for _ in stream:
                pass
    await stream.aclose()


async def test_deadline_is_the_latest_of_those_who_joined():
    """coalesce notes it; without a note it is the call's own."""
    call = make_call(deadline=5.0)
    assert deadline_of(call) == 5.0
    call.state.deadline_at = 9.0
    assert deadline_of(call) == 9.0
    call.state.deadline_at = float("inf")
    assert deadline_of(call) is None
    assert deadline_of(make_call()) is None
