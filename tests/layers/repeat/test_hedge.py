"""hedge: a second runner, when the first is unusually late."""

from __future__ import annotations

import asyncio
import random

import pytest

from surefoot.core.stack import stack
from surefoot.errors import AuthFailed, Overloaded
from surefoot.events import Hedged, HedgeWon
from surefoot.layers.guards.concurrency import Concurrency
from surefoot.layers.repeat.hedge import Hedge
from surefoot.layers.repeat.retry import Retry
from surefoot.layers.watch.attempt import Attempt
from surefoot.layers.watch.deadline import Deadline
from surefoot.layers.watch.trace import Trace
from surefoot.rules.retry_budget import RetryBudget
from surefoot.testing import STALL, Pause, Scripted, make_call
from surefoot.testing.contract import drained
from tests.layers.helping import Heard, fails, now, read, together

pytestmark = pytest.mark.looptime


def late_first(first_s=10.0, second_s=1.0):
    """The first wire call takes `first_s`, the second `second_s`."""
    return Scripted("fine", latency_s=lambda call: first_s if not call.hedged else second_s)


@pytest.mark.parametrize("stream", [False, True])
async def test_late_call_is_answered_by_its_second_runner(stream):
    """2 s of patience and 1 s for the second: 3 instead of 10."""
    provider, hedge = late_first(), Hedge(after=2.0)
    begun = now()
    assert await read(stack(provider, hedge, Attempt()), make_call(stream=stream)) == "fine"
    assert now() - begun == pytest.approx(3)
    assert provider.calls == 2
    assert asyncio.current_task().cancelling() == 0
    assert (provider.idle(), hedge.idle()) == (True, True)


async def test_call_in_time_has_one_runner_and_no_task():
    """The good path must cost next to nothing."""
    provider = Scripted("fine", latency_s=1)
    tasks = set()

    async def watch(call, inner):
        tasks.update(asyncio.all_tasks())
        return await inner(call)

    await stack(provider, Hedge(after=2.0), Attempt(), watch)(make_call())
    await asyncio.sleep(5)
    assert (provider.calls, len(tasks)) == (1, 1)


@pytest.mark.parametrize("stream", [False, True])
async def test_first_runner_may_still_win_and_the_second_is_closed(stream):
    """A provider bills until its stream is dropped."""
    provider, hedge = late_first(first_s=3, second_s=10), Hedge(after=2.0)
    begun = now()
    await read(stack(provider, hedge, Attempt()), make_call(stream=stream))
    assert now() - begun == pytest.approx(3)
    await drained()
    assert (provider.calls, provider.idle(), hedge.idle()) == (2, True, True)


async def test_loser_that_answers_in_the_same_moment_is_closed_too():
    """Nobody holds its stream but us."""
    provider, hedge = late_first(first_s=3, second_s=1), Hedge(after=2.0)
    await read(stack(provider, hedge, Attempt()), make_call(stream=True))
    await drained()
    assert (provider.calls, provider.open_streams, hedge.idle()) == (2, 0, True)


async def test_delay_counts_from_dispatch_not_from_the_queue():
    """A call that waits in our own queue is not slow."""
    provider = Scripted("fine", latency_s=3)
    hedge = Hedge(after=4.0)
    await together(stack(provider, hedge, Concurrency(limit=1), Attempt()), [make_call() for _ in range(5)])
    assert provider.calls == 5


async def test_p95_is_learned_before_anything_is_hedged():
    """A delay guessed from few answers hedges either everything or nothing."""
    provider = Scripted(*["fine"] * 60, Pause(20), "fine", latency_s=1)
    ask = stack(provider, Hedge(after="p95"), Attempt())
    for _ in range(60):
        await read(ask, make_call())
    begun = now()
    await read(ask, make_call())
    assert provider.calls == 62
    assert now() - begun == pytest.approx(2, abs=0.1)


