"""Moments that come in order, behind one timer of the loop's for all of them.

Calls of one model wait equally long for their deadlines, so the moments come in the order in which they were set, and most are over before
they come. A timer each would cost a handle, a context and a place in the loop's heap, where asyncio leaves a cancelled one until its time:
minutes after the call has ended, for the garbage collector to visit again and again.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from typing import Protocol

LINES = 8  # of different lengths of time, in whole seconds; whoever comes beyond gets a timer of its own
LONGEST_S = 1e9  # infinity, too, is a length
SLACK = 64  # that may stand in a line after they are over, before it is cleared of them


class Waiter(Protocol):
    """Somebody to whom a moment comes."""

    moment: float  # of the loop's clock, seconds
    seconds: float  # from when it was set
    is_over: bool  # it need not come any more

    def come(self) -> None:
        """The moment is here, and the line has let go of it. Called in an empty context."""

    def stand(self, line: Line) -> None:
        """It has been put into `line`, which is to be told when it is over before its moment."""

    def alone(self, loop: asyncio.AbstractEventLoop) -> object:
        """No line takes it: it needs a timer of its own."""


class Line:
    """Waiters in the order of their moments, behind one timer of the loop's, set for the first."""

    __slots__ = ("_loop", "_over", "_timer", "_waiters")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: deque[Waiter] = deque()
        self._over = 0  # of them
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Those in line, those that are over included until they are cleared."""
        return len(self._waiters)

    def takes(self, waiter: Waiter) -> bool:
        """Put it at the end; False if its moment comes before the last one's."""
        waiters = self._waiters
        if waiters and waiter.moment < waiters[-1].moment:
            return False
        waiters.append(waiter)
        timer = self._timer
        if timer is None or timer.when() > waiter.moment:  # of one who has left the line empty since
            if timer is not None:
                timer.cancel()
            self._set(waiter.moment)
        return True

    def one_is_over(self) -> None:
        """Clear the head of those that are over; the whole line, when half of it is."""
        waiters = self._waiters
        self._over += 1
        while waiters and waiters[0].is_over:
            waiters.popleft()
            self._over -= 1
        if self._over > SLACK and self._over * 2 > len(waiters):
            self._waiters = deque(waiter for waiter in waiters if not waiter.is_over)
            self._over = 0

    def _ring(self) -> None:
        """The moment of whoever was first when the timer was set; by now it may be another."""
        timer, self._timer = self._timer, None
        now = max(self._loop.time(), timer.when() if timer is not None else 0.0)
        try:
            while self._waiters and (self._waiters[0].is_over or self._waiters[0].moment <= now):
                waiter = self._waiters.popleft()
                if waiter.is_over:
                    self._over -= 1
                else:
                    waiter.come()
        finally:  # one that fails keeps nobody behind it waiting
            if self._waiters:
                self._set(self._waiters[0].moment)

    def _set(self, moment: float) -> None:
        # In a context of nobody's: the timer would hold the first caller's, and all who come would run in it.
        self._timer = self._loop.call_at(moment, self._ring, context=contextvars.Context())


class Lines:
    """The lines of one room, by how long is waited, in whole seconds; anew on each loop."""

    __slots__ = ("_lines", "_loop")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: dict[int, Line] = {}

    def put(self, waiter: Waiter, loop: asyncio.AbstractEventLoop) -> None:
        """Let the moment of `waiter` come; `loop` is the running one."""
        if loop is not self._loop:
            self._loop, self._lines = loop, {}
        length = int(min(waiter.seconds, LONGEST_S))
        line = self._lines.get(length)
        if line is None and (len(self._lines) < LINES or self._drop_an_empty_one()):
            line = self._lines[length] = Line(loop)
        if line is not None and line.takes(waiter):
            waiter.stand(line)
        else:
            waiter.alone(loop)

    def _drop_an_empty_one(self) -> bool:
        """Make room for another length; True if there was a line in which nobody stands."""
        empty = next((length for length, line in self._lines.items() if not line), None)
        if empty is not None:
            del self._lines[empty]
        return empty is not None
