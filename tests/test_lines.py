"""lines: moments that come in order, behind one timer of the loop's."""

from __future__ import annotations

import asyncio
import contextvars
import math
import random

import pytest

from surefoot.lines import LINES, SLACK, Line, Lines
from tests.layers.helping import now

pytestmark = pytest.mark.looptime


class Guest:
    """Somebody who notes when the moment came."""

    def __init__(self, moment: float, *, seconds: float = 5.0, log: list[float] | None = None) -> None:
        self.moment = moment
        self.seconds = seconds
        self.is_over = False
        self.came: list[float] = [] if log is None else log
        self.line: Line | None = None
        self.is_alone = False

    def come(self) -> None:
        self.came.append(now())
        self.is_over = True

    def stand(self, line: Line) -> None:
        self.line = line

    def alone(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_alone = True
        loop.call_at(self.moment, self.come)

    def leave(self) -> None:
        self.is_over = True
        if self.line is not None:
            self.line.one_is_over()


def timers() -> int:
    return len(asyncio.get_running_loop()._scheduled)


async def test_every_moment_comes_when_it_is_due():
    """The one timer is set anew for whoever is first; nobody is late, nobody early."""
    line, begun = Line(asyncio.get_running_loop()), now()
    guests = [Guest(begun + after) for after in (1, 1, 2, 7, 7.5)]
    for guest in guests:
        assert line.takes(guest)
        guest.stand(line)
    guests[2].leave()
    await asyncio.sleep(10)
    assert not guests.pop(2).came
    assert [guest.came[0] - begun for guest in guests] == pytest.approx([1, 1, 7, 7.5])
    assert len(line) == 0


async def test_a_thousand_calls_that_end_in_time_cost_one_timer():
    """A timer each would stay in the loop's heap until its moment, minutes after the call."""
    lines, loop = Lines(), asyncio.get_running_loop()
    before = timers()
    for _ in range(1_000):
        guest = Guest(now() + 120, seconds=120)
        lines.put(guest, loop)
        guest.leave()
    assert timers() - before == 1
    assert guest.line is not None
    assert len(guest.line) == 0


async def test_who_is_over_is_cleared_also_behind_one_who_stays():
    """A stream of an hour at the head must not keep the books of every call since."""
    line = Line(asyncio.get_running_loop())
    stays = Guest(now() + 3600)
    assert line.takes(stays)
    for _ in range(10_000):
        guest = Guest(now() + 3600)
        assert line.takes(guest)
        guest.stand(line)
        guest.leave()
        assert len(line) <= 2 * SLACK + 2
    await asyncio.sleep(3601)
    assert stays.came


async def test_whoever_comes_out_of_order_gets_a_timer_of_its_own():
    """And comes before those it could not stand behind."""
    lines, loop = Lines(), asyncio.get_running_loop()
    log: list[float] = []
    first, second = Guest(now() + 5.5, log=log), Guest(now() + 5.2, log=log)
    lines.put(first, loop)
    lines.put(second, loop)
    assert second.is_alone
    begun = now()
    await asyncio.sleep(6)
    assert [at - begun for at in log] == pytest.approx([5.2, 5.5])


async def test_lengths_without_end_do_not_make_lines_without_end():
    """A deadline of its own for each call is allowed."""
    lines, loop = Lines(), asyncio.get_running_loop()
    guests = [Guest(now() + seconds, seconds=seconds) for seconds in range(1, LINES + 5)]
    for guest in guests:
        lines.put(guest, loop)
    assert sum(guest.is_alone for guest in guests) == 4
    await asyncio.sleep(LINES + 5)
    assert all(guest.came for guest in guests)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_order_all_come_in_time_but_those_who_left(seed):
    """Random moments, some out of order, some who leave early or while others come."""
    rng, lines, loop, begun = random.Random(seed), Lines(), asyncio.get_running_loop(), now()
    guests = []
    for _ in range(300):
        guest = Guest(now() + rng.choice((5.0, 5.0, 5.0, rng.uniform(0.1, 9))), seconds=5.0)
        lines.put(guest, loop)
        guests.append(guest)
        if rng.random() < 0.6:
            leaver = rng.choice(guests)
            if not leaver.is_over and not leaver.is_alone:
                leaver.leave()
        await asyncio.sleep(rng.uniform(0, 0.1))
    await asyncio.sleep(20)
    for guest in guests:
        assert guest.is_over
        if guest.came:
            assert guest.came == pytest.approx([guest.moment], abs=1e-5)
    assert begun < now()


async def test_one_who_fails_keeps_nobody_waiting():
    """A subscriber that raises while a deadline ends a stream must not take everybody else's deadline away."""
    line, begun = Line(asyncio.get_running_loop()), now()
    bad, good = Guest(begun + 1), Guest(begun + 2)
    bad.come = lambda: 1 / 0  # type: ignore[method-assign]
    assert line.takes(bad)
    assert line.takes(good)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    await asyncio.sleep(3)
    assert good.came == pytest.approx([begun + 2])


async def test_nobody_comes_in_the_context_of_whoever_was_first():
    """The timer would hold the first caller's context for hours, and another tenant's events would be told in it."""
    who = contextvars.ContextVar("who", default="nobody")
    who.set("the first")
    line, heard = Line(asyncio.get_running_loop()), []
    for after in (1, 2):
        guest = Guest(now() + after)
        guest.come = lambda: heard.append(who.get())  # type: ignore[method-assign]
        assert line.takes(guest)
    await asyncio.sleep(3)
    assert heard == ["nobody", "nobody"]


async def test_for_ever_is_a_length_too():
    """A deadline of infinity is one that never comes."""
    lines, loop = Lines(), asyncio.get_running_loop()
    guest = Guest(math.inf, seconds=math.inf)
    lines.put(guest, loop)
    await asyncio.sleep(10)
    assert not guest.came


async def test_a_line_in_which_nobody_stands_makes_room_for_another_length():
    """Queues make waits of many lengths in a bad minute; the usual one must find its line afterwards."""
    lines, loop = Lines(), asyncio.get_running_loop()
    for seconds in range(1, LINES + 1):
        guest = Guest(now() + seconds, seconds=seconds)
        lines.put(guest, loop)
        guest.leave()
    usual = Guest(now() + 120, seconds=120)
    lines.put(usual, loop)
    assert not usual.is_alone


def test_a_new_loop_gets_lines_of_its_own():
    """Those of a loop that has died would never come."""
    lines = Lines()

    async def one() -> bool:
        loop = asyncio.get_running_loop()
        guest = Guest(loop.time() + 0.001, seconds=0.0)
        lines.put(guest, loop)
        await asyncio.sleep(0.005)
        return bool(guest.came)

    assert asyncio.run(one())
    assert asyncio.run(one())