async def test_extras_stay_within_five_percent():
    """A slow provider must not be asked twice as often."""
    provider = Scripted("fine", latency_s=10)
    budget = RetryBudget()
    ask = stack(provider, Retry(budget=budget), Hedge(after=1.0, budget=budget), Attempt())
    for _ in range(400):
        await read(ask, make_call())
    assert 405 <= provider.calls <= 420


async def test_second_runners_that_fail_are_owed():
    """They come back as load on a target that is slow already: a few, and then none, though calls earn new ones."""
    budget, hedged = RetryBudget(ceiling=15.0), []

    async def provider(call):
        if call.hedged:
            hedged.append(call)
            raise Overloaded("busy")
        return await slow(call)

    slow = Scripted("fine", latency_s=10.0)
    ask = stack(provider, Hedge(after=1.0, budget=budget), Attempt())
    for _ in range(12):
        for _ in range(20):
            budget.called(now())
        assert await read(ask, make_call()) == "fine"
        budget.succeeded()
    assert len(hedged) == 7  # six cost 5 each of the 30 that may be owed, and every answer pays 1 back


async def test_slow_tail_is_cut():
    """2 % of answers take 20 times as long: the p99 falls by more than 60 % for less than 5 % more requests."""

    async def seconds(*layers, seed=11):
        draw = random.Random(seed).random
        provider = Scripted("fine", latency_s=lambda _: 20.0 if draw() < 0.02 else 0.8 + 0.4 * draw())
        ask, times = stack(provider, *layers, Attempt()), []

        async def one():
            begun = now()
            await read(ask, make_call())
            times.append(now() - begun)

        for _ in range(200):
            await asyncio.gather(*(one() for _ in range(10)))
        return sorted(times)[int(0.99 * len(times))], provider.calls / 2000

    budget = RetryBudget()
    bare, _ = await seconds()
    hedged, share = await seconds(Retry(budget=budget), Hedge(budget=budget))
    print(f"p99 {bare:.2f} s -> {hedged:.2f} s at {100 * (share - 1):.1f} % more requests, seed 11")
    assert hedged <= 0.4 * bare
    assert share <= 1.05


async def test_no_hedge_while_the_target_is_on_trial():
    """What is being tried gently must not be asked twice."""
    provider = late_first()
    ask = stack(provider, Hedge(after=2.0, budget=RetryBudget(), half_open=lambda: True), Attempt())
    await read(ask, make_call())
    assert provider.calls == 1


async def test_local_models_are_never_hedged():
    """Two runners on one machine take twice as long."""
    provider = late_first()
    await read(stack(provider, Hedge(after=2.0, is_local=True), Attempt()), make_call())
    assert provider.calls == 1


async def test_first_failure_waits_for_the_second_runner():
    """It is on its way already, and paid for."""
    provider = Scripted([Pause(3), Overloaded("busy")], [Pause(5), "fine"])
    ask = stack(provider, Hedge(after=2.0), Attempt())
    begun = now()
    assert await read(ask, make_call()) == "fine"
    assert now() - begun == pytest.approx(7)


async def test_second_failure_leaves_the_first_runner_alone():
    """An extra that fails has changed nothing."""
    provider = Scripted([Pause(10), "fine"], AuthFailed("no"))
    assert await read(stack(provider, Hedge(after=2.0), Attempt()), make_call()) == "fine"


@pytest.mark.parametrize("order", [(3, 5), (6, 1)])
async def test_both_failing_is_the_first_ones_error(order):
    """One error, as if there had been no second."""
    provider = Scripted([Pause(order[0]), Overloaded("first")], [Pause(order[1]), Overloaded("second")])
    error = await fails(stack(provider, Hedge(after=2.0), Attempt()), Overloaded)
    assert str(error) == "first"


async def test_failure_before_the_delay_is_retrys_business():
    """A hedge is for slowness."""
    provider = Scripted([Pause(1), Overloaded("busy")], "fine")
    await fails(stack(provider, Hedge(after=2.0), Attempt()), Overloaded)
    await asyncio.sleep(10)
    assert provider.calls == 1


