"""lines: moments that come in order, behind one timer of the loop's."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random

import pytest

from surefoot.runtime.timers import MAX_QUEUES, SLACK, TimerQueue, TimerQueues
from tests.layers.helping import now

pytestmark = pytest.mark.looptime


class SimpleWaiter:
    """Somebody who notes when the moment came."""

    def __init__(self, expires_at: float, *, delay_s: float = 5.0, log: list[float] | None = None) -> None:
        self.expires_at = expires_at
        self.delay_s = delay_s
        self.is_over = False
        self.came: list[float] = [] if log is None else log
        self.queue: TimerQueue | None = None
        self.has_own_timer = False

    def fire(self) -> None:
        self.came.append(now())
        self.is_over = True

    def enqueue(self, queue: TimerQueue) -> None:
        self.queue = queue

    def own_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self.has_own_timer = True
        loop.call_at(self.expires_at, self.fire)

    def leave(self) -> None:
        self.is_over = True
        if self.queue is not None:
            self.queue.count_over()


def timers() -> int:
    return len(asyncio.get_running_loop()._scheduled)


async def test_every_moment_comes_when_it_is_due():
    """The one timer is set anew for whoever is first; nobody is late, nobody early."""
    queue, begun = TimerQueue(asyncio.get_running_loop()), now()
    waiters = [SimpleWaiter(begun + after) for after in (1, 1, 2, 7, 7.5)]
    for waiter in waiters:
        assert queue.add(waiter)
        waiter.enqueue(queue)
    waiters[2].leave()
    await asyncio.sleep(10)
    assert not waiters.pop(2).came
    assert [waiter.came[0] - begun for waiter in waiters] == pytest.approx([1, 1, 7, 7.5])
    assert len(queue) == 0


async def test_a_thousand_calls_that_end_in_time_cost_one_timer():
    """A timer each would stay in the loop's heap until its moment, minutes after the call."""
    queues, loop = TimerQueues(), asyncio.get_running_loop()
    before = timers()
    for _ in range(1_000):
        waiter = SimpleWaiter(now() + 120, delay_s=120)
        queues.put(waiter, loop)
        waiter.leave()
    assert timers() - before == 1
    assert waiter.queue is not None
    assert len(waiter.queue) == 0


async def test_who_is_over_is_cleared_also_behind_one_who_stays():
    """A stream of an hour at the head must not keep the books of every call since."""
    queue = TimerQueue(asyncio.get_running_loop())
    stays = SimpleWaiter(now() + 3600)
    assert queue.add(stays)
    for _ in range(10_000):
        waiter = SimpleWaiter(now() + 3600)
        assert queue.add(waiter)
        waiter.enqueue(queue)
        waiter.leave()
        assert len(queue) <= 2 * SLACK + 2
    await asyncio.sleep(3601)
    assert stays.came


async def test_whoever_comes_out_of_order_gets_a_timer_of_its_own():
    """And comes before those it could not stand behind."""
    queues, loop = TimerQueues(), asyncio.get_running_loop()
    log: list[float] = []
    first, second = SimpleWaiter(now() + 5.5, log=log), SimpleWaiter(now() + 5.2, log=log)
    queues.put(first, loop)
    queues.put(second, loop)
    assert second.has_own_timer
    begun = now()
    await asyncio.sleep(6)
    assert [at - begun for at in log] == pytest.approx([5.2, 5.5])


async def test_lengths_without_end_do_not_make_lines_without_end():
    """A deadline of its own for each call is allowed."""
    queues, loop = TimerQueues(), asyncio.get_running_loop()
    waiters = [SimpleWaiter(now() + delay_s, delay_s=delay_s) for delay_s in range(1, MAX_QUEUES + 5)]
    for waiter in waiters:
        queues.put(waiter, loop)
    assert sum(waiter.has_own_timer for waiter in waiters) == 4
    await asyncio.sleep(MAX_QUEUES + 5)
    assert all(waiter.came for waiter in waiters)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_order_all_come_in_time_but_those_who_left(seed):
    """Random moments, some out of order, some who leave early or while others come."""
    rng, queues, loop, begun = random.Random(seed), TimerQueues(), asyncio.get_running_loop(), now()
    waiters = []
    for _ in range(300):
        waiter = SimpleWaiter(now() + rng.choice((5.0, 5.0, 5.0, rng.uniform(0.1, 9))), delay_s=5.0)
        queues.put(waiter, loop)
        waiters.append(waiter)
        if rng.random() < 0.6:
            leaver = rng.choice(waiters)
            if not leaver.is_over and not leaver.has_own_timer:
                leaver.leave()
        await asyncio.sleep(rng.uniform(0, 0.1))
    await asyncio.sleep(20)
    for waiter in waiters:
        assert waiter.is_over
        if waiter.came:
            assert waiter.came == pytest.approx([waiter.expires_at], abs=1e-5)
    assert begun < now()


async def test_one_who_fails_keeps_nobody_waiting():
    """A subscriber that raises while a deadline ends a stream must not take everybody else's deadline away."""
    queue, begun = TimerQueue(asyncio.get_running_loop()), now()
    bad, good = SimpleWaiter(begun + 1), SimpleWaiter(begun + 2)
    bad.fire = lambda: 1 / 0  # type: ignore[method-assign]
    assert queue.add(bad)
    assert queue.add(good)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await asyncio.sleep(3)
    assert good.came == pytest.approx([begun + 2])


async def test_nobody_comes_in_the_context_of_whoever_was_first():
    """The timer would hold the first caller's context for hours, and another tenant's events would be told in it."""
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the first")
    queue, heard = TimerQueue(asyncio.get_running_loop()), []
    for after in (1, 2):
        waiter = SimpleWaiter(now() + after)
        waiter.fire = lambda: heard.append(who.get())  # type: ignore[method-assign]
        assert queue.add(waiter)
    await asyncio.sleep(3)
    assert heard == ["nobody", "nobody"]


async def test_for_ever_is_a_length_too():
    """A deadline of infinity is one that never comes."""
    queues, loop = TimerQueues(), asyncio.get_running_loop()
    waiter = SimpleWaiter(math.inf, delay_s=math.inf)
    queues.put(waiter, loop)
    await asyncio.sleep(10)
    assert not waiter.came


async def test_a_line_in_which_nobody_stands_makes_room_for_another_length():
    """Queues make waits of many lengths in a bad minute; the usual one must find its line afterwards."""
    queues, loop = TimerQueues(), asyncio.get_running_loop()
    for delay_s in range(1, MAX_QUEUES + 1):
        waiter = SimpleWaiter(now() + delay_s, delay_s=delay_s)
        queues.put(waiter, loop)
        waiter.leave()
    usual = SimpleWaiter(now() + 120, delay_s=120)
    queues.put(usual, loop)
    assert not usual.has_own_timer


def test_a_new_loop_gets_lines_of_its_own():
    """Those of a loop that has died would never come."""
    queues = TimerQueues()

    async def one() -> bool:
        loop = asyncio.get_running_loop()
        waiter = SimpleWaiter(loop.time() + 0.001, delay_s=0.0)
        queues.put(waiter, loop)
        await asyncio.sleep(0.005)
        return bool(waiter.came)

    assert asyncio.run(one())
    assert asyncio.run(one())