async def test_cancelled_caller_takes_both_runners_with_him():
    """Whether the first is under way or has failed."""
    for steps in ([STALL, STALL], [[Pause(3), Overloaded("busy")], STALL]):
        provider, hedge = Scripted(*steps), Hedge(after=2.0)
        task = asyncio.create_task(read(stack(provider, hedge, Attempt()), make_call()))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await drained()
        assert (provider.calls, provider.idle(), hedge.idle()) == (2, True, True)


async def test_callers_cancel_in_the_moment_of_winning_stays_a_cancel():
    """Ours is taken back, his is not."""
    provider, hedge = late_first(), Hedge(after=2.0)
    task = asyncio.create_task(read(stack(provider, hedge, Attempt()), make_call()))
    asyncio.get_running_loop().call_at(now() + 3.0, task.cancel)
    await asyncio.wait([task])
    await drained()
    assert (task.cancelled(), provider.idle(), hedge.idle()) == (True, True, True)


async def test_first_runner_that_answers_although_cancelled_is_heard():
    """Late but whole; and the cancel is taken back."""

    async def stubborn(call, inner):
        try:
            return await inner(call)
        except asyncio.CancelledError:
            return "stubborn"

    assert await stack(late_first(), Hedge(after=2.0), stubborn, Attempt())(make_call()) == "stubborn"
    assert asyncio.current_task().cancelling() == 0
    await drained()


async def test_deadline_ends_both():
    """One deadline over everything."""
    provider = Scripted(STALL)
    hedge = Hedge(after=2.0)
    with pytest.raises(TimeoutError):
        await stack(provider, Deadline(deadline_s=5), hedge, Attempt())(make_call())
    await drained()
    assert (provider.calls, provider.idle(), hedge.idle()) == (2, True, True)


async def test_hedge_is_told_counted_and_in_the_trail():
    """Doubled requests must be visible on the bill."""
    heard = Heard()
    ask = stack(late_first(), Trace(), Hedge(target="t", after=2.0), Attempt())
    reply = await ask(make_call(listeners=(heard,)))
    assert [(event.target, event.delay_s) for event in heard.of(Hedged)] == [("t", 2.0)]
    assert len(heard.of(HedgeWon)) == 1
    assert reply.attempts == 2
    assert [(one.kind, one.error) for one in reply.trail] == [("first", "CancelledError"), ("hedge", "")]


async def test_a_runner_that_lost_with_an_answer_is_forgotten_once_it_is_closed():
    """What is kept of each would be kept for ever."""
    hedge = Hedge(after=1.0)
    both = Scripted("one two three", latency_s=3.0)
    for _ in range(3):
        await read(stack(both, hedge, Attempt()), make_call(stream=True))
    await asyncio.sleep(1)
    loser = asyncio.get_running_loop().create_future()
    loser.set_result(await stack(both)(make_call(stream=True)))
    hedge.close(loser)
    await asyncio.sleep(1)
    assert not hedge._losers
    assert both.idle()


async def test_what_each_runner_waited_stands_in_the_trail():
    """The first for its turn; the second was sent when it was due, and has waited for nothing."""
    call, other = make_call(), make_call()
    place = Concurrency(limit=1)
    ask = stack(late_first(), Trace(), Hedge(after=2.0), Attempt())
    busy = asyncio.create_task(stack(Scripted("ok", latency_s=5), Trace(), place, Attempt())(other))
    await asyncio.sleep(0)
    queued = make_call()
    await stack(Scripted("ok"), Trace(), place, Attempt())(queued)
    await busy
    assert queued.state.trail[0].wait_s == pytest.approx(5)
    await asyncio.sleep(3)
    await ask(call)
    first, second = sorted(call.state.trail, key=lambda one: one.started_s)
    assert (first.kind, second.kind) == ("first", "hedge")
    assert (first.wait_s, second.wait_s) == (0.0, 0.0)
    assert second.started_s - first.started_s == pytest.approx(2)
